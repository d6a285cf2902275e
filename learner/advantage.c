// SPDX-License-Identifier: Apache-2.0
// Group-relative advantages over the final mixed group (plain and guided members together): A_i = R_i - mean, over the population's
// std + 1e-6 unless the rule is mean-only (Dr.GRPO, arXiv 2503.20783), then clamped. R is the reward less the soft penalty of
// overlong completions (DAPO, arXiv 2503.14476): 0 up to max - buffer tokens, from there linear to 1 at max.
// A member whose reward is missing takes no part and gets 0.
#include "learner/advantage.h"

#include <math.h>

static const double STD_FLOOR = 1e-6;  // below it rewards count as equal

static bool takes_part(const agrl_msg_scored *m) { return !m->missing && isfinite(m->reward); }

static double penalised(const agrl_msg_scored *m, const learner_advantage_rule *rule) {
  if (rule->soft_buffer <= 0) return m->reward;
  double over = ((double)m->trace.n_tokens - (double)(rule->max_tokens - rule->soft_buffer)) / (double)rule->soft_buffer;
  return m->reward - (over <= 0.0 ? 0.0 : over >= 1.0 ? 1.0 : over);
}

bool learner_advantages(const agrl_group *g, const learner_advantage_rule *rule, double *advantage, double *mean, double *stddev) {
  double sum = 0.0, sq = 0.0;
  size_t n = 0;
  for (size_t i = 0; i < g->n; i++) {
    advantage[i] = 0.0;
    if (!takes_part(&g->members[i])) continue;
    sum += penalised(&g->members[i], rule);
    n++;
  }
  *mean = n > 0 ? sum / (double)n : NAN;
  for (size_t i = 0; i < g->n; i++) {
    if (!takes_part(&g->members[i])) continue;
    double d = penalised(&g->members[i], rule) - *mean;
    sq += d * d;
  }
  *stddev = n > 0 ? sqrt(sq / (double)n) : NAN;
  if (n < 2 || *stddev <= STD_FLOOR) return false;
  for (size_t i = 0; i < g->n; i++) {
    if (!takes_part(&g->members[i])) continue;
    double a = penalised(&g->members[i], rule) - *mean;
    if (!rule->mean_only) a /= *stddev + STD_FLOOR;
    if (rule->clamp > 0.0) a = a > rule->clamp ? rule->clamp : a < -rule->clamp ? -rule->clamp : a;
    advantage[i] = a;
  }
  return true;
}
