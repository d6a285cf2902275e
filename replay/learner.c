// SPDX-License-Identifier: Apache-2.0
// The learner's messages. A request for a batch that cannot be served yet is held and answered as soon as it can be, or
// shortly before its deadline with an empty batch: the learner waits for one answer instead of polling.
#include <inttypes.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/wire/version.h"
#include "replay/replay.h"
#include "replay/serve.h"

#define NO_DEADLINE_NS (10 * UINT64_C(1000000000))
#define WAIT_MAX_MS UINT64_C(3600000)  // of a deadline, which is anybody's number
#define PATIENCE_MAX_NS (5 * UINT64_C(1000000000))  // for groups that this batch would make too old
#define RETRY_MS 50

static void answer(agrl_svc *s, const agrl_peer *peer, const agrl_msg *request, agrl_msg *m) {
  replay_daemon *d = s->state;
  agrl_rc rc = agrl_reply(d->sock, peer, request, m);
  if (rc) agrl_logw("event=answer_lost kind=%s cause=%s", agrl_msg_kind_name(m->kind), agrl_rc_name(rc));
}

static void answer_error(agrl_svc *s, const agrl_peer *peer, const agrl_msg *request, const agrl_error *err) {
  replay_daemon *d = s->state;
  static agrl_log_limit lim;  // the learner asks again until it is answered
  uint64_t more = 0;
  if (agrl_log_allow(&lim, &more))
    agrl_logw("event=refused kind=%s cause=\"%s\" suppressed=%" PRIu64, agrl_msg_kind_name(request->kind), err->msg, more);
  if (request->id) agrl_reply_error(d->sock, peer, request, err->code, err->msg);
}

static void event_of_groups(agrl_svc *s, const char *event, uint64_t version, const uint64_t *ids, size_t n) {
  agrl_buf b = {0};
  for (size_t i = 0; i < n; i++) agrl_buf_addf(&b, "%s%" PRIu64, i ? "," : "", ids[i]);
  agrl_svc_event(s, event, "\"version\":%" PRIu64 ",\"groups\":[%s]", version, b.data ? b.data : "");
  agrl_buf_release(&b);
}

// Batches

static void answer_batch(agrl_svc *s, agrl_msg_batch *batch) {
  replay_daemon *d = s->state;
  replay_held *h = &d->held;
  agrl_msg out = {.kind = AGRL_MSG_BATCH, .batch = *batch};
  uint64_t version = h->request.batch_request.version;
  if (batch->n_groups) {
    uint64_t *ids = agrl_arena_alloc(&d->arena, batch->n_groups * sizeof *ids);
    for (size_t i = 0; i < batch->n_groups; i++) ids[i] = batch->groups[i].id;
    event_of_groups(s, "leased", version, ids, batch->n_groups);
    replay_metrics_batch(d->metrics, batch, version);
    d->served_requests++;
  } else {
    out.batch.retry_ms = RETRY_MS;
  }
  replay_metrics_blocked(d->metrics, true, agrl_since_s(h->since_ns));
  h->active = false;
  answer(s, &h->peer, &h->request, &out);
}

void replay_daemon_serve(agrl_svc *s) {
  replay_daemon *d = s->state;
  replay_held *h = &d->held;
  if (!h->active) return;
  uint64_t now = agrl_mono_ns();
  agrl_msg_batch batch;
  agrl_error err = {0};
  agrl_arena_clear(&d->arena);
  const agrl_msg_batch_request *r = &h->request.batch_request;
  agrl_rc rc = replay_serve_try(&d->core, r->version, r->groups, now < h->patient_until_ns, now, &d->arena, &batch, &err);
  if (rc) {
    static agrl_log_limit lim;
    uint64_t more = 0;
    if (agrl_log_allow(&lim, &more)) agrl_loge("event=batch_failed cause=\"%s\" suppressed=%" PRIu64, err.msg, more);
    batch = (agrl_msg_batch){0};
  }
  if (batch.n_groups || now >= h->answer_by_ns) answer_batch(s, &batch);
}

static void on_batch_request(agrl_svc *s, const agrl_peer *peer, const agrl_msg *m) {
  replay_daemon *d = s->state;
  agrl_error err = {0};
  uint64_t now = agrl_mono_ns(), wall_ms = agrl_wall_ns() / 1000000u, wait_ns = NO_DEADLINE_NS;
  if (m->deadline_ms) {
    const uint64_t left_ms = m->deadline_ms > wall_ms ? m->deadline_ms - wall_ms : 0;
    wait_ns = (left_ms < WAIT_MAX_MS ? left_ms : WAIT_MAX_MS) * 1000000u;
  }
  d->held.active = false;  // one learner, one request: a former one has been given up by its sender
  if (replay_serve_skip_ids(&d->core, m->batch_request.max_group, &err) || replay_serve_arrive(&d->core, m->batch_request.version, &err)) {
    answer_error(s, peer, m, &err);
    return;
  }
  uint64_t patience = wait_ns / 2 < PATIENCE_MAX_NS ? wait_ns / 2 : PATIENCE_MAX_NS;
  d->held = (replay_held){.active = true,
                          .peer = *peer,
                          .request = {.kind = m->kind, .id = m->id, .batch_request = m->batch_request},
                          .since_ns = now,
                          .patient_until_ns = now + patience,
                          .answer_by_ns = now + wait_ns / 10 * 9};
  replay_daemon_serve(s);
}

// Reports

static void on_trained(agrl_svc *s, const agrl_peer *peer, const agrl_msg *m) {
  replay_daemon *d = s->state;
  agrl_error err = {0};
  if (replay_serve_trained(&d->core, &m->trained, &err)) {
    answer_error(s, peer, m, &err);
    return;
  }
  event_of_groups(s, "trained", m->trained.version, m->trained.groups, m->trained.n);
  agrl_msg ok = {.kind = AGRL_MSG_OK, .ok = {""}};
  answer(s, peer, m, &ok);
  replay_daemon_serve(s);
}

static void on_hello(agrl_svc *s, const agrl_peer *peer, const agrl_msg *m) {
  replay_daemon *d = s->state;
  agrl_error err = {0};
  agrl_msg out = {.kind = AGRL_MSG_HELLO_REPLY};
  d->held.active = false;
  if (replay_serve_hello(&d->core, &m->hello, &out.hello_reply, &err)) {
    answer_error(s, peer, m, &err);
    return;
  }
  agrl_svc_event(s, "hello", "\"version\":%" PRIu64 ",\"checkpoint\":%" PRIu64 ",\"entries\":%zu,\"ready\":%" PRIu64, m->hello.version,
                 m->hello.checkpoint_version, m->hello.n_entries, out.hello_reply.ready_groups);
  agrl_logi("event=hello step=%u ready=%" PRIu64, AGRL_VERSION_STEP(m->hello.version), out.hello_reply.ready_groups);
  answer(s, peer, m, &out);
}

static void on_fetch(agrl_svc *s, const agrl_peer *peer, const agrl_msg *m) {
  replay_daemon *d = s->state;
  agrl_error err = {0};
  agrl_msg out = {.kind = AGRL_MSG_BATCH};
  agrl_arena_clear(&d->arena);
  if (replay_serve_fetch(&d->core, &m->groups_fetch, &d->arena, &out.batch, &err)) answer_error(s, peer, m, &err);
  else answer(s, peer, m, &out);
}

static void on_checkpointed(agrl_svc *s, const agrl_peer *peer, const agrl_msg *m) {
  replay_daemon *d = s->state;
  agrl_error err = {0};
  agrl_msg ok = {.kind = AGRL_MSG_OK, .ok = {""}};
  if (replay_serve_checkpointed(&d->core, m->checkpointed.version, &err)) answer_error(s, peer, m, &err);
  else answer(s, peer, m, &ok);
}

void replay_daemon_on_learner(agrl_svc *s, const agrl_peer *peer, const agrl_msg *m) {
  switch (m->kind) {
    case AGRL_MSG_HELLO: on_hello(s, peer, m); break;
    case AGRL_MSG_BATCH_REQUEST: on_batch_request(s, peer, m); break;
    case AGRL_MSG_GROUPS_FETCH: on_fetch(s, peer, m); break;
    case AGRL_MSG_TRAINED: on_trained(s, peer, m); break;
    case AGRL_MSG_CHECKPOINTED: on_checkpointed(s, peer, m); break;
    default: break;
  }
}
