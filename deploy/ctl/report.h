// SPDX-License-Identifier: Apache-2.0
// What a run is reported by: evaluations before and after RL, and the training series.
#ifndef AGRL_CTL_REPORT_H
#define AGRL_CTL_REPORT_H

#include "common/base/json.h"
#include "common/conf/config.h"
#include "deploy/ctl/series.h"

typedef struct report_split {
  const char *name;         // "eval"
  const agrl_json *before;  // results of agrl-eval: the SFT checkpoint; NULL when not there
  const agrl_json *after;   // the latest checkpoint
} report_split;

enum { REPORT_MAX_SPLITS = 8 };
typedef struct report {
  const agrl_config *config;
  ctl_series series;
  size_t n_splits, n_docs;
  report_split splits[REPORT_MAX_SPLITS];
  agrl_json *docs[2 * REPORT_MAX_SPLITS];  // owners
} report;

agrl_rc report_load(report *r, const agrl_config *config, agrl_error *err);
void report_release(report *r);
double report_number(const agrl_json *result, const char *key);             // NaN when absent
bool report_interval(const agrl_json *result, const char *key, double ci[2]);  // key "macro_f1": its 95 % interval
double report_f1(const agrl_json *result, int tier);
// Mean of a field over the first (from < 0.5) or last tenth of the RL versions.
double report_tenth(const report *r, size_t field_offset, bool last);

void report_text(const report *r, agrl_buf *out);
void report_json(const report *r, agrl_buf *out);
void report_svg(const report *r, agrl_buf *out);

#endif
