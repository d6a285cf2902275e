// SPDX-License-Identifier: Apache-2.0
// The report as a text table and as JSON.
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

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

static void row(agrl_buf *out, const char *name, const report_split *s, const char *key, double before, double after) {
  if (!isfinite(before) && !isfinite(after)) return;
  agrl_buf_addf(out, "  %-21s", name);
  cell(out, s->before, key, before);
  cell(out, s->after, key, after);
  if (isfinite(before) && isfinite(after)) agrl_buf_addf(out, "  %+.3f", after - before);
  agrl_buf_addc(out, '\n');
}

static void key_row(agrl_buf *out, const char *name, const report_split *s, const char *key) {
  row(out, name, s, key, report_number(s->before, key), report_number(s->after, key));
}

static void split_text(const report *r, const report_split *s, agrl_buf *out) {
  char after[40], name[40];
  const agrl_json *any = s->after ? s->after : s->before;
  double version = report_number(s->after, "version");
  snprintf(after, sizeof after, isfinite(version) ? "after RL, version %.0f" : "after RL", version);
  agrl_buf_addf(out, "\n%s, %.0f rows (95 %% bootstrap intervals)\n  %-21s  %-22s  %-22s  change\n", s->name,
                report_number(any, "n"), "", "before (SFT)", after);
  key_row(out, "accuracy", s, "accuracy");
  key_row(out, "macro F1", s, "macro_f1");
  for (int tier = 4; tier >= 1; tier--) {
    snprintf(name, sizeof name, "  F1 of tier %d", tier);
    row(out, name, s, NULL, report_f1(s->before, tier), report_f1(s->after, tier));
  }
  key_row(out, "Good F1 (4+3)", s, "good_f1");
  key_row(out, "rule adherence", s, "rule_adherence");
  key_row(out, "well-formed traces", s, "format_rate");
  key_row(out, "label-chain conflicts", s, "inconsistent_rate");
  key_row(out, "NDCG@10", s, "ndcg10");
  const agrl_json *types = agrl_json_get(any, "by_type");
  for (void *it = agrl_json_first(types); it; it = agrl_json_next(types, it)) {
    const agrl_json *b = agrl_json_get(agrl_json_get(s->before, "by_type"), agrl_json_key(it));
    const agrl_json *a = agrl_json_get(agrl_json_get(s->after, "by_type"), agrl_json_key(it));
    snprintf(name, sizeof name, "F1, %.16s", agrl_json_key(it));
    row(out, name, s, NULL, report_number(b, "macro_f1"), report_number(a, "macro_f1"));
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
}

void report_text(const report *r, agrl_buf *out) {
  const char *dir = r->config->run.dir;
  agrl_buf_addf(out, "agrl report: %s, run %s, seed %" PRId64 "\n", dir, r->config->run.name, r->config->run.seed);
  for (size_t i = 0; i < r->n_splits; i++) split_text(r, &r->splits[i], out);
  training_text(r, out);
  agrl_buf_addf(out,
                "\nfiles\n  checkpoint   %s/checkpoints/latest\n  before RL    %s/checkpoints/sft\n"
                "  traces       %s/replay (agrlctl replay ls --run-dir %s)\n  metrics      %s/metrics.jsonl\n  plot         %s/report.svg\n",
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
  agrl_jw_key(&w, "training");
  agrl_jw_obj(&w);
  agrl_jw_ku64(&w, "points", r->series.n);
#define PUT(field)                              \
  agrl_jw_key(&w, #field);                      \
  agrl_jw_obj(&w);                              \
  agrl_jw_kf64(&w, "first", TENTH(field, false)); \
  agrl_jw_kf64(&w, "last", TENTH(field, true)); \
  agrl_jw_end_obj(&w);
  PUT(reward_mean) PUT(accuracy) PUT(guided_ratio) PUT(zero_std_ratio) PUT(staleness_mean) PUT(kl) PUT(entropy)
#undef PUT
  agrl_jw_end_obj(&w);
  agrl_jw_end_obj(&w);
}
