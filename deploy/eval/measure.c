// SPDX-License-Identifier: Apache-2.0
// Measures over evaluated items. Everything with an interval is a function of one set of counts, made once from the items
// and once from each resample of their queries.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/base/rng.h"
#include "deploy/eval/eval.h"

#define RESAMPLES 1000
#define LEAST_P 1e-15  // a gold tier of probability 0 costs 34.5 nats, not infinity

typedef struct counts {
  size_t n, right, rule, format, inconsistent, probable, argmax_right, rest;  // probable: items with p; rest: those not of dev
  size_t ranked;  // queries that have an NDCG
  size_t trace[EVAL_TIERS][EVAL_TIERS + 1], argmax[EVAL_TIERS][EVAL_TIERS + 1];
  size_t by_b[EVAL_CLASSES][EVAL_CLASSES + 1], by_trace[EVAL_CLASSES][EVAL_CLASSES + 1];
  size_t types[EVAL_MAX_TYPES][EVAL_TIERS][EVAL_TIERS + 1];
  size_t types_rule[EVAL_MAX_TYPES];
  size_t samples_right[EVAL_MAX_SAMPLES + 1];  // items by how many of their samples are right
  size_t bin_n[EVAL_BINS], bin_right[EVAL_BINS];
  double bin_confidence[EVAL_BINS], brier, log_loss, ndcg;
} counts;

typedef struct item_code {  // what of an item is counted
  int gold, predicted, argmax, type, by_b, by_trace, bin;  // indices; by_b -1: dev or undefined; argmax -1: undefined
  bool right, rule, format, consistent;
  uint32_t samples_right;
  double confidence, brier, log_loss;
} item_code;

typedef struct cluster {  // a query: what is drawn as one
  size_t first, n;        // its items, as indices into the order by query
  double ndcg;            // NaN: it ranks nothing
} cluster;

typedef struct subject {  // all that is resampled
  const item_code *codes;    // by item
  const eval_item **order;   // the items by query
  const eval_item *items;
  cluster *clusters;
  size_t n, n_clusters, n_types, samples;
} subject;

// The statistics that get an interval, in the order of out[]. ECE gets none: agrl-eval(1) says why.
enum {
  ACCURACY, MACRO_F1, RULE, FORMAT, INCONSISTENT, NDCG, GOOD_F1, F1, ARGMAX_F1 = F1 + EVAL_TIERS, ARGMAX_ACCURACY, BRIER, LOG_LOSS,
  BY_B_MACRO_F1, BY_TRACE_F1, BY_B_F1, TYPE_F1 = BY_B_F1 + EVAL_CLASSES, TYPE_ACCURACY = TYPE_F1 + EVAL_MAX_TYPES,
  TYPE_RULE = TYPE_ACCURACY + EVAL_MAX_TYPES, PASS = TYPE_RULE + EVAL_MAX_TYPES, N_STATISTICS = PASS + EVAL_MAX_SAMPLES
};

static double share(double k, size_t n) { return n ? k / (double)n : NAN; }

static void take_p(const eval_item *it, item_code *c) {
  int top = 0;
  for (int t = 1; t < EVAL_TIERS; t++)
    if (it->p[t] >= it->p[top]) top = t;  // of equals the better tier
  c->argmax = top;
  c->confidence = it->p[top];
  c->bin = (int)fmin(floor(c->confidence * EVAL_BINS), EVAL_BINS - 1);
  for (int t = 0; t < EVAL_TIERS; t++) c->brier += (it->p[t] - (t == it->gold - 1)) * (it->p[t] - (t == it->gold - 1));
  c->log_loss = -log(fmax(it->p[it->gold - 1], LEAST_P));
}

static item_code code_of(const eval_item *it, int type, double b, bool rest) {
  bool readable = it->predicted >= 1 && it->predicted <= EVAL_TIERS;
  item_code c = {.gold = it->gold - 1, .predicted = readable ? it->predicted - 1 : EVAL_TIERS, .argmax = -1, .type = type, .by_b = -1,
                 .right = it->predicted == it->gold, .rule = it->g_rule, .format = it->g_format, .consistent = it->consistent,
                 .samples_right = it->right};
  c.by_trace = eval_class_of(it->predicted);
  if (isnan(it->score)) return c;
  take_p(it, &c);
  if (rest && !isnan(b)) c.by_b = eval_class_by(it->p, b);
  return c;
}

static void add(counts *t, const item_code *c) {
  t->n++;
  t->right += c->right;
  t->rule += c->rule;
  t->format += c->format;
  t->inconsistent += !c->consistent;
  t->trace[c->gold][c->predicted]++;
  if (c->type >= 0) {
    t->types[c->type][c->gold][c->predicted]++;
    t->types_rule[c->type] += c->rule;
  }
  t->samples_right[c->samples_right]++;
  if (c->argmax < 0) return;
  t->probable++;
  t->argmax[c->gold][c->argmax]++;
  t->argmax_right += c->argmax == c->gold;
  t->bin_n[c->bin]++;
  t->bin_right[c->bin] += c->argmax == c->gold;
  t->bin_confidence[c->bin] += c->confidence;
  t->brier += c->brier;
  t->log_loss += c->log_loss;
  if (c->by_b < 0) return;
  int gold = eval_class_of(c->gold + 1);
  t->rest++;
  t->by_b[gold][c->by_b]++;
  t->by_trace[gold][c->by_trace < 0 ? EVAL_CLASSES : c->by_trace]++;
}

static void add_query(counts *t, const subject *s, const cluster *q) {
  for (size_t i = q->first; i < q->first + q->n; i++) add(t, &s->codes[s->order[i] - s->items]);
  if (isnan(q->ndcg)) return;
  t->ndcg += q->ndcg;
  t->ranked++;
}

static double good_f1(const counts *t) {
  size_t tp = 0, fp = 0, fn = 0;
  for (int g = 0; g < EVAL_TIERS; g++)
    for (int p = 0; p <= EVAL_TIERS; p++) {
      bool gold_good = g >= 2, pred_good = p == 2 || p == 3;
      size_t k = t->trace[g][p];
      tp += gold_good && pred_good ? k : 0;
      fp += !gold_good && pred_good ? k : 0;
      fn += gold_good && !pred_good ? k : 0;
    }
  return tp + fp + fn ? 2.0 * (double)tp / (double)(2 * tp + fp + fn) : NAN;
}

static double ece(const counts *t) {
  double gap = 0;
  for (int b = 0; b < EVAL_BINS; b++) gap += fabs(t->bin_confidence[b] - (double)t->bin_right[b]);
  return share(gap, t->probable);
}

static double pass_at(const counts *t, size_t samples, size_t k) {
  double sum = 0;
  for (size_t right = 0; right <= samples; right++) sum += (double)t->samples_right[right] * eval_pass_at(samples, right, k);
  return share(sum, t->n);
}

static void type_statistics(const counts *t, size_t k, double *out) {
  size_t n = 0, right = 0;
  for (int g = 0; g < EVAL_TIERS; g++) {
    right += t->types[k][g][g];
    for (int p = 0; p <= EVAL_TIERS; p++) n += t->types[k][g][p];
  }
  out[TYPE_F1 + k] = eval_macro_f1(&t->types[k][0][0], EVAL_TIERS);
  out[TYPE_ACCURACY + k] = share((double)right, n);
  out[TYPE_RULE + k] = share((double)t->types_rule[k], n);
}

static void statistics(const counts *t, size_t n_types, size_t samples, double *out) {
  out[ACCURACY] = share((double)t->right, t->n);
  out[MACRO_F1] = eval_macro_f1(&t->trace[0][0], EVAL_TIERS);
  out[RULE] = share((double)t->rule, t->n);
  out[FORMAT] = share((double)t->format, t->n);
  out[INCONSISTENT] = share((double)t->inconsistent, t->n);
  out[NDCG] = share(t->ndcg, t->ranked);
  out[GOOD_F1] = good_f1(t);
  for (int c = 0; c < EVAL_TIERS; c++) out[F1 + c] = eval_f1(&t->trace[0][0], EVAL_TIERS, c);
  out[ARGMAX_F1] = eval_macro_f1(&t->argmax[0][0], EVAL_TIERS);
  out[ARGMAX_ACCURACY] = share((double)t->argmax_right, t->probable);
  out[BRIER] = share(t->brier, t->probable);
  out[LOG_LOSS] = share(t->log_loss, t->probable);
  out[BY_B_MACRO_F1] = eval_macro_f1(&t->by_b[0][0], EVAL_CLASSES);
  out[BY_TRACE_F1] = eval_macro_f1(&t->by_trace[0][0], EVAL_CLASSES);
  for (int c = 0; c < EVAL_CLASSES; c++) out[BY_B_F1 + c] = eval_f1(&t->by_b[0][0], EVAL_CLASSES, c);
  for (size_t k = 0; k < n_types; k++) type_statistics(t, k, out);
  for (size_t k = 1; k <= samples; k++) out[PASS + k - 1] = pass_at(t, samples, k);
}

// --- bootstrap ---

static int by_query(const void *a, const void *b) {
  const eval_item *x = *(const eval_item *const *)a, *y = *(const eval_item *const *)b;
  int c = strcmp(x->row->query, y->row->query);
  return c ? c : (x > y) - (x < y);
}

static void group_by_query(subject *s) {
  s->order = agrl_xcalloc(s->n + 1, sizeof *s->order);
  s->clusters = agrl_xcalloc(s->n + 1, sizeof *s->clusters);
  for (size_t i = 0; i < s->n; i++) s->order[i] = &s->items[i];
  qsort(s->order, s->n, sizeof *s->order, by_query);
  for (size_t i = 0, j; i < s->n; i = j) {
    for (j = i + 1; j < s->n && !strcmp(s->order[j]->row->query, s->order[i]->row->query);) j++;
    s->clusters[s->n_clusters++] = (cluster){i, j - i, eval_ndcg10(s->order + i, j - i)};
  }
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

// Over the resamples in which the measure is defined: those of one statistic lie N_STATISTICS apart. Resamples that all give
// the same (one query, or nothing but hits) say nothing of how sure it is.
static eval_interval interval(double value, const double *drawn, double *room) {
  size_t n = 0;
  for (size_t i = 0; i < RESAMPLES; i++)
    if (!isnan(drawn[i * N_STATISTICS])) room[n++] = drawn[i * N_STATISTICS];
  qsort(room, n, sizeof *room, by_value);
  if (n == 0 || isnan(value) || room[0] == room[n - 1]) return (eval_interval){value, NAN, NAN};
  return (eval_interval){value, room[n / 40], room[n - 1 - n / 40]};
}

static void bootstrap(const subject *s, const counts *all, eval_interval *out) {
  double value[N_STATISTICS], *drawn = agrl_xcalloc((size_t)RESAMPLES * N_STATISTICS, sizeof *drawn), room[RESAMPLES];
  for (size_t k = 0; k < N_STATISTICS; k++) value[k] = NAN;
  statistics(all, s->n_types, s->samples, value);
  agrl_rng rng;
  agrl_rng_init(&rng, 20251120, 7);
  for (size_t r = 0; r < RESAMPLES && s->n; r++) {
    counts t = {0};
    for (size_t i = 0; i < s->n_clusters; i++) add_query(&t, s, &s->clusters[agrl_rng_below(&rng, (uint32_t)s->n_clusters)]);
    statistics(&t, s->n_types, s->samples, drawn + r * N_STATISTICS);
  }
  for (size_t k = 0; k < N_STATISTICS; k++) out[k] = interval(value[k], drawn + k, room);
  free(drawn);
}

// --- parts of the result ---

static const char *type_name(const agrl_row *row) { return *row->type ? row->type : "untyped"; }

static int type_of(eval_measures *out, const char *type) {
  size_t k = 0;
  while (k < out->n_types && strcmp(out->types[k].type, type) != 0) k++;
  if (k == EVAL_MAX_TYPES) return -1;
  if (k == out->n_types) out->types[out->n_types++] = (eval_part){.type = type};
  return (int)k;
}

static int by_type(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

// Types beyond EVAL_MAX_TYPES: how many, and their rows.
static void count_left_out(const eval_item *items, const item_code *codes, size_t n, eval_measures *out) {
  const char **types = agrl_xcalloc(n + 1, sizeof *types);
  for (size_t i = 0; i < n; i++)
    if (codes[i].type < 0) types[out->rows_left_out++] = type_name(items[i].row);
  qsort(types, out->rows_left_out, sizeof *types, by_type);
  for (size_t i = 0; i < out->rows_left_out; i++) out->types_left_out += i == 0 || strcmp(types[i], types[i - 1]) != 0;
  free(types);
}

static void choose_b(const eval_item *items, size_t n, const eval_item *dev, size_t n_dev, eval_threshold *out) {
  const eval_item **p = agrl_xcalloc((dev ? n_dev : n) + 1, sizeof *p);
  bool defined = true;
  for (size_t i = 0; i < (dev ? n_dev : n); i++) {
    const eval_item *it = dev ? &dev[i] : &items[i];
    if (!dev && !eval_is_dev(it->row->query)) continue;
    defined &= !isnan(it->score);
    p[out->dev_n++] = it;
  }
  if (!defined) out->dev_n = 0;
  out->b = eval_choose_b(p, out->dev_n, &out->dev_macro_f1);
  free(p);
}

static void take_counts(const counts *t, eval_measures *out) {
  memcpy(out->confusion, t->trace, sizeof t->trace);
  for (int c = 0; c < EVAL_TIERS; c++) {
    size_t of_gold = 0;
    for (int p = 0; p <= EVAL_TIERS; p++) of_gold += t->trace[c][p];
    out->recall[c] = share((double)t->trace[c][c], of_gold);
  }
  for (int b = 0; b < EVAL_BINS; b++)
    out->bins[b] = (eval_bin){t->bin_n[b], share(t->bin_confidence[b], t->bin_n[b]), share((double)t->bin_right[b], t->bin_n[b])};
  out->ece = ece(t);
  out->threshold.n = t->rest;
  for (int g = 0; g < EVAL_CLASSES; g++)
    for (int p = 0; p < EVAL_CLASSES; p++) out->threshold.confusion[g][p] = t->by_b[g][p];
}

static void take_intervals(const eval_interval *s, eval_measures *out) {
  out->accuracy = s[ACCURACY];
  out->macro_f1 = s[MACRO_F1];
  out->rule_adherence = s[RULE];
  out->format_rate = s[FORMAT];
  out->inconsistent_rate = s[INCONSISTENT];
  out->ndcg10 = s[NDCG];
  out->good_f1 = s[GOOD_F1];
  memcpy(out->f1, s + F1, sizeof out->f1);
  out->argmax_macro_f1 = s[ARGMAX_F1];
  out->argmax_accuracy = s[ARGMAX_ACCURACY];
  out->brier = s[BRIER];
  out->log_loss = s[LOG_LOSS];
  out->threshold.macro_f1 = s[BY_B_MACRO_F1];
  out->threshold.trace_macro_f1 = s[BY_TRACE_F1];
  memcpy(out->threshold.f1, s + BY_B_F1, sizeof out->threshold.f1);
  for (size_t k = 0; k < out->n_types; k++) {
    out->types[k].macro_f1 = s[TYPE_F1 + k];
    out->types[k].accuracy = s[TYPE_ACCURACY + k];
    out->types[k].rule_adherence = s[TYPE_RULE + k];
  }
  memcpy(out->pass, s + PASS, sizeof out->pass);
}

void eval_measure(const eval_item *items, size_t n, size_t samples, const eval_item *dev, size_t n_dev, eval_measures *out) {
  *out = (eval_measures){.n = n, .samples = samples};
  item_code *codes = agrl_xcalloc(n + 1, sizeof *codes);
  size_t tokens = 0;
  choose_b(items, n, dev, n_dev, &out->threshold);
  for (size_t i = 0; i < n; i++) {
    const eval_item *it = &items[i];
    int type = type_of(out, type_name(it->row));
    codes[i] = code_of(it, type, out->threshold.b, dev || !eval_is_dev(it->row->query));
    tokens += it->tokens;
    if (type >= 0) out->types[type].n++;
  }
  out->mean_tokens = share((double)tokens, n);
  count_left_out(items, codes, n, out);
  subject s = {.codes = codes, .items = items, .n = n, .n_types = out->n_types, .samples = samples};
  group_by_query(&s);
  out->n_queries = s.n_clusters;
  counts all = {0};
  for (size_t i = 0; i < s.n_clusters; i++) add_query(&all, &s, &s.clusters[i]);
  take_counts(&all, out);
  eval_interval found[N_STATISTICS];
  bootstrap(&s, &all, found);
  take_intervals(found, out);
  free(s.order);
  free(s.clusters);
  free(codes);
}
