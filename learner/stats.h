// SPDX-License-Identifier: Apache-2.0
// What a step reports: plain structs filled by sft.c and step.c, the daemon's Prometheus metrics, and the lines of
// metrics.jsonl. Undefined values are NaN (null in JSON), never 0. Filled and written by the compute thread.
#ifndef AGRL_LEARNER_STATS_H
#define AGRL_LEARNER_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/obs/metric.h"
#include "learner/loss.h"

typedef struct learner_sft_stats {
  int64_t step, steps;
  double loss, grad_norm, learning_rate, tokens_per_second, step_seconds, epoch;
  size_t tokens, sequences;
} learner_sft_stats;

typedef struct learner_row_stats {  // one trained row, for the histograms; advantage: NaN with DPO
  float advantage, staleness, ratio, logprob_diff;  // logprob_diff: NaN unless sampled at the version trained
  float version_span;
} learner_row_stats;

typedef struct learner_step_stats {
  uint64_t version;  // reached
  int64_t step, steps;
  size_t groups, trained_groups, zero_groups, guided_groups;
  size_t filtered_groups;  // none of whose members could be trained on; zero_groups: without spread, trained (grpo.zero_spread) or not
  size_t solved_all, solved_none, solved_some;  // groups by the accuracy of their plain members; those without one are in none
  size_t members, guided_members, missing_members, dropped_guided, dropped_bad, dropped_overlong, sequences, tokens;
  size_t reference_pairs;  // DPO: pairs whose chosen trace is the reference
  double reward_mean, reward_plain_mean, reward_std, accuracy, format_rate, rule_rate, completion_mean;
  double staleness_mean, staleness_max, logprob_diff_mean, logprob_diff_max;
  double entropy, grad_norm, learning_rate, sft_loss, guide_gamma;  // guide_gamma: NaN without guided rows
  bool applied, clipped, nonfinite, empty;  // empty: nothing to train on
  double load_seconds, forward_seconds, backward_seconds, optim_seconds, step_seconds, wait_seconds, tokens_per_second;
  uint64_t ready_groups, rollouts;  // of the store, when the batch was served: see agrl_msg_batch
  learner_loss_stats loss;
  learner_row_stats *rows;  // n_rows; free with learner_step_stats_release
  size_t n_rows;
} learner_step_stats;

void learner_step_stats_release(learner_step_stats *st);
const char *learner_step_outcome(const learner_step_stats *st);  // "trained", "empty" or "error", as journaled

typedef struct learner_metrics {
  agrl_metric *step, *version, *epoch, *last_step, *tokens, *sequences, *groups, *loss, *lr, *grad_norm, *clipped, *nonfinite;
  agrl_metric *kl, *entropy, *kl_entropy, *clip_ratio, *ratio, *ess, *logprob_diff, *logprob_mismatch, *advantage, *zero_std, *solved, *truncated;
  agrl_metric *pairs, *pair_reward, *pair_margin, *pair_accuracy;
  agrl_metric *staleness, *span, *phase, *idle, *tps, *flops, *reward, *accuracy, *guided;
  agrl_metric *publish_s, *changed, *bytes, *ckpt_time, *ckpt_s, *ckpt_failures, *ckpt_free, *resume, *torn, *sft_step;
} learner_metrics;

enum { LEARNER_PHASE_WAIT, LEARNER_PHASE_LOAD, LEARNER_PHASE_FORWARD, LEARNER_PHASE_BACKWARD, LEARNER_PHASE_OPTIM,
       LEARNER_PHASE_PUBLISH, LEARNER_PHASE_CHECKPOINT, LEARNER_PHASE_STEP };

// Indices of labelled metrics: .loss, .groups; .kl is estimator * 2 + against.
enum { LEARNER_LOSS_POLICY, LEARNER_LOSS_KL, LEARNER_LOSS_ENTROPY, LEARNER_LOSS_SFT, LEARNER_LOSS_TOTAL };
enum { LEARNER_OUT_TRAINED, LEARNER_OUT_ZERO, LEARNER_OUT_FILTERED, LEARNER_OUT_ERROR };
enum { LEARNER_KL_K3_REFERENCE = 4 };

void learner_metrics_register(learner_metrics *m);  // loop thread, once
void learner_metrics_sft(learner_metrics *m, const learner_sft_stats *st);
void learner_metrics_step(learner_metrics *m, const learner_step_stats *st);
void learner_line_sft(const learner_sft_stats *st, agrl_buf *out);  // one JSON line, no newline
void learner_line_step(const learner_step_stats *st, agrl_buf *out);

#endif
