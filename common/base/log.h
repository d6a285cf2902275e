// SPDX-License-Identifier: Apache-2.0
// Logging: one line per event, "2026-01-02T03:04:05.678Z info replay event key=value ...", to stderr or a file.
// Never prompt text or secrets at info. Thread-safe. This and the metric registry are the only global state.
#ifndef AGRL_BASE_LOG_H
#define AGRL_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

typedef enum { AGRL_LOG_ERROR, AGRL_LOG_WARN, AGRL_LOG_INFO, AGRL_LOG_DEBUG } agrl_log_level;

// name: the daemon's name ("replay", "actor-0"); copied. Default name "agrl", level info, stderr.
void agrl_log_init(const char *name, agrl_log_level level);
void agrl_log(agrl_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define agrl_loge(...) agrl_log(AGRL_LOG_ERROR, __VA_ARGS__)
#define agrl_logw(...) agrl_log(AGRL_LOG_WARN, __VA_ARGS__)
#define agrl_logi(...) agrl_log(AGRL_LOG_INFO, __VA_ARGS__)
#define agrl_logd(...) agrl_log(AGRL_LOG_DEBUG, __VA_ARGS__)

// Rate limiter for a call site: returns true at most once a second, and then sets *suppressed to the number of
// calls swallowed since. Use: static agrl_log_limit lim; if (agrl_log_allow(&lim, &n)) agrl_logw("... suppressed=%" PRIu64, n);
typedef struct agrl_log_limit {
  _Atomic uint64_t last_ns, suppressed;
} agrl_log_limit;
bool agrl_log_allow(agrl_log_limit *lim, uint64_t *suppressed);

#endif
