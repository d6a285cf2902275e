// SPDX-License-Identifier: Apache-2.0
// agrl_reward_* metrics. The values of the label `reward` are the rule file's criteria plus "total": closed at start.
#ifndef AGRL_REWARD_METRICS_H
#define AGRL_REWARD_METRICS_H

#include "common/obs/metric.h"
#include "reward/rules.h"

typedef struct reward_metrics {
  const char *names[AGRL_RULES_MAX_CRITERIA + 2];  // criteria, "total", NULL
  size_t n;                                        // names; "total" is n - 1
  agrl_metric *value, *mean, *stddev, *requests, *latency, *missing, *gates, *relay, *queue;
  double avg[AGRL_RULES_MAX_CRITERIA + 1], var[AGRL_RULES_MAX_CRITERIA + 1];  // exponentially weighted
  uint64_t seen[AGRL_RULES_MAX_CRITERIA + 1];
  agrl_metric_desc desc[9];
} reward_metrics;

enum { REWARD_RELAY_OVERFLOW, REWARD_RELAY_EXPIRED, REWARD_RELAY_UNKNOWN };

void reward_metrics_init(reward_metrics *m, const agrl_rules *r);  // m must outlive the registry
void reward_metrics_count(reward_metrics *m, const agrl_reward_result *res, double seconds);

#endif
