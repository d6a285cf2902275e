// SPDX-License-Identifier: Apache-2.0
// Registration and updates of the reward metrics.
#include "reward/metrics.h"

#include <math.h>
#include <string.h>

#define SMOOTHING 0.01  // weight of the newest value in the running mean and spread: about the last 100 traces

static const double unit_bounds[] = {0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1};
static const double latency_bounds[] = {1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 1e-3, 1e-2, 0.1, 1};
static const char *const results[] = {"ok", "timeout", "error", NULL};
static const char *const gates[] = {"format", "rule", "accurate", NULL};
static const char *const causes[] = {"overflow", "expired", "unknown", NULL};

void reward_metrics_init(reward_metrics *m, const agrl_rules *r) {
  memset(m, 0, sizeof *m);
  for (size_t i = 0; i < agrl_rules_criteria(r); i++) m->names[m->n++] = agrl_rules_criterion(r, i, NULL);
  m->names[m->n++] = "total";
  const char *const *names = m->names;
  const agrl_metric_desc desc[] = {
      {.name = "agrl_reward_value", .help = "Value of a criterion, and of the whole reward.", .type = AGRL_HISTOGRAM,
       .label = "reward",
       .values = names, .bounds = unit_bounds, .n_bounds = 11},
      {.name = "agrl_reward_mean", .help = "Running mean over about 100 traces.", .type = AGRL_GAUGE,
       .label = "reward", .values = names},
      {.name = "agrl_reward_stddev", .help = "Running standard deviation over about 100 traces.", .type = AGRL_GAUGE,
       .label = "reward",
       .values = names},
      {.name = "agrl_reward_requests_total", .help = "Scorings by result.", .type = AGRL_COUNTER, .label = "reward",
       .values = names,
       .label2 = "result", .values2 = results},
      {.name = "agrl_reward_latency_seconds", .help = "Time to score one trace.", .type = AGRL_HISTOGRAM,
       .bounds = latency_bounds,
       .n_bounds = 11},
      {.name = "agrl_reward_missing_total", .help = "Values that could not be computed.", .type = AGRL_COUNTER,
       .label = "reward",
       .values = names},
      {.name = "agrl_reward_gate_passed_total", .help = "Traces that passed a gate.", .type = AGRL_COUNTER,
       .label = "gate", .values = gates},
      {.name = "agrl_reward_relay_drops_total",
       .help = "Acknowledgements that could not be relayed; the actor resends.",
       .type = AGRL_COUNTER, .label = "cause", .values = causes},
      {.name = "agrl_reward_queue_depth", .help = "Scored traces not acknowledged yet.", .type = AGRL_GAUGE},
  };
  memcpy(m->desc, desc, sizeof desc);
  agrl_metric **slots[] = {&m->value, &m->mean, &m->stddev, &m->requests, &m->latency, &m->missing, &m->gates,
                           &m->relay, &m->queue};
  for (size_t i = 0; i < sizeof desc / sizeof *desc; i++) *slots[i] = agrl_metric_register(&m->desc[i]);
}

static void observe(reward_metrics *m, size_t i, double v) {
  double a = m->seen[i] * SMOOTHING < 1 ? 1 / (double)(m->seen[i] + 1) : SMOOTHING;
  double d = v - m->avg[i];
  m->seen[i]++;
  m->avg[i] += a * d;
  m->var[i] = (1 - a) * (m->var[i] + a * d * d);
  agrl_metric_observe(m->value, i, v);
  agrl_metric_set(m->mean, i, m->avg[i]);
  agrl_metric_set(m->stddev, i, sqrt(m->var[i]));
}

static void count_one(reward_metrics *m, size_t i, bool missing, const char *cause, double v) {
  agrl_metric_add(m->requests, i * 3 + (!missing ? 0 : strstr(cause, "deadline") ? 1 : 2), 1);
  if (missing) agrl_metric_add(m->missing, i, 1);
  else observe(m, i, v);
}

void reward_metrics_count(reward_metrics *m, const agrl_reward_result *res, double seconds) {
  for (size_t i = 0; i < res->n_scores; i++)
    for (size_t c = 0; c + 1 < m->n; c++)
      if (!strcmp(m->names[c], res->scores[i].criterion))
        count_one(m, c, res->scores[i].missing, res->scores[i].cause, res->scores[i].value);
  count_one(m, m->n - 1, res->missing, res->cause, res->reward);
  agrl_metric_observe(m->latency, 0, seconds);
  const bool passed[] = {res->g_format, res->g_rule, res->accurate};
  for (size_t g = 0; g < 3; g++)
    if (passed[g]) agrl_metric_add(m->gates, g, 1);
}
