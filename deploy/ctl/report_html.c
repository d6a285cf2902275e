// SPDX-License-Identifier: Apache-2.0
// The report as one self-contained page: measures with intervals, bars by tier and query type, a table of the types, confusion,
// calibration, pass@k, the curve of versions evaluated while training, and the training plots.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "deploy/ctl/html.h"
#include "deploy/ctl/report.h"
#include "deploy/ctl/svg.h"

#define W 596  // two beside each other fit a window of 1280
#define H 360
enum { N_SHOWN = 3, MAX_BARS = 20, MAX_POINTS = 64, NARROW_GROUPS = 8, LABEL_COLUMNS = 18 };
static const char *const names[N_SHOWN] = {"before RL (SFT)", "best version", "after RL"};
static const char *const colors[N_SHOWN] = {SVG_GREY, SVG_TEAL, SVG_BLUE};

static const char css[] =
    ".flow{display:flex;flex-wrap:wrap;gap:18px}.conf td{text-align:right;min-width:52px;font-variant-numeric:tabular-nums}\n"
    ".conf caption{text-align:left;font-weight:600;padding-bottom:4px}\n";

typedef struct shown {  // of one split: what is there of before, best, after
  size_t n;
  const agrl_json *results[N_SHOWN];
  const char *names[N_SHOWN], *colors[N_SHOWN];
} shown;

static shown shown_of(const report_split *s, const char *label) {
  const agrl_json *const all[N_SHOWN] = {s->before, s->best, s->after};
  shown o = {0};
  for (int i = 0; i < N_SHOWN; i++) {
    if (!all[i]) continue;
    o.results[o.n] = all[i];
    o.names[o.n] = all[i] == s->after && label ? label : names[i];
    o.colors[o.n++] = colors[i];
  }
  return o;
}

static const agrl_json *inside(const agrl_json *result, const char *path) { return path ? agrl_json_get(result, path) : result; }

// --- tables ---

static void number_cell(agrl_buf *out, double v, const double *ci) {
  if (!isfinite(v)) agrl_buf_adds(out, "<td class=\"n muted\">-</td>");
  else if (ci && isfinite(ci[0])) agrl_buf_addf(out, "<td class=\"n\">%.3f <span class=\"muted\">[%.3f, %.3f]</span></td>", v, ci[0], ci[1]);
  else agrl_buf_addf(out, "<td class=\"n\">%.3f</td>", v);
}

static void key_row(agrl_buf *out, const shown *o, const char *name, const char *path, const char *key) {
  double ci[2];
  agrl_buf_adds(out, "<tr><td>");
  html_text(out, name);
  agrl_buf_adds(out, "</td>");
  for (size_t i = 0; i < o->n; i++) {
    const agrl_json *r = inside(o->results[i], path);
    number_cell(out, report_number(r, key), report_interval(r, key, ci) ? ci : NULL);
  }
  agrl_buf_adds(out, "</tr>\n");
}

static void count_cell(agrl_buf *out, double n) {
  if (isfinite(n)) agrl_buf_addf(out, "<td class=\"n\">%.0f</td>", n);
  else agrl_buf_adds(out, "<td class=\"n muted\">-</td>");
}

// Rows of each result; nothing where no result has at least so many.
static void count_row(agrl_buf *out, const shown *o, const char *name, const char *path, const char *key, double least) {
  double most = NAN;
  for (size_t i = 0; i < o->n; i++) most = fmax(most, report_number(inside(o->results[i], path), key));
  if (!(most >= least)) return;
  agrl_buf_addf(out, "<tr><td>%s</td>", name);
  for (size_t i = 0; i < o->n; i++) count_cell(out, report_number(inside(o->results[i], path), key));
  agrl_buf_adds(out, "</tr>\n");
}

static void measures_table(const shown *o, agrl_buf *out) {
  static const struct { const char *name, *path, *key; } rows[] = {
      {"macro F1", NULL, "macro_f1"}, {"accuracy", NULL, "accuracy"}, {"Good F1 (tiers 4 and 3)", NULL, "good_f1"},
      {"rule adherence", NULL, "rule_adherence"}, {"well-formed traces", NULL, "format_rate"},
      {"label-chain conflicts", NULL, "inconsistent_rate"}, {"NDCG@10 of the tier score", NULL, "ndcg10"},
      {"macro F1 of the likeliest tier token", "argmax", "macro_f1"}, {"expected calibration error", "calibration", "ece"},
      {"Brier score", "calibration", "brier"}, {"log loss, nats", "calibration", "log_loss"},
      {"three classes by one threshold, macro F1", "threshold", "macro_f1"}, {"the traces' tiers on the same rows", "threshold", "trace_macro_f1"},
      {"threshold b", "threshold", "b"},
  };
  agrl_buf_adds(out, "<table>\n<tr><th></th>");
  for (size_t i = 0; i < o->n; i++)
    agrl_buf_addf(out, "<th class=\"n\">%s, version %.0f</th>", o->names[i], report_number(o->results[i], "version"));
  agrl_buf_adds(out, "</tr>\n");
  count_row(out, o, "rows", NULL, "n", 0);
  count_row(out, o, "malformed rows, not evaluated", NULL, "malformed", 1);
  count_row(out, o, "rows too long for the model's context, left out", NULL, "skipped", 1);
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) key_row(out, o, rows[i].name, rows[i].path, rows[i].key);
  count_row(out, o, "rows that chose b", "threshold", "dev_n", 0);
  agrl_buf_adds(out, "</table>\n");
  const char *chosen_on = NULL;
  if (agrl_json_str(agrl_json_get(agrl_json_get(o->results[o->n - 1], "threshold"), "chosen_on"), &chosen_on, NULL)) {
    agrl_buf_adds(out, "<p class=\"muted\">The threshold was chosen on: ");
    html_text(out, chosen_on);
    agrl_buf_adds(out, "; its figures above are of the others.</p>\n");
  }
}

static void confusion_table(const agrl_json *result, const char *name, agrl_buf *out) {
  const agrl_json *c = agrl_json_get(result, "confusion"), *u = agrl_json_get(result, "unreadable");
  agrl_buf_addf(out, "<table class=\"conf\"><caption>%s</caption>\n<tr><th>gold \\ stated</th><th class=\"n\">4</th><th class=\"n\">3</th>"
                "<th class=\"n\">2</th><th class=\"n\">1</th><th class=\"n\">unreadable</th></tr>\n", name);
  for (size_t g = 4; g-- > 0;) {
    double n[5] = {0}, sum = 0;
    for (size_t p = 0; p < 4; p++) agrl_json_f64(agrl_json_at(agrl_json_at(c, g), p), &n[p]);
    agrl_json_f64(agrl_json_at(u, g), &n[4]);
    for (int p = 0; p < 5; p++) sum += n[p];
    agrl_buf_addf(out, "<tr><th>%zu</th>", g + 1);
    for (int k = 0; k < 5; k++) {
      size_t p = k < 4 ? 3 - (size_t)k : 4;
      agrl_buf_addf(out, "<td style=\"background:rgba(%s,%.2f)\">%.0f</td>", p == g ? "24,100,171" : "217,72,15", sum > 0 ? 0.75 * n[p] / sum : 0, n[p]);
    }
    agrl_buf_adds(out, "</tr>\n");
  }
  agrl_buf_adds(out, "</table>\n");
}

// --- plots ---

// width; below: pixels under the plot area. The legend has a line of its own below the title.
static svg_panel plot_sized(agrl_buf *out, double width, double below, const char *title, const char *x_label, const char *y_label, double x_max,
                            const shown *o) {
  svg_panel p = {.x = 70, .y = 72, .w = width - 100, .h = H - 132, .x_max = x_max, .y_max = 1};
  svg_begin(out, width, p.y + p.h + below);
  svg_text(out, p.x - 44, 22, 15, "start", SVG_INK, true, "%s", title);
  svg_axes(out, &p, NULL, x_label, y_label, false);
  svg_legend(out, p.x + p.w + 6, 46, o->names, o->colors, o->n);
  return p;
}

static svg_panel plot(agrl_buf *out, const char *title, const char *x_label, const char *y_label, double x_max, const shown *o) {
  return plot_sized(out, W, 60, title, x_label, y_label, x_max, o);
}

// Bytes of the text's longest beginning of at most `most` columns, whose number goes to *used. What is not ASCII counts as wide.
static size_t in_columns(const char *text, size_t most, size_t *used) {
  size_t len = 0;
  for (*used = 0; text[len];) {
    size_t wide = (unsigned char)text[len] < 128 ? 1 : 2, n = 1;
    while (((unsigned char)text[len + n] & 0xc0) == 0x80) n++;
    if (*used + wide > most) break;
    *used += wide;
    len += n;
  }
  return len;
}

// Under a group there is room for so much of its name; free().
static char *label_of(const char *name) {
  agrl_buf b = {0};
  size_t used;
  agrl_buf_add_visible(&b, name, strlen(name));
  agrl_buf_adds(&b, "");  // so that there is a text, if the name is none
  size_t len = in_columns(b.data, LABEL_COLUMNS, &used), whole = b.len;
  for (b.len = len; b.len && b.data[b.len - 1] == ' ';) b.len--;
  if (len < whole) agrl_buf_adds(&b, "\u2026");
  return agrl_buf_take(&b);
}

static double text_width(const char *text) {  // at size 11
  size_t columns;
  in_columns(text, SIZE_MAX, &columns);
  return 6.8 * (double)columns;
}

// Bars of one value in groups, one group for each name. Many take a wider plot, names wider than their group are slanted.
static void groups(agrl_buf *out, const char *title, const shown *o, const char *const *names_of, size_t n, double v[][N_SHOWN], double ci[][N_SHOWN][2]) {
  const double width = n > NARROW_GROUPS ? 2 * W : W, slot = (width - 100) / (double)n, w = fmin(slot * 0.8 / (double)o->n - 3, 46);
  char *labels[MAX_BARS];
  double widest = 0;
  for (size_t i = 0; i < n; i++) widest = fmax(widest, text_width(labels[i] = label_of(names_of[i])));
  const bool slanted = widest > slot - 4;
  svg_panel p = plot_sized(out, width, slanted ? 30 + 0.71 * widest : 60, title, NULL, NULL, 1, o);
  for (size_t i = 0; i < n; i++) {
    double middle = p.x + slot * ((double)i + 0.5), left = middle - (w + 3) * (double)o->n / 2;
    if (slanted) svg_slanted(out, middle + 4, p.y + p.h + 16, -45, 11, SVG_INK, false, labels[i]);
    else svg_text(out, middle, p.y + p.h + 18, 11, "middle", SVG_INK, false, "%s", labels[i]);
    free(labels[i]);
    for (size_t k = 0; k < o->n; k++) svg_bar(out, &p, left + (double)k * (w + 3), w, v[i][k], ci[i][k], o->colors[k], k + 1 == o->n);
  }
  svg_end(out);
}

static void tier_bars(const shown *o, agrl_buf *out) {
  static const char *const labels[] = {"macro", "tier 4", "tier 3", "tier 2", "tier 1"};
  double v[5][N_SHOWN], ci[5][N_SHOWN][2];
  for (size_t k = 0; k < o->n; k++) {
    v[0][k] = report_number(o->results[k], "macro_f1");
    if (!report_interval(o->results[k], "macro_f1", ci[0][k])) ci[0][k][0] = NAN;
    for (int t = 4; t >= 1; t--) v[5 - t][k] = report_f1(o->results[k], t, ci[5 - t][k]);
  }
  groups(out, "F1 by tier", o, labels, 5, v, ci);
}

static void type_bars(const shown *o, agrl_buf *out) {
  const char *labels[MAX_BARS];
  double v[MAX_BARS][N_SHOWN], ci[MAX_BARS][N_SHOWN][2];
  size_t n = 0;
  const agrl_json *types = agrl_json_get(o->results[o->n - 1], "by_type");
  for (void *it = agrl_json_first(types); it && n < MAX_BARS; it = agrl_json_next(types, it), n++) {
    labels[n] = agrl_json_key(it);
    for (size_t k = 0; k < o->n; k++) {
      const agrl_json *part = agrl_json_get(agrl_json_get(o->results[k], "by_type"), labels[n]);
      v[n][k] = report_number(part, "macro_f1");
      if (!report_interval(part, "macro_f1", ci[n][k])) ci[n][k][0] = NAN;
    }
  }
  if (n) groups(out, "Macro F1 by query type", o, labels, n, v, ci);
}

// One row for each type and result.
static void types_table(const shown *o, agrl_buf *out) {
  static const char *const keys[] = {"macro_f1", "accuracy", "rule_adherence"};
  const agrl_json *types = agrl_json_get(o->results[o->n - 1], "by_type");
  agrl_buf_adds(out, "<table>\n<tr><th>query type</th><th></th><th class=\"n\">rows</th><th class=\"n\">macro F1</th><th class=\"n\">accuracy</th>"
                     "<th class=\"n\">rule adherence</th></tr>\n");
  for (void *it = agrl_json_first(types); it; it = agrl_json_next(types, it))
    for (size_t k = 0; k < o->n; k++) {
      const agrl_json *part = agrl_json_get(agrl_json_get(o->results[k], "by_type"), agrl_json_key(it));
      agrl_buf_adds(out, "<tr>");
      if (k == 0) {
        agrl_buf_addf(out, "<td rowspan=\"%zu\">", o->n);
        html_text(out, agrl_json_key(it));
        agrl_buf_adds(out, "</td>");
      }
      agrl_buf_addf(out, "<td class=\"muted\">%s</td>", o->names[k]);
      count_cell(out, report_number(part, "n"));
      for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        double ci[2];
        number_cell(out, report_number(part, keys[i]), report_interval(part, keys[i], ci) ? ci : NULL);
      }
      agrl_buf_adds(out, "</tr>\n");
    }
  agrl_buf_adds(out, "</table>\n");
  double more = report_number(o->results[o->n - 1], "types_left_out");
  if (more > 0) agrl_buf_addf(out, "<p class=\"note\">Left out: %.0f more query types.</p>\n", more);
}

static void reliability(const shown *o, agrl_buf *out) {
  svg_panel p = plot(out, "Calibration of the tier score", "probability of the likeliest tier", "accuracy", 1, o);
  svg_line(out, svg_px(&p, 0), svg_py(&p, 0), svg_px(&p, 1), svg_py(&p, 1), SVG_MUTED, 1, "5 4");
  for (size_t k = 0; k < o->n; k++) {
    const agrl_json *bins = agrl_json_get(agrl_json_get(o->results[k], "calibration"), "bins");
    double x[MAX_POINTS], y[MAX_POINTS];
    size_t n = 0;
    for (size_t b = 0; b < agrl_json_len(bins) && n < MAX_POINTS; b++) {
      const agrl_json *bin = agrl_json_at(bins, b);
      if (!(report_number(bin, "n") >= 5)) continue;  // fewer rows say nothing
      x[n] = report_number(bin, "confidence");
      y[n++] = report_number(bin, "accuracy");
    }
    svg_points(out, &p, x, y, NULL, NULL, n, o->colors[k]);
  }
  svg_end(out);
}

static void pass_curve(const shown *o, agrl_buf *out) {
  size_t longest = 0;
  for (size_t k = 0; k < o->n; k++) longest = fmax(longest, agrl_json_len(agrl_json_get(o->results[k], "pass_at_k")));
  if (!longest) return;
  svg_panel p = plot(out, "pass@k", "k", "share of rows", (double)longest, o);
  for (size_t k = 0; k < o->n; k++) {
    const agrl_json *a = agrl_json_get(o->results[k], "pass_at_k");
    double x[MAX_POINTS], y[MAX_POINTS], low[MAX_POINTS], high[MAX_POINTS], ci[2];
    size_t n = 0;
    for (; n < agrl_json_len(a) && n < MAX_POINTS; n++) {
      const agrl_json *point = agrl_json_at(a, n);
      x[n] = report_number(point, "k");
      y[n] = report_number(point, "value");
      low[n] = high[n] = NAN;
      if (report_interval(point, "value", ci)) low[n] = ci[0], high[n] = ci[1];
    }
    svg_points(out, &p, x, y, low, high, n, o->colors[k]);
  }
  svg_end(out);
}

static void curve_plot(const report_curve *c, agrl_buf *out) {
  double *v = agrl_xcalloc(4 * c->n, sizeof *v), *x = v, *y = v + c->n, *low = y + c->n, *high = low + c->n;
  svg_panel p = {.x = 70, .y = 72, .w = 2 * W - 100, .h = H - 132, .y_min = 1};
  for (size_t i = 0; i < c->n; i++) {
    x[i] = c->points[i].version, y[i] = c->points[i].value, low[i] = c->points[i].low, high[i] = c->points[i].high;
    p.x_max = fmax(p.x_max, x[i]);
    p.y_min = fmin(p.y_min, fmin(y[i], low[i]));
    p.y_max = fmax(p.y_max, fmax(y[i], high[i]));
  }
  char *title = agrl_xasprintf("Macro F1 on %s", c->name);
  svg_begin(out, 2 * W, H);
  svg_axes(out, &p, title, "version", NULL, true);
  svg_points(out, &p, x, y, low, high, c->n, SVG_TEAL);
  svg_end(out);
  free(title);
  free(v);
}

// --- the page ---

static void types_html(const shown *o, agrl_buf *out) {
  if (!agrl_json_first(agrl_json_get(o->results[o->n - 1], "by_type"))) return;
  agrl_buf_adds(out, "<h3>Query types</h3>\n<div class=\"flow\">\n");
  type_bars(o, out);
  types_table(o, out);
  agrl_buf_adds(out, "</div>\n");
}

static void training_html(const report *r, agrl_buf *out) {
  size_t n;
  double gap = report_gap(r, &n);
  agrl_buf_adds(out, "<h2>Training</h2>\n");
  report_svg(r, out);
  report_stability_svg(r, out);
  if (n)
    agrl_buf_addf(out, "<p class=\"muted\">Largest difference of log-probs of learner and actors at equal version: %g nats (versions that have such tokens: %zu).</p>\n",
                  gap, n);
}

static void split_html(const report_split *s, const char *label, agrl_buf *out) {
  shown o = shown_of(s, label);
  if (!o.n) return;
  agrl_buf_adds(out, "<h2>");
  html_text(out, s->name);
  agrl_buf_adds(out, ": held-out rows</h2>\n");
  measures_table(&o, out);
  if (s->best)
    agrl_buf_adds(out, "<p class=\"note\">The best version was chosen by its macro F1 on rows of data.dev, or where none is set on the first "
                  "held-out file: on these its figure flatters it.</p>\n");
  agrl_buf_adds(out, "<div class=\"flow\">\n");
  tier_bars(&o, out);
  reliability(&o, out);
  pass_curve(&o, out);
  agrl_buf_adds(out, "</div>\n");
  types_html(&o, out);
  agrl_buf_adds(out, "<h3>Confusion</h3>\n<div class=\"flow\">\n");
  for (size_t i = 0; i < o.n; i++) confusion_table(o.results[i], o.names[i], out);
  agrl_buf_adds(out, "</div>\n");
}

void report_html(const report *r, agrl_buf *out) {
  char *title = agrl_xasprintf("agrl report: %s", r->config->run.name);
  html_begin(out, title, css);
  agrl_buf_adds(out, "<h1>");
  html_text(out, title);
  agrl_buf_addf(out, "</h1>\n<p class=\"muted\">seed %" PRId64 ", run directory ", r->config->run.seed);
  html_text(out, r->config->run.dir);
  agrl_buf_adds(out, "; brackets and whiskers are 95 % bootstrap intervals</p>\n");
  for (size_t i = 0; i < r->n_splits; i++) split_html(&r->splits[i], r->label, out);
  if (r->n_left_out) {
    agrl_buf_adds(out, "<p class=\"note\">");
    agrl_buf line = {0};
    report_left_out_text(r, &line);
    html_text(out, line.data);
    agrl_buf_release(&line);
    agrl_buf_adds(out, "</p>\n");
  }
  if (!r->n_splits) agrl_buf_adds(out, "<p>Not evaluated yet: agrlctl report --evaluate.</p>\n");
  if (r->n_curves) agrl_buf_adds(out, "<h2>Versions evaluated while training</h2>\n");
  for (size_t i = 0; i < r->n_curves; i++) curve_plot(&r->curves[i], out);
  if (r->series.n) training_html(r, out);
  html_end(out);
  free(title);
}
