// SPDX-License-Identifier: Apache-2.0
// A small SVG writer for charts: a canvas, panels with axes and grid, lines, bars, legends. Coordinates of marks are data
// values of the panel. Everything is appended to one buffer.
#ifndef AGRL_CTL_SVG_H
#define AGRL_CTL_SVG_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/buf.h"

#define SVG_INK "#1f2933"
#define SVG_MUTED "#616e7c"
#define SVG_BLUE "#1864ab"
#define SVG_GREY "#a9b8c9"
#define SVG_GREEN "#2b8a3e"
#define SVG_ORANGE "#d9480f"
#define SVG_VIOLET "#6741d9"
#define SVG_TEAL "#0b7285"

typedef struct svg_panel {
  double x, y, w, h;            // of the plot area, pixels
  double x_min, x_max, y_min, y_max;
} svg_panel;

void svg_begin(agrl_buf *out, double width, double height);
void svg_end(agrl_buf *out);
// anchor: start, middle, end. text is escaped.
void svg_text(agrl_buf *out, double x, double y, double size, const char *anchor, const char *color, bool bold,
              const char *fmt, ...)
    __attribute__((format(printf, 8, 9)));
void svg_rect(agrl_buf *out, double x, double y, double w, double h, double radius, const char *fill);
void svg_line(agrl_buf *out, double x1, double y1, double x2, double y2, const char *color, double width,
              const char *dash);

// Text turned by so many degrees: below 0 it rises and ends at x, y, else it falls from there; escaped.
void svg_slanted(agrl_buf *out, double x, double y, int degrees, double size, const char *color, bool bold, const char *text);

// A bar of value v, w pixels wide from pixel x on, with the whisker of its interval (ci may be NULL) and the value above where
// the bar is as wide as that. NaN: none.
void svg_bar(agrl_buf *out, const svg_panel *p, double x, double w, double v, const double *ci, const char *color, bool strong);

// Title (may be NULL), grid and ticks; the ranges grow to round numbers when grow is set. x axis only when x_label is not NULL.
void svg_axes(agrl_buf *out, svg_panel *p, const char *title, const char *x_label, const char *y_label, bool grow);
double svg_px(const svg_panel *p, double x);
double svg_py(const svg_panel *p, double y);
// y[i] at x[i]; NaN breaks the line. Faint raw data with a smoothed line over it.
void svg_series(agrl_buf *out, const svg_panel *p, const double *x, const double *y, size_t n, const char *color);
// Points joined by straight lines, each with the whisker of its interval (low, high may be NULL); nothing is smoothed.
void svg_points(agrl_buf *out, const svg_panel *p, const double *x, const double *y, const double *low, const double *high, size_t n,
                const char *color);
// One line that ends at x; a name's first 28 bytes are shown. It is for the caller to keep it clear of the title.
void svg_legend(agrl_buf *out, double x, double y, const char *const *names, const char *const *colors, size_t n);
// Round step for about `wanted` ticks over a range.
double svg_step(double range, int wanted);
// Centred triangular mean over about a fifteenth of the length, so that it does not lag. NaN entries stay out of it.
void svg_smooth(const double *y, double *out, size_t n);

#endif
