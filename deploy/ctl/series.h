// SPDX-License-Identifier: Apache-2.0
// The learner's metrics.jsonl as numbers: read from where the last read ended, so a view can follow it. A line that
// repeats a step (a learner that resumed) replaces what followed it: the series is the surviving line of training.
#ifndef AGRL_CTL_SERIES_H
#define AGRL_CTL_SERIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

// X(field, key): numbers of one line; NaN when absent or null.
#define CTL_SERIES_MAP(X)                                                                                               \
  X(step) X(steps) X(version) X(loss) X(reward_mean) X(accuracy) X(guided_ratio) X(staleness_mean) X(kl) X(entropy)     \
  X(tokens_per_second) X(zero_std_ratio) X(grad_norm) X(learning_rate) X(step_seconds) X(wait_seconds) X(rollouts) X(wall) \
  X(reward_std) X(clip_ratio_low) X(clip_ratio_high) X(logprob_abs_diff_max)

typedef struct ctl_point {
  bool rl;  // false: SFT
#define CTL_SERIES_FIELD(name) double name;
  CTL_SERIES_MAP(CTL_SERIES_FIELD)
#undef CTL_SERIES_FIELD
} ctl_point;

typedef struct ctl_series {
  ctl_point *points;
  size_t n, cap;
  size_t bad;       // lines that could not be read
  int64_t offset;   // bytes consumed
} ctl_series;

// Reads the complete lines after offset. A missing file is an empty series.
agrl_rc ctl_series_read(ctl_series *s, const char *path, agrl_error *err);
void ctl_series_release(ctl_series *s);
const ctl_point *ctl_series_last(const ctl_series *s);  // NULL when empty

#endif
