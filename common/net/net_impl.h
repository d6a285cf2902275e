// SPDX-License-Identifier: Apache-2.0
// Inside common/net only: the structs behind agrl_net and agrl_sock, and what uvz.c offers to sock.c.
#ifndef AGRL_NET_NET_IMPL_H
#define AGRL_NET_NET_IMPL_H

#include "common/net/net.h"

#define NET_TURN_BUDGET 64  // messages handled per loop turn, over all sockets
#define NET_LINGER_MS 200

struct agrl_sock {
  agrl_net *net;
  void *z;
  uv_poll_t poll;  // wakes the loop only; its callback does nothing
  agrl_sock_kind kind;
  agrl_sock_fn fn;
  void *user;
  char *label, *endpoint;
  bool bound;
};

struct agrl_net {
  uv_loop_t *loop;
  void *ctx;
  uv_prepare_t prepare;
  uv_check_t check;
  uv_idle_t idle;
  int handles;          // uv handles still open, sockets' included
  bool closing;
  bool in_turn;         // inside the check callback: closed sockets leave holes in socks
  agrl_sock **socks;
  size_t n_socks, cap_socks;
  size_t next;          // where the next turn starts, for fairness
  agrl_arena arena;     // of the message being handled
  agrl_buf pack;
  agrl_net_stats stats;
};

// uvz.c
agrl_rc net_uvz_start(agrl_net *n, agrl_error *err);
agrl_rc net_uvz_add(agrl_net *n, agrl_sock *s, agrl_error *err);
void net_uvz_remove(agrl_net *n, agrl_sock *s);  // stops polling; the caller closes the ZeroMQ socket right after
void net_uvz_stop(agrl_net *n);

// sock.c: takes one message off s and hands it to its callback; false when there was none.
bool net_sock_receive(agrl_sock *s);
bool net_sock_readable(const agrl_sock *s);  // reads ZMQ_EVENTS, which also re-arms the edge of ZMQ_FD
void net_sock_free(agrl_sock *s);

agrl_rc net_zmq_fail(agrl_error *err, agrl_rc rc, const char *what, const char *label, const char *endpoint);
agrl_rc net_endpoint_check(const char *endpoint, agrl_error *err);

#endif
