// SPDX-License-Identifier: Apache-2.0
// See publish.h. A chunk is a slice of a link's bytes: the bf16 block, an anchor, a delta, or the base of adapters. It goes out with the version it
// belongs to, so that an actor that asks for what is no longer kept learns the newest version and starts over.
#include "learner/publish.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/bug.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/wire/limits.h"

enum { CHUNK_BYTES_MAX = 1 << 20, HEARTBEAT_MS = 1000 };

struct learner_publisher {
  agrl_svc *svc;
  agrl_sock *router, *pub;
  uv_timer_t heartbeat;
  learner_shelf shelf;
  const char *phase;
  learner_model model;
  agrl_metric *bytes;
};

// Zeros: no adapters.
static agrl_sha256 base_hash(const learner_publisher *p) {
  return p->model.base != NULL ? agrl_weights_hash(p->model.base) : (agrl_sha256){0};
}

static size_t base_bytes(const learner_publisher *p) { return agrl_weights_layout(p->model.base)->n_elements * sizeof(uint16_t); }

static agrl_msg announcement(const learner_publisher *p) {
  agrl_weights *w = p->shelf.newest;
  return (agrl_msg){.kind = AGRL_MSG_ANNOUNCE,
                    .announce = {.run = p->svc->run_id,
                                 .version = agrl_weights_version(w),
                                 .bytes = agrl_weights_layout(w)->n_elements * sizeof(uint16_t),
                                 .phase = p->phase,
                                 .hash = agrl_weights_hash(w),
                                 .config_json = p->model.config_json,
                                 .tokenizer_path = p->model.tokenizer_path,
                                 .adapter_json = p->model.adapter_json != NULL ? p->model.adapter_json : "",
                                 .base_hash = base_hash(p)}};
}

static void announce(learner_publisher *p) {
  if (p->shelf.newest == NULL) return;
  agrl_msg m = announcement(p);
  agrl_sock_send(p->pub, NULL, &m, NULL);  // lossy by design (a full queue drops it silently): the heartbeat repeats it
}

static void on_heartbeat(uv_timer_t *t) { announce(t->data); }

static void answer_plan(learner_publisher *p, const agrl_peer *peer, const agrl_msg *m) {
  agrl_link links[AGRL_LIMIT_LINKS];
  agrl_msg a = announcement(p);
  const agrl_sha256 base = base_hash(p);
  const bool needs_base = p->model.base != NULL && memcmp(&base, &m->weights_get.base_hash, sizeof base) != 0;
  if (needs_base) links[a.announce.n_links++] = (agrl_link){.kind = AGRL_LINK_BASE, .bytes = base_bytes(p)};
  a.announce.n_links += learner_shelf_plan(&p->shelf, m->weights_get.have, m->weights_get.full, links + a.announce.n_links);
  a.announce.links = links;
  agrl_reply(p->router, peer, m, &a);
}

static const uint8_t *find(learner_publisher *p, agrl_link_kind kind, uint64_t version, size_t *len) {
  if (kind != AGRL_LINK_BASE) return learner_shelf_find(&p->shelf, kind, version, len);
  if (p->model.base == NULL || version != 0) return NULL;
  *len = base_bytes(p);
  return (const uint8_t *)agrl_weights_block(p->model.base);
}

static void answer_chunk(learner_publisher *p, const agrl_peer *peer, const agrl_msg *m) {
  const agrl_msg_chunk_get *get = &m->chunk_get;
  size_t total, len = get->len < CHUNK_BYTES_MAX ? get->len : CHUNK_BYTES_MAX;
  const uint8_t *data = find(p, get->kind, get->version, &total);
  agrl_msg a = {.kind = AGRL_MSG_CHUNK, .chunk = {.version = agrl_weights_version(p->shelf.newest), .offset = get->offset}};
  if (data == NULL && get->version == a.chunk.version) {  // the newest, but never in this form
    agrl_reply_error(p->router, peer, m, AGRL_ENOENT, "no such package of the newest weights");
    return;
  }
  if (data != NULL) {
    if (get->offset > total) {
      agrl_reply_error(p->router, peer, m, AGRL_EINVAL, "offset beyond the end");
      return;
    }
    if (len > total - get->offset) len = total - (size_t)get->offset;
    a.chunk.version = get->version;
    a.chunk.len = len;
    a.chunk.data = data + get->offset;
  }
  if (agrl_reply(p->router, peer, m, &a) != AGRL_OK) return;
  agrl_metric_add(p->bytes, get->kind == AGRL_LINK_DELTA ? LEARNER_BYTES_DELTA_SENT : LEARNER_BYTES_FULL_SENT, (double)a.chunk.len);
}

static void on_message(void *user, agrl_sock *s, const agrl_peer *peer, const agrl_msg *m) {
  learner_publisher *p = user;
  if (agrl_svc_handle_status(p->svc, s, peer, m)) return;
  if (p->shelf.newest == NULL) {
    agrl_reply_error(s, peer, m, AGRL_EAGAIN, "no weights yet: the warm start is under way");
  } else if (m->kind == AGRL_MSG_WEIGHTS_GET) {
    answer_plan(p, peer, m);
  } else if (m->kind == AGRL_MSG_CHUNK_GET) {
    answer_chunk(p, peer, m);
  } else {
    agrl_reply_error(s, peer, m, AGRL_EUNSUPPORTED, "the learner answers WEIGHTS_GET, CHUNK_GET and STATUS_REQUEST");
  }
}

static agrl_rc bind_socket(learner_publisher *p, agrl_sock_kind kind, const char *service, agrl_sock **out, agrl_error *err) {
  char *endpoint = agrl_config_endpoint(&p->svc->config, service);
  agrl_rc rc = agrl_sock_open(p->svc->net, kind, service, endpoint, true, (int)p->svc->config.net.hwm,
                              kind == AGRL_SOCK_ROUTER ? on_message : NULL, p, out, err);
  free(endpoint);
  return rc;
}

agrl_rc learner_publisher_open(learner_publisher **out, agrl_svc *s, agrl_metric *bytes, agrl_error *err) {
  learner_publisher *p = agrl_xcalloc(1, sizeof *p);
  p->svc = s;
  p->bytes = bytes;
  p->phase = "sft";
  agrl_rc rc = bind_socket(p, AGRL_SOCK_ROUTER, "weights", &p->router, err);
  if (rc == AGRL_OK) rc = bind_socket(p, AGRL_SOCK_PUB, "announce", &p->pub, err);
  if (rc != AGRL_OK) {
    free(p);  // the sockets go with the net: a failed start ends the process
    return rc;
  }
  uv_timer_init(&s->loop, &p->heartbeat);
  p->heartbeat.data = p;
  uv_timer_start(&p->heartbeat, on_heartbeat, HEARTBEAT_MS, HEARTBEAT_MS);
  *out = p;
  return AGRL_OK;
}

static void on_closed(uv_handle_t *h) { free(h->data); }

void learner_publisher_close(learner_publisher *p) {
  agrl_sock_close(p->router);
  agrl_sock_close(p->pub);
  learner_shelf_release(&p->shelf);
  learner_model_free(&p->model);
  uv_close((uv_handle_t *)&p->heartbeat, on_closed);
}

void learner_model_free(learner_model *m) {
  free(m->config_json);
  free(m->tokenizer_path);
  free(m->adapter_json);
  agrl_weights_unref(m->base);
  *m = (learner_model){0};
}

void learner_publisher_model(learner_publisher *p, learner_model m) {
  learner_model_free(&p->model);
  p->model = m;
}

void learner_publisher_set(learner_publisher *p, learner_release r) {
  AGRL_ASSERT(p->model.config_json != NULL);
  p->phase = r.phase;
  if (p->shelf.newest != NULL && agrl_weights_version(p->shelf.newest) == agrl_weights_version(r.weights))
    learner_release_free(&r);  // the same weights in a new phase
  else
    learner_shelf_put(&p->shelf, r.weights, r.anchor, r.delta);
  announce(p);
}

void learner_release_free(learner_release *r) {
  agrl_weights_unref(r->weights);
  learner_package_free(r->anchor);
  learner_package_free(r->delta);
  *r = (learner_release){0};
}
