// SPDX-License-Identifier: Apache-2.0
// Group-relative advantages and the learning-rate schedule, against values worked out by hand.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/base/rng.h"
#include "learner/advantage.h"
#include "learner/learner.h"

static bool advantages(const double *rewards, const bool *missing, size_t n, double clamp, double *out, double *mean, double *std) {
  agrl_msg_scored m[8] = {0};
  for (size_t i = 0; i < n; i++) {
    m[i].reward = rewards[i];
    m[i].missing = missing != NULL && missing[i];
  }
  agrl_group g = {.n = n, .members = m};
  return learner_advantages(&g, &(learner_advantage_rule){.clamp = clamp}, out, mean, std);
}

static void test_standardised(void **state) {
  (void)state;
  double a[4], mean, std;
  assert_true(advantages((double[]){0, 0, 1, 1}, NULL, 4, 2, a, &mean, &std));
  assert_float_equal(mean, 0.5, 1e-12);
  assert_float_equal(std, 0.5, 1e-12);
  assert_float_equal(a[0], -0.5 / (0.5 + 1e-6), 1e-9);
  assert_float_equal(a[3], 0.5 / (0.5 + 1e-6), 1e-9);
}

static void test_clamped(void **state) {
  (void)state;
  double a[8], mean, std, r[8] = {0, 0, 0, 0, 0, 0, 0, 1};  // the one success is sqrt(7) = 2.65 standard deviations up
  assert_true(advantages(r, NULL, 8, 2, a, &mean, &std));
  assert_float_equal(a[7], 2.0, 0);
  assert_float_equal(a[0], -1 / sqrt(7), 1e-5);
  assert_true(advantages(r, NULL, 8, 0, a, &mean, &std));  // 0: not clamped
  assert_float_equal(a[7], sqrt(7), 1e-4);
}

static void test_zero_spread(void **state) {
  (void)state;
  double a[3], mean, std;
  assert_false(advantages((double[]){0.7, 0.7, 0.7}, NULL, 3, 2, a, &mean, &std));
  for (size_t i = 0; i < 3; i++) assert_float_equal(a[i], 0, 0);
  assert_float_equal(mean, 0.7, 1e-12);
}

static void test_missing_take_no_part(void **state) {
  (void)state;
  double a[3], mean, std;
  assert_true(advantages((double[]){0, 99, 1}, (bool[]){false, true, false}, 3, 2, a, &mean, &std));
  assert_float_equal(mean, 0.5, 1e-12);
  assert_float_equal(a[1], 0, 0);
  assert_true(a[2] > 0.99);
  assert_false(advantages((double[]){0, 99, 1}, (bool[]){true, true, false}, 3, 2, a, &mean, &std));  // one left: no spread
  assert_false(advantages((double[]){0}, (bool[]){true}, 1, 2, a, &mean, &std));
  assert_true(isnan(mean));
  assert_false(advantages((double[]){NAN, 1}, NULL, 2, 2, a, &mean, &std));  // not a number counts as missing
}

// Every rule on random groups, against the definitions written out here.
static void test_rules_on_random_groups(void **state) {
  (void)state;
  agrl_rng rng;
  agrl_rng_init(&rng, 3, 3);
  for (int trial = 0; trial < 400; trial++) {
    agrl_msg_scored m[8] = {0};
    const learner_advantage_rule rule = {.mean_only = trial % 2, .clamp = trial % 3 ? 0 : 0.6, .max_tokens = 40, .soft_buffer = trial % 4 ? 0 : 10};
    double r[8], mean = 0, var = 0, a[8], got_mean, got_std;
    for (int i = 0; i < 8; i++) {
      m[i].reward = agrl_rng_below(&rng, 4) / 3.0;
      m[i].trace.n_tokens = agrl_rng_below(&rng, 45);
      double over = ((double)m[i].trace.n_tokens - 30) / 10;  // DAPO: from 40 - 10 tokens on, 1 at 40
      r[i] = m[i].reward - (rule.soft_buffer ? fmin(1, fmax(0, over)) : 0);
      mean += r[i] / 8;
    }
    for (int i = 0; i < 8; i++) var += (r[i] - mean) * (r[i] - mean) / 8;
    agrl_group g = {.n = 8, .members = m};
    bool spread = learner_advantages(&g, &rule, a, &got_mean, &got_std);
    assert_int_equal(spread, sqrt(var) > 1e-6);
    for (int i = 0; i < 8 && spread; i++) {
      double want = rule.mean_only ? r[i] - mean : (r[i] - mean) / (sqrt(var) + 1e-6);
      if (rule.clamp > 0) want = fmin(rule.clamp, fmax(-rule.clamp, want));
      if (!(fabs(a[i] - want) < 1e-12)) fail_msg("trial %d: %g, want %g", trial, a[i], want);
    }
  }
}

static void test_learning_rate(void **state) {
  (void)state;
  assert_float_equal(learner_lr(1.0, 0.1, 4, 104, 0), 0.25, 1e-12);
  assert_float_equal(learner_lr(1.0, 0.1, 4, 104, 3), 1.0, 1e-12);
  assert_float_equal(learner_lr(1.0, 0.1, 4, 104, 4), 1.0, 1e-12);
  assert_float_equal(learner_lr(1.0, 0.1, 0, 101, 50), 0.55, 1e-12);
  assert_float_equal(learner_lr(1.0, 0.1, 4, 104, 103), 0.1, 1e-12);
  assert_float_equal(learner_lr(1.0, 0.1, 4, 104, 5000), 0.1, 1e-12);
  assert_float_equal(learner_lr(1.0, 0.5, 0, 1, 0), 0.5, 1e-12);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_standardised),         cmocka_unit_test(test_clamped),       cmocka_unit_test(test_zero_spread),
      cmocka_unit_test(test_missing_take_no_part), cmocka_unit_test(test_learning_rate),
      cmocka_unit_test(test_rules_on_random_groups),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
