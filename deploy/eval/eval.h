// SPDX-License-Identifier: Apache-2.0
// Evaluation of a checkpoint: greedy traces for every row, what they say, and the measures over them. The tier of an item is
// the first generated token; its score is the expected tier under the softmax over the tier tokens at that position.
#ifndef AGRL_EVAL_EVAL_H
#define AGRL_EVAL_EVAL_H

#include "common/base/buf.h"
#include "common/text/dataset.h"
#include "reward/rules.h"

#define EVAL_TIERS 4  // index 0 is tier 1

typedef struct eval_item {
  int gold, predicted;       // tiers; predicted 0: not readable
  bool g_format, g_rule;     // gates
  bool consistent;           // every tier line says what the first token says
  double score;              // expected tier; NaN when a tier is not one token
  uint32_t tokens;           // generated
  const char *type, *query;  // borrowed from the data set
} eval_item;

typedef struct eval_interval {
  double value, low, high;  // bootstrap 95 %
} eval_interval;

typedef struct eval_part {  // one query type
  const char *type;
  size_t n;
  double accuracy, macro_f1, rule_adherence;
} eval_part;

#define EVAL_MAX_TYPES 16
typedef struct eval_measures {
  size_t n;
  eval_interval accuracy, macro_f1, rule_adherence, good_f1;
  double f1[EVAL_TIERS], recall[EVAL_TIERS];
  double format_rate, inconsistent_rate, ndcg10, mean_tokens;
  size_t confusion[EVAL_TIERS][EVAL_TIERS + 1];  // [gold][predicted], last column: not readable
  size_t n_types;
  eval_part types[EVAL_MAX_TYPES];
} eval_measures;

// Bootstrap: 1,000 resamples with a fixed seed, so that the same items give the same interval. A measure of nothing is NaN:
// all of them when n is 0.
void eval_measure(const eval_item *items, size_t n, eval_measures *out);

typedef struct eval_options {
  const char *checkpoint;  // Hugging Face directory
  const char *rules;
  size_t limit;            // rows; 0: all
  unsigned threads;
  size_t slots, context, max_new;  // context: longest prompt and trace together
  bool progress;           // on a terminal: rate and time left on stderr
} eval_options;

// items must hold data->n entries; *n receives how many were filled (prompts that do not fit the context are skipped
// and counted in *skipped).
agrl_rc eval_generate(const eval_options *o, const agrl_dataset *data, eval_item *items, size_t *n, size_t *skipped,
                      uint64_t *version, agrl_error *err);

typedef struct eval_job {  // what agrl-eval is asked to do
  eval_options eval;
  const char *data, *out, *split;  // out: JSON file, may be NULL
  bool json;                       // print JSON instead of the table
} eval_job;
agrl_rc eval_run(const eval_job *job, agrl_error *err);

void eval_json(const eval_measures *m, const char *checkpoint, uint64_t version, const char *split, size_t skipped, agrl_buf *out);
void eval_text(const eval_measures *m, const char *checkpoint, const char *split, agrl_buf *out);

#endif
