// SPDX-License-Identifier: Apache-2.0
// Queue of scored traces and its commit.
#include "replay/ingest.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"

void replay_ingest_init(replay_ingest *in, replay_core *core) { *in = (replay_ingest){.core = core}; }

void replay_ingest_release(replay_ingest *in) {
  free(in->v);
  agrl_buf_release(&in->bytes);
  *in = (replay_ingest){0};
}

// What a scored trace claims must fit the group it names.
static const char *contradiction(const replay_group *g, const agrl_msg_scored *s) {
  const agrl_trace_id *id = &s->trace.id;
  if (id->member >= g->n_members) return "member number out of range";
  if (s->trace.level != replay_member_level(&g->rec, id->member)) return "level is not that of its member number";
  if (strcmp(s->trace.prompt_id, g->rec.prompt_id) != 0) return "prompt is not the group's";
  return NULL;
}

static replay_verdict closed_or_unknown(replay_core *c, const agrl_trace_id *id) {
  replay_trace_key key = {id->group, id->member};
  if (id->run == c->run && id->group < c->meta.next_group && replay_store_has_trace(c->store, &key)) {
    c->counts.duplicates++;
    return REPLAY_INGEST_DUPLICATE;
  }
  c->counts.unwanted++;
  return REPLAY_INGEST_UNWANTED;
}

static replay_pending *push(replay_ingest *in, const agrl_msg_scored *s, const agrl_peer *peer, uint64_t msg_id) {
  if (in->n == in->cap) {
    in->cap = in->cap ? 2 * in->cap : 64;
    in->v = agrl_xreallocarray(in->v, in->cap, sizeof *in->v);
  }
  replay_pending *p = &in->v[in->n++];
  *p = (replay_pending){.id = s->trace.id, .offset = in->bytes.len, .msg_id = msg_id};
  if (peer) p->peer = *peer;
  return p;
}

replay_verdict replay_ingest_offer(replay_ingest *in, const agrl_msg_scored *s, const agrl_peer *peer, uint64_t msg_id) {
  replay_core *c = in->core;
  const agrl_trace_id *id = &s->trace.id;
  replay_group *g = id->run == c->run ? replay_core_find(c, id->group) : NULL;
  if (!g || !g->members) return closed_or_unknown(c, id);
  const char *why = contradiction(g, s);
  if (why) {
    static agrl_log_limit lim;
    uint64_t more = 0;
    c->counts.bad++;
    if (agrl_log_allow(&lim, &more))
      agrl_logw("event=bad_trace group=%" PRIu64 " member=%u cause=\"%s\" suppressed=%" PRIu64, id->group, id->member, why, more);
    return REPLAY_INGEST_UNWANTED;
  }
  replay_member *m = &g->members[id->member];
  if (m->state == REPLAY_MEMBER_HAVE) {
    c->counts.duplicates++;
    return REPLAY_INGEST_DUPLICATE;
  }
  if (m->state == REPLAY_MEMBER_PENDING) {
    push(in, s, peer, msg_id)->second = true;
    return REPLAY_INGEST_QUEUED;
  }
  if (replay_store_pressed(c->store)) {
    c->refused_full++;
    return REPLAY_INGEST_REFUSED;
  }
  replay_pending *p = push(in, s, peer, msg_id);
  agrl_error err = {0};
  if (agrl_scored_pack(s, &in->bytes, &err)) {  // it was unpacked a moment ago with the same limits
    agrl_loge("event=unpackable_trace group=%" PRIu64 " cause=\"%s\"", id->group, err.msg);
    in->bytes.len = p->offset;
    in->n--;
    c->counts.bad++;
    return REPLAY_INGEST_UNWANTED;
  }
  p->len = in->bytes.len - p->offset;
  p->result = replay_result_of(s);
  if (p->result.min_version == UINT64_MAX) p->result.min_version = g->rec.created_version;
  m->state = REPLAY_MEMBER_PENDING;
  return REPLAY_INGEST_QUEUED;
}

static agrl_rc apply_one(replay_core *c, const replay_ingest *in, replay_pending *p, agrl_error *err) {
  replay_group *g = replay_core_find(c, p->id.group);
  bool open = g && g->rec.state < REPLAY_READY;
  if (p->second) {
    p->status = replay_store_has_trace(c->store, &(replay_trace_key){p->id.group, p->id.member}) ? AGRL_ACK_DUPLICATE : AGRL_ACK_UNWANTED;
    c->counts.duplicates++;
    return AGRL_OK;
  }
  if (!open) {  // closed by a trace before it in this very batch
    p->status = AGRL_ACK_UNWANTED;
    c->counts.unwanted++;
    return AGRL_OK;
  }
  replay_trace_key key = {p->id.group, p->id.member};
  agrl_rc rc = replay_store_put_trace(c->store, &key, in->bytes.data + p->offset, p->len, err);
  if (rc && rc != AGRL_EEXIST) return rc;  // EEXIST: the first committed stands
  p->status = rc ? AGRL_ACK_DUPLICATE : AGRL_ACK_COMMITTED;
  g->results[p->id.member] = p->result;
  c->meta.traces++;
  c->counts.inserts++;
  replay_core_decide(c, g, false);
  return AGRL_OK;
}

static agrl_rc apply(replay_core *c, void *user, agrl_error *err) {
  replay_ingest *in = user;
  // The body may run again after the map has grown: results of a former run are taken back first.
  for (size_t i = 0; i < in->n; i++) {
    replay_group *g = replay_core_find(c, in->v[i].id.group);
    if (g && g->members && g->members[in->v[i].id.member].state == REPLAY_MEMBER_PENDING) g->results[in->v[i].id.member].have = false;
  }
  agrl_rc rc = AGRL_OK;
  for (size_t i = 0; !rc && i < in->n; i++) rc = apply_one(c, in, &in->v[i], err);
  return rc;
}

// The group may be closed by now: then nothing is left to mark.
static void mark(replay_core *c, const replay_pending *p, bool committed) {
  replay_group *g = replay_core_find(c, p->id.group);
  if (!g || !g->members || p->second) return;
  g->members[p->id.member].state = committed ? REPLAY_MEMBER_HAVE : REPLAY_MEMBER_OUT;
  if (!committed) g->results[p->id.member].have = false;
}

agrl_rc replay_ingest_commit(replay_ingest *in, replay_ack_fn tell, void *user, agrl_error *err) {
  if (in->n == 0) return AGRL_OK;
  agrl_rc rc = replay_core_write(in->core, apply, in, err);
  for (size_t i = 0; i < in->n; i++) {
    mark(in->core, &in->v[i], rc == AGRL_OK);
    if (rc == AGRL_OK) tell(user, &in->v[i].peer, in->v[i].msg_id, &in->v[i].id, in->v[i].status);
  }
  in->n = 0;
  agrl_buf_clear(&in->bytes);
  return rc;
}
