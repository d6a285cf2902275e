// SPDX-License-Identifier: Apache-2.0
// An evaluation as JSON (what agrlctl report reads) and as a text table.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/mem.h"
#include "deploy/eval/eval.h"

static void put_interval(agrl_jw *w, const char *key, const char *ci_key, const eval_interval *v) {
  agrl_jw_kf64(w, key, v->value);
  agrl_jw_key(w, ci_key);
  agrl_jw_arr(w);
  agrl_jw_f64(w, v->low);
  agrl_jw_f64(w, v->high);
  agrl_jw_end_arr(w);
}

static void put_tiers(agrl_jw *w, const char *key, const double *v) {
  agrl_jw_key(w, key);
  agrl_jw_obj(w);
  for (int c = 0; c < EVAL_TIERS; c++) {
    char name[2] = {(char)('1' + c), 0};
    agrl_jw_kf64(w, name, v[c]);
  }
  agrl_jw_end_obj(w);
}

static void put_types(agrl_jw *w, const eval_measures *m) {
  agrl_jw_key(w, "by_type");
  agrl_jw_obj(w);
  for (size_t i = 0; i < m->n_types; i++) {
    const eval_part *p = &m->types[i];
    agrl_jw_key(w, *p->type ? p->type : "untyped");
    agrl_jw_obj(w);
    agrl_jw_ku64(w, "n", p->n);
    agrl_jw_kf64(w, "accuracy", p->accuracy);
    agrl_jw_kf64(w, "macro_f1", p->macro_f1);
    agrl_jw_kf64(w, "rule_adherence", p->rule_adherence);
    agrl_jw_end_obj(w);
  }
  agrl_jw_end_obj(w);
}

static void put_confusion(agrl_jw *w, const eval_measures *m) {
  agrl_jw_key(w, "confusion");
  agrl_jw_arr(w);
  for (int g = 0; g < EVAL_TIERS; g++) {
    agrl_jw_arr(w);
    for (int p = 0; p < EVAL_TIERS; p++) agrl_jw_u64(w, m->confusion[g][p]);
    agrl_jw_end_arr(w);
  }
  agrl_jw_end_arr(w);
  agrl_jw_key(w, "unreadable");
  agrl_jw_arr(w);
  for (int g = 0; g < EVAL_TIERS; g++) agrl_jw_u64(w, m->confusion[g][EVAL_TIERS]);
  agrl_jw_end_arr(w);
}

void eval_json(const eval_measures *m, const char *checkpoint, uint64_t version, const char *split, size_t skipped, agrl_buf *out) {
  agrl_jw w;
  agrl_jw_init(&w, out);
  agrl_jw_obj(&w);
  agrl_jw_kstr(&w, "checkpoint", checkpoint);
  agrl_jw_ku64(&w, "version", version & 0xffffffffu);
  agrl_jw_ku64(&w, "epoch", version >> 32);
  agrl_jw_kstr(&w, "split", split);
  agrl_jw_ku64(&w, "n", m->n);
  agrl_jw_ku64(&w, "skipped", skipped);
  put_interval(&w, "accuracy", "accuracy_ci", &m->accuracy);
  put_interval(&w, "macro_f1", "macro_f1_ci", &m->macro_f1);
  put_interval(&w, "rule_adherence", "rule_adherence_ci", &m->rule_adherence);
  put_interval(&w, "good_f1", "good_f1_ci", &m->good_f1);
  agrl_jw_kf64(&w, "format_rate", m->format_rate);
  agrl_jw_kf64(&w, "inconsistent_rate", m->inconsistent_rate);
  agrl_jw_kf64(&w, "ndcg10", m->ndcg10);
  agrl_jw_kf64(&w, "mean_tokens", m->mean_tokens);
  put_tiers(&w, "f1", m->f1);
  put_tiers(&w, "recall", m->recall);
  put_types(&w, m);
  put_confusion(&w, m);
  agrl_jw_end_obj(&w);
}

static void row(agrl_buf *out, const char *name, const eval_interval *v) {
  agrl_buf_addf(out, "  %-20s %.4f   [%.4f, %.4f]\n", name, v->value, v->low, v->high);
}

void eval_text(const eval_measures *m, const char *checkpoint, const char *split, agrl_buf *out) {
  if (m->n == 0) {
    agrl_buf_addf(out, "%s on %s: no row was measured\n", checkpoint, split);
    return;
  }
  agrl_buf_addf(out, "%s on %s: %zu rows (95%% bootstrap intervals)\n", checkpoint, split, m->n);
  row(out, "macro F1", &m->macro_f1);
  row(out, "accuracy", &m->accuracy);
  row(out, "Good F1 (4+3)", &m->good_f1);
  row(out, "rule adherence", &m->rule_adherence);
  agrl_buf_addf(out, "  %-20s 4: %.3f  3: %.3f  2: %.3f  1: %.3f\n", "F1 by tier", m->f1[3], m->f1[2], m->f1[1], m->f1[0]);
  agrl_buf_addf(out, "  %-20s %.4f\n", "label-chain conflicts", m->inconsistent_rate);
  if (!isnan(m->ndcg10)) agrl_buf_addf(out, "  %-20s %.4f\n", "NDCG@10", m->ndcg10);
  for (size_t i = 0; i < m->n_types; i++)
    agrl_buf_addf(out, "  %-20s macro F1 %.4f  accuracy %.4f  (%zu rows)\n", *m->types[i].type ? m->types[i].type : "untyped",
                  m->types[i].macro_f1, m->types[i].accuracy, m->types[i].n);
}

agrl_rc eval_run(const eval_job *c, agrl_error *err) {
  agrl_dataset data;
  agrl_rc rc = agrl_dataset_load(c->data, NULL, NULL, &data, err);
  if (rc) return rc;
  eval_item *items = agrl_xcalloc(data.n, sizeof *items);
  eval_measures m;
  agrl_buf json = {0}, text = {0};
  size_t n, skipped;
  uint64_t version;
  rc = eval_generate(&c->eval, &data, items, &n, &skipped, &version, err);
  if (!rc) {
    eval_measure(items, n, &m);
    eval_json(&m, c->eval.checkpoint, version, c->split, skipped, &json);
    eval_text(&m, c->eval.checkpoint, c->split, &text);
    if (skipped)
      fprintf(stderr, "agrl-eval: %zu of %zu rows skipped: prompt and trace (--max-new %zu) do not fit the model's context%s\n", skipped,
              n + skipped, c->eval.max_new, n ? "" : "; every measure is undefined");
    if (c->json) puts(json.data);
    else fputs(text.data, stdout);
    if (c->out) rc = agrl_file_write_atomic(c->out, json.data, json.len, err);
  }
  agrl_buf_release(&json);
  agrl_buf_release(&text);
  free(items);
  agrl_dataset_release(&data);
  return rc;
}
