// SPDX-License-Identifier: Apache-2.0
// An evaluation as JSON (what agrlctl report reads), its items as JSON lines (what agrlctl sbs reads), and a text table.
#include <math.h>
#include <stdio.h>

#include "common/base/json.h"
#include "deploy/eval/eval.h"

static const char *const class_names[EVAL_CLASSES] = {"bad", "mid", "good"};
static const char own_dev[] = "rows whose query's XXH3-64 is a multiple of 5";

static void put_ci(agrl_jw *w, const char *key, const eval_interval *v) {
  agrl_jw_key(w, key);
  agrl_jw_arr(w);
  agrl_jw_f64(w, v->low);
  agrl_jw_f64(w, v->high);
  agrl_jw_end_arr(w);
}

static void put_interval(agrl_jw *w, const char *key, const eval_interval *v) {
  char ci_key[40];
  snprintf(ci_key, sizeof ci_key, "%s_ci", key);
  agrl_jw_kf64(w, key, v->value);
  put_ci(w, ci_key, v);
}

static void put_tiers(agrl_jw *w, const char *key, const double *v) {
  agrl_jw_key(w, key);
  agrl_jw_obj(w);
  for (int c = 0; c < EVAL_TIERS; c++) agrl_jw_kf64(w, (char[2]){(char)('1' + c)}, v[c]);
  agrl_jw_end_obj(w);
}

static void put_f1(agrl_jw *w, const eval_measures *m) {
  double v[EVAL_TIERS];
  for (int c = 0; c < EVAL_TIERS; c++) v[c] = m->f1[c].value;
  put_tiers(w, "f1", v);
  agrl_jw_key(w, "f1_ci");
  agrl_jw_obj(w);
  for (int c = 0; c < EVAL_TIERS; c++) put_ci(w, (char[2]){(char)('1' + c)}, &m->f1[c]);
  agrl_jw_end_obj(w);
  put_tiers(w, "recall", m->recall);
}

static void put_types(agrl_jw *w, const eval_measures *m) {
  agrl_jw_key(w, "by_type");
  agrl_jw_obj(w);
  for (size_t i = 0; i < m->n_types; i++) {
    const eval_part *p = &m->types[i];
    agrl_jw_key(w, p->type);
    agrl_jw_obj(w);
    agrl_jw_ku64(w, "n", p->n);
    put_interval(w, "accuracy", &p->accuracy);
    put_interval(w, "macro_f1", &p->macro_f1);
    put_interval(w, "rule_adherence", &p->rule_adherence);
    agrl_jw_end_obj(w);
  }
  agrl_jw_end_obj(w);
  agrl_jw_ku64(w, "types_left_out", m->types_left_out);
}

static void put_counts(agrl_jw *w, const char *key, const size_t *counts, int rows, int columns, int stride) {
  agrl_jw_key(w, key);
  agrl_jw_arr(w);
  for (int g = 0; g < rows; g++) {
    agrl_jw_arr(w);
    for (int p = 0; p < columns; p++) agrl_jw_u64(w, counts[g * stride + p]);
    agrl_jw_end_arr(w);
  }
  agrl_jw_end_arr(w);
}

static void put_confusion(agrl_jw *w, const eval_measures *m) {
  put_counts(w, "confusion", &m->confusion[0][0], EVAL_TIERS, EVAL_TIERS, EVAL_TIERS + 1);
  agrl_jw_key(w, "unreadable");
  agrl_jw_arr(w);
  for (int g = 0; g < EVAL_TIERS; g++) agrl_jw_u64(w, m->confusion[g][EVAL_TIERS]);
  agrl_jw_end_arr(w);
}

static void put_calibration(agrl_jw *w, const eval_measures *m) {
  agrl_jw_key(w, "argmax");
  agrl_jw_obj(w);
  put_interval(w, "macro_f1", &m->argmax_macro_f1);
  put_interval(w, "accuracy", &m->argmax_accuracy);
  agrl_jw_end_obj(w);
  agrl_jw_key(w, "calibration");
  agrl_jw_obj(w);
  agrl_jw_kf64(w, "ece", m->ece);
  put_interval(w, "brier", &m->brier);
  put_interval(w, "log_loss", &m->log_loss);
  agrl_jw_key(w, "bins");
  agrl_jw_arr(w);
  for (int b = 0; b < EVAL_BINS; b++) {
    agrl_jw_obj(w);
    agrl_jw_kf64(w, "low", (double)b / EVAL_BINS);
    agrl_jw_kf64(w, "high", (double)(b + 1) / EVAL_BINS);
    agrl_jw_ku64(w, "n", m->bins[b].n);
    agrl_jw_kf64(w, "confidence", m->bins[b].confidence);
    agrl_jw_kf64(w, "accuracy", m->bins[b].accuracy);
    agrl_jw_end_obj(w);
  }
  agrl_jw_end_arr(w);
  agrl_jw_end_obj(w);
}

static void put_threshold(agrl_jw *w, const eval_measures *m, const eval_head *h) {
  const eval_threshold *t = &m->threshold;
  agrl_jw_key(w, "threshold");
  agrl_jw_obj(w);
  agrl_jw_kf64(w, "b", t->b);
  agrl_jw_kstr(w, "chosen_on", h->dev ? h->dev : own_dev);
  agrl_jw_ku64(w, "dev_n", t->dev_n);
  agrl_jw_kf64(w, "dev_macro_f1", t->dev_macro_f1);
  agrl_jw_ku64(w, "n", t->n);
  put_interval(w, "macro_f1", &t->macro_f1);
  put_interval(w, "trace_macro_f1", &t->trace_macro_f1);
  agrl_jw_key(w, "f1");
  agrl_jw_obj(w);
  for (int c = 0; c < EVAL_CLASSES; c++) agrl_jw_kf64(w, class_names[c], t->f1[c].value);
  agrl_jw_end_obj(w);
  agrl_jw_key(w, "f1_ci");
  agrl_jw_obj(w);
  for (int c = 0; c < EVAL_CLASSES; c++) put_ci(w, class_names[c], &t->f1[c]);
  agrl_jw_end_obj(w);
  put_counts(w, "confusion", &t->confusion[0][0], EVAL_CLASSES, EVAL_CLASSES, EVAL_CLASSES);
  agrl_jw_end_obj(w);
}

static void put_pass(agrl_jw *w, const eval_measures *m) {
  if (!m->samples) return;
  agrl_jw_key(w, "pass_at_k");
  agrl_jw_arr(w);
  for (size_t k = 0; k < m->samples; k++) {
    agrl_jw_obj(w);
    agrl_jw_ku64(w, "k", k + 1);
    put_interval(w, "value", &m->pass[k]);
    agrl_jw_end_obj(w);
  }
  agrl_jw_end_arr(w);
}

void eval_json(const eval_measures *m, const eval_head *h, agrl_buf *out) {
  agrl_jw w;
  agrl_jw_init(&w, out);
  agrl_jw_obj(&w);
  agrl_jw_kstr(&w, "checkpoint", h->checkpoint);
  agrl_jw_ku64(&w, "version", h->version & 0xffffffffu);
  agrl_jw_ku64(&w, "epoch", h->version >> 32);
  agrl_jw_kstr(&w, "split", h->split);
  agrl_jw_ku64(&w, "n", m->n);
  agrl_jw_ku64(&w, "queries", m->n_queries);
  agrl_jw_ku64(&w, "skipped", h->skipped);
  agrl_jw_ku64(&w, "malformed", h->malformed);
  put_interval(&w, "accuracy", &m->accuracy);
  put_interval(&w, "macro_f1", &m->macro_f1);
  put_interval(&w, "rule_adherence", &m->rule_adherence);
  put_interval(&w, "good_f1", &m->good_f1);
  put_interval(&w, "format_rate", &m->format_rate);
  put_interval(&w, "inconsistent_rate", &m->inconsistent_rate);
  put_interval(&w, "ndcg10", &m->ndcg10);
  agrl_jw_kf64(&w, "mean_tokens", m->mean_tokens);
  put_f1(&w, m);
  put_types(&w, m);
  put_confusion(&w, m);
  put_calibration(&w, m);
  put_threshold(&w, m, h);
  put_pass(&w, m);
  agrl_jw_end_obj(&w);
}

static void put_item(agrl_jw *w, const eval_item *it, size_t samples) {
  const agrl_row *row = it->row;
  agrl_jw_obj(w);
  agrl_jw_kstr(w, "id", row->id);
  agrl_jw_kstr(w, "query", row->query);
  agrl_jw_key(w, "product");
  agrl_jw_obj(w);
  for (size_t i = 0; i < row->n_fields; i++) agrl_jw_kstr(w, row->field_names[i], row->field_values[i]);
  agrl_jw_end_obj(w);
  agrl_jw_kstr(w, "type", row->type);
  agrl_jw_ki64(w, "gold", it->gold);
  agrl_jw_ki64(w, "predicted", it->predicted);
  put_tiers(w, "p", it->p);
  agrl_jw_kf64(w, "score", it->score);
  agrl_jw_kbool(w, "g_format", it->g_format);
  agrl_jw_kbool(w, "g_rule", it->g_rule);
  agrl_jw_kbool(w, "consistent", it->consistent);
  agrl_jw_ku64(w, "tokens", it->tokens);
  if (samples) {
    agrl_jw_ku64(w, "samples", samples);
    agrl_jw_ku64(w, "right", it->right);
  }
  agrl_jw_key(w, "text");
  agrl_jw_strn(w, it->text, it->text_len);
  agrl_jw_end_obj(w);
}

void eval_items_json(const eval_item *items, size_t n, size_t samples, agrl_buf *out) {
  for (size_t i = 0; i < n; i++) {
    agrl_jw w;
    agrl_jw_init(&w, out);
    put_item(&w, &items[i], samples);
    agrl_buf_addc(out, '\n');
  }
}

// --- text ---

static void number(agrl_buf *out, const eval_interval *v) {
  if (isnan(v->value)) agrl_buf_addc(out, '-');
  else if (isnan(v->low)) agrl_buf_addf(out, "%.4f", v->value);
  else agrl_buf_addf(out, "%.4f   [%.4f, %.4f]", v->value, v->low, v->high);
}

static void row(agrl_buf *out, const char *name, const eval_interval *v) {
  agrl_buf_adds(out, "  ");
  agrl_buf_add_cell(out, name, 22);
  agrl_buf_addc(out, ' ');
  number(out, v);
  agrl_buf_addc(out, '\n');
}

static void confusion_text(const eval_measures *m, agrl_buf *out) {
  agrl_buf_addf(out, "  gold tier \\ stated %8s %8s %8s %8s %11s %8s\n", "4", "3", "2", "1", "unreadable", "recall");
  for (int g = EVAL_TIERS - 1; g >= 0; g--) {
    const size_t *c = m->confusion[g];
    agrl_buf_addf(out, "  %-18d %8zu %8zu %8zu %8zu %11zu", g + 1, c[3], c[2], c[1], c[0], c[EVAL_TIERS]);
    agrl_buf_addf(out, isnan(m->recall[g]) ? "        -\n" : " %8.3f\n", m->recall[g]);
  }
}

static void probability_text(const eval_measures *m, const eval_head *h, agrl_buf *out) {
  const eval_threshold *t = &m->threshold;
  if (isnan(m->brier.value)) {
    agrl_buf_adds(out, "tier probabilities: undefined, a tier is not one token of this model\n");
    return;
  }
  agrl_buf_adds(out, "tier probabilities at the first generated position\n");
  row(out, "macro F1, likeliest", &m->argmax_macro_f1);
  row(out, "accuracy, likeliest", &m->argmax_accuracy);
  agrl_buf_addf(out, "  %-22s %.4f\n", "ECE", m->ece);
  row(out, "Brier score", &m->brier);
  row(out, "log loss, nats", &m->log_loss);
  for (int b = 0; b < EVAL_BINS; b++)
    if (m->bins[b].n)
      agrl_buf_addf(out, "    confidence %.1f to %.1f  mean %.3f  accuracy %.3f  (%zu rows)\n", (double)b / EVAL_BINS,
                    (double)(b + 1) / EVAL_BINS, m->bins[b].confidence, m->bins[b].accuracy, m->bins[b].n);
  if (isnan(t->b)) {
    agrl_buf_addf(out, "three classes by one threshold: undefined, no dev rows (%s)\n", h->dev ? h->dev : own_dev);
    return;
  }
  agrl_buf_addf(out, "three classes by one threshold: b = %.6g, chosen on %zu %s%s (macro F1 %.4f there); the other %zu rows:\n", t->b,
                t->dev_n, h->dev ? "rows of " : "", h->dev ? h->dev : own_dev, t->dev_macro_f1, t->n);
  row(out, "macro F1", &t->macro_f1);
  row(out, "  of the traces' tiers", &t->trace_macro_f1);
  for (int c = EVAL_GOOD; c >= EVAL_BAD; c--) {
    char name[16];
    snprintf(name, sizeof name, "F1 of %s", class_names[c]);
    row(out, name, &t->f1[c]);
  }
}

static void types_text(const eval_measures *m, agrl_buf *out) {
  agrl_buf_adds(out, "by query type: macro F1, accuracy, rule adherence\n");
  for (size_t i = 0; i < m->n_types; i++) {
    const eval_part *p = &m->types[i];
    const eval_interval *const cells[] = {&p->macro_f1, &p->accuracy, &p->rule_adherence};
    agrl_buf_adds(out, "  ");
    agrl_buf_add_cell(out, p->type, 22);
    for (size_t k = 0; k < 3; k++) {
      agrl_buf_adds(out, k ? "   " : " ");
      number(out, cells[k]);
    }
    agrl_buf_addf(out, "  (%zu rows)\n", p->n);
  }
  if (m->types_left_out)
    agrl_buf_addf(out, "  left out: %zu more query types (%zu rows), %d are shown at most\n", m->types_left_out, m->rows_left_out, EVAL_MAX_TYPES);
}

static void left_out_text(const eval_head *h, agrl_buf *out) {
  if (h->malformed) agrl_buf_addf(out, "  %zu malformed row%s, not evaluated\n", h->malformed, h->malformed == 1 ? "" : "s");
  if (h->skipped) agrl_buf_addf(out, "  left out: %zu row%s too long for the model's context\n", h->skipped, h->skipped == 1 ? "" : "s");
}

void eval_text(const eval_measures *m, const eval_head *h, agrl_buf *out) {
  if (m->n == 0) {
    agrl_buf_addf(out, "%s on %s: no row was measured\n", h->checkpoint, h->split);
    left_out_text(h, out);
    return;
  }
  agrl_buf_addf(out, "%s on %s: %zu rows of %zu queries (95%% bootstrap intervals over the queries)\n", h->checkpoint, h->split, m->n,
                m->n_queries);
  left_out_text(h, out);
  row(out, "macro F1", &m->macro_f1);
  row(out, "accuracy", &m->accuracy);
  row(out, "Good F1 (4+3)", &m->good_f1);
  row(out, "rule adherence", &m->rule_adherence);
  for (int c = EVAL_TIERS - 1; c >= 0; c--) {
    char name[32];
    snprintf(name, sizeof name, "F1 of tier %d", c + 1);
    row(out, name, &m->f1[c]);
  }
  row(out, "well-formed traces", &m->format_rate);
  row(out, "label-chain conflicts", &m->inconsistent_rate);
  row(out, "NDCG@10", &m->ndcg10);
  for (size_t k = 0; k < m->samples; k++) {
    char name[32];
    snprintf(name, sizeof name, "pass@%zu", k + 1);
    row(out, name, &m->pass[k]);
  }
  types_text(m, out);
  confusion_text(m, out);
  probability_text(m, h, out);
}
