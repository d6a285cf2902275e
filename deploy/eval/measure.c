// SPDX-License-Identifier: Apache-2.0
// Measures over evaluated items: per-class F1, macro F1 (mean over the tiers that occur), Good F1 (tiers 4 and 3 against the
// rest), rule adherence, NDCG@10 over queries with several candidates, bootstrap intervals.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/base/rng.h"
#include "deploy/eval/eval.h"

#define RESAMPLES 1000

typedef struct tally {
  size_t n, right, rule, confusion[EVAL_TIERS][EVAL_TIERS + 1];
} tally;

static void count(tally *t, const eval_item *it) {
  int pred = it->predicted >= 1 && it->predicted <= EVAL_TIERS ? it->predicted - 1 : EVAL_TIERS;
  t->n++;
  t->right += it->predicted == it->gold;
  t->rule += it->g_rule;
  t->confusion[it->gold - 1][pred]++;
}

static double f1_of(size_t tp, size_t fp, size_t fn) {
  return tp + fp + fn ? 2.0 * (double)tp / (double)(2 * tp + fp + fn) : NAN;
}

static double tier_f1(const tally *t, int c) {
  size_t tp = t->confusion[c][c], fp = 0, fn = 0;
  for (int o = 0; o < EVAL_TIERS; o++)
    if (o != c) fp += t->confusion[o][c];
  for (int p = 0; p <= EVAL_TIERS; p++)
    if (p != c) fn += t->confusion[c][p];
  return tp + fn ? f1_of(tp, fp, fn) : NAN;  // a tier that does not occur has no F1
}

static double macro_f1(const tally *t) {
  double sum = 0;
  int k = 0;
  for (int c = 0; c < EVAL_TIERS; c++) {
    double f = tier_f1(t, c);
    if (isnan(f)) continue;
    sum += f;
    k++;
  }
  return k ? sum / k : NAN;
}

static double good_f1(const tally *t) {
  size_t tp = 0, fp = 0, fn = 0;
  for (int g = 0; g < EVAL_TIERS; g++)
    for (int p = 0; p <= EVAL_TIERS; p++) {
      bool gold_good = g >= 2, pred_good = p == 2 || p == 3;
      size_t k = t->confusion[g][p];
      tp += gold_good && pred_good ? k : 0;
      fp += !gold_good && pred_good ? k : 0;
      fn += gold_good && !pred_good ? k : 0;
    }
  return f1_of(tp, fp, fn);
}

static double share(size_t k, size_t n) { return n ? (double)k / (double)n : NAN; }

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

// Over the resamples in which the measure is defined.
static eval_interval interval(double value, double *samples) {
  size_t n = 0;
  for (size_t i = 0; i < RESAMPLES; i++)
    if (!isnan(samples[i])) samples[n++] = samples[i];
  if (n == 0) return (eval_interval){value, NAN, NAN};
  qsort(samples, n, sizeof *samples, by_value);
  return (eval_interval){value, samples[n / 40], samples[n - 1 - n / 40]};
}

static void bootstrap(const eval_item *items, size_t n, const tally *all, eval_measures *out) {
  if (n == 0) {  // nothing was measured
    out->accuracy = out->macro_f1 = out->rule_adherence = out->good_f1 = (eval_interval){NAN, NAN, NAN};
    return;
  }
  double *s = agrl_xcalloc(4 * RESAMPLES, sizeof *s);
  double *acc = s, *mac = s + RESAMPLES, *rule = s + 2 * RESAMPLES, *good = s + 3 * RESAMPLES;
  agrl_rng rng;
  agrl_rng_init(&rng, 20251120, 7);
  for (size_t r = 0; r < RESAMPLES; r++) {
    tally t = {0};
    for (size_t i = 0; i < n; i++) count(&t, &items[agrl_rng_below(&rng, (uint32_t)n)]);
    acc[r] = share(t.right, t.n);
    mac[r] = macro_f1(&t);
    rule[r] = share(t.rule, t.n);
    good[r] = good_f1(&t);
  }
  out->accuracy = interval(share(all->right, n), acc);
  out->macro_f1 = interval(macro_f1(all), mac);
  out->rule_adherence = interval(share(all->rule, n), rule);
  out->good_f1 = interval(good_f1(all), good);
  free(s);
}

static void measure_types(const eval_item *items, size_t n, eval_measures *out) {
  tally t[EVAL_MAX_TYPES] = {{0}};
  for (size_t i = 0; i < n; i++) {
    size_t k = 0;
    while (k < out->n_types && strcmp(out->types[k].type, items[i].type) != 0) k++;
    if (k == EVAL_MAX_TYPES) continue;
    if (k == out->n_types) out->types[out->n_types++].type = items[i].type;
    count(&t[k], &items[i]);
  }
  for (size_t k = 0; k < out->n_types; k++) {
    eval_part *p = &out->types[k];
    p->n = t[k].n;
    p->accuracy = share(t[k].right, t[k].n);
    p->macro_f1 = macro_f1(&t[k]);
    p->rule_adherence = share(t[k].rule, t[k].n);
  }
}

// --- NDCG@10 ---

static int by_query(const void *a, const void *b) {
  const eval_item *x = *(const eval_item *const *)a, *y = *(const eval_item *const *)b;
  int c = strcmp(x->query, y->query);
  return c ? c : (x->score < y->score) - (x->score > y->score);
}

static int by_gold_down(const void *a, const void *b) { return *(const int *)b - *(const int *)a; }

static double dcg(const int *gold, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n && i < 10; i++) sum += (exp2(gold[i] - 1) - 1) / log2((double)i + 2);
  return sum;
}

// NaN when no query has two candidates of different tiers, or scores are undefined.
static double ndcg10(const eval_item *items, size_t n) {
  const eval_item **p = agrl_xcalloc(n + 1, sizeof *p);
  int *gold = agrl_xcalloc(n + 1, sizeof *gold);
  bool defined = true;
  for (size_t i = 0; i < n; i++) {
    p[i] = &items[i];
    defined &= !isnan(items[i].score);
  }
  qsort(p, n, sizeof *p, by_query);
  double sum = 0;
  size_t queries = 0;
  for (size_t i = 0, j; i < n && defined; i = j) {
    for (j = i; j < n && !strcmp(p[j]->query, p[i]->query); j++) gold[j - i] = p[j]->gold;
    if (j - i < 2) continue;
    double got = dcg(gold, j - i);
    qsort(gold, j - i, sizeof *gold, by_gold_down);
    double ideal = dcg(gold, j - i);
    if (ideal <= 0 || gold[0] == gold[j - i - 1]) continue;
    sum += got / ideal;
    queries++;
  }
  free(p);
  free(gold);
  return queries ? sum / (double)queries : NAN;
}

void eval_measure(const eval_item *items, size_t n, eval_measures *out) {
  *out = (eval_measures){.n = n};
  tally all = {0};
  size_t format = 0, consistent = 0, tokens = 0;
  for (size_t i = 0; i < n; i++) {
    count(&all, &items[i]);
    format += items[i].g_format;
    consistent += items[i].consistent;
    tokens += items[i].tokens;
  }
  memcpy(out->confusion, all.confusion, sizeof all.confusion);
  for (int c = 0; c < EVAL_TIERS; c++) {
    size_t of_gold = 0;
    for (int p = 0; p <= EVAL_TIERS; p++) of_gold += all.confusion[c][p];
    out->f1[c] = tier_f1(&all, c);
    out->recall[c] = share(all.confusion[c][c], of_gold);
  }
  out->format_rate = share(format, n);
  out->inconsistent_rate = share(n - consistent, n);
  out->mean_tokens = share(tokens, n);
  out->ndcg10 = ndcg10(items, n);
  bootstrap(items, n, &all, out);
  measure_types(items, n, out);
}
