// SPDX-License-Identifier: Apache-2.0
// Direct preference optimization (arXiv 2305.18290). Of a pair, with sums over the completion's tokens,
//   m = beta * [ sum(logp - ref) of the chosen - sum(logp - ref) of the rejected ],    loss = w * log(1 + e^-m)
// Tokens both completions begin with cancel exactly. The KL sums are statistics only; there is no KL term.
#include <math.h>

#include "learner/loss_int.h"

static double implicit_reward(const learner_loss_params *p, const learner_loss_row *row) {
  double sum = 0.0;
  for (size_t t = 0; t < row->n; t++) sum += (double)row->logp[t] - row->ref[t];
  return p->dpo_beta * sum;
}

static void spread_slope(const learner_loss_row *row, double slope, learner_loss_stats *st) {
  for (size_t t = 0; t < row->n; t++) {
    row->dlogp[t] = (float)slope;
    if (row->old == NULL) continue;
    bool inside;
    double r = learner_ratio(row->logp[t], row->old[t], &inside);
    if (!inside && row->logp[t] < row->old[t]) st->truncated_low++;
    if (!inside && row->logp[t] > row->old[t]) st->truncated_high++;
    loss_observe(row, t, r, st);
  }
}

static void dpo(const learner_loss_params *p, const learner_loss_row *pair, learner_loss_stats *st) {
  const double chosen = implicit_reward(p, &pair[0]), rejected = implicit_reward(p, &pair[1]), m = chosen - rejected;
  const double e = exp(-fabs(m)), w = pair[0].weight;       // <= 1
  const double loss = (m > 0.0 ? 0.0 : -m) + log1p(e);      // log(1 + e^-m)
  const double pull = (m > 0.0 ? e : 1.0) / (1.0 + e);      // 1 / (1 + e^m) = -d(loss)/dm
  spread_slope(&pair[0], -w * p->dpo_beta * pull, st);
  spread_slope(&pair[1], w * p->dpo_beta * pull, st);
  st->policy += w * loss;
  st->total += w * loss;
  st->pairs++;
  st->pairs_won += m > 0.0;
  st->pair_margin += m;
  st->pair_chosen += chosen;
  st->pair_rejected += rejected;
}

const learner_loss learner_loss_dpo = {"dpo", 2, dpo};
