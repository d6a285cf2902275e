// SPDX-License-Identifier: Apache-2.0
// One scored trace as the tests of the replay store make them.
#ifndef AGRL_TESTS_REPLAY_SCORED_H
#define AGRL_TESTS_REPLAY_SCORED_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "common/wire/msg.h"
#include "common/wire/version.h"

#define KIT_RUN 77u

// A scored trace that fits the group; reward NaN: missing.
static inline agrl_msg_scored kit_scored(uint64_t group, uint32_t member, uint32_t level, const char *prompt_id, uint64_t version,
                                         double reward, bool success) {
  static const int32_t prompt[3] = {1, 2, 3}, tokens[2] = {4, 5};
  static const float logprobs[2] = {-0.5f, -0.25f};
  static uint64_t versions[8][2];
  static size_t at;
  uint64_t *v = versions[at++ % 8];
  v[0] = v[1] = version;
  return (agrl_msg_scored){.trace = {.id = {KIT_RUN, group, member, 1},
                                     .actor = "actor-0",
                                     .prompt_id = prompt_id,
                                     .level = level,
                                     .gold = {3, "match", "partial"},
                                     .text = "3",
                                     .stop = AGRL_STOP_EOS,
                                     .n_prompt = 3,
                                     .n_tokens = 2,
                                     .prompt = prompt,
                                     .tokens = tokens,
                                     .logprobs = logprobs,
                                     .versions = v},
                           .reward = isnan(reward) ? 0 : reward,
                           .missing = isnan(reward),
                           .g_format = success,
                           .g_rule = success,
                           .accurate = success,
                           .tier = success ? 3 : 1,
                           .rules_hash = "",
                           .attempt = 1};
}

#endif
