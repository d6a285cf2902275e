// SPDX-License-Identifier: Apache-2.0
// The progress view of a running job: on a terminal one block that is redrawn in place, otherwise a plain line every 5 s.
// Its source is the learner's metrics.jsonl.
#ifndef AGRL_CTL_VIEW_H
#define AGRL_CTL_VIEW_H

#include "common/base/buf.h"
#include "common/conf/config.h"
#include "deploy/ctl/series.h"

typedef struct ctl_view {
  const agrl_config *config;
  char *metrics_path;
  ctl_series series;
  bool terminal, stopping, quiet;
  size_t lines;           // of the block on the screen
  uint64_t drawn_ns, started_ns;
  size_t actors_running, actors_wanted;
  unsigned restarts;
} ctl_view;

void ctl_view_init(ctl_view *v, const agrl_config *config);
void ctl_view_output_changed(ctl_view *v);  // standard output was redirected: is it still a terminal?
void ctl_view_release(ctl_view *v);
void ctl_view_refresh(ctl_view *v);             // reads new metrics
void ctl_view_quiet(ctl_view *v);               // draws no more
void ctl_view_draw(ctl_view *v, bool at_once);  // rate-limited unless at_once
void ctl_view_say(ctl_view *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));  // a line above the block
// Text of the block (terminal) or of the plain line. For draw and for tests.
void ctl_view_block(const ctl_view *v, int width, agrl_buf *out);
void ctl_view_line(const ctl_view *v, agrl_buf *out);
// Steps a second and seconds left of the phase the series is in; NaN when unknown.
double ctl_series_rate(const ctl_series *s);
void ctl_duration_text(double seconds, char out[32]);

#endif
