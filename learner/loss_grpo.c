// SPDX-License-Identifier: Apache-2.0
// Policy-gradient objectives: per row of n tokens, each with the row's weight w (which makes the aggregation),
//   loss = w * sum_t [ -surrogate_t + beta * kl_t ]
// grpo (arXiv 2402.03300)   min(r A, clip(r) A), r = exp(logp - old) with the sampler's recorded log-probs as old, bounded once
//                           more by dual_clip * A when A < 0 (dual-clip PPO, arXiv 1912.09729)
// gspo (arXiv 2507.18071)   the same with s = exp(mean_t(logp - old)), one ratio for all tokens of the row
// cispo (arXiv 2506.13585)  clip(r) A logp, clip(r) a constant: no token loses its gradient
// With tis_cap (truncated importance sampling) the old policy is the one at the start of the step, so its ratio is 1 and no clip
// can bite; each token weighs min(r, cap) (gspo: min(s, cap)), a constant.
// kl_t, with d = ref - logp: k1 = -d, k2 = d^2 / 2, k3 = e^d - d - 1 (non-negative, unbiased for tokens drawn from the policy).
// Guided rows were drawn given text the trained prompt does not have, so their r is small and a clip would silence
// them: `guide` uses f(r) = r / (r + gamma) unclipped, `plain` takes the policy at the start of the step as the old one (r = 1),
// `tis` weights A * logp by the constant min(r, 2). They carry no KL term: k3 presumes tokens drawn from the policy. tis_cap
// leaves them alone: what the policy would have given them under guidance is not known here.
#include <math.h>

#include "common/conf/config.h"
#include "learner/loss_int.h"

static const double GUIDED_TIS_BOUND = 2.0;

// Value of the surrogate objective (to be maximised) and its derivative by logp.
typedef struct surrogate {
  double value, slope;
} surrogate;

typedef struct token {
  double logp, a;
  double r;     // of the token, or of the row (gspo)
  bool inside;  // r's exponent is within the bounds
} token;

// Of a ratio's derivative r by its own logarithm; gspo's n tokens of 1/n each come to the same.
static surrogate clipped(const learner_loss_params *p, const token *t, learner_loss_stats *st) {
  double lo = 1.0 - p->clip_low, hi = 1.0 + p->clip_high, a = t->a, r = t->r;
  surrogate s = {r * a, t->inside ? r * a : 0.0};
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

static surrogate weighted(const learner_loss_params *p, const token *t, learner_loss_stats *st) {
  double lo = 1.0 - p->clip_low, hi = 1.0 + p->clip_high, w = t->r < lo ? lo : t->r > hi ? hi : t->r;
  st->clipped_cispo += w != t->r;
  return (surrogate){w * t->a * t->logp, w * t->a};
}

typedef surrogate (*plain_fn)(const learner_loss_params *p, const token *t, learner_loss_stats *st);

static surrogate truncated(const learner_loss_params *p, const token *t, plain_fn plain, learner_loss_stats *st) {
  double w = t->r > p->tis_cap ? p->tis_cap : t->r;  // not a number stays that
  st->truncated_high += t->inside && t->r > p->tis_cap;
  return (surrogate){w * t->a * (plain == weighted ? t->logp : 1.0), w * t->a};
}

static surrogate guided(const learner_loss_params *p, const token *t, learner_loss_stats *st) {
  double a = t->a, r = t->r;
  if (p->guided_loss == AGRL_GUIDED_PLAIN) return isnan(r) ? (surrogate){NAN, NAN} : (surrogate){a, a};
  if (p->guided_loss == AGRL_GUIDED_TIS) {
    double w = r > GUIDED_TIS_BOUND ? GUIDED_TIS_BOUND : r;
    st->truncated_high += t->inside && r > GUIDED_TIS_BOUND;
    return (surrogate){w * a * t->logp, w * a};
  }
  double d = r + p->gamma;
  return (surrogate){r / d * a, t->inside ? r * p->gamma / (d * d) * a : 0.0};
}

// Value and derivative by logp of the KL estimate.
static surrogate kl_term(int estimator, double logp, double ref) {
  bool inside;
  double d = loss_clamp_exponent(ref - logp, &inside);
  surrogate k = estimator == AGRL_KL_K1   ? (surrogate){-d, 1.0}
                : estimator == AGRL_KL_K2 ? (surrogate){0.5 * d * d, -d}
                                          : (surrogate){exp(d) - d - 1.0, 1.0 - exp(d)};
  if (!inside) k.slope = 0.0;
  return k;
}

static double mean_log_ratio(const learner_loss_row *row) {
  double sum = 0.0;
  for (size_t t = 0; t < row->n; t++) sum += (double)row->logp[t] - row->old[t];
  return row->n > 0 ? sum / (double)row->n : 0.0;
}

static void policy_row(const learner_loss_params *p, const learner_loss_row *row, bool sequence, plain_fn plain, learner_loss_stats *st) {
  double policy = 0.0, kl = 0.0;
  bool row_inside = true;
  const double row_ratio = sequence && !row->guided ? exp(loss_clamp_exponent(mean_log_ratio(row), &row_inside)) : 1.0;
  for (size_t t = 0; t < row->n; t++) {
    token k = {.logp = row->logp[t], .a = row->advantage};
    const double r = k.r = learner_ratio(k.logp, row->old[t], &k.inside);
    if (!k.inside && k.logp < row->old[t]) st->truncated_low++;
    if (!k.inside && k.logp > row->old[t]) st->truncated_high++;
    surrogate s;
    if (row->guided) {
      s = guided(p, &k, st);
      st->guided_tokens++;
      st->guided_ratio += r;
    } else {
      if (sequence) k.r = row_ratio, k.inside = row_inside;
      s = p->tis_cap > 0.0 ? truncated(p, &k, plain, st) : plain(p, &k, st);
      loss_observe(row, t, r, st);
    }
    double slope = -s.slope;
    policy -= s.value;
    if (!row->guided && row->ref != NULL) {
      surrogate e = kl_term(p->kl_estimator, k.logp, row->ref[t]);
      kl += e.value;
      slope += p->kl_beta * e.slope;
    }
    row->dlogp[t] = (float)(row->weight * slope);
  }
  st->policy += row->weight * policy;
  st->kl_loss += row->weight * p->kl_beta * kl;
  st->total += row->weight * (policy + p->kl_beta * kl);
}

static void grpo(const learner_loss_params *p, const learner_loss_row *row, learner_loss_stats *st) { policy_row(p, row, false, clipped, st); }
static void gspo(const learner_loss_params *p, const learner_loss_row *row, learner_loss_stats *st) { policy_row(p, row, true, clipped, st); }
static void cispo(const learner_loss_params *p, const learner_loss_row *row, learner_loss_stats *st) { policy_row(p, row, false, weighted, st); }

const learner_loss learner_loss_grpo = {"grpo", 1, grpo};
const learner_loss learner_loss_gspo = {"gspo", 1, gspo};
const learner_loss learner_loss_cispo = {"cispo", 1, cispo};
