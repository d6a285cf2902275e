// SPDX-License-Identifier: Apache-2.0
// One trace scored, with the failures that are not the rule file's: a trace that was never generated, a scoring that took too
// long. A failure makes the reward missing, never 0. Pure but for the clock; any thread.
#ifndef AGRL_REWARD_ATTEMPT_H
#define AGRL_REWARD_ATTEMPT_H

#include "common/conf/config.h"
#include "common/wire/msg.h"
#include "reward/rules.h"

// Seconds it took. The result's texts are the rule file's, or constant.
double reward_attempt(const agrl_rules *r, const agrl_config *c, const agrl_msg_trace *t, agrl_reward_result *out);

#endif
