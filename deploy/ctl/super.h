// SPDX-License-Identifier: Apache-2.0
// The supervisor behind `agrlctl up`: starts the processes, restarts what fails, answers on the control endpoint, and
// ends when the learner has made its last version, when asked to, or when a process cannot be helped. One loop, one thread.
#ifndef AGRL_CTL_SUPER_H
#define AGRL_CTL_SUPER_H

#include "common/net/net.h"
#include "common/obs/http.h"
#include "deploy/ctl/ctl.h"
#include "deploy/ctl/evals.h"
#include "deploy/ctl/metrics.h"
#include "deploy/ctl/proc.h"
#include "deploy/ctl/view.h"
#include "deploy/ctl/watch.h"

#define CTL_MAX_PROCS 1028

typedef enum { CTL_END_NONE, CTL_END_DONE, CTL_END_ASKED, CTL_END_FAILED } ctl_end;

typedef struct ctl_super {
  const agrl_config *config;
  char *config_path, *logs;
  char *programs[CTL_KIND_N];
  ctl_proc procs[CTL_MAX_PROCS];
  size_t n;
  uint64_t started_ns;
  ctl_end end;
  int stage;          // of the stop order; -1: running
  bool impatient;     // a second signal: kill everything
  bool finished;      // every process has ended, and what follows that has begun
  bool evaluate;      // when done: agrlctl report --evaluate, still answering on the control endpoint
  pid_t eval_pid;     // 0: not under way
  // of the first; one that follows at once is the same (a terminal, a script and a service manager may each send it)
  uint64_t asked_ns;
  unsigned killed;    // processes that ignored SIGTERM
  char failure[2048];
  int exit_code;
  ctl_view view;
  uv_loop_t loop;
  agrl_net *net;
  agrl_sock *control;
  agrl_http *http;
  uv_signal_t sig_int, sig_term, sig_child, sig_hup;
  uv_timer_t tick;
  bool loop_open;
  ctl_metrics metrics;
  ctl_watch watch;
  ctl_evals evals;
} ctl_super;

// Runs the job to its end, evaluation and report included when asked for. Returns how it ended; *s holds the exit code
// and what to say. ready is called once it serves.
ctl_end ctl_super_run(ctl_super *s, const agrl_config *config, const char *config_path, bool evaluate,
                      void (*ready)(void *), void *user, agrl_error *err);
void ctl_super_release(ctl_super *s);

// control.c
void ctl_super_on_control(void *user, agrl_sock *sock, const agrl_peer *peer, const agrl_msg *m);
agrl_rc ctl_super_scale(ctl_super *s, uint64_t actors, agrl_error *err);
void ctl_super_stop(ctl_super *s, ctl_end end);
void ctl_super_stop_evaluation(ctl_super *s);  // while eval_pid is set
void ctl_super_count(const ctl_super *s, size_t *running, size_t *wanted, unsigned *restarts);

#endif
