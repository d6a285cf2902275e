// SPDX-License-Identifier: Apache-2.0
// SVG primitives and chart furniture.
#include "deploy/ctl/svg.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

#define FONT "DejaVu Sans, Segoe UI, Helvetica, Arial, sans-serif"
#define GRID "#e4e9ef"
#define VALUE_WIDTH 22  // of "0.00" at size 10
#define LEGEND_NAME 28

void svg_begin(agrl_buf *out, double width, double height) {
  agrl_buf_addf(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\" "
                "font-family=\"" FONT "\">\n",
                width, height, width, height);
  svg_rect(out, 0, 0, width, height, 0, "#ffffff");
}

void svg_end(agrl_buf *out) { agrl_buf_adds(out, "</svg>\n"); }

static void escape(agrl_buf *out, const char *s) {
  for (; *s; s++) {
    if (*s == '&') agrl_buf_adds(out, "&amp;");
    else if (*s == '<') agrl_buf_adds(out, "&lt;");
    else if (*s == '>') agrl_buf_adds(out, "&gt;");
    else if ((unsigned char)*s >= 32) agrl_buf_addc(out, *s);
  }
}

void svg_text(agrl_buf *out, double x, double y, double size, const char *anchor, const char *color, bool bold,
              const char *fmt, ...) {
  agrl_buf text = {0};
  va_list ap;
  va_start(ap, fmt);
  agrl_buf_vaddf(&text, fmt, ap);
  va_end(ap);
  agrl_buf_addf(out, "<text x=\"%.1f\" y=\"%.1f\" font-size=\"%.4g\" text-anchor=\"%s\" fill=\"%s\"%s>", x, y, size,
                anchor, color,
                bold ? " font-weight=\"bold\"" : "");
  escape(out, text.data ? text.data : "");
  agrl_buf_adds(out, "</text>\n");
  agrl_buf_release(&text);
}

void svg_slanted(agrl_buf *out, double x, double y, int degrees, double size, const char *color, bool bold, const char *text) {
  agrl_buf_addf(out, "<text transform=\"translate(%.1f %.1f) rotate(%d)\" font-size=\"%.4g\" text-anchor=\"%s\" fill=\"%s\"%s>", x, y, degrees, size,
                degrees < 0 ? "end" : "start", color, bold ? " font-weight=\"bold\"" : "");
  escape(out, text);
  agrl_buf_adds(out, "</text>\n");
}

void svg_rect(agrl_buf *out, double x, double y, double w, double h, double radius, const char *fill) {
  agrl_buf_addf(out, "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" rx=\"%.4g\" fill=\"%s\"/>\n", x, y, w,
                h, radius, fill);
}

void svg_line(agrl_buf *out, double x1, double y1, double x2, double y2, const char *color, double width,
              const char *dash) {
  agrl_buf_addf(out, "<line x1=\"%.2f\" y1=\"%.2f\" x2=\"%.2f\" y2=\"%.2f\" stroke=\"%s\" stroke-width=\"%.4g\"", x1,
                y1, x2, y2, color, width);
  if (dash) agrl_buf_addf(out, " stroke-dasharray=\"%s\"", dash);
  agrl_buf_adds(out, "/>\n");
}

double svg_step(double range, int wanted) {
  if (!(range > 0) || !isfinite(range)) return 1;
  double raw = range / wanted, unit = pow(10, floor(log10(raw))), f = raw / unit;
  return unit * (f < 1.5 ? 1 : f < 3.5 ? 2 : f < 7.5 ? 5 : 10);
}

double svg_px(const svg_panel *p, double x) { return p->x + (x - p->x_min) / (p->x_max - p->x_min) * p->w; }
double svg_py(const svg_panel *p, double y) { return p->y + p->h - (y - p->y_min) / (p->y_max - p->y_min) * p->h; }

void svg_axes(agrl_buf *out, svg_panel *p, const char *title, const char *x_label, const char *y_label, bool grow) {
  double step = svg_step(p->y_max - p->y_min, 5);
  if (grow) {
    p->y_min = floor(p->y_min / step + 1e-9) * step;
    p->y_max = ceil(p->y_max / step - 1e-9) * step;
  }
  if (p->y_max <= p->y_min) p->y_max = p->y_min + 1;
  if (p->x_max <= p->x_min) p->x_max = p->x_min + 1;
  if (title) svg_text(out, p->x - 44, p->y - 22, 15, "start", SVG_INK, true, "%s", title);
  int decimals = step >= 1 ? 0 : step >= 0.1 ? 1 : step >= 0.01 ? 2 : 3;
  for (double v = ceil(p->y_min / step - 1e-9) * step; v <= p->y_max + step * 1e-6; v += step) {
    svg_line(out, p->x, svg_py(p, v), p->x + p->w, svg_py(p, v), GRID, 1, NULL);
    svg_text(out, p->x - 8, svg_py(p, v) + 4, 11, "end", SVG_MUTED, false, "%.*f", decimals,
             fabs(v) < step * 1e-6 ? 0 : v);
  }
  svg_line(out, p->x, p->y + p->h, p->x + p->w, p->y + p->h, SVG_MUTED, 1.2, NULL);
  if (y_label)
    agrl_buf_addf(out, "<text transform=\"translate(%.1f %.1f) rotate(-90)\" font-size=\"11\" text-anchor=\"middle\" "
                  "fill=\"%s\">%s</text>\n", p->x - 38,
                  p->y + p->h / 2, SVG_MUTED, y_label);
  if (!x_label) return;
  double x_range = p->x_max - p->x_min, x_step = svg_step(x_range, 7);
  if (x_range > 1) x_step = fmax(x_step, 1);
  for (double v = ceil(p->x_min / x_step) * x_step; v <= p->x_max + x_step * 1e-6; v += x_step) {
    svg_line(out, svg_px(p, v), p->y + p->h, svg_px(p, v), p->y + p->h + 4, SVG_MUTED, 1.2, NULL);
    svg_text(out, svg_px(p, v), p->y + p->h + 18, 11, "middle", SVG_MUTED, false, "%.*f", x_step < 1 ? 1 : 0, v);
  }
  svg_text(out, p->x + p->w / 2, p->y + p->h + 36, 11, "middle", SVG_MUTED, false, "%s", x_label);
}

static void polyline(agrl_buf *out, const svg_panel *p, const double *x, const double *y, size_t n, const char *color,
                     double width, double opacity) {
  bool open = false;
  for (size_t i = 0; i <= n; i++) {
    bool there = i < n && isfinite(y[i]);
    if (there && !open)
      agrl_buf_addf(out, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"%.4g\" stroke-opacity=\"%.4g\" "
                    "stroke-linejoin=\"round\" points=\"", color, width, opacity);
    if (there) agrl_buf_addf(out, "%.1f,%.1f ", svg_px(p, x[i]), svg_py(p, fmin(fmax(y[i], p->y_min), p->y_max)));
    if (!there && open) agrl_buf_adds(out, "\"/>\n");
    open = there;
  }
}

void svg_smooth(const double *y, double *out, size_t n) {
  size_t radius = n / 30 > 2 ? n / 30 : 2;
  for (size_t i = 0; i < n; i++) {
    double sum = 0, weight = 0;
    for (size_t j = i > radius ? i - radius : 0; j < n && j <= i + radius; j++) {
      double w = 1 - (double)(j > i ? j - i : i - j) / (double)(radius + 1);
      if (isfinite(y[j])) sum += w * y[j], weight += w;
    }
    out[i] = isfinite(y[i]) ? sum / weight : NAN;
  }
}

void svg_series(agrl_buf *out, const svg_panel *p, const double *x, const double *y, size_t n, const char *color) {
  if (!n) return;
  double *smooth = agrl_xcalloc(n, sizeof *smooth);
  svg_smooth(y, smooth, n);
  polyline(out, p, x, y, n, color, 1, 0.28);
  polyline(out, p, x, smooth, n, color, 2.4, 1);
  free(smooth);
}

static void whisker(agrl_buf *out, const svg_panel *p, double x, double low, double high, const char *color) {
  double a = svg_py(p, low), b = svg_py(p, high);
  svg_line(out, x, a, x, b, color, 1.1, NULL);
  svg_line(out, x - 3.5, a, x + 3.5, a, color, 1.1, NULL);
  svg_line(out, x - 3.5, b, x + 3.5, b, color, 1.1, NULL);
}

void svg_bar(agrl_buf *out, const svg_panel *p, double x, double w, double v, const double *ci, const char *color, bool strong) {
  if (!isfinite(v)) return;
  double top = svg_py(p, v), mark = top;
  svg_rect(out, x, top, w, p->y + p->h - top, 2.5, color);
  if (p->y + p->h - top > 6) svg_rect(out, x, p->y + p->h - 3, w, 3, 0, color);  // square feet on the axis
  if (ci && isfinite(ci[0]) && isfinite(ci[1])) {
    whisker(out, p, x + w / 2, ci[0], ci[1], SVG_INK);
    mark = svg_py(p, ci[1]);
  }
  if (w >= VALUE_WIDTH) svg_text(out, x + w / 2, mark - 5, 10, "middle", strong ? SVG_INK : SVG_MUTED, strong, "%.2f", v);
}

void svg_points(agrl_buf *out, const svg_panel *p, const double *x, const double *y, const double *low, const double *high, size_t n,
                const char *color) {
  polyline(out, p, x, y, n, color, 1.8, 1);
  for (size_t i = 0; i < n; i++) {
    if (!isfinite(y[i])) continue;
    if (low && high && isfinite(low[i]) && isfinite(high[i])) whisker(out, p, svg_px(p, x[i]), low[i], high[i], color);
    agrl_buf_addf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.2\" fill=\"%s\"/>\n", svg_px(p, x[i]), svg_py(p, y[i]), color);
  }
}

void svg_legend(agrl_buf *out, double x, double y, const char *const *names, const char *const *colors, size_t n) {
  for (size_t i = n; i-- > 0;) {  // right-aligned at x
    bool whole = strlen(names[i]) <= LEGEND_NAME;
    x -= 7.0 * (double)(whole ? strlen(names[i]) : LEGEND_NAME + 1);
    svg_text(out, x, y, 12, "start", SVG_INK, false, "%.*s%s", LEGEND_NAME, names[i], whole ? "" : "\u2026");
    x -= 18;
    svg_rect(out, x, y - 9, 12, 10, 2, colors[i]);
    x -= 16;
  }
}
