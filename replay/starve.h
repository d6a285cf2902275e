// SPDX-License-Identifier: Apache-2.0
// Starvation: groups are generated and scored, and none can be trained. The learner then waits without an error anywhere,
// so this says which causes retire the groups and what to do about it. While a whole batch is READY nobody starves, however
// old it is. Pure arithmetic on the core's counts; time comes in as an argument.
#ifndef AGRL_REPLAY_STARVE_H
#define AGRL_REPLAY_STARVE_H

#include "replay/core.h"

#define REPLAY_STARVE_NS (30 * UINT64_C(1000000000))  // without a READY group, and between warnings
#define REPLAY_STARVE_GROUPS 100u                     // retired since the last one

typedef struct replay_starve {
  bool begun, starved;
  uint64_t ready;                     // groups made READY when the watch began anew
  uint64_t removals[REPLAY_CAUSE_N];  // groups retired by then
  uint64_t since_ns, warned_ns;       // last READY group or batch seen; last warning
  uint64_t retired;                   // since then
} replay_starve;

// Call now and then. True when a warning is due; its text (no quotes or control characters) is appended to why.
bool replay_starve_watch(replay_starve *w, const replay_counts *counts, const replay_limits *limits, const replay_flow *flow, uint64_t now_ns,
                         agrl_buf *why);

#endif
