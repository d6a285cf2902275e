// SPDX-License-Identifier: Apache-2.0
// The control endpoint: STATUS_REQUEST, and CONTROL with the verbs scale, stop, status, restart.
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/num.h"
#include "deploy/ctl/super.h"

static void kv(agrl_arena *a, agrl_kv *items, size_t *n, const char *key, const char *value) {
  items[(*n)++] = (agrl_kv){agrl_arena_strdup(a, key), value};
}

static void answer_status(ctl_super *s, agrl_sock *sock, const agrl_peer *peer, const agrl_msg *m) {
  agrl_arena a;
  agrl_arena_init(&a, 0);
  agrl_kv *items = agrl_arena_alloc(&a, (s->n * 5 + 8) * sizeof *items);
  size_t n = 0;
  kv(&a, items, &n, "state", s->eval_pid > 0 ? "evaluating" : s->stage >= 0 ? "stopping" : "running");
  kv(&a, items, &n, "run_dir", s->config->run.dir);
  kv(&a, items, &n, "uptime_seconds", agrl_arena_printf(&a, "%.1f", agrl_since_s(s->started_ns)));
  for (size_t i = 0; i < s->n && n + 5 < 1000; i++) {  // the wire carries at most 1,024 items
    const ctl_proc *p = &s->procs[i];
    double up = p->state == CTL_PROC_RUNNING ? agrl_since_s(p->started_ns) : 0;
    kv(&a, items, &n, agrl_arena_printf(&a, "process.%s", p->name),
       agrl_arena_printf(&a, "%s %d %u %.1f %d", ctl_proc_state_name(p->state), (int)p->pid, p->restarts, up,
                         p->exit_code));
  }
  agrl_msg out = {.kind = AGRL_MSG_STATUS, .status = {.service = "control", .n = n, .items = items}};
  agrl_reply(sock, peer, m, &out);
  agrl_arena_release(&a);
}

static agrl_rc restart(ctl_super *s, const char *name, agrl_error *err) {
  for (size_t i = 0; i < s->n; i++) {
    if (strcmp(s->procs[i].name, name)) continue;
    if (s->procs[i].state != CTL_PROC_RUNNING) return agrl_fail(err, AGRL_EAGAIN, "%s is not running", name);
    kill(s->procs[i].pid, SIGTERM);  // its exit leads to a new start
    return AGRL_OK;
  }
  return agrl_fail(err, AGRL_ENOENT, "no process '%s'", name);
}

static agrl_rc obey(ctl_super *s, const agrl_msg_control *c, agrl_error *err) {
  uint64_t actors;
  if (!strcmp(c->verb, "stop") && s->eval_pid > 0) return ctl_super_stop_evaluation(s), AGRL_OK;
  if (!strcmp(c->verb, "stop")) return ctl_super_stop(s, CTL_END_ASKED), AGRL_OK;
  if (!strcmp(c->verb, "restart")) return restart(s, c->arg, err);
  if (strcmp(c->verb, "scale")) return agrl_fail(err, AGRL_EUNSUPPORTED, "unknown verb '%s'", c->verb);
  if (!agrl_parse_u64(c->arg, &actors)) return agrl_fail(err, AGRL_EINVAL, "scale: '%s' is not a number", c->arg);
  return ctl_super_scale(s, actors, err);
}

void ctl_super_on_control(void *user, agrl_sock *sock, const agrl_peer *peer, const agrl_msg *m) {
  ctl_super *s = user;
  agrl_error err = {0};
  if (m->kind == AGRL_MSG_STATUS_REQUEST || (m->kind == AGRL_MSG_CONTROL && !strcmp(m->control.verb, "status"))) {
    answer_status(s, sock, peer, m);
  } else if (m->kind != AGRL_MSG_CONTROL) {
    agrl_reply_error(sock, peer, m, AGRL_EUNSUPPORTED, "the supervisor takes CONTROL and STATUS_REQUEST");
  } else if (obey(s, &m->control, &err)) {
    agrl_reply_error(sock, peer, m, err.code, err.msg);
  } else {
    agrl_msg out = {.kind = AGRL_MSG_OK, .ok = {.text = ""}};
    agrl_reply(sock, peer, m, &out);
  }
}
