// SPDX-License-Identifier: Apache-2.0
// The report's plot: four panels. Bars before and after RL; reward and rollout accuracy; staleness; guided and
// zero-spread shares, each over the versions.
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "deploy/ctl/report.h"
#include "deploy/ctl/svg.h"

#define WIDTH 1240
#define HEIGHT 850
#define PANEL_W 510
#define PANEL_H 270

typedef struct columns {  // the RL part of the series
  size_t n;
  double *x, *reward, *accuracy, *staleness, *guided, *zero;
} columns;

static columns take_columns(const report *r) {
  columns c = {0};
  double **to[] = {&c.x, &c.reward, &c.accuracy, &c.staleness, &c.guided, &c.zero};
  for (size_t i = 0; i < 6; i++) *to[i] = agrl_xcalloc(r->series.n + 1, sizeof(double));
  for (size_t i = 0; i < r->series.n; i++) {
    const ctl_point *p = &r->series.points[i];
    if (!p->rl) continue;
    const double v[] = {p->step, p->reward_mean, p->accuracy, p->staleness_mean, p->guided_ratio, p->zero_std_ratio};
    for (size_t k = 0; k < 6; k++) (*to[k])[c.n] = v[k];
    c.n++;
  }
  return c;
}

static void drop_columns(columns *c) {
  free(c->x);
  free(c->reward);
  free(c->accuracy);
  free(c->staleness);
  free(c->guided);
  free(c->zero);
}

static svg_panel panel(int column, int line, const columns *c) {
  svg_panel p = {.x = 82 + column * 600, .y = 130 + line * 380, .w = PANEL_W, .h = PANEL_H, .y_max = 1};
  p.x_max = c && c->n ? c->x[c->n - 1] : 1;
  p.x_min = c && c->n ? fmin(c->x[0], 0) : 0;
  return p;
}

static void bars(const report *r, agrl_buf *out) {
  static const char *const names[] = {"accuracy", "macro F1", "rules held", "F1: 4", "F1: 3", "F1: 2", "F1: 1"};
  static const char *const keys[] = {"accuracy", "macro_f1", "rule_adherence"};
  static const char *const colors[] = {SVG_GREY, SVG_BLUE};
  const char *const legend[] = {"before RL (SFT)", r->label ? r->label : "after RL"};
  const report_split *s = r->n_splits ? &r->splits[0] : NULL;
  svg_panel p = panel(0, 0, NULL);
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
  if (s)
    svg_text(out, p.x + p.w / 2, p.y + p.h + 36, 11, "middle", SVG_MUTED, false,
             "%s, %.0f rows; whiskers: 95 %% bootstrap intervals; F1 by tier", s->name,
             report_number(s->after ? s->after : s->before, "n"));
  else svg_text(out, p.x + p.w / 2, p.y + p.h / 2, 13, "middle", SVG_MUTED, false, "not evaluated yet");
}

static double greatest(const double *y, size_t n, double at_least) {
  for (size_t i = 0; i < n; i++)
    if (isfinite(y[i])) at_least = fmax(at_least, y[i]);
  return at_least;
}

static void two_lines(agrl_buf *out, int column, int line, const char *title, const columns *c, const double *a,
                      const double *b, const char *const *names,
                      const char *const *colors, double floor_max) {
  svg_panel p = panel(column, line, c);
  p.y_max = fmin(1, fmax(greatest(a, c->n, floor_max), greatest(b, c->n, floor_max)));
  svg_axes(out, &p, title, "version", NULL, true);
  svg_legend(out, p.x + p.w + 6, p.y - 22, names, colors, 2);
  svg_series(out, &p, c->x, b, c->n, colors[1]);
  svg_series(out, &p, c->x, a, c->n, colors[0]);
}

static void staleness(const report *r, const columns *c, agrl_buf *out) {
  static const char *const names[] = {"mean of the batch"}, *const colors[] = {SVG_TEAL};
  svg_panel p = panel(0, 1, c);
  double bound = (double)r->config->replay.staleness_bound;
  p.y_max = fmax(greatest(c->staleness, c->n, 1), bound * 1.1);
  svg_axes(out, &p, "Staleness of trained tokens", "version", "versions", true);
  svg_legend(out, p.x + p.w + 6, p.y - 22, names, colors, 1);
  svg_line(out, p.x, svg_py(&p, bound), p.x + p.w, svg_py(&p, bound), SVG_ORANGE, 1.3, "6 4");
  svg_text(out, p.x + p.w - 4, svg_py(&p, bound) - 6, 11, "end", SVG_ORANGE, false, "bound");
  svg_series(out, &p, c->x, c->staleness, c->n, SVG_TEAL);
}

void report_svg(const report *r, agrl_buf *out) {
  static const char *const learn[] = {"reward", "rollout accuracy"}, *const learn_colors[] = {SVG_BLUE, SVG_GREEN};
  static const char *const share[] = {"guided", "zero-spread"}, *const share_colors[] = {SVG_ORANGE, SVG_VIOLET};
  columns c = take_columns(r);
  svg_begin(out, WIDTH, HEIGHT);
  svg_text(out, 38, 46, 22, "start", SVG_INK, true, "Adaptive guided reinforcement learning: %s", r->config->run.name);
  svg_text(out, 38, 70, 13, "start", SVG_MUTED, false,
           "seed %" PRId64 ", %zu RL versions of %" PRId64 " groups x %" PRId64 " rollouts, %" PRId64 " actor%s",
           r->config->run.seed, c.n, r->config->grpo.groups_per_step, r->config->grpo.group_size,
           r->config->actor.count, r->config->actor.count == 1 ? "" : "s");
  bars(r, out);
  two_lines(out, 1, 0, "Reward and accuracy of rollouts", &c, c.reward, c.accuracy, learn, learn_colors, 0.5);
  staleness(r, &c, out);
  two_lines(out, 1, 1, "Share of groups", &c, c.guided, c.zero, share, share_colors, 0.2);
  svg_end(out);
  drop_columns(&c);
}
