// SPDX-License-Identifier: Apache-2.0
// Every objective and every switch of it against the float64 references of objective_formula.h, values and gradients, which are
// central differences. Whole steps: learner_objective_step_test.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "tests/lib/objective_formula.h"

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

// ---- aggregation

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
  };
  if (agrl_tensor_init(NULL) != AGRL_OK) return 70;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
