// SPDX-License-Identifier: Apache-2.0
// The learning rate of a step: linear warm-up from lr/warmup to lr, then half a cosine down to lr * min_ratio.
#include <math.h>

#include "learner/learner.h"

double learner_lr(double lr, double min_ratio, int64_t warmup, int64_t total, int64_t step) {
  if (step < warmup) return lr * (double)(step + 1) / (double)warmup;
  int64_t span = total - 1 - warmup;
  double done = span > 0 ? (double)(step - warmup) / (double)span : 1.0;
  if (done > 1.0) done = 1.0;
  return lr * (min_ratio + (1.0 - min_ratio) * 0.5 * (1.0 + cos(M_PI * done)));
}
