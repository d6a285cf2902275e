// SPDX-License-Identifier: Apache-2.0
// Objectives. A loss sees a unit of rows at a time (a row: the completion tokens of one trace; a unit: one row, or the two of a
// preference pair) and gives d(loss)/d(log-prob) of every token; the trainer's backward does the rest. What depends on the
// whole step (weights, quantiles) is fixed before the first unit. Pure functions of their arguments; sums are kept in double.
// Nothing overflows: exponents are held within +-20. A log-prob that is not a number makes the total one, and the step is skipped.
// (The cross-entropy of SFT has a gradient known before the forward pass, so it needs none of this: learner_pack_cross_entropy.)
#ifndef AGRL_LEARNER_LOSS_H
#define AGRL_LEARNER_LOSS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct learner_loss_params {
  double clip_low, clip_high;  // the ratio is clipped to [1 - low, 1 + high]
  double dual_clip;            // bound of the ratio when the advantage is negative; <= 1: off
  double tis_cap;              // > 0: old policy = the one at the start of the step, token weight min(old / sampler, this)
  double kl_beta;
  int kl_estimator;            // AGRL_KL_*
  int guided_loss;             // AGRL_GUIDED_*
  double gamma;                // of AGRL_GUIDED_GUIDE, see learner_guide_gamma
  double dpo_beta;
} learner_loss_params;

typedef struct learner_loss_row {
  size_t n;                // tokens; 0 adds nothing
  const float *logp;       // under the weights being trained
  const float *old;        // as recorded by the sampler (given the guidance when guided); NULL: not sampled (DPO's reference trace)
  const float *ref;        // under the reference; NULL: no KL term
  double advantage;
  double weight;           // of each token in the loss; DPO: of the pair
  bool guided;
  float *dlogp;            // out
} learner_loss_row;

typedef struct learner_loss_stats {  // sums over rows; zero before the first
  double total, policy, kl_loss;     // contributions to the loss
  size_t tokens;                     // plain tokens that were sampled: those below are over them
  size_t clipped_low, clipped_high, clipped_dual, clipped_cispo;
  size_t truncated_low, truncated_high;  // tokens, guided ones too, whose ratio was replaced by a bound (not clipped: that depends on A)
  double ratio, ratio_sq;            // sum of r, of r^2
  size_t reference_tokens;           // those of them that have a reference value
  double kl_reference[3];            // k1, k2, k3 against the reference, over those
  double kl_sampler[3];
  size_t guided_tokens;
  double guided_ratio;
  size_t pairs, pairs_won;           // DPO; won: margin > 0
  double pair_margin, pair_chosen, pair_rejected;  // implicit rewards beta * log(policy / reference), their difference
} learner_loss_stats;

typedef struct learner_loss {
  const char *name;
  size_t unit;  // rows of one call, all with a reference when 2: chosen, rejected
  void (*rows)(const learner_loss_params *p, const learner_loss_row *rows, learner_loss_stats *st);
} learner_loss;

extern const learner_loss learner_loss_grpo, learner_loss_gspo, learner_loss_cispo, learner_loss_dpo;

const learner_loss *learner_loss_choose(int method, int ratio);  // AGRL_METHOD_*, AGRL_RATIO_*

// The weight of each token of a sequence of n_tokens in a step of that many sequences and tokens: AGRL_AGGREGATE_*. 0 for an empty one.
double learner_token_weight(int aggregation, size_t n_tokens, size_t sequences, size_t tokens, int64_t max_tokens);
// The quantile q (linear between order statistics, ratios is sorted in place) of the guided tokens' ratios, at least floor.
double learner_guide_gamma(float *ratios, size_t n, double q, double floor);
// exp(logp - old) with the exponent held within +-20, where the derivative is taken as 0. *inside: within.
double learner_ratio(double logp, double old, bool *inside);

#endif
