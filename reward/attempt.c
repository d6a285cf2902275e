// SPDX-License-Identifier: Apache-2.0
// See attempt.h.
#include "reward/attempt.h"

#include <string.h>

#include "common/base/clock.h"

double reward_attempt(const agrl_rules *r, const agrl_config *c, const agrl_msg_trace *t, agrl_reward_result *out) {
  uint64_t t0 = agrl_mono_ns();
  agrl_reward_score(r, c->reward.mode, c->reward.gate, t->text, strlen(t->text), &t->gold, out);
  uint64_t took = agrl_mono_ns() - t0;
  const char *failure = t->stop == AGRL_STOP_ERROR ? "the actor failed to generate it"
                        : c->reward.timeout_ns && took > c->reward.timeout_ns ? "scoring deadline passed" : NULL;
  if (failure && !out->missing) out->cause = failure;  // what the rule file misses comes first: it may stop the job
  out->missing |= failure != NULL;
  return (double)took * 1e-9;
}
