// SPDX-License-Identifier: Apache-2.0
// An experiment's results as a text table and as JSON.
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "deploy/ctl/experiment.h"

static const char *const titles[EXP_MEASURES] = {"macro F1", "accuracy", "Good F1 (4+3)", "rule adherence"};

static int name_width(const experiment *e) {
  size_t w = 4;
  for (size_t i = 0; i < e->n_arms; i++) w = strlen(e->arms[i].name) > w ? strlen(e->arms[i].name) : w;
  return (int)w;
}

static void interval_text(const exp_mean *m, bool sign, char *out, size_t size) {
  const char *whole = sign ? "%+.4f [%+.4f, %+.4f]" : "%.4f [%.4f, %.4f]";
  if (m->n == 0) snprintf(out, size, "-");
  else if (m->n == 1) snprintf(out, size, sign ? "%+.4f" : "%.4f", m->mean);
  else snprintf(out, size, whole, m->mean, m->low, m->high);
}

static void measure_text(const exp_results *r, size_t split, int measure, agrl_buf *out) {
  const experiment *e = r->e;
  int width = name_width(e);
  agrl_buf_addf(out, "\n%s, %s\n  %-*s  seeds  %-24s  %-27s  p\n", titles[measure], r->splits[split], width, "", "mean [95 % interval]",
                "against the baseline");
  for (size_t a = 0; a < e->n_arms; a++) {
    exp_mean m = exp_compare(r, split, measure, a, -1), d = exp_compare(r, split, measure, a, (long)e->baseline);
    char value[64], change[64] = "baseline", p[16] = "";
    interval_text(&m, false, value, sizeof value);
    if (a != e->baseline) interval_text(&d, true, change, sizeof change);
    if (a != e->baseline && d.n > 1) snprintf(p, sizeof p, isnan(d.p) ? "-" : d.p < 0.0001 ? "<0.0001" : "%.4f", d.p);
    agrl_buf_addf(out, "  %-*s  %5zu  %-24s  %-27s  %s\n", width, e->arms[a].name, m.n, value, change, p);
  }
}

// Every pair: row less column, with a star where the paired test's p is below 0.05.
static void pairs_text(const exp_results *r, size_t split, agrl_buf *out) {
  const experiment *e = r->e;
  int width = name_width(e);
  if (e->n_arms < 3 || e->n_arms > 10) return;  // JSON has them all
  agrl_buf_addf(out, "\nmacro F1, %s: row less column (* p < 0.05, paired by seed, not corrected for the number of pairs)\n  %-*s", r->splits[split],
                width, "");
  for (size_t b = 0; b < e->n_arms; b++) agrl_buf_addf(out, "  %*s", width > 8 ? width : 8, e->arms[b].name);
  for (size_t a = 0; a < e->n_arms; a++) {
    agrl_buf_addf(out, "\n  %-*s", width, e->arms[a].name);
    for (size_t b = 0; b < e->n_arms; b++) {
      exp_mean d = exp_compare(r, split, EXP_MACRO_F1, a, (long)b);
      char text[32] = "";
      if (a != b && d.n) snprintf(text, sizeof text, "%+.4f%s", d.mean, d.p < 0.05 ? "*" : " ");
      agrl_buf_addf(out, "  %*s", width > 8 ? width : 8, text);
    }
  }
  agrl_buf_addc(out, '\n');
}

static exp_mean reach_of(const exp_results *r, size_t split, size_t arm) {
  double *v = agrl_xcalloc(r->e->n_seeds, sizeof *v);
  for (size_t s = 0; s < r->e->n_seeds; s++) v[s] = exp_reach(r, split, arm, s);
  exp_mean m = exp_mean_of(v, r->e->n_seeds);
  free(v);
  return m;
}

static void reach_text(const exp_results *r, size_t split, agrl_buf *out) {
  const experiment *e = r->e;
  bool any = false, differ = false;
  for (size_t a = 0; a < e->n_arms; a++) {
    any |= reach_of(r, split, a).n > 0;
    for (size_t s = 0; s < e->n_seeds; s++) differ |= exp_rows_differ(r, split, a, s);
  }
  if (!any && !differ) return;  // nothing was evaluated while training
  agrl_buf_addf(out, "\nversions until macro F1 on %s is what %s ends with, as a share of its versions\n", r->splits[split], e->arms[e->baseline].name);
  if (differ) agrl_buf_adds(out, "  undefined where versions were evaluated on other rows (eval.rows) than the end\n");
  for (size_t a = 0; a < e->n_arms && any; a++) {
    exp_mean m = reach_of(r, split, a);
    char value[64];
    interval_text(&m, false, value, sizeof value);
    agrl_buf_addf(out, "  %-*s  %-24s  reached with %zu of %zu seeds\n", name_width(e), e->arms[a].name, value, m.n, e->n_seeds);
  }
}

static const struct {
  const char *title, *key;
  size_t offset;
} dynamics[] = {{"reward", "reward", offsetof(ctl_point, reward_mean)},
                {"rollout accuracy", "accuracy", offsetof(ctl_point, accuracy)},
                {"guided share", "guided_ratio", offsetof(ctl_point, guided_ratio)},
                {"zero-spread share", "zero_std_ratio", offsetof(ctl_point, zero_std_ratio)},
                {"reward std in a group", "reward_std", offsetof(ctl_point, reward_std)},
                {"clipped low", "clip_ratio_low", offsetof(ctl_point, clip_ratio_low)},
                {"clipped high", "clip_ratio_high", offsetof(ctl_point, clip_ratio_high)},
                {"entropy, nats", "entropy", offsetof(ctl_point, entropy)},
                {"KL to reference", "kl", offsetof(ctl_point, kl)},
                {"staleness", "staleness", offsetof(ctl_point, staleness_mean)},
                {"step, s", "step_seconds", offsetof(ctl_point, step_seconds)},
                {"wait for batch, s", "wait_seconds", offsetof(ctl_point, wait_seconds)}};
enum { N_DYNAMICS = sizeof dynamics / sizeof *dynamics, DYNAMICS_TITLE = 21 };  // columns of the longest title

static void dynamics_row(const exp_results *r, const char *title, size_t k, int width, agrl_buf *out) {
  agrl_buf_addf(out, "\n  %-*s", DYNAMICS_TITLE, title);
  for (size_t a = 0; a < r->e->n_arms; a++) {
    exp_mean m = k < N_DYNAMICS ? exp_tenth(r, a, dynamics[k].offset) : exp_rollouts(r, a);
    if (m.n) agrl_buf_addf(out, "  %*.4f", width, m.mean);
    else agrl_buf_addf(out, "  %*s", width, "-");
  }
}

static void dynamics_text(const exp_results *r, agrl_buf *out) {
  const int width = name_width(r->e) > 9 ? name_width(r->e) : 9;
  agrl_buf_addf(out, "\ntraining, last tenth of the versions (rollouts: of all), mean over seeds\n  %-*s", DYNAMICS_TITLE, "");
  for (size_t a = 0; a < r->e->n_arms; a++) agrl_buf_addf(out, "  %*s", width, r->e->arms[a].name);
  for (size_t k = 0; k < N_DYNAMICS; k++) dynamics_row(r, dynamics[k].title, k, width, out);
  dynamics_row(r, "rollouts a version", N_DYNAMICS, width, out);
  agrl_buf_addc(out, '\n');
}

// A run that leaves splits out, NULL: none. Runs of one experiment have the same held-out files.
static const report *left_out_of(const exp_results *r) {
  for (size_t i = 0; i < r->e->n_arms * r->e->n_seeds; i++)
    if (r->runs[i].n_left_out) return &r->runs[i];
  return NULL;
}

void exp_text(const exp_results *r, agrl_buf *out) {
  const experiment *e = r->e;
  agrl_buf_addf(out, "agrl experiment: %s, %zu of %zu runs done\n", e->name, r->n_done, e->n_arms * e->n_seeds);
  agrl_buf_addf(out, "Mean over seeds with its t interval; differences to %s are taken seed by seed (paired t test, two-sided).\n",
                e->arms[e->baseline].name);
  for (size_t s = 0; s < r->n_splits; s++) {
    for (int m = 0; m < EXP_MEASURES; m++) measure_text(r, s, m, out);
    pairs_text(r, s, out);
    reach_text(r, s, out);
  }
  dynamics_text(r, out);
  if (left_out_of(r)) report_left_out_text(left_out_of(r), out);
}

// --- JSON ---

static void mean_json(agrl_jw *w, const exp_mean *m, bool test) {
  agrl_jw_obj(w);
  agrl_jw_ku64(w, "seeds", m->n);
  agrl_jw_kf64(w, "mean", m->mean);
  agrl_jw_kf64(w, "low", m->low);
  agrl_jw_kf64(w, "high", m->high);
  if (test) agrl_jw_kf64(w, "p", m->p);
  agrl_jw_end_obj(w);
}

static void settings_json(agrl_jw *w, const char *key, const exp_settings *s) {
  agrl_jw_key(w, key);
  agrl_jw_obj(w);
  for (size_t i = 0; i < s->n; i++) agrl_jw_kstr(w, s->at[i].key, s->at[i].value);
  agrl_jw_end_obj(w);
}

static void arm_json(const exp_results *r, size_t split, int measure, size_t arm, agrl_jw *w) {
  exp_mean m = exp_compare(r, split, measure, arm, -1);
  agrl_jw_obj(w);
  agrl_jw_kstr(w, "arm", r->e->arms[arm].name);
  agrl_jw_key(w, "by_seed");
  agrl_jw_arr(w);
  for (size_t s = 0; s < r->e->n_seeds; s++) agrl_jw_f64(w, exp_value(r, split, measure, arm, s));
  agrl_jw_end_arr(w);
  agrl_jw_key(w, "value");
  mean_json(w, &m, false);
  agrl_jw_key(w, "less");  // differences to every other arm
  agrl_jw_obj(w);
  for (size_t b = 0; b < r->e->n_arms; b++) {
    if (b == arm) continue;
    exp_mean d = exp_compare(r, split, measure, arm, (long)b);
    agrl_jw_key(w, r->e->arms[b].name);
    mean_json(w, &d, true);
  }
  agrl_jw_end_obj(w);
  if (measure == EXP_MACRO_F1) {
    exp_mean reach = reach_of(r, split, arm);
    agrl_jw_key(w, "versions_to_baseline");
    mean_json(w, &reach, false);
  }
  agrl_jw_end_obj(w);
}

static void experiment_json(const exp_results *r, agrl_jw *w) {
  const experiment *e = r->e;
  agrl_jw_kstr(w, "experiment", e->name);
  agrl_jw_kstr(w, "config", e->config);
  settings_json(w, "data", &e->make);
  if (e->train) agrl_jw_kstr(w, "train", e->train);
  if (e->eval) agrl_jw_kstr(w, "eval", e->eval);
  settings_json(w, "set", &e->set);
  if (e->has_start) settings_json(w, "start", &e->start);
  agrl_jw_ku64(w, "runs", e->n_arms * e->n_seeds);
  agrl_jw_ku64(w, "runs_done", r->n_done);
  agrl_jw_kstr(w, "baseline", e->arms[e->baseline].name);
  agrl_jw_key(w, "seeds");
  agrl_jw_arr(w);
  for (size_t s = 0; s < e->n_seeds; s++) agrl_jw_i64(w, e->seeds[s]);
  agrl_jw_end_arr(w);
  agrl_jw_key(w, "arms");
  agrl_jw_obj(w);
  for (size_t a = 0; a < e->n_arms; a++) settings_json(w, e->arms[a].name, &e->arms[a].set);
  agrl_jw_end_obj(w);
}

static void dynamics_json(const exp_results *r, agrl_jw *w) {
  agrl_jw_key(w, "training_last_tenth");
  agrl_jw_obj(w);
  for (size_t a = 0; a < r->e->n_arms; a++) {
    agrl_jw_key(w, r->e->arms[a].name);
    agrl_jw_obj(w);
    for (size_t k = 0; k < N_DYNAMICS; k++) {
      exp_mean m = exp_tenth(r, a, dynamics[k].offset);
      agrl_jw_key(w, dynamics[k].key);
      mean_json(w, &m, false);
    }
    agrl_jw_end_obj(w);
  }
  agrl_jw_end_obj(w);
}

static void rollouts_json(const exp_results *r, agrl_jw *w) {
  agrl_jw_key(w, "rollouts_per_version");
  agrl_jw_obj(w);
  for (size_t a = 0; a < r->e->n_arms; a++) {
    exp_mean m = exp_rollouts(r, a);
    agrl_jw_key(w, r->e->arms[a].name);
    mean_json(w, &m, false);
  }
  agrl_jw_end_obj(w);
}

void exp_json(const exp_results *r, agrl_buf *out) {
  agrl_jw w;
  agrl_jw_init(&w, out);
  agrl_jw_obj(&w);
  experiment_json(r, &w);
  agrl_jw_key(&w, "splits");
  agrl_jw_obj(&w);
  for (size_t s = 0; s < r->n_splits; s++) {
    agrl_jw_key(&w, r->splits[s]);
    agrl_jw_obj(&w);
    for (int m = 0; m < EXP_MEASURES; m++) {
      agrl_jw_key(&w, exp_measure_keys[m]);
      agrl_jw_arr(&w);
      for (size_t a = 0; a < r->e->n_arms; a++) arm_json(r, s, m, a, &w);
      agrl_jw_end_arr(&w);
    }
    agrl_jw_end_obj(&w);
  }
  agrl_jw_end_obj(&w);
  dynamics_json(r, &w);
  rollouts_json(r, &w);
  const report *lacking = left_out_of(r);
  agrl_jw_key(&w, "splits_left_out");
  agrl_jw_arr(&w);
  for (size_t i = 0; lacking && i < lacking->n_left_out; i++) agrl_jw_str(&w, lacking->left_out[i]);
  agrl_jw_end_arr(&w);
  agrl_jw_end_obj(&w);
  agrl_buf_addc(out, '\n');
}
