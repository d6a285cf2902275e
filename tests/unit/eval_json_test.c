// SPDX-License-Identifier: Apache-2.0
// What an evaluation's JSON and text say, read back: counts by gold and stated tier, the threshold's part, query types and
// what was left out, from a few items worked out by hand.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/json.h"
#include "deploy/eval/eval.h"

enum { MAX_ITEMS = 40 };
static agrl_row rows[MAX_ITEMS];
static char queries[MAX_ITEMS][16];
static const eval_head head = {.checkpoint = "ckpt", .split = "eval", .version = 1};

// Item i, a query of its own, with the probabilities p of tiers 1 to 4.
static eval_item item(int i, int gold, int predicted, const char *type, const double p[4]) {
  snprintf(queries[i], sizeof queries[i], "q%d", i);
  rows[i] = (agrl_row){.id = "id", .query = queries[i], .type = type};
  return (eval_item){.row = &rows[i], .gold = gold, .predicted = predicted, .p = {p[0], p[1], p[2], p[3]},
                     .score = p[0] + 2 * p[1] + 3 * p[2] + 4 * p[3]};
}

static agrl_json *written(const eval_measures *m, const eval_head *h) {
  agrl_buf out = {0};
  agrl_json *j = NULL;
  agrl_error err = {0};
  eval_json(m, h, &out);
  if (agrl_json_parse(out.data, out.len, "result", &j, &err)) fail_msg("%s\n%s", err.msg, out.data);
  agrl_buf_release(&out);
  return j;
}

static double number(const agrl_json *o, const char *key) {
  double v = NAN;
  if (!agrl_json_f64(agrl_json_get(o, key), &v)) fail_msg("no number %s", key);
  return v;
}

static void is_table(const agrl_json *a, size_t n, const int *want) {
  assert_int_equal(agrl_json_len(a), n);
  for (size_t g = 0; g < n; g++) {
    assert_int_equal(agrl_json_len(agrl_json_at(a, g)), n);
    for (size_t p = 0; p < n; p++) {
      int64_t v = -1;
      assert_true(agrl_json_i64(agrl_json_at(agrl_json_at(a, g), p), &v));
      if (v != want[g * n + p]) fail_msg("[%zu][%zu] is %d, not %d", g, p, (int)v, want[g * n + p]);
    }
  }
}

// Rows are gold tiers from 1, columns what was stated: no count is that of its mirror image.
static void confusion_is_by_gold_and_stated_tier(void **state) {
  static const int want[4][4] = {{2, 1, 0, 4}, {0, 3, 2, 0}, {5, 1, 1, 3}, {0, 6, 0, 2}}, unreadable[4] = {1, 0, 2, 0};
  eval_item items[MAX_ITEMS];
  eval_measures m;
  int n = 0, flat[16];
  for (int g = 0; g < 4; g++) {
    for (int p = 0; p < 4; p++) {
      flat[4 * g + p] = want[g][p];
      for (int i = 0; i < want[g][p]; i++, n++) items[n] = item(n, g + 1, p + 1, "", (double[4]){0.25, 0.25, 0.25, 0.25});
    }
    for (int i = 0; i < unreadable[g]; i++, n++) items[n] = item(n, g + 1, 0, "", (double[4]){0.25, 0.25, 0.25, 0.25});
  }
  assert_int_equal(n, 33);
  eval_measure(items, (size_t)n, 0, NULL, 0, &m);
  agrl_json *j = written(&m, &head);
  is_table(agrl_json_get(j, "confusion"), 4, flat);
  for (size_t g = 0; g < 4; g++) {
    int64_t v = -1;
    assert_true(agrl_json_i64(agrl_json_at(agrl_json_get(j, "unreadable"), g), &v) && v == unreadable[g]);
  }
  assert_true(fabs(number(agrl_json_get(j, "recall"), "3") - 1.0 / 12) < 1e-9);
  assert_true(number(j, "n") == 33 && fabs(number(j, "accuracy") - 8.0 / 33) < 1e-9);
  agrl_json_free(j);
}

// The dev rows leave b between 0.3 and 0.6: 0.45. By it the items are Good, Good, Mid, Bad, Mid, Bad.
static void the_threshold_is_written_with_its_counts(void **state) {
  const eval_item dev[] = {item(0, 4, 4, "", (double[4]){0.1, 0.3, 0.2, 0.4}), item(1, 2, 2, "", (double[4]){0.1, 0.6, 0.2, 0.1}),
                           item(2, 1, 1, "", (double[4]){0.8, 0.1, 0.1, 0})};
  const eval_item items[] = {item(3, 3, 3, "", (double[4]){0.1, 0.1, 0.4, 0.4}), item(4, 2, 4, "", (double[4]){0, 0.1, 0.2, 0.7}),
                             item(5, 2, 2, "", (double[4]){0, 0.8, 0.1, 0.1}),   item(6, 2, 0, "", (double[4]){0.9, 0.1, 0, 0}),
                             item(7, 4, 1, "", (double[4]){0.2, 0.5, 0.3, 0}),   item(8, 1, 1, "", (double[4]){0.7, 0.1, 0.1, 0.1})};
  eval_measures m;
  eval_measure(items, 6, 0, dev, 3, &m);
  eval_head h = head;
  h.dev = "dev.jsonl";
  agrl_json *j = written(&m, &h);
  const agrl_json *t = agrl_json_get(j, "threshold");
  const char *chosen_on = NULL;
  assert_true(fabs(number(t, "b") - 0.45) < 1e-9);
  assert_true(agrl_json_str(agrl_json_get(t, "chosen_on"), &chosen_on, NULL));
  assert_string_equal(chosen_on, "dev.jsonl");
  assert_true(number(t, "dev_n") == 3 && number(t, "dev_macro_f1") == 1 && number(t, "n") == 6);
  is_table(agrl_json_get(t, "confusion"), 3, (const int[]){1, 0, 0, /* gold Mid */ 1, 1, 1, /* gold Good */ 0, 1, 1});
  assert_true(fabs(number(agrl_json_get(t, "f1"), "bad") - 2.0 / 3) < 1e-9);
  assert_true(fabs(number(agrl_json_get(t, "f1"), "mid") - 2.0 / 5) < 1e-9);
  assert_true(fabs(number(agrl_json_get(t, "f1"), "good") - 1.0 / 2) < 1e-9);
  assert_true(fabs(number(t, "macro_f1") - (2.0 / 3 + 2.0 / 5 + 1.0 / 2) / 3) < 1e-9);
  // the traces: of the Mid rows one is called Good and one is unreadable, of the Good rows one is called Bad
  assert_true(fabs(number(t, "trace_macro_f1") - (2.0 / 3 + 1.0 / 2 + 1.0 / 2) / 3) < 1e-9);
  agrl_json_free(j);
}

// Rows without a type are "untyped"; a type of that name is the same one, not a key that stands twice.
static void rows_without_a_type_are_one_type(void **state) {
  eval_item items[MAX_ITEMS];
  static char types[18][16];
  eval_measures m;
  size_t n = 0;
  for (int i = 0; i < 3; i++, n++) items[n] = item((int)n, 4, 4, i == 1 ? "untyped" : "", (double[4]){0, 0, 0, 1});
  items[n++] = item(3, 1, 1, "plain", (double[4]){1, 0, 0, 0});
  eval_measure(items, n, 0, NULL, 0, &m);
  agrl_json *j = written(&m, &head);
  const agrl_json *by_type = agrl_json_get(j, "by_type");
  assert_true(m.n_types == 2 && number(agrl_json_get(by_type, "untyped"), "n") == 3 && number(agrl_json_get(by_type, "plain"), "n") == 1);
  agrl_json_free(j);
  n = 0;
  for (int i = 0; i < 16; i++, n++) {  // all places are taken
    snprintf(types[i], sizeof types[i], "t%d", i);
    items[n] = item((int)n, 4, 4, types[i], (double[4]){0, 0, 0, 1});
  }
  for (int i = 0; i < 4; i++, n++) items[n] = item((int)n, 4, 4, i % 2 ? "untyped" : "", (double[4]){0, 0, 0, 1});
  eval_measure(items, n, 0, NULL, 0, &m);
  assert_true(m.types_left_out == 1 && m.rows_left_out == 4);
}

static void says(const eval_measures *m, const eval_head *h, const char *what) {
  agrl_buf out = {0};
  eval_text(m, h, &out);
  if (!strstr(out.data, what)) fail_msg("no \"%s\" in\n%s", what, out.data);
  agrl_buf_release(&out);
}

static void rows_that_are_missing_are_counted(void **state) {
  const eval_item items[] = {item(0, 4, 4, "", (double[4]){0, 0, 0, 1})};
  eval_measures m;
  eval_head h = head;
  eval_measure(items, 1, 0, NULL, 0, &m);
  agrl_buf out = {0};
  eval_text(&m, &h, &out);
  assert_null(strstr(out.data, "left out"));
  agrl_buf_release(&out);
  h.malformed = 2;
  h.skipped = 3;
  agrl_json *j = written(&m, &h);
  assert_true(number(j, "malformed") == 2 && number(j, "skipped") == 3);
  agrl_json_free(j);
  says(&m, &h, "  2 malformed rows, not evaluated\n  left out: 3 rows too long for the model's context\n");
  eval_measure(NULL, 0, 0, NULL, 0, &m);
  says(&m, &h, "no row was measured\n  2 malformed rows, not evaluated\n");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(confusion_is_by_gold_and_stated_tier),
                                     cmocka_unit_test(the_threshold_is_written_with_its_counts),
                                     cmocka_unit_test(rows_without_a_type_are_one_type),
                                     cmocka_unit_test(rows_that_are_missing_are_counted)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
