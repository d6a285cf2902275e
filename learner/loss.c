// SPDX-License-Identifier: Apache-2.0
// Ratios and their statistics, the same for every objective.
#include <math.h>
#include <stdlib.h>

#include "common/conf/config.h"
#include "learner/loss_int.h"

static const double EXPONENT_BOUND = 20.0;

double loss_clamp_exponent(double d, bool *inside) {
  *inside = fabs(d) <= EXPONENT_BOUND;
  return d > EXPONENT_BOUND ? EXPONENT_BOUND : d < -EXPONENT_BOUND ? -EXPONENT_BOUND : d;
}

double learner_ratio(double logp, double old, bool *inside) { return exp(loss_clamp_exponent(logp - old, inside)); }

static int compare_floats(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

double learner_guide_gamma(float *ratios, size_t n, double q, double floor) {
  if (n == 0) return floor;
  qsort(ratios, n, sizeof *ratios, compare_floats);
  double at = q * (double)(n - 1);
  size_t i = (size_t)at;
  if (i + 1 >= n) i = n - 1;
  double next = i + 1 < n ? ratios[i + 1] : ratios[i];
  double gamma = ratios[i] + (at - (double)i) * (next - ratios[i]);
  return gamma > floor ? gamma : floor;
}

// Three estimators of KL(p || q) from a token drawn from p, given d = log q - log p.
static void add_kl(double sums[3], double d) {
  sums[0] += -d;
  sums[1] += 0.5 * d * d;
  sums[2] += exp(d) - d - 1.0;
}

void loss_observe(const learner_loss_row *row, size_t t, double ratio, learner_loss_stats *st) {
  bool inside;
  st->tokens++;
  st->ratio += ratio;
  st->ratio_sq += ratio * ratio;
  add_kl(st->kl_sampler, loss_clamp_exponent((double)row->logp[t] - row->old[t], &inside));
  if (row->ref == NULL) return;
  st->reference_tokens++;
  add_kl(st->kl_reference, loss_clamp_exponent((double)row->ref[t] - row->logp[t], &inside));
}

const learner_loss *learner_loss_choose(int method, int ratio) {
  if (method == AGRL_METHOD_DPO) return &learner_loss_dpo;
  return ratio == AGRL_RATIO_SEQUENCE ? &learner_loss_gspo : ratio == AGRL_RATIO_CISPO ? &learner_loss_cispo : &learner_loss_grpo;
}

double learner_token_weight(int aggregation, size_t n_tokens, size_t sequences, size_t tokens, int64_t max_tokens) {
  if (n_tokens == 0) return 0.0;
  if (aggregation == AGRL_AGGREGATE_TOKEN_MEAN) return 1.0 / (double)tokens;
  return 1.0 / ((double)sequences * (aggregation == AGRL_AGGREGATE_CONSTANT ? (double)max_tokens : (double)n_tokens));
}
