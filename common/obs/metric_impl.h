// SPDX-License-Identifier: Apache-2.0
// Inside common/obs only: the registry's structs, shared by metric.c and expose.c, and the process metrics.
#ifndef AGRL_OBS_METRIC_IMPL_H
#define AGRL_OBS_METRIC_IMPL_H

#include "common/obs/metric.h"

typedef struct obs_cell {
  _Atomic uint64_t value;     // bits of a double: value, or a histogram's sum
  _Atomic uint64_t *buckets;  // histogram: n_bounds + 1 counts, not cumulative
} obs_cell;

struct agrl_metric {
  agrl_metric *next;
  const agrl_metric_desc *desc;
  size_t n1, n2;
  obs_cell *cells;  // (n1, n2)
};

const agrl_metric *obs_metric_first(void);
void obs_number(agrl_buf *out, double v);  // as the exposition format writes it
void obs_process_expose(agrl_buf *out);

#endif
