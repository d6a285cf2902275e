// SPDX-License-Identifier: Apache-2.0
// Random numbers: the generator's published vectors, independence of call order, and coarse distribution checks.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "common/base/rng.h"

static void philox_matches_published_vectors(void **state) {
  static const struct { uint32_t ctr[4], key[2], out[4]; } rows[] = {
      {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}, {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  };
  for (size_t i = 0; i < 3; i++) {
    uint32_t out[4];
    agrl_philox(rows[i].key, rows[i].ctr, out);
    assert_memory_equal(out, rows[i].out, sizeof out);
  }
}

static void uniform_depends_on_every_part_of_the_key(void **state) {
  agrl_rng_key k = {.run = 1, .group = 2, .member = 3};
  double v = agrl_rng_uniform(&k, 4);
  agrl_rng_key others[] = {{2, 2, 3}, {1 + (1ull << 32), 2, 3}, {1, 3, 3}, {1, 2 + (1ull << 32), 3}, {1, 2, 4}};
  for (size_t i = 0; i < 5; i++) assert_true(agrl_rng_uniform(&others[i], 4) != v);
  assert_true(agrl_rng_uniform(&k, 5) != v);
  assert_true(agrl_rng_uniform(&k, 4) == v);
  double sum = 0, least = 1, most = 0;
  for (uint32_t p = 0; p < 100000; p++) {
    double u = agrl_rng_uniform(&k, p);
    sum += u;
    least = fmin(least, u), most = fmax(most, u);
  }
  assert_true(least >= 0 && most < 1 && least < 1e-3 && most > 1 - 1e-3);
  assert_true(fabs(sum / 100000 - 0.5) < 5 * 0.2887 / sqrt(100000));
}

static void streams_differ_and_repeat(void **state) {
  agrl_rng a, b, c;
  agrl_rng_init(&a, 7, 0), agrl_rng_init(&b, 7, 0), agrl_rng_init(&c, 7, 1);
  int equal = 0;
  for (int i = 0; i < 1000; i++) {
    uint64_t x = agrl_rng_u64(&a);
    assert_true(x == agrl_rng_u64(&b));
    equal += x == agrl_rng_u64(&c);
  }
  assert_int_equal(equal, 0);
}

static void below_is_even(void **state) {
  agrl_rng r;
  agrl_rng_init(&r, 3, 3);
  int counts[7] = {0};
  for (int i = 0; i < 70000; i++) counts[agrl_rng_below(&r, 7)]++;
  for (int i = 0; i < 7; i++) assert_in_range(counts[i], 10000 - 500, 10000 + 500);
  for (int i = 0; i < 100; i++) assert_int_equal(agrl_rng_below(&r, 1), 0);
  // Where 2^32 is far from a multiple of n, taking a remainder would show a bias of a third; the halves must be even.
  int low = 0;
  for (int i = 0; i < 30000; i++) low += agrl_rng_below(&r, 3u << 30) < 3u << 29;
  assert_in_range(low, 15000 - 450, 15000 + 450);
}

static void normal_has_its_moments(void **state) {
  agrl_rng r;
  agrl_rng_init(&r, 11, 0);
  enum { N = 200000 };
  double s1 = 0, s2 = 0, s4 = 0;
  for (int i = 0; i < N; i++) {
    double x = agrl_rng_normal(&r);
    assert_true(isfinite(x));
    s1 += x, s2 += x * x, s4 += x * x * x * x;
  }
  assert_true(fabs(s1 / N) < 0.012);
  assert_true(fabs(s2 / N - 1) < 0.02);
  assert_true(fabs(s4 / N - 3) < 0.15);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(philox_matches_published_vectors), cmocka_unit_test(uniform_depends_on_every_part_of_the_key),
      cmocka_unit_test(streams_differ_and_repeat),        cmocka_unit_test(below_is_even),
      cmocka_unit_test(normal_has_its_moments),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
