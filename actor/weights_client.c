// SPDX-License-Identifier: Apache-2.0
// Weight fetching: announce -> chunks in order -> hash -> snapshot. Any surprise (wrong version, wrong size,
// wrong hash, silence) drops the scratch copy and starts over from the newest announcement; live weights are never touched.
#include "actor/weights_client.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/ckpt/hf.h"

#define CHUNK_BYTES (1u << 20)
#define CHUNK_TIMEOUT_MS 5000
#define POLL_MS 1000

struct actor_weights_client {
  agrl_net *net;
  agrl_sock *announce;
  agrl_rpc *rpc;
  uv_timer_t poll;
  char *name;
  uint64_t run;
  actor_weights_hooks hooks;
  agrl_layout *layout;
  actor_weights_stats stats;
  // the fetch under way
  bool fetching, refused;
  uint64_t fetch_version, fetch_start_ns;
  agrl_sha256 fetch_hash;
  size_t bytes, got;
  uint8_t *scratch;
};

static void request_chunk(actor_weights_client *c);

static void start_fetch(actor_weights_client *c, const agrl_msg_announce *a) {
  c->fetching = true;
  c->fetch_version = a->version;
  c->fetch_hash = a->hash;
  c->fetch_start_ns = agrl_mono_ns();
  c->got = 0;
  c->stats.fetches++;
  request_chunk(c);
}

static void abandon(actor_weights_client *c, const char *why) {
  agrl_logw("weights event=fetch_abandoned version=%" PRIu64 " cause=\"%s\"", c->fetch_version, why);
  c->fetching = false;
  c->stats.resyncs++;
}

static void finish_fetch(actor_weights_client *c) {
  agrl_sha256 got = agrl_sha256_of(c->scratch, c->bytes);
  if (memcmp(&got, &c->fetch_hash, sizeof got) != 0) {
    c->stats.verify_failures++;
    abandon(c, "sha256 differs from the announced one");
    return;
  }
  c->fetching = false;
  c->stats.version = c->fetch_version;
  c->stats.last_fetch_seconds = agrl_since_s(c->fetch_start_ns);
  c->hooks.fresh(c->hooks.user, agrl_weights_new(c->layout, (const uint16_t *)(const void *)c->scratch, c->fetch_version));
}

static void on_chunk(void *user, agrl_rc rc, const agrl_msg *m) {
  actor_weights_client *c = user;
  if (rc == AGRL_EPEER && !m && !c->rpc) return;  // closing
  if (rc || m->kind != AGRL_MSG_CHUNK) {
    abandon(c, rc ? agrl_rc_text(rc) : "unexpected answer");
    return;
  }
  const agrl_msg_chunk *k = &m->chunk;
  if (k->version != c->fetch_version || k->offset != c->got || !k->len || k->len > c->bytes - c->got) {
    abandon(c, k->version != c->fetch_version ? "superseded" : "chunk out of order");
    return;
  }
  memcpy(c->scratch + c->got, k->data, k->len);
  c->got += k->len;
  c->stats.bytes += k->len;
  if (c->got == c->bytes) finish_fetch(c);
  else request_chunk(c);
}

static void request_chunk(actor_weights_client *c) {
  size_t left = c->bytes - c->got;
  agrl_msg m = {.kind = AGRL_MSG_CHUNK_GET,
                .chunk_get = {.version = c->fetch_version, .offset = c->got, .len = left < CHUNK_BYTES ? (uint32_t)left : CHUNK_BYTES}};
  agrl_rpc_call(c->rpc, &m, CHUNK_TIMEOUT_MS, on_chunk, c);
}

// The first announcement brings the model's shape; a later one with another size is another model: refused.
static agrl_rc learn_model(actor_weights_client *c, const agrl_msg_announce *a, agrl_error *err) {
  agrl_spec spec;
  agrl_rc rc = agrl_ckpt_parse_config(a->config_json, strlen(a->config_json), "announced config.json", &spec, err);
  if (!rc) rc = agrl_layout_new(&spec, &c->layout, err);
  if (rc) return rc;
  c->bytes = c->layout->n_elements * sizeof(uint16_t);
  c->scratch = agrl_block_alloc(c->bytes);
  if (!c->scratch) return agrl_fail(err, AGRL_ENOMEM, "no memory for %zu bytes of weights", c->bytes);
  return c->hooks.model(c->hooks.user, c->layout, a->tokenizer_path, err);
}

static void consider(actor_weights_client *c, const agrl_msg_announce *a) {
  agrl_error err = {0};
  if (a->run != c->run || c->refused) return;
  c->stats.announced_version = a->version;
  if (!a->bytes || a->version <= c->stats.version || c->fetching) return;
  agrl_rc rc = c->layout ? AGRL_OK : learn_model(c, a, &err);
  if (rc) {
    agrl_loge("weights event=model_refused cause=\"%s\"", err.msg);
    c->refused = true;
    c->hooks.refused(c->hooks.user, rc);
    return;
  }
  if (a->bytes != c->bytes) {
    static agrl_log_limit lim;
    uint64_t n;
    c->stats.verify_failures++;
    if (agrl_log_allow(&lim, &n)) agrl_loge("weights event=size_refused announced=%" PRIu64 " expected=%zu", a->bytes, c->bytes);
    return;
  }
  start_fetch(c, a);
}

static void on_announce(void *user, agrl_sock *s, const agrl_peer *peer, const agrl_msg *m) {
  (void)s;
  (void)peer;
  if (m->kind == AGRL_MSG_ANNOUNCE) consider(user, &m->announce);
}

static void on_meta(void *user, agrl_rc rc, const agrl_msg *m) {
  if (!rc && m->kind == AGRL_MSG_ANNOUNCE) consider(user, &m->announce);
}

// Announcements may be dropped, and a joining actor heard none: ask.
static void on_poll(uv_timer_t *t) {
  actor_weights_client *c = t->data;
  if (c->fetching || c->refused) return;
  agrl_msg m = {.kind = AGRL_MSG_WEIGHTS_GET, .weights_get = {.actor = c->name}};
  agrl_rpc_call(c->rpc, &m, POLL_MS, on_meta, c);
}

agrl_rc actor_weights_client_open(agrl_net *net, uv_loop_t *loop, const char *name, const char *weights_endpoint,
                                  const char *announce_endpoint, int hwm, uint64_t run, const actor_weights_hooks *hooks,
                                  actor_weights_client **out, agrl_error *err) {
  actor_weights_client *c = agrl_xcalloc(1, sizeof *c);
  c->net = net;
  c->run = run;
  c->hooks = *hooks;
  c->name = agrl_xstrdup(name);
  uv_timer_init(loop, &c->poll);
  c->poll.data = c;
  agrl_rc rc = agrl_sock_open(net, AGRL_SOCK_SUB, "announce", announce_endpoint, false, hwm, on_announce, c, &c->announce, err);
  if (!rc) rc = agrl_rpc_open(net, "weights", weights_endpoint, hwm, NULL, c, &c->rpc, err);
  *out = c;
  if (rc) return rc;
  uv_timer_start(&c->poll, on_poll, 0, POLL_MS);
  return AGRL_OK;
}

static void on_closed(uv_handle_t *h) {
  actor_weights_client *c = h->data;
  if (c->scratch) agrl_block_free(c->scratch, c->bytes);
  agrl_layout_free(c->layout);
  free(c->name);
  free(c);
}

void actor_weights_client_close(actor_weights_client *c) {
  if (!c) return;
  agrl_rpc *rpc = c->rpc;
  c->rpc = NULL;
  if (rpc) agrl_rpc_close(rpc);
  if (c->announce) agrl_sock_close(c->announce);
  uv_timer_stop(&c->poll);
  uv_close((uv_handle_t *)&c->poll, on_closed);
}

actor_weights_stats actor_weights_client_stats(const actor_weights_client *c) { return c->stats; }
