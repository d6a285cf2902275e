// SPDX-License-Identifier: Apache-2.0
// Task scheduler: who generates what. An actor asks for `want` sequences and gets members of groups, oldest group first
// (what was lost is given out again, then the rest and the next ladder level of groups under way), then new groups while
// pacing admits. Work of a group under way is always granted: it has been admitted. A new group is durable before its
// task leaves. Leases of members live in memory only. Loop thread only.
#ifndef AGRL_REPLAY_SCHEDULE_H
#define AGRL_REPLAY_SCHEDULE_H

#include "replay/core.h"

#define REPLAY_GRANT_BYTES_MAX ((size_t)8 << 20)  // of text in one grant, half of what the wire takes

typedef struct replay_ask {
  const char *actor;
  const uint8_t *peer;  // identity of the connection: a new one means that the actor began anew and lost its tasks
  size_t peer_len;
  uint32_t want;
  uint64_t version;     // weights the actor serves
  uint64_t now_ns, wall_ms;
} replay_ask;

// out and what it points to live in arena. No tasks: out->retry_ms says when to ask again, out->done that none will come.
agrl_rc replay_schedule_grant(replay_core *c, const replay_ask *ask, agrl_arena *arena, agrl_msg_task_grant *out, agrl_error *err);
// The grant never left: its members are wanted again.
void replay_schedule_undo(replay_core *c, const agrl_msg_task_grant *grant);
// Members whose lease has passed are wanted again. How many.
size_t replay_schedule_expire(replay_core *c, uint64_t now_ns);
bool replay_schedule_done(const replay_core *c);  // the job's last version is reached

#endif
