// SPDX-License-Identifier: Apache-2.0
// Metric registry and Prometheus text exposition (0.0.4). Descriptors are static tables; label values come from closed sets.
// Updates are atomic and may come from any thread; registration and exposition from the loop thread. Gauges start as NaN
// (undefined), counters at 0.
#ifndef AGRL_OBS_METRIC_H
#define AGRL_OBS_METRIC_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"

typedef enum { AGRL_COUNTER, AGRL_GAUGE, AGRL_HISTOGRAM } agrl_metric_type;

typedef struct agrl_metric agrl_metric;

// label: NULL or the one label's name; values: its closed set, NULL-terminated ("eos","length",NULL).
// label2/values2: an optional second label. bounds: histogram upper bounds ascending (n_bounds), +Inf is implied.
typedef struct agrl_metric_desc {
  const char *name, *help;
  agrl_metric_type type;
  const char *label;
  const char *const *values;
  const char *label2;
  const char *const *values2;
  const double *bounds;
  size_t n_bounds;
} agrl_metric_desc;

agrl_metric *agrl_metric_register(const agrl_metric_desc *d);  // d is borrowed; the same name twice is a bug
// index: position in values (0 without labels); with two labels: i * n_values2 + j.
void agrl_metric_add(agrl_metric *m, size_t index, double v);      // counter (v >= 0) or gauge
void agrl_metric_set(agrl_metric *m, size_t index, double v);      // gauge
void agrl_metric_observe(agrl_metric *m, size_t index, double v);  // histogram
double agrl_metric_get(const agrl_metric *m, size_t index);        // counter/gauge value; histogram: sum
uint64_t agrl_metric_count(const agrl_metric *m, size_t index);    // histogram observations
void agrl_metrics_expose(agrl_buf *out);                           // all registered, plus process_*
void agrl_metrics_reset(void);                                     // tests: forgets every registration

// Bucket sets.
extern const double agrl_buckets_seconds[];  // 1 ms .. 60 s
extern const size_t agrl_buckets_seconds_n;
extern const double agrl_buckets_small[];    // 0,1,2,4,8..: versions, counts
extern const size_t agrl_buckets_small_n;

#endif
