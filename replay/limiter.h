// SPDX-License-Identifier: Apache-2.0
// Rate limiter between rollouts and training. Two sides, both pure:
//   admit  pacing: a group is begun only if it can be trained in time. With n groups unfinished before it and weights that
//          are `lag` versions old, it would be trained n / per_step versions from now, so n < per_step * (bound + 1 - lag).
//   serve  how far sampling may run ahead of inserting (samples per insert), and a minimum before the first batch.
// Counters are totals over the run and come from the store, so a restart limits as if nothing had happened.
#ifndef AGRL_REPLAY_LIMITER_H
#define AGRL_REPLAY_LIMITER_H

#include <stdbool.h>
#include <stdint.h>

typedef struct replay_limits {
  uint64_t per_step;          // groups a version takes
  uint64_t bound;             // staleness, versions
  double samples_per_insert;  // groups served per group made ready
  uint64_t min_groups;        // ready before the first batch
} replay_limits;

typedef struct replay_flow {
  uint64_t in_progress;  // OPEN + CLIMB
  uint64_t ready, leased;
  uint64_t ready_total, served_total;  // over the run; served: leased or trained
} replay_flow;

uint64_t replay_limit_room(const replay_limits *l, const replay_flow *f, uint32_t lag);  // groups that may be begun
// Groups that may be served now: want, or 0. Yields to liveness: when nothing is in progress and nothing can be begun,
// waiting longer would not help, so what is ready (up to want) may go.
uint64_t replay_limit_serve(const replay_limits *l, const replay_flow *f, uint64_t want);

#endif
