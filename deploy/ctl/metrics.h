// SPDX-License-Identifier: Apache-2.0
// What the supervisor's /metrics page tells: actors by state, restarts, and the newest evaluation found in the run
// directory. The loop thread only.
#ifndef AGRL_CTL_METRICS_H
#define AGRL_CTL_METRICS_H

#include "common/conf/config.h"
#include "common/obs/metric.h"
#include "deploy/ctl/proc.h"

#define CTL_SPLITS_MAX 16

typedef struct ctl_metrics {
  const char *run_dir;
  agrl_metric *actors, *actor_restarts, *restarts;
  agrl_metric *score, *version, *recall, *confusion;
  agrl_metric_desc score_desc;
  char *splits[CTL_SPLITS_MAX + 1];  // of data.dev and data.eval; the first one gives recall and confusion
  size_t n_splits;
  uint64_t looked_ns;  // at the files
  uint64_t seen;       // a hash of their names and times
  uint64_t counted;    // of the one whose confusion was added last
} ctl_metrics;

void ctl_metrics_register(ctl_metrics *m, const agrl_config *config);
void ctl_metrics_release(ctl_metrics *m);
void ctl_metrics_states(ctl_metrics *m, const ctl_proc *procs, size_t n);
void ctl_metrics_restarted(ctl_metrics *m, ctl_proc_kind kind);
// Reads RUN/eval/*/*.json again when one is new; looks every two seconds, however often it is called.
void ctl_metrics_evaluations(ctl_metrics *m);
void ctl_metrics_evaluations_now(ctl_metrics *m);

#endif
