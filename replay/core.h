// SPDX-License-Identifier: Apache-2.0
// The replay service without sockets: live groups in memory, written through to the store. All changes go through
// replay_core_write: its body alters groups, prompts and meta in memory (touching each first); then everything touched is
// put into the same transaction as what the body put itself, and committed. On any failure memory is as it was before.
// So memory never runs ahead of the disk by more than the body that is running. Times come in as arguments (monotonic
// nanoseconds), so tests own the clock. Loop thread only.
#ifndef AGRL_REPLAY_CORE_H
#define AGRL_REPLAY_CORE_H

#include "common/conf/config.h"
#include "common/wire/msg.h"
#include "replay/assemble.h"
#include "replay/limiter.h"
#include "replay/prompts.h"
#include "replay/store.h"

#define REPLAY_BATCH_BYTES_MAX ((size_t)96 << 20)

typedef enum { REPLAY_MEMBER_WANTED, REPLAY_MEMBER_OUT, REPLAY_MEMBER_PENDING, REPLAY_MEMBER_HAVE } replay_member_state;

typedef struct replay_member {
  uint8_t state;           // replay_member_state
  uint32_t actor;          // index, while OUT or PENDING
  uint32_t reissues;       // since start; part of the attempt number
  uint64_t lease_end_ns;   // while OUT
} replay_member;

typedef struct replay_group {
  replay_group_rec rec, before;  // before: while touched
  bool touched, fresh, known;    // fresh: added by the body that is running; known: has a record in the store
  uint32_t prompt;               // index or REPLAY_NO_PROMPT
  size_t n_members;              // 0 once READY: members and results are for groups under way only
  replay_member *members;
  replay_result *results;
  uint64_t lease_end_ns;         // LEASED
} replay_group;

typedef struct replay_actor {
  char name[256];
  uint8_t peer_len, peer[64];    // of the connection that asked last
} replay_actor;

typedef struct replay_counts {   // since start, for metrics
  uint64_t inserts, duplicates, unwanted, bad;
  uint64_t reissues_lease, reissues_restart;  // groups, once per time
  uint64_t removals[REPLAY_CAUSE_N], purged;
  uint64_t guided_groups, plain_groups, climbs[REPLAY_MAX_LEVELS + 1], solved[REPLAY_MAX_LEVELS + 1], last_calls;
  uint64_t ready, leased, double_trained, returned;
} replay_counts;

typedef struct replay_core {
  const agrl_config *conf;
  uint64_t run;
  size_t batch_bytes_max;        // of records in one answer to the learner: fewer groups than asked keep within it
  replay_store *store;
  replay_prompts prompts;
  replay_meta meta, meta_before;
  replay_group **groups;         // unfinished, ascending id
  size_t n_groups, cap_groups;
  uint32_t *touched_prompts;     // with their former state
  replay_prompt *prompts_before;
  size_t n_touched, cap_touched;
  replay_actor *actors;
  size_t n_actors, cap_actors;
  uint64_t stored_groups;        // records in the groups table, closed ones too
  uint64_t refused_full, refused_io;  // writes that failed, since start
  replay_counts counts, counts_before;
  void (*on_ready)(void *user, const replay_group *g);  // metrics; may be NULL
  void *user;
} replay_core;

// Opens the store in dir and rebuilds memory from it: unfinished groups with the members that are in, history, totals.
agrl_rc replay_core_open(replay_core *c, const agrl_config *conf, uint64_t run, const char *dir, const agrl_row *rows, size_t n_rows,
                         const agrl_task_text *text, uint64_t now_ns, agrl_error *err);
void replay_core_close(replay_core *c);

typedef agrl_rc (*replay_body_fn)(replay_core *c, void *user, agrl_error *err);
// Runs body in a transaction. A full map is grown and body run again (so body must only depend on memory that is
// restored). AGRL_EFULL, AGRL_EIO: nothing happened; whoever asked is refused.
agrl_rc replay_core_write(replay_core *c, replay_body_fn body, void *user, agrl_error *err);

replay_group *replay_core_find(const replay_core *c, uint64_t id);  // unfinished; NULL
// Inside a body only:
void replay_core_touch(replay_core *c, replay_group *g);
replay_prompt *replay_core_touch_prompt(replay_core *c, uint32_t i);
replay_group *replay_core_add(replay_core *c, const replay_group_rec *rec, bool known);  // known: its record is in the store
void replay_core_retire(replay_core *c, replay_group *g, replay_cause cause);
// Decides a group under way with what is in and acts on it. True when its state or level changed.
bool replay_core_decide(replay_core *c, replay_group *g, bool last_call);

replay_result replay_result_of(const agrl_msg_scored *s);  // core_load.c
uint16_t replay_core_guided_per_level(const agrl_config *conf);  // K
replay_rules replay_core_rules(const replay_core *c);
replay_limits replay_core_limits(const replay_core *c);
replay_flow replay_core_flow(const replay_core *c);
size_t replay_core_count(const replay_core *c, replay_state state);
uint64_t replay_core_oldest(const replay_group *g);  // oldest token known; UINT64_MAX: none

#endif
