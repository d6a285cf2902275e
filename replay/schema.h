// SPDX-License-Identifier: Apache-2.0
// Records of the replay store and their byte form. Keys are fixed-width big-endian, so that LMDB's order is the numeric
// order; values are little-endian, begin with a format byte, end with a checksum, and are decoded strictly: every length
// and range is checked, trailing bytes are an error. Pure functions, thread-safe.
#ifndef AGRL_REPLAY_SCHEMA_H
#define AGRL_REPLAY_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"

#define REPLAY_SCHEMA_VERSION 1u
#define REPLAY_MAX_GROUP 1024u     // G
#define REPLAY_MAX_LEVELS 8u       // rungs of the ladder
#define REPLAY_MAX_MEMBERS 9216u   // G + levels * K
#define REPLAY_MAX_PROMPT_ID 255u  // bytes

// X(NAME, value in the record, text). A group is unfinished in OPEN..LEASED and closed in TRAINED, RETIRED.
#define REPLAY_STATE_MAP(X)                                              \
  X(OPEN, 1, "open")       /* plain rollouts under way */                \
  X(CLIMB, 2, "climb")     /* guided rollouts of one level under way */  \
  X(READY, 3, "ready")     /* decided, waits for the learner */          \
  X(LEASED, 4, "leased")   /* handed to the learner */                   \
  X(TRAINED, 5, "trained") /* in a version of the surviving line */      \
  X(RETIRED, 6, "retired") /* given up, see cause */
typedef enum replay_state {
#define REPLAY_STATE_ENUM(NAME, v, text) REPLAY_##NAME = (v),
  REPLAY_STATE_MAP(REPLAY_STATE_ENUM)
#undef REPLAY_STATE_ENUM
      REPLAY_STATE_N
} replay_state;

// X(NAME, text): why a group was retired.
#define REPLAY_CAUSE_MAP(X)                                                        \
  X(NONE, "none")                                                                  \
  X(MISSING, "missing")         /* a plain rollout has no reward */                \
  X(ZERO_SPREAD, "zero_spread") /* all rewards equal, accuracy in the window */    \
  X(WINDOW, "window")           /* all rewards equal, accuracy outside of it */    \
  X(UNSOLVED, "unsolved")       /* no level helped, no spread */                   \
  X(STALE, "stale")             /* older than the staleness bound */               \
  X(LEASE, "lease")             /* the learner went on without reporting it */     \
  X(PROMPT_GONE, "prompt_gone") /* the data set no longer has the prompt */        \
  X(UNREADABLE, "unreadable")   /* a stored trace does not decode */               \
  X(NO_PAIR, "no_pair")         /* DPO: none wrong, or none right and no reference trace */ \
  X(METHOD, "method")           /* made ready under another run.method: a pair, or no pair */
typedef enum replay_cause {
#define REPLAY_CAUSE_ENUM(NAME, text) REPLAY_CAUSE_##NAME,
  REPLAY_CAUSE_MAP(REPLAY_CAUSE_ENUM)
#undef REPLAY_CAUSE_ENUM
      REPLAY_CAUSE_N
} replay_cause;

typedef struct replay_group_rec {
  uint64_t id;
  uint8_t state, cause;     // replay_state, replay_cause
  uint8_t level;            // CLIMB: under way; later: highest level of a chosen member
  uint8_t leases;           // times handed to the learner
  uint16_t n_plain;         // G, as it was when the group began
  uint16_t n_guided;        // K
  uint32_t restarts;        // of replay that found members missing; upper part of their attempt number
  uint64_t created_ms;      // wall clock
  uint64_t created_version; // the asking actor's weights
  uint64_t min_version;     // oldest token of the chosen members (of all plain ones before that)
  uint64_t lease_version;   // weights the learner wanted to update; 0: not leased
  uint64_t trained_version; // 0: not trained
  double accuracy;          // of the plain rollouts; NaN until they are complete
  uint16_t n_chosen;
  uint16_t chosen[REPLAY_MAX_GROUP];  // members of the final group, READY and later
  char prompt_id[REPLAY_MAX_PROMPT_ID + 1];
} replay_group_rec;

typedef struct replay_prompt_rec {  // a prompt's history
  char prompt_id[REPLAY_MAX_PROMPT_ID + 1];
  double accuracy;        // running mean of plain accuracy, recent groups weigh more
  uint32_t tries;         // plain groups scored
  uint32_t guided;        // groups that took guided members
  uint32_t fruitless;     // groups retired in a row
  uint64_t last_version;  // newest version at the last try
} replay_prompt_rec;

typedef struct replay_meta {
  uint32_t schema;
  uint64_t run;
  uint64_t next_group;         // ids start at 1 and are never reused
  uint64_t version;            // newest the learner told of
  uint64_t checkpoint;         // newest checkpoint the learner told of
  uint64_t epoch, cursor;      // walk through the data set
  uint64_t traces;             // totals over the run; groups begun = next_group - 1
  uint64_t ready, trained, retired, purged;
} replay_meta;

typedef struct replay_trace_key {
  uint64_t group;
  uint32_t member;
} replay_trace_key;

const char *replay_state_name(uint32_t state);  // "?" beyond the set
const char *replay_cause_name(uint32_t cause);

void replay_group_key(uint64_t group, uint8_t out[8]);
void replay_trace_key_encode(const replay_trace_key *k, uint8_t out[12]);
bool replay_u64_key_decode(const void *key, size_t len, uint64_t *out);
bool replay_trace_key_decode(const void *key, size_t len, replay_trace_key *out);

// encode appends to out; decode fills *out whole or fails with AGRL_EPARSE / AGRL_ECHECKSUM.
void replay_group_encode(const replay_group_rec *g, agrl_buf *out);
agrl_rc replay_group_decode(const void *data, size_t len, replay_group_rec *out, agrl_error *err);
void replay_prompt_encode(const replay_prompt_rec *p, agrl_buf *out);
agrl_rc replay_prompt_decode(const void *data, size_t len, replay_prompt_rec *out, agrl_error *err);
void replay_meta_encode(const replay_meta *m, agrl_buf *out);
// A record of another schema version decodes as far as .schema and fails with AGRL_EVERSION.
agrl_rc replay_meta_decode(const void *data, size_t len, replay_meta *out, agrl_error *err);
// Replaces the checksum at the end of data (len >= 8): for tests that alter records.
void replay_record_seal(void *data, size_t len);

#endif
