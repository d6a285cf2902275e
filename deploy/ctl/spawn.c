// SPDX-License-Identifier: Apache-2.0
// Another program, run in the foreground: its terminal is ours, and what stops us stops it first.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "deploy/ctl/ctl.h"

static volatile sig_atomic_t stopped_by, stopped_now, running;

// A terminal's Ctrl-C reaches the child without our help, and a second signal would tell it to hurry.
static void on_signal(int number, siginfo_t *info, void *context) {
  stopped_by = stopped_now = number;
  if (running > 0 && info->si_code != SI_KERNEL) kill(running, number);
}

int ctl_stopped_by(void) { return stopped_by; }

int ctl_spawn_wait(char *const argv[]) {
  struct sigaction ours = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO}, before[2];
  sigset_t both, unblocked;
  int status = 0, failed = 0;
  fflush(stdout);
  sigemptyset(&both);
  sigaddset(&both, SIGINT);
  sigaddset(&both, SIGTERM);
  sigprocmask(SIG_BLOCK, &both, &unblocked);
  sigaction(SIGINT, &ours, &before[0]);
  sigaction(SIGTERM, &ours, &before[1]);
  pid_t parent = getpid(), pid = fork();
  if (!pid) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(70);  // it died before prctl
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    sigprocmask(SIG_SETMASK, &unblocked, NULL);
    execv(argv[0], argv);
    _exit(127);
  }
  if (pid < 0) perror("agrlctl: fork");
  running = pid;
  // A terminal's that came before fork is pending here and was never the child's. One that came after it reaches the child twice,
  // and agrlctl up takes two within a second for one.
  sigset_t waiting;
  if (pid > 0 && !sigpending(&waiting) && sigismember(&waiting, SIGINT)) kill(pid, SIGINT);
  stopped_now = 0;
  sigprocmask(SIG_SETMASK, &unblocked, NULL);
  while (pid > 0 && waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) failed = 1, pid = -1;
  running = 0;
  sigaction(SIGINT, &before[0], NULL);
  sigaction(SIGTERM, &before[1], NULL);
  if (pid < 0 || failed) return 71;
  if (stopped_now && WIFEXITED(status) && WEXITSTATUS(status) == 0) return 128 + stopped_now;  // it came at the very end: no further one
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
