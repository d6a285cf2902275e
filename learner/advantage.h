// SPDX-License-Identifier: Apache-2.0
// Group-relative advantages (formulas in advantage.c). Pure.
#ifndef AGRL_LEARNER_ADVANTAGE_H
#define AGRL_LEARNER_ADVANTAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/wire/msg.h"

typedef struct learner_advantage_rule {
  bool mean_only;                   // not divided by the standard deviation
  double clamp;                     // 0: none
  int64_t max_tokens, soft_buffer;  // the penalty grows over the last soft_buffer of max_tokens; 0: no penalty
} learner_advantage_rule;

// advantage has room for g->n. Members without a reward get 0. False: no spread (all are 0). *mean, *stddev: of the rewards less
// penalties; NaN when there are none.
bool learner_advantages(const agrl_group *g, const learner_advantage_rule *rule, double *advantage, double *mean, double *stddev);

#endif
