// SPDX-License-Identifier: Apache-2.0
// Metrics: the exposition text exactly, buckets that never go down, undefined gauges, what promtool says of it, the HTTP
// pages over a real connection, and JSON lines after a torn write.
#include <arpa/inet.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/file.h"
#include "common/obs/http.h"
#include "common/obs/metric.h"

static const char *const stops[] = {"eos", "length", NULL};
static const char *const kinds[] = {"a\"b", "c\\d", NULL};
static const double bounds[] = {0.5, 1, 2.5};
static const agrl_metric_desc counter = {.name = "agrl_test_rollouts_total", .help = "Line\nbreak.", .type = AGRL_COUNTER, .label = "stop", .values = stops};
static const agrl_metric_desc gauge = {.name = "agrl_test_ratio", .help = "Ratio.", .type = AGRL_GAUGE, .label = "stop", .values = stops, .label2 = "kind", .values2 = kinds};
static const agrl_metric_desc hist = {.name = "agrl_test_seconds", .help = "Time.", .type = AGRL_HISTOGRAM, .bounds = bounds, .n_bounds = 3};

static char *expose(void) {
  agrl_buf b = {0};
  agrl_metrics_expose(&b);
  return agrl_buf_take(&b);
}

static int reset(void **state) {
  agrl_metrics_reset();
  return 0;
}

static void test_text(void **state) {
  agrl_metric *c = agrl_metric_register(&counter), *g = agrl_metric_register(&gauge), *h = agrl_metric_register(&hist);
  agrl_metric_add(c, 1, 2);
  agrl_metric_add(c, 1, 0.5);
  agrl_metric_set(g, 1 * 2 + 0, 0.1);
  static const double seen[] = {0.5, 0.6, 2.5, 3, 100};
  for (size_t i = 0; i < 5; i++) agrl_metric_observe(h, 0, seen[i]);
  agrl_metric_observe(h, 0, NAN);  // no observation
  char *text = expose();
  const char *want =
      "# HELP agrl_test_rollouts_total Line\\nbreak.\n# TYPE agrl_test_rollouts_total counter\n"
      "agrl_test_rollouts_total{stop=\"eos\"} 0\nagrl_test_rollouts_total{stop=\"length\"} 2.5\n"
      "# HELP agrl_test_ratio Ratio.\n# TYPE agrl_test_ratio gauge\n"
      "agrl_test_ratio{stop=\"eos\",kind=\"a\\\"b\"} NaN\nagrl_test_ratio{stop=\"eos\",kind=\"c\\\\d\"} NaN\n"
      "agrl_test_ratio{stop=\"length\",kind=\"a\\\"b\"} 0.1\nagrl_test_ratio{stop=\"length\",kind=\"c\\\\d\"} NaN\n"
      "# HELP agrl_test_seconds Time.\n# TYPE agrl_test_seconds histogram\n"
      "agrl_test_seconds_bucket{le=\"0.5\"} 1\nagrl_test_seconds_bucket{le=\"1\"} 2\nagrl_test_seconds_bucket{le=\"2.5\"} 3\n"
      "agrl_test_seconds_bucket{le=\"+Inf\"} 5\nagrl_test_seconds_sum 106.6\nagrl_test_seconds_count 5\n";
  assert_int_equal(strncmp(text, want, strlen(want)), 0);
  static const char *const process[] = {"\nagrl_build_info{version=\"", "\nprocess_cpu_seconds_total ", "\nprocess_resident_memory_bytes ",
                                        "\nprocess_virtual_memory_bytes ", "\nprocess_open_fds ", "\nprocess_max_fds ", "\nprocess_start_time_seconds "};
  for (size_t i = 0; i < sizeof process / sizeof *process; i++)
    if (!strstr(text, process[i])) fail_msg("missing %s", process[i]);
  assert_true(strtod(strstr(text, "\nprocess_resident_memory_bytes ") + 31, NULL) > 100000);
  assert_int_equal(agrl_metric_count(h, 0), 5);
  assert_true(agrl_metric_get(c, 1) == 2.5 && isnan(agrl_metric_get(g, 0)));
  agrl_metric_add(g, 0, 3);
  assert_true(agrl_metric_get(g, 0) == 3);
  free(text);
}

static void test_promtool(void **state) {
  if (system("command -v promtool >/dev/null 2>&1") != 0) skip();
  agrl_metric_register(&counter), agrl_metric_register(&gauge), agrl_metric_register(&hist);
  FILE *p = popen("promtool check metrics >/dev/null 2>&1", "w");
  char *text = expose();
  assert_non_null(p);
  fputs(text, p);
  free(text);
  int status = pclose(p);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
}

static void *observe_many(void *arg) {
  for (int i = 0; i < 200000; i++) agrl_metric_observe(arg, 0, (double)(i % 4));
  return NULL;
}

// While other threads observe: cumulative buckets ascend, and the last one is the count.
static void test_buckets_are_monotone(void **state) {
  agrl_metric *h = agrl_metric_register(&hist);
  pthread_t t[2];
  for (int i = 0; i < 2; i++) pthread_create(&t[i], NULL, observe_many, h);
  for (int round = 0; round < 200; round++) {
    char *text = expose(), *p = text;
    double last = -1, v = -1;
    int buckets = 0;
    while ((p = strstr(p, "\nagrl_test_seconds_bucket{")) != NULL) {
      v = strtod(strchr(p, '}') + 1, NULL);
      assert_true(v >= last);
      last = v;
      buckets++;
      p++;
    }
    assert_int_equal(buckets, 4);
    assert_true(strtod(strstr(text, "\nagrl_test_seconds_count ") + 25, NULL) == v);
    free(text);
  }
  for (int i = 0; i < 2; i++) pthread_join(t[i], NULL);
  assert_int_equal(agrl_metric_count(h, 0), 400000);
  assert_true(agrl_metric_get(h, 0) == 600000);
}

static int exit_of(void (*fn)(void)) {
  int status;
  fflush(NULL);
  pid_t pid = fork();
  if (pid == 0) {
    if (!freopen("/dev/null", "w", stderr)) _exit(9);
    signal(SIGABRT, SIG_DFL);
    fn();
    _exit(0);
  }
  waitpid(pid, &status, 0);
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}
static void twice(void) { agrl_metric_register(&counter), agrl_metric_register(&counter); }
static void downwards(void) { agrl_metric_add(agrl_metric_register(&counter), 0, -1); }
static void out_of_set(void) { agrl_metric_add(agrl_metric_register(&counter), 2, 1); }
static void unsorted(void) {
  static const double bad[] = {1, 1};
  static const agrl_metric_desc d = {.name = "agrl_test_bad", .help = "h", .type = AGRL_HISTOGRAM, .bounds = bad, .n_bounds = 2};
  agrl_metric_register(&d);
}
static void fine(void) { agrl_metric_register(&counter); }

static void test_bugs_abort(void **state) {
  assert_int_equal(exit_of(fine), 0);
  void (*const bugs[])(void) = {twice, downwards, out_of_set, unsorted};
  for (size_t i = 0; i < 4; i++)
    if (exit_of(bugs[i]) == 0) fail_msg("bug %zu passed", i);
}

// --- HTTP ---

typedef struct page {
  int port;
  const char *request;
  char answer[65536];
  uv_async_t *done;
} page;

static void *fetch(void *arg) {
  page *p = arg;
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)p->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  size_t len = 0;
  if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0 && write(fd, p->request, strlen(p->request)) > 0)
    for (ssize_t n; len < sizeof p->answer - 1 && (n = read(fd, p->answer + len, sizeof p->answer - 1 - len)) > 0;) len += (size_t)n;
  p->answer[len] = '\0';
  close(fd);
  uv_async_send(p->done);
  return NULL;
}

static void on_done(uv_async_t *a) { uv_stop(a->loop); }
static bool sick(void *user, char *why, size_t cap) {
  snprintf(why, cap, "stalled");
  return *(bool *)user;
}

static void get(uv_loop_t *loop, uv_async_t *done, page *p, const char *method, const char *path) {
  char request[256];
  pthread_t t;
  snprintf(request, sizeof request, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", method, path);
  p->request = request;
  p->done = done;
  pthread_create(&t, NULL, fetch, p);
  uv_run(loop, UV_RUN_DEFAULT);
  pthread_join(t, NULL);
}

static void test_http(void **state) {
  uv_loop_t loop;
  uv_async_t done;
  agrl_http *h, *second;
  bool healthy = false;
  agrl_error err = {0};
  agrl_http_hooks hooks = {.healthy = sick, .user = &healthy};
  agrl_metric_register(&counter);
  uv_loop_init(&loop);
  uv_async_init(&loop, &done, on_done);
  assert_int_equal(agrl_http_start(&h, &loop, "0.0.0.0", 0, &hooks, &err), AGRL_ECONFIG);
  assert_int_equal(agrl_http_start(&h, &loop, "127.0.0.1", 0, &hooks, &err), AGRL_OK);
  page *p = calloc(1, sizeof *p);
  p->port = agrl_http_port(h);
  assert_int_equal(agrl_http_start(&second, &loop, "127.0.0.1", p->port, &hooks, &err), AGRL_ECONFIG);
  char number[16];
  snprintf(number, sizeof number, "%d", p->port);
  assert_true(strstr(err.msg, number) && strstr(err.msg, "obs.http_port"));
  get(&loop, &done, p, "GET", "/metrics");
  assert_non_null(strstr(p->answer, "200 OK"));
  assert_non_null(strstr(p->answer, "text/plain; version=0.0.4"));
  assert_non_null(strstr(p->answer, "agrl_test_rollouts_total{stop=\"eos\"} 0"));
  get(&loop, &done, p, "GET", "/healthz");
  assert_non_null(strstr(p->answer, " 503 "));
  assert_non_null(strstr(p->answer, "stalled"));
  healthy = true;
  get(&loop, &done, p, "GET", "/healthz");
  assert_non_null(strstr(p->answer, "200 OK"));
  get(&loop, &done, p, "GET", "/readyz");
  assert_non_null(strstr(p->answer, "200 OK"));
  get(&loop, &done, p, "GET", "/other");
  assert_non_null(strstr(p->answer, " 404 "));
  get(&loop, &done, p, "DELETE", "/metrics");
  assert_non_null(strstr(p->answer, " 405 "));
  agrl_http_stop(h);
  uv_close((uv_handle_t *)&done, NULL);
  uv_run(&loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&loop), 0);
  free(p);
}

static void test_jsonl(void **state) {
  char path[] = "/tmp/agrl-jsonl-XXXXXX";
  int fd = mkstemp(path);
  agrl_jsonl *j;
  agrl_buf b = {0};
  assert_int_equal(write(fd, "{\"torn\":", 8), 8);
  close(fd);
  assert_int_equal(agrl_jsonl_open(&j, path, NULL), AGRL_OK);
  agrl_jsonl_write(j, "{\"a\":1}", 7);
  agrl_jsonl_write(j, "{\"a\":2}", 7);
  assert_int_equal(agrl_jsonl_lost(), 0);
  agrl_jsonl_close(j);
  assert_int_equal(agrl_file_read(path, 1000, &b, NULL), AGRL_OK);
  assert_string_equal(b.data, "{\"torn\":\n{\"a\":1}\n{\"a\":2}\n");
  agrl_buf_release(&b);
  unlink(path);
  assert_int_equal(agrl_jsonl_open(&j, "/dev/full", NULL), AGRL_OK);
  agrl_jsonl_write(j, "{}", 2);
  assert_int_equal(agrl_jsonl_lost(), 1);
  agrl_jsonl_close(j);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_teardown(test_text, reset),
      cmocka_unit_test_teardown(test_promtool, reset),
      cmocka_unit_test_teardown(test_buckets_are_monotone, reset),
      cmocka_unit_test_teardown(test_bugs_abort, reset),
      cmocka_unit_test_teardown(test_http, reset),
      cmocka_unit_test(test_jsonl),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
