// SPDX-License-Identifier: Apache-2.0
// The supervisor's loop: children's exits, back-off, the order of stopping.
#include "deploy/ctl/super.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/mem.h"

#define TICK_MS 100
#define GRACE_NS (20 * UINT64_C(1000000000))
#define LEARNER_GRACE_NS (300 * UINT64_C(1000000000))  // it finishes the step under way and writes a checkpoint

// Each ends before those it still has something to tell: actors their traces, reward scored ones, the learner what it trained.
static const ctl_proc_kind stop_order[] = {CTL_KIND_ACTOR, CTL_KIND_REWARD, CTL_KIND_LEARNER, CTL_KIND_REPLAY};
enum { N_STAGES = sizeof stop_order / sizeof *stop_order };

void ctl_super_count(const ctl_super *s, size_t *running, size_t *wanted, unsigned *restarts) {
  *running = *wanted = 0;
  *restarts = 0;
  for (size_t i = 0; i < s->n; i++) {
    *restarts += s->procs[i].restarts;
    if (s->procs[i].kind != CTL_KIND_ACTOR) continue;
    *running += s->procs[i].state == CTL_PROC_RUNNING;
    *wanted += s->procs[i].state == CTL_PROC_RUNNING || s->procs[i].state == CTL_PROC_BACKOFF;
  }
}

void ctl_super_stop_evaluation(ctl_super *s) {
  printf("agrlctl: evaluation stopped; agrlctl report --evaluate --run-dir %s does it again\n", s->config->run.dir);
  kill(-s->eval_pid, SIGTERM);
}

void ctl_super_stop(ctl_super *s, ctl_end end) {
  if (end == CTL_END_ASKED && !s->asked_ns) s->asked_ns = agrl_mono_ns();
  if (s->stage >= 0) {  // a finished job that is draining: asked to stop, it is not evaluated
    if (end == CTL_END_ASKED && s->end == CTL_END_DONE) s->end = end;
    return;
  }
  s->end = end;
  s->stage = 0;
}

static bool job_finished(ctl_super *s) {
  ctl_view_refresh(&s->view);
  return ctl_job_finished(s->config);
}

static void fail_job(ctl_super *s, const ctl_proc *p) {
  if (s->stage >= 0) return;  // the job is ending already
  char *path = agrl_xasprintf("%s/%s.log", s->logs, p->name), *tail = ctl_log_tail(path, 6);
  snprintf(s->failure, sizeof s->failure, "%s ends at every start with exit code %d; its last lines (%s):\n%s",
           p->name, p->exit_code, path, tail);
  free(tail);
  free(path);
  s->exit_code = p->exit_code;
  ctl_super_stop(s, CTL_END_FAILED);
}

static void on_exit_of(ctl_super *s, ctl_proc *p, int status) {
  switch (ctl_proc_exited(p, status, agrl_mono_ns())) {
    case CTL_EXIT_STOPPED: break;
    case CTL_EXIT_HOPELESS: fail_job(s, p); break;
    case CTL_EXIT_CLEAN:
      if (p->kind == CTL_KIND_LEARNER && job_finished(s)) {
        p->state = CTL_PROC_STOPPED;
        ctl_super_stop(s, CTL_END_DONE);
      }
      break;
    case CTL_EXIT_FAILED:
      if (s->stage < 0)
        ctl_view_say(&s->view, "%s ended (%s %d), starting it again in %.1f s", p->name,
                     p->exit_code > 128 ? "signal" : "exit code",
                     p->exit_code > 128 ? p->exit_code - 128 : p->exit_code,
                     (double)(p->retry_ns - agrl_mono_ns()) * 1e-9);
      break;
  }
}

static void reap_evaluation(ctl_super *s);

static void reap(ctl_super *s) {
  reap_evaluation(s);
  ctl_evals_reap(&s->evals);
  for (size_t i = 0; i < s->n; i++) {
    int status;
    if (s->procs[i].pid > 0 && waitpid(s->procs[i].pid, &status, WNOHANG) == s->procs[i].pid)
      on_exit_of(s, &s->procs[i], status);
  }
}

static void start_one(ctl_super *s, ctl_proc *p) {
  agrl_error err = {0};
  unsigned before = p->restarts;
  if (ctl_proc_start(p, s->programs[p->kind], s->config_path, s->logs, agrl_mono_ns(), &err))
    ctl_view_say(&s->view, "%s", err.msg);
  if (p->restarts > before) ctl_metrics_restarted(&s->metrics, p->kind);
}

static void start_due(ctl_super *s) {
  uint64_t now = agrl_mono_ns();
  for (size_t i = 0; i < s->n; i++)
    if (s->procs[i].state == CTL_PROC_BACKOFF && now >= s->procs[i].retry_ns) start_one(s, &s->procs[i]);
}

static void enforce(ctl_super *s) {
  uint64_t now = agrl_mono_ns();
  for (size_t i = 0; i < s->n; i++) {
    ctl_proc *p = &s->procs[i];
    if (s->impatient && p->state == CTL_PROC_STOPPING && p->kill_ns != UINT64_MAX) p->kill_ns = now;
    if (!ctl_proc_enforce(p, now)) continue;
    s->killed++;
    ctl_view_say(&s->view, "%s did not end in time and was killed; what was acknowledged is safe", p->name);
  }
}

// agrlctl report --evaluate as a process of its own, so that the supervisor goes on answering.
static void start_evaluation(ctl_super *s) {
  if (s->eval_pid) return;
  ctl_view_draw(&s->view, true);
  ctl_view_quiet(&s->view);
  puts("agrlctl: the last version is trained; evaluating");
  fflush(stdout);
  char *argv[] = {"agrlctl", "report", "--evaluate", "--run-dir", s->config->run.dir, NULL};
  pid_t pid = ctl_fork();
  if (!pid) {
    execv("/proc/self/exe", argv);
    _exit(127);
  }
  s->eval_pid = pid;
  if (pid > 0) return;
  s->exit_code = agrl_rc_exit(AGRL_ENOMEM);
  uv_stop(&s->loop);
}

static void reap_evaluation(ctl_super *s) {
  int status;
  if (s->eval_pid <= 0 || waitpid(s->eval_pid, &status, WNOHANG) != s->eval_pid) return;
  s->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  s->eval_pid = 0;
  ctl_metrics_evaluations(&s->metrics);
  uv_stop(&s->loop);
}

// Every process of the job has ended. The last version is evaluated still, after the one under way; not when stop was asked for.
static void finish(ctl_super *s) {
  if (s->finished) return;
  if (s->end == CTL_END_DONE) {
    ctl_evals_tick(&s->evals, true);
    if (ctl_evals_busy(&s->evals)) return;  // the tick comes again
  }
  s->finished = true;
  if (s->end == CTL_END_DONE && s->evaluate) start_evaluation(s);
  else uv_stop(&s->loop);
}

// One stage stops one kind; the next begins when all of it has ended.
static void advance_stop(ctl_super *s) {
  for (; s->stage < N_STAGES; s->stage++) {
    size_t left = 0;
    for (size_t i = 0; i < s->n; i++) {
      ctl_proc *p = &s->procs[i];
      if (p->kind != stop_order[s->stage] && !s->impatient) {
        if (p->state == CTL_PROC_BACKOFF) p->state = CTL_PROC_STOPPED;  // nothing is started any more
        continue;
      }
      ctl_proc_stop(p, agrl_mono_ns(), s->impatient ? 0 : p->kind == CTL_KIND_LEARNER ? LEARNER_GRACE_NS : GRACE_NS);
      left += p->state != CTL_PROC_STOPPED;
    }
    if (left) return;
  }
  finish(s);
}

// The highest numbers go first; those that have drained leave the table.
agrl_rc ctl_super_scale(ctl_super *s, uint64_t actors, agrl_error *err) {
  if (actors > 1024) return agrl_fail(err, AGRL_EINVAL, "at most 1024 actors");
  if (s->stage >= 0) return agrl_fail(err, AGRL_EAGAIN, "the job is stopping");
  uint64_t now = agrl_mono_ns();
  for (uint64_t index = 0; index < 1024; index++) {
    ctl_proc *p = NULL;
    for (size_t i = 0; i < s->n && !p; i++)
      if (s->procs[i].kind == CTL_KIND_ACTOR && (uint64_t)s->procs[i].index == index) p = &s->procs[i];
    if (index >= actors && p) ctl_proc_stop(p, now, 3 * GRACE_NS);
    if (index >= actors || (p && (p->state == CTL_PROC_RUNNING || p->state == CTL_PROC_BACKOFF))) continue;
    if (p && p->state == CTL_PROC_STOPPING)
      return agrl_fail(err, AGRL_EAGAIN, "%s is still draining; try again", p->name);
    if (!p) p = &s->procs[s->n++];
    ctl_proc_init(p, CTL_KIND_ACTOR, (int)index);
    start_one(s, p);
  }
  return AGRL_OK;
}

static void on_tick(uv_timer_t *t) {
  ctl_super *s = t->data;
  reap(s);
  enforce(s);
  if (s->stage < 0) start_due(s);
  else if (s->stage < N_STAGES) advance_stop(s);
  else finish(s);
  if (s->stage < 0) ctl_evals_tick(&s->evals, false);
  ctl_super_count(s, &s->view.actors_running, &s->view.actors_wanted, &s->view.restarts);
  s->view.stopping = s->stage >= 0;
  ctl_watch_tick(&s->watch);
  ctl_metrics_states(&s->metrics, s->procs, s->n);
  ctl_metrics_evaluations(&s->metrics);
  ctl_view_draw(&s->view, false);
}

static void on_signal(uv_signal_t *h, int signum) {
  ctl_super *s = h->data;
  if (signum == SIGCHLD) {
    reap(s);
    if (s->stage >= 0 && s->stage < N_STAGES) advance_stop(s);
  } else if (signum == SIGHUP) {
    for (size_t i = 0; i < s->n; i++)
      if (s->procs[i].state == CTL_PROC_RUNNING) kill(s->procs[i].pid, SIGHUP);
  } else if (s->eval_pid > 0) {
    ctl_super_stop_evaluation(s);
  } else if (s->stage < 0) {
    ctl_view_say(&s->view, "stopping: actors drain, then reward, learner and replay (again: kill)");
    ctl_super_stop(s, CTL_END_ASKED);
  } else if (!s->asked_ns) {
    ctl_super_stop(s, CTL_END_ASKED);
  } else if (agrl_since_s(s->asked_ns) > 1) {
    s->impatient = true;
  }
}

static void watch_signal(ctl_super *s, uv_signal_t *h, int signum) {
  uv_signal_init(&s->loop, h);
  h->data = s;
  uv_signal_start(h, on_signal, signum);
}

static agrl_rc find_programs(ctl_super *s, agrl_error *err) {
  for (int k = 0; k < CTL_KIND_N; k++) {
    s->programs[k] = ctl_program(ctl_proc_program((ctl_proc_kind)k));
    if (!s->programs[k])
      return agrl_fail(err, AGRL_ENOENT, "%s is neither beside agrlctl nor in $PATH; build or install it",
                       ctl_proc_program((ctl_proc_kind)k));
  }
  return AGRL_OK;
}

static agrl_rc open_loop(ctl_super *s, agrl_error *err) {
  if (uv_loop_init(&s->loop)) return agrl_fail(err, AGRL_EIO, "no event loop");
  s->loop_open = true;
  char *endpoint = agrl_config_endpoint(s->config, "control");
  agrl_rc rc = agrl_net_open(&s->net, &s->loop, err);
  if (!rc)
    rc = agrl_sock_open(s->net, AGRL_SOCK_ROUTER, "control", endpoint, true, 64, ctl_super_on_control, s, &s->control,
                        err);
  free(endpoint);
  static const agrl_http_hooks hooks = {0};
  if (!rc && s->config->obs.http_port)
    rc = agrl_http_start(&s->http, &s->loop, s->config->obs.http_host, (int)s->config->obs.http_port, &hooks, err);
  if (rc) return rc;
  watch_signal(s, &s->sig_int, SIGINT);
  watch_signal(s, &s->sig_term, SIGTERM);
  watch_signal(s, &s->sig_child, SIGCHLD);
  watch_signal(s, &s->sig_hup, SIGHUP);
  ctl_watch_init(&s->watch, &s->loop, s->config->obs.http_host, (int)s->config->obs.http_port, s->procs, &s->n);
  uv_timer_init(&s->loop, &s->tick);
  s->tick.data = s;
  uv_timer_start(&s->tick, on_tick, TICK_MS, TICK_MS);
  return AGRL_OK;
}

static void close_handle(uv_handle_t *h, void *arg) {
  if (!uv_is_closing(h)) uv_close(h, NULL);
}

static void close_loop(ctl_super *s) {
  if (!s->loop_open) return;
  ctl_watch_stop(&s->watch);
  if (s->http) agrl_http_stop(s->http);
  if (s->net) agrl_net_close(s->net);
  uv_run(&s->loop, UV_RUN_NOWAIT);
  uv_walk(&s->loop, close_handle, NULL);
  uv_run(&s->loop, UV_RUN_DEFAULT);
  uv_loop_close(&s->loop);
  s->loop_open = false;
}

ctl_end ctl_super_run(ctl_super *s, const agrl_config *config, const char *config_path, bool evaluate,
                      void (*ready)(void *), void *user, agrl_error *err) {
  *s = (ctl_super){.config = config, .evaluate = evaluate, .stage = -1, .started_ns = agrl_mono_ns()};
  signal(SIGPIPE, SIG_IGN);  // a reader of our lines that went away (| tee, | head) must not end the job
  s->config_path = agrl_xstrdup(config_path);
  s->logs = agrl_path_join(config->run.dir, "logs");
  char *socks = agrl_path_join(config->run.dir, "sock");
  ctl_view_init(&s->view, config);
  agrl_rc rc = find_programs(s, err);
  if (!rc) rc = agrl_file_mkdirs(s->logs, err);
  if (!rc) rc = agrl_file_mkdirs(socks, err);
  free(socks);
  if (!rc) rc = ctl_evals_init(&s->evals, config, &s->view, err);
  if (!rc) ctl_metrics_register(&s->metrics, config);
  if (!rc) rc = open_loop(s, err);
  if (rc) {
    s->exit_code = agrl_rc_exit(rc);
    return s->end = CTL_END_FAILED;
  }
  for (int k = CTL_KIND_REWARD; k < CTL_KIND_N; k++) ctl_proc_init(&s->procs[s->n++], (ctl_proc_kind)k, 0);
  for (int i = 0; i < config->actor.count && s->n < CTL_MAX_PROCS; i++)
    ctl_proc_init(&s->procs[s->n++], CTL_KIND_ACTOR, i);
  for (size_t i = 0; i < s->n; i++) start_one(s, &s->procs[i]);
  if (ready) ready(user);
  ctl_view_output_changed(&s->view);
  uv_run(&s->loop, UV_RUN_DEFAULT);
  if (!s->evaluate || s->end != CTL_END_DONE) ctl_view_draw(&s->view, true);
  close_loop(s);
  return s->end;
}

void ctl_super_release(ctl_super *s) {
  close_loop(s);
  ctl_evals_release(&s->evals);
  ctl_metrics_release(&s->metrics);
  ctl_view_release(&s->view);
  for (int k = 0; k < CTL_KIND_N; k++) free(s->programs[k]);
  free(s->config_path);
  free(s->logs);
}
