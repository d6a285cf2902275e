// SPDX-License-Identifier: Apache-2.0
// Evaluation of a checkpoint: one greedy trace for every row, what it says, and the measures over them. The tier of an item
// is the first generated token. Beside the trace stand the probabilities of the four tier tokens at that position (their
// softmax): they are there for a model too that writes no trace, rank the products of a query, are calibrated or not, and
// can be turned into tiers by one threshold. Not thread-safe; nothing here is shared.
#ifndef AGRL_EVAL_EVAL_H
#define AGRL_EVAL_EVAL_H

#include "common/base/buf.h"
#include "common/text/dataset.h"
#include "reward/rules.h"

#define EVAL_TIERS 4  // index 0 is tier 1
#define EVAL_MAX_SAMPLES 64
#define EVAL_MAX_TYPES 16
#define EVAL_BINS 10
enum { EVAL_BAD, EVAL_MID, EVAL_GOOD, EVAL_CLASSES };  // tier 1; tier 2; tiers 3 and 4

typedef struct eval_item {
  const agrl_row *row;    // borrowed from the data set
  int gold, predicted;    // tiers; predicted 0: not readable
  bool g_format, g_rule;  // gates
  bool consistent;        // tier lines and judgements lead to what the first token says
  double p[EVAL_TIERS];   // of the tier tokens; sums to 1. NaN when a tier is not one token
  double score;           // expected tier under p
  uint32_t tokens;        // generated
  uint32_t right;         // of the sampled traces, those that state the gold tier
  char *text;             // the greedy trace, owned; may hold any bytes
  size_t text_len;
} eval_item;

typedef struct eval_interval {
  double value, low, high;  // bootstrap 95 %; low and high NaN where resamples do not differ
} eval_interval;

typedef struct eval_part {  // one query type
  const char *type;         // "untyped": also rows without one
  size_t n;
  eval_interval accuracy, rule_adherence, macro_f1;
} eval_part;

typedef struct eval_bin {  // of the likeliest tier's probability
  size_t n;
  double confidence, accuracy;  // means over the bin; NaN when it is empty
} eval_bin;

// One cumulative-probability threshold b: Good when P4+P3 >= b, else Mid when P4+P3+P2 >= b, else Bad (TaoSR1's CumPT).
typedef struct eval_threshold {
  double b, dev_macro_f1;  // b gives the best macro F1 over the three classes on the dev rows; NaN without dev rows
  size_t dev_n, n;         // rows that chose it; the rest, which everything below is over
  eval_interval macro_f1, trace_macro_f1;  // by b; of the tiers that the traces state
  eval_interval f1[EVAL_CLASSES];
  size_t confusion[EVAL_CLASSES][EVAL_CLASSES];  // [gold][by b]
} eval_threshold;

typedef struct eval_measures {
  size_t n, n_queries, samples;
  eval_interval accuracy, macro_f1, rule_adherence, good_f1, f1[EVAL_TIERS], format_rate, inconsistent_rate;
  eval_interval ndcg10;  // mean over the queries that have two products of different tiers
  double recall[EVAL_TIERS], mean_tokens;
  size_t confusion[EVAL_TIERS][EVAL_TIERS + 1];  // [gold][predicted], last column: not readable
  eval_interval argmax_macro_f1, argmax_accuracy;  // of the likeliest tier
  double ece;  // without an interval: a resample's is larger by construction, see agrl-eval(1)
  eval_interval brier, log_loss;
  eval_bin bins[EVAL_BINS];
  eval_threshold threshold;
  eval_interval pass[EVAL_MAX_SAMPLES];  // [k-1]
  size_t n_types, types_left_out, rows_left_out;  // in the order met; those beyond EVAL_MAX_TYPES, and their rows
  eval_part types[EVAL_MAX_TYPES];
} eval_measures;

// dev: rows that choose b; NULL: those of items whose query hash says so (eval_is_dev), which the result then leaves out.
// samples: traces sampled for every item (0: none). Bootstrap: 1,000 resamples of the queries, each with all its items (the
// items of one query are not independent), with a fixed seed, so that the same items give the same interval; b stays as chosen. A measure of nothing is NaN: all of them when n is 0.
void eval_measure(const eval_item *items, size_t n, size_t samples, const eval_item *dev, size_t n_dev, eval_measures *out);

// score.c: what measures are made of
bool eval_is_dev(const char *query);  // one query in five: XXH3-64 of its bytes is a multiple of 5
int eval_class_of(int tier);          // EVAL_BAD...; -1 for a tier that was not readable
int eval_class_by(const double p[EVAL_TIERS], double b);
// The b with the best macro F1, in the middle of the values that give it; of equals the highest. NaN when n is 0.
double eval_choose_b(const eval_item *const *items, size_t n, double *macro_f1);
// 1 - C(samples-right, k) / C(samples, k): unbiased for the chance that one of k traces is right. k <= samples.
double eval_pass_at(size_t samples, size_t right, size_t k);
// F1 of a class, and the mean over the classes that occur, from k x (k+1) counts by [gold][predicted], last column: none of
// them. NaN when the class is no row's gold; when no class is.
double eval_f1(const size_t *counts, int k, int class);
double eval_macro_f1(const size_t *counts, int k);
double eval_ndcg10(const eval_item *const *items, size_t n);  // of one query, ties averaged; NaN without two tiers, or scores

typedef struct eval_options {
  const char *checkpoint;  // Hugging Face directory
  const char *rules;
  size_t limit;            // rows; 0: all
  unsigned threads;
  size_t slots, context, max_new;  // context: longest prompt and trace together; memory is that of the longest row within it
  size_t samples;                  // traces sampled a row at temperature 1, beside the greedy one
  uint64_t seed;                   // of these
  bool progress;                   // on a terminal: rate and time left on stderr
} eval_options;

// items must hold data->n zeroed entries; *n receives how many were filled (prompts that do not fit the context are skipped
// and counted in *skipped). Release them with eval_items_release, also after an error.
agrl_rc eval_generate(const eval_options *o, const agrl_dataset *data, eval_item *items, size_t *n, size_t *skipped,
                      uint64_t *version, agrl_error *err);
void eval_items_release(eval_item *items, size_t n);  // the texts

typedef struct eval_job {  // what agrl-eval is asked to do; paths may be NULL
  eval_options eval;
  const char *data, *split;
  const char *dev;         // rows that choose b
  const char *train;       // refused when the data or the dev rows overlap it
  const char *out, *items; // JSON result; one line of JSON an item
  bool json;               // print JSON instead of the table
} eval_job;
agrl_rc eval_run(const eval_job *job, agrl_error *err);

typedef struct eval_head {  // what was measured
  const char *checkpoint, *split, *dev;  // dev NULL: the rows of eval_is_dev
  uint64_t version;
  size_t skipped, malformed;  // rows that do not fit the context; lines of the file that are no row
} eval_head;
void eval_json(const eval_measures *m, const eval_head *h, agrl_buf *out);
void eval_text(const eval_measures *m, const eval_head *h, agrl_buf *out);
void eval_items_json(const eval_item *items, size_t n, size_t samples, agrl_buf *out);

#endif
