// SPDX-License-Identifier: Apache-2.0
// Sockets: open with the options every link shares, send and receive whole agrl messages, count what is lost and refused.
// Frames: ROUTER [peer id][message], all others [message]. A message of any other shape is a bad message from a peer.
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <stdlib.h>
#include <zmq.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/net/net_impl.h"
#include "common/wire/limits.h"

#define COPY_BELOW 8192  // smaller messages are copied by ZeroMQ, larger ones handed over

agrl_rc net_zmq_fail(agrl_error *err, agrl_rc rc, const char *what, const char *label, const char *endpoint) {
  return agrl_fail(err, rc, "%s: %s %s: %s", label, what, endpoint, zmq_strerror(zmq_errno()));
}

agrl_rc agrl_net_open(agrl_net **out, uv_loop_t *loop, agrl_error *err) {
  agrl_net *n = agrl_xcalloc(1, sizeof *n);
  n->loop = loop;
  n->ctx = zmq_ctx_new();
  if (n->ctx == NULL) {
    free(n);
    return agrl_fail(err, AGRL_EIO, "cannot create a ZeroMQ context: %s", zmq_strerror(zmq_errno()));
  }
  agrl_arena_init(&n->arena, 0);
  agrl_buf_init(&n->pack);
  *out = n;
  return net_uvz_start(n, err);
}

void agrl_net_close(agrl_net *n) {
  if (n == NULL) return;
  while (n->n_socks > 0) {
    agrl_sock *s = n->socks[n->n_socks - 1];
    if (s != NULL)
      agrl_sock_close(s);
    else
      n->n_socks--;
  }
  net_uvz_stop(n);
  while (zmq_ctx_term(n->ctx) != 0 && zmq_errno() == EINTR) continue;
  n->ctx = NULL;
}

agrl_net_stats agrl_net_get_stats(const agrl_net *n) { return n->stats; }

static bool set_int(void *z, int option, int value) { return zmq_setsockopt(z, option, &value, sizeof value) == 0; }

static bool set_options(void *z, agrl_sock_kind kind, int hwm) {
  int64_t max = (int64_t)AGRL_LIMIT_MESSAGE;
  bool ok = set_int(z, ZMQ_SNDHWM, hwm) && set_int(z, ZMQ_RCVHWM, hwm) && set_int(z, ZMQ_LINGER, NET_LINGER_MS) &&
            set_int(z, ZMQ_RECONNECT_IVL, 50) && set_int(z, ZMQ_RECONNECT_IVL_MAX, 1000) &&
            set_int(z, ZMQ_HEARTBEAT_IVL, 2000) && set_int(z, ZMQ_HEARTBEAT_TIMEOUT, 10000) &&
            set_int(z, ZMQ_HEARTBEAT_TTL, 10000) && zmq_setsockopt(z, ZMQ_MAXMSGSIZE, &max, sizeof max) == 0;
  if (kind == AGRL_SOCK_ROUTER) ok = ok && set_int(z, ZMQ_ROUTER_MANDATORY, 1) && set_int(z, ZMQ_ROUTER_HANDOVER, 1);
  if (kind == AGRL_SOCK_SUB) ok = ok && zmq_setsockopt(z, ZMQ_SUBSCRIBE, "", 0) == 0;
  return ok;
}

void net_sock_free(agrl_sock *s) {
  free(s->label);
  free(s->endpoint);
  free(s);
}

agrl_rc agrl_sock_open(agrl_net *n, agrl_sock_kind kind, const char *label, const char *endpoint, bool bind, int hwm,
                       agrl_sock_fn fn, void *user, agrl_sock **out, agrl_error *err) {
  static const int types[] = {ZMQ_ROUTER, ZMQ_DEALER, ZMQ_PUB, ZMQ_SUB};
  agrl_rc rc = net_endpoint_check(endpoint, err);
  if (rc != AGRL_OK) {
    agrl_fail_in(err, "%s", label);
    return rc;
  }
  agrl_sock *s = agrl_xcalloc(1, sizeof *s);
  *s = (agrl_sock){.net = n, .kind = kind, .fn = fn, .user = user, .bound = bind};
  s->label = agrl_xstrdup(label);
  s->endpoint = agrl_xstrdup(endpoint);
  s->z = zmq_socket(n->ctx, types[kind]);
  if (s->z == NULL || !set_options(s->z, kind, hwm))
    rc = net_zmq_fail(err, AGRL_EIO, "cannot create the socket of", label, endpoint);
  else if ((bind ? zmq_bind(s->z, endpoint) : zmq_connect(s->z, endpoint)) != 0)
    rc = net_zmq_fail(err, zmq_errno() == EADDRINUSE ? AGRL_EEXIST : AGRL_EIO,
                      bind ? "cannot listen on" : "cannot connect to", label, endpoint);
  else
    rc = net_uvz_add(n, s, err);
  if (rc != AGRL_OK) {
    if (s->z != NULL) zmq_close(s->z);
    net_sock_free(s);
    return rc;
  }
  *out = s;
  return AGRL_OK;
}

void agrl_sock_close(agrl_sock *s) {
  if (s == NULL || s->z == NULL) return;
  void *z = s->z;
  s->z = NULL;
  net_uvz_remove(s->net, s);  // frees s in a later turn
  zmq_close(z);
}

bool net_sock_readable(const agrl_sock *s) {
  int events = 0;
  size_t len = sizeof events;
  return s->z != NULL && zmq_getsockopt(s->z, ZMQ_EVENTS, &events, &len) == 0 && (events & ZMQ_POLLIN) != 0;
}

static void free_frame(void *data, void *hint) {
  (void)hint;
  free(data);
}

// Sends the packed message as the last frame. A large one is handed over with its memory, so nothing is copied.
static int send_frame(agrl_net *n, void *z) {
  size_t len = n->pack.len;
  if (len < COPY_BELOW) return zmq_send(z, n->pack.data, len, ZMQ_DONTWAIT) < 0 ? -1 : 0;
  zmq_msg_t frame;
  char *data = agrl_buf_take(&n->pack);
  if (zmq_msg_init_data(&frame, data, len, free_frame, NULL) != 0) {
    free(data);
    return -1;
  }
  if (zmq_msg_send(&frame, z, ZMQ_DONTWAIT) >= 0) return 0;
  int e = zmq_errno();
  zmq_msg_close(&frame);
  errno = e;
  return -1;
}

agrl_rc agrl_sock_send(agrl_sock *s, const agrl_peer *peer, const agrl_msg *m, agrl_error *err) {
  agrl_net *n = s->net;
  if (s->z == NULL) return agrl_fail(err, AGRL_EPEER, "%s: the socket is closed", s->label);
  agrl_buf_clear(&n->pack);
  agrl_rc rc = agrl_msg_pack(m, &n->pack, err);
  if (rc != AGRL_OK) return rc;
  size_t len = n->pack.len;
  int sent = 0;
  if (s->kind == AGRL_SOCK_ROUTER) {
    if (peer == NULL) return agrl_fail(err, AGRL_EINVAL, "%s: a ROUTER needs to know the peer", s->label);
    sent = zmq_send(s->z, peer->id, peer->len, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0 ? -1 : 0;
  }
  if (sent == 0) sent = send_frame(n, s->z);
  int e = sent == 0 ? 0 : zmq_errno();
  if (e == 0) {
    n->stats.sent++;
    n->stats.sent_bytes += len;
    return AGRL_OK;
  }
  if (e == EAGAIN) {
    n->stats.drops_full++;
    return agrl_fail(err, AGRL_EAGAIN, "%s: %s not sent, the queue to %s is full", s->label,
                     agrl_msg_kind_name(m->kind), s->endpoint);
  }
  n->stats.drops_peer++;
  if (e == EHOSTUNREACH)
    return agrl_fail(err, AGRL_EPEER, "%s: %s not sent, the peer is gone", s->label, agrl_msg_kind_name(m->kind));
  return agrl_fail(err, AGRL_EIO, "%s: %s not sent: %s", s->label, agrl_msg_kind_name(m->kind), zmq_strerror(e));
}

static void count_reject(agrl_sock *s, agrl_rc rc, const char *why) {
  static agrl_log_limit limit;
  agrl_net_stats *st = &s->net->stats;
  uint64_t suppressed;
  if (rc == AGRL_EVERSION)
    st->rejects_schema++;
  else if (rc == AGRL_ELIMIT)
    st->rejects_size++;
  else if (rc == AGRL_ECHECKSUM)
    st->rejects_checksum++;
  else
    st->rejects_parse++;
  if (agrl_log_allow(&limit, &suppressed))
    agrl_logw("message refused link=%s cause=%s why=\"%s\" suppressed=%" PRIu64, s->label, agrl_rc_name(rc), why, suppressed);
}

// Receives all frames of one message: peer (ROUTER) and body. *well: the shape is right. False: nothing was there.
static bool receive_frames(agrl_sock *s, agrl_peer *peer, zmq_msg_t *body, bool *well) {
  int want = s->kind == AGRL_SOCK_ROUTER ? 2 : 1;
  *well = true;
  for (int i = 0;; i++) {
    zmq_msg_t extra, *frame = i == want - 1 ? body : &extra;
    if (frame == &extra) zmq_msg_init(&extra);
    if (zmq_msg_recv(frame, s->z, ZMQ_DONTWAIT) < 0) {
      if (frame == &extra) zmq_msg_close(&extra);
      return false;
    }
    bool more = zmq_msg_more(frame) != 0;
    if (frame == &extra) {
      if (i == 0 && want == 2 && zmq_msg_size(&extra) <= sizeof peer->id) {
        peer->len = (uint8_t)zmq_msg_size(&extra);
        memcpy(peer->id, zmq_msg_data(&extra), peer->len);
      } else {
        *well = false;
      }
      zmq_msg_close(&extra);
    }
    if (!more) {
      *well = *well && i == want - 1;
      return true;
    }
  }
}

bool net_sock_receive(agrl_sock *s) {
  agrl_net *n = s->net;
  agrl_peer peer = {0};
  zmq_msg_t body;
  bool well;
  zmq_msg_init(&body);
  if (!receive_frames(s, &peer, &body, &well)) {
    zmq_msg_close(&body);
    return false;
  }
  agrl_msg m;
  agrl_error err = {0};
  n->stats.received++;
  n->stats.received_bytes += zmq_msg_size(&body);
  agrl_rc rc = well ? agrl_msg_unpack(zmq_msg_data(&body), zmq_msg_size(&body), &n->arena, &m, &err)
                    : agrl_fail(&err, AGRL_EPARSE, "unexpected number of frames");
  zmq_msg_close(&body);
  if (rc != AGRL_OK)
    count_reject(s, rc, err.msg);
  else if (m.deadline_ms != 0 && agrl_wall_ns() / 1000000u > m.deadline_ms)
    n->stats.drops_deadline++;
  else if (s->fn != NULL)
    s->fn(s->user, s, s->kind == AGRL_SOCK_ROUTER ? &peer : NULL, &m);
  agrl_arena_clear(&n->arena);
  return true;
}
