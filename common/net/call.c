// SPDX-License-Identifier: Apache-2.0
// One blocking request without a loop, for command-line programs: its own context, one socket, one deadline.
#include <string.h>
#include <unistd.h>
#include <zmq.h>

#include "common/base/clock.h"
#include "common/net/net_impl.h"
#include "common/wire/limits.h"

// Waits for the answer with our id until the deadline; others are skipped.
static agrl_rc await_answer(void *z, const char *endpoint, const agrl_msg *m, uint64_t until_ns, agrl_arena *arena,
                            agrl_msg *answer, agrl_error *err) {
  for (;;) {
    uint64_t now = agrl_mono_ns();
    zmq_pollitem_t item = {.socket = z, .events = ZMQ_POLLIN};
    if (now >= until_ns || zmq_poll(&item, 1, (long)((until_ns - now + 999999u) / 1000000u)) == 0)
      return agrl_fail(err, AGRL_ETIMEOUT, "%s: no answer to %s: is the service running?", endpoint,
                       agrl_msg_kind_name(m->kind));
    if ((item.revents & ZMQ_POLLIN) == 0) continue;
    zmq_msg_t frame;
    zmq_msg_init(&frame);
    agrl_rc rc = AGRL_EAGAIN;
    if (zmq_msg_recv(&frame, z, ZMQ_DONTWAIT) >= 0)
      rc = agrl_msg_unpack(zmq_msg_data(&frame), zmq_msg_size(&frame), arena, answer, err);
    zmq_msg_close(&frame);
    if (rc == AGRL_EAGAIN || (rc == AGRL_OK && answer->id != m->id)) continue;
    if (rc != AGRL_OK) {
      agrl_fail_in(err, "%s", endpoint);
      return rc;
    }
    if (answer->kind != AGRL_MSG_ERROR) return AGRL_OK;
    uint32_t code = answer->error.code;
    return agrl_fail(err, code > AGRL_OK && code <= AGRL_EUNSUPPORTED ? (agrl_rc)code : AGRL_EPEER, "%s", answer->error.text);
  }
}

static agrl_rc call_on(void *z, const char *endpoint, agrl_msg *m, uint64_t timeout_ms, agrl_arena *arena, agrl_msg *answer,
                       agrl_error *err) {
  uint64_t until_ns = agrl_mono_ns() + timeout_ms * 1000000u;
  int zero = 0;
  int64_t max = (int64_t)AGRL_LIMIT_MESSAGE;
  zmq_setsockopt(z, ZMQ_LINGER, &zero, sizeof zero);
  zmq_setsockopt(z, ZMQ_MAXMSGSIZE, &max, sizeof max);
  if (zmq_connect(z, endpoint) != 0) return net_zmq_fail(err, AGRL_EPEER, "cannot connect to", "call", endpoint);
  uint64_t seed[2] = {agrl_wall_ns(), (uint64_t)getpid()};
  m->id = agrl_hash64(seed, sizeof seed) | 1u;
  m->deadline_ms = agrl_wall_ns() / 1000000u + timeout_ms;
  agrl_buf buf;
  agrl_buf_init(&buf);
  agrl_rc rc = agrl_msg_pack(m, &buf, err);
  if (rc == AGRL_OK && zmq_send(z, buf.data, buf.len, ZMQ_DONTWAIT) < 0)
    rc = net_zmq_fail(err, AGRL_EPEER, "cannot send to", "call", endpoint);
  agrl_buf_release(&buf);
  return rc != AGRL_OK ? rc : await_answer(z, endpoint, m, until_ns, arena, answer, err);
}

agrl_rc agrl_call_once(const char *endpoint, agrl_msg *m, uint64_t timeout_ms, agrl_arena *arena, agrl_msg *answer,
                       agrl_error *err) {
  agrl_rc rc = net_endpoint_check(endpoint, err);
  if (rc != AGRL_OK) return rc;
  memset(answer, 0, sizeof *answer);
  void *ctx = zmq_ctx_new();
  void *z = ctx == NULL ? NULL : zmq_socket(ctx, ZMQ_DEALER);
  rc = z == NULL ? net_zmq_fail(err, AGRL_EIO, "cannot open a socket to", "call", endpoint)
                 : call_on(z, endpoint, m, timeout_ms, arena, answer, err);
  if (z != NULL) zmq_close(z);
  if (ctx != NULL) zmq_ctx_term(ctx);
  return rc;
}
