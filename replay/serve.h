// SPDX-License-Identifier: Apache-2.0
// The learner's side of the store: batches out, what was trained back in. See serve.c for why no group is trained twice.
// Times are monotonic nanoseconds given by the caller. Loop thread only.
#ifndef AGRL_REPLAY_SERVE_H
#define AGRL_REPLAY_SERVE_H

#include "replay/core.h"

// A BATCH_REQUEST has come for weights of this version: takes the version as the newest, returns what was leased for the
// same update (the learner would not ask again had it got it), sweeps what is too old. AGRL_EVERSION: an old request.
agrl_rc replay_serve_arrive(replay_core *c, uint64_t version, agrl_error *err);
// Group ids go on above the highest that the learner has trained: for a store that was lost while the learner went on.
agrl_rc replay_serve_skip_ids(replay_core *c, uint64_t max_group, agrl_error *err);
// Leases and loads a batch when one may be served now; out->n_groups == 0 when not. patient: wait for groups under way
// that this very batch would make too old; otherwise those are decided now with what is in. Everything is in arena.
agrl_rc replay_serve_try(replay_core *c, uint64_t version, uint32_t want, bool patient, uint64_t now_ns, agrl_arena *arena,
                         agrl_msg_batch *out, agrl_error *err);
agrl_rc replay_serve_trained(replay_core *c, const agrl_msg_trained *m, agrl_error *err);  // idempotent
agrl_rc replay_serve_hello(replay_core *c, const agrl_msg_hello *m, agrl_msg_hello_reply *out, agrl_error *err);
agrl_rc replay_serve_checkpointed(replay_core *c, uint64_t version, agrl_error *err);
// Groups by id in any state that has members chosen, in the order asked; those not there or not readable are left out;
// AGRL_EAGAIN, AGRL_EIO: the store cannot be read at the moment, which says nothing of the groups.
agrl_rc replay_serve_fetch(replay_core *c, const agrl_msg_groups_fetch *m, agrl_arena *arena, agrl_msg_batch *out, agrl_error *err);
// Retires groups whose lease has passed although the learner went on to newer weights without reporting them.
agrl_rc replay_serve_expire(replay_core *c, uint64_t now_ns, agrl_error *err);

#endif
