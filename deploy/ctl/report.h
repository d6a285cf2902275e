// SPDX-License-Identifier: Apache-2.0
// What a run is reported by: evaluations before RL, after it, of the best version and of versions on the way, and the
// training series.
#ifndef AGRL_CTL_REPORT_H
#define AGRL_CTL_REPORT_H

#include "common/base/json.h"
#include "common/conf/config.h"
#include "deploy/ctl/series.h"

typedef struct report_split {  // results of agrl-eval; NULL when not there
  const char *name;            // "eval"
  const agrl_json *before;     // the SFT checkpoint
  const agrl_json *best;       // the best version evaluated while training
  const agrl_json *after;      // the latest checkpoint, or what report.label names
} report_split;

typedef struct report_point {  // a version evaluated while training
  double version, value, low, high, n, epoch;  // macro F1; rows
} report_point;

// Of one split, by version; the SFT checkpoint, where evaluated on as many rows, is version 0. Versions that a fork of the learner
// gave up (common/wire/version.h) are not in it.
typedef struct report_curve {
  char *name;
  report_point *points;
  size_t n;
} report_curve;

enum { REPORT_MAX_SPLITS = 8 };
typedef struct report {
  const agrl_config *config;
  const char *label;  // of what stands last, where that is not the latest checkpoint; else NULL
  ctl_series series;
  size_t n_splits, n_curves, n_docs, n_left_out;
  report_split splits[REPORT_MAX_SPLITS];
  report_curve curves[REPORT_MAX_SPLITS];
  char **left_out;  // names of splits beyond these, of results or curves
  agrl_json *docs[3 * REPORT_MAX_SPLITS];  // owners
} report;

// label: of results under RUN/eval that stand in the place of the latest checkpoint's; NULL: those. Borrowed like config.
agrl_rc report_load(report *r, const agrl_config *config, const char *label, agrl_error *err);
void report_release(report *r);
double report_number(const agrl_json *result, const char *key);             // NaN when absent
bool report_interval(const agrl_json *result, const char *key, double ci[2]);  // key "macro_f1": its 95 % interval
double report_f1(const agrl_json *result, int tier, double ci[2]);  // ci: its interval, NaN when absent; may be NULL
// Mean of a field over the first (from < 0.5) or last tenth of the RL versions.
double report_tenth(const report *r, size_t field_offset, bool last);
// Largest difference of a log-prob of learner and actor at equal version over all RL versions, NaN without any; *n: versions that have one.
double report_gap(const report *r, size_t *n);

void report_text(const report *r, agrl_buf *out);
void report_left_out_text(const report *r, agrl_buf *out);  // a line with the splits beyond REPORT_MAX_SPLITS; nothing without any
void report_json(const report *r, agrl_buf *out);
void report_svg(const report *r, agrl_buf *out);
void report_stability_svg(const report *r, agrl_buf *out);  // entropy, KL, spread of the reward and clipping over the versions
void report_html(const report *r, agrl_buf *out);  // all of it on one self-contained page

#endif
