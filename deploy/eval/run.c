// SPDX-License-Identifier: Apache-2.0
// What agrl-eval does: rows, refusals, traces, measures, files.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "deploy/eval/eval.h"

typedef struct evaluated {  // one data file
  agrl_dataset data;
  eval_item *items;
  size_t n, skipped;
  uint64_t version;
} evaluated;

static agrl_rc generate(const eval_options *o, evaluated *e, agrl_error *err) {
  e->items = agrl_xcalloc(e->data.n, sizeof *e->items);
  return eval_generate(o, &e->data, e->items, &e->n, &e->skipped, &e->version, err);
}

static void release(evaluated *e) {
  if (e->items) eval_items_release(e->items, e->data.n);
  free(e->items);
  agrl_dataset_release(&e->data);
}

// No row may have been trained on, nor have chosen the threshold.
static agrl_rc refuse_overlap(const eval_job *c, const evaluated *e, const evaluated *dev, agrl_error *err) {
  agrl_dataset train = {0};
  agrl_rc rc = c->train ? agrl_dataset_load(c->train, NULL, NULL, &train, err) : AGRL_OK;
  if (!rc && c->train) rc = agrl_dataset_disjoint(&train, c->train, &e->data, c->data, err);
  if (!rc && c->train && c->dev) rc = agrl_dataset_disjoint(&train, c->train, &dev->data, c->dev, err);
  if (!rc && c->dev) rc = agrl_dataset_disjoint(&dev->data, c->dev, &e->data, c->data, err);
  agrl_dataset_release(&train);
  return rc;
}

static bool any_score(const evaluated *e) {
  for (size_t i = 0; i < e->n; i++)
    if (!isnan(e->items[i].score)) return true;
  return false;
}

static agrl_rc write_results(const eval_job *c, const evaluated *e, const eval_measures *m, agrl_error *err) {
  agrl_buf json = {0}, text = {0}, items = {0};
  const eval_head head = {c->eval.checkpoint, c->split, c->dev, e->version, e->skipped, e->data.n_bad};
  eval_json(m, &head, &json);
  eval_text(m, &head, &text);
  if (c->json) puts(json.data);
  else fputs(text.data, stdout);
  agrl_rc rc = c->out ? agrl_file_write_atomic(c->out, json.data, json.len, err) : AGRL_OK;
  if (!rc && c->items) {
    eval_items_json(e->items, e->n, c->eval.samples, &items);
    rc = agrl_file_write_atomic(c->items, items.len ? items.data : "", items.len, err);
  }
  agrl_buf_release(&json);
  agrl_buf_release(&text);
  agrl_buf_release(&items);
  return rc;
}

agrl_rc eval_run(const eval_job *c, agrl_error *err) {
  evaluated e = {0}, dev = {0};
  agrl_rc rc = agrl_dataset_load(c->data, NULL, NULL, &e.data, err);
  if (!rc && c->dev) rc = agrl_dataset_load(c->dev, NULL, NULL, &dev.data, err);
  if (!rc) rc = refuse_overlap(c, &e, &dev, err);
  if (!rc && c->dev) {  // only the first token's probabilities are needed
    eval_options o = c->eval;
    o.limit = o.samples = 0;
    o.max_new = 1;
    rc = generate(&o, &dev, err);
  }
  if (!rc) rc = generate(&c->eval, &e, err);
  if (!rc) {
    eval_measures m;
    eval_measure(e.items, e.n, c->eval.samples, c->dev ? dev.items : NULL, dev.n, &m);
    if (e.skipped)
      fprintf(stderr, "agrl-eval: %zu of %zu rows skipped: prompt and trace (--max-new %zu) do not fit the model's context%s\n", e.skipped,
              e.n + e.skipped, c->eval.max_new, e.n ? "" : "; every measure is undefined");
    if (e.n && !any_score(&e))
      fputs("agrl-eval: no row has a score, because no probability of a tier is a number: diverged weights, or tiers that are not one token each\n", stderr);
    rc = write_results(c, &e, &m, err);
  }
  release(&e);
  release(&dev);
  return rc;
}
