// SPDX-License-Identifier: Apache-2.0
// Links: many messages through the bounded turn, garbage from a peer, requests that time out, a server that is killed and
// comes back, and addresses that are refused.
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/net/net.h"
#include "common/wire/limits.h"

typedef struct fixture {
  uv_loop_t loop;
  agrl_net *net;
  char endpoint[96];
} fixture;

static int setup(void **state) {
  static int n;
  fixture *f = calloc(1, sizeof *f);
  snprintf(f->endpoint, sizeof f->endpoint, "ipc:///tmp/agrl-net-test-%d-%d", (int)getpid(), n++);
  uv_loop_init(&f->loop);
  *state = f;
  return agrl_net_open(&f->net, &f->loop, NULL);
}

static int teardown(void **state) {
  fixture *f = *state;
  agrl_net_close(f->net);
  while (uv_run(&f->loop, UV_RUN_NOWAIT) != 0) usleep(100);
  int rc = uv_loop_close(&f->loop);  // EBUSY: a handle was left open
  unlink(f->endpoint + 6);
  free(f);
  return rc;
}

static void on_guard(uv_timer_t *t) { uv_stop(t->loop); }

// Runs until a callback stops the loop, at most ms.
static void run_for(fixture *f, uint64_t ms) {
  uv_timer_t guard;
  uv_timer_init(&f->loop, &guard);
  uv_timer_start(&guard, on_guard, ms, 0);
  uv_run(&f->loop, UV_RUN_DEFAULT);
  uv_close((uv_handle_t *)&guard, NULL);
  uv_run(&f->loop, UV_RUN_NOWAIT);
}

// --- 200,000 messages ---

enum { FLOOD = 200000 };
typedef struct flood {
  fixture *f;
  agrl_sock *client, *server;
  uint64_t sent, received, order_errors, answers;
} flood;

static void on_flood(void *user, agrl_sock *s, const agrl_peer *peer, const agrl_msg *m) {
  flood *x = user;
  x->order_errors += m->kind != AGRL_MSG_CHECKPOINTED || m->checkpointed.version != x->received || peer == NULL;
  x->received++;
  agrl_msg ok = {.kind = AGRL_MSG_OK};
  if (x->received % 1000 == 0) assert_int_equal(agrl_reply(s, peer, m, &ok), AGRL_OK);
  if (x->received == FLOOD) uv_stop(&x->f->loop);
}

static void on_flood_answer(void *user, agrl_sock *s, const agrl_peer *peer, const agrl_msg *m) {
  flood *x = user;
  assert_true(peer == NULL && m->kind == AGRL_MSG_OK);
  x->answers++;
}

// Bursts until the queue is full, at times of its own: what the receiver does not drain in a turn must not be forgotten.
static void on_burst(uv_timer_t *t) {
  flood *x = t->data;
  for (;;) {
    agrl_msg m = {.kind = AGRL_MSG_CHECKPOINTED, .id = x->sent + 1, .checkpointed = {.version = x->sent}};
    if (x->sent == FLOOD) {
      uv_timer_stop(t);
      return;
    }
    if (agrl_sock_send(x->client, NULL, &m, NULL) != AGRL_OK) return;
    x->sent++;
  }
}

static void test_flood(void **state) {
  fixture *f = *state;
  flood x = {.f = f};
  uv_timer_t burst;
  assert_int_equal(agrl_sock_open(f->net, AGRL_SOCK_ROUTER, "server", f->endpoint, true, 10000, on_flood, &x, &x.server, NULL), AGRL_OK);
  assert_int_equal(agrl_sock_open(f->net, AGRL_SOCK_DEALER, "client", f->endpoint, false, 10000, on_flood_answer, &x, &x.client, NULL), AGRL_OK);
  uv_timer_init(&f->loop, &burst);
  burst.data = &x;
  uv_timer_start(&burst, on_burst, 0, 5);
  run_for(f, 60000);
  uv_close((uv_handle_t *)&burst, NULL);
  assert_int_equal(x.received, FLOOD);
  assert_int_equal(x.order_errors, 0);
  run_for(f, 200);
  assert_int_equal(x.answers, FLOOD / 1000);
  agrl_net_stats st = agrl_net_get_stats(f->net);
  assert_true(st.drops_full > 0);  // the queue was full at times, or nothing was tested
  assert_int_equal(st.received, FLOOD + FLOOD / 1000);
  assert_int_equal(st.received_bytes, st.sent_bytes);
}

// --- a peer that sends garbage ---

static void count_message(void *user, agrl_sock *s, const agrl_peer *peer, const agrl_msg *m) { ++*(int *)user; }

static void send_packed(void *z, const agrl_msg *m, int damage_at, size_t cut) {
  agrl_buf b = {0};
  assert_int_equal(agrl_msg_pack(m, &b, NULL), AGRL_OK);
  if (damage_at >= 0) b.data[damage_at] = (char)(b.data[damage_at] ^ 0x40);
  assert_true(zmq_send(z, b.data, b.len - cut, 0) >= 0);
  agrl_buf_release(&b);
}

static void test_garbage_is_counted(void **state) {
  fixture *f = *state;
  int good = 0;
  agrl_sock *server;
  assert_int_equal(agrl_sock_open(f->net, AGRL_SOCK_ROUTER, "server", f->endpoint, true, 100, count_message, &good, &server, NULL), AGRL_OK);
  void *ctx = zmq_ctx_new(), *z = zmq_socket(ctx, ZMQ_DEALER);
  zmq_connect(z, f->endpoint);
  agrl_msg m = {.kind = AGRL_MSG_WEIGHTS_GET, .weights_get = {.actor = "a"}};
  agrl_msg late = {.kind = AGRL_MSG_OK, .deadline_ms = 1};
  uint8_t oversized[AGRL_WIRE_HEADER_BYTES + 8] = {'A', 'G', 'R', 'L', AGRL_WIRE_SCHEMA, 0, AGRL_MSG_WEIGHTS_GET, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff};
  zmq_send(z, "garbage", 7, 0);
  zmq_send(z, "", 0, 0);
  zmq_send(z, "two", 3, ZMQ_SNDMORE), zmq_send(z, "three", 5, ZMQ_SNDMORE), zmq_send(z, "frames", 6, 0);
  zmq_send(z, oversized, sizeof oversized, 0);
  send_packed(z, &m, 4, 0);   // schema
  send_packed(z, &m, 42, 0);  // body
  send_packed(z, &m, -1, 1);  // truncated
  send_packed(z, &late, -1, 0);
  send_packed(z, &m, -1, 0);
  for (int i = 0; i < 50 && good == 0; i++) run_for(f, 20);
  agrl_net_stats st = agrl_net_get_stats(f->net);
  assert_int_equal(good, 1);
  assert_int_equal(st.rejects_parse, 4);
  assert_int_equal(st.rejects_size, 1);
  assert_int_equal(st.rejects_schema, 1);
  assert_int_equal(st.rejects_checksum, 1);
  assert_int_equal(st.drops_deadline, 1);
  assert_int_equal(st.received, 9);
  zmq_close(z);
  zmq_ctx_term(ctx);
}

static void test_unknown_peer(void **state) {
  fixture *f = *state;
  agrl_sock *server;
  agrl_peer nobody = {.len = 5, .id = {0, 9, 9, 9, 9}};
  agrl_msg m = {.kind = AGRL_MSG_OK};
  assert_int_equal(agrl_sock_open(f->net, AGRL_SOCK_ROUTER, "server", f->endpoint, true, 100, NULL, NULL, &server, NULL), AGRL_OK);
  assert_int_equal(agrl_sock_send(server, &nobody, &m, NULL), AGRL_EPEER);
  assert_int_equal(agrl_net_get_stats(f->net).drops_peer, 1);
}

// --- requests ---

typedef struct answer {
  uv_loop_t *loop;
  int calls;
  agrl_rc rc;
  char text[64];
} answer;

static void on_answer(void *user, agrl_rc rc, const agrl_msg *m) {
  answer *a = user;
  a->calls++;
  a->rc = rc;
  if (m && m->kind == AGRL_MSG_OK) snprintf(a->text, sizeof a->text, "%s", m->ok.text);
  uv_stop(a->loop);
}

static void serve(void *user, agrl_sock *s, const agrl_peer *peer, const agrl_msg *m) {
  agrl_msg ok = {.kind = AGRL_MSG_OK, .ok = {.text = m->kind == AGRL_MSG_CONTROL ? m->control.verb : ""}};
  if (m->kind == AGRL_MSG_CONTROL && strcmp(m->control.verb, "fail") == 0) agrl_reply_error(s, peer, m, AGRL_EFULL, "no");
  else if (m->kind == AGRL_MSG_CONTROL && strcmp(m->control.verb, "silent") == 0) return;
  else agrl_reply(s, peer, m, &ok);
}

static answer ask(fixture *f, agrl_rpc *r, const char *verb, uint64_t timeout_ms) {
  answer a = {.loop = &f->loop, .rc = AGRL_OK};
  agrl_msg m = {.kind = AGRL_MSG_CONTROL, .control = {.verb = verb}};
  agrl_rpc_call(r, &m, timeout_ms, on_answer, &a);
  assert_int_equal(a.calls, 0);  // never from inside the call
  run_for(f, timeout_ms + 2000);
  assert_int_equal(a.calls, 1);
  return a;
}

static void test_rpc(void **state) {
  fixture *f = *state;
  agrl_sock *server;
  agrl_rpc *r;
  assert_int_equal(agrl_sock_open(f->net, AGRL_SOCK_ROUTER, "server", f->endpoint, true, 100, serve, NULL, &server, NULL), AGRL_OK);
  assert_int_equal(agrl_rpc_open(f->net, "client", f->endpoint, 100, NULL, NULL, &r, NULL), AGRL_OK);
  answer a = ask(f, r, "hello", 2000);
  assert_int_equal(a.rc, AGRL_OK);
  assert_string_equal(a.text, "hello");
  assert_int_equal(ask(f, r, "fail", 2000).rc, AGRL_EFULL);
  uint64_t start = agrl_mono_ns();
  assert_int_equal(ask(f, r, "silent", 150).rc, AGRL_ETIMEOUT);
  assert_true(agrl_since_s(start) >= 0.15 && agrl_since_s(start) < 1.5);
  assert_int_equal(ask(f, r, "again", 2000).rc, AGRL_OK);
  assert_int_equal(agrl_net_get_stats(f->net).pending, 0);
  answer open = {.loop = &f->loop};
  agrl_msg m = {.kind = AGRL_MSG_CONTROL, .control = {.verb = "silent"}};
  agrl_rpc_call(r, &m, 60000, on_answer, &open);
  agrl_rpc_close(r);
  assert_int_equal(open.calls, 1);
  assert_int_equal(open.rc, AGRL_EPEER);
}

static void test_rpc_queue_full(void **state) {
  fixture *f = *state;
  agrl_rpc *r;
  answer a = {.loop = &f->loop};
  agrl_msg m = {.kind = AGRL_MSG_CONTROL, .control = {.verb = "x"}};
  assert_int_equal(agrl_rpc_open(f->net, "client", f->endpoint, 2, NULL, NULL, &r, NULL), AGRL_OK);  // nobody listens
  for (int i = 0; i < 3; i++) agrl_rpc_call(r, &m, 60000, on_answer, &a);
  run_for(f, 500);
  assert_int_equal(a.calls, 1);
  assert_int_equal(a.rc, AGRL_EAGAIN);
  agrl_rpc_close(r);
  assert_int_equal(a.calls, 3);
}

// --- a server that is killed and comes back on the same ipc path ---

static pid_t fork_server(const char *endpoint) {
  pid_t pid = fork();
  if (pid != 0) return pid;
  uv_loop_t loop;
  agrl_net *net;
  agrl_sock *server;
  uv_loop_init(&loop);
  if (agrl_net_open(&net, &loop, NULL) || agrl_sock_open(net, AGRL_SOCK_ROUTER, "server", endpoint, true, 100, serve, NULL, &server, NULL))
    _exit(1);
  uv_run(&loop, UV_RUN_DEFAULT);
  _exit(0);
}

static void kill_hard(pid_t pid) {
  int status;
  assert_int_equal(kill(pid, SIGKILL), 0);
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(WIFSIGNALED(status));
}

static void test_reconnect_after_kill(void **state) {
  fixture *f = *state;
  agrl_rpc *r;
  pid_t first = fork_server(f->endpoint);
  assert_int_equal(agrl_rpc_open(f->net, "client", f->endpoint, 100, NULL, NULL, &r, NULL), AGRL_OK);
  assert_int_equal(ask(f, r, "one", 5000).rc, AGRL_OK);
  kill_hard(first);
  assert_int_equal(ask(f, r, "two", 300).rc, AGRL_ETIMEOUT);
  pid_t second = fork_server(f->endpoint);  // the stale socket file is in its way
  agrl_rc rc = AGRL_ETIMEOUT;
  for (int i = 0; i < 10 && rc != AGRL_OK; i++) rc = ask(f, r, "three", 1000).rc;
  assert_int_equal(rc, AGRL_OK);
  agrl_arena a;
  agrl_msg reply, m = {.kind = AGRL_MSG_CONTROL, .control = {.verb = "once"}};
  agrl_arena_init(&a, 0);
  assert_int_equal(agrl_call_once(f->endpoint, &m, 5000, &a, &reply, NULL), AGRL_OK);
  assert_string_equal(reply.ok.text, "once");
  m.control.verb = "fail";
  agrl_error err;
  assert_int_equal(agrl_call_once(f->endpoint, &m, 5000, &a, &reply, &err), AGRL_EFULL);
  assert_string_equal(err.msg, "no");
  agrl_rpc_close(r);
  kill_hard(second);
  m.control.verb = "gone";
  assert_int_equal(agrl_call_once(f->endpoint, &m, 100, &a, &reply, NULL), AGRL_ETIMEOUT);
  agrl_arena_release(&a);
}

// --- PUB/SUB ---

static void test_announce(void **state) {
  fixture *f = *state;
  agrl_sock *pub, *sub;
  int got = 0;
  assert_int_equal(agrl_sock_open(f->net, AGRL_SOCK_PUB, "announce", f->endpoint, true, 100, NULL, NULL, &pub, NULL), AGRL_OK);
  assert_int_equal(agrl_sock_open(f->net, AGRL_SOCK_SUB, "announce", f->endpoint, false, 100, count_message, &got, &sub, NULL), AGRL_OK);
  agrl_msg m = {.kind = AGRL_MSG_ANNOUNCE, .announce = {.version = 1}};
  for (int i = 0; i < 100 && got == 0; i++) {
    assert_int_equal(agrl_sock_send(pub, NULL, &m, NULL), AGRL_OK);
    run_for(f, 20);
  }
  assert_true(got > 0);
}

// --- peers of another version, as those see them who only connect: an actor, and the learner towards replay ---

typedef struct newer {
  void *router;
  bool same;  // answer in this version
} newer;

static void answer_as_newer(uv_timer_t *t) {
  newer *n = t->data;
  uint8_t id[64], bytes[4096];
  int id_len = zmq_recv(n->router, id, sizeof id, ZMQ_DONTWAIT);
  if (id_len < 0) return;
  int len = zmq_recv(n->router, bytes, sizeof bytes, 0);
  agrl_arena a;
  agrl_msg m;
  agrl_arena_init(&a, 0);
  assert_int_equal(agrl_msg_unpack(bytes, (size_t)len, &a, &m, NULL), AGRL_OK);
  zmq_send(n->router, id, (size_t)id_len, ZMQ_SNDMORE);
  send_packed(n->router, &(agrl_msg){.kind = AGRL_MSG_OK, .id = m.id, .ok = {.text = "x"}}, n->same ? -1 : 4, 0);
  agrl_arena_release(&a);
}

static void test_answers_of_another_version(void **state) {
  fixture *f = *state;
  void *ctx = zmq_ctx_new();
  newer n = {.router = zmq_socket(ctx, ZMQ_ROUTER)};
  agrl_rpc *r;
  uv_timer_t timer;
  assert_int_equal(zmq_bind(n.router, f->endpoint), 0);
  uv_timer_init(&f->loop, &timer);
  timer.data = &n;
  uv_timer_start(&timer, answer_as_newer, 5, 5);
  assert_int_equal(agrl_rpc_open(f->net, "replay", f->endpoint, 100, NULL, NULL, &r, NULL), AGRL_OK);
  assert_int_equal(ask(f, r, "hello", 300).rc, AGRL_ETIMEOUT);
  assert_int_equal(agrl_net_get_stats(f->net).rejects_schema, 1);
  n.same = true;
  answer a = ask(f, r, "hello", 2000);
  assert_int_equal(a.rc, AGRL_OK);
  assert_string_equal(a.text, "x");
  agrl_rpc_close(r);
  uv_close((uv_handle_t *)&timer, NULL);
  run_for(f, 10);
  zmq_close(n.router);
  zmq_ctx_term(ctx);
}

static void test_announcements_of_another_version(void **state) {
  fixture *f = *state;
  void *ctx = zmq_ctx_new(), *pub = zmq_socket(ctx, ZMQ_PUB);
  agrl_sock *sub;
  int got = 0;
  const agrl_msg m = {.kind = AGRL_MSG_ANNOUNCE, .announce = {.version = 1}};
  assert_int_equal(zmq_bind(pub, f->endpoint), 0);
  assert_int_equal(agrl_sock_open(f->net, AGRL_SOCK_SUB, "announce", f->endpoint, false, 100, count_message, &got, &sub, NULL), AGRL_OK);
  for (int i = 0; i < 100 && agrl_net_get_stats(f->net).rejects_schema == 0; i++) {
    send_packed(pub, &m, 4, 0);
    run_for(f, 20);
  }
  assert_true(agrl_net_get_stats(f->net).rejects_schema > 0);
  assert_int_equal(got, 0);
  for (int i = 0; i < 100 && got == 0; i++) {
    send_packed(pub, &m, -1, 0);
    run_for(f, 20);
  }
  assert_true(got > 0);
  zmq_close(pub);
  zmq_ctx_term(ctx);
}

// --- addresses ---

static void test_addresses(void **state) {
  static const char *const local[] = {"ipc:///tmp/x", "tcp://127.0.0.1:5555", "tcp://127.9.9.9:1", "tcp://localhost:5", "tcp://[::1]:80", "tcp://127.0.0.1:*"};
  static const char *const remote[] = {"tcp://0.0.0.0:5555", "tcp://*:5555", "tcp://10.0.0.1:5555", "tcp://[::]:5555", "tcp://127.0.0.1.example.org:1",
                                       "tcp://127.0.0.1:1;10.0.0.1:2", "tcp://127.0.0.1", "tcp://127.0.0.1:80x", "ipc://", "udp://127.0.0.1:1", "", "pgm://127.0.0.1:1"};
  for (size_t i = 0; i < sizeof local / sizeof *local; i++)
    if (!agrl_endpoint_is_local(local[i])) fail_msg("%s", local[i]);
  for (size_t i = 0; i < sizeof remote / sizeof *remote; i++)
    if (agrl_endpoint_is_local(remote[i])) fail_msg("%s", remote[i]);
  fixture *f = *state;
  agrl_sock *s;
  agrl_error err = {0};
  assert_int_equal(agrl_sock_open(f->net, AGRL_SOCK_ROUTER, "replay", "tcp://0.0.0.0:5555", true, 100, NULL, NULL, &s, &err), AGRL_EPERM);
  assert_non_null(strstr(err.msg, "refused until CURVE is configured"));
  assert_int_equal(agrl_sock_open(f->net, AGRL_SOCK_ROUTER, "replay", "ipc:///nonexistent/dir/x", true, 100, NULL, NULL, &s, &err), AGRL_EIO);
  assert_non_null(strstr(err.msg, "/nonexistent/dir/x"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_flood, setup, teardown),
      cmocka_unit_test_setup_teardown(test_garbage_is_counted, setup, teardown),
      cmocka_unit_test_setup_teardown(test_unknown_peer, setup, teardown),
      cmocka_unit_test_setup_teardown(test_rpc, setup, teardown),
      cmocka_unit_test_setup_teardown(test_rpc_queue_full, setup, teardown),
      cmocka_unit_test_setup_teardown(test_reconnect_after_kill, setup, teardown),
      cmocka_unit_test_setup_teardown(test_announce, setup, teardown),
      cmocka_unit_test_setup_teardown(test_answers_of_another_version, setup, teardown),
      cmocka_unit_test_setup_teardown(test_announcements_of_another_version, setup, teardown),
      cmocka_unit_test_setup_teardown(test_addresses, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
