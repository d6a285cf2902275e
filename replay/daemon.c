// SPDX-License-Identifier: Apache-2.0
// The replay daemon: messages in, core calls, answers out. One loop thread owns everything; a commit blocks it for as
// long as the disk takes, meanwhile the sockets' own threads keep receiving.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/wire/version.h"
#include "replay/evict.h"
#include "replay/replay.h"
#include "replay/schedule.h"
#include "replay/serve.h"

#define TICK_MS 100
#define SECOND_NS UINT64_C(1000000000)
#define READERS_NS (10 * SECOND_NS)
#define ACKS_PER_MESSAGE 256

// Traces

static void collect_ack(void *user, const agrl_peer *peer, uint64_t msg_id, const agrl_trace_id *id, agrl_ack status) {
  replay_daemon *d = user;
  if (d->acks.n == d->acks.cap) {
    d->acks.cap = d->acks.cap ? 2 * d->acks.cap : 256;
    d->acks.v = agrl_xreallocarray(d->acks.v, d->acks.cap, sizeof *d->acks.v);
  }
  d->acks.v[d->acks.n++] = (replay_pending){.id = *id, .peer = *peer, .msg_id = msg_id, .status = status};
}

static bool same_peer(const agrl_peer *a, const agrl_peer *b) { return a->len == b->len && memcmp(a->id, b->id, a->len) == 0; }

// One message for consecutive one-way traces of a peer; a request gets its own answer. A lost answer is asked for again.
static void send_acks(agrl_svc *s) {
  replay_daemon *d = s->state;
  static agrl_log_limit lim;
  for (size_t i = 0, n; i < d->acks.n; i += n) {
    agrl_trace_id ids[ACKS_PER_MESSAGE];
    uint32_t status[ACKS_PER_MESSAGE];
    const replay_pending *first = &d->acks.v[i];
    for (n = 0; i + n < d->acks.n && n < ACKS_PER_MESSAGE; n++) {
      const replay_pending *p = &d->acks.v[i + n];
      if (n > 0 && (first->msg_id || p->msg_id || !same_peer(&first->peer, &p->peer))) break;
      ids[n] = p->id;
      status[n] = (uint32_t)p->status;
    }
    agrl_msg m = {.kind = AGRL_MSG_TRACE_ACK, .id = first->msg_id, .trace_ack = {.n = n, .ids = ids, .status = status}};
    agrl_error err = {0};
    uint64_t more = 0;
    if (agrl_sock_send(d->sock, &first->peer, &m, &err) && agrl_log_allow(&lim, &more))
      agrl_logw("event=ack_lost count=%zu cause=\"%s\" suppressed=%" PRIu64, n, err.msg, more);
  }
  d->acks.n = 0;
}

static void stop_when_broken(agrl_svc *s) {
  replay_daemon *d = s->state;
  if (!replay_store_broken(d->core.store)) return;
  agrl_loge("event=store_broken cause=\"LMDB refuses to go on; a restart reads the last commit\"");
  agrl_svc_stop(s, agrl_rc_exit(AGRL_EIO));
}

static void commit(agrl_svc *s) {
  replay_daemon *d = s->state;
  size_t n = d->ingest.n;
  uv_timer_stop(&d->commit);
  if (n == 0) return;
  uint64_t t0 = agrl_mono_ns();
  agrl_error err = {0};
  agrl_rc rc = replay_ingest_commit(&d->ingest, collect_ack, d, &err);
  if (rc) {
    static agrl_log_limit lim;
    uint64_t more = 0;
    if (agrl_log_allow(&lim, &more))
      agrl_loge("event=commit_failed traces=%zu cause=\"%s\" suppressed=%" PRIu64, n, err.msg, more);
    send_acks(s);  // of duplicates that waited for this commit
    stop_when_broken(s);
    return;
  }
  replay_metrics_commit(d->metrics, agrl_since_s(t0), n);
  send_acks(s);
  replay_daemon_serve(s);
}

static void on_commit_timer(uv_timer_t *t) { commit(t->data); }

static void on_scored(agrl_svc *s, const agrl_peer *peer, const agrl_msg *m) {
  replay_daemon *d = s->state;
  const replay_verdict v = replay_ingest_offer(&d->ingest, &m->scored, peer, m->id);
  if (v == REPLAY_INGEST_DUPLICATE || v == REPLAY_INGEST_UNWANTED) {
    collect_ack(d, peer, m->id, &m->scored.trace.id, v == REPLAY_INGEST_DUPLICATE ? AGRL_ACK_DUPLICATE : AGRL_ACK_UNWANTED);
    if (d->ingest.n == 0) send_acks(s);  // else they go with the commit's
  }
  if (d->ingest.n == 0) return;
  uint64_t wait_ms = s->config.replay.commit_interval_ns / 1000000u;
  if (d->ingest.n >= (size_t)s->config.replay.commit_batch || s->config.replay.commit_interval_ns == 0) commit(s);
  else if (!uv_is_active((uv_handle_t *)&d->commit)) uv_timer_start(&d->commit, on_commit_timer, wait_ms ? wait_ms : 1, 0);
}

// Tasks

static void on_task_request(agrl_svc *s, const agrl_peer *peer, const agrl_msg *m) {
  replay_daemon *d = s->state;
  const agrl_msg_task_request *r = &m->task_request;
  replay_ask ask = {.actor = r->actor,
                    .peer = peer->id,
                    .peer_len = peer->len,
                    .want = s->draining ? 0 : r->want,
                    .version = r->version,
                    .now_ns = agrl_mono_ns(),
                    .wall_ms = agrl_wall_ns() / 1000000u};
  agrl_msg out = {.kind = AGRL_MSG_TASK_GRANT};
  agrl_error err = {0};
  agrl_arena_clear(&d->arena);
  agrl_rc rc = replay_schedule_grant(&d->core, &ask, &d->arena, &out.task_grant, &err);
  if (rc) {
    agrl_loge("event=grant_failed cause=\"%s\"", err.msg);
    agrl_reply_error(d->sock, peer, m, rc, err.msg);
    stop_when_broken(s);
    return;
  }
  if (out.task_grant.n_tasks == 0 && r->want) replay_metrics_blocked(d->metrics, false, out.task_grant.retry_ms * 1e-3);
  rc = agrl_reply(d->sock, peer, m, &out);
  if (rc == AGRL_OK) return;
  static agrl_log_limit lim;
  uint64_t more = 0;
  if (agrl_log_allow(&lim, &more))
    agrl_logw("event=grant_lost tasks=%zu cause=%s suppressed=%" PRIu64, out.task_grant.n_tasks, agrl_rc_name(rc), more);
  replay_schedule_undo(&d->core, &out.task_grant);
}

static void on_message(void *user, agrl_sock *sock, const agrl_peer *peer, const agrl_msg *m) {
  agrl_svc *s = user;
  if (agrl_svc_handle_status(s, sock, peer, m)) return;
  if (m->kind == AGRL_MSG_SCORED) on_scored(s, peer, m);
  else if (m->kind == AGRL_MSG_TASK_REQUEST) on_task_request(s, peer, m);
  else replay_daemon_on_learner(s, peer, m);
}

// Timers

static void watch_starvation(agrl_svc *s, uint64_t now) {
  replay_daemon *d = s->state;
  agrl_buf why = {0};
  replay_limits limits = replay_core_limits(&d->core);
  replay_flow flow = replay_core_flow(&d->core);
  if (replay_starve_watch(&d->starve, &d->core.counts, &limits, &flow, now, &why)) {
    agrl_logw("event=starved cause=\"%s\"", why.data);
    agrl_svc_event(s, "starved", "\"retired\":%" PRIu64 ",\"cause\":\"%s\"", d->starve.retired, why.data);
  }
  agrl_buf_release(&why);
}

static void every_second(agrl_svc *s, uint64_t now) {
  replay_daemon *d = s->state;
  watch_starvation(s, now);
  agrl_error err = {0};
  bool more = false;
  if (replay_evict(&d->core, &more, &err)) agrl_logw("event=evict_failed cause=\"%s\"", err.msg);
  replay_store_get_stat(d->core.store, &d->stat, NULL);
  if (now - d->last_readers_ns >= READERS_NS) {
    int dead = replay_store_check_readers(d->core.store);
    if (dead > 0) agrl_logi("event=dead_readers_cleared count=%d", dead);
    d->last_readers_ns = now;
  }
  d->last_second_ns = more ? now - SECOND_NS + SECOND_NS / 10 : now;  // a backlog is worked off ten times as fast
}

static void on_tick(uv_timer_t *t) {
  agrl_svc *s = t->data;
  replay_daemon *d = s->state;
  uint64_t now = agrl_mono_ns();
  agrl_error err = {0};
  size_t expired = replay_schedule_expire(&d->core, now);
  if (expired) agrl_logi("event=leases_expired members=%zu", expired);
  if (replay_serve_expire(&d->core, now, &err)) agrl_logw("event=expire_failed cause=\"%s\"", err.msg);
  if (now - d->last_second_ns >= SECOND_NS) every_second(s, now);
  replay_daemon_serve(s);
  stop_when_broken(s);
}

// Service

static agrl_rc open_store(agrl_svc *s, agrl_error *err) {
  replay_daemon *d = s->state;
  char *dir = agrl_path_join(s->config.run.dir, "replay");
  agrl_rc rc = replay_core_open(&d->core, &s->config, s->run_id, dir, d->data.rows, d->data.n, d->text, agrl_mono_ns(), err);
  free(dir);
  if (rc) return rc;
  d->open = true;
  const replay_meta *m = &d->core.meta;
  agrl_logi("event=opened prompts=%zu bad_rows=%zu skipped_rows=%zu groups=%" PRIu64 " unfinished=%zu traces=%" PRIu64
            " trained=%" PRIu64 " step=%u",
            d->core.prompts.n, d->data.n_bad, d->core.prompts.skipped, d->core.stored_groups, d->core.n_groups, m->traces, m->trained,
            AGRL_VERSION_STEP(m->version));
  return replay_store_get_stat(d->core.store, &d->stat, err);
}

static agrl_rc load_rows(const agrl_config *c, agrl_task_text **text, agrl_dataset *data, agrl_error *err) {
  if (!*c->data.train) return agrl_fail(err, AGRL_ECONFIG, "data.train is empty: name the file of training rows");
  agrl_rc rc = agrl_task_text_load(c->data.rules, text, err);
  return rc ? rc : agrl_dataset_load(c->data.train, NULL, NULL, data, err);
}

static agrl_rc check(const agrl_config *c, agrl_error *err) {
  agrl_task_text *text = NULL;
  agrl_dataset data = {0};
  agrl_rc rc = load_rows(c, &text, &data, err);
  agrl_dataset_release(&data);
  agrl_task_text_free(text);
  return rc;
}

static agrl_rc start(agrl_svc *s, agrl_error *err) {
  replay_daemon *d = s->state;
  agrl_arena_init(&d->arena, 0);
  d->metrics = replay_metrics_new();
  agrl_rc rc = load_rows(&s->config, &d->text, &d->data, err);
  if (!rc) rc = open_store(s, err);
  if (rc) return rc;
  replay_ingest_init(&d->ingest, &d->core);
  uv_timer_init(&s->loop, &d->commit);
  uv_timer_init(&s->loop, &d->tick);
  d->commit.data = d->tick.data = s;
  d->timers = true;
  char *endpoint = agrl_config_endpoint(&s->config, "replay");
  rc = agrl_sock_open(s->net, AGRL_SOCK_ROUTER, "replay", endpoint, true, (int)s->config.net.hwm, on_message, s, &d->sock, err);
  free(endpoint);
  if (rc) return rc;
  uv_timer_start(&d->tick, on_tick, TICK_MS, TICK_MS);
  agrl_svc_ready(s);
  return AGRL_OK;
}

static void drain(agrl_svc *s) {
  commit(s);
  agrl_svc_stop(s, 0);
}

static void stop(agrl_svc *s) {
  replay_daemon *d = s->state;
  if (d->sock) agrl_sock_close(d->sock);
  if (d->timers) {
    uv_close((uv_handle_t *)&d->commit, NULL);
    uv_close((uv_handle_t *)&d->tick, NULL);
  }
  if (d->open) {
    replay_ingest_release(&d->ingest);
    replay_core_close(&d->core);
  }
  free(d->acks.v);
  agrl_task_text_free(d->text);
  agrl_dataset_release(&d->data);
  agrl_arena_release(&d->arena);
  replay_metrics_free(d->metrics);
}

static void metrics(agrl_svc *s) {
  replay_daemon *d = s->state;
  replay_metrics_refresh(d->metrics, &d->core, &d->stat);
}

static size_t status(agrl_svc *s, agrl_arena *a, agrl_kv *items, size_t cap) {
  replay_daemon *d = s->state;
  const replay_core *c = &d->core;
  uint64_t formed = c->counts.guided_groups + c->counts.plain_groups;
  const agrl_kv all[] = {
      {"version", agrl_arena_printf(a, "%u", AGRL_VERSION_STEP(c->meta.version))},
      {"done", replay_schedule_done(c) ? "true" : "false"},
      {"open", agrl_arena_printf(a, "%zu", replay_core_count(c, REPLAY_OPEN))},
      {"climb", agrl_arena_printf(a, "%zu", replay_core_count(c, REPLAY_CLIMB))},
      {"ready", agrl_arena_printf(a, "%zu", replay_core_count(c, REPLAY_READY))},
      {"leased", agrl_arena_printf(a, "%zu", replay_core_count(c, REPLAY_LEASED))},
      {"trained", agrl_arena_printf(a, "%" PRIu64, c->meta.trained)},
      {"retired", agrl_arena_printf(a, "%" PRIu64, c->meta.retired)},
      {"stale", agrl_arena_printf(a, "%" PRIu64, c->counts.removals[REPLAY_CAUSE_STALE])},
      {"inserted", agrl_arena_printf(a, "%" PRIu64, c->meta.traces)},
      {"duplicates", agrl_arena_printf(a, "%" PRIu64, c->counts.duplicates)},
      {"unwanted", agrl_arena_printf(a, "%" PRIu64, c->counts.unwanted)},
      {"guided_ratio", formed ? agrl_arena_printf(a, "%.4f", (double)c->counts.guided_groups / (double)formed) : "nan"},
      {"double_trained", agrl_arena_printf(a, "%" PRIu64, c->counts.double_trained)},
      {"starved", d->starve.starved ? "true" : "false"},
      {"map_used_ratio", agrl_arena_printf(a, "%.6f", d->stat.used_ratio)},
  };
  size_t n = sizeof all / sizeof *all;
  if (n > cap) n = cap;
  memcpy(items, all, n * sizeof *items);
  return n;
}

// Work is left while a group is unfinished: each waits for an actor, for reward or for the learner.
static uint64_t progress(agrl_svc *s, bool *work_left) {
  replay_daemon *d = s->state;
  const replay_core *c = &d->core;
  *work_left = c->n_groups > 0 && !replay_schedule_done(c);
  return c->meta.traces + c->meta.trained + c->meta.retired + c->meta.next_group + d->served_requests;
}

const agrl_svc_def replay_svc_def = {
    .name = "replay",
    .about = "hands out tasks, stores scored traces, assembles groups with guided replay and serves them to the learner",
    .http_offset = 1,
    .state_bytes = sizeof(replay_daemon),
    .start = start,
    .drain = drain,
    .stop = stop,
    .metrics = metrics,
    .status = status,
    .progress = progress,
    .check = check,
};
