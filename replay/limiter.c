// SPDX-License-Identifier: Apache-2.0
// Pacing and sampling limits as plain arithmetic.
#include "replay/limiter.h"

uint64_t replay_limit_room(const replay_limits *l, const replay_flow *f, uint32_t lag) {
  if (lag > l->bound) return 0;
  uint64_t limit = l->per_step * (l->bound + 1 - lag), unfinished = f->in_progress + f->ready + f->leased;
  return unfinished < limit ? limit - unfinished : 0;
}

uint64_t replay_limit_serve(const replay_limits *l, const replay_flow *f, uint64_t want) {
  if (f->ready == 0 || want == 0) return 0;
  bool stuck = f->in_progress == 0 && f->leased == 0 && replay_limit_room(l, f, 0) == 0;
  if (stuck) return f->ready < want ? f->ready : want;
  if (f->ready < want) return 0;
  if (f->served_total == 0 && f->ready < l->min_groups) return 0;
  if ((double)(f->served_total + want) > l->samples_per_insert * (double)f->ready_total) return 0;
  return want;
}
