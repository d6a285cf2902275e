// SPDX-License-Identifier: Apache-2.0
// What the measures are made of: F1 from counts, classes by one threshold and its choice, pass@k, NDCG@10.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/hash.h"
#include "common/base/mem.h"
#include "deploy/eval/eval.h"

double eval_f1(const size_t *counts, int k, int class) {
  size_t tp = counts[class * (k + 1) + class], fp = 0, fn = 0;
  for (int g = 0; g < k; g++)
    if (g != class) fp += counts[g * (k + 1) + class];
  for (int p = 0; p <= k; p++)
    if (p != class) fn += counts[class * (k + 1) + p];
  return tp + fn ? 2.0 * (double)tp / (double)(2 * tp + fp + fn) : NAN;  // a class that does not occur has no F1
}

double eval_macro_f1(const size_t *counts, int k) {
  double sum = 0;
  int occur = 0;
  for (int c = 0; c < k; c++) {
    double f = eval_f1(counts, k, c);
    if (isnan(f)) continue;
    sum += f;
    occur++;
  }
  return occur ? sum / occur : NAN;
}

double eval_pass_at(size_t samples, size_t right, size_t k) {
  double none = 1;  // the chance that k traces drawn without replacement are all wrong
  for (size_t i = 0; i < k; i++) {
    if (samples - right <= i) return 1;
    none *= (double)(samples - right - i) / (double)(samples - i);
  }
  return 1 - none;
}

// --- one threshold ---

bool eval_is_dev(const char *query) { return agrl_hash64(query, strlen(query)) % 5 == 0; }

int eval_class_of(int tier) { return tier < 1 || tier > EVAL_TIERS ? -1 : tier == 1 ? EVAL_BAD : tier == 2 ? EVAL_MID : EVAL_GOOD; }

static double good_mass(const double p[EVAL_TIERS]) { return p[3] + p[2]; }

int eval_class_by(const double p[EVAL_TIERS], double b) {
  double good = good_mass(p);
  return good >= b ? EVAL_GOOD : good + p[1] >= b ? EVAL_MID : EVAL_BAD;
}

typedef struct event {  // as b falls to this value the item moves up by one class
  double at;
  int gold, from;
} event;

static int descending(const void *a, const void *b) {
  const event *x = a, *y = b;
  return x->at != y->at ? (x->at < y->at) - (x->at > y->at) : x->from - y->from;
}

double eval_choose_b(const eval_item *const *items, size_t n, double *macro_f1) {
  *macro_f1 = NAN;
  if (n == 0) return NAN;
  event *events = agrl_xcalloc(2 * n, sizeof *events);
  size_t counts[EVAL_CLASSES][EVAL_CLASSES + 1] = {{0}};  // at b above every mass all are Bad
  for (size_t i = 0; i < n; i++) {
    int gold = eval_class_of(items[i]->gold);
    double good = good_mass(items[i]->p);
    events[2 * i] = (event){good + items[i]->p[1], gold, EVAL_BAD};
    events[2 * i + 1] = (event){good, gold, EVAL_MID};
    counts[gold][EVAL_BAD]++;
  }
  qsort(events, 2 * n, sizeof *events, descending);
  double best = eval_macro_f1(&counts[0][0], EVAL_CLASSES), b = nextafter(events[0].at, INFINITY);
  for (size_t i = 0, j; i < 2 * n; i = j) {
    for (j = i; j < 2 * n && events[j].at == events[i].at; j++) {
      counts[events[j].gold][events[j].from]--;
      counts[events[j].gold][events[j].from + 1]++;
    }
    double f = eval_macro_f1(&counts[0][0], EVAL_CLASSES), below = j < 2 * n ? events[j].at : 0;
    if (f <= best) continue;
    best = f;
    b = below + (events[i].at - below) / 2;  // anything in (below, at] does the same
    if (b <= below) b = events[i].at;        // neighbours: rounded down
  }
  free(events);
  *macro_f1 = best;
  return b;
}

// --- NDCG@10 ---

static int by_score_down(const void *a, const void *b) {
  const eval_item *x = *(const eval_item *const *)a, *y = *(const eval_item *const *)b;
  return x->score != y->score ? (x->score < y->score) - (x->score > y->score) : (x > y) - (x < y);
}

static int by_gold_down(const void *a, const void *b) {
  const eval_item *x = *(const eval_item *const *)a, *y = *(const eval_item *const *)b;
  return y->gold - x->gold;
}

static double gain(const eval_item *it) { return exp2(it->gold - 1) - 1; }

static double discount(size_t place) { return place < 10 ? 1 / log2((double)place + 2) : 0; }

static double best_dcg(const eval_item *const *p, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; i++) sum += gain(p[i]) * discount(i);
  return sum;
}

// Expected over the orders that items of one score could stand in: each has the mean discount of their places.
static double expected_dcg(const eval_item *const *p, size_t n) {
  double sum = 0;
  for (size_t i = 0, j; i < n; i = j) {
    double gains = 0, discounts = 0;
    for (j = i; j < n && p[j]->score == p[i]->score; j++) gains += gain(p[j]), discounts += discount(j);
    sum += gains * discounts / (double)(j - i);
  }
  return sum;
}

double eval_ndcg10(const eval_item *const *items, size_t n) {
  const eval_item **p = agrl_xcalloc(n + 1, sizeof *p);
  bool defined = n > 1;
  for (size_t i = 0; i < n; i++) {
    p[i] = items[i];
    defined &= !isnan(items[i]->score);
  }
  double value = NAN;
  if (defined) {
    qsort(p, n, sizeof *p, by_score_down);
    double got = expected_dcg(p, n);
    qsort(p, n, sizeof *p, by_gold_down);
    if (p[0]->gold != p[n - 1]->gold) value = got / best_dcg(p, n);
  }
  free(p);
  return value;
}
