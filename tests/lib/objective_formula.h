// SPDX-License-Identifier: Apache-2.0
// The objectives in float64, written from the papers' formulas: the whole loss of a unit as one function of its log-probs, a second
// copy of them standing where a formula has a stop-gradient. Shares no code with the product.
#ifndef AGRL_TESTS_OBJECTIVE_FORMULA_H
#define AGRL_TESTS_OBJECTIVE_FORMULA_H

#include <math.h>

#include "tests/lib/step_kit.h"

enum { MAX = 24, ROWS = 12, MAX_TOKENS = 40 };

typedef struct row {
  size_t n;
  double x[MAX], old[MAX], ref[MAX], a, weight;
  bool guided, has_ref, sampled;
} row;

typedef double (*formula)(const learner_loss_params *p, const row *rows, const row *fixed);

static inline double bound(double v, double lo, double hi) { return fmin(fmax(v, lo), hi); }
static inline double held_exp(double v) { return exp(bound(v, -20, 20)); }

// ---- the formulas

static inline double kl_of(int estimator, double d) {  // d = log policy - log reference
  d = bound(d, -20, 20);
  switch (estimator) {
    case AGRL_KL_K1: return d;
    case AGRL_KL_K2: return d * d / 2;
    default: return exp(-d) - 1 + d;
  }
}

static inline double guided_objective(const learner_loss_params *p, const row *r, const row *f, size_t t) {
  double ratio = held_exp(r->x[t] - r->old[t]), fixed = held_exp(f->x[t] - r->old[t]);
  switch (p->guided_loss) {
    case AGRL_GUIDED_GUIDE: return r->a * ratio / (ratio + p->gamma);
    case AGRL_GUIDED_PLAIN: return r->a * bound(exp(r->x[t] - f->x[t]), 1 - p->clip_low, 1 + p->clip_high);
    default: return r->a * fmin(fixed, 2) * r->x[t];
  }
}

static inline double ppo(const learner_loss_params *p, double ratio, double a) {
  double v = fmin(ratio * a, bound(ratio, 1 - p->clip_low, 1 + p->clip_high) * a);
  return a < 0 && p->dual_clip > 1 ? fmax(v, p->dual_clip * a) : v;
}

static inline double mean_difference(const row *r, const row *x) {
  double sum = 0;
  for (size_t t = 0; t < r->n; t++) sum += x->x[t] - r->old[t];
  return r->n ? sum / (double)r->n : 0;
}

static inline double with_kl_and_guidance(const learner_loss_params *p, const row *r, const row *f, size_t t, double objective) {
  if (r->guided) return -guided_objective(p, r, f, t);
  return -objective + (r->has_ref ? p->kl_beta * kl_of(p->kl_estimator, r->x[t] - r->ref[t]) : 0);
}

// Token ratio; with tis_cap the decoupled form: old = policy at the start of the step, weight a constant.
static inline double grpo_formula(const learner_loss_params *p, const row *r, const row *f) {
  double sum = 0;
  for (size_t t = 0; t < r->n; t++) {
    double o = p->tis_cap > 0 ? fmin(held_exp(f->x[t] - r->old[t]), p->tis_cap) * ppo(p, exp(r->x[t] - f->x[t]), r->a)
                              : ppo(p, held_exp(r->x[t] - r->old[t]), r->a);
    sum += with_kl_and_guidance(p, r, f, t, o);
  }
  return r->weight * sum;
}

// GSPO: J = min(s A, clip(s) A) of a sequence; here as the sum over its tokens, each with the sequence's value.
static inline double gspo_formula(const learner_loss_params *p, const row *r, const row *f) {
  double s = mean_difference(r, r), fixed = mean_difference(r, f), o, sum = 0;
  o = p->tis_cap > 0 ? fmin(held_exp(fixed), p->tis_cap) * ppo(p, exp(s - fixed), r->a) : ppo(p, held_exp(s), r->a);
  for (size_t t = 0; t < r->n; t++) sum += with_kl_and_guidance(p, r, f, t, o);
  return r->weight * sum;
}

static inline double cispo_formula(const learner_loss_params *p, const row *r, const row *f) {
  double sum = 0;
  for (size_t t = 0; t < r->n; t++) {
    double ratio = held_exp(f->x[t] - r->old[t]);
    double w = p->tis_cap > 0 ? fmin(ratio, p->tis_cap) : bound(ratio, 1 - p->clip_low, 1 + p->clip_high);
    sum += with_kl_and_guidance(p, r, f, t, w * r->a * r->x[t]);
  }
  return r->weight * sum;
}

static inline double reward_of(const learner_loss_params *p, const row *r) {
  double sum = 0;
  for (size_t t = 0; t < r->n; t++) sum += r->x[t] - r->ref[t];
  return p->dpo_beta * sum;
}

static inline double dpo_formula(const learner_loss_params *p, const row *r, const row *f) {
  (void)f;
  double m = reward_of(p, &r[0]) - reward_of(p, &r[1]);
  return r[0].weight * (m < -700 ? -m : -log(1 / (1 + exp(-m))));  // -log sigmoid(m)
}

// ---- the loss of a whole batch, by each definition of the mean

// Sequences are those trained on. An empty completion is not among them (learner_select leaves it out before rows are weighed), so
// it is in no denominator.
typedef struct batch {
  formula f;
  int aggregation;
  size_t n;
  row rows[ROWS];
} batch;

static inline double batch_formula(const batch *b, const learner_loss_params *p, const batch *fixed) {
  double total = 0, tokens = 0, sequences = 0;
  for (size_t i = 0; i < b->n; i++) tokens += (double)b->rows[i].n, sequences += b->rows[i].n > 0;
  for (size_t i = 0; i < b->n; i++) {
    row r = b->rows[i];
    r.weight = 1;
    double sum = b->f(p, &r, &fixed->rows[i]);
    if (b->aggregation == AGRL_AGGREGATE_SEQ_MEAN) total += r.n ? sum / (double)r.n / sequences : 0;
    if (b->aggregation == AGRL_AGGREGATE_TOKEN_MEAN) total += sum / tokens;
    if (b->aggregation == AGRL_AGGREGATE_CONSTANT) total += sum / MAX_TOKENS / sequences;
  }
  return total;
}

static inline learner_loss_params defaults(void) {
  return (learner_loss_params){.clip_low = 0.2, .clip_high = 0.2, .dual_clip = 3, .kl_beta = 0.02, .kl_estimator = AGRL_KL_K3, .gamma = 0.05,
                               .dpo_beta = 0.1};
}

#endif
