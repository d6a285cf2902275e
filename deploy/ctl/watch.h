// SPDX-License-Identifier: Apache-2.0
// Which actors are ready: /readyz of each is asked every two seconds on a thread of the loop's pool, so that one that hangs
// does not hold up the supervisor. Everything but the asking is on the loop thread.
#ifndef AGRL_CTL_WATCH_H
#define AGRL_CTL_WATCH_H

#include <stdatomic.h>
#include <uv.h>

#include "deploy/ctl/proc.h"

typedef struct ctl_watch_item {
  int port;
  pid_t pid;  // an answer counts for the start that was asked
  bool ready;
} ctl_watch_item;

typedef struct ctl_watch {
  uv_loop_t *loop;
  const char *host;
  int base_port;  // 0: no pages, nothing is known
  uv_work_t work;
  bool under_way;
  _Atomic bool stop;
  uint64_t asked_ns;
  ctl_watch_item *items;  // n, of the round under way
  size_t n;
  ctl_proc *procs;
  const size_t *n_procs;
} ctl_watch;

void ctl_watch_init(ctl_watch *w, uv_loop_t *loop, const char *host, int base_port, ctl_proc *procs, const size_t *n_procs);
void ctl_watch_tick(ctl_watch *w);  // begins a round when one is due
void ctl_watch_stop(ctl_watch *w);  // the round under way ends early; run the loop until it has

#endif
