// SPDX-License-Identifier: Apache-2.0
// Evaluation measures against values worked out by hand.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "deploy/eval/eval.h"

#define NEAR(a, b) assert_true(fabs((a) - (b)) < 1e-9)

static eval_item item(int gold, int predicted, bool rule, const char *type, const char *query, double score) {
  return (eval_item){.gold = gold, .predicted = predicted, .g_format = predicted > 0, .g_rule = rule, .consistent = rule,
                     .score = score, .tokens = 10, .type = type, .query = query};
}

static void measures_by_hand(void **state) {
  // tier 4: 2 gold, 1 hit, 1 called 3; tier 3: 1 gold, hit; tier 1: 2 gold, 1 hit, 1 unreadable; tier 2 does not occur.
  const eval_item items[] = {item(4, 4, true, "plain", "a", 3.9), item(4, 3, true, "plain", "a", 3.1), item(3, 3, true, "negation", "b", 3),
                             item(1, 1, false, "negation", "b", 1), item(1, 0, false, "plain", "c", 2)};
  eval_measures m;
  eval_measure(items, 5, &m);
  NEAR(m.accuracy.value, 0.6);
  NEAR(m.f1[3], 2.0 / 3);  // precision 1, recall 1/2
  NEAR(m.f1[2], 2.0 / 3);  // precision 1/2, recall 1
  NEAR(m.f1[0], 2.0 / 3);  // precision 1, recall 1/2
  assert_true(isnan(m.f1[1]));
  NEAR(m.macro_f1.value, 2.0 / 3);
  NEAR(m.good_f1.value, 1.0);  // 4 and 3 are both Good
  NEAR(m.rule_adherence.value, 0.6);
  NEAR(m.format_rate, 0.8);
  NEAR(m.inconsistent_rate, 0.4);
  assert_int_equal(m.confusion[0][EVAL_TIERS], 1);
  assert_int_equal(m.n_types, 2);
  assert_string_equal(m.types[0].type, "plain");
  NEAR(m.types[1].accuracy, 1.0);
  assert_true(m.accuracy.low <= 0.6 && m.accuracy.high >= 0.6 && m.accuracy.low < m.accuracy.high);
}

static void ndcg_orders_by_score(void **state) {
  const eval_item right[] = {item(4, 4, true, "", "q", 4), item(2, 2, true, "", "q", 2), item(1, 1, true, "", "q", 1)};
  const eval_item wrong[] = {item(4, 4, true, "", "q", 1), item(2, 2, true, "", "q", 2), item(1, 1, true, "", "q", 4)};
  const eval_item alone[] = {item(4, 4, true, "", "q", 1), item(2, 2, true, "", "r", 2)};
  eval_measures m;
  eval_measure(right, 3, &m);
  NEAR(m.ndcg10, 1.0);
  eval_measure(wrong, 3, &m);
  NEAR(m.ndcg10, (0 + 1 / log2(3) + 7 / 2.0) / (7 + 1 / log2(3)));
  eval_measure(alone, 2, &m);
  assert_true(isnan(m.ndcg10));  // no query with two candidates
}

static void same_items_same_interval(void **state) {
  eval_item items[40];
  for (int i = 0; i < 40; i++) items[i] = item(i % 4 + 1, i % 3 ? i % 4 + 1 : 1, true, "", "q", 1);
  eval_measures a, b;
  eval_measure(items, 40, &a);
  eval_measure(items, 40, &b);
  assert_memory_equal(&a.macro_f1, &b.macro_f1, sizeof a.macro_f1);
}

static void nothing_measured_is_undefined(void **state) {
  eval_measures m;
  agrl_buf b = {0};
  eval_measure(NULL, 0, &m);
  const eval_interval *all[] = {&m.accuracy, &m.macro_f1, &m.rule_adherence, &m.good_f1};
  for (size_t i = 0; i < 4; i++) assert_true(isnan(all[i]->value) && isnan(all[i]->low) && isnan(all[i]->high));
  assert_true(isnan(m.format_rate) && isnan(m.ndcg10) && isnan(m.mean_tokens) && isnan(m.f1[0]) && isnan(m.recall[3]));
  eval_json(&m, "ckpt", 1, "eval", 7, &b);
  assert_non_null(strstr(b.data, "\"skipped\":7,\"accuracy\":null,\"accuracy_ci\":[null,null]"));
  agrl_buf_clear(&b);
  eval_text(&m, "ckpt", "eval", &b);
  assert_string_equal(b.data, "ckpt on eval: no row was measured\n");
  agrl_buf_release(&b);
}

// Two of three items are of tier 1 and called so: most resamples define Good F1, the rest must not spoil the interval.
static void an_interval_is_over_what_is_defined(void **state) {
  const eval_item items[] = {item(1, 1, true, "", "q", 1), item(1, 1, true, "", "q", 1), item(4, 4, true, "", "q", 4)};
  eval_measures m;
  eval_measure(items, 3, &m);
  NEAR(m.good_f1.low, 1);
  NEAR(m.good_f1.high, 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(measures_by_hand), cmocka_unit_test(ndcg_orders_by_score),
                                     cmocka_unit_test(same_items_same_interval),
                                     cmocka_unit_test(nothing_measured_is_undefined),
                                     cmocka_unit_test(an_interval_is_over_what_is_defined)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
