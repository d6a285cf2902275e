// SPDX-License-Identifier: Apache-2.0
// Requests over a DEALER: a table of pending requests by id, and one timer set to the earliest deadline. Callbacks run from
// the loop, never from inside agrl_rpc_call, so a caller may call again from its callback without recursion.
#include <stdlib.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/net/net_impl.h"

#define BUCKETS 256u

typedef struct pending pending;
struct pending {
  pending *next;
  uint64_t id;
  uint64_t start_ns, deadline_ns;  // monotonic
  agrl_rc rc;                      // what to report at the deadline
  agrl_rpc_fn fn;
  void *user;
};

struct agrl_rpc {
  agrl_sock *sock;
  agrl_net *net;
  uv_timer_t timer;
  uint64_t timer_ns;  // when the timer is set to fire; UINT64_MAX: not set
  uint64_t next_id;
  agrl_sock_fn on_other;
  void *user;
  bool closed;
  pending *buckets[BUCKETS];
};

static pending *take(agrl_rpc *r, uint64_t id) {
  for (pending **at = &r->buckets[id % BUCKETS]; *at != NULL; at = &(*at)->next)
    if ((*at)->id == id) {
      pending *p = *at;
      *at = p->next;
      r->net->stats.pending--;
      return p;
    }
  return NULL;
}

// Moves every request whose deadline is at most `until` into a list; *earliest: the next deadline of those that stay.
static pending *take_expired(agrl_rpc *r, uint64_t until, uint64_t *earliest) {
  pending *list = NULL, **tail = &list;
  *earliest = UINT64_MAX;
  for (size_t b = 0; b < BUCKETS; b++)
    for (pending **at = &r->buckets[b]; *at != NULL;) {
      pending *p = *at;
      if (p->deadline_ns <= until) {
        *at = p->next;
        p->next = NULL;
        *tail = p;
        tail = &p->next;
        r->net->stats.pending--;
      } else {
        if (p->deadline_ns < *earliest) *earliest = p->deadline_ns;
        at = &p->next;
      }
    }
  return list;
}

static void report_all(pending *list, bool closing) {
  while (list != NULL) {
    pending *p = list;
    list = p->next;
    p->fn(p->user, closing ? AGRL_EPEER : p->rc, NULL);
    free(p);
  }
}

static void on_timer(uv_timer_t *t);

static void set_timer(agrl_rpc *r, uint64_t at_ns) {
  if (r->closed || at_ns >= r->timer_ns) return;
  uint64_t now = agrl_mono_ns();
  r->timer_ns = at_ns;
  uv_update_time(r->net->loop);
  uv_timer_start(&r->timer, on_timer, at_ns > now ? (at_ns - now + 999999u) / 1000000u : 0, 0);
}

static void on_timer(uv_timer_t *t) {
  agrl_rpc *r = t->data;
  uint64_t earliest;
  r->timer_ns = UINT64_MAX;
  pending *expired = take_expired(r, agrl_mono_ns(), &earliest);
  if (earliest != UINT64_MAX) set_timer(r, earliest);
  report_all(expired, false);  // may close r; its memory stays until the loop closes the timer
}

static void on_message(void *user, agrl_sock *s, const agrl_peer *peer, const agrl_msg *m) {
  agrl_rpc *r = user;
  pending *p = m->id == 0 ? NULL : take(r, m->id);
  if (p == NULL) {
    if (r->on_other != NULL) r->on_other(r->user, s, peer, m);
    return;
  }
  r->net->stats.answers++;
  r->net->stats.last_rtt_ns = agrl_mono_ns() - p->start_ns;
  agrl_rc rc = p->rc == AGRL_ETIMEOUT ? AGRL_OK : p->rc;
  if (m->kind == AGRL_MSG_ERROR)
    rc = m->error.code > AGRL_OK && m->error.code <= AGRL_EUNSUPPORTED ? (agrl_rc)m->error.code : AGRL_EPEER;
  p->fn(p->user, rc, m);
  free(p);
}

agrl_rc agrl_rpc_open(agrl_net *n, const char *label, const char *endpoint, int hwm, agrl_sock_fn on_other, void *user,
                      agrl_rpc **out, agrl_error *err) {
  agrl_rpc *r = agrl_xcalloc(1, sizeof *r);
  r->net = n;
  r->on_other = on_other;
  r->user = user;
  r->timer_ns = UINT64_MAX;
  // A start that no earlier process of this kind used: its answers, should any still come, match nothing here.
  uint64_t seed[2] = {agrl_wall_ns(), (uint64_t)getpid()};
  r->next_id = agrl_hash64(seed, sizeof seed) | 1u;
  agrl_rc rc = agrl_sock_open(n, AGRL_SOCK_DEALER, label, endpoint, false, hwm, on_message, r, &r->sock, err);
  if (rc != AGRL_OK) {
    free(r);
    return rc;
  }
  uv_timer_init(n->loop, &r->timer);
  r->timer.data = r;
  *out = r;
  return AGRL_OK;
}

static void on_timer_closed(uv_handle_t *h) { free(h->data); }

void agrl_rpc_close(agrl_rpc *r) {
  if (r == NULL || r->closed) return;
  uint64_t earliest;
  r->closed = true;
  pending *all = take_expired(r, UINT64_MAX, &earliest);
  agrl_sock_close(r->sock);
  uv_close((uv_handle_t *)&r->timer, on_timer_closed);
  report_all(all, true);
}

void agrl_rpc_call(agrl_rpc *r, agrl_msg *m, uint64_t timeout_ms, agrl_rpc_fn fn, void *user) {
  pending *p = agrl_xcalloc(1, sizeof *p);
  if (r->next_id == 0) r->next_id = 1;
  *p = (pending){.id = r->next_id++, .start_ns = agrl_mono_ns(), .rc = AGRL_ETIMEOUT, .fn = fn, .user = user};
  p->deadline_ns = p->start_ns + timeout_ms * 1000000u;
  m->id = p->id;
  m->deadline_ms = agrl_wall_ns() / 1000000u + timeout_ms;
  agrl_rc rc = r->closed ? AGRL_EPEER : agrl_sock_send(r->sock, NULL, m, NULL);
  if (rc != AGRL_OK) {  // reported by the timer in the next turn
    p->rc = rc;
    p->deadline_ns = p->start_ns;
  }
  if (r->closed) {
    fn(user, AGRL_EPEER, NULL);
    free(p);
    return;
  }
  p->next = r->buckets[p->id % BUCKETS];
  r->buckets[p->id % BUCKETS] = p;
  r->net->stats.pending++;
  set_timer(r, p->deadline_ns);
}

agrl_rc agrl_rpc_send(agrl_rpc *r, const agrl_msg *m, agrl_error *err) {
  if (r->closed) return agrl_fail(err, AGRL_EPEER, "the connection is closed");
  return agrl_sock_send(r->sock, NULL, m, err);
}

agrl_rc agrl_reply(agrl_sock *s, const agrl_peer *peer, const agrl_msg *request, agrl_msg *answer) {
  answer->id = request->id;
  answer->deadline_ms = request->deadline_ms;
  return agrl_sock_send(s, peer, answer, NULL);
}

agrl_rc agrl_reply_error(agrl_sock *s, const agrl_peer *peer, const agrl_msg *request, agrl_rc code, const char *text) {
  agrl_msg m = {.kind = AGRL_MSG_ERROR, .error = {.code = code, .text = text}};
  return agrl_reply(s, peer, request, &m);
}
