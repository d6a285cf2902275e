// SPDX-License-Identifier: Apache-2.0
// A hostile peer: connects to a service's endpoint and sends it damaged and unwanted messages, then asks for its status.
// usage: garbage ENDPOINT ROUNDS, or garbage --deaf ENDPOINT REQUESTS: a second peer asks for status so often and reads no answer
// while the first waits for its own. Prints how many messages it sent of each sort that a receiver refuses, one JSON object:
// the causes are those of agrl_transport_rejects_total. Exits 0 only when the service answered after all of it: messages of
// one peer are handled in order, so by then every one of them was.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "common/base/num.h"
#include "common/base/rng.h"
#include "common/wire/limits.h"
#include "common/wire/msg.h"

enum { AT_SCHEMA = 4, AT_BODY = 12, RANDOM_MAX = 4096, ANSWER_MS = 10000 };

typedef enum { SCHEMA, SIZE, CRC, PARSE, N_CAUSES } cause;

static const uint64_t status_id = UINT64_C(0x5354415455533f21);

typedef struct hostile {
  void *socket;
  agrl_rng rng;
  uint64_t sent[N_CAUSES], unwanted;
} hostile;

static void die(const char *what) {
  fprintf(stderr, "garbage: %s: %s\n", what, zmq_strerror(zmq_errno()));
  exit(70);
}

static void send_bytes(hostile *h, const void *data, size_t n, int flags) {
  if (zmq_send(h->socket, data, n, flags) < 0) die("send");
}

static void send_counted(hostile *h, cause c, const void *data, size_t n) {
  send_bytes(h, data, n, 0);
  h->sent[c]++;
}

static void pack(const agrl_msg *m, agrl_buf *out) {
  agrl_error err = {0};
  agrl_buf_clear(out);
  if (!agrl_msg_pack(m, out, &err)) return;
  fprintf(stderr, "garbage: %s\n", err.msg);
  exit(70);
}

static void random_bytes(hostile *h) {
  uint8_t data[RANDOM_MAX];
  const size_t n = agrl_rng_below(&h->rng, RANDOM_MAX) + 1;
  for (size_t i = 0; i < n; i++) data[i] = (uint8_t)agrl_rng_u32(&h->rng);
  data[0] = 0;  // never the magic
  send_counted(h, PARSE, data, n);
  send_counted(h, PARSE, "", 0);
}

// A message in one frame too many: each frame alone would be a status request.
static void extra_frame(hostile *h, const agrl_buf *good) {
  send_bytes(h, good->data, good->len, ZMQ_SNDMORE);
  send_counted(h, PARSE, good->data, good->len);
}

// Envelopes that were right until something happened to them.
static void damaged(hostile *h, agrl_buf *buf) {
  const agrl_msg good = {.kind = AGRL_MSG_TRACE, .id = 7, .trace = {.actor = "garbage", .prompt_id = "p", .text = "tier 1"}};
  pack(&good, buf);
  send_counted(h, PARSE, buf->data, agrl_rng_below(&h->rng, AGRL_WIRE_HEADER_BYTES - 1) + 1);  // within the header
  send_counted(h, PARSE, buf->data, buf->len - 1);                                              // within the body
  extra_frame(h, buf);
  buf->data[AT_SCHEMA]++;
  send_counted(h, SCHEMA, buf->data, buf->len);
  buf->data[AT_SCHEMA]--;
  const char length[4] = {buf->data[AT_BODY], buf->data[AT_BODY + 1], buf->data[AT_BODY + 2], buf->data[AT_BODY + 3]};
  memset(buf->data + AT_BODY, 0xff, sizeof length);
  send_counted(h, SIZE, buf->data, buf->len);
  memcpy(buf->data + AT_BODY, length, sizeof length);
  const size_t at = AGRL_WIRE_HEADER_BYTES + agrl_rng_below(&h->rng, (uint32_t)(buf->len - AGRL_WIRE_HEADER_BYTES));
  buf->data[at] = (char)(buf->data[at] ^ 0x10);
  send_counted(h, CRC, buf->data, buf->len);
}

// Sound envelopes of kinds that only answers have, or only other links: no service acts on them.
static void unwanted(hostile *h, agrl_buf *buf) {
  const agrl_msg kinds[] = {{.kind = AGRL_MSG_CHUNK, .id = 8, .chunk = {.version = 1}}, {.kind = AGRL_MSG_BATCH, .id = 9},
                            {.kind = AGRL_MSG_TASK_GRANT, .id = 10},                      {.kind = AGRL_MSG_HELLO_REPLY},
                            {.kind = AGRL_MSG_ERROR, .id = 11},                           {.kind = AGRL_MSG_OK}};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    pack(&kinds[i], buf);
    send_bytes(h, buf->data, buf->len, 0);
    h->unwanted++;
  }
}

// Waits for the answer to status_id; whatever else comes answers the unwanted messages.
static bool still_answers(hostile *h, agrl_buf *buf) {
  const agrl_msg ask = {.kind = AGRL_MSG_STATUS_REQUEST, .id = status_id};
  pack(&ask, buf);
  send_bytes(h, buf->data, buf->len, 0);
  for (;;) {
    zmq_pollitem_t item = {.socket = h->socket, .events = ZMQ_POLLIN};
    zmq_msg_t frame;
    agrl_arena arena;
    agrl_msg answer;
    if (zmq_poll(&item, 1, ANSWER_MS) <= 0) return false;
    zmq_msg_init(&frame);
    if (zmq_msg_recv(&frame, h->socket, 0) < 0) die("receive");
    agrl_arena_init(&arena, 0);
    const agrl_rc rc = agrl_msg_unpack(zmq_msg_data(&frame), zmq_msg_size(&frame), &arena, &answer, NULL);
    const bool it = !rc && answer.kind == AGRL_MSG_STATUS && answer.id == status_id;
    agrl_arena_release(&arena);
    zmq_msg_close(&frame);
    if (it) return true;
  }
}

static void *connect_to(void *context, const char *endpoint) {
  const int linger = 0, wait_ms = ANSWER_MS;
  void *s = context ? zmq_socket(context, ZMQ_DEALER) : NULL;
  if (!s) die("socket");
  zmq_setsockopt(s, ZMQ_LINGER, &linger, sizeof linger);
  zmq_setsockopt(s, ZMQ_SNDTIMEO, &wait_ms, sizeof wait_ms);
  if (zmq_connect(s, endpoint)) die(endpoint);
  return s;
}

// What the service cannot send to it any more is the service's to bound; it must go on taking from it and answering others.
static void be_deaf(hostile *h, uint64_t requests) {
  agrl_buf buf;
  agrl_buf_init(&buf);
  const agrl_msg ask = {.kind = AGRL_MSG_STATUS_REQUEST, .id = 1};
  pack(&ask, &buf);
  for (uint64_t i = 0; i < requests; i++) send_bytes(h, buf.data, buf.len, 0);
  agrl_buf_release(&buf);
}

int main(int argc, char **argv) {
  uint64_t rounds;
  const bool deaf = argc == 4 && !strcmp(argv[1], "--deaf");
  argv += deaf;
  if (argc - deaf != 3 || !agrl_parse_u64(argv[2], &rounds)) {
    fputs("usage: garbage [--deaf] ENDPOINT ROUNDS\n", stderr);
    return 64;
  }
  hostile h = {0};
  agrl_buf buf;
  agrl_buf_init(&buf);
  agrl_rng_init(&h.rng, 77, rounds);
  void *context = zmq_ctx_new(), *other = NULL;
  h.socket = connect_to(context, argv[1]);
  if (deaf) {
    be_deaf(&h, rounds);
    other = h.socket;  // stays connected
    h.socket = connect_to(context, argv[1]);
  }
  for (uint64_t i = 0; i < rounds && !deaf; i++) {
    random_bytes(&h);
    damaged(&h, &buf);
    unwanted(&h, &buf);
  }
  const bool alive = still_answers(&h, &buf);
  printf("{\"schema\": %" PRIu64 ", \"size\": %" PRIu64 ", \"crc\": %" PRIu64 ", \"parse\": %" PRIu64 ", \"unwanted\": %" PRIu64 "}\n",
         h.sent[SCHEMA], h.sent[SIZE], h.sent[CRC], h.sent[PARSE], h.unwanted);
  zmq_close(h.socket);
  if (other) zmq_close(other);
  zmq_ctx_term(context);
  agrl_buf_release(&buf);
  if (!alive) fprintf(stderr, "garbage: %s does not answer\n", argv[1]);
  return alive ? 0 : 69;
}
