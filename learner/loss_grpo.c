// SPDX-License-Identifier: Apache-2.0
// GRPO (arXiv 2402.03300) with the sampler's recorded log-probs as the behaviour policy. Per row of n tokens
//   loss = row_weight / n * sum_t [ -min(r A, clip(r) A) + beta * k3 ]         (seq-mean aggregation)
// with r = exp(logp - old), the clip bounded once more by dual_clip * A when A < 0 (dual-clip PPO, arXiv 1912.09729), and
// k3 = e^d - d - 1, d = ref - logp (non-negative, unbiased for tokens drawn from the policy).
// Guided rows were drawn given text the trained prompt does not have, so their r is small and a clip would silence
// them: `guide` uses f(r) = r / (r + gamma) unclipped, `plain` takes the policy at the start of the step as the old one (r = 1),
// `tis` weights A * logp by the constant min(r, 2). They carry no KL term: k3 presumes tokens drawn from the policy.
#include "learner/loss.h"

#include <math.h>
#include <stdlib.h>

#include "common/conf/config.h"

static const double EXPONENT_BOUND = 20.0;
static const double TIS_BOUND = 2.0;

double learner_ratio(double logp, double old, bool *inside) {
  double d = logp - old;
  *inside = fabs(d) <= EXPONENT_BOUND;
  if (d > EXPONENT_BOUND) d = EXPONENT_BOUND;
  if (d < -EXPONENT_BOUND) d = -EXPONENT_BOUND;
  return exp(d);
}

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

// Value of the surrogate objective (to be maximised) and its derivative by logp.
typedef struct surrogate {
  double value, slope;
} surrogate;

static surrogate clipped(const learner_loss_params *p, double r, bool inside, double a, learner_loss_stats *st) {
  double lo = 1.0 - p->clip_low, hi = 1.0 + p->clip_high;
  surrogate s = {r * a, inside ? r * a : 0.0};
  if (a > 0.0 && r > hi) {
    s = (surrogate){hi * a, 0.0};
    st->clipped_high++;
  } else if (a < 0.0 && r < lo) {
    s = (surrogate){lo * a, 0.0};
    st->clipped_low++;
  } else if (a < 0.0 && p->dual_clip > 1.0 && r > p->dual_clip) {
    s = (surrogate){p->dual_clip * a, 0.0};
    st->clipped_dual++;
  }
  return s;
}

static surrogate guided(const learner_loss_params *p, double logp, double r, bool inside, double a) {
  if (p->guided_loss == AGRL_GUIDED_PLAIN) return (surrogate){a, a};
  if (p->guided_loss == AGRL_GUIDED_TIS) {
    double w = r < TIS_BOUND ? r : TIS_BOUND;
    return (surrogate){w * a * logp, w * a};
  }
  double d = r + p->gamma;
  return (surrogate){r / d * a, inside ? r * p->gamma / (d * d) * a : 0.0};
}

// Three estimators of KL(p || q) from a token drawn from p, given d = log q - log p.
static void add_kl(double sums[3], double d) {
  sums[0] += -d;
  sums[1] += 0.5 * d * d;
  sums[2] += exp(d) - d - 1.0;
}

static double clamp_exponent(double d, bool *inside) {
  *inside = fabs(d) <= EXPONENT_BOUND;
  return d > EXPONENT_BOUND ? EXPONENT_BOUND : d < -EXPONENT_BOUND ? -EXPONENT_BOUND : d;
}

static void grpo_row(const learner_loss_params *p, const learner_loss_row *row, learner_loss_stats *st) {
  double w = p->row_weight / (double)row->n, policy = 0.0, kl = 0.0;
  for (size_t t = 0; t < row->n; t++) {
    bool inside;
    double logp = row->logp[t], r = learner_ratio(logp, row->old[t], &inside);
    if (!inside && logp < row->old[t]) st->truncated_low++;
    if (logp > row->old[t] && (!inside || (row->guided && p->guided_loss == AGRL_GUIDED_TIS && r > TIS_BOUND))) st->truncated_high++;
    surrogate s = row->guided ? guided(p, logp, r, inside, row->advantage) : clipped(p, r, inside, row->advantage, st);
    double slope = -s.slope;
    policy -= s.value;
    if (row->guided) {
      st->guided_tokens++;
      st->guided_ratio += r;
    } else {
      st->tokens++;
      st->ratio += r;
      st->ratio_sq += r * r;
      add_kl(st->kl_sampler, clamp_exponent(logp - row->old[t], &inside));
      if (row->ref != NULL) {
        double d = clamp_exponent(row->ref[t] - logp, &inside);
        st->reference_tokens++;
        add_kl(st->kl_reference, d);
        kl += exp(d) - d - 1.0;
        if (inside) slope += p->kl_beta * (1.0 - exp(d));
      }
    }
    row->dlogp[t] = (float)(w * slope);
  }
  st->policy += w * policy;
  st->kl_loss += w * p->kl_beta * kl;
  st->total += w * (policy + p->kl_beta * kl);
}

const learner_loss learner_loss_grpo = {"grpo", grpo_row};
