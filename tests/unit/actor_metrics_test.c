// SPDX-License-Identifier: Apache-2.0
// What the actor computes for its metrics: the share of repeated 4-grams.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "actor/actor.h"

static void test_repetition(void **state) {
  static const int32_t distinct[] = {1, 2, 3, 4, 5, 6, 7}, same[] = {9, 9, 9, 9, 9, 9}, twice[] = {1, 2, 3, 4, 1, 2, 3, 4},
                       apart[] = {1, 2, 3, 5, 1, 2, 3, 4};
  assert_true(isnan(actor_repetition_ratio(distinct, 0)));
  assert_true(isnan(actor_repetition_ratio(distinct, 3)));
  assert_float_equal(actor_repetition_ratio(distinct, 4), 0, 0);
  assert_float_equal(actor_repetition_ratio(distinct, 7), 0, 0);
  assert_float_equal(actor_repetition_ratio(same, 6), 2.0 / 3, 1e-12);   // three 4-grams, two of them seen before
  assert_float_equal(actor_repetition_ratio(twice, 8), 0.2, 1e-12);      // 1234 again, of five
  assert_float_equal(actor_repetition_ratio(apart, 8), 0, 0);            // three in a row are not enough
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_repetition)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
