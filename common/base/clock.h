// SPDX-License-Identifier: Apache-2.0
// Clocks, nanoseconds. Monotonic for durations and deadlines (comparable between processes of one host), wall for stamps.
#ifndef AGRL_BASE_CLOCK_H
#define AGRL_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

uint64_t agrl_mono_ns(void);
uint64_t agrl_wall_ns(void);
double agrl_since_s(uint64_t mono_start_ns);
void agrl_wall_text(uint64_t wall_ns, char *out, size_t cap);  // 2026-01-02T03:04:05.678Z; cap >= 25

#endif
