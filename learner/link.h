// SPDX-License-Identifier: Apache-2.0
// Between the two threads of the learner. The loop thread owns every socket; the compute thread owns the training core.
// Orders go up a ring (woken by uv_async), answers come down another (woken by a condition). The compute thread has one
// call under way at a time. Functions below are for the compute thread unless said otherwise.
#ifndef AGRL_LEARNER_LINK_H
#define AGRL_LEARNER_LINK_H

#include "common/model/weights.h"
#include "common/net/net.h"
#include "common/svc/svc.h"
#include "learner/publish.h"

typedef struct learner_link learner_link;

// A request to replay and its answer, copied into arena. Waits at most timeout_ms; an ERROR answer comes as its code.
agrl_rc learner_link_call(learner_link *l, agrl_msg *m, uint64_t timeout_ms, agrl_arena *arena, agrl_msg *answer, agrl_error *err);
bool learner_link_stopping(learner_link *l);                // SIGTERM came: finish what is under way
bool learner_link_sleep(learner_link *l, uint64_t ms);      // false, at once, when stopping
void learner_link_publish(learner_link *l, learner_release r);  // what is served from now on; takes what r holds
void learner_link_model(learner_link *l, learner_model m);  // before the first publish; takes what m holds
void learner_link_event(learner_link *l, const char *event, char *members);         // event: a literal; takes members (JSON members)
void learner_link_finish(learner_link *l, int exit_code, uint64_t delay_ms);        // the last order

// Loop thread.
agrl_rc learner_link_open(learner_link **out, agrl_svc *s, learner_publisher *p, agrl_error *err);
void learner_link_stop(learner_link *l);   // makes stopping() true and wakes the compute thread
void learner_link_shut(learner_link *l);   // no answer will come any more: calls under way fail
void learner_link_close(learner_link *l);  // after the compute thread has ended

#endif
