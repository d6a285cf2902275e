// SPDX-License-Identifier: Apache-2.0
// The engine thread: takes tasks and weights from the loop thread, gives finished traces back, never touches a socket.
// All functions are for the loop thread. Finished traces come through a bounded ring; uv_async wakes the loop.
#ifndef AGRL_ACTOR_RUNNER_H
#define AGRL_ACTOR_RUNNER_H

#include <uv.h>

#include "actor/unacked.h"
#include "common/model/weights.h"
#include "common/text/bpe.h"

typedef struct actor_runner actor_runner;

typedef struct actor_runner_config {
  const agrl_layout *layout;
  const agrl_bpe *bpe;
  size_t slots, context, max_new;  // context: of prompt and completion together, at most the model's
  unsigned threads;
  double temperature, top_p;
  int top_k;
  const char *actor;  // name, copied
  void (*swapped)(double seconds);  // engine thread, after each weight swap
} actor_runner_config;

typedef struct actor_runner_stats {  // a consistent-enough copy for metrics
  uint64_t prompt_tokens, completion_tokens, steps, slot_steps, opened, shared, busy_ns;
  double kv_used_ratio;
} actor_runner_stats;

// done is called on the loop thread for each finished trace (ownership passes).
agrl_rc actor_runner_start(actor_runner **out, uv_loop_t *loop, const actor_runner_config *c,
                           void (*done)(void *user, actor_trace *t), void *user, agrl_error *err);
void actor_runner_stop(actor_runner *r);  // ends the thread after its current step; unfinished rollouts are dropped
void actor_runner_weights(actor_runner *r, agrl_weights *w);  // takes the reference
// Copies the task. AGRL_ELIMIT: the prompt does not fit; AGRL_EAGAIN: the ring is full.
agrl_rc actor_runner_submit(actor_runner *r, const agrl_task *t, agrl_error *err);
size_t actor_runner_load(const actor_runner *r);  // rollouts submitted and not yet returned
actor_runner_stats actor_runner_get_stats(const actor_runner *r);

#endif
