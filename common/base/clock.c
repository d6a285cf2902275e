// SPDX-License-Identifier: Apache-2.0
// Clocks over clock_gettime, and the one text form of a wall-clock time.
#include "common/base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

static uint64_t now_ns(clockid_t id) {
  struct timespec t;
  clock_gettime(id, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t agrl_mono_ns(void) { return now_ns(CLOCK_MONOTONIC); }

uint64_t agrl_wall_ns(void) { return now_ns(CLOCK_REALTIME); }

double agrl_since_s(uint64_t mono_start_ns) { return (double)(agrl_mono_ns() - mono_start_ns) * 1e-9; }

void agrl_wall_text(uint64_t wall_ns, char *out, size_t cap) {
  time_t s = (time_t)(wall_ns / 1000000000u);
  unsigned ms = (unsigned)(wall_ns / 1000000u % 1000u);
  struct tm tm;
  gmtime_r(&s, &tm);
  char day[32];
  strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &tm);
  snprintf(out, cap, "%s.%03uZ", day, ms);
}
