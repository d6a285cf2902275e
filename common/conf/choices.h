// SPDX-License-Identifier: Apache-2.0
// Values of the configuration's keys that have named choices, in the order of their names in config.c.
#ifndef AGRL_CONF_CHOICES_H
#define AGRL_CONF_CHOICES_H

enum { AGRL_METHOD_SFT, AGRL_METHOD_DPO, AGRL_METHOD_GRPO, AGRL_METHOD_GRPO_PR, AGRL_METHOD_AGRL };  // run.method
enum { AGRL_REWARD_SHAPED, AGRL_REWARD_SPARSE };                            // reward.mode
enum { AGRL_GATE_NONE, AGRL_GATE_RULE, AGRL_GATE_OUTCOME, AGRL_GATE_BOTH };  // reward.gate
enum { AGRL_SYNC_SAFE, AGRL_SYNC_NOMETA, AGRL_SYNC_NONE };                  // replay.sync
enum { AGRL_SELECT_FRESH, AGRL_SELECT_PRIORITY, AGRL_SELECT_UNIFORM };      // replay.selector
enum { AGRL_GUIDED_GUIDE, AGRL_GUIDED_PLAIN, AGRL_GUIDED_TIS };             // grpo.guided_loss
enum { AGRL_ZERO_DROP, AGRL_ZERO_KEEP };                                    // grpo.zero_spread
enum { AGRL_ADVANTAGE_STD, AGRL_ADVANTAGE_MEAN };                           // grpo.advantage
enum { AGRL_AGGREGATE_SEQ_MEAN, AGRL_AGGREGATE_TOKEN_MEAN, AGRL_AGGREGATE_CONSTANT };  // grpo.aggregation
enum { AGRL_RATIO_TOKEN, AGRL_RATIO_SEQUENCE, AGRL_RATIO_CISPO };           // grpo.ratio
enum { AGRL_KL_K1, AGRL_KL_K2, AGRL_KL_K3 };                                // grpo.kl_estimator
enum { AGRL_OVERLONG_KEEP, AGRL_OVERLONG_MASK, AGRL_OVERLONG_SOFT };        // grpo.overlong

#endif
