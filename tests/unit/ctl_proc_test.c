// SPDX-License-Identifier: Apache-2.0
// One supervised process: arguments, log, back-off, hopeless exits, stopping with and without force.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "deploy/ctl/proc.h"

#define S UINT64_C(1000000000)

static char dir[] = "/tmp/ctl-proc-XXXXXX";

static const char *script(const char *body) {
  static char path[64];
  agrl_buf text = {0};
  snprintf(path, sizeof path, "%s/program", dir);
  agrl_buf_addf(&text, "#!/bin/sh\n%s\n", body);
  assert_int_equal(agrl_file_write_atomic(path, text.data, text.len, NULL), AGRL_OK);
  assert_int_equal(chmod(path, 0755), 0);
  agrl_buf_release(&text);
  return path;
}

static int wait_for(pid_t pid) {
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  return status;
}

static char *log_of(const ctl_proc *p) {
  char path[96];
  snprintf(path, sizeof path, "%s/%s.log", dir, p->name);
  return ctl_log_tail(path, 3);
}

static void wait_for_log(const ctl_proc *p) {
  for (bool empty = true; empty;) {
    char *log = log_of(p);
    empty = !*log;
    free(log);
    usleep(10000);
  }
}

static void start(ctl_proc *p, const char *program, uint64_t now) {
  agrl_error err = {0};
  if (ctl_proc_start(p, program, "/etc/a.yaml", dir, now, &err)) fail_msg("%s", err.msg);
}

static void passes_arguments_and_keeps_a_log(void **state) {
  ctl_proc p;
  ctl_proc_init(&p, CTL_KIND_ACTOR, 3);
  assert_string_equal(p.name, "actor-3");
  start(&p, script("echo \"$@\"; echo wrong >&2; exit 3"), S);
  assert_int_equal(getpgid(p.pid), p.pid);
  assert_int_equal(ctl_proc_exited(&p, wait_for(p.pid), S + 1), CTL_EXIT_FAILED);
  assert_int_equal(p.exit_code, 3);
  char *log = log_of(&p);
  assert_string_equal(log, "--config /etc/a.yaml --index 3\nwrong\n");
  free(log);
}

static void backs_off_and_recovers(void **state) {
  ctl_proc p;
  uint64_t now = 100 * S, delay = S / 5;
  ctl_proc_init(&p, CTL_KIND_REPLAY, 0);
  for (int i = 0; i < 8; i++) {
    start(&p, script("exit 1"), now);
    assert_int_equal(ctl_proc_exited(&p, wait_for(p.pid), now), CTL_EXIT_FAILED);
    assert_int_equal(p.state, CTL_PROC_BACKOFF);
    assert_int_equal(p.retry_ns - now, delay);
    delay = delay * 2 > 10 * S ? 10 * S : delay * 2;
  }
  assert_int_equal(p.restarts, 7);
  start(&p, script("exit 1"), now);  // up for a while: the back-off starts over
  ctl_proc_exited(&p, wait_for(p.pid), now + 31 * S);
  assert_int_equal(p.retry_ns - (now + 31 * S), S / 5);
}

static void gives_up_on_configuration_errors(void **state) {
  ctl_proc p;
  ctl_proc_init(&p, CTL_KIND_LEARNER, 0);
  for (int i = 1; i <= 5; i++) {
    start(&p, script("exit 78"), S);
    assert_int_equal(ctl_proc_exited(&p, wait_for(p.pid), 2 * S), i < 5 ? CTL_EXIT_FAILED : CTL_EXIT_HOPELESS);
  }
  assert_int_equal(p.state, CTL_PROC_STOPPED);
  // The same exit long after the start is an accident, and so is another exit in between.
  ctl_proc_init(&p, CTL_KIND_LEARNER, 0);
  for (int i = 1; i <= 12; i++) {
    start(&p, script(i % 4 ? "exit 78" : "exit 1"), S);
    assert_int_equal(ctl_proc_exited(&p, wait_for(p.pid), 2 * S), CTL_EXIT_FAILED);
  }
  for (int i = 1; i <= 6; i++) {
    start(&p, script("exit 65"), S);
    assert_int_equal(ctl_proc_exited(&p, wait_for(p.pid), 3602 * S), CTL_EXIT_FAILED);
  }
}

static void stops_with_grace_then_force(void **state) {
  ctl_proc p;
  ctl_proc_init(&p, CTL_KIND_REWARD, 0);
  start(&p, script("trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done"), S);
  wait_for_log(&p);
  ctl_proc_stop(&p, S, 20 * S);
  assert_int_equal(p.state, CTL_PROC_STOPPING);
  assert_false(ctl_proc_enforce(&p, 2 * S));
  assert_int_equal(ctl_proc_exited(&p, wait_for(p.pid), 3 * S), CTL_EXIT_STOPPED);
  assert_int_equal(p.exit_code, 0);

  ctl_proc_init(&p, CTL_KIND_ACTOR, 9);
  start(&p, script("trap '' TERM; echo up; while :; do sleep 0.05; done"), S);
  wait_for_log(&p);
  ctl_proc_stop(&p, S, 20 * S);
  assert_true(ctl_proc_enforce(&p, 21 * S));
  assert_false(ctl_proc_enforce(&p, 22 * S));  // once
  assert_int_equal(ctl_proc_exited(&p, wait_for(p.pid), 23 * S), CTL_EXIT_STOPPED);
  assert_int_equal(p.exit_code, 128 + SIGKILL);
}

static void a_missing_program_is_hopeless(void **state) {
  ctl_proc p;
  ctl_proc_init(&p, CTL_KIND_REPLAY, 0);
  ctl_exit last = CTL_EXIT_FAILED;
  for (int i = 0; i < 5; i++) {
    start(&p, "/nonexistent/program", S);
    last = ctl_proc_exited(&p, wait_for(p.pid), S);
  }
  assert_int_equal(p.exit_code, 127);
  assert_int_equal(last, CTL_EXIT_HOPELESS);
}

static int make_dir(void **state) { return mkdtemp(dir) ? 0 : -1; }
static int drop_dir(void **state) { return agrl_file_remove_tree(dir, NULL); }

static int told[2];

static void tell(int signum) {
  (void)signum;
  if (write(told[1], "x", 1) != 1) _exit(1);
}

// A process that is stopped right after its start has not been executed yet: the supervisor's handlers must not run in it.
static void a_stop_at_once_reaches_the_child_only(void **state) {
  (void)state;
  const char *program = script("exec sleep 60");
  assert_int_equal(pipe2(told, O_CLOEXEC), 0);
  signal(SIGTERM, tell);
  for (int i = 0; i < 200; i++) {
    ctl_proc p;
    ctl_proc_init(&p, CTL_KIND_ACTOR, 5);
    start(&p, program, S);
    ctl_proc_stop(&p, S, 60 * S);
    int status = wait_for(p.pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    assert_int_equal(ctl_proc_exited(&p, status, S), CTL_EXIT_STOPPED);
  }
  signal(SIGTERM, SIG_DFL);
  close(told[1]);
  char c;
  assert_int_equal(read(told[0], &c, 1), 0);
  close(told[0]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(passes_arguments_and_keeps_a_log), cmocka_unit_test(backs_off_and_recovers),
          cmocka_unit_test(gives_up_on_configuration_errors),
      cmocka_unit_test(stops_with_grace_then_force),      cmocka_unit_test(a_missing_program_is_hopeless),
      cmocka_unit_test(a_stop_at_once_reaches_the_child_only),
  };
  return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
