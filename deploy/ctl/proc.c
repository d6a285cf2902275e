// SPDX-License-Identifier: Apache-2.0
// Starting, ending and judging the exits of one process.
#include "deploy/ctl/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/file.h"
#include "common/base/mem.h"

#define MS UINT64_C(1000000)
#define BACKOFF_MIN_NS (200 * MS)
#define BACKOFF_MAX_NS (10000 * MS)
#define STEADY_NS (30000 * MS)  // up this long: the back-off starts over
#define HARD_FAILURES 5

const char *ctl_proc_program(ctl_proc_kind kind) {
  static const char *const names[] = {"agrl-actor", "agrl-reward", "agrl-replay", "agrl-learner"};
  return names[kind];
}

const char *ctl_proc_state_name(ctl_proc_state state) {
  static const char *const names[] = {"stopped", "running", "backoff", "stopping"};
  return names[state];
}

void ctl_proc_init(ctl_proc *p, ctl_proc_kind kind, int index) {
  *p = (ctl_proc){.kind = kind, .index = index, .backoff_ns = BACKOFF_MIN_NS, .exit_code = -1};
  if (kind == CTL_KIND_ACTOR) snprintf(p->name, sizeof p->name, "actor-%d", index);
  else snprintf(p->name, sizeof p->name, "%s", ctl_proc_program(kind) + strlen("agrl-"));
}

static void back_off(ctl_proc *p, uint64_t now_ns) {
  p->state = CTL_PROC_BACKOFF;
  p->retry_ns = now_ns + p->backoff_ns;
  p->backoff_ns = p->backoff_ns * 2 > BACKOFF_MAX_NS ? BACKOFF_MAX_NS : p->backoff_ns * 2;
}

pid_t ctl_fork(void) {
  static const int used[] = {SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGPIPE};
  sigset_t all, before;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, &before);
  pid_t parent = getpid(), pid = fork();
  if (pid) {
    int saved = errno;
    if (pid > 0) setpgid(pid, pid);  // here too: whoever comes first
    sigprocmask(SIG_SETMASK, &before, NULL);
    errno = saved;
    return pid;
  }
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(70);  // the supervisor died before prctl
  for (size_t i = 0; i < sizeof used / sizeof *used; i++) signal(used[i], SIG_DFL);
  sigemptyset(&all);
  sigprocmask(SIG_SETMASK, &all, NULL);
  return 0;
}

// In the child, between fork and exec: only what is safe there.
static void become(const char *program, char *const argv[], int log_fd) {
  int null = open("/dev/null", O_RDONLY);
  if (null >= 0) dup2(null, 0);
  dup2(log_fd, 1);
  dup2(log_fd, 2);
  execv(program, argv);
  _exit(127);
}

agrl_rc ctl_proc_start(ctl_proc *p, const char *program, const char *config_path, const char *logs, uint64_t now_ns,
                       agrl_error *err) {
  char index[16];
  snprintf(index, sizeof index, "%d", p->index);
  char *path = agrl_xasprintf("%s/%s.log", logs, p->name);
  char *argv[] = {(char *)ctl_proc_program(p->kind), "--config", (char *)config_path,
                  p->kind == CTL_KIND_ACTOR ? "--index" : NULL, index, NULL};
  int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  pid_t pid = fd < 0 ? -1 : ctl_fork();
  if (!pid) become(program, argv, fd);
  int saved = errno;
  if (fd >= 0) close(fd);
  if (pid > 0) {
    if (p->ever) p->restarts++;
    p->ever = true;
    p->pid = pid;
    p->started_ns = now_ns;
    p->ready = p->was_ready = false;
    p->state = CTL_PROC_RUNNING;
  } else {
    back_off(p, now_ns);
    agrl_fail(err, AGRL_EIO, "%s cannot be started (log %s): %s", p->name, path, strerror(saved));
  }
  free(path);
  return pid > 0 ? AGRL_OK : AGRL_EIO;
}

#define LONG_NS (3600000 * MS)  // an error exit this long after the start is an accident; sooner, five in a row are hopeless

// usage, data, no input, self-check or diverged, wrong version or run, permission, configuration, program not found
static bool is_hard(int code) {
  return code == 64 || code == 65 || code == 66 || code == 70 || code == 76 || code == 77 || code == 78 || code == 127;
}

ctl_exit ctl_proc_exited(ctl_proc *p, int wait_status, uint64_t now_ns) {
  p->exit_code = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
  p->pid = 0;
  if (p->state == CTL_PROC_STOPPING) {
    p->state = CTL_PROC_STOPPED;
    return CTL_EXIT_STOPPED;
  }
  uint64_t up = now_ns - p->started_ns;
  if (up >= STEADY_NS) p->backoff_ns = BACKOFF_MIN_NS;
  p->hard_failures = up < LONG_NS && is_hard(p->exit_code) ? p->hard_failures + 1 : 0;
  if (p->hard_failures >= HARD_FAILURES) {
    p->state = CTL_PROC_STOPPED;
    return CTL_EXIT_HOPELESS;
  }
  back_off(p, now_ns);
  return p->exit_code ? CTL_EXIT_FAILED : CTL_EXIT_CLEAN;
}

void ctl_proc_stop(ctl_proc *p, uint64_t now_ns, uint64_t grace_ns) {
  if (p->state == CTL_PROC_RUNNING) {
    p->state = CTL_PROC_STOPPING;
    p->kill_ns = now_ns + grace_ns;
    kill(p->pid, SIGTERM);
  } else if (p->state == CTL_PROC_BACKOFF) {
    p->state = CTL_PROC_STOPPED;
  }
}

bool ctl_proc_enforce(ctl_proc *p, uint64_t now_ns) {
  if (p->state != CTL_PROC_STOPPING || now_ns < p->kill_ns) return false;
  p->kill_ns = UINT64_MAX;
  kill(p->pid, SIGKILL);
  return true;
}

char *ctl_log_tail(const char *path, size_t lines) {
  enum { WINDOW = 16384 };
  char *text = agrl_xcalloc(WINDOW + 1, 1);
  FILE *f = fopen(path, "re");
  if (!f) return text;
  if (fseeko(f, -WINDOW, SEEK_END)) rewind(f);
  size_t n = fread(text, 1, WINDOW, f), at = n;
  fclose(f);
  if (at && text[at - 1] == '\n') at--;
  for (size_t found = 0; at > 0; at--)
    if (text[at - 1] == '\n' && ++found == lines) break;
  memmove(text, text + at, n - at + 1);
  return text;
}
