// SPDX-License-Identifier: Apache-2.0
// HTTP for operators on the daemon's loop (libmicrohttpd on its epoll fd): GET /metrics, /healthz, /readyz. Loopback only.
#ifndef AGRL_OBS_HTTP_H
#define AGRL_OBS_HTTP_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "common/base/err.h"

typedef struct agrl_http agrl_http;
typedef struct agrl_http_hooks {
  void (*before_metrics)(void *user);                            // refresh gauges; may be NULL
  bool (*healthy)(void *user, char *why, size_t cap);            // false -> 503 with why
  bool (*ready)(void *user, char *why, size_t cap);
  void *user;
} agrl_http_hooks;
agrl_rc agrl_http_start(agrl_http **out, uv_loop_t *loop, const char *host, int port, const agrl_http_hooks *hooks, agrl_error *err);
int agrl_http_port(const agrl_http *h);  // the port listened on; port 0 above takes any free one
void agrl_http_stop(agrl_http *h);       // frees h when the loop has run its close callbacks

// systemd's notification protocol (datagram to $NOTIFY_SOCKET); no-ops when the variable is unset.
void agrl_notify(const char *state);           // "READY=1", "STOPPING=1", "STATUS=..."
uint64_t agrl_notify_watchdog_ns(void);        // half of $WATCHDOG_USEC, 0: none

// Append-only JSON lines (events.jsonl, metrics.jsonl): one complete line per call, O_APPEND, a failed write is counted and logged.
typedef struct agrl_jsonl agrl_jsonl;
agrl_rc agrl_jsonl_open(agrl_jsonl **out, const char *path, agrl_error *err);
void agrl_jsonl_write(agrl_jsonl *j, const char *line, size_t len);  // without newline
uint64_t agrl_jsonl_lost(void);                      // lines of all files that this process could not write; any thread
void agrl_jsonl_close(agrl_jsonl *j);

#endif
