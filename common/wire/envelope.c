// SPDX-License-Identifier: Apache-2.0
// The envelope (layout: proto/agrl/v1/envelope.proto) and the way through it: header checks, checksum, body limits, then
// protobuf into the caller's arena, then the codec of the kind.
#include <string.h>

#include "agrl/v1/envelope.pb-c.h"
#include "common/wire/codec.h"

#define MAGIC 0x4C524741u  // "AGRL" in little-endian

enum { AT_MAGIC = 0, AT_SCHEMA = 4, AT_KIND = 6, AT_FLAGS = 8, AT_BODY = 12, AT_ID = 16, AT_DEADLINE = 24, AT_SUM = 32 };

typedef struct kind_row {
  const char *name;
  const wire_codec *codec;
  size_t max_body;
  size_t offset;  // of the kind's struct in agrl_msg
} kind_row;

static const kind_row kinds[AGRL_MSG_N] = {
#define KIND_ROW(NAME, field) \
  [AGRL_MSG_##NAME] = {#field, &wire_codec_##field, AGRL_LIMIT_BODY_##NAME, offsetof(agrl_msg, field)},
    AGRL_MSG_MAP(KIND_ROW)
#undef KIND_ROW
};

#define KIND_CHECK(NAME, field) \
  _Static_assert((int)AGRL_MSG_##NAME == (int)AGRL__V1__KIND__KIND_##NAME, "kind numbers are those of envelope.proto");
AGRL_MSG_MAP(KIND_CHECK)
#undef KIND_CHECK

const char *agrl_msg_kind_name(agrl_msg_kind kind) {
  return kind > AGRL_MSG_NONE && kind < AGRL_MSG_N ? kinds[kind].name : "none";
}

static void put_le(uint8_t *p, uint64_t v, size_t n) {
  for (size_t i = 0; i < n; i++) p[i] = (uint8_t)(v >> (8 * i));
}

static uint64_t get_le(const uint8_t *p, size_t n) {
  uint64_t v = 0;
  for (size_t i = 0; i < n; i++) v |= (uint64_t)p[i] << (8 * i);
  return v;
}

static uint64_t checksum(const uint8_t *header, const uint8_t *body, size_t len) {
  uint8_t both[AGRL_WIRE_HEADER_BYTES];
  memcpy(both, header, AT_SUM);
  put_le(both + AT_SUM, agrl_hash64(body, len), 8);
  return agrl_hash64(both, sizeof both);
}

// Packs behind `head` bytes that the caller fills in; the body's length goes to *body_len.
static agrl_rc pack_body(const wire_codec *codec, const void *in, size_t head, size_t max, agrl_buf *out, size_t *body_len,
                         agrl_error *err) {
  agrl_arena arena;
  agrl_arena_init(&arena, 0);
  wire w = {.arena = &arena, .err = err};
  ProtobufCMessage *pb = codec->put(&w, in);
  if (w.rc == AGRL_OK) {
    *body_len = protobuf_c_message_get_packed_size(pb);
    if (wire_count(&w, *body_len, max, "message bytes")) {
      agrl_buf_reserve(out, head + *body_len + 1);
      protobuf_c_message_pack(pb, (uint8_t *)out->data + out->len + head);
      out->len += head + *body_len;
      out->data[out->len] = '\0';
    }
  }
  agrl_arena_release(&arena);
  return w.rc;
}

agrl_rc agrl_msg_pack(const agrl_msg *m, agrl_buf *out, agrl_error *err) {
  if (m->kind <= AGRL_MSG_NONE || m->kind >= AGRL_MSG_N)
    return agrl_fail(err, AGRL_EINVAL, "message kind %d is unknown", m->kind);
  const kind_row *k = &kinds[m->kind];
  size_t start = out->len, body = 0;
  agrl_rc rc = pack_body(k->codec, (const char *)m + k->offset, AGRL_WIRE_HEADER_BYTES, k->max_body, out, &body, err);
  if (rc != AGRL_OK) {
    agrl_fail_in(err, "%s message", k->name);
    return rc;
  }
  uint8_t *h = (uint8_t *)out->data + start;
  put_le(h + AT_MAGIC, MAGIC, 4);
  put_le(h + AT_SCHEMA, AGRL_WIRE_SCHEMA, 2);
  put_le(h + AT_KIND, (uint64_t)m->kind, 2);
  put_le(h + AT_FLAGS, 0, 4);
  put_le(h + AT_BODY, body, 4);
  put_le(h + AT_ID, m->id, 8);
  put_le(h + AT_DEADLINE, m->deadline_ms, 8);
  put_le(h + AT_SUM, checksum(h, h + AGRL_WIRE_HEADER_BYTES, body), 8);
  return AGRL_OK;
}

// protobuf-c allocates through these two, from the caller's arena and within a budget.
typedef struct budget {
  agrl_arena *arena;
  size_t left;
  bool exhausted;
} budget;

static void *budget_alloc(void *data, size_t size) {
  budget *b = data;
  size_t need = (size + 15u) & ~(size_t)15u;
  void *p = need >= size && need <= b->left ? agrl_arena_try(b->arena, size) : NULL;
  if (p == NULL)
    b->exhausted = true;
  else
    b->left -= need;
  return p;
}

static void budget_free(void *data, void *p) { (void)data, (void)p; }

static agrl_rc unpack_body(const wire_codec *codec, const uint8_t *data, size_t len, agrl_arena *arena, void *out,
                           agrl_error *err) {
  budget b = {.arena = arena, .left = AGRL_LIMIT_UNPACK_FIXED + AGRL_LIMIT_UNPACK_FACTOR * len};
  ProtobufCAllocator alloc = {.alloc = budget_alloc, .free = budget_free, .allocator_data = &b};
  ProtobufCMessage *pb = protobuf_c_message_unpack(codec->desc, &alloc, len, data);
  if (pb == NULL)
    return b.exhausted ? agrl_fail(err, AGRL_ELIMIT, "body of %zu bytes needs too much memory", len)
                       : agrl_fail(err, AGRL_EPARSE, "body of %zu bytes is not the protobuf message of its kind", len);
  wire w = {.arena = arena, .err = err};
  codec->get(&w, pb, out);
  return w.rc;
}

agrl_rc agrl_msg_unpack(const void *data, size_t len, agrl_arena *arena, agrl_msg *out, agrl_error *err) {
  const uint8_t *h = data;
  memset(out, 0, sizeof *out);
  if (len < AGRL_WIRE_HEADER_BYTES) return agrl_fail(err, AGRL_EPARSE, "%zu bytes are shorter than an envelope", len);
  if (get_le(h + AT_MAGIC, 4) != MAGIC) return agrl_fail(err, AGRL_EPARSE, "not an agrl message");
  uint64_t schema = get_le(h + AT_SCHEMA, 2), kind = get_le(h + AT_KIND, 2), body = get_le(h + AT_BODY, 4);
  if (schema != AGRL_WIRE_SCHEMA)
    return agrl_fail(err, AGRL_EVERSION, "schema version %u, this program speaks %u: update the older side", (unsigned)schema,
                     AGRL_WIRE_SCHEMA);
  if (kind <= AGRL_MSG_NONE || kind >= AGRL_MSG_N || get_le(h + AT_FLAGS, 4) != 0)
    return agrl_fail(err, AGRL_EVERSION, "message kind %u or its flags are unknown", (unsigned)kind);
  const kind_row *k = &kinds[kind];
  if (body > k->max_body)
    return agrl_fail(err, AGRL_ELIMIT, "%s message of %zu bytes, at most %zu are allowed", k->name, (size_t)body,
                     k->max_body);
  if (body != len - AGRL_WIRE_HEADER_BYTES)
    return agrl_fail(err, AGRL_EPARSE, "%s message of %zu bytes came with %zu", k->name, (size_t)body,
                     len - AGRL_WIRE_HEADER_BYTES);
  if (get_le(h + AT_SUM, 8) != checksum(h, h + AGRL_WIRE_HEADER_BYTES, (size_t)body))
    return agrl_fail(err, AGRL_ECHECKSUM, "%s message is damaged", k->name);
  out->kind = (agrl_msg_kind)kind;
  out->id = get_le(h + AT_ID, 8);
  out->deadline_ms = get_le(h + AT_DEADLINE, 8);
  agrl_rc rc = unpack_body(k->codec, h + AGRL_WIRE_HEADER_BYTES, (size_t)body, arena, (char *)out + k->offset, err);
  if (rc != AGRL_OK) agrl_fail_in(err, "%s message", k->name);
  return rc;
}

agrl_rc agrl_scored_pack(const agrl_msg_scored *s, agrl_buf *out, agrl_error *err) {
  size_t body = 0;
  return pack_body(&wire_codec_scored, s, 0, AGRL_LIMIT_BODY_SCORED, out, &body, err);
}

agrl_rc agrl_scored_unpack(const void *data, size_t len, agrl_arena *arena, agrl_msg_scored *out, agrl_error *err) {
  memset(out, 0, sizeof *out);
  if (len > AGRL_LIMIT_BODY_SCORED)
    return agrl_fail(err, AGRL_ELIMIT, "scored record of %zu bytes, at most %zu are allowed", len, AGRL_LIMIT_BODY_SCORED);
  return unpack_body(&wire_codec_scored, data, len, arena, out, err);
}
