// SPDX-License-Identifier: Apache-2.0
// The life of a daemon: options, configuration, directories, lock, loop, HTTP, start, run, drain, stop, exit code.
#include "common/svc/svc.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/svc/svc_impl.h"

#define CLOSE_DEADLINE_S 5.0

// --- preparation ---

static agrl_rc make_dirs(svc_private *p, agrl_error *err) {
  static const char *const services[] = {"replay", "reward", "weights", "announce", "control"};
  agrl_rc rc = agrl_file_mkdirs(p->pub.config.run.dir, err);
  char *sock = agrl_path_join(p->pub.config.run.dir, "sock");
  if (rc == AGRL_OK) rc = agrl_file_mkdirs(sock, err);
  free(sock);
  for (size_t i = 0; i < sizeof services / sizeof *services && rc == AGRL_OK; i++) {
    char *endpoint = agrl_config_endpoint(&p->pub.config, services[i]);
    if (strncmp(endpoint, "ipc://", 6) == 0 && endpoint[6] != '@') {
      char *dir = agrl_path_dir(endpoint + 6);
      rc = agrl_file_mkdirs(dir, err);
      free(dir);
    }
    free(endpoint);
  }
  return rc;
}

// Two daemons of one name in one run would take each other's sockets away. The lock goes with the process, however it dies.
static agrl_rc take_lock(svc_private *p, agrl_error *err) {
  char *path = agrl_xasprintf("%s/sock/%s.lock", p->pub.config.run.dir, p->pub.name);
  agrl_rc rc = AGRL_OK;
  p->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (p->lock_fd < 0)
    rc = agrl_fail(err, errno == EACCES ? AGRL_EPERM : AGRL_EIO, "%s: %s", path, strerror(errno));
  else if (flock(p->lock_fd, LOCK_EX | LOCK_NB) != 0)
    rc = agrl_fail(err, AGRL_EAGAIN, "%s: another %s runs in %s; stop it, or use another run.dir", path, p->pub.name,
                   p->pub.config.run.dir);
  free(path);
  return rc;
}

static agrl_rc open_events(svc_private *p, agrl_error *err) {
  char *path = agrl_path_join(p->pub.config.run.dir, "events.jsonl");
  agrl_rc rc = agrl_jsonl_open(&p->pub.events, path, err);
  free(path);
  return rc;
}

static agrl_rc start_http(svc_private *p, agrl_error *err) {
  agrl_svc *s = &p->pub;
  if (s->config.obs.http_port == 0) return AGRL_OK;
  agrl_http_hooks hooks;
  svc_observe_hooks(p, &hooks);
  int64_t port = s->config.obs.http_port + s->def->http_offset + s->index;
  if (port > 65535)
    return agrl_fail(err, AGRL_ECONFIG, "obs.http_port: %s would need port %" PRId64 "; lower it", s->name, port);
  return agrl_http_start(&p->http, &s->loop, s->config.obs.http_host, (int)port, &hooks, err);
}

// --- signals and timers ---

static void on_drain_deadline(uv_timer_t *t) {
  svc_private *p = t->data;
  agrl_logw("drain took longer than %u s, stopping", SVC_DRAIN_MS / 1000u);
  agrl_svc_stop(&p->pub, 0);
}

static void on_terminate(svc_private *p, int signum) {
  agrl_svc *s = &p->pub;
  bool again = s->draining;
  agrl_logi("%s signal=%s", again ? "stopping at once" : "draining", signum == SIGINT ? "INT" : "TERM");
  s->draining = true;
  if (again || s->def->drain == NULL) {
    agrl_svc_stop(s, 0);
    return;
  }
  agrl_notify("STOPPING=1");
  agrl_svc_event(s, "draining", NULL);
  uv_timer_start(&p->drain_timer, on_drain_deadline, SVC_DRAIN_MS, 0);
  s->def->drain(s);
}

static void on_signal(uv_signal_t *h, int signum) {
  svc_private *p = h->data;
  if (signum == SIGHUP)
    svc_reload(p);
  else
    on_terminate(p, signum);
}

static void on_watch(uv_timer_t *t) {
  svc_private *p = t->data;
  agrl_svc *s = &p->pub;
  uint64_t now = agrl_mono_ns();
  bool work_left = false;
  uint64_t value = s->def->progress != NULL ? s->def->progress(s, &work_left) : 0;
  svc_watch_change change = svc_watch_update(&p->watch, now, value, work_left);
  if (change == SVC_WATCH_STALLED) {
    agrl_loge("stalled: work is left and nothing moved for %.0f s progress=%" PRIu64, agrl_since_s(p->watch.moved_ns), value);
    agrl_svc_event(s, "stalled", "\"progress\":%" PRIu64, value);
  } else if (change == SVC_WATCH_MOVES) {
    agrl_logi("moving again progress=%" PRIu64, value);
    agrl_svc_event(s, "moving", "\"progress\":%" PRIu64, value);
  }
  // The loop turns: that is what the service manager watches. A stall is not cured by a restart where a peer is what is missing.
  if (p->watchdog_ns > 0) agrl_notify("WATCHDOG=1");
}

static void start_handles(svc_private *p) {
  static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
  uv_loop_t *loop = &p->pub.loop;
  for (size_t i = 0; i < 3; i++) {
    uv_signal_init(loop, &p->signals[i]);
    p->signals[i].data = p;
    uv_signal_start(&p->signals[i], on_signal, numbers[i]);
  }
  uv_timer_init(loop, &p->drain_timer);
  uv_timer_init(loop, &p->watch_timer);
  p->drain_timer.data = p->watch_timer.data = p;
  p->watchdog_ns = agrl_notify_watchdog_ns();
  uint64_t ms = p->watchdog_ns > 0 && p->watchdog_ns / 1000000u < SVC_CHECK_MS ? p->watchdog_ns / 1000000u : SVC_CHECK_MS;
  uv_timer_start(&p->watch_timer, on_watch, ms, ms > 0 ? ms : 1);
}

static void close_handles(svc_private *p) {
  for (size_t i = 0; i < 3; i++) uv_close((uv_handle_t *)&p->signals[i], NULL);
  uv_close((uv_handle_t *)&p->drain_timer, NULL);
  uv_close((uv_handle_t *)&p->watch_timer, NULL);
}

// --- the public half ---

void agrl_svc_ready(agrl_svc *s) {
  if (s->ready) return;
  s->ready = true;
  agrl_notify("READY=1");
  agrl_logi("ready");
  agrl_svc_event(s, "ready", NULL);
}

void agrl_svc_stop(agrl_svc *s, int exit_code) {
  svc_private *p = svc_private_of(s);
  if (!p->stopped) {
    p->stopped = true;
    p->exit_code = exit_code;
  }
  uv_stop(&s->loop);
}

// --- life ---

static void name_handle(uv_handle_t *h, void *arg) {
  (void)arg;
  if (!uv_is_closing(h)) agrl_logw("handle left open type=%s", uv_handle_type_name(h->type));
}

// Runs the remaining close callbacks. A handle that its owner forgot is named rather than waited for.
static void empty_loop(svc_private *p) {
  uint64_t start = agrl_mono_ns();
  while (uv_run(&p->pub.loop, UV_RUN_NOWAIT) != 0) {
    if (agrl_since_s(start) < CLOSE_DEADLINE_S) {
      usleep(1000);
      continue;
    }
    uv_walk(&p->pub.loop, name_handle, NULL);
    return;
  }
  uv_walk(&p->pub.loop, name_handle, NULL);
  if (uv_loop_close(&p->pub.loop) != 0) agrl_logw("loop closed with handles left open");
}

static agrl_rc open_all(svc_private *p, agrl_error *err) {
  agrl_svc *s = &p->pub;
  agrl_rc rc = make_dirs(p, err);
  if (rc == AGRL_OK) rc = take_lock(p, err);
  if (rc == AGRL_OK) rc = open_events(p, err);
  if (rc != AGRL_OK) return rc;
  uv_loop_init(&s->loop);
  svc_observe_register(p);
  rc = agrl_net_open(&s->net, &s->loop, err);
  if (rc == AGRL_OK) rc = start_http(p, err);
  return rc;
}

static void run_and_stop(svc_private *p) {
  agrl_svc *s = &p->pub;
  if (!p->stopped) uv_run(&s->loop, UV_RUN_DEFAULT);
  agrl_notify("STOPPING=1");
  s->draining = true;
  if (s->def->stop != NULL) s->def->stop(s);
  agrl_http_stop(p->http);
  agrl_net_close(s->net);
  close_handles(p);
  empty_loop(p);
  agrl_svc_event(s, "stopped", "\"exit\":%d", p->exit_code);
  agrl_logi("stopped exit=%d", p->exit_code);
}

// After a failed start nothing is unwound: the process ends, and with it sockets, lock and memory.
static int run_service(svc_private *p) {
  agrl_svc *s = &p->pub;
  agrl_error err = {0};
  agrl_rc rc = open_all(p, &err);
  if (rc == AGRL_OK) {
    start_handles(p);
    agrl_svc_event(s, "start", "\"run\":\"%016" PRIx64 "\",\"pid\":%ld", s->run_id, (long)getpid());
    agrl_logi("start version=%s run=%016" PRIx64 " dir=%s http_port=%d", AGRL_VERSION_TEXT, s->run_id, s->config.run.dir,
              p->http != NULL ? agrl_http_port(p->http) : 0);
    rc = s->def->start(s, &err);
  }
  if (rc != AGRL_OK) {
    agrl_loge("cannot start: %s", err.msg);
    agrl_svc_event(s, "start_failed", "\"exit\":%d", agrl_rc_exit(rc));
    return agrl_rc_exit(rc);
  }
  run_and_stop(p);
  agrl_jsonl_close(s->events);
  close(p->lock_fd);
  agrl_metrics_reset();
  svc_reload_release(p);
  agrl_config_release(&s->config);
  free(s->state);
  return p->exit_code;
}

int agrl_svc_main(const agrl_svc_def *def, int argc, char **argv) {
  static svc_private p;
  agrl_svc *s = &p.pub;
  agrl_error err = {0};
  int code;
  agrl_hold_standard_streams();
  p = (svc_private){.pub = {.def = def}, .lock_fd = -1, .started_ns = agrl_mono_ns()};
  svc_options_parse(def, argc, argv, &p.options, &code);
  if (code >= 0) return code;
  agrl_rc loaded = svc_options_config(&p.options, &s->config, &err);
  if (loaded != AGRL_OK) {
    fprintf(stderr, "agrl-%s: %s\n", def->name, err.msg);
    return agrl_rc_exit(loaded);
  }
  if (p.options.check) {
    agrl_rc rc = def->check ? def->check(&s->config, &err) : AGRL_OK;
    agrl_config_release(&s->config);
    if (rc != AGRL_OK) fprintf(stderr, "agrl-%s: %s\n", def->name, err.msg);
    else puts("ok");
    return agrl_rc_exit(rc);
  }
  s->index = p.options.index;
  if (def->http_offset >= SVC_NUMBERED_OFFSET)
    snprintf(s->name, sizeof s->name, "%s-%d", def->name, s->index);
  else
    snprintf(s->name, sizeof s->name, "%s", def->name);
  s->run_id = agrl_config_run_id(&s->config);
  agrl_log_init(s->name, (agrl_log_level)s->config.obs.log_level);
  signal(SIGPIPE, SIG_IGN);
  s->state = agrl_xcalloc(1, def->state_bytes > 0 ? def->state_bytes : 1);
  return run_service(&p);
}
