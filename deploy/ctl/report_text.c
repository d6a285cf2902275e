// SPDX-License-Identifier: Apache-2.0
// The report as a text table and as JSON.
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "deploy/ctl/report.h"
#include "deploy/ctl/view.h"

static void cell(agrl_buf *out, const agrl_json *result, const char *key, double v) {
  double ci[2];
  char text[48] = "-";
  if (isfinite(v) && key && report_interval(result, key, ci))
    snprintf(text, sizeof text, "%.3f [%.3f, %.3f]", v, ci[0], ci[1]);
  else if (isfinite(v)) snprintf(text, sizeof text, "%.3f", v);
  agrl_buf_addf(out, "  %-22s", text);
}

static void f1_cell(agrl_buf *out, const agrl_json *result, int tier) {
  double ci[2], v = report_f1(result, tier, ci);
  char text[48] = "-";
  if (isfinite(v) && isfinite(ci[0])) snprintf(text, sizeof text, "%.3f [%.3f, %.3f]", v, ci[0], ci[1]);
  else if (isfinite(v)) snprintf(text, sizeof text, "%.3f", v);
  agrl_buf_addf(out, "  %-22s", text);
}

// The same key of objects inside the three results (the results themselves for path NULL): before, best where there is one, after.
static void key_row(agrl_buf *out, const char *name, const report_split *s, const char *path, const char *key) {
  const agrl_json *b = path ? agrl_json_get(s->before, path) : s->before, *m = path ? agrl_json_get(s->best, path) : s->best;
  const agrl_json *a = path ? agrl_json_get(s->after, path) : s->after;
  double before = report_number(b, key), after = report_number(a, key);
  if (!isfinite(before) && !isfinite(after)) return;
  agrl_buf_adds(out, "  ");
  agrl_buf_add_cell(out, name, 21);
  cell(out, b, key, before);
  if (s->best) cell(out, m, key, report_number(m, key));
  cell(out, a, key, after);
  if (isfinite(before) && isfinite(after)) agrl_buf_addf(out, "  %+.3f", after - before);
  agrl_buf_addc(out, '\n');
}

// Rows of each result; nothing where no result has at least so many.
static void count_row(agrl_buf *out, const char *name, const report_split *s, const char *path, const char *key, double least) {
  const agrl_json *const results[] = {s->before, s->best, s->after};
  double n[3], most = NAN;
  for (int i = 0; i < 3; i++) most = fmax(most, n[i] = report_number(path ? agrl_json_get(results[i], path) : results[i], key));
  if (!(most >= least)) return;
  agrl_buf_addf(out, "  %-21s", name);
  for (int i = 0; i < 3; i++) {
    char text[32] = "-";
    if (i == 1 && !s->best) continue;
    if (isfinite(n[i])) snprintf(text, sizeof text, "%.0f", n[i]);
    agrl_buf_addf(out, "  %-22s", text);
  }
  agrl_buf_addc(out, '\n');
}

// Of all results, where any of them has one.
static void malformed_text(const report_split *s, agrl_buf *out) {
  const agrl_json *const results[] = {s->before, s->best, s->after};
  static const char *const names[] = {"before", "best", "after"};
  double n[3], most = 0;
  for (int i = 0; i < 3; i++) most = fmax(most, n[i] = report_number(results[i], "malformed"));
  if (!(most >= 1)) return;
  agrl_buf_adds(out, "  malformed rows, not evaluated:");
  const char *comma = "";
  for (int i = 0; i < 3; i++) {
    if (!isfinite(n[i])) continue;
    agrl_buf_addf(out, "%s %.0f %s", comma, n[i], names[i]);
    comma = ",";
  }
  agrl_buf_addc(out, '\n');
}

static void tier_row(agrl_buf *out, const report_split *s, int tier) {
  double before = report_f1(s->before, tier, NULL), after = report_f1(s->after, tier, NULL);
  if (!isfinite(before) && !isfinite(after)) return;
  char name[24];
  snprintf(name, sizeof name, "  F1 of tier %d", tier);
  agrl_buf_addf(out, "  %-21s", name);
  f1_cell(out, s->before, tier);
  if (s->best) f1_cell(out, s->best, tier);
  f1_cell(out, s->after, tier);
  if (isfinite(before) && isfinite(after)) agrl_buf_addf(out, "  %+.3f", after - before);
  agrl_buf_addc(out, '\n');
}

static void head(const report_split *s, agrl_buf *out) {
  char after[40], best[40] = "";
  double version = report_number(s->after, "version");
  snprintf(after, sizeof after, isfinite(version) ? "after RL, version %.0f" : "after RL", version);
  if (s->best) snprintf(best, sizeof best, "best, version %.0f", report_number(s->best, "version"));
  agrl_buf_addf(out, "\n%s (95 %% bootstrap intervals)\n  %-21s  %-22s", s->name, "", "before (SFT)");
  if (s->best) agrl_buf_addf(out, "  %-22s", best);
  agrl_buf_addf(out, "  %-22s  change\n", after);
}

static void confusion_text(const agrl_json *result, const char *title, agrl_buf *out) {
  const agrl_json *c = agrl_json_get(result, "confusion"), *u = agrl_json_get(result, "unreadable");
  if (!c) return;
  agrl_buf_addf(out, "  %-27s %7s %7s %7s %7s %11s\n", title, "4", "3", "2", "1", "unreadable");
  for (int g = 3; g >= 0; g--) {
    int64_t n = 0;
    agrl_buf_addf(out, "    gold tier %-15d", g + 1);
    for (int p = 3; p >= 0; p--) agrl_buf_addf(out, " %7" PRId64, agrl_json_i64(agrl_json_at(agrl_json_at(c, (size_t)g), (size_t)p), &n) ? n : 0);
    agrl_buf_addf(out, " %11" PRId64 "\n", agrl_json_i64(agrl_json_at(u, (size_t)g), &n) ? n : 0);
  }
}

static void types_text(const report_split *s, agrl_buf *out) {
  static const char *const measures[][2] = {{"macro F1", "macro_f1"}, {"accuracy", "accuracy"}, {"rule adherence", "rule_adherence"}};
  const agrl_json *any = s->after ? s->after : s->before ? s->before : s->best, *types = agrl_json_get(any, "by_type");
  for (size_t k = 0; k < 3; k++) {
    agrl_buf rows = {0};
    for (void *it = agrl_json_first(types); it; it = agrl_json_next(types, it)) {
      report_split part = {s->name, agrl_json_get(agrl_json_get(s->before, "by_type"), agrl_json_key(it)),
                           agrl_json_get(agrl_json_get(s->best, "by_type"), agrl_json_key(it)),
                           agrl_json_get(agrl_json_get(s->after, "by_type"), agrl_json_key(it))};
      key_row(&rows, agrl_json_key(it), &part, NULL, measures[k][1]);
    }
    if (rows.len) agrl_buf_addf(out, "  by query type, %s:\n", measures[k][0]);
    agrl_buf_add(out, rows.data, rows.len);
    agrl_buf_release(&rows);
  }
  int64_t left_out = 0;
  if (agrl_json_i64(agrl_json_get(any, "types_left_out"), &left_out) && left_out > 0)
    agrl_buf_addf(out, "  left out: %" PRId64 " more query types\n", left_out);
}

static void split_text(const report_split *s, agrl_buf *out) {
  head(s, out);
  count_row(out, "rows", s, NULL, "n", 0);
  malformed_text(s, out);
  count_row(out, "too long, left out", s, NULL, "skipped", 1);
  key_row(out, "accuracy", s, NULL, "accuracy");
  key_row(out, "macro F1", s, NULL, "macro_f1");
  for (int tier = 4; tier >= 1; tier--) tier_row(out, s, tier);
  key_row(out, "Good F1 (4+3)", s, NULL, "good_f1");
  key_row(out, "rule adherence", s, NULL, "rule_adherence");
  key_row(out, "well-formed traces", s, NULL, "format_rate");
  key_row(out, "label-chain conflicts", s, NULL, "inconsistent_rate");
  key_row(out, "NDCG@10", s, NULL, "ndcg10");
  key_row(out, "macro F1, likeliest", s, "argmax", "macro_f1");
  key_row(out, "calibration error", s, "calibration", "ece");
  key_row(out, "Brier score", s, "calibration", "brier");
  key_row(out, "3 classes by b, F1", s, "threshold", "macro_f1");
  key_row(out, "3 classes, traces", s, "threshold", "trace_macro_f1");
  count_row(out, "rows that chose b", s, "threshold", "dev_n", 0);
  types_text(s, out);
  confusion_text(s->before, "before: stated tier", out);
  confusion_text(s->after, "after: stated tier", out);
}

static void curve_text(const report_curve *c, agrl_buf *out) {
  agrl_buf_addf(out, "\nwhile training, %s: macro F1 by version\n", c->name);
  for (size_t i = 0; i < c->n; i++) {
    const report_point *p = &c->points[i];
    agrl_buf_addf(out, "  %6.0f  %.3f", p->version, p->value);
    if (isfinite(p->low)) agrl_buf_addf(out, " [%.3f, %.3f]", p->low, p->high);
    agrl_buf_addc(out, '\n');
  }
}

#define TENTH(field, last) report_tenth(r, offsetof(ctl_point, field), last)

static void training_text(const report *r, agrl_buf *out) {
  const ctl_point *last = ctl_series_last(&r->series), *sft = NULL;
  size_t rl = 0;
  char a[32], b[32];
  if (!last) return;
  for (size_t i = 0; i < r->series.n; i++) {
    if (r->series.points[i].rl) rl++;
    else sft = &r->series.points[i];
  }
  ctl_duration_text(sft ? sft->wall - r->series.points[0].wall : NAN, a);
  ctl_duration_text(last->wall - (sft ? sft->wall : r->series.points[0].wall), b);
  agrl_buf_adds(out, "\ntraining:");
  if (sft) agrl_buf_addf(out, " %.0f SFT steps in %s%s", sft->step, a, rl ? "," : "");
  if (rl) agrl_buf_addf(out, " %zu RL versions in %s", rl, b);
  if (last->rollouts > 0) agrl_buf_addf(out, ", %.0f rollouts", last->rollouts);
  agrl_buf_addc(out, '\n');
  if (!rl) return;
  agrl_buf_addf(out, "  %-21s  %-22s  %-22s\n", "", "first tenth", "last tenth");
  const struct {
    const char *name;
    double first, last;
  } rows[] = {
      {"reward", TENTH(reward_mean, false), TENTH(reward_mean, true)},
      {"rollout accuracy", TENTH(accuracy, false), TENTH(accuracy, true)},
      {"guided share", TENTH(guided_ratio, false), TENTH(guided_ratio, true)},
      {"zero-spread share", TENTH(zero_std_ratio, false), TENTH(zero_std_ratio, true)},
      {"reward std in a group", TENTH(reward_std, false), TENTH(reward_std, true)},
      {"clipped low", TENTH(clip_ratio_low, false), TENTH(clip_ratio_low, true)},
      {"clipped high", TENTH(clip_ratio_high, false), TENTH(clip_ratio_high, true)},
      {"staleness, versions", TENTH(staleness_mean, false), TENTH(staleness_mean, true)},
      {"KL to reference", TENTH(kl, false), TENTH(kl, true)},
      {"entropy, nats", TENTH(entropy, false), TENTH(entropy, true)},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    agrl_buf_addf(out, "  %-21s", rows[i].name);
    cell(out, NULL, NULL, rows[i].first);
    cell(out, NULL, NULL, rows[i].last);
    agrl_buf_addc(out, '\n');
  }
  size_t n;
  double gap = report_gap(r, &n);
  if (n) agrl_buf_addf(out, "  %-21s  %g nats, the largest difference of log-probs at equal version (%zu versions have such tokens)\n", "learner-actor gap", gap, n);
}

void report_left_out_text(const report *r, agrl_buf *out) {
  if (!r->n_left_out) return;
  agrl_buf_addf(out, "\nleft out, the report shows %d at most:", REPORT_MAX_SPLITS);
  for (size_t i = 0; i < r->n_left_out; i++) {
    agrl_buf_addc(out, ' ');
    agrl_buf_add_visible(out, r->left_out[i], strlen(r->left_out[i]));
  }
  agrl_buf_addc(out, '\n');
}

void report_text(const report *r, agrl_buf *out) {
  const char *dir = r->config->run.dir;
  agrl_buf_addf(out, "agrl report: %s, run %s, seed %" PRId64 "\n", dir, r->config->run.name, r->config->run.seed);
  for (size_t i = 0; i < r->n_splits; i++) split_text(&r->splits[i], out);
  report_left_out_text(r, out);
  for (size_t i = 0; i < r->n_curves; i++) curve_text(&r->curves[i], out);
  training_text(r, out);
  agrl_buf_addf(out,
                "\nfiles\n  checkpoint   %s/checkpoints/latest\n  before RL    %s/checkpoints/sft\n"
                "  traces       %s/replay (agrlctl replay ls --run-dir %s)\n  metrics      %s/metrics.jsonl\n  plots        %s/report.html, report.svg\n",
                dir, dir, dir, dir, dir, dir);
}

static void copy_json(agrl_jw *w, const agrl_json *j) {
  const char *s;
  size_t len;
  int64_t i;
  double d;
  bool b;
  switch (j ? agrl_json_typeof(j) : AGRL_JSON_NULL) {
    case AGRL_JSON_NULL: agrl_jw_null(w); break;
    case AGRL_JSON_BOOL: agrl_jw_bool(w, agrl_json_bool(j, &b) && b); break;
    case AGRL_JSON_INT: agrl_jw_i64(w, agrl_json_i64(j, &i) ? i : 0); break;
    case AGRL_JSON_REAL: agrl_jw_f64(w, agrl_json_f64(j, &d) ? d : NAN); break;
    case AGRL_JSON_STRING: if (agrl_json_str(j, &s, &len)) agrl_jw_strn(w, s, len); break;
    case AGRL_JSON_ARRAY:
      agrl_jw_arr(w);
      for (size_t k = 0; k < agrl_json_len(j); k++) copy_json(w, agrl_json_at(j, k));
      agrl_jw_end_arr(w);
      break;
    case AGRL_JSON_OBJECT:
      agrl_jw_obj(w);
      for (void *it = agrl_json_first(j); it; it = agrl_json_next(j, it)) {
        agrl_jw_key(w, agrl_json_key(it));
        copy_json(w, agrl_json_value(it));
      }
      agrl_jw_end_obj(w);
      break;
  }
}

static void put_curve(agrl_jw *w, const report_curve *c) {
  agrl_jw_key(w, c->name);
  agrl_jw_arr(w);
  for (size_t i = 0; i < c->n; i++) {
    agrl_jw_obj(w);
    agrl_jw_kf64(w, "version", c->points[i].version);
    agrl_jw_kf64(w, "macro_f1", c->points[i].value);
    agrl_jw_key(w, "macro_f1_ci");
    agrl_jw_arr(w);
    agrl_jw_f64(w, c->points[i].low);
    agrl_jw_f64(w, c->points[i].high);
    agrl_jw_end_arr(w);
    agrl_jw_end_obj(w);
  }
  agrl_jw_end_arr(w);
}

void report_json(const report *r, agrl_buf *out) {
  agrl_jw w;
  agrl_jw_init(&w, out);
  agrl_jw_obj(&w);
  agrl_jw_kstr(&w, "run", r->config->run.name);
  agrl_jw_ki64(&w, "seed", r->config->run.seed);
  agrl_jw_key(&w, "splits");
  agrl_jw_obj(&w);
  for (size_t i = 0; i < r->n_splits; i++) {
    const report_split *s = &r->splits[i];
    agrl_jw_key(&w, s->name);
    agrl_jw_obj(&w);
    agrl_jw_key(&w, "before");
    copy_json(&w, s->before);
    agrl_jw_key(&w, "best");
    copy_json(&w, s->best);
    agrl_jw_key(&w, "after");
    copy_json(&w, s->after);
    agrl_jw_key(&w, "change");
    agrl_jw_obj(&w);
    static const char *const keys[] = {"accuracy", "macro_f1", "good_f1", "rule_adherence", "format_rate"};
    for (size_t k = 0; k < 5; k++)
      agrl_jw_kf64(&w, keys[k], report_number(s->after, keys[k]) - report_number(s->before, keys[k]));
    agrl_jw_end_obj(&w);
    agrl_jw_end_obj(&w);
  }
  agrl_jw_end_obj(&w);
  agrl_jw_key(&w, "splits_left_out");
  agrl_jw_arr(&w);
  for (size_t i = 0; i < r->n_left_out; i++) agrl_jw_str(&w, r->left_out[i]);
  agrl_jw_end_arr(&w);
  agrl_jw_key(&w, "curves");
  agrl_jw_obj(&w);
  for (size_t i = 0; i < r->n_curves; i++) put_curve(&w, &r->curves[i]);
  agrl_jw_end_obj(&w);
  agrl_jw_key(&w, "training");
  agrl_jw_obj(&w);
  agrl_jw_ku64(&w, "points", r->series.n);
#define PUT(field)                              \
  agrl_jw_key(&w, #field);                      \
  agrl_jw_obj(&w);                              \
  agrl_jw_kf64(&w, "first", TENTH(field, false)); \
  agrl_jw_kf64(&w, "last", TENTH(field, true)); \
  agrl_jw_end_obj(&w);
  PUT(reward_mean) PUT(accuracy) PUT(guided_ratio) PUT(zero_std_ratio) PUT(reward_std) PUT(clip_ratio_low)
  PUT(clip_ratio_high) PUT(staleness_mean) PUT(kl) PUT(entropy)
#undef PUT
  size_t n;
  double gap = report_gap(r, &n);
  agrl_jw_kf64(&w, "logprob_abs_diff_max", gap);
  agrl_jw_ku64(&w, "logprob_abs_diff_versions", n);
  agrl_jw_end_obj(&w);
  agrl_jw_end_obj(&w);
}
