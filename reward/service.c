// SPDX-License-Identifier: Apache-2.0
// TRACE (actor) -> score -> SCORED (replay); TRACE_ACK (replay) -> TRACE_ACK (actor).
#include "reward/service.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "reward/attempt.h"
#include "reward/metrics.h"
#include "reward/relay.h"

#define RELAY_CAPACITY 65536
#define RELAY_EXPIRY_NS (120 * UINT64_C(1000000000))
#define SWEEP_MS 5000

typedef struct service {
  agrl_rules *rules;
  agrl_sock *actors;
  agrl_rpc *replay;
  reward_relay *relay;
  reward_metrics metrics;
  uv_timer_t sweep;
  bool sweeping, stopped;  // stopped: a criterion with policy stop is missing
  uint64_t scored, missing, unsent, acked;
  agrl_log_limit unsent_limit, missing_limit;
} service;

static void on_missing(agrl_svc *s, const agrl_msg_trace *t, const agrl_reward_result *res) {
  service *v = s->state;
  uint64_t suppressed = 0;
  if (agrl_log_allow(&v->missing_limit, &suppressed))
    agrl_logw("reward missing group=%" PRIu64 " member=%u cause=\"%s\" suppressed=%" PRIu64, t->id.group, t->id.member,
              res->cause, suppressed);
  if (!res->stop || v->stopped) return;
  v->stopped = true;
  agrl_loge("stopping: group=%" PRIu64 " member=%u cannot be scored by a criterion with policy stop cause=\"%s\"; correct the row that "
            "agrlctl replay show names, or the rule file's policy", t->id.group, t->id.member, res->cause);
  agrl_svc_stop(s, agrl_rc_exit(AGRL_EPARSE));
}

static void on_trace(agrl_svc *s, const agrl_peer *peer, const agrl_msg *m) {
  service *v = s->state;
  const agrl_msg_trace *t = &m->trace;
  agrl_reward_result res;
  const double seconds = reward_attempt(v->rules, &s->config, t, &res);
  v->scored++;
  v->missing += res.missing;
  reward_metrics_count(&v->metrics, &res, seconds);
  if (res.missing) on_missing(s, t, &res);
  if (res.stop) return;
  if (reward_relay_put(v->relay, &t->id, peer, agrl_mono_ns()))
    agrl_metric_add(v->metrics.relay, REWARD_RELAY_OVERFLOW, 1);
  agrl_msg out = {.kind = AGRL_MSG_SCORED,
                  .scored = {.trace = *t,
                             .reward = res.missing ? 0 : res.reward,
                             .missing = res.missing,
                             .g_format = res.g_format,
                             .g_rule = res.g_rule,
                             .accurate = res.accurate,
                             .tier = (uint32_t)res.tier,
                             .rules_hash = agrl_rules_hash(v->rules),
                             .attempt = 1,
                             .n_scores = res.n_scores,
                             .scores = res.scores}};
  agrl_error err = {0};
  if (!agrl_rpc_send(v->replay, &out, &err)) return;
  v->unsent++;  // the actor resends when no acknowledgement comes
  uint64_t suppressed = 0;
  if (agrl_log_allow(&v->unsent_limit, &suppressed))
    agrl_logw("scored trace not sent: %s suppressed=%" PRIu64, err.msg, suppressed);
}

static void on_actor(void *user, agrl_sock *sock, const agrl_peer *peer, const agrl_msg *m) {
  agrl_svc *s = user;
  if (agrl_svc_handle_status(s, sock, peer, m)) return;
  if (m->kind == AGRL_MSG_TRACE) on_trace(s, peer, m);
  else if (m->id)
    agrl_reply_error(sock, peer, m, AGRL_EUNSUPPORTED, "the reward service takes TRACE and STATUS_REQUEST");
}

// Sends the acknowledgements of one peer: those of ack whose entry in peers equals peers[first].
static void relay_to(service *v, const agrl_msg_trace_ack *ack, const agrl_peer *peers, bool *waiting, size_t first,
                     agrl_trace_id *ids,
                     uint32_t *status) {
  size_t n = 0;
  for (size_t i = first; i < ack->n; i++) {
    if (!waiting[i] || peers[i].len != peers[first].len || memcmp(peers[i].id, peers[first].id, peers[first].len))
      continue;
    waiting[i] = false;
    ids[n] = ack->ids[i];
    status[n++] = ack->status[i];
  }
  agrl_msg out = {.kind = AGRL_MSG_TRACE_ACK, .trace_ack = {.n = n, .ids = ids, .status = status}};
  if (!agrl_sock_send(v->actors, &peers[first], &out, NULL)) v->acked += n;
  else agrl_metric_add(v->metrics.relay, REWARD_RELAY_UNKNOWN, (double)n);  // gone or full: it asks again
}

static void on_ack(service *v, const agrl_msg_trace_ack *ack) {
  agrl_peer *peers = agrl_xcalloc(ack->n + 1, sizeof *peers);
  bool *waiting = agrl_xcalloc(ack->n + 1, sizeof *waiting);
  agrl_trace_id *ids = agrl_xcalloc(ack->n + 1, sizeof *ids);
  uint32_t *status = agrl_xcalloc(ack->n + 1, sizeof *status);
  for (size_t i = 0; i < ack->n; i++) {
    waiting[i] = reward_relay_take(v->relay, &ack->ids[i], &peers[i]);
    if (!waiting[i]) agrl_metric_add(v->metrics.relay, REWARD_RELAY_UNKNOWN, 1);
  }
  for (size_t i = 0; i < ack->n; i++)
    if (waiting[i]) relay_to(v, ack, peers, waiting, i, ids, status);
  free(peers);
  free(waiting);
  free(ids);
  free(status);
}

static void on_replay(void *user, agrl_sock *sock, const agrl_peer *peer, const agrl_msg *m) {
  agrl_svc *s = user;
  if (m->kind == AGRL_MSG_TRACE_ACK) on_ack(s->state, &m->trace_ack);
}

static void on_sweep(uv_timer_t *t) {
  service *v = t->data;
  uint64_t now = agrl_mono_ns();
  size_t n = now > RELAY_EXPIRY_NS ? reward_relay_expire(v->relay, now - RELAY_EXPIRY_NS) : 0;
  if (n) agrl_metric_add(v->metrics.relay, REWARD_RELAY_EXPIRED, (double)n);
}

static agrl_rc open_links(agrl_svc *s, agrl_error *err) {
  service *v = s->state;
  char *listen = agrl_config_endpoint(&s->config, "reward"), *replay = agrl_config_endpoint(&s->config, "replay");
  agrl_rc rc = agrl_rpc_open(s->net, "replay", replay, (int)s->config.net.hwm, on_replay, s, &v->replay, err);
  if (!rc)
    rc = agrl_sock_open(s->net, AGRL_SOCK_ROUTER, "reward", listen, true, (int)s->config.net.hwm, on_actor, s,
                        &v->actors, err);
  free(listen);
  free(replay);
  return rc;
}

// The rule file, and the training rows against it.
static agrl_rc check(const agrl_config *c, agrl_error *err) {
  if (!*c->data.rules) return agrl_fail(err, AGRL_ECONFIG, "data.rules is empty: name the rule file");
  agrl_rules_report report;
  agrl_rc rc = agrl_rules_check_files(c->data.rules, c->data.train, &report, err);
  if (!rc) agrl_logi("gold rows checked=%zu passed=%zu references=%zu contradicting=%zu", report.checked, report.passed, report.references,
                      report.contradicting);
  agrl_rules_report_release(&report);
  return rc;
}

static agrl_rc start(agrl_svc *s, agrl_error *err) {
  service *v = s->state;
  agrl_rc rc = check(&s->config, err);
  if (!rc) rc = agrl_rules_load(s->config.data.rules, &v->rules, err);
  if (rc) return rc;
  reward_metrics_init(&v->metrics, v->rules);
  v->relay = reward_relay_new(RELAY_CAPACITY);
  rc = open_links(s, err);
  if (rc) return rc;
  uv_timer_init(&s->loop, &v->sweep);
  v->sweep.data = v;
  v->sweeping = true;
  uv_timer_start(&v->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
  agrl_logi("rules loaded name=%s hash=%.12s", agrl_rules_name(v->rules), agrl_rules_hash(v->rules));
  agrl_svc_ready(s);
  return AGRL_OK;
}

static void stop(agrl_svc *s) {
  service *v = s->state;
  if (v->sweeping) uv_close((uv_handle_t *)&v->sweep, NULL);
  if (v->replay) agrl_rpc_close(v->replay);
  if (v->actors) agrl_sock_close(v->actors);
  reward_relay_free(v->relay);
  agrl_rules_free(v->rules);
}

static void metrics(agrl_svc *s) {
  service *v = s->state;
  if (v->metrics.queue) agrl_metric_set(v->metrics.queue, 0, (double)reward_relay_len(v->relay));
}

static size_t status(agrl_svc *s, agrl_arena *a, agrl_kv *items, size_t cap) {
  service *v = s->state;
  const agrl_kv all[] = {{"rules", agrl_rules_name(v->rules)},
                         {"rules_hash", agrl_arena_printf(a, "%.12s", agrl_rules_hash(v->rules))},
                         {"scored", agrl_arena_printf(a, "%" PRIu64, v->scored)},
                         {"missing", agrl_arena_printf(a, "%" PRIu64, v->missing)},
                         {"unsent", agrl_arena_printf(a, "%" PRIu64, v->unsent)},
                         {"unacknowledged", agrl_arena_printf(a, "%zu", reward_relay_len(v->relay))}};
  size_t n = sizeof all / sizeof *all < cap ? sizeof all / sizeof *all : cap;
  memcpy(items, all, n * sizeof *all);
  return n;
}

static uint64_t progress(agrl_svc *s, bool *work_left) {
  service *v = s->state;
  *work_left = reward_relay_len(v->relay) > 0;
  return v->scored + v->acked;
}

const agrl_svc_def reward_service = {
    .name = "reward",
    .about = "scores reasoning traces by a rule file",
    .http_offset = 2,
    .state_bytes = sizeof(service),
    .start = start,
    .stop = stop,
    .metrics = metrics,
    .status = status,
    .progress = progress,
    .check = check,
};
