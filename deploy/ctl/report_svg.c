// SPDX-License-Identifier: Apache-2.0
// The report's plots, four panels each. Bars before and after RL; reward and rollout accuracy; staleness; guided and
// zero-spread shares. For the page besides, what training is watched by: entropy, KL, spread of the reward, clipping.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/mem.h"
#include "deploy/ctl/report.h"
#include "deploy/ctl/svg.h"

#define WIDTH 1240
#define HEIGHT 850
#define TOP 130       // room for the head
#define PAGE_TOP 60   // without one
#define PANEL_W 510
#define PANEL_H 270

enum { STEP, REWARD, ACCURACY, STALENESS, GUIDED, ZERO_SPREAD, ENTROPY, KL, REWARD_STD, CLIPPED_LOW, CLIPPED_HIGH, N_COLUMNS };

typedef struct columns {  // the RL part of the series
  size_t n;
  double *v[N_COLUMNS];
} columns;

typedef struct lines {  // of one panel over the versions
  const char *title;
  double at_least, at_most;  // the y axis goes to the greatest value within these
  size_t n, which[2];        // columns; the first is drawn on top
  const char *names[2], *colors[2];
} lines;

static columns take_columns(const report *r) {
  columns c = {0};
  for (size_t k = 0; k < N_COLUMNS; k++) c.v[k] = agrl_xcalloc(r->series.n + 1, sizeof(double));
  for (size_t i = 0; i < r->series.n; i++) {
    const ctl_point *p = &r->series.points[i];
    if (!p->rl) continue;
    const double v[N_COLUMNS] = {p->step, p->reward_mean, p->accuracy, p->staleness_mean, p->guided_ratio, p->zero_std_ratio,
                                 p->entropy, p->kl, p->reward_std, p->clip_ratio_low, p->clip_ratio_high};
    for (size_t k = 0; k < N_COLUMNS; k++) c.v[k][c.n] = v[k];
    c.n++;
  }
  return c;
}

static void drop_columns(columns *c) {
  for (size_t k = 0; k < N_COLUMNS; k++) free(c->v[k]);
}

// top: of the first line's plot areas.
static svg_panel panel(int column, int line, double top, const columns *c) {
  svg_panel p = {.x = 82 + column * 600, .y = top + line * 380, .w = PANEL_W, .h = PANEL_H, .y_max = 1};
  p.x_max = c && c->n ? c->v[STEP][c->n - 1] : 1;
  p.x_min = c && c->n ? fmin(c->v[STEP][0], 0) : 0;
  return p;
}

// What the bars are of.
static void caption(const report_split *s, const svg_panel *p, agrl_buf *out) {
  double before = report_number(s->before, "n"), after = report_number(s->after ? s->after : s->before, "n");
  char rows[64];
  if (isfinite(before) && before != after) snprintf(rows, sizeof rows, "%.0f and %.0f", before, after);
  else snprintf(rows, sizeof rows, "%.0f", after);
  svg_text(out, p->x + p->w / 2, p->y + p->h + 36, 11, "middle", SVG_MUTED, false,
           "%s, %s rows; whiskers: 95 %% bootstrap intervals; F1 by tier", s->name, rows);
}

static void bars(const report *r, agrl_buf *out) {
  static const char *const names[] = {"accuracy", "macro F1", "rules held", "F1: 4", "F1: 3", "F1: 2", "F1: 1"};
  static const char *const keys[] = {"accuracy", "macro_f1", "rule_adherence"};
  static const char *const colors[] = {SVG_GREY, SVG_BLUE};
  const char *const legend[] = {"before RL (SFT)", r->label ? r->label : "after RL"};
  const report_split *s = r->n_splits ? &r->splits[0] : NULL;
  svg_panel p = panel(0, 0, TOP, NULL);
  char title[96] = "Held-out quality";
  svg_axes(out, &p, title, NULL, NULL, false);
  svg_legend(out, p.x + p.w + 6, p.y - 22, legend, colors, 2);
  double slot = p.w / 7, w = slot * 0.36;
  for (int i = 0; i < 7; i++) {
    double left = p.x + slot * i + slot * 0.12, ci[2];
    svg_text(out, p.x + slot * (i + 0.5), p.y + p.h + 18, 11, "middle", SVG_INK, false, "%s", names[i]);
    for (int k = 0; k < 2 && s; k++) {
      const agrl_json *result = k ? s->after : s->before;
      double v = i < 3 ? report_number(result, keys[i]) : report_f1(result, 7 - i, NULL);
      bool known = i < 3 ? report_interval(result, keys[i], ci) : isfinite(report_f1(result, 7 - i, ci)) && isfinite(ci[0]);
      svg_bar(out, &p, left + k * (w + 3), w, v, known ? ci : NULL, colors[k], k == 1);
    }
  }
  svg_line(out, p.x + slot * 3, p.y, p.x + slot * 3, p.y + p.h, "#cbd5e0", 1, "3 4");
  if (s) caption(s, &p, out);
  else svg_text(out, p.x + p.w / 2, p.y + p.h / 2, 13, "middle", SVG_MUTED, false, "not evaluated yet");
}

static double greatest(const double *y, size_t n, double at_least) {
  for (size_t i = 0; i < n; i++)
    if (isfinite(y[i])) at_least = fmax(at_least, y[i]);
  return at_least;
}

static bool any_finite(const double *y, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (isfinite(y[i])) return true;
  return false;
}

static void draw(agrl_buf *out, svg_panel p, const columns *c, const lines *l) {
  bool there = false;
  p.y_max = l->at_least;
  for (size_t k = 0; k < l->n; k++) {
    p.y_max = greatest(c->v[l->which[k]], c->n, p.y_max);
    there |= any_finite(c->v[l->which[k]], c->n);
  }
  p.y_max = fmin(l->at_most, p.y_max);
  svg_axes(out, &p, l->title, "version", NULL, true);
  if (l->n > 1) svg_legend(out, p.x + p.w + 6, p.y - 22, l->names, l->colors, l->n);
  for (size_t k = l->n; k-- > 0;) svg_series(out, &p, c->v[STEP], c->v[l->which[k]], c->n, l->colors[k]);
  if (!there) svg_text(out, p.x + p.w / 2, p.y + p.h / 2, 13, "middle", SVG_MUTED, false, "not measured in this run");
}

static void staleness(const report *r, const columns *c, agrl_buf *out) {
  static const char *const names[] = {"mean of the batch"}, *const colors[] = {SVG_TEAL};
  svg_panel p = panel(0, 1, TOP, c);
  double bound = (double)r->config->replay.staleness_bound;
  p.y_max = fmax(greatest(c->v[STALENESS], c->n, 1), bound * 1.1);
  svg_axes(out, &p, "Staleness of trained tokens", "version", "versions", true);
  svg_legend(out, p.x + p.w + 6, p.y - 22, names, colors, 1);
  svg_line(out, p.x, svg_py(&p, bound), p.x + p.w, svg_py(&p, bound), SVG_ORANGE, 1.3, "6 4");
  svg_text(out, p.x + p.w - 4, svg_py(&p, bound) - 6, 11, "end", SVG_ORANGE, false, "bound");
  svg_series(out, &p, c->v[STEP], c->v[STALENESS], c->n, SVG_TEAL);
}

void report_svg(const report *r, agrl_buf *out) {
  static const lines learning = {"Reward and accuracy of rollouts", 0.5, 1, 2, {REWARD, ACCURACY}, {"reward", "rollout accuracy"}, {SVG_BLUE, SVG_GREEN}};
  static const lines shares = {"Share of groups", 0.2, 1, 2, {GUIDED, ZERO_SPREAD}, {"guided", "zero-spread"}, {SVG_ORANGE, SVG_VIOLET}};
  columns c = take_columns(r);
  svg_begin(out, WIDTH, HEIGHT);
  svg_text(out, 38, 46, 22, "start", SVG_INK, true, "Adaptive guided reinforcement learning: %s", r->config->run.name);
  svg_text(out, 38, 70, 13, "start", SVG_MUTED, false,
           "seed %" PRId64 ", %zu RL versions of %" PRId64 " groups x %" PRId64 " rollouts, %" PRId64 " actor%s",
           r->config->run.seed, c.n, r->config->grpo.groups_per_step, r->config->grpo.group_size,
           r->config->actor.count, r->config->actor.count == 1 ? "" : "s");
  bars(r, out);
  draw(out, panel(1, 0, TOP, &c), &c, &learning);
  staleness(r, &c, out);
  draw(out, panel(1, 1, TOP, &c), &c, &shares);
  svg_end(out);
  drop_columns(&c);
}

void report_stability_svg(const report *r, agrl_buf *out) {
  static const lines panels[] = {
      {"Entropy of the policy, nats", 0.1, INFINITY, 1, {ENTROPY}, {NULL}, {SVG_BLUE}},
      {"KL to the reference, nats", 0.01, INFINITY, 1, {KL}, {NULL}, {SVG_ORANGE}},
      {"Standard deviation of the reward in a group", 0.1, INFINITY, 1, {REWARD_STD}, {NULL}, {SVG_GREEN}},
      {"Share of clipped tokens", 0.01, 1, 2, {CLIPPED_LOW, CLIPPED_HIGH}, {"low", "high"}, {SVG_VIOLET, SVG_TEAL}},
  };
  columns c = take_columns(r);
  svg_begin(out, WIDTH, HEIGHT - TOP + PAGE_TOP);
  for (int k = 0; k < 4; k++) draw(out, panel(k % 2, k / 2, PAGE_TOP, &c), &c, &panels[k]);
  svg_end(out);
  drop_columns(&c);
}
