// SPDX-License-Identifier: Apache-2.0
// An experiment's plot: for each split, dots and intervals of every arm at the left, macro F1 over the versions (evaluated while
// training) at the right; where nothing was evaluated on the way, the rollouts' accuracy instead, and nothing where there were none.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "deploy/ctl/experiment.h"
#include "deploy/ctl/svg.h"

typedef struct color {
  char text[40];
} color;

// Grey is one seed. More arms than are told apart by name get hues in the order of the rainbow, as neighbours in a grid are neighbours.
static color color_of(const exp_results *r, size_t arm) {
  static const char *const few[] = {SVG_BLUE, SVG_ORANGE, SVG_GREEN, SVG_VIOLET, SVG_TEAL, "#c2255c", "#c99700", "#343a40"};
  color c;
  if (r->e->n_arms <= sizeof few / sizeof *few) snprintf(c.text, sizeof c.text, "%s", few[arm]);
  else snprintf(c.text, sizeof c.text, "hsl(%zu,70%%,%d%%)", 300 * arm / (r->e->n_arms - 1), arm % 2 ? 52 : 36);
  return c;
}

enum { CHAR_W = 7, LEGEND_LINE = 18, DOTS_W = 560 };

static size_t longest_name(const exp_results *r) {
  size_t most = 0;
  for (size_t a = 0; a < r->e->n_arms; a++) most = strlen(r->e->arms[a].name) > most ? strlen(r->e->arms[a].name) : most;
  return most;
}

static double slot_of(const exp_results *r) { return DOTS_W / (double)r->e->n_arms; }

// How names stand under their dots, in degrees: as steep as needed for them not to overlap.
static int slant(const exp_results *r) {
  if ((double)longest_name(r) * CHAR_W <= slot_of(r)) return 0;
  return slot_of(r) >= 22 ? 30 : 90;
}

static void arm_name(const exp_results *r, size_t a, double x, double y, agrl_buf *out) {
  const char *name = r->e->arms[a].name;
  const bool bold = a == r->e->baseline;
  const int degrees = slant(r);
  const double size = fmin(11, slot_of(r));
  if (degrees) svg_slanted(out, degrees == 90 ? x - 0.35 * size : x, y, degrees, size, SVG_INK, bold, name);
  else svg_text(out, x, y, 11, "middle", SVG_INK, bold, "%s", name);
}

// The panel's range: all values and intervals, with a margin.
static void fit(svg_panel *p, double low, double high) {
  if (!(high > low)) low = (isfinite(low) ? low : 0.5) - 0.05, high = low + 0.1;
  p->y_min = fmax(low - 0.1 * (high - low), 0);
  p->y_max = fmin(high + 0.1 * (high - low), 1);
}

static void widen(double v, double *low, double *high) {
  if (!isfinite(v)) return;
  *low = fmin(*low, v);
  *high = fmax(*high, v);
}

static void one_arm(const exp_results *r, size_t split, size_t a, double x, const svg_panel *p, agrl_buf *out) {
  exp_mean m = exp_compare(r, split, EXP_MACRO_F1, a, -1);
  for (size_t s = 0; s < r->e->n_seeds; s++) {
    double v = exp_value(r, split, EXP_MACRO_F1, a, s);
    if (isfinite(v)) svg_rect(out, x - 11, svg_py(p, v) - 3, 6, 6, 3, SVG_GREY);
  }
  arm_name(r, a, x, p->y + p->h + 18, out);
  if (!m.n) return;
  double y = svg_py(p, m.mean);
  color c = color_of(r, a);
  if (m.n > 1) svg_line(out, x, svg_py(p, fmax(m.low, p->y_min)), x, svg_py(p, fmin(m.high, p->y_max)), c.text, 2, NULL);
  svg_rect(out, x - 5, y - 5, 10, 10, 5, c.text);
  if (slot_of(r) > 52) svg_text(out, x + 9, y + 4, 11, "start", SVG_INK, false, "%.3f", m.mean);
}

static void dots(const exp_results *r, size_t split, svg_panel p, agrl_buf *out) {
  double low = INFINITY, high = -INFINITY, slot = slot_of(r);
  for (size_t a = 0; a < r->e->n_arms; a++) {
    exp_mean m = exp_compare(r, split, EXP_MACRO_F1, a, -1);
    widen(m.low, &low, &high);
    widen(m.high, &low, &high);
    for (size_t s = 0; s < r->e->n_seeds; s++) widen(exp_value(r, split, EXP_MACRO_F1, a, s), &low, &high);
  }
  fit(&p, low, high);
  char title[96];
  snprintf(title, sizeof title, "macro F1, %.60s", r->splits[split]);
  svg_axes(out, &p, title, NULL, NULL, true);
  for (size_t a = 0; a < r->e->n_arms; a++) one_arm(r, split, a, p.x + slot * ((double)a + 0.5), &p, out);
}

typedef struct line {
  double *x, *y;
  size_t n;
} line;

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

// Mean over the seeds that have a value there, at every version that some seed was evaluated at.
static line held_out(const exp_results *r, size_t split, size_t arm) {
  line l = {0};
  for (size_t s = 0; s < r->e->n_seeds; s++) {
    const report *run = exp_run(r, arm, s);
    for (size_t i = 0; run && i < run->n_curves; i++)
      for (size_t k = 0; k < run->curves[i].n && !strcmp(run->curves[i].name, r->splits[split]); k++) {
        l.x = agrl_xreallocarray(l.x, l.n + 1, sizeof *l.x);
        l.x[l.n++] = run->curves[i].points[k].version;
      }
  }
  if (!l.n) return l;
  qsort(l.x, l.n, sizeof *l.x, by_value);
  size_t n = 0;
  for (size_t i = 0; i < l.n; i++)
    if (!n || l.x[i] != l.x[n - 1]) l.x[n++] = l.x[i];
  l.n = n;
  l.y = agrl_xcalloc(n, sizeof *l.y);
  for (size_t i = 0; i < n; i++) {
    double sum = 0;
    size_t seeds = 0;
    for (size_t s = 0; s < r->e->n_seeds; s++) {
      double v = exp_curve_at(exp_run(r, arm, s), r->splits[split], l.x[i]);
      if (isfinite(v)) sum += v, seeds++;
    }
    l.y[i] = seeds ? sum / (double)seeds : NAN;
  }
  return l;
}

static line rollouts(const exp_results *r, size_t arm) {
  line l = {0};
  for (size_t s = 0; s < r->e->n_seeds; s++)
    if (exp_run(r, arm, s) && exp_run(r, arm, s)->series.n > l.n) l.n = exp_run(r, arm, s)->series.n;
  l.x = agrl_xcalloc(l.n + 1, sizeof *l.x);
  l.y = agrl_xcalloc(l.n + 1, sizeof *l.y);
  size_t *seeds = agrl_xcalloc(l.n + 1, sizeof *seeds), versions = 0;
  for (size_t s = 0; s < r->e->n_seeds; s++) {
    const report *run = exp_run(r, arm, s);
    size_t k = 0;
    for (size_t i = 0; run && i < run->series.n; i++) {
      if (!run->series.points[i].rl) continue;
      if (isfinite(run->series.points[i].accuracy)) l.y[k] += run->series.points[i].accuracy, seeds[k]++;
      k++;
    }
    versions = k > versions ? k : versions;
  }
  for (size_t k = 0; k < versions; k++) {
    l.x[k] = (double)k;
    l.y[k] = seeds[k] ? l.y[k] / (double)seeds[k] : NAN;
  }
  l.n = versions;
  free(seeds);
  return l;
}

static void draw(const exp_results *r, const line *lines, svg_panel p, const char *title, bool smooth, agrl_buf *out) {
  double low = INFINITY, high = -INFINITY;
  p.x_max = 1;
  for (size_t a = 0; a < r->e->n_arms; a++)
    for (size_t i = 0; i < lines[a].n; i++) {
      widen(lines[a].y[i], &low, &high);
      p.x_max = fmax(p.x_max, lines[a].x[i]);
    }
  fit(&p, low, high);
  svg_axes(out, &p, title, "version", NULL, true);
  for (size_t a = 0, shown = 0; a < r->e->n_arms; a++) {
    if (!lines[a].n) continue;
    color c = color_of(r, a);
    if (smooth) svg_series(out, &p, lines[a].x, lines[a].y, lines[a].n, c.text);
    else svg_points(out, &p, lines[a].x, lines[a].y, NULL, NULL, lines[a].n, c.text);
    svg_rect(out, p.x + p.w + 14, p.y + 6 + LEGEND_LINE * (double)shown, 12, 10, 2, c.text);
    svg_text(out, p.x + p.w + 32, p.y + 15 + LEGEND_LINE * (double)shown++, 12, "start", SVG_INK, false, "%s", r->e->arms[a].name);
  }
}

static void curves(const exp_results *r, size_t split, svg_panel p, agrl_buf *out) {
  line *lines = agrl_xcalloc(r->e->n_arms, sizeof *lines);
  bool any = false;
  for (size_t a = 0; a < r->e->n_arms; a++) {
    lines[a] = held_out(r, split, a);
    any |= lines[a].n > 1;
  }
  char title[96];
  snprintf(title, sizeof title, "macro F1 while training, %.40s, mean over seeds", r->splits[split]);
  bool drawn = any;
  if (!any && split == 0)
    for (size_t a = 0; a < r->e->n_arms; a++) {
      free(lines[a].x);
      free(lines[a].y);
      lines[a] = rollouts(r, a);
      drawn |= lines[a].n > 0;
    }
  if (drawn) draw(r, lines, p, any ? title : "Accuracy of rollouts, mean over seeds", !any, out);
  for (size_t a = 0; a < r->e->n_arms; a++) {
    free(lines[a].x);
    free(lines[a].y);
  }
  free(lines);
}

static bool has_versions(const exp_results *r, size_t arm) {
  for (size_t s = 0; s < r->e->n_seeds; s++) {
    const report *run = exp_run(r, arm, s);
    for (size_t i = 0; run && i < run->series.n; i++)
      if (run->series.points[i].rl) return true;
  }
  return false;
}

void exp_svg(const exp_results *r, agrl_buf *out) {
  enum { PANEL_H = 300, TOP = 120, BELOW = 100, LEGEND_X = 1232, LEGEND_CHARS = 24 };
  size_t longest = longest_name(r);
  double names = (double)longest * CHAR_W * sin(slant(r) * M_PI / 180), legend = 0;  // their height
  for (size_t a = 0; a < r->e->n_arms; a++) legend += has_versions(r, a) ? LEGEND_LINE : 0;
  double row = fmax(PANEL_H + names, legend) + BELOW;
  svg_begin(out, LEGEND_X + 7.0 * (double)(longest > LEGEND_CHARS ? longest : LEGEND_CHARS), TOP + row * (double)(r->n_splits ? r->n_splits : 1) - 10);
  svg_text(out, 38, 46, 22, "start", SVG_INK, true, "Experiment: %s", r->e->name);
  svg_text(out, 38, 70, 13, "start", SVG_MUTED, false,
           "%zu of %zu runs; grey: one seed; whiskers: 95 %% t interval of the mean over seeds; bold: the baseline", r->n_done,
           r->e->n_arms * r->e->n_seeds);
  for (size_t s = 0; s < r->n_splits; s++) {
    dots(r, s, (svg_panel){.x = 82, .y = TOP + row * (double)s, .w = DOTS_W, .h = PANEL_H, .x_max = 1}, out);
    curves(r, s, (svg_panel){.x = 730, .y = TOP + row * (double)s, .w = 470, .h = PANEL_H}, out);
  }
  svg_end(out);
}
