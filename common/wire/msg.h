// SPDX-License-Identifier: Apache-2.0
// Messages as plain structs, and the envelope they travel in. One codec per family turns them into protobuf and back;
// generated code is seen only here. Unpack checks magic, schema version, kind, size and checksum, then every limit of
// limits.h BEFORE unpacking, and allocates from the caller's arena; strings are valid UTF-8 and NUL-terminated.
#ifndef AGRL_WIRE_MSG_H
#define AGRL_WIRE_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/wire/msg_learner.h"
#include "common/wire/msg_trace.h"

// X(NAME, field of the union, struct tag)
#define AGRL_MSG_MAP(X)                                                                                     \
  X(TASK_REQUEST, task_request)     /* actor -> replay */                                                   \
  X(TASK_GRANT, task_grant)         /* replay -> actor; empty: nothing to do now, ask again after retry_ms */ \
  X(TRACE, trace)                   /* actor -> reward */                                                   \
  X(SCORED, scored)                 /* reward -> replay */                                                  \
  X(TRACE_ACK, trace_ack)           /* replay -> reward -> actor, after the commit */                       \
  X(HELLO, hello)                   /* learner -> replay at start: where the surviving line stands */       \
  X(HELLO_REPLY, hello_reply)                                                                               \
  X(BATCH_REQUEST, batch_request)   /* learner -> replay */                                                 \
  X(BATCH, batch)                   /* replay -> learner; no groups: not ready, ask again */                \
  X(GROUPS_FETCH, groups_fetch)     /* learner -> replay: groups of a journal entry, by id; answer BATCH */ \
  X(TRAINED, trained)               /* learner -> replay: version reached, groups trained; answer OK */     \
  X(CHECKPOINTED, checkpointed)     /* learner -> replay: groups up to this version may go; answer OK */    \
  X(ANNOUNCE, announce)             /* learner PUB: newest weights */                                       \
  X(WEIGHTS_GET, weights_get)       /* actor -> learner: meta of the newest weights; answer ANNOUNCE */     \
  X(CHUNK_GET, chunk_get)           /* actor -> learner */                                                  \
  X(CHUNK, chunk)                   /* learner -> actor */                                                  \
  X(STATUS_REQUEST, status_request) /* agrlctl -> any daemon */                                             \
  X(STATUS, status)                                                                                         \
  X(CONTROL, control)               /* agrlctl -> supervisor */                                             \
  X(OK, ok)                         /* positive answer without content */                                   \
  X(ERROR, error)                   /* negative answer */

typedef enum agrl_msg_kind {
  AGRL_MSG_NONE,
#define AGRL_MSG_ENUM(NAME, field) AGRL_MSG_##NAME,
  AGRL_MSG_MAP(AGRL_MSG_ENUM)
#undef AGRL_MSG_ENUM
      AGRL_MSG_N
} agrl_msg_kind;

typedef struct agrl_msg {
  agrl_msg_kind kind;
  uint64_t id;               // request id; an answer repeats it; 0: no answer expected
  uint64_t deadline_ms;      // wall clock, 0: none; a receiver may drop what is past it (counted)
  union {
#define AGRL_MSG_FIELD(NAME, field) agrl_msg_##field field;
    AGRL_MSG_MAP(AGRL_MSG_FIELD)
#undef AGRL_MSG_FIELD
  };
} agrl_msg;

const char *agrl_msg_kind_name(agrl_msg_kind kind);
// Appends envelope + body to out. AGRL_ELIMIT when a limit is passed (the sender's bug or a too large batch).
agrl_rc agrl_msg_pack(const agrl_msg *m, agrl_buf *out, agrl_error *err);
// err->code tells why a message was refused: EPARSE, EVERSION (schema), ECHECKSUM, ELIMIT.
agrl_rc agrl_msg_unpack(const void *data, size_t len, agrl_arena *arena, agrl_msg *out, agrl_error *err);
// A scored trace alone, as replay stores it (same codec, no envelope).
agrl_rc agrl_scored_pack(const agrl_msg_scored *s, agrl_buf *out, agrl_error *err);
agrl_rc agrl_scored_unpack(const void *data, size_t len, agrl_arena *arena, agrl_msg_scored *out, agrl_error *err);

#endif
