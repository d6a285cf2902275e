// SPDX-License-Identifier: Apache-2.0
// The rollout actor's state, owned by its loop thread. Life: joining (no weights yet) -> serving -> draining.
#ifndef AGRL_ACTOR_ACTOR_H
#define AGRL_ACTOR_ACTOR_H

#include "actor/runner.h"
#include "actor/unacked.h"
#include "actor/weights_client.h"
#include "common/svc/svc.h"

typedef struct actor_state {
  agrl_rpc *replay, *reward;
  actor_weights_client *weights;
  actor_runner *runner;
  agrl_bpe *bpe;
  actor_unacked unacked;
  uv_timer_t tick;        // requests, resends, drain deadline
  bool asking;            // a task request is under way
  uint64_t ask_after_ns;  // replay asked for patience
  uint64_t drain_until_ns;
  uint64_t version;       // newest weights handed to the engine
  uint64_t rollouts, acked, resent;
  uint64_t started_ns;
} actor_state;

extern const agrl_svc_def actor_svc_def;

void actor_metrics_register(void);
void actor_metrics_refresh(agrl_svc *s);
void actor_metrics_trace(const agrl_msg_trace *t);
void actor_metrics_errors(size_t traces);  // of refused tasks, and those that cannot be sent
void actor_metrics_swap(double seconds);  // any thread
// Share of the 4-grams that stood in the same completion before; NaN when it is shorter than one.
double actor_repetition_ratio(const int32_t *tokens, size_t n);

#endif
