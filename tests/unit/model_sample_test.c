// SPDX-License-Identifier: Apache-2.0
// Sampling against a plain definition of it in double precision (sort, cut, normalise), on random rows with and without
// ties; the distribution by chi-square; the corners.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/model/decode.h"
#include "tests/lib/tensor_check.h"

enum { N_MAX = 1500 };

typedef struct plain {
  double p[N_MAX];  // the distribution sampled; 0 where cut
  bool boundary;    // top_p falls within rounding of a step: either side is right
} plain;

static const float *sort_row;
static int larger_first(const void *a, const void *b) {
  const size_t x = *(const size_t *)a, y = *(const size_t *)b;
  if (sort_row[x] != sort_row[y]) return sort_row[x] > sort_row[y] ? -1 : 1;
  return x < y ? -1 : 1;
}

static void define(plain *out, const float *row, size_t n, double temperature, int top_k, double top_p) {
  size_t order[N_MAX], kept = n;
  double total = 0, sum = 0;
  for (size_t i = 0; i < n; i++) order[i] = i;
  sort_row = row;
  qsort(order, n, sizeof *order, larger_first);
  if (top_k > 0 && (size_t)top_k < n) kept = (size_t)top_k;
  memset(out, 0, sizeof *out);
  const double max = row[order[0]];
  for (size_t i = 0; i < kept; i++) total += exp((row[order[i]] - max) / temperature);
  for (size_t i = 0; i < kept; i++) {
    const double share = exp((row[order[i]] - max) / temperature) / total;
    if (i > 0 && top_p < 1 && fabs(sum - top_p) < 1e-6) out->boundary = true;
    if (i > 0 && top_p < 1 && sum >= top_p) break;
    sum += out->p[order[i]] = share;
  }
  for (size_t i = 0; i < n; i++) out->p[i] /= sum;
}

static void check_draws(const float *row, size_t n, double temperature, int top_k, double top_p, agrl_rng *r) {
  static plain want;
  static float scratch[N_MAX];
  define(&want, row, n, temperature, top_k, top_p);
  if (want.boundary) return;
  for (int draw = 0; draw < 20; draw++) {
    const double u = draw == 0 ? 0 : draw == 1 ? 1 - 0x1p-53 : agrl_rng_f64(r);
    float logprob;
    const size_t got = (size_t)agrl_sample(row, n, temperature, top_k, top_p, u, scratch, &logprob);
    assert_true(got < n);
    if (!(want.p[got] > 0)) fail_msg("T %g top_k %d top_p %g: token %zu is outside the set", temperature, top_k, top_p, got);
    assert_float_equal(logprob, log(want.p[got]), 3e-5 * (1 + fabs(log(want.p[got]))));
    double below = 0;  // inverse transform in token order
    for (size_t i = 0; i < got; i++) below += want.p[i];
    assert_true(u >= below - 1e-5 && u <= below + want.p[got] + 1e-5);
  }
}

static void matches_plain_definition(void **state) {
  static float row[N_MAX];
  agrl_rng r;
  agrl_rng_init(&r, 5, 5);
  for (int round = 0; round < 600; round++) {
    const size_t n = round % 3 ? 1 + agrl_rng_below(&r, 40) : 1 + agrl_rng_below(&r, N_MAX);
    const bool ties = round % 2;
    for (size_t i = 0; i < n; i++) row[i] = ties ? (float)agrl_rng_below(&r, 5) : (float)(3 * agrl_rng_normal(&r));
    const double temperature = (double[]){1, 0.7, 1.5, 0.1}[agrl_rng_below(&r, 4)];
    const int top_k = (int[]){0, 1, 7, 60, 5000}[agrl_rng_below(&r, 5)];
    const double top_p = (double[]){1, 0.9, 0.5, 0.05, 0.999}[agrl_rng_below(&r, 5)];
    check_draws(row, n, temperature, top_k, top_p, &r);
  }
}

// 20 cells: the 99.99 % quantile of chi-square with 19 degrees of freedom is 52.4. The generator is seeded.
static void frequencies_follow_the_distribution(void **state) {
  enum { N = 20, DRAWS = 200000 };
  static plain want;
  float row[N], scratch[N], logprob;
  size_t seen[N];
  agrl_rng r;
  agrl_rng_init(&r, 9, 9);
  const struct {
    double temperature, top_p;
    int top_k;
  } settings[] = {{1, 1, 0}, {0.6, 1, 0}, {1, 1, 12}, {1.3, 0.8, 0}};
  for (size_t k = 0; k < sizeof settings / sizeof *settings; k++) {
    for (size_t i = 0; i < N; i++) row[i] = (float)agrl_rng_normal(&r);
    define(&want, row, N, settings[k].temperature, settings[k].top_k, settings[k].top_p);
    memset(seen, 0, sizeof seen);
    for (size_t i = 0; i < DRAWS; i++)
      seen[agrl_sample(row, N, settings[k].temperature, settings[k].top_k, settings[k].top_p, agrl_rng_f64(&r), scratch,
                       &logprob)]++;
    double chi = 0;
    for (size_t i = 0; i < N; i++) {
      const double e = want.p[i] * DRAWS;
      if (e > 0) chi += ((double)seen[i] - e) * ((double)seen[i] - e) / e;
      else assert_int_equal(seen[i], 0);
    }
    assert_true(chi < 52.4);
  }
}

static void temperature_zero_takes_the_largest(void **state) {
  const float row[] = {0, 2, 5, 5, -1};
  float scratch[5], logprob;
  double total = 0;
  for (int i = 0; i < 5; i++) total += exp(row[i]);
  assert_int_equal(agrl_sample(row, 5, 0, 0, 1, 0.99, scratch, &logprob), 2);  // the first of equals
  assert_float_equal(logprob, 5 - log(total), 1e-6);
  assert_int_equal(agrl_sample(row, 5, 0, 3, 0.5, 0.99, scratch, &logprob), 2);
}

// Unfiltered at temperature 1, the log-prob is the learner's to the last bit, on every instruction set.
static void plain_logprob_is_the_learners(void **state) {
  FOR_EACH_CPU(c) {
    float *row = tc_floats(1000, 3, 2), scratch[1000], logprob, lse;
    agrl_logsumexp(NULL, &lse, row, 1, 1000);
    for (double u = 0; u < 1; u += 0.01) {
      const int32_t t = agrl_sample(row, 1000, 1, 0, 1, u, scratch, &logprob);
      assert_true(logprob == row[t] - lse);
    }
    free(row);
  }
}

static void masked_and_broken_rows(void **state) {
  float row[300], scratch[300], logprob;
  for (int i = 0; i < 300; i++) row[i] = -INFINITY;
  row[7] = 1;
  row[299] = 1;
  for (int i = 0; i < 100; i++) {
    const int32_t t = agrl_sample(row, 300, 1, i % 3 == 1 ? 50 : 0, i % 3 == 2 ? 0.9 : 1, i / 100.0, scratch, &logprob);
    assert_true(t == 7 || t == 299);
    assert_float_equal(logprob, log(0.5), 1e-6);
  }
  row[3] = NAN;
  assert_true(agrl_sample(row, 300, 1, 0, 1, 0.5, scratch, &logprob) < 300);
  assert_true(isnan(logprob));
  row[3] = INFINITY;
  assert_true(agrl_sample(row, 300, 1, 5, 0.5, 0.5, scratch, &logprob) < 300);
  assert_true(isnan(logprob));
  row[0] = 1e30f;
  row[3] = -1e30f;
  assert_int_equal(agrl_sample(row, 300, 1e-3, 0, 1, 0.5, scratch, &logprob), 0);
  assert_float_equal(logprob, 0, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(matches_plain_definition),           cmocka_unit_test(frequencies_follow_the_distribution),
      cmocka_unit_test(temperature_zero_takes_the_largest), cmocka_unit_test(plain_logprob_is_the_learners),
      cmocka_unit_test(masked_and_broken_rows),
  };
  if (agrl_tensor_init(NULL) != AGRL_OK) return 70;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
