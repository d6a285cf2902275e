// SPDX-License-Identifier: Apache-2.0
// ZeroMQ sockets on a libuv loop. ZMQ_FD is edge-triggered on ZeroMQ's internal mailbox and says nothing about how many
// messages wait, so a poll callback that drains a bounded number of messages would sleep on a full queue. Instead:
//   poll     only wakes the loop;
//   prepare  (just before the loop sleeps) reads ZMQ_EVENTS of every socket, which also consumes the edge; if one is
//            readable, an idle handle is started so that the loop does not sleep;
//   check    (just after) stops the idle handle and handles at most NET_TURN_BUDGET messages, one socket after the other.
// Whatever timers or other callbacks send or receive in between, prepare looks again before the next sleep.
#include <stdlib.h>
#include <zmq.h>

#include "common/base/mem.h"
#include "common/net/net_impl.h"

static void free_when_closed(agrl_net *n) {
  if (n->handles > 0 || !n->closing) return;
  agrl_arena_release(&n->arena);
  agrl_buf_release(&n->pack);
  free(n->socks);
  free(n);
}

static void on_handle_closed(uv_handle_t *h) {
  agrl_net *n = h->data;
  n->handles--;
  free_when_closed(n);
}

static void on_sock_closed(uv_handle_t *h) {
  agrl_sock *s = h->data;
  agrl_net *n = s->net;
  net_sock_free(s);
  n->handles--;
  free_when_closed(n);
}

static void on_wake(uv_poll_t *h, int status, int events) { (void)h, (void)status, (void)events; }
static void on_idle(uv_idle_t *h) { (void)h; }

static void on_prepare(uv_prepare_t *h) {
  agrl_net *n = h->data;
  for (size_t i = 0; i < n->n_socks; i++)
    if (n->socks[i] != NULL && net_sock_readable(n->socks[i])) {
      uv_idle_start(&n->idle, on_idle);
      return;  // the others are looked at in check, and again in the next prepare
    }
}

static void drop_holes(agrl_net *n) {
  size_t kept = 0;
  for (size_t i = 0; i < n->n_socks; i++)
    if (n->socks[i] != NULL) n->socks[kept++] = n->socks[i];
  n->n_socks = kept;
}

// One message per socket and round, so that a flooded link does not starve the others.
static void on_check(uv_check_t *h) {
  agrl_net *n = h->data;
  uv_idle_stop(&n->idle);
  n->in_turn = true;
  int left = NET_TURN_BUDGET;
  bool any = true;
  while (any && left > 0 && !n->closing) {
    any = false;
    size_t count = n->n_socks;  // sockets opened by a callback join in the next round
    for (size_t k = 0; k < count && left > 0 && !n->closing; k++) {
      agrl_sock *s = n->socks[(n->next + k) % count];
      if (s == NULL || !net_sock_readable(s) || !net_sock_receive(s)) continue;
      any = true;
      left--;
    }
    n->next = count > 0 ? (n->next + 1) % count : 0;
  }
  n->in_turn = false;
  drop_holes(n);
}

agrl_rc net_uvz_start(agrl_net *n, agrl_error *err) {
  uv_prepare_init(n->loop, &n->prepare);
  uv_check_init(n->loop, &n->check);
  uv_idle_init(n->loop, &n->idle);
  n->prepare.data = n->check.data = n->idle.data = n;
  n->handles = 3;
  uv_prepare_start(&n->prepare, on_prepare);
  uv_check_start(&n->check, on_check);
  (void)err;
  return AGRL_OK;
}

agrl_rc net_uvz_add(agrl_net *n, agrl_sock *s, agrl_error *err) {
  int fd = -1;
  size_t len = sizeof fd;
  if (zmq_getsockopt(s->z, ZMQ_FD, &fd, &len) != 0) return net_zmq_fail(err, AGRL_EIO, "descriptor", s->label, s->endpoint);
  int rc = uv_poll_init(n->loop, &s->poll, fd);
  if (rc != 0) return agrl_fail(err, AGRL_EIO, "%s: cannot watch %s: %s", s->label, s->endpoint, uv_strerror(rc));
  s->poll.data = s;
  uv_poll_start(&s->poll, UV_READABLE, on_wake);
  n->handles++;
  if (n->n_socks == n->cap_socks) {
    n->cap_socks = n->cap_socks == 0 ? 8 : n->cap_socks * 2;
    n->socks = agrl_xreallocarray(n->socks, n->cap_socks, sizeof *n->socks);
  }
  n->socks[n->n_socks++] = s;
  return AGRL_OK;
}

void net_uvz_remove(agrl_net *n, agrl_sock *s) {
  for (size_t i = 0; i < n->n_socks; i++)
    if (n->socks[i] == s) n->socks[i] = NULL;
  if (!n->in_turn) drop_holes(n);
  uv_poll_stop(&s->poll);
  uv_close((uv_handle_t *)&s->poll, on_sock_closed);
}

void net_uvz_stop(agrl_net *n) {
  n->closing = true;
  uv_close((uv_handle_t *)&n->prepare, on_handle_closed);
  uv_close((uv_handle_t *)&n->check, on_handle_closed);
  uv_close((uv_handle_t *)&n->idle, on_handle_closed);
}
