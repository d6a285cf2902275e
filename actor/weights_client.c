// SPDX-License-Identifier: Apache-2.0
// Fetching weights: IDLE -> ASKING (which way?) -> FILLING (worker: scratch block) -> RECEIVING (chunks, one at a time) ->
// HASHING (worker) -> IDLE with a snapshot handed over. A chunk that is not answered is asked for again where it stopped; any
// other surprise abandons the fetch, and the next announcement or poll begins anew.
#include "actor/weights_client.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "actor/weights_build.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/ckpt/adapter.h"
#include "common/ckpt/hf.h"

enum { CHUNK_TIMEOUT_MS = 5000, CHUNK_TRIES = 3, POLL_MS = 1000, SWAP_WAIT_MS = 20 };

typedef enum { IDLE, ASKING, FILLING, RECEIVING, HASHING } fetch_state;

const char *const actor_resync_names[] = {"timeout", "gone", "order", "corrupt", "hash", NULL};

struct actor_weights_client {
  agrl_sock *announce;
  agrl_rpc *rpc;
  uv_timer_t poll;
  uv_work_t work;
  char *name;
  uint64_t run;
  actor_weights_hooks hooks;
  agrl_layout *layout;  // of the model
  agrl_lora *lora;      // of what travels, where adapters are trained
  actor_weights_build build;
  actor_weights_stats stats;
  fetch_state state;
  bool refused, want_full;  // want_full: the last fetch failed because of what a package held
  bool closed, verified;    // closed: the handles are; verified: the worker's answer
  unsigned tries;           // of the chunk asked for
  uint64_t start_ns;
};

static void request_chunk(actor_weights_client *c);

static void abandon(actor_weights_client *c, actor_resync cause, const char *why) {
  agrl_logw("weights event=fetch_abandoned version=%" PRIu64 " cause=%s why=\"%s\"", c->build.version, actor_resync_names[cause], why);
  c->state = IDLE;
  c->stats.resyncs[cause]++;
  c->want_full = cause >= ACTOR_RESYNC_ORDER;  // a block that came too slowly is not asked for again: the packages may be sound now
}

// --- worker

static void fill(uv_work_t *w) { actor_weights_build_fill(&((actor_weights_client *)w->data)->build); }

static void verify(uv_work_t *w) {
  actor_weights_client *c = w->data;
  c->verified = actor_weights_build_verify(&c->build);
}

static void free_client(actor_weights_client *c) {
  actor_weights_build_release(&c->build);
  agrl_lora_free(c->lora);
  agrl_layout_free(c->layout);
  free(c->name);
  free(c);
}

// Common end of both: when the client was closed meanwhile, this is the last to see it.
static bool worker_done(actor_weights_client *c) {
  c->state = c->state == FILLING ? RECEIVING : IDLE;
  if (c->rpc) return true;
  if (c->closed) free_client(c);
  return false;
}

static void on_filled(uv_work_t *w, int status) {
  (void)status;
  actor_weights_client *c = w->data;
  if (worker_done(c)) request_chunk(c);
}

static void on_verified(uv_work_t *w, int status) {
  (void)status;
  actor_weights_client *c = w->data;
  if (!worker_done(c)) return;
  if (!c->verified) {
    c->stats.verify_failures++;
    abandon(c, ACTOR_RESYNC_HASH, "sha256 differs from the announced one");
    return;
  }
  c->want_full = false;
  c->stats.version = c->build.version;
  c->stats.last_fetch_seconds = agrl_since_s(c->start_ns);
  c->hooks.fresh(c->hooks.user, actor_weights_build_commit(&c->build));
}

static void run_worker(actor_weights_client *c, fetch_state state, uv_work_cb work, uv_after_work_cb after) {
  c->state = state;
  c->work.data = c;
  uv_queue_work(c->poll.loop, &c->work, work, after);  // fails for a NULL work only
}

// --- chunks

static void take_chunk(actor_weights_client *c, const agrl_msg_chunk *k, const agrl_msg_chunk_get *asked) {
  agrl_error err = {0};
  if (k->version != asked->version) {
    abandon(c, ACTOR_RESYNC_GONE, "no longer kept by the learner");
    return;
  }
  agrl_rc rc = actor_weights_build_take(&c->build, k, &err);
  *(asked->kind == AGRL_LINK_DELTA ? &c->stats.delta_bytes : &c->stats.full_bytes) += k->len;
  if (rc) abandon(c, rc == AGRL_EVERSION ? ACTOR_RESYNC_ORDER : ACTOR_RESYNC_CORRUPT, err.msg);
  else request_chunk(c);
}

static void on_chunk(void *user, agrl_rc rc, const agrl_msg *m) {
  actor_weights_client *c = user;
  agrl_msg_chunk_get asked;
  if (!c->rpc) return;  // closing
  if (rc && !m && ++c->tries < CHUNK_TRIES) {
    request_chunk(c);
    return;
  }
  if (rc || m->kind != AGRL_MSG_CHUNK) {
    abandon(c, m ? ACTOR_RESYNC_GONE : ACTOR_RESYNC_TIMEOUT, rc ? agrl_rc_text(rc) : "unexpected answer");
    return;
  }
  c->tries = 0;
  actor_weights_build_next(&c->build, &asked);
  take_chunk(c, &m->chunk, &asked);
}

static void request_chunk(actor_weights_client *c) {
  agrl_msg m = {.kind = AGRL_MSG_CHUNK_GET};
  if (actor_weights_build_next(&c->build, &m.chunk_get)) agrl_rpc_call(c->rpc, &m, CHUNK_TIMEOUT_MS, on_chunk, c);
  else run_worker(c, HASHING, verify, on_verified);
}

// --- announcements

// The first announcement brings the model's shape; a later one with another size is another model: refused.
static agrl_rc learn_model(actor_weights_client *c, const agrl_msg_announce *a, agrl_error *err) {
  agrl_spec spec;
  agrl_rc rc = agrl_ckpt_parse_config(a->config_json, strlen(a->config_json), "announced config.json", &spec, err);
  if (!rc) rc = agrl_layout_new(&spec, &c->layout, err);
  if (!rc && *a->adapter_json)
    rc = agrl_adapter_parse_config(a->adapter_json, strlen(a->adapter_json), "announced adapters", c->layout, &c->lora, err);
  if (rc) return rc;
  actor_weights_build_init(&c->build, c->layout, c->lora);
  return c->hooks.model(c->hooks.user, c->layout, a->tokenizer_path, err);
}

static void refuse(actor_weights_client *c, agrl_rc rc, const char *why) {
  agrl_loge("weights event=model_refused cause=\"%s\"", why);
  c->refused = true;
  c->hooks.refused(c->hooks.user, rc);
}

// Whether a names something newer that can be fetched.
static bool wanted(actor_weights_client *c, const agrl_msg_announce *a) {
  if (a->run != c->run || c->refused) return false;
  c->stats.announced_version = a->version;
  if (!a->bytes || a->version <= c->stats.version || c->state != IDLE) return false;
  if (!c->layout || a->bytes == c->build.turns.bytes) return true;
  static agrl_log_limit lim;
  uint64_t n;
  c->stats.verify_failures++;
  if (agrl_log_allow(&lim, &n)) agrl_loge("weights event=size_refused announced=%" PRIu64 " expected=%zu", a->bytes, c->build.turns.bytes);
  return false;
}

static void start_fetch(actor_weights_client *c, const agrl_msg_announce *a) {
  agrl_error err = {0};
  agrl_rc rc = c->layout ? AGRL_OK : learn_model(c, a, &err);
  if (!rc) rc = actor_weights_build_ready(&c->build, &err);
  if (rc == AGRL_EAGAIN) {  // a decode step is under way
    uv_timer_start(&c->poll, c->poll.timer_cb, SWAP_WAIT_MS, POLL_MS);
    return;
  }
  if (rc) {
    refuse(c, rc, err.msg);
    return;
  }
  rc = actor_weights_build_begin(&c->build, a, &err);
  if (rc) {
    abandon(c, ACTOR_RESYNC_ORDER, err.msg);
    return;
  }
  c->start_ns = agrl_mono_ns();
  c->tries = 0;
  c->stats.fetches++;
  run_worker(c, FILLING, fill, on_filled);
}

static void on_plan(void *user, agrl_rc rc, const agrl_msg *m) {
  actor_weights_client *c = user;
  if (!c->rpc) return;  // closing
  c->state = IDLE;
  if (!rc && m->kind == AGRL_MSG_ANNOUNCE && wanted(c, &m->announce)) start_fetch(c, &m->announce);
}

static void ask(actor_weights_client *c) {
  agrl_msg m = {.kind = AGRL_MSG_WEIGHTS_GET, .weights_get = {.actor = c->name, .have = c->stats.version, .base_hash = actor_weights_build_base(&c->build), .full = c->want_full}};
  c->state = ASKING;
  agrl_rpc_call(c->rpc, &m, POLL_MS, on_plan, c);
}

static void on_announce(void *user, agrl_sock *s, const agrl_peer *peer, const agrl_msg *m) {
  actor_weights_client *c = user;
  (void)s;
  (void)peer;
  if (m->kind == AGRL_MSG_ANNOUNCE && wanted(c, &m->announce)) ask(c);
}

// Announcements may be dropped, and a joining actor heard none: ask.
static void on_poll(uv_timer_t *t) {
  actor_weights_client *c = t->data;
  if (c->state == IDLE && !c->refused) ask(c);
}

// --- life

agrl_rc actor_weights_client_open(agrl_net *net, uv_loop_t *loop, const char *name, const char *weights_endpoint,
                                  const char *announce_endpoint, int hwm, uint64_t run, const actor_weights_hooks *hooks,
                                  actor_weights_client **out, agrl_error *err) {
  actor_weights_client *c = agrl_xcalloc(1, sizeof *c);
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
  c->closed = true;
  if (c->state != FILLING && c->state != HASHING) free_client(c);
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
