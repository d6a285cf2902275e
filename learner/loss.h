// SPDX-License-Identifier: Apache-2.0
// Objectives. A loss sees one row (the completion tokens of one rollout) at a time and gives d(loss)/d(log-prob) of
// every token; the trainer's backward does the rest. Rows of a step share params, so that normalisation and batch quantiles
// are fixed before the first row. Pure functions of their arguments; sums are kept in double.
#ifndef AGRL_LEARNER_LOSS_H
#define AGRL_LEARNER_LOSS_H

#include <stdbool.h>
#include <stddef.h>

typedef struct learner_loss_params {
  double clip_low, clip_high;  // the ratio is clipped to [1 - low, 1 + high]
  double dual_clip;            // bound of the ratio when the advantage is negative; <= 1: off
  double kl_beta;
  int guided_loss;             // AGRL_GUIDED_*
  double gamma;                // of AGRL_GUIDED_GUIDE, see learner_guide_gamma
  double row_weight;           // 1 / rows trained in the step
} learner_loss_params;

typedef struct learner_loss_row {
  size_t n;                // tokens, >= 1
  const float *logp;       // under the weights being trained
  const float *old;        // as recorded by the sampler (given the guidance when guided)
  const float *ref;        // under the frozen reference; NULL: no KL term
  double advantage;
  bool guided;
  float *dlogp;            // out
} learner_loss_row;

typedef struct learner_loss_stats {  // sums over rows; zero before the first
  double total, policy, kl_loss;     // contributions to the loss
  size_t tokens;                     // plain tokens: those below are over them
  size_t clipped_low, clipped_high, clipped_dual;
  size_t truncated_low, truncated_high;  // tokens, guided ones too, whose ratio was replaced by a bound (not clipped: that depends on A)
  double ratio, ratio_sq;            // sum of r, of r^2
  size_t reference_tokens;           // those of them that have a reference value
  double kl_reference[3];            // k1, k2, k3 against the reference, over those
  double kl_sampler[3];
  size_t guided_tokens;
  double guided_ratio;
} learner_loss_stats;

typedef struct learner_loss {
  const char *name;
  void (*row)(const learner_loss_params *p, const learner_loss_row *r, learner_loss_stats *st);
} learner_loss;

extern const learner_loss learner_loss_grpo;

// The quantile q (linear between order statistics, ratios is sorted in place) of the guided tokens' ratios, at least floor.
double learner_guide_gamma(float *ratios, size_t n, double q, double floor);
// exp(logp - old) with the exponent held within +-20, where the derivative is taken as 0. *inside: within.
double learner_ratio(double logp, double old, bool *inside);

#endif
