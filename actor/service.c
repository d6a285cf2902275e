// SPDX-License-Identifier: Apache-2.0
// The actor's loop: keep the engine fed (tasks from replay), send every finished trace to the reward service, keep it until
// replay's acknowledgement came back through the reward service, resend what is late. Everything here runs on the loop thread.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "actor/actor.h"
#include "actor/engine.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/tensor/tensor.h"

#define TICK_MS 100
#define ASK_TIMEOUT_MS 3000
#define DRAIN_NS 15000000000ull

static void ask_for_tasks(agrl_svc *s);

// --- traces ---

// A trace that cannot be packed (a log-prob that is not a number: diverged weights; or too large) would be resent for ever:
// it becomes an error trace, so that replay retires its group as missing.
static void make_error_trace(agrl_msg_trace *m) {
  m->stop = AGRL_STOP_ERROR;
  m->n_prompt = m->n_tokens = 0;
  m->text = "";
}

static void send_trace(agrl_svc *s, actor_trace *t) {
  actor_state *st = s->state;
  agrl_msg m = {.kind = AGRL_MSG_TRACE, .trace = t->msg};
  agrl_error err = {0};
  if (t->sends++) st->resent++;
  t->sent_ns = agrl_mono_ns();  // also after a failed send: the next try is one ack timeout away
  agrl_rc rc = agrl_rpc_send(st->reward, &m, &err);
  if (!rc || rc == AGRL_EAGAIN || rc == AGRL_EPEER || t->msg.stop == AGRL_STOP_ERROR) return;
  agrl_loge("actor event=trace_unsendable group=%" PRIu64 " member=%u cause=\"%s\"", t->msg.id.group, t->msg.id.member, err.msg);
  actor_metrics_errors(1);
  make_error_trace(&t->msg);
  m.trace = t->msg;
  agrl_rpc_send(st->reward, &m, &err);
}

static void on_trace(void *user, actor_trace *t) {
  agrl_svc *s = user;
  actor_state *st = s->state;
  st->rollouts++;
  actor_metrics_trace(&t->msg);
  actor_unacked_give(&st->unacked, t);
  send_trace(s, t);
  ask_for_tasks(s);
}

static void on_reward(void *user, agrl_sock *sock, const agrl_peer *peer, const agrl_msg *m) {
  (void)sock;
  (void)peer;
  agrl_svc *s = user;
  actor_state *st = s->state;
  if (m->kind != AGRL_MSG_TRACE_ACK) return;
  for (size_t i = 0; i < m->trace_ack.n; i++) {
    const agrl_trace_id *id = &m->trace_ack.ids[i];
    if (actor_unacked_ack(&st->unacked, id)) st->acked++;
    agrl_logd("actor event=ack group=%" PRIu64 " member=%u status=%u", id->group, id->member, m->trace_ack.status[i]);
  }
  ask_for_tasks(s);
}

// A task this actor cannot run (prompt too long) is answered with error traces: replay then retires the group by name.
static void refuse_task(agrl_svc *s, const agrl_task *task, const char *why) {
  actor_state *st = s->state;
  agrl_logw("actor event=task_refused prompt=%s cause=\"%s\"", task->prompt_id, why);
  actor_metrics_errors(task->n_members);
  for (uint32_t i = 0; i < task->n_members; i++) {
    actor_trace *t = actor_trace_new();
    t->msg = (agrl_msg_trace){.id = {.run = task->run, .group = task->group, .member = task->first_member + i, .attempt = task->attempt},
                              .actor = agrl_arena_strdup(&t->arena, s->name),
                              .prompt_id = agrl_arena_strdup(&t->arena, task->prompt_id),
                              .level = task->level,
                              .gold = {.tier = task->gold.tier, .category = "", .attribute = ""},
                              .text = "",
                              .stop = AGRL_STOP_ERROR,
                              .created_ms = agrl_wall_ns() / 1000000};
    actor_unacked_give(&st->unacked, t);
    send_trace(s, t);
  }
}

// --- tasks ---

static void on_grant(void *user, agrl_rc rc, const agrl_msg *m) {
  agrl_svc *s = user;
  actor_state *st = s->state;
  st->asking = false;
  if (rc || m->kind != AGRL_MSG_TASK_GRANT) {
    st->ask_after_ns = agrl_mono_ns() + 500000000ull;
    return;
  }
  const agrl_msg_task_grant *g = &m->task_grant;
  st->ask_after_ns = agrl_mono_ns() + (uint64_t)g->retry_ms * 1000000ull;
  for (size_t i = 0; i < g->n_tasks; i++) {
    agrl_error err = {0};
    if (!g->tasks[i].n_members) continue;
    agrl_rc sub = actor_runner_submit(st->runner, &g->tasks[i], &err);
    if (sub == AGRL_ELIMIT) refuse_task(s, &g->tasks[i], err.msg);
    else if (sub) agrl_logw("actor event=task_dropped group=%" PRIu64 " cause=\"%s\"", g->tasks[i].group, err.msg);  // its lease runs out
  }
  if (g->n_tasks) ask_for_tasks(s);
}

static void ask_for_tasks(agrl_svc *s) {
  actor_state *st = s->state;
  if (!st->runner || st->asking || s->draining || agrl_mono_ns() < st->ask_after_ns) return;
  size_t want = actor_engine_want((size_t)s->config.actor.slots, actor_runner_load(st->runner));
  if (!want || st->unacked.n >= (size_t)s->config.actor.max_unacked) return;
  agrl_msg m = {.kind = AGRL_MSG_TASK_REQUEST,
                .task_request = {.actor = s->name, .want = (uint32_t)want, .version = st->version}};
  st->asking = true;
  agrl_rpc_call(st->replay, &m, ASK_TIMEOUT_MS, on_grant, s);
}

// --- weights ---

static agrl_rc on_model(void *user, const agrl_layout *layout, const char *tokenizer_path, agrl_error *err) {
  agrl_svc *s = user;
  actor_state *st = s->state;
  agrl_rc rc = agrl_bpe_load(tokenizer_path, &st->bpe, err);
  if (rc) return rc;
  const agrl_config *c = &s->config;
  actor_runner_config rcfg = {.layout = layout, .bpe = st->bpe, .slots = (size_t)c->actor.slots, .context = (size_t)c->model.context, .max_new = (size_t)c->actor.max_new_tokens,
                              .threads = (unsigned)c->actor.threads, .temperature = c->actor.temperature, .top_p = c->actor.top_p,
                              .top_k = (int)c->actor.top_k, .actor = s->name, .swapped = actor_metrics_swap};
  return actor_runner_start(&st->runner, &s->loop, &rcfg, on_trace, s, err);
}

// Without the model there is nothing this actor can do; its supervisor sees the exit code and the log says why.
static void on_refused(void *user, agrl_rc rc) { agrl_svc_stop(user, agrl_rc_exit(rc)); }

static void on_fresh_weights(void *user, agrl_weights *w) {
  agrl_svc *s = user;
  actor_state *st = s->state;
  st->version = agrl_weights_version(w);
  actor_runner_weights(st->runner, w);
  if (!s->ready) {
    agrl_svc_event(s, "serving", "\"version\":%" PRIu64, st->version);
    agrl_svc_ready(s);
  }
  ask_for_tasks(s);
}

// --- life ---

static void on_tick(uv_timer_t *t) {
  agrl_svc *s = t->data;
  actor_state *st = s->state;
  uint64_t now = agrl_mono_ns();
  for (int i = 0; i < 64; i++) {  // bounded, so that a dead reward service does not busy the loop
    actor_trace *late = actor_unacked_due(&st->unacked, now, s->config.actor.ack_timeout_ns);
    if (!late) break;
    send_trace(s, late);
  }
  ask_for_tasks(s);
  if (!s->draining) return;
  bool idle = (!st->runner || !actor_runner_load(st->runner)) && !st->unacked.n;
  if (!idle && now < st->drain_until_ns) return;
  if (!idle) agrl_logw("actor event=drain_deadline rollouts=%zu unacked=%zu", actor_runner_load(st->runner), st->unacked.n);
  agrl_svc_stop(s, 0);
}

static agrl_rc start(agrl_svc *s, agrl_error *err) {
  actor_state *st = s->state;
  agrl_rc rc = agrl_tensor_init(err);
  if (rc) return rc;
  actor_metrics_register();
  actor_unacked_init(&st->unacked);
  st->started_ns = agrl_mono_ns();
  uv_timer_init(&s->loop, &st->tick);
  st->tick.data = s;
  char *replay = agrl_config_endpoint(&s->config, "replay"), *reward = agrl_config_endpoint(&s->config, "reward");
  char *weights = agrl_config_endpoint(&s->config, "weights"), *announce = agrl_config_endpoint(&s->config, "announce");
  int hwm = (int)s->config.net.hwm;
  actor_weights_hooks hooks = {.model = on_model, .refused = on_refused, .fresh = on_fresh_weights, .user = s};
  rc = agrl_rpc_open(s->net, "replay", replay, hwm, NULL, s, &st->replay, err);
  if (!rc) rc = agrl_rpc_open(s->net, "reward", reward, hwm, on_reward, s, &st->reward, err);
  if (!rc) rc = actor_weights_client_open(s->net, &s->loop, s->name, weights, announce, hwm, s->run_id, &hooks, &st->weights, err);
  free(replay);
  free(reward);
  free(weights);
  free(announce);
  if (!rc) uv_timer_start(&st->tick, on_tick, TICK_MS, TICK_MS);
  return rc;
}

static void drain(agrl_svc *s) {
  actor_state *st = s->state;
  st->drain_until_ns = agrl_mono_ns() + DRAIN_NS;  // on_tick ends it
}

static void stop(agrl_svc *s) {
  actor_state *st = s->state;
  actor_runner_stop(st->runner);
  st->runner = NULL;
  actor_weights_client_close(st->weights);
  if (st->replay) agrl_rpc_close(st->replay);
  if (st->reward) agrl_rpc_close(st->reward);
  uv_timer_stop(&st->tick);
  uv_close((uv_handle_t *)&st->tick, NULL);
  actor_unacked_release(&st->unacked);
  agrl_bpe_free(st->bpe);
}

static size_t status(agrl_svc *s, agrl_arena *a, agrl_kv *items, size_t cap) {
  actor_state *st = s->state;
  actor_weights_stats w = actor_weights_client_stats(st->weights);
  actor_runner_stats r = st->runner ? actor_runner_get_stats(st->runner) : (actor_runner_stats){0};
  const agrl_kv all[] = {
      {"state", s->draining ? "draining" : s->ready ? "serving" : "joining"},
      {"version", agrl_arena_printf(a, "%u", AGRL_VERSION_STEP(st->version))},
      {"announced", agrl_arena_printf(a, "%u", AGRL_VERSION_STEP(w.announced_version))},
      {"rollouts", agrl_arena_printf(a, "%" PRIu64, st->rollouts)},
      {"in_flight", agrl_arena_printf(a, "%zu", st->runner ? actor_runner_load(st->runner) : (size_t)0)},
      {"unacked", agrl_arena_printf(a, "%zu", st->unacked.n)},
      {"resent", agrl_arena_printf(a, "%" PRIu64, st->resent)},
      {"completion_tokens", agrl_arena_printf(a, "%" PRIu64, r.completion_tokens)},
  };
  size_t n = sizeof all / sizeof *all;
  if (n > cap) n = cap;
  memcpy(items, all, n * sizeof *items);
  return n;
}

static uint64_t progress(agrl_svc *s, bool *work_left) {
  actor_state *st = s->state;
  actor_runner_stats r = st->runner ? actor_runner_get_stats(st->runner) : (actor_runner_stats){0};
  *work_left = (st->runner && actor_runner_load(st->runner) > 0) || st->unacked.n > 0;
  return r.steps + st->acked;
}

const agrl_svc_def actor_svc_def = {
    .name = "actor",
    .about = "generates reasoning traces with the current policy and streams them to the reward service",
    .http_offset = 10,
    .state_bytes = sizeof(actor_state),
    .start = start,
    .drain = drain,
    .stop = stop,
    .metrics = actor_metrics_refresh,
    .status = status,
    .progress = progress,
};
