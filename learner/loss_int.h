// SPDX-License-Identifier: Apache-2.0
// What the objectives share. For loss*.c only.
#ifndef AGRL_LEARNER_LOSS_INT_H
#define AGRL_LEARNER_LOSS_INT_H

#include "learner/loss.h"

double loss_clamp_exponent(double d, bool *inside);  // to +-20
// Counts token t of a plain sampled row: ratio, KL against the sampler and, where there is one, the reference.
void loss_observe(const learner_loss_row *row, size_t t, double ratio, learner_loss_stats *st);

#endif
