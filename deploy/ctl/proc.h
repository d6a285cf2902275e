// SPDX-License-Identifier: Apache-2.0
// One supervised process: started with its log appended to RUN/logs/NAME.log, in its own process group, killed by the
// kernel when the supervisor dies, restarted with exponential back-off. The supervisor's thread only.
#ifndef AGRL_CTL_PROC_H
#define AGRL_CTL_PROC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/base/err.h"

typedef enum { CTL_PROC_STOPPED, CTL_PROC_RUNNING, CTL_PROC_BACKOFF, CTL_PROC_STOPPING } ctl_proc_state;
typedef enum { CTL_KIND_ACTOR, CTL_KIND_REWARD, CTL_KIND_REPLAY, CTL_KIND_LEARNER, CTL_KIND_N } ctl_proc_kind;

typedef struct ctl_proc {
  ctl_proc_kind kind;
  int index;              // actors
  char name[32];          // "actor-0"
  ctl_proc_state state;
  pid_t pid;
  uint64_t started_ns, retry_ns, kill_ns;  // kill_ns: when a stopping process is killed
  uint64_t backoff_ns;
  unsigned restarts;      // after the first start
  unsigned hard_failures; // in a row: exits that a restart does not mend (configuration, data, version, divergence)
  bool ever;
  bool ready, was_ready;  // of this start, as /readyz said last and ever; known of actors only
  int exit_code;          // of the last exit; 128 + signal when killed; -1: never exited
} ctl_proc;

typedef enum {
  CTL_EXIT_STOPPED,   // it was asked to stop
  CTL_EXIT_CLEAN,     // it ended by itself with 0
  CTL_EXIT_FAILED,    // back-off, then start again
  CTL_EXIT_HOPELESS,  // starting it again will not help
} ctl_exit;

// fork for a program to be executed: the child leads its own process group, dies with the supervisor (SIGKILL), and has every
// signal at its default and unblocked. Until then none can reach it: a handler of the supervisor, run in the child, would
// write into the supervisor's event loop and stop the whole job.
pid_t ctl_fork(void);

void ctl_proc_init(ctl_proc *p, ctl_proc_kind kind, int index);
// program: path; logs: directory. On failure the process is in back-off.
agrl_rc ctl_proc_start(ctl_proc *p, const char *program, const char *config_path, const char *logs, uint64_t now_ns,
                       agrl_error *err);
ctl_exit ctl_proc_exited(ctl_proc *p, int wait_status, uint64_t now_ns);
void ctl_proc_stop(ctl_proc *p, uint64_t now_ns, uint64_t grace_ns);  // SIGTERM now, SIGKILL after grace
bool ctl_proc_enforce(ctl_proc *p, uint64_t now_ns);  // kills a process past its grace; true when it had to
const char *ctl_proc_program(ctl_proc_kind kind);     // "agrl-actor"
const char *ctl_proc_state_name(ctl_proc_state state);
// The last lines of a log file, for messages. Caller frees; never NULL.
char *ctl_log_tail(const char *path, size_t lines);

#endif
