// SPDX-License-Identifier: Apache-2.0
// Group-relative advantages: A_i = clamp((R_i - mean) / (std + 1e-6), -clamp, clamp), over the final mixed group (plain and
// guided members together), std of the population; clamp 0 leaves them unclamped. A member whose reward is missing takes no part and gets 0.
#include <math.h>

#include "learner/learner.h"

static const double STD_FLOOR = 1e-6;  // below it rewards count as equal

bool learner_advantages(const agrl_group *g, double clamp, double *advantage, double *mean, double *stddev) {
  double sum = 0.0, sq = 0.0;
  size_t n = 0;
  for (size_t i = 0; i < g->n; i++) {
    advantage[i] = 0.0;
    if (g->members[i].missing || !isfinite(g->members[i].reward)) continue;
    sum += g->members[i].reward;
    n++;
  }
  *mean = n > 0 ? sum / (double)n : NAN;
  for (size_t i = 0; i < g->n; i++) {
    if (g->members[i].missing || !isfinite(g->members[i].reward)) continue;
    double d = g->members[i].reward - *mean;
    sq += d * d;
  }
  *stddev = n > 0 ? sqrt(sq / (double)n) : NAN;
  if (n < 2 || *stddev <= STD_FLOOR) return false;
  for (size_t i = 0; i < g->n; i++) {
    if (g->members[i].missing || !isfinite(g->members[i].reward)) continue;
    double a = (g->members[i].reward - *mean) / (*stddev + STD_FLOOR);
    if (clamp > 0.0) a = a > clamp ? clamp : a < -clamp ? -clamp : a;
    advantage[i] = a;
  }
  return true;
}
