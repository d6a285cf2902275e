// SPDX-License-Identifier: Apache-2.0
// ZeroMQ on a libuv loop: one agrl_net per loop and thread owns a context and all its sockets (see uvz.c for the
// prepare/check/idle discipline). Messages are agrl_msg; bad ones from a peer are dropped, counted by cause and logged with a
// rate limit, never fatal. Sockets never change thread. Only ipc:// and loopback tcp:// are accepted until CURVE is configured.
#ifndef AGRL_NET_NET_H
#define AGRL_NET_NET_H

#include <uv.h>

#include "common/wire/msg.h"

typedef struct agrl_net agrl_net;
typedef struct agrl_sock agrl_sock;

typedef struct agrl_peer {  // ROUTER: whom a message came from; copy it to answer later
  uint8_t len;
  uint8_t id[64];
} agrl_peer;

typedef enum { AGRL_SOCK_ROUTER, AGRL_SOCK_DEALER, AGRL_SOCK_PUB, AGRL_SOCK_SUB } agrl_sock_kind;

// m and everything it points to live until the callback returns. peer is NULL except on ROUTER.
typedef void (*agrl_sock_fn)(void *user, agrl_sock *s, const agrl_peer *peer, const agrl_msg *m);

typedef struct agrl_net_stats {  // sums over sockets; read from the loop thread
  uint64_t sent, received, sent_bytes, received_bytes;
  uint64_t drops_full, drops_deadline;                                       // could not send / past deadline
  uint64_t drops_peer;                                                       // the peer was gone, or the socket failed
  uint64_t rejects_schema, rejects_size, rejects_checksum, rejects_parse;    // bad messages received
  uint64_t pending, answers, last_rtt_ns;                                    // rpc: waiting now, answered, newest round trip
} agrl_net_stats;

agrl_rc agrl_net_open(agrl_net **out, uv_loop_t *loop, agrl_error *err);
void agrl_net_close(agrl_net *n);  // closes remaining sockets (linger: 200 ms) and its uv handles; run the loop once more after it
agrl_net_stats agrl_net_get_stats(const agrl_net *n);

// label names the link in logs and metrics ("replay", "reward"). hwm: messages. bind: listen instead of connect.
agrl_rc agrl_sock_open(agrl_net *n, agrl_sock_kind kind, const char *label, const char *endpoint, bool bind, int hwm,
                       agrl_sock_fn fn, void *user, agrl_sock **out, agrl_error *err);
void agrl_sock_close(agrl_sock *s);
// DEALER, PUB: peer NULL. AGRL_EAGAIN: queue full (counted), the caller decides; AGRL_EPEER: that peer is gone (ROUTER mandatory).
agrl_rc agrl_sock_send(agrl_sock *s, const agrl_peer *peer, const agrl_msg *m, agrl_error *err);
bool agrl_endpoint_is_local(const char *endpoint);

// Requests with a deadline over a DEALER: the answer is matched by id; fn is called exactly once, with m == NULL and rc
// AGRL_ETIMEOUT when the deadline passes, agrl_sock_send's when it could not be sent, AGRL_EPEER on agrl_rpc_close. An ERROR answer
// arrives as rc = its code. Messages that answer no request go to on_other (may be NULL).
typedef struct agrl_rpc agrl_rpc;
typedef void (*agrl_rpc_fn)(void *user, agrl_rc rc, const agrl_msg *m);
agrl_rc agrl_rpc_open(agrl_net *n, const char *label, const char *endpoint, int hwm, agrl_sock_fn on_other, void *user,
                      agrl_rpc **out, agrl_error *err);
void agrl_rpc_close(agrl_rpc *r);
void agrl_rpc_call(agrl_rpc *r, agrl_msg *m, uint64_t timeout_ms, agrl_rpc_fn fn, void *user);  // sets m->id and m->deadline_ms
agrl_rc agrl_rpc_send(agrl_rpc *r, const agrl_msg *m, agrl_error *err);  // one way
// Answers m on s: sets id. For services.
agrl_rc agrl_reply(agrl_sock *s, const agrl_peer *peer, const agrl_msg *request, agrl_msg *answer);
agrl_rc agrl_reply_error(agrl_sock *s, const agrl_peer *peer, const agrl_msg *request, agrl_rc code, const char *text);

// A blocking call without a loop, for agrlctl and tests: connects, sends, waits, copies the answer into arena.
agrl_rc agrl_call_once(const char *endpoint, agrl_msg *m, uint64_t timeout_ms, agrl_arena *arena, agrl_msg *answer, agrl_error *err);

#endif
