// SPDX-License-Identifier: Apache-2.0
// Evaluation measures against values worked out by hand, and against slow ones written another way.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/json.h"
#include "common/base/rng.h"
#include "deploy/eval/eval.h"

#define NEAR(a, b) assert_true(fabs((a) - (b)) < 1e-9)

enum { MAX_ITEMS = 2000 };
static agrl_row rows[MAX_ITEMS];
static char queries[MAX_ITEMS][32];
static size_t n_rows;

static eval_item item(int gold, int predicted, bool rule, const char *type, const char *query, double score) {
  agrl_row *row = &rows[n_rows++ % MAX_ITEMS];
  *row = (agrl_row){.id = "id", .query = query, .type = type};
  return (eval_item){.row = row, .gold = gold, .predicted = predicted, .g_format = predicted > 0, .g_rule = rule, .consistent = rule,
                     .score = score, .p = {NAN, NAN, NAN, NAN}, .tokens = 10};
}

static void measure(const eval_item *items, size_t n, eval_measures *m) {
  eval_item copy[40];
  memcpy(copy, items, n * sizeof *items);
  for (size_t i = 0; i < n; i++)
    if (isnan(copy[i].p[0])) memcpy(copy[i].p, (double[4]){0.25, 0.25, 0.25, 0.25}, sizeof copy[i].p);
  eval_measure(copy, n, 0, NULL, 0, m);
}

static void measures_by_hand(void **state) {
  // tier 4: 2 gold, 1 hit, 1 called 3; tier 3: 1 gold, hit; tier 1: 2 gold, 1 hit, 1 unreadable; tier 2 does not occur.
  const eval_item items[] = {item(4, 4, true, "plain", "a", 3.9), item(4, 3, true, "plain", "a", 3.1), item(3, 3, true, "negation", "b", 3),
                             item(1, 1, false, "negation", "b", 1), item(1, 0, false, "plain", "c", 2)};
  eval_measures m;
  measure(items, 5, &m);
  NEAR(m.accuracy.value, 0.6);
  NEAR(m.f1[3].value, 2.0 / 3);  // precision 1, recall 1/2
  NEAR(m.f1[2].value, 2.0 / 3);  // precision 1/2, recall 1
  NEAR(m.f1[0].value, 2.0 / 3);  // precision 1, recall 1/2
  assert_true(isnan(m.f1[1].value));
  NEAR(m.macro_f1.value, 2.0 / 3);
  NEAR(m.good_f1.value, 1.0);  // 4 and 3 are both Good
  NEAR(m.rule_adherence.value, 0.6);
  NEAR(m.format_rate.value, 0.8);
  NEAR(m.inconsistent_rate.value, 0.4);
  assert_int_equal(m.confusion[0][EVAL_TIERS], 1);
  assert_int_equal(m.n_types, 2);
  assert_string_equal(m.types[0].type, "plain");
  NEAR(m.types[1].accuracy.value, 1.0);
  NEAR(m.types[0].rule_adherence.value, 2.0 / 3);
  assert_true(m.accuracy.low <= 0.6 && m.accuracy.high >= 0.6 && m.accuracy.low < m.accuracy.high);
}

static void ndcg_orders_by_score(void **state) {
  const eval_item right[] = {item(4, 4, true, "", "q", 4), item(2, 2, true, "", "q", 2), item(1, 1, true, "", "q", 1)};
  const eval_item wrong[] = {item(4, 4, true, "", "q", 1), item(2, 2, true, "", "q", 2), item(1, 1, true, "", "q", 4)};
  const eval_item alone[] = {item(4, 4, true, "", "q", 1), item(2, 2, true, "", "r", 2)};
  eval_measures m;
  measure(right, 3, &m);
  NEAR(m.ndcg10.value, 1.0);
  measure(wrong, 3, &m);
  NEAR(m.ndcg10.value, (0 + 1 / log2(3) + 7 / 2.0) / (7 + 1 / log2(3)));
  measure(alone, 2, &m);
  assert_true(isnan(m.ndcg10.value));  // no query with two candidates
}

// Products of one score: the mean over all orders they could stand in, whatever order the rows are in.
static void ndcg_of_ties_is_the_mean_over_their_orders(void **state) {
  static const int orders[6][3] = {{4, 2, 1}, {4, 1, 2}, {2, 4, 1}, {2, 1, 4}, {1, 4, 2}, {1, 2, 4}};
  const double second = 1 / log2(3), best = 7 + second;
  eval_measures m;
  for (int o = 0; o < 6; o++) {
    eval_item same[3], two[4] = {item(1, 1, true, "", "q", 3)};
    for (int i = 0; i < 3; i++) same[i] = item(orders[o][i], 1, true, "", "q", 2.5);
    measure(same, 3, &m);
    NEAR(m.ndcg10.value, 8 / 3.0 * (1 + second + 0.5) / best);
    for (int i = 0; i < 3; i++) two[i + 1] = item(orders[o][i], 1, true, "", "q", orders[o][i] == 1 ? 1 : 2);
    measure(two, 4, &m);
    NEAR(m.ndcg10.value, 8 / 2.0 * (second + 0.5) / best);
  }
  eval_item eleven[11];  // of which one stands beyond the tenth place
  double discounts = 0;
  for (int i = 0; i < 11; i++) eleven[i] = item(i == 10 ? 4 : 1, 1, true, "", "q", 1);
  for (int i = 0; i < 10; i++) discounts += 1 / log2(i + 2);
  measure(eleven, 11, &m);
  NEAR(m.ndcg10.value, discounts / 11);
}

static void same_items_same_interval(void **state) {
  eval_item items[40];
  for (int i = 0; i < 40; i++) {
    snprintf(queries[i], sizeof queries[i], "q%d", i / 2);
    items[i] = item(i % 4 + 1, i % 3 ? i % 4 + 1 : 1, true, "", queries[i], 1);
  }
  eval_measures a, b;
  measure(items, 40, &a);
  measure(items, 40, &b);
  assert_memory_equal(&a.macro_f1, &b.macro_f1, sizeof a.macro_f1);
  assert_memory_equal(a.f1, b.f1, sizeof a.f1);
  assert_true(a.macro_f1.low < a.macro_f1.high);
}

static void nothing_measured_is_undefined(void **state) {
  eval_measures m;
  agrl_buf b = {0};
  eval_measure(NULL, 0, 4, NULL, 0, &m);
  const eval_interval *all[] = {&m.accuracy, &m.macro_f1, &m.rule_adherence, &m.good_f1, &m.argmax_macro_f1, &m.argmax_accuracy, &m.ndcg10,
                                &m.format_rate, &m.brier, &m.log_loss, &m.threshold.macro_f1, &m.pass[0], &m.pass[3]};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) assert_true(isnan(all[i]->value) && isnan(all[i]->low) && isnan(all[i]->high));
  assert_true(isnan(m.ece) && isnan(m.mean_tokens) && isnan(m.f1[0].value) && isnan(m.recall[3]));
  const eval_head head = {.checkpoint = "ckpt", .split = "eval", .version = 1, .skipped = 7};
  eval_json(&m, &head, &b);
  assert_non_null(strstr(b.data, "\"skipped\":7,\"malformed\":0,\"accuracy\":null,\"accuracy_ci\":[null,null]"));
  agrl_buf_clear(&b);
  eval_text(&m, &head, &b);
  assert_string_equal(b.data, "ckpt on eval: no row was measured\n  left out: 7 rows too long for the model's context\n");
  agrl_buf_release(&b);
}

// Two of four items are of tier 1 and called so: some resamples define no Good F1, which must not spoil the interval.
static void an_interval_is_over_what_is_defined(void **state) {
  const eval_item items[] = {item(1, 1, true, "", "q", 1), item(1, 1, true, "", "r", 1), item(4, 4, true, "", "s", 4), item(3, 1, true, "", "t", 4)};
  eval_measures m;
  measure(items, 4, &m);
  NEAR(m.good_f1.low, 0);
  NEAR(m.good_f1.high, 1);
}

// One query, or nothing but hits: all resamples are the same, and the bootstrap has nothing to say.
static void no_interval_where_resamples_do_not_differ(void **state) {
  const eval_item one[] = {item(1, 1, true, "", "q", 1), item(1, 4, true, "", "q", 1)}, hits[] = {item(1, 1, true, "", "q", 1), item(4, 4, true, "", "r", 1)};
  eval_measures m;
  measure(one, 2, &m);
  assert_true(m.accuracy.value == 0.5 && isnan(m.accuracy.low) && isnan(m.accuracy.high));
  measure(hits, 2, &m);
  assert_true(m.accuracy.value == 1 && isnan(m.accuracy.low) && isnan(m.accuracy.high));
  agrl_buf out = {0};
  const eval_head head = {.checkpoint = "ckpt", .split = "eval", .version = 1};
  eval_text(&m, &head, &out);
  assert_non_null(strstr(out.data, "  accuracy               1.0000\n"));
  assert_null(strstr(out.data, "nan"));
  agrl_buf_release(&out);
}

// --- random items, measured the slow way ---

static void random_items(eval_item *items, size_t n, size_t samples) {
  static const char *const types[] = {"plain", "negation", "question"};
  agrl_rng rng;
  agrl_rng_init(&rng, 5, 5);
  n_rows = 0;
  for (size_t i = 0; i < n; i++) {
    int gold = 1 + (int)agrl_rng_below(&rng, 4), said = agrl_rng_below(&rng, 10) < 6 ? gold : (int)agrl_rng_below(&rng, 5);
    snprintf(queries[i], sizeof queries[i], "query %zu", i / 3);
    items[i] = item(gold, said, said > 0, types[i % 3], queries[i], 0);
    double sum = 0;
    for (int t = 0; t < 4; t++) sum += items[i].p[t] = pow(agrl_rng_f64(&rng), 3) + (t + 1 == gold ? 0.3 : 0);
    for (int t = 0; t < 4; t++) items[i].score += (items[i].p[t] /= sum) * (t + 1);
    items[i].right = (uint32_t)agrl_rng_below(&rng, (uint32_t)samples + 1);
  }
}

static int argmax(const eval_item *it) {
  int top = 1;
  for (int t = 2; t <= 4; t++)
    if (it->p[t - 1] >= it->p[top - 1]) top = t;
  return top;
}

static int class3(int tier) { return tier == 4 || tier == 3 ? 2 : tier == 2 ? 1 : tier == 1 ? 0 : 9; }

static int class_at(const eval_item *it, double b) {  // as TaoSR1 words it
  double p4 = it->p[3], p43 = p4 + it->p[2];
  if (p4 >= b || p43 >= b) return 2;
  return p43 + it->p[1] >= b ? 1 : 0;
}

// Macro F1 from two label lists: precision and recall of every label that occurs among the gold ones.
static double slow_macro_f1(const int *gold, const int *said, size_t n, int labels) {
  double sum = 0;
  int occur = 0;
  for (int l = 0; l < labels; l++) {
    double tp = 0, is = 0, says = 0;
    for (size_t i = 0; i < n; i++) tp += gold[i] == l && said[i] == l, is += gold[i] == l, says += said[i] == l;
    if (is == 0) continue;
    double precision = says > 0 ? tp / says : 0, recall = tp / is;
    sum += precision + recall > 0 ? 2 * precision * recall / (precision + recall) : 0;
    occur++;
  }
  return sum / occur;
}

static double slow_macro_at(const eval_item *items, size_t n, double b, int dev) {  // dev: 1 these rows, 0 the others, -1 all
  static int gold[MAX_ITEMS], said[MAX_ITEMS];
  size_t k = 0;
  for (size_t i = 0; i < n; i++) {
    if (dev >= 0 && eval_is_dev(items[i].row->query) != dev) continue;
    gold[k] = class3(items[i].gold);
    said[k++] = class_at(&items[i], b);
  }
  return slow_macro_f1(gold, said, k, 3);
}

static void probabilities_are_measured_as_the_slow_way_does(void **state) {
  enum { N = 900 };
  static eval_item items[N];
  static eval_measures m;
  static int gold[N], said[N];
  random_items(items, N, 8);
  eval_measure(items, N, 0, NULL, 0, &m);
  double brier = 0, loss = 0, right = 0, ece = 0;
  for (size_t i = 0; i < N; i++) {
    gold[i] = items[i].gold - 1;
    said[i] = argmax(&items[i]) - 1;
    right += gold[i] == said[i];
    loss -= log(items[i].p[gold[i]]);
    for (int t = 0; t < 4; t++) brier += pow(items[i].p[t] - (gold[i] == t ? 1 : 0), 2);
  }
  for (int b = 0; b < 10; b++) {
    double n = 0, confidence = 0, hits = 0;
    for (size_t i = 0; i < N; i++) {
      double top = items[i].p[said[i]];
      if (top * 10 < b || (top * 10 >= b + 1 && b < 9)) continue;
      n++, confidence += top, hits += gold[i] == said[i];
    }
    assert_int_equal(m.bins[b].n, n);
    if (n == 0) continue;
    NEAR(m.bins[b].confidence, confidence / n);
    NEAR(m.bins[b].accuracy, hits / n);
    ece += n / N * fabs(confidence / n - hits / n);
  }
  NEAR(m.argmax_accuracy.value, right / N);
  NEAR(m.argmax_macro_f1.value, slow_macro_f1(gold, said, N, 4));
  NEAR(m.brier.value, brier / N);
  NEAR(m.log_loss.value, loss / N);
  NEAR(m.ece, ece);
  for (size_t i = 0; i < N; i++) said[i] = items[i].predicted - 1;
  NEAR(m.macro_f1.value, slow_macro_f1(gold, said, N, 4));
  for (size_t k = 0; k < 3; k++) {  // items i of type i % 3
    int g[N / 3], p[N / 3];
    for (size_t i = 0; i < N / 3; i++) g[i] = gold[3 * i + k], p[i] = said[3 * i + k];
    NEAR(m.types[k].macro_f1.value, slow_macro_f1(g, p, N / 3, 4));
    assert_true(m.types[k].macro_f1.low < m.types[k].macro_f1.value && m.types[k].macro_f1.value < m.types[k].macro_f1.high);
    assert_int_equal(m.types[k].n, N / 3);
  }
}

static void the_threshold_is_the_best_one(void **state) {
  enum { N = 400 };
  static eval_item items[N];
  static eval_measures m;
  random_items(items, N, 8);
  eval_measure(items, N, 0, NULL, 0, &m);
  double best = 0, best_b = 0;
  size_t dev = 0;
  for (size_t i = 0; i < N; i++) {
    if (!eval_is_dev(items[i].row->query)) continue;
    dev++;
    double edges[] = {items[i].p[3] + items[i].p[2], items[i].p[3] + items[i].p[2] + items[i].p[1], 2};
    for (int k = 0; k < 3; k++) {
      double f = slow_macro_at(items, N, edges[k], 1);
      if (f > best + 1e-12 || (fabs(f - best) < 1e-12 && edges[k] > best_b)) best = f, best_b = edges[k];
    }
  }
  assert_true(dev > N / 10 && dev < N / 3);
  assert_int_equal(m.threshold.dev_n, dev);
  assert_int_equal(m.threshold.n, N - dev);
  NEAR(m.threshold.dev_macro_f1, best);
  NEAR(slow_macro_at(items, N, m.threshold.b, 1), best);
  double below = 0;  // the next edge: b lies in the middle
  for (size_t i = 0; i < N; i++) {
    double edges[] = {items[i].p[3] + items[i].p[2], items[i].p[3] + items[i].p[2] + items[i].p[1]};
    for (int k = 0; k < 2 && eval_is_dev(items[i].row->query); k++)
      if (edges[k] < best_b) below = fmax(below, edges[k]);
  }
  NEAR(m.threshold.b, (best_b + below) / 2);
  NEAR(m.threshold.macro_f1.value, slow_macro_at(items, N, m.threshold.b, 0));
  static int gold[N], said[N];
  size_t k = 0;
  for (size_t i = 0; i < N; i++)
    if (!eval_is_dev(items[i].row->query)) gold[k] = class3(items[i].gold), said[k++] = class3(items[i].predicted);
  NEAR(m.threshold.trace_macro_f1.value, slow_macro_f1(gold, said, k, 3));
  // rows of another file choose it: then all items are measured
  eval_measure(items + 200, 200, 0, items, 200, &m);
  assert_int_equal(m.threshold.dev_n, 200);
  assert_int_equal(m.threshold.n, 200);
  NEAR(m.threshold.dev_macro_f1, slow_macro_at(items, 200, m.threshold.b, -1));
  NEAR(m.threshold.macro_f1.value, slow_macro_at(items + 200, 200, m.threshold.b, -1));
}

static void a_threshold_at_the_edges(void **state) {
  double f;
  eval_item all_good[] = {item(4, 4, true, "", "q", 4), item(3, 3, true, "", "q", 3)}, bad[] = {item(1, 1, true, "", "q", 1)};
  memcpy(all_good[0].p, (double[4]){0, 0, 0, 1}, sizeof bad[0].p);
  memcpy(all_good[1].p, (double[4]){1, 0, 0, 0}, sizeof bad[0].p);  // as wrong as can be
  memcpy(bad[0].p, (double[4]){0, 0, 0, 1}, sizeof bad[0].p);
  const eval_item *good[] = {&all_good[0], &all_good[1]}, *one[] = {&bad[0]};
  double b = eval_choose_b(good, 2, &f);
  NEAR(f, 1);
  assert_true(b <= 0 && eval_class_by(all_good[1].p, b) == EVAL_GOOD);
  b = eval_choose_b(one, 1, &f);
  NEAR(f, 1);
  assert_true(b > 1 && eval_class_by(bad[0].p, b) == EVAL_BAD);
  assert_true(isnan(eval_choose_b(NULL, 0, &f)) && isnan(f));
  // All Bad and all Good are as good as each other (F1 2/3 and 0), what lies between is worse: the highest b wins.
  eval_item worse = item(4, 4, true, "", "q", 4);
  memcpy(worse.p, (double[4]){0.25, 0, 0, 0.75}, sizeof worse.p);
  const eval_item *two[] = {&worse, &bad[0]};
  b = eval_choose_b(two, 2, &f);
  NEAR(f, 1.0 / 3);
  assert_true(b > 1);
}

static void pass_at_k_is_the_share_of_subsets(void **state) {
  for (unsigned samples = 1; samples <= 7; samples++)
    for (unsigned right = 0; right <= samples; right++)
      for (unsigned k = 1; k <= samples; k++) {
        unsigned subsets = 0, passing = 0;
        for (unsigned set = 0; set < 1u << samples; set++) {
          if ((unsigned)__builtin_popcount(set) != k) continue;
          subsets++;
          passing += (set & ((1u << right) - 1)) != 0;  // the first `right` samples are the right ones
        }
        NEAR(eval_pass_at(samples, right, k), (double)passing / subsets);
      }
  static eval_item items[50];
  eval_measures m;
  random_items(items, 50, 8);
  eval_measure(items, 50, 8, NULL, 0, &m);
  double right = 0, any = 0;
  for (int i = 0; i < 50; i++) right += items[i].right / 8.0, any += items[i].right > 0;
  NEAR(m.pass[0].value, right / 50);
  NEAR(m.pass[7].value, any / 50);
  for (int k = 1; k < 8; k++) assert_true(m.pass[k].value > m.pass[k - 1].value && m.pass[k].low <= m.pass[k].value);
}

// Accuracy and the log loss are means of n independent items: their intervals must be near the normal ones.
static void intervals_have_the_right_width(void **state) {
  enum { N = 900 };
  static eval_item items[N];
  static eval_measures m;
  random_items(items, N, 8);
  eval_measure(items, N, 0, NULL, 0, &m);
  double p = m.accuracy.value, half = 1.96 * sqrt(p * (1 - p) / N), mean = 0, square = 0;
  assert_true(fabs(m.accuracy.low - (p - half)) < 0.2 * half && fabs(m.accuracy.high - (p + half)) < 0.2 * half);
  for (size_t i = 0; i < N; i++) {
    double loss = -log(items[i].p[items[i].gold - 1]);
    mean += loss / N;
    square += loss * loss / N;
  }
  half = 1.96 * sqrt((square - mean * mean) / N);
  assert_true(fabs(m.log_loss.low - (mean - half)) < 0.2 * half && fabs(m.log_loss.high - (mean + half)) < 0.2 * half);
  for (int c = 0; c < 4; c++) assert_true(m.f1[c].low < m.f1[c].value && m.f1[c].value < m.f1[c].high);
}

// --- the bootstrap, the slow way ---

static double slow_dcg(const int *gold, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n && i < 10; i++) sum += (pow(2, gold[i] - 1) - 1) / log2((double)i + 2);
  return sum;
}

// Of items that are one query.
static double slow_ndcg(const eval_item *items, size_t n) {
  int by_score[8], best[8];
  bool taken[8] = {false};
  for (size_t k = 0; k < n; k++) {
    size_t top = n;
    for (size_t i = 0; i < n; i++)
      if (!taken[i] && (top == n || items[i].score > items[top].score)) top = i;
    taken[top] = true;
    by_score[k] = best[k] = items[top].gold;
  }
  for (size_t i = 0; i < n; i++)
    for (size_t k = i + 1; k < n; k++)
      if (best[k] > best[i]) {
        int t = best[i];
        best[i] = best[k];
        best[k] = t;
      }
  return best[0] == best[n - 1] ? NAN : slow_dcg(by_score, n) / slow_dcg(best, n);
}

enum { S_ACCURACY, S_MACRO, S_FORMAT, S_CONFLICTS, S_NDCG, S_TYPE_F1, S_TYPE_ACCURACY, S_TYPE_RULE, S_BY_B, S_BRIER, S_N };

// Three items a query; drawn: the queries of this resample.
static void slow_statistics(const eval_item *items, const size_t *drawn, size_t queries_n, double b, double *out) {
  static int gold[MAX_ITEMS], said[MAX_ITEMS], type_gold[MAX_ITEMS], type_said[MAX_ITEMS], three[MAX_ITEMS], three_said[MAX_ITEMS];
  double n = 0, right = 0, format = 0, conflicts = 0, ndcg = 0, ranked = 0, type_right = 0, type_rule = 0, brier = 0;
  size_t types = 0, rest = 0;
  for (size_t q = 0; q < queries_n; q++) {
    const eval_item *of = items + 3 * drawn[q];
    double v = slow_ndcg(of, 3);
    if (!isnan(v)) ndcg += v, ranked++;
    for (const eval_item *it = of; it < of + 3; it++) {
      gold[(size_t)n] = it->gold - 1;
      said[(size_t)n] = it->predicted - 1;
      n++, right += it->gold == it->predicted, format += it->g_format, conflicts += !it->consistent;
      for (int t = 0; t < 4; t++) brier += pow(it->p[t] - (it->gold == t + 1), 2);
      if (!eval_is_dev(it->row->query)) three[rest] = class3(it->gold), three_said[rest++] = class_at(it, b);
      if (strcmp(it->row->type, "negation") != 0) continue;
      type_gold[types] = it->gold - 1;
      type_said[types++] = it->predicted - 1;
      type_right += it->gold == it->predicted, type_rule += it->g_rule;
    }
  }
  out[S_ACCURACY] = right / n;
  out[S_MACRO] = slow_macro_f1(gold, said, (size_t)n, 4);
  out[S_FORMAT] = format / n;
  out[S_CONFLICTS] = conflicts / n;
  out[S_NDCG] = ndcg / ranked;
  out[S_TYPE_F1] = slow_macro_f1(type_gold, type_said, types, 4);
  out[S_TYPE_ACCURACY] = type_right / (double)types;
  out[S_TYPE_RULE] = type_rule / (double)types;
  out[S_BY_B] = slow_macro_f1(three, three_said, rest, 3);
  out[S_BRIER] = brier / n;
}

static int by_value(const void *a, const void *b) { return *(const double *)a < *(const double *)b ? -1 : *(const double *)a > *(const double *)b; }

static void queries_are_resampled_whole(void **state) {
  enum { Q = 60, R = 1000 };
  static eval_item items[3 * Q];
  static eval_measures m;
  static double all[S_N][R];
  random_items(items, 3 * Q, 0);
  for (size_t i = 0; i < 3 * Q; i++) {  // the order of strcmp is the order of the draw
    snprintf(queries[i], sizeof queries[i], "query %03zu", i / 3);
    items[i].consistent = i % 5 != 0;
  }
  eval_measure(items, 3 * Q, 0, NULL, 0, &m);
  assert_int_equal(m.n_queries, Q);
  agrl_rng rng;
  agrl_rng_init(&rng, 20251120, 7);
  for (size_t r = 0; r < R; r++) {
    size_t drawn[Q];
    double v[S_N];
    for (size_t q = 0; q < Q; q++) drawn[q] = agrl_rng_below(&rng, Q);
    slow_statistics(items, drawn, Q, m.threshold.b, v);
    for (int k = 0; k < S_N; k++) all[k][r] = v[k];
  }
  const eval_interval *got[S_N] = {&m.accuracy, &m.macro_f1, &m.format_rate, &m.inconsistent_rate, &m.ndcg10, &m.types[1].macro_f1,
                                   &m.types[1].accuracy, &m.types[1].rule_adherence, &m.threshold.macro_f1, &m.brier};
  size_t once[Q];
  double v[S_N];
  for (size_t q = 0; q < Q; q++) once[q] = q;
  slow_statistics(items, once, Q, m.threshold.b, v);
  assert_string_equal(m.types[1].type, "negation");
  for (int k = 0; k < S_N; k++) {
    qsort(all[k], R, sizeof all[k][0], by_value);
    if (fabs(got[k]->value - v[k]) > 1e-9 || fabs(got[k]->low - all[k][25]) > 1e-9 || fabs(got[k]->high - all[k][974]) > 1e-9)
      fail_msg("statistic %d: %g [%g, %g], slowly %g [%g, %g]", k, got[k]->value, got[k]->low, got[k]->high, v[k], all[k][25], all[k][974]);
    assert_true(got[k]->low < got[k]->value && got[k]->value < got[k]->high);
  }
}

// Five rows of a query that are all right or all wrong are one observation, not five.
static void rows_of_a_query_are_not_independent(void **state) {
  enum { Q = 200 };
  static eval_item items[5 * Q];
  static eval_measures m;
  n_rows = 0;
  for (size_t i = 0; i < 5 * Q; i++) {
    snprintf(queries[i], sizeof queries[i], "q%zu", i % Q);
    items[i] = item(1, i % Q < 60 ? 2 : 1, true, "", queries[i], NAN);
  }
  eval_measure(items, 5 * Q, 0, NULL, 0, &m);
  double half = 1.96 * sqrt(0.3 * 0.7 / Q);
  NEAR(m.accuracy.value, 0.7);
  assert_true(fabs(m.accuracy.low - (0.7 - half)) < 0.2 * half && fabs(m.accuracy.high - (0.7 + half)) < 0.2 * half);
}

// A resample's ECE is larger than that of the rows: no interval is made of them, and the JSON has none.
static void the_calibration_error_has_no_interval(void **state) {
  static eval_item items[300];
  static eval_measures m;
  agrl_buf out = {0};
  random_items(items, 300, 0);
  eval_measure(items, 300, 0, NULL, 0, &m);
  const eval_head head = {.checkpoint = "ckpt", .split = "eval", .version = 1};
  eval_json(&m, &head, &out);
  assert_non_null(strstr(out.data, "\"ece\":"));
  assert_null(strstr(out.data, "ece_ci"));
  static const char *const keys[] = {"accuracy", "macro_f1", "good_f1", "rule_adherence", "format_rate", "inconsistent_rate", "ndcg10", "f1", "brier", "log_loss"};
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
    char key[40];
    snprintf(key, sizeof key, "\"%s_ci\":", keys[i]);
    if (!strstr(out.data, key)) fail_msg("no %s", key);
  }
  agrl_buf_clear(&out);
  eval_text(&m, &head, &out);
  assert_non_null(strstr(out.data, "\n  ECE                    0."));
  assert_non_null(strstr(out.data, "300 rows of 100 queries"));
  agrl_buf_release(&out);
}

// More types than are kept are told; a type's name neither steers the terminal nor is cut inside a character.
static void types_beyond_the_last_are_told(void **state) {
  enum { N = 40 };
  static eval_item items[N];
  static eval_measures m;
  static char types[N][64];
  n_rows = 0;
  for (size_t i = 0; i < N; i++) {
    snprintf(types[i], sizeof types[i], i ? "type %zu" : "\x1b[31m\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9", i % 20);
    snprintf(queries[i], sizeof queries[i], "q%zu", i);
    items[i] = item(1, 1 + (int)i % 2, true, types[i % 20 ? i : 0], queries[i], NAN);
  }
  eval_measure(items, N, 0, NULL, 0, &m);
  assert_true(m.n_types == 16 && m.types_left_out == 4 && m.rows_left_out == 8);
  agrl_buf out = {0};
  const eval_head head = {.checkpoint = "ckpt", .split = "eval", .version = 1};
  eval_json(&m, &head, &out);
  assert_non_null(strstr(out.data, "\"types_left_out\":4"));
  agrl_buf_clear(&out);
  eval_text(&m, &head, &out);
  assert_non_null(strstr(out.data, "  left out: 4 more query types (8 rows), 16 are shown at most\n"));
  assert_null(strchr(out.data, 27));
  assert_non_null(strstr(out.data, "\n  \\x1b[31m\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9 "));  // 22 characters
  agrl_buf_release(&out);
}

static void tiers_without_a_token_have_no_probabilities(void **state) {
  eval_item items[] = {item(4, 4, true, "", "q", NAN), item(1, 1, true, "", "r", NAN)};
  eval_measures m;
  agrl_buf out = {0};
  eval_measure(items, 2, 0, NULL, 0, &m);
  NEAR(m.macro_f1.value, 1);
  assert_true(isnan(m.brier.value) && isnan(m.argmax_macro_f1.value) && isnan(m.threshold.b) && isnan(m.threshold.macro_f1.value));
  const eval_head head = {.checkpoint = "ckpt", .split = "eval", .version = 1};
  eval_text(&m, &head, &out);
  assert_non_null(strstr(out.data, "tier probabilities: undefined"));
  assert_non_null(strstr(out.data, "  F1 of tier 2           -\n"));
  assert_null(strstr(out.data, "nan"));
  agrl_buf_release(&out);
}

static void an_item_is_written_whole(void **state) {
  eval_item it = item(4, 0, false, "plain", "a \"b\"", 3.5);
  static const char *names[] = {"title", "brand"}, *values[] = {"T", "B"};
  rows[(n_rows - 1) % MAX_ITEMS].n_fields = 2;
  rows[(n_rows - 1) % MAX_ITEMS].field_names = names;
  rows[(n_rows - 1) % MAX_ITEMS].field_values = values;
  memcpy(it.p, (double[4]){0, 0, 0.5, 0.5}, sizeof it.p);
  it.text = (char *)"4\n\xff";
  it.text_len = 3;
  it.right = 2;
  agrl_buf out = {0};
  eval_items_json(&it, 1, 8, &out);
  assert_string_equal(out.data,
                      "{\"id\":\"id\",\"query\":\"a \\\"b\\\"\",\"product\":{\"title\":\"T\",\"brand\":\"B\"},\"type\":\"plain\",\"gold\":4,"
                      "\"predicted\":0,\"p\":{\"1\":0,\"2\":0,\"3\":0.5,\"4\":0.5},\"score\":3.5,\"g_format\":false,\"g_rule\":false,"
                      "\"consistent\":false,\"tokens\":10,\"samples\":8,\"right\":2,\"text\":\"4\\n\xef\xbf\xbd\"}\n");
  agrl_buf_release(&out);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(measures_by_hand),
                                     cmocka_unit_test(ndcg_orders_by_score),
                                     cmocka_unit_test(ndcg_of_ties_is_the_mean_over_their_orders),
                                     cmocka_unit_test(same_items_same_interval),
                                     cmocka_unit_test(nothing_measured_is_undefined),
                                     cmocka_unit_test(an_interval_is_over_what_is_defined),
                                     cmocka_unit_test(probabilities_are_measured_as_the_slow_way_does),
                                     cmocka_unit_test(the_threshold_is_the_best_one),
                                     cmocka_unit_test(a_threshold_at_the_edges),
                                     cmocka_unit_test(pass_at_k_is_the_share_of_subsets),
                                     cmocka_unit_test(intervals_have_the_right_width),
                                     cmocka_unit_test(no_interval_where_resamples_do_not_differ),
                                     cmocka_unit_test(queries_are_resampled_whole),
                                     cmocka_unit_test(rows_of_a_query_are_not_independent),
                                     cmocka_unit_test(the_calibration_error_has_no_interval),
                                     cmocka_unit_test(types_beyond_the_last_are_told),
                                     cmocka_unit_test(tiers_without_a_token_have_no_probabilities),
                                     cmocka_unit_test(an_item_is_written_whole)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
