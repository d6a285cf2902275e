// SPDX-License-Identifier: Apache-2.0
// A whole toy daemon in a child process: options and exit codes, readiness, pages, status over the wire, events, reload,
// drain, a second instance, a taken port, and notification; and the stall detector on its own.
#include <arpa/inet.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/log.h"
#include "common/svc/svc_impl.h"

// --- the toy ---

typedef struct toy {
  agrl_sock *sock;
  int reloads;
} toy;

static void on_message(void *user, agrl_sock *sock, const agrl_peer *peer, const agrl_msg *m) {
  agrl_svc_handle_status(user, sock, peer, m);
}

static agrl_rc toy_start(agrl_svc *s, agrl_error *err) {
  toy *t = s->state;
  char *endpoint = agrl_config_endpoint(&s->config, "replay");
  agrl_rc rc = agrl_sock_open(s->net, AGRL_SOCK_ROUTER, "toy", endpoint, true, 10, on_message, s, &t->sock, err);
  free(endpoint);
  if (rc == AGRL_OK) agrl_svc_ready(s);
  return rc;
}
static void toy_drain(agrl_svc *s) { agrl_svc_stop(s, 0); }
static void toy_stop(agrl_svc *s) { agrl_sock_close(((toy *)s->state)->sock); }
static void toy_reload(agrl_svc *s) { ((toy *)s->state)->reloads++; }
static size_t toy_status(agrl_svc *s, agrl_arena *a, agrl_kv *items, size_t cap) {
  items[0] = (agrl_kv){"reloads", agrl_arena_printf(a, "%d", ((toy *)s->state)->reloads)};
  return 1;
}

static const agrl_svc_def toy_def = {.name = "toy", .about = "does nothing", .http_offset = 7, .state_bytes = sizeof(toy), .start = toy_start,
                                     .drain = toy_drain, .stop = toy_stop, .status = toy_status, .reload = toy_reload};

// --- running it ---

typedef struct fixture {
  char dir[64], yaml[96], endpoint[160];
  int base_port;
} fixture;

static int free_port(void) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof a;
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(fd, (struct sockaddr *)&a, len) || getsockname(fd, (struct sockaddr *)&a, &len)) return 0;
  close(fd);
  return ntohs(a.sin_port);
}

static void write_config(fixture *f, const char *more) {
  char text[512];
  int n = snprintf(text, sizeof text, "run:\n  name: toy\n  dir: %s\nobs:\n  http_port: %d\n%s", f->dir, f->base_port, more);
  assert_int_equal(agrl_file_write_atomic(f->yaml, text, (size_t)n, NULL), AGRL_OK);
}

static int setup(void **state) {
  fixture *f = calloc(1, sizeof *f);
  strcpy(f->dir, "/tmp/agrl-svc-XXXXXX");
  if (!mkdtemp(f->dir)) return -1;
  snprintf(f->yaml, sizeof f->yaml, "%s/agrl.yaml", f->dir);
  snprintf(f->endpoint, sizeof f->endpoint, "ipc://%s/sock/replay", f->dir);
  f->base_port = free_port() - 7;
  write_config(f, "");
  *state = f;
  return 0;
}

static int teardown(void **state) {
  fixture *f = *state;
  agrl_file_remove_tree(f->dir, NULL);
  free(f);
  return 0;
}

// Starts the toy with the fixture's configuration and these further arguments; its output goes to out.txt.
static pid_t launch(fixture *f, char *a1, char *a2) {
  char out[96];
  snprintf(out, sizeof out, "%s/out.txt", f->dir);
  fflush(NULL);
  pid_t pid = fork();
  if (pid != 0) return pid;
  char *argv[] = {(char *)"agrl-toy", (char *)"--config", f->yaml, a1, a1 ? a2 : NULL, NULL};
  int argc = 3 + (a1 != NULL) + (a1 && a2);
  if (!freopen(out, "w", stdout) || !freopen(out, "a", stderr)) _exit(99);
  int code = agrl_svc_main(&toy_def, argc, argv);
  fflush(NULL);
  exit(code);  // not _exit: a leak checker looks at exit
}

static int wait_exit(pid_t pid) {
  int status;
  for (int i = 0; i < 1000; i++, usleep(10000))
    if (waitpid(pid, &status, WNOHANG) == pid) return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  kill(pid, SIGKILL);
  waitpid(pid, &status, 0);
  return -1000;
}

static void assert_output(fixture *f, const char *want) {
  char out[96];
  agrl_buf b = {0};
  snprintf(out, sizeof out, "%s/out.txt", f->dir);
  assert_int_equal(agrl_file_read(out, 1 << 20, &b, NULL), AGRL_OK);
  if (!strstr(b.data ? b.data : "", want)) fail_msg("no \"%s\" in: %s", want, b.data ? b.data : "");
  agrl_buf_release(&b);
}

static bool get(fixture *f, const char *path, char *answer, size_t cap) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)(f->base_port + 7)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  char request[128];
  size_t len = 0;
  int fd = socket(AF_INET, SOCK_STREAM, 0), n = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path);
  bool ok = connect(fd, (struct sockaddr *)&a, sizeof a) == 0 && write(fd, request, (size_t)n) == n;
  for (ssize_t r; ok && len < cap - 1 && (r = read(fd, answer + len, cap - 1 - len)) > 0;) len += (size_t)r;
  answer[len] = '\0';
  close(fd);
  return ok && strstr(answer, " 200 OK");
}

static void wait_ready(fixture *f) {
  char answer[4096];
  for (int i = 0; i < 500; i++, usleep(10000))
    if (get(f, "/readyz", answer, sizeof answer)) return;
  fail_msg("not ready");
}

static const char *status_of(fixture *f, agrl_arena *a, const char *key) {
  agrl_msg answer, m = {.kind = AGRL_MSG_STATUS_REQUEST};
  agrl_error err = {0};
  if (agrl_call_once(f->endpoint, &m, 5000, a, &answer, &err)) fail_msg("%s", err.msg);
  assert_int_equal(answer.kind, AGRL_MSG_STATUS);
  assert_string_equal(answer.status.service, "toy");
  for (size_t i = 0; i < answer.status.n; i++)
    if (!strcmp(answer.status.items[i].key, key)) return answer.status.items[i].value;
  fail_msg("no %s", key);
  return NULL;
}

// Every line is JSON; *events gets the event names in order.
static void read_events(fixture *f, agrl_buf *events) {
  char path[96];
  agrl_buf b = {0};
  snprintf(path, sizeof path, "%s/events.jsonl", f->dir);
  assert_int_equal(agrl_file_read(path, 1 << 20, &b, NULL), AGRL_OK);
  for (char *line = strtok(b.data, "\n"); line; line = strtok(NULL, "\n")) {
    agrl_json *j;
    const char *name;
    agrl_error err = {0};
    double t = 0;
    if (agrl_json_parse(line, strlen(line), "events", &j, &err)) fail_msg("%s: %s", line, err.msg);
    assert_true(agrl_json_str(agrl_json_get(j, "event"), &name, NULL) && agrl_json_f64(agrl_json_get(j, "t"), &t) && t > 1e9);
    agrl_buf_addf(events, "%s ", name);
    agrl_json_free(j);
  }
  agrl_buf_release(&b);
}

// --- tests ---

static void test_options(void **state) {
  fixture *f = *state;
  assert_int_equal(wait_exit(launch(f, (char *)"--check-config", NULL)), 0);
  assert_output(f, "ok\n");
  assert_int_equal(wait_exit(launch(f, (char *)"--help", NULL)), 0);
  assert_output(f, "--set PATH=VALUE");
  assert_int_equal(wait_exit(launch(f, (char *)"--version", NULL)), 0);
  assert_output(f, "agrl-toy " AGRL_VERSION_TEXT);
  assert_int_equal(wait_exit(launch(f, (char *)"--bogus", NULL)), 64);
  assert_int_equal(wait_exit(launch(f, (char *)"extra", NULL)), 64);
  assert_int_equal(wait_exit(launch(f, (char *)"--set", (char *)"novalue")), 64);
  assert_int_equal(wait_exit(launch(f, (char *)"--index", (char *)"1")), 64);  // a toy has no instances
  assert_int_equal(wait_exit(launch(f, (char *)"--set", (char *)"run.nmae=x")), 78);
  assert_output(f, "run.name");
  assert_int_equal(wait_exit(launch(f, (char *)"--set", (char *)"net.replay=tcp://0.0.0.0:5")), 77);
  write_config(f, "bogus: 1\n");
  assert_int_equal(wait_exit(launch(f, (char *)"--check-config", NULL)), 78);
  assert_output(f, "agrl.yaml:6:");
}

static void test_life(void **state) {
  fixture *f = *state;
  char answer[65536];
  agrl_arena a;
  agrl_arena_init(&a, 0);
  pid_t pid = launch(f, NULL, NULL);
  wait_ready(f);
  assert_true(get(f, "/healthz", answer, sizeof answer));
  assert_true(get(f, "/metrics", answer, sizeof answer));
  assert_non_null(strstr(answer, "agrl_run_info{run_id=\""));
  assert_non_null(strstr(answer, "agrl_transport_rejects_total{cause=\"crc\"} 0\n"));
  assert_non_null(strstr(answer, "agrl_transport_rtt_seconds NaN\n"));
  assert_string_equal(status_of(f, &a, "ready"), "true");
  assert_true(get(f, "/metrics", answer, sizeof answer));
  assert_non_null(strstr(answer, "agrl_transport_messages_total{direction=\"received\"} 1\n"));
  assert_int_equal(wait_exit(launch(f, NULL, NULL)), 75);  // the lock
  assert_output(f, "another toy runs");

  write_config(f, "  log_level: debug\n");
  kill(pid, SIGHUP);
  for (int i = 0; i < 200 && strcmp(status_of(f, &a, "reloads"), "1") != 0; i++) usleep(10000);
  assert_string_equal(status_of(f, &a, "reloads"), "1");
  write_config(f, "  log_level: debug\ngrpo:\n  lr: 0.5\n");
  kill(pid, SIGHUP);
  usleep(200000);
  assert_string_equal(status_of(f, &a, "reloads"), "1");

  kill(pid, SIGTERM);
  assert_int_equal(wait_exit(pid), 0);
  agrl_buf events = {0};
  read_events(f, &events);
  assert_string_equal(events.data, "start ready reloaded reload_refused draining stopped ");
  agrl_buf_release(&events);
  agrl_arena_release(&a);
}

static void test_restart_after_kill(void **state) {
  fixture *f = *state;
  agrl_arena a;
  agrl_arena_init(&a, 0);
  pid_t pid = launch(f, NULL, NULL);
  wait_ready(f);
  kill(pid, SIGKILL);
  assert_int_equal(wait_exit(pid), -SIGKILL);
  pid = launch(f, NULL, NULL);  // stale socket and lock file
  wait_ready(f);
  assert_string_equal(status_of(f, &a, "healthy"), "true");
  kill(pid, SIGINT);
  assert_int_equal(wait_exit(pid), 0);
  agrl_arena_release(&a);
}

static void test_port_taken(void **state) {
  fixture *f = *state;
  struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)(f->base_port + 7)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof in), 0);
  assert_int_equal(listen(fd, 1), 0);
  assert_int_equal(wait_exit(launch(f, NULL, NULL)), 78);
  assert_output(f, "obs.http_port");
  pid_t pid = launch(f, (char *)"--set", (char *)"obs.http_port=0");
  agrl_arena a;
  agrl_arena_init(&a, 0);
  assert_string_equal(status_of(f, &a, "http_port"), "0");
  kill(pid, SIGTERM);
  assert_int_equal(wait_exit(pid), 0);
  agrl_arena_release(&a);
  close(fd);
}

static void test_notify(void **state) {
  fixture *f = *state;
  struct sockaddr_un un = {.sun_family = AF_UNIX};
  snprintf(un.sun_path, sizeof un.sun_path, "%s/notify", f->dir);
  int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
  struct timeval limit = {.tv_sec = 10};
  assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof un), 0);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setenv("NOTIFY_SOCKET", un.sun_path, 1);
  setenv("WATCHDOG_USEC", "100000", 1);
  pid_t pid = launch(f, NULL, NULL);
  unsetenv("NOTIFY_SOCKET"), unsetenv("WATCHDOG_USEC");
  static const char *const want[] = {"READY=1", "WATCHDOG=1", "WATCHDOG=1", "STOPPING=1"};
  for (size_t i = 0; i < 4; i++) {
    char got[64] = "";
    do assert_true(recv(fd, got, sizeof got - 1, 0) > 0);
    while (i == 3 && !strncmp(got, "WATCHDOG=1", 10));
    if (i == 2) kill(pid, SIGTERM);
    assert_int_equal(strncmp(got, want[i], strlen(want[i])), 0);
  }
  assert_int_equal(wait_exit(pid), 0);
  close(fd);
}

static void test_watch(void **state) {
  svc_watch w = {0};
  uint64_t t = 1000, half = SVC_STALL_NS / 2;
  assert_int_equal(svc_watch_update(&w, t, 5, true), SVC_WATCH_SAME);
  assert_int_equal(svc_watch_update(&w, t += half, 5, true), SVC_WATCH_SAME);
  assert_int_equal(svc_watch_update(&w, t += half + 1, 5, true), SVC_WATCH_STALLED);
  assert_int_equal(svc_watch_update(&w, t += half, 5, true), SVC_WATCH_SAME);  // said once
  assert_true(w.stalled);
  assert_int_equal(svc_watch_update(&w, t += 1, 6, true), SVC_WATCH_MOVES);
  assert_false(w.stalled);
  assert_int_equal(svc_watch_update(&w, t += 2 * SVC_STALL_NS, 6, false), SVC_WATCH_SAME);  // nothing left to do
  assert_int_equal(svc_watch_update(&w, t += half, 6, true), SVC_WATCH_SAME);               // the clock starts with the work
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_options, setup, teardown),
      cmocka_unit_test_setup_teardown(test_life, setup, teardown),
      cmocka_unit_test_setup_teardown(test_restart_after_kill, setup, teardown),
      cmocka_unit_test_setup_teardown(test_port_taken, setup, teardown),
      cmocka_unit_test_setup_teardown(test_notify, setup, teardown),
      cmocka_unit_test(test_watch),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
