// SPDX-License-Identifier: Apache-2.0
// Codec of the weights family: ANNOUNCE, WEIGHTS_GET, CHUNK_GET, CHUNK.
#include <string.h>

#include "agrl/v1/weights.pb-c.h"
#include "common/wire/codec.h"

static uint32_t kind_get(wire *w, uint32_t kind) {
  if (kind < AGRL_LINK_N) return kind;
  wire_fail(w, AGRL_EPARSE, "weights of kind %u", kind);
  return AGRL_LINK_FULL;
}

static void links_put(wire *w, const agrl_msg_announce *in, Agrl__V1__Announce *pb) {
  if (!wire_count(w, in->n_links, AGRL_LIMIT_LINKS, "links")) return;
  pb->n_links = in->n_links;
  pb->links = wire_array(w, in->n_links, sizeof *pb->links);
  for (size_t i = 0; i < in->n_links; i++) {
    Agrl__V1__Link *l = pb->links[i] = wire_array(w, 1, sizeof *l);
    agrl__v1__link__init(l);
    l->kind = in->links[i].kind;
    l->version = in->links[i].version;
    l->base_version = in->links[i].base;
    l->bytes = in->links[i].bytes;
  }
}

static void links_get(wire *w, const Agrl__V1__Announce *pb, agrl_msg_announce *out) {
  if (!wire_count(w, pb->n_links, AGRL_LIMIT_LINKS, "links")) return;
  agrl_link *links = wire_array(w, pb->n_links, sizeof *links);
  for (size_t i = 0; i < pb->n_links; i++) {
    const Agrl__V1__Link *l = pb->links[i];
    links[i] = (agrl_link){.kind = kind_get(w, l->kind), .version = l->version, .base = l->base_version, .bytes = l->bytes};
  }
  out->n_links = pb->n_links;
  out->links = links;
}

// Zeros travel as nothing.
static void hash_put(const agrl_sha256 *in, ProtobufCBinaryData *out) {
  static const agrl_sha256 none;
  out->len = memcmp(in, &none, sizeof none) != 0 ? sizeof in->b : 0;
  out->data = (uint8_t *)in->b;
}

static void hash_get(wire *w, const ProtobufCBinaryData *in, agrl_sha256 *out, const char *what) {
  memset(out, 0, sizeof *out);
  if (in->len == sizeof out->b) memcpy(out->b, in->data, sizeof out->b);
  else if (in->len != 0) wire_fail(w, AGRL_EPARSE, "%s of %zu bytes", what, in->len);
}

static void announce_put(wire *w, const agrl_msg_announce *in, Agrl__V1__Announce *pb) {
  pb->run = in->run;
  pb->version = in->version;
  pb->bytes = in->bytes;
  pb->phase = wire_put_name(w, in->phase, AGRL_LIMIT_NAME, "phase");
  pb->hash.len = sizeof in->hash.b;
  pb->hash.data = (uint8_t *)in->hash.b;
  pb->config_json = wire_put_name(w, in->config_json, AGRL_LIMIT_TEXT, "model configuration");
  pb->tokenizer_path = wire_put_name(w, in->tokenizer_path, AGRL_LIMIT_VALUE, "tokenizer path");
  pb->adapter_json = wire_put_name(w, in->adapter_json, AGRL_LIMIT_TEXT, "adapter description");
  hash_put(&in->base_hash, &pb->base_hash);
  links_put(w, in, pb);
}

static void announce_get(wire *w, const Agrl__V1__Announce *pb, agrl_msg_announce *out) {
  out->run = pb->run;
  out->version = pb->version;
  out->bytes = pb->bytes;
  out->phase = wire_get_str(w, pb->phase, AGRL_LIMIT_NAME, "phase");
  if (pb->hash.len == sizeof out->hash.b)
    memcpy(out->hash.b, pb->hash.data, sizeof out->hash.b);
  else
    wire_fail(w, AGRL_EPARSE, "weights hash of %zu bytes", pb->hash.len);
  out->config_json = wire_get_str(w, pb->config_json, AGRL_LIMIT_TEXT, "model configuration");
  out->tokenizer_path = wire_get_str(w, pb->tokenizer_path, AGRL_LIMIT_VALUE, "tokenizer path");
  out->adapter_json = wire_get_str(w, pb->adapter_json, AGRL_LIMIT_TEXT, "adapter description");
  hash_get(w, &pb->base_hash, &out->base_hash, "base hash");
  links_get(w, pb, out);
}

static void weights_get_put(wire *w, const agrl_msg_weights_get *in, Agrl__V1__WeightsGet *pb) {
  pb->actor = wire_put_name(w, in->actor, AGRL_LIMIT_NAME, "actor");
  pb->have = in->have;
  pb->full = in->full;
  hash_put(&in->base_hash, &pb->base_hash);
}

static void weights_get_get(wire *w, const Agrl__V1__WeightsGet *pb, agrl_msg_weights_get *out) {
  out->actor = wire_get_str(w, pb->actor, AGRL_LIMIT_NAME, "actor");
  out->have = pb->have;
  out->full = pb->full;
  hash_get(w, &pb->base_hash, &out->base_hash, "base hash");
}

static void chunk_get_put(wire *w, const agrl_msg_chunk_get *in, Agrl__V1__ChunkGet *pb) {
  wire_count(w, in->len, AGRL_LIMIT_CHUNK, "chunk bytes");
  pb->version = in->version;
  pb->offset = in->offset;
  pb->len = in->len;
  pb->kind = in->kind;
}

static void chunk_get_get(wire *w, const Agrl__V1__ChunkGet *pb, agrl_msg_chunk_get *out) {
  wire_count(w, pb->len, AGRL_LIMIT_CHUNK, "chunk bytes");
  out->version = pb->version;
  out->offset = pb->offset;
  out->len = pb->len;
  out->kind = kind_get(w, pb->kind);
}

static void chunk_put(wire *w, const agrl_msg_chunk *in, Agrl__V1__Chunk *pb) {
  pb->version = in->version;
  pb->offset = in->offset;
  pb->data = wire_put_le(w, in->data, in->len, 1, AGRL_LIMIT_CHUNK, "chunk bytes");
}

static void chunk_get_chunk(wire *w, const Agrl__V1__Chunk *pb, agrl_msg_chunk *out) {
  out->version = pb->version;
  out->offset = pb->offset;
  out->data = wire_get_le(w, &pb->data, 1, AGRL_LIMIT_CHUNK, &out->len, "chunk bytes");
}

WIRE_CODEC(announce, Announce, announce)
WIRE_CODEC(weights_get, WeightsGet, weights_get)
WIRE_CODEC(chunk_get, ChunkGet, chunk_get)

// The names chunk_get (a message) and "get a chunk" meet here, so CHUNK's codec is written out.
static ProtobufCMessage *chunk_put_new(wire *w, const void *in) {
  Agrl__V1__Chunk *pb = agrl_arena_alloc(w->arena, sizeof *pb);
  agrl__v1__chunk__init(pb);
  chunk_put(w, in, pb);
  return &pb->base;
}

static void chunk_read(wire *w, const ProtobufCMessage *pb, void *out) {
  chunk_get_chunk(w, (const Agrl__V1__Chunk *)(const void *)pb, out);
}

const wire_codec wire_codec_chunk = {&agrl__v1__chunk__descriptor, chunk_put_new, chunk_read};
