// SPDX-License-Identifier: Apache-2.0
// Inside common/svc only: the private half of a service, command-line options, and the stall detector.
#ifndef AGRL_SVC_SVC_IMPL_H
#define AGRL_SVC_SVC_IMPL_H

#include "common/svc/svc.h"

#define SVC_MAX_SETS 64
#define SVC_NUMBERED_OFFSET 10       // services at this HTTP offset have an instance number
#define SVC_CHECK_MS 5000u           // how often progress is asked for
#define SVC_STALL_NS 120000000000ull // work left and nothing moved for this long: unhealthy
#define SVC_DRAIN_MS 60000u          // a drain that takes longer is cut off

typedef struct svc_options {
  const char *config;
  const char *sets[SVC_MAX_SETS];
  size_t n_sets;
  int index;
  bool check;
} svc_options;
// Parses argv. *exit_code >= 0: the program is over (help, version, a usage error) and a text was printed.
void svc_options_parse(const agrl_svc_def *def, int argc, char **argv, svc_options *o, int *exit_code);
agrl_rc svc_options_config(const svc_options *o, agrl_config *out, agrl_error *err);  // file, overrides, checks

// "Is work left and is nothing moving?"
typedef struct svc_watch {
  uint64_t last_value, moved_ns;
  bool started, stalled;
} svc_watch;
typedef enum { SVC_WATCH_SAME, SVC_WATCH_STALLED, SVC_WATCH_MOVES } svc_watch_change;
svc_watch_change svc_watch_update(svc_watch *w, uint64_t now_ns, uint64_t value, bool work_left);

typedef struct svc_private {
  agrl_svc pub;  // first: an agrl_svc is a svc_private
  svc_options options;
  int exit_code;
  bool stopped;
  int lock_fd;
  agrl_http *http;
  uv_signal_t signals[3];
  uv_timer_t watch_timer, drain_timer;
  uint64_t watchdog_ns, started_ns;
  svc_watch watch;
  agrl_config *retired;  // configurations replaced by a reload: their strings may still be borrowed
  size_t n_retired;
  char run_id_text[24], config_hash[16];
  const char *run_id_values[2], *config_hash_values[2];
  agrl_metric_desc info_desc;
  agrl_net_stats seen;   // what was already added to the counters
  uint64_t seen_lost_lines;
} svc_private;

static inline svc_private *svc_private_of(agrl_svc *s) { return (svc_private *)(void *)s; }

// observe.c
void svc_observe_register(svc_private *p);
void svc_observe_hooks(svc_private *p, agrl_http_hooks *out);
// reload.c
void svc_reload(svc_private *p);
void svc_reload_release(svc_private *p);

#endif
