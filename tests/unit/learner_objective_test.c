// SPDX-License-Identifier: Apache-2.0
// Every objective and every switch of it against float64 references written from the papers' formulas: the whole loss of a unit
// as one function of its log-probs, a second copy of them standing where a formula has a stop-gradient; gradients are central
// differences of that. Shares no code with the product. Then the same of whole steps: what the configuration's keys are set to
// gives the loss, and the gradient by the log-probs, that the formulas give.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "tests/lib/step_kit.h"

enum { MAX = 24, ROWS = 12, MAX_TOKENS = 40 };

typedef struct row {
  size_t n;
  double x[MAX], old[MAX], ref[MAX], a, weight;
  bool guided, has_ref, sampled;
} row;

typedef double (*formula)(const learner_loss_params *p, const row *rows, const row *fixed);

static double bound(double v, double lo, double hi) { return fmin(fmax(v, lo), hi); }
static double held_exp(double v) { return exp(bound(v, -20, 20)); }

// ---- the formulas

static double kl_of(int estimator, double d) {  // d = log policy - log reference
  d = bound(d, -20, 20);
  switch (estimator) {
    case AGRL_KL_K1: return d;
    case AGRL_KL_K2: return d * d / 2;
    default: return exp(-d) - 1 + d;
  }
}

static double guided_objective(const learner_loss_params *p, const row *r, const row *f, size_t t) {
  double ratio = held_exp(r->x[t] - r->old[t]), fixed = held_exp(f->x[t] - r->old[t]);
  switch (p->guided_loss) {
    case AGRL_GUIDED_GUIDE: return r->a * ratio / (ratio + p->gamma);
    case AGRL_GUIDED_PLAIN: return r->a * bound(exp(r->x[t] - f->x[t]), 1 - p->clip_low, 1 + p->clip_high);
    default: return r->a * fmin(fixed, 2) * r->x[t];
  }
}

static double ppo(const learner_loss_params *p, double ratio, double a) {
  double v = fmin(ratio * a, bound(ratio, 1 - p->clip_low, 1 + p->clip_high) * a);
  return a < 0 && p->dual_clip > 1 ? fmax(v, p->dual_clip * a) : v;
}

static double mean_difference(const row *r, const row *x) {
  double sum = 0;
  for (size_t t = 0; t < r->n; t++) sum += x->x[t] - r->old[t];
  return r->n ? sum / (double)r->n : 0;
}

static double with_kl_and_guidance(const learner_loss_params *p, const row *r, const row *f, size_t t, double objective) {
  if (r->guided) return -guided_objective(p, r, f, t);
  return -objective + (r->has_ref ? p->kl_beta * kl_of(p->kl_estimator, r->x[t] - r->ref[t]) : 0);
}

// Token ratio; with tis_cap the decoupled form: old = policy at the start of the step, weight a constant.
static double grpo_formula(const learner_loss_params *p, const row *r, const row *f) {
  double sum = 0;
  for (size_t t = 0; t < r->n; t++) {
    double o = p->tis_cap > 0 ? fmin(held_exp(f->x[t] - r->old[t]), p->tis_cap) * ppo(p, exp(r->x[t] - f->x[t]), r->a)
                              : ppo(p, held_exp(r->x[t] - r->old[t]), r->a);
    sum += with_kl_and_guidance(p, r, f, t, o);
  }
  return r->weight * sum;
}

// GSPO: J = min(s A, clip(s) A) of a sequence; here as the sum over its tokens, each with the sequence's value.
static double gspo_formula(const learner_loss_params *p, const row *r, const row *f) {
  double s = mean_difference(r, r), fixed = mean_difference(r, f), o, sum = 0;
  o = p->tis_cap > 0 ? fmin(held_exp(fixed), p->tis_cap) * ppo(p, exp(s - fixed), r->a) : ppo(p, held_exp(s), r->a);
  for (size_t t = 0; t < r->n; t++) sum += with_kl_and_guidance(p, r, f, t, o);
  return r->weight * sum;
}

static double cispo_formula(const learner_loss_params *p, const row *r, const row *f) {
  double sum = 0;
  for (size_t t = 0; t < r->n; t++) {
    double ratio = held_exp(f->x[t] - r->old[t]);
    double w = p->tis_cap > 0 ? fmin(ratio, p->tis_cap) : bound(ratio, 1 - p->clip_low, 1 + p->clip_high);
    sum += with_kl_and_guidance(p, r, f, t, w * r->a * r->x[t]);
  }
  return r->weight * sum;
}

static double reward_of(const learner_loss_params *p, const row *r) {
  double sum = 0;
  for (size_t t = 0; t < r->n; t++) sum += r->x[t] - r->ref[t];
  return p->dpo_beta * sum;
}

static double dpo_formula(const learner_loss_params *p, const row *r, const row *f) {
  (void)f;
  double m = reward_of(p, &r[0]) - reward_of(p, &r[1]);
  return r[0].weight * (m < -700 ? -m : -log(1 / (1 + exp(-m))));  // -log sigmoid(m)
}

// ---- product against formula

static void to_floats(const double *from, float *to, size_t n) {
  for (size_t i = 0; i < n; i++) to[i] = (float)from[i];
}

static double difference(formula f, const learner_loss_params *p, const row *rows, size_t k, size_t t) {
  const double h = 1e-6;
  row up[2], down[2];
  memcpy(up, rows, sizeof up);
  memcpy(down, rows, sizeof down);
  up[k].x[t] += h;
  down[k].x[t] -= h;
  return (f(p, up, rows) - f(p, down, rows)) / (2 * h);
}

static learner_loss_stats check(const learner_loss *loss, formula f, const learner_loss_params *p, const row *in) {
  float x[2][MAX], old[2][MAX], ref[2][MAX], dlogp[2][MAX];
  learner_loss_row unit[2];
  row rows[2] = {{0}, {0}};
  for (size_t k = 0; k < loss->unit; k++) {
    row *r = &rows[k];
    *r = in[k];
    to_floats(r->x, x[k], r->n), to_floats(r->old, old[k], r->n), to_floats(r->ref, ref[k], r->n);
    for (size_t t = 0; t < MAX; t++) dlogp[k][t] = NAN;
    for (size_t t = 0; t < r->n; t++) r->x[t] = x[k][t], r->old[t] = old[k][t], r->ref[t] = ref[k][t];
    unit[k] = (learner_loss_row){.n = r->n, .logp = x[k], .old = r->sampled ? old[k] : NULL, .ref = r->has_ref ? ref[k] : NULL,
                                 .advantage = r->a, .weight = r->weight, .guided = r->guided, .dlogp = dlogp[k]};
  }
  learner_loss_stats st = {0};
  loss->rows(p, unit, &st);
  double want = f(p, rows, rows);
  if (!(fabs(st.total - want) <= 1e-9 * (1 + fabs(want)))) fail_msg("%s: loss %.15g, formula %.15g", loss->name, st.total, want);
  assert_true(fabs(st.policy + st.kl_loss - st.total) <= 1e-9 * (1 + fabs(want)));
  for (size_t k = 0; k < loss->unit; k++) {
    for (size_t t = 0; t < rows[k].n; t++) {
      double s = difference(f, p, rows, k, t);
      if (!(fabs(dlogp[k][t] - s) <= 1e-5 * (1 + fabs(s)) + 5e-10 * fabs(want)))  // the latter: what a difference of 1e-6 loses
        fail_msg("%s: row %zu token %zu of %zu: gradient %.9g, formula %.9g", loss->name, k, t, rows[k].n, (double)dlogp[k][t], s);
    }
    for (size_t t = rows[k].n; t < MAX; t++) assert_true(isnan(dlogp[k][t]));  // nothing written beyond the row
  }
  return st;
}

static const struct {
  const learner_loss *loss;
  formula f;
} policies[] = {{&learner_loss_grpo, grpo_formula}, {&learner_loss_gspo, gspo_formula}, {&learner_loss_cispo, cispo_formula}};
enum { N_POLICIES = sizeof policies / sizeof *policies };

static learner_loss_params defaults(void) {
  return (learner_loss_params){.clip_low = 0.2, .clip_high = 0.2, .dual_clip = 3, .kl_beta = 0.02, .kl_estimator = AGRL_KL_K3, .gamma = 0.05,
                               .dpo_beta = 0.1};
}

static row random_row(agrl_rng *rng, size_t n, double spread) {
  row r = {.n = n, .a = 4 * agrl_rng_f64(rng) - 2, .weight = 0.05, .has_ref = true, .sampled = true};
  double shift = spread * agrl_rng_normal(rng);  // so that whole sequences leave the clip range, too
  for (size_t t = 0; t < n; t++) {
    r.x[t] = -5 * agrl_rng_f64(rng);
    r.old[t] = r.x[t] + shift + spread * agrl_rng_normal(rng);
    r.ref[t] = r.x[t] + spread * agrl_rng_normal(rng);
  }
  return r;
}

static void every_ratio_clip_and_kl(void **state) {
  (void)state;
  agrl_rng rng;
  agrl_rng_init(&rng, 20, 1);
  size_t low = 0, high = 0, dual = 0, weights = 0;
  for (int trial = 0; trial < 1800; trial++) {
    learner_loss_params p = defaults();
    p.kl_estimator = trial % 3;
    if (trial % 4 == 1) p.clip_high = 0.28;                       // clip-higher
    if (trial % 4 == 2) p.clip_low = 3e-4, p.clip_high = 4e-4;    // GSPO's size
    if (trial % 4 == 3) p.clip_low = 1, p.clip_high = 4;          // CISPO without a lower bound
    if (trial % 5 == 0) p.dual_clip = 0;
    if (trial % 6 == 0) p.kl_beta = 0.7;
    row r = random_row(&rng, 1 + agrl_rng_below(&rng, MAX), trial % 2 ? 0.2 : 1.2);
    if (trial % 7 == 0) r.has_ref = false;
    for (size_t k = 0; k < N_POLICIES; k++) {
      learner_loss_stats st = check(policies[k].loss, policies[k].f, &p, &r);
      assert_int_equal(st.tokens, r.n);
      assert_int_equal(st.reference_tokens, r.has_ref ? r.n : 0);
      low += st.clipped_low, high += st.clipped_high, dual += st.clipped_dual, weights += st.clipped_cispo;
      if (k == 2) assert_int_equal(st.clipped_low + st.clipped_high + st.clipped_dual, 0);
      else assert_int_equal(st.clipped_cispo, 0);
      if (k == 1) assert_true((st.clipped_low + st.clipped_high + st.clipped_dual) % r.n == 0);  // a sequence as a whole
    }
  }
  assert_true(low > 100 && high > 100 && dual > 100 && weights > 100);
}

static void truncated_importance_weights(void **state) {
  (void)state;
  agrl_rng rng;
  agrl_rng_init(&rng, 21, 1);
  size_t capped = 0;
  for (int trial = 0; trial < 900; trial++) {
    learner_loss_params p = defaults();
    p.tis_cap = trial % 2 ? 2 : 0.9;
    row r = random_row(&rng, 1 + agrl_rng_below(&rng, MAX), 1);
    for (size_t k = 0; k < N_POLICIES; k++) {
      learner_loss_stats st = check(policies[k].loss, policies[k].f, &p, &r);
      capped += st.truncated_high;
      assert_int_equal(st.clipped_low + st.clipped_high + st.clipped_dual + st.clipped_cispo, 0);  // the ratio is 1: nothing to clip
    }
  }
  assert_true(capped > 1000);
}

static void guided_tokens(void **state) {
  (void)state;
  agrl_rng rng;
  agrl_rng_init(&rng, 22, 1);
  for (int trial = 0; trial < 600; trial++) {
    learner_loss_params p = defaults();
    p.guided_loss = trial % 3;
    p.gamma = trial % 2 ? 1e-4 : 1;
    if (trial % 5 == 0) p.tis_cap = 2;  // does not touch them
    row r = random_row(&rng, 1 + agrl_rng_below(&rng, MAX), 1.5);
    r.guided = true;
    for (size_t k = 0; k < N_POLICIES; k++) {  // the same in each
      learner_loss_stats st = check(policies[k].loss, policies[k].f, &p, &r);
      assert_int_equal(st.tokens, 0);
      assert_int_equal(st.guided_tokens, r.n);
      assert_float_equal(st.kl_loss, 0, 0);
    }
  }
}

// Of g = r / (r + gamma), dg/dlogp = r gamma / (r + gamma)^2: with gamma 1, what the 0.9 quantile gives when most tokens copy the
// prompt, a token the hint made likely weighs 25 times less than a copied one; with gamma near its own ratio, it weighs more.
static void gamma_decides_which_tokens_count(void **state) {
  (void)state;
  float x[2] = {-4.60517f, -0.1f}, old[2] = {0, -0.1f}, d[2];  // r: 0.01, 1
  learner_loss_row in = {.n = 2, .logp = x, .old = old, .advantage = 1, .weight = 1, .guided = true, .dlogp = d};
  learner_loss_params p = defaults();
  learner_loss_stats st = {0};
  p.gamma = 1;
  learner_loss_grpo.rows(&p, &in, &st);
  assert_float_equal(d[1] / d[0], 25.5, 0.1);
  p.gamma = 0.01;
  learner_loss_grpo.rows(&p, &in, &st);
  assert_true(d[0] / d[1] > 25);
}

static void dpo_pairs(void **state) {
  (void)state;
  agrl_rng rng;
  agrl_rng_init(&rng, 23, 1);
  size_t won = 0;
  for (int trial = 0; trial < 900; trial++) {
    learner_loss_params p = defaults();
    p.dpo_beta = trial % 3 == 0 ? 0.01 : trial % 3 == 1 ? 0.1 : 5;
    row pair[2] = {random_row(&rng, 1 + agrl_rng_below(&rng, MAX), 0.8), random_row(&rng, 1 + agrl_rng_below(&rng, MAX), 0.8)};
    pair[0].sampled = trial % 4 != 0;  // a reference trace
    learner_loss_stats st = check(&learner_loss_dpo, dpo_formula, &p, pair);
    assert_int_equal(st.pairs, 1);
    assert_int_equal(st.tokens, pair[1].n + (pair[0].sampled ? pair[0].n : 0));
    assert_true(fabs(st.pair_margin - (st.pair_chosen - st.pair_rejected)) <= 1e-9);
    assert_float_equal(st.pair_chosen, reward_of(&p, &pair[0]), 1e-3);
    won += st.pairs_won;
  }
  assert_true(won > 300 && won < 600);
}

static void dpo_at_the_reference_and_far_from_it(void **state) {
  (void)state;
  learner_loss_params p = defaults();
  row pair[2] = {{.n = 2, .x = {-1, -2}, .ref = {-1, -2}, .has_ref = true, .weight = 0.5}, {.n = 1, .x = {-3}, .ref = {-3}, .has_ref = true, .weight = 0.5}};
  learner_loss_stats st = check(&learner_loss_dpo, dpo_formula, &p, pair);
  assert_float_equal(st.total, 0.5 * log(2), 1e-12);
  assert_int_equal(st.pairs_won, 0);  // a tie is not won
  p.dpo_beta = 100;
  for (int side = 0; side < 2; side++) {  // margins of -+9000: exp would overflow
    pair[side].x[0] = -91, pair[1 - side].x[0] = side ? -1 : -3;
    pair[side].ref[0] = -1, pair[1 - side].ref[0] = pair[1 - side].x[0];
    st = check(&learner_loss_dpo, dpo_formula, &p, pair);
    assert_true(isfinite(st.total));
    assert_float_equal(st.total, side ? 0 : 0.5 * 9000, 1e-6);
  }
}

static void extreme_ratios_stay_finite(void **state) {
  (void)state;
  for (int estimator = 0; estimator < 3; estimator++) {
    for (int sign = -1; sign <= 1; sign += 2) {
      for (int cap = 0; cap <= 2; cap += 2) {
        learner_loss_params p = defaults();
        p.kl_estimator = estimator;
        p.tis_cap = cap;
        row r = {.n = 4, .a = sign, .weight = 0.25, .has_ref = true, .sampled = true,
                 .x = {-80, -1e-6, -30, -1000}, .old = {-1e-6, -80, -30, -1e-3}, .ref = {-1e-6, -90, -30, -2000}};
        for (size_t k = 0; k < N_POLICIES; k++) {
          learner_loss_stats st = check(policies[k].loss, policies[k].f, &p, &r);
          assert_true(isfinite(st.total) && isfinite(st.ratio_sq));
          for (int e = 0; e < 3; e++) assert_true(isfinite(st.kl_reference[e]) && isfinite(st.kl_sampler[e]));
        }
        r.guided = true;
        for (p.guided_loss = 0; p.guided_loss < 3; p.guided_loss++) check(&learner_loss_grpo, grpo_formula, &p, &r);
      }
    }
  }
}

// A token beyond the exponent's bounds does not take its gradient from a sequence whose mean is within them.
static void one_extreme_token_in_a_sequence(void **state) {
  (void)state;
  learner_loss_params p = defaults();
  row r = {.n = 8, .a = 1, .weight = 0.1, .sampled = true, .x = {-30, -1, -1, -1, -1, -1, -1, -1}, .old = {-1, -1, -1, -1, -1, -1, -1, -1}};
  for (size_t k = 0; k < N_POLICIES; k++) {
    learner_loss_stats st = check(policies[k].loss, policies[k].f, &p, &r);
    assert_int_equal(st.truncated_low, 1);
  }
}

static void empty_and_one_token_rows(void **state) {
  (void)state;
  learner_loss_params p = defaults();
  row none = {.n = 0, .a = 1, .weight = 0, .has_ref = true, .sampled = true}, one = {.n = 1, .a = -1.5, .weight = 1, .x = {-0.2}, .old = {-0.3}, .ref = {-0.4}, .has_ref = true, .sampled = true};
  for (size_t k = 0; k < N_POLICIES; k++) {
    learner_loss_stats st = check(policies[k].loss, policies[k].f, &p, &none);
    assert_float_equal(st.total, 0, 0);
    assert_int_equal(st.tokens, 0);
    check(policies[k].loss, policies[k].f, &p, &one);
  }
  row pair[2] = {one, none};
  check(&learner_loss_dpo, dpo_formula, &p, pair);
  row other[2] = {none, one};
  other[0].weight = 1;
  check(&learner_loss_dpo, dpo_formula, &p, other);
}

static void no_advantage_leaves_the_kl_term(void **state) {
  (void)state;
  learner_loss_params p = defaults();
  row r = {.n = 2, .a = 0, .weight = 0.5, .x = {-0.2, -1}, .old = {-0.4, -3}, .ref = {-0.3, -0.4}, .has_ref = true, .sampled = true};
  for (size_t k = 0; k < N_POLICIES; k++) {
    learner_loss_stats st = check(policies[k].loss, policies[k].f, &p, &r);
    assert_float_equal(st.policy, 0, 0);
    assert_true(st.kl_loss > 0);
  }
}

// A value that is not a number must reach the total, where the step is refused; it must not be lost in a comparison.
static void not_a_number_reaches_the_total(void **state) {
  (void)state;
  learner_loss_params p = defaults();
  float x[2] = {-1, NAN}, fine[2] = {-1, -1}, d[2], e[2];
  for (int where = 0; where < 3; where++) {
    learner_loss_row in = {.n = 2, .logp = where == 0 ? x : fine, .old = where == 1 ? x : fine, .ref = where == 2 ? x : fine, .advantage = 1, .weight = 1, .dlogp = d};
    for (size_t k = 0; k < N_POLICIES; k++) {
      learner_loss_stats st = {0};
      policies[k].loss->rows(&p, &in, &st);
      assert_true(isnan(st.total));
      p.tis_cap = 2;
      st = (learner_loss_stats){0};
      learner_loss_row alone = in;
      if (where < 2) alone.ref = NULL;  // no KL term that would be one, too
      policies[k].loss->rows(&p, &alone, &st);
      if (!isnan(st.total)) fail_msg("%s, tis_cap: total %g", policies[k].loss->name, st.total);
      p.tis_cap = 0;
      for (p.guided_loss = AGRL_GUIDED_GUIDE; where < 2 && p.guided_loss <= AGRL_GUIDED_TIS; p.guided_loss++) {
        learner_loss_row guided = in;
        guided.guided = true;
        st = (learner_loss_stats){0};
        policies[k].loss->rows(&p, &guided, &st);
        if (!isnan(st.total)) fail_msg("%s, guided_loss %d: total %g", policies[k].loss->name, p.guided_loss, st.total);
      }
      p.guided_loss = AGRL_GUIDED_GUIDE;
    }
    learner_loss_row pair[2] = {in, {.n = 2, .logp = fine, .old = fine, .ref = fine, .weight = 1, .dlogp = e}};
    learner_loss_stats st = {0};
    learner_loss_dpo.rows(&p, pair, &st);
    assert_int_equal(isnan(st.total), where != 1);  // the sampler's log-probs are not in its loss
  }
}

// ---- aggregation: the loss of a whole batch, by each definition

// Sequences are those trained on. An empty completion is not among them (learner_select leaves it out before rows are weighed), so
// it is in no denominator.
typedef struct batch {
  formula f;
  int aggregation;
  size_t n;
  row rows[ROWS];
} batch;

static double batch_formula(const batch *b, const learner_loss_params *p, const batch *fixed) {
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

static void aggregation_of_a_batch(void **state) {
  (void)state;
  agrl_rng rng;
  agrl_rng_init(&rng, 24, 1);
  for (int trial = 0; trial < 90; trial++) {
    batch b = {.f = grpo_formula, .aggregation = trial % 3, .n = 6};
    learner_loss_params p = defaults();
    size_t tokens = 0;
    for (size_t i = 0; i < b.n; i++) {
      row *r = &b.rows[i];
      *r = random_row(&rng, i == 0 ? 0 : i == 1 ? 1 : 1 + agrl_rng_below(&rng, MAX), 0.5);
      for (size_t t = 0; t < r->n; t++) r->x[t] = (float)r->x[t], r->old[t] = (float)r->old[t], r->ref[t] = (float)r->ref[t];
      tokens += r->n;
    }
    double got = 0;
    for (size_t i = 0; i < b.n; i++) {
      b.rows[i].weight = learner_token_weight(b.aggregation, b.rows[i].n, b.n - 1, tokens, MAX_TOKENS);
      got += check(&learner_loss_grpo, grpo_formula, &p, &b.rows[i]).total;
    }
    assert_float_equal(got, batch_formula(&b, &p, &b), 1e-9);
  }
}

static void objectives_are_chosen_by_name(void **state) {
  (void)state;
  assert_string_equal(learner_loss_choose(AGRL_METHOD_AGRL, AGRL_RATIO_TOKEN)->name, "grpo");
  assert_string_equal(learner_loss_choose(AGRL_METHOD_GRPO_PR, AGRL_RATIO_SEQUENCE)->name, "gspo");
  assert_string_equal(learner_loss_choose(AGRL_METHOD_GRPO, AGRL_RATIO_CISPO)->name, "cispo");
  for (int ratio = 0; ratio < 3; ratio++) assert_string_equal(learner_loss_choose(AGRL_METHOD_DPO, ratio)->name, "dpo");
}

// ---- whole steps

static void set_real(const char *key, double value) {
  char text[32];
  snprintf(text, sizeof text, "%g", value);
  set(key, text);
}

// A core whose policy is not its reference, and has tokens that are likely and tokens that are not.
static void moved_core(learner_core *c) {
  make_core(c, NULL);
  float *noise = tc_floats(c->layout->n_elements, 5, 0.25);
  for (size_t i = 0; i < c->layout->n_elements; i++) c->optim.master[i] += noise[i];
  learner_optim_reserve(&c->optim, NULL);
  free(noise);
}

// Rewards of 0 and 1 in halves, then a group without spread. Among the first: a token alone, an empty completion, guided successes
// (two) and a guided failure. What was sampled is off the policy by far more than a clip, so that every bound is met.
static void corner_groups(agrl_group g[GROUPS], agrl_arena *a) {
  for (size_t i = 0; i < GROUPS; i++) make_group(i + 2, a, &g[i]);
  agrl_msg_scored *m[GROUPS] = {(agrl_msg_scored *)g[0].members, (agrl_msg_scored *)g[1].members, (agrl_msg_scored *)g[2].members};
  m[0][0].trace.n_tokens = 0, m[0][1].trace.n_tokens = 3, m[0][2].trace.n_tokens = 1;
  m[1][1].trace.level = 1, m[1][1].trace.n_tokens = 2, m[1][3].trace.level = 1;  // make_group guided member 0, of odd ids
  for (size_t i = 0; i < G; i++) m[2][i].reward = 0.5f;
}

static void sample_off_policy(learner_core *c, const agrl_group *g, agrl_rng *rng) {
  for (size_t i = 0; i < g->n; i++) {
    const learner_seq q = seq_of(&g->members[i].trace);
    const double shift = 0.5 * agrl_rng_normal(rng);
    const float *x = q.n_tokens > 0 ? logps_of(c, NULL, &q) : NULL;
    for (size_t t = 0; t < q.n_tokens; t++)
      ((float *)g->members[i].trace.logprobs)[t] = (float)fmin(0, (double)x[t] + shift + 0.6 * agrl_rng_normal(rng));
  }
}

// Adds the rows of a group that should be trained: none empty, none guided without success, none without spread but by zero_spread keep.
static void expect_rows(batch *b, learner_core *c, const agrl_group *g, bool keep) {
  for (size_t i = 0; i < g->n; i++) {
    const agrl_msg_scored *m = &g->members[i];
    const learner_seq q = seq_of(&m->trace);
    row r = {.n = q.n_tokens, .a = (m->reward - 0.5) / (0.5 + 1e-6), .guided = m->trace.level > 0, .has_ref = true};
    if (r.n == 0 || (r.guided && r.a <= 0) || (r.a == 0 && !keep)) continue;
    const float *x = logps_of(c, NULL, &q);
    for (size_t t = 0; t < r.n; t++) r.x[t] = (double)x[t], r.old[t] = (double)m->trace.logprobs[t];
    x = logps_of(c, c->reference, &q);
    for (size_t t = 0; t < r.n; t++) r.ref[t] = (double)x[t];
    b->rows[b->n++] = r;
  }
}

// The smallest or the largest of the batch's guided ratios: quantile 0 or 1.
static double guided_bound(const batch *b, bool largest, double floor) {
  double bound = NAN;
  for (size_t i = 0; i < b->n; i++)
    for (size_t t = 0; b->rows[i].guided && t < b->rows[i].n; t++) {
      const double r = exp(b->rows[i].x[t] - b->rows[i].old[t]);
      bound = largest ? fmax(bound, r) : fmin(bound, r);
    }
  return fmax(bound, floor);
}

// Runs a step on groups whose trained rows, in their order, are those of b; a pass holds them all.
static learner_step_stats step_gives(learner_core *c, const agrl_group *g, size_t n, const batch *b, const learner_loss_params *p, const char *what) {
  learner_step_stats st;
  assert_int_equal(learner_step_run(c, g, n, &st, NULL), AGRL_OK);
  learner_step_stats_release(&st);
  const double want = batch_formula(b, p, b);
  if (!(fabs(st.loss.total - want) <= 1e-6 * (1 + fabs(want)))) fail_msg("%s: loss %.9g, formula %.9g", what, st.loss.total, want);
  assert_int_equal(st.sequences, b->n);
  batch up = *b, down = *b;
  for (size_t i = 0; i < b->n; i++)
    for (size_t t = 0; t < b->rows[i].n; t++) {
      up.rows[i].x[t] += 1e-6, down.rows[i].x[t] -= 1e-6;
      const double slope = (batch_formula(&up, p, b) - batch_formula(&down, p, b)) / 2e-6, got = c->pack.dlogp[c->pack.first[i] + t];
      if (!(fabs(got - slope) <= 1e-6)) fail_msg("%s: row %zu token %zu: gradient %.9g, formula %.9g", what, i, t, got, slope);
      up.rows[i].x[t] = down.rows[i].x[t] = b->rows[i].x[t];
    }
  return st;
}

// Every combination of the named choices and, by turns, of the numbers: each is set as a run's file would.
static void steps_do_what_their_config_says(void **state) {
  (void)state;
  static const struct {
    const char *ratio, *kl, *guided, *mean;
    formula f;
    int estimator, guided_loss, aggregation;
  } choices[] = {{"token", "k1", "guide", "seq-mean", grpo_formula, AGRL_KL_K1, AGRL_GUIDED_GUIDE, AGRL_AGGREGATE_SEQ_MEAN},
                 {"sequence", "k2", "plain", "token-mean", gspo_formula, AGRL_KL_K2, AGRL_GUIDED_PLAIN, AGRL_AGGREGATE_TOKEN_MEAN},
                 {"cispo", "k3", "tis", "constant-length", cispo_formula, AGRL_KL_K3, AGRL_GUIDED_TIS, AGRL_AGGREGATE_CONSTANT}};
  agrl_rng rng;
  agrl_arena a;
  learner_core c;
  agrl_group g[GROUPS];
  agrl_rng_init(&rng, 25, 1);
  agrl_arena_init(&a, 0);
  assert_int_equal(agrl_config_load(NULL, &config, NULL), AGRL_OK);
  set_real("actor.max_new_tokens", MAX_TOKENS);
  set("grpo.lr", "0");  // the weights stay what they are
  moved_core(&c);
  corner_groups(g, &a);
  for (int trial = 0; trial < 324; trial++) {
    const int ratio = trial % 3, kl = trial / 3 % 3, guided = trial / 9 % 3, mean = trial / 27 % 3;
    const bool keep = trial / 81 % 2, largest = trial % 2;
    const double floor = trial % 4 == 0 ? 0.9 : 1e-4;
    learner_loss_params p = {.clip_low = trial % 2 ? 0.1 : 0.4, .clip_high = trial % 5 ? 0.28 : 0.05, .dual_clip = trial % 7 ? 1.5 : 0,
                             .tis_cap = trial / 162 ? 0.8 : 0, .kl_beta = trial % 11 ? 0.3 : 0, .kl_estimator = choices[kl].estimator,
                             .guided_loss = choices[guided].guided_loss};
    set("grpo.ratio", choices[ratio].ratio), set("grpo.kl_estimator", choices[kl].kl), set("grpo.guided_loss", choices[guided].guided);
    set("grpo.aggregation", choices[mean].mean), set("grpo.zero_spread", keep ? "keep" : "drop");
    set_real("grpo.clip_low", p.clip_low), set_real("grpo.clip_high", p.clip_high), set_real("grpo.dual_clip", p.dual_clip);
    set_real("grpo.tis_cap", p.tis_cap), set_real("grpo.kl_beta", p.kl_beta);
    set_real("grpo.guide_quantile", largest), set_real("grpo.guide_floor", floor);
    batch b = {.f = choices[ratio].f, .aggregation = choices[mean].aggregation};
    for (size_t i = 0; i < GROUPS; i++) sample_off_policy(&c, &g[i], &rng), expect_rows(&b, &c, &g[i], keep);
    p.gamma = guided_bound(&b, largest, floor);
    char what[96];
    snprintf(what, sizeof what, "trial %d: %s %s %s %s", trial, choices[ratio].ratio, choices[kl].kl, choices[guided].guided, choices[mean].mean);
    const learner_step_stats st = step_gives(&c, g, GROUPS, &b, &p, what);
    assert_true(st.applied && st.dropped_bad == 1 && st.dropped_guided == 1 && b.n == (keep ? 10 : 6));
  }
  set("grpo.zero_spread", "keep"), set("grpo.kl_estimator", "k3"), set_real("grpo.kl_beta", 0.02);
  batch b = {.f = grpo_formula, .aggregation = AGRL_AGGREGATE_CONSTANT};
  const learner_loss_params p = defaults();
  expect_rows(&b, &c, &g[2], true);  // a group without spread, kept, is its KL term
  const learner_step_stats st = step_gives(&c, &g[2], 1, &b, &p, "no spread");
  assert_true(st.loss.policy == 0 && st.loss.kl_loss > 1e-5 && st.loss.total == st.loss.kl_loss && st.zero_groups == 1 && st.grad_norm > 0);
  learner_core_release(&c);
  agrl_arena_release(&a);
  agrl_config_release(&config);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_ratio_clip_and_kl),
      cmocka_unit_test(truncated_importance_weights),
      cmocka_unit_test(guided_tokens),
      cmocka_unit_test(gamma_decides_which_tokens_count),
      cmocka_unit_test(dpo_pairs),
      cmocka_unit_test(dpo_at_the_reference_and_far_from_it),
      cmocka_unit_test(extreme_ratios_stay_finite),
      cmocka_unit_test(one_extreme_token_in_a_sequence),
      cmocka_unit_test(empty_and_one_token_rows),
      cmocka_unit_test(no_advantage_leaves_the_kl_term),
      cmocka_unit_test(not_a_number_reaches_the_total),
      cmocka_unit_test(aggregation_of_a_batch),
      cmocka_unit_test(objectives_are_chosen_by_name),
      cmocka_unit_test(steps_do_what_their_config_says),
  };
  if (agrl_tensor_init(NULL) != AGRL_OK) return 70;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
