// SPDX-License-Identifier: Apache-2.0
// An experiment's results as a text table, as JSON and as a plot.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "deploy/ctl/experiment.h"
#include "deploy/ctl/svg.h"

static const char *const titles[EXP_MEASURES] = {"macro F1", "accuracy", "Good F1 (4+3)", "rule adherence"};

// Per-seed values of an arm, or their differences to the baseline of the same seed. Caller frees.
static double *by_seed(const exp_results *r, size_t split, int measure, size_t arm, bool difference) {
  double *v = agrl_xcalloc(r->e->n_seeds, sizeof *v);
  for (size_t s = 0; s < r->e->n_seeds; s++)
    v[s] = exp_value(r, split, measure, arm, s) - (difference ? exp_value(r, split, measure, r->e->baseline, s) : 0);
  return v;
}

static exp_mean mean_of(const exp_results *r, size_t split, int measure, size_t arm, bool difference) {
  double *v = by_seed(r, split, measure, arm, difference);
  exp_mean m = exp_mean_of(v, r->e->n_seeds);
  free(v);
  return m;
}

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
    exp_mean m = mean_of(r, split, measure, a, false), d = mean_of(r, split, measure, a, true);
    char value[64], change[64] = "baseline", p[16] = "";
    interval_text(&m, false, value, sizeof value);
    if (a != e->baseline) interval_text(&d, true, change, sizeof change);
    if (a != e->baseline && d.n > 1) snprintf(p, sizeof p, d.p < 0.0001 ? "<0.0001" : "%.4f", d.p);
    agrl_buf_addf(out, "  %-*s  %5zu  %-24s  %-27s  %s\n", width, e->arms[a].name, m.n, value, change, p);
  }
}

void exp_text(const exp_results *r, agrl_buf *out) {
  const experiment *e = r->e;
  agrl_buf_addf(out, "agrl experiment: %s, %zu of %zu runs done\n", e->name, r->n_done, e->n_arms * e->n_seeds);
  agrl_buf_addf(out, "Mean over seeds with its t interval; differences to %s are taken seed by seed (paired t test, two-sided).\n",
                e->arms[e->baseline].name);
  for (size_t s = 0; s < r->n_splits; s++)
    for (int m = 0; m < EXP_MEASURES; m++) measure_text(r, s, m, out);
}

// --- JSON ---

static void mean_json(agrl_jw *w, const char *key, const exp_mean *m, bool test) {
  agrl_jw_key(w, key);
  agrl_jw_obj(w);
  agrl_jw_kf64(w, "mean", m->mean);
  agrl_jw_kf64(w, "low", m->low);
  agrl_jw_kf64(w, "high", m->high);
  if (test) agrl_jw_kf64(w, "p", m->p);
  agrl_jw_end_obj(w);
}

static void arm_json(const exp_results *r, size_t split, int measure, size_t arm, agrl_jw *w) {
  double *v = by_seed(r, split, measure, arm, false);
  exp_mean m = exp_mean_of(v, r->e->n_seeds), d = mean_of(r, split, measure, arm, true);
  agrl_jw_obj(w);
  agrl_jw_kstr(w, "arm", r->e->arms[arm].name);
  agrl_jw_key(w, "by_seed");
  agrl_jw_arr(w);
  for (size_t s = 0; s < r->e->n_seeds; s++) agrl_jw_f64(w, v[s]);
  agrl_jw_end_arr(w);
  mean_json(w, "value", &m, false);
  if (arm != r->e->baseline) mean_json(w, "difference", &d, true);
  agrl_jw_end_obj(w);
  free(v);
}

void exp_json(const exp_results *r, agrl_buf *out) {
  const experiment *e = r->e;
  agrl_jw w;
  agrl_jw_init(&w, out);
  agrl_jw_obj(&w);
  agrl_jw_kstr(&w, "experiment", e->name);
  agrl_jw_ku64(&w, "runs", e->n_arms * e->n_seeds);
  agrl_jw_ku64(&w, "runs_done", r->n_done);
  agrl_jw_kstr(&w, "baseline", e->arms[e->baseline].name);
  agrl_jw_key(&w, "seeds");
  agrl_jw_arr(&w);
  for (size_t s = 0; s < e->n_seeds; s++) agrl_jw_i64(&w, e->seeds[s]);
  agrl_jw_end_arr(&w);
  agrl_jw_key(&w, "arms");
  agrl_jw_obj(&w);
  for (size_t a = 0; a < e->n_arms; a++) {
    agrl_jw_key(&w, e->arms[a].name);
    agrl_jw_obj(&w);
    for (size_t i = 0; i < e->arms[a].set.n; i++) agrl_jw_kstr(&w, e->arms[a].set.at[i].key, e->arms[a].set.at[i].value);
    agrl_jw_end_obj(&w);
  }
  agrl_jw_end_obj(&w);
  agrl_jw_key(&w, "splits");
  agrl_jw_obj(&w);
  for (size_t s = 0; s < r->n_splits; s++) {
    agrl_jw_key(&w, r->splits[s]);
    agrl_jw_obj(&w);
    for (int m = 0; m < EXP_MEASURES; m++) {
      agrl_jw_key(&w, exp_measure_keys[m]);
      agrl_jw_arr(&w);
      for (size_t a = 0; a < e->n_arms; a++) arm_json(r, s, m, a, &w);
      agrl_jw_end_arr(&w);
    }
    agrl_jw_end_obj(&w);
  }
  agrl_jw_end_obj(&w);
  agrl_jw_end_obj(&w);
  agrl_buf_addc(out, '\n');
}

// --- plot: dots and intervals of every arm at the left, the rollouts' accuracy over versions at the right ---

static const char *const colors[] = {SVG_BLUE, SVG_ORANGE, SVG_GREEN, SVG_VIOLET, SVG_TEAL, SVG_GREY, "#c2255c", "#5f3dc4"};
static const char *color_of(size_t arm) { return colors[arm % (sizeof colors / sizeof *colors)]; }

static void dots(const exp_results *r, size_t split, svg_panel p, agrl_buf *out) {
  double low = INFINITY, high = -INFINITY;
  for (size_t a = 0; a < r->e->n_arms; a++)
    for (size_t s = 0; s < r->e->n_seeds; s++) {
      low = fmin(low, exp_value(r, split, EXP_MACRO_F1, a, s));
      high = fmax(high, exp_value(r, split, EXP_MACRO_F1, a, s));
    }
  if (!(high > low)) low -= 0.05, high += 0.05;
  p.y_min = fmax(low - 0.1 * (high - low), 0);
  p.y_max = fmin(high + 0.1 * (high - low), 1);
  char title[96];
  snprintf(title, sizeof title, "macro F1, %s", r->splits[split]);
  svg_axes(out, &p, title, NULL, NULL, true);
  double slot = p.w / (double)r->e->n_arms;
  for (size_t a = 0; a < r->e->n_arms; a++) {
    double x = p.x + slot * ((double)a + 0.5);
    exp_mean m = mean_of(r, split, EXP_MACRO_F1, a, false);
    for (size_t s = 0; s < r->e->n_seeds; s++) {
      double v = exp_value(r, split, EXP_MACRO_F1, a, s);
      if (isfinite(v)) svg_rect(out, x - 11, svg_py(&p, v) - 3, 6, 6, 3, SVG_GREY);
    }
    svg_text(out, x, p.y + p.h + 18 + (a % 2 && r->e->n_arms > 5 ? 14 : 0), 11, "middle", SVG_INK, a == r->e->baseline, "%s", r->e->arms[a].name);
    if (!m.n) continue;
    double y = svg_py(&p, m.mean);
    if (m.n > 1) svg_line(out, x, svg_py(&p, fmax(m.low, p.y_min)), x, svg_py(&p, fmin(m.high, p.y_max)), color_of(a), 2, NULL);
    svg_rect(out, x - 5, y - 5, 10, 10, 5, color_of(a));
    svg_text(out, x + 9, y + 4, 11, "start", SVG_INK, false, "%.3f", m.mean);
  }
}

// Mean over seeds of the rollouts' accuracy; versions are counted from 0. Returns how many there are.
static size_t accuracy_curve(const exp_results *r, size_t arm, double **x, double **y) {
  size_t longest = 0, n_seeds = r->e->n_seeds;
  for (size_t s = 0; s < n_seeds; s++) {
    size_t n = r->series[arm * n_seeds + s].n;
    longest = n > longest ? n : longest;
  }
  *x = agrl_xcalloc(longest + 1, sizeof **x);
  *y = agrl_xcalloc(longest + 1, sizeof **y);
  size_t *count = agrl_xcalloc(longest + 1, sizeof *count), versions = 0;
  for (size_t s = 0; s < n_seeds; s++) {
    const ctl_series *series = &r->series[arm * n_seeds + s];
    size_t k = 0;
    for (size_t i = 0; i < series->n; i++) {
      if (!series->points[i].rl) continue;
      if (isfinite(series->points[i].accuracy)) (*y)[k] += series->points[i].accuracy, count[k]++;
      k++;
    }
    versions = k > versions ? k : versions;
  }
  for (size_t k = 0; k < versions; k++) {
    (*x)[k] = (double)k;
    (*y)[k] = count[k] ? (*y)[k] / (double)count[k] : NAN;
  }
  free(count);
  return versions;
}

static void curves(const exp_results *r, svg_panel p, agrl_buf *out) {
  double **x = agrl_xcalloc(2 * r->e->n_arms, sizeof *x), **y = x + r->e->n_arms;
  size_t *n = agrl_xcalloc(r->e->n_arms, sizeof *n);
  p.x_max = 1;
  p.y_max = 1;
  for (size_t a = 0; a < r->e->n_arms; a++) {
    n[a] = accuracy_curve(r, a, &x[a], &y[a]);
    p.x_max = fmax(p.x_max, (double)n[a]);
  }
  svg_axes(out, &p, "Accuracy of rollouts, mean over seeds", "version", NULL, false);
  for (size_t a = 0, shown = 0; a < r->e->n_arms; a++) {
    if (n[a]) {
      svg_series(out, &p, x[a], y[a], n[a], color_of(a));
      svg_rect(out, p.x + p.w + 14, p.y + 6 + 18 * (double)shown, 12, 10, 2, color_of(a));
      svg_text(out, p.x + p.w + 32, p.y + 15 + 18 * (double)shown++, 12, "start", SVG_INK, false, "%s", r->e->arms[a].name);
    }
    free(x[a]);
    free(y[a]);
  }
  free(n);
  free(x);
}

void exp_svg(const exp_results *r, agrl_buf *out) {
  enum { PANEL_H = 300, TOP = 120, LINE = 400 };
  double height = TOP + LINE * (double)(r->n_splits ? r->n_splits : 1) - 10;
  svg_begin(out, 1400, height);
  svg_text(out, 38, 46, 22, "start", SVG_INK, true, "Experiment: %s", r->e->name);
  svg_text(out, 38, 70, 13, "start", SVG_MUTED, false,
           "%zu of %zu runs; grey: one seed; whiskers: 95 %% t interval of the mean over seeds; bold: the baseline", r->n_done,
           r->e->n_arms * r->e->n_seeds);
  for (size_t s = 0; s < r->n_splits; s++)
    dots(r, s, (svg_panel){.x = 82, .y = TOP + LINE * (double)s, .w = 560, .h = PANEL_H, .x_max = 1}, out);
  curves(r, (svg_panel){.x = 730, .y = TOP, .w = 470, .h = PANEL_H}, out);
  svg_end(out);
}
