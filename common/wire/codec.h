// SPDX-License-Identifier: Apache-2.0
// Inside common/wire only: what the codecs share. A codec turns a plain struct into a protobuf-c message whose parts live in
// an arena (put) and back (get); the first failure sticks in the wire object, so codecs read as plain lists of fields.
// put borrows strings and arrays of the plain struct; get borrows those of the protobuf message (both in the same arena).
#ifndef AGRL_WIRE_CODEC_H
#define AGRL_WIRE_CODEC_H

#include <protobuf-c/protobuf-c.h>

#include "agrl/v1/common.pb-c.h"
#include "agrl/v1/reward.pb-c.h"
#include "agrl/v1/trace.pb-c.h"
#include "common/wire/limits.h"
#include "common/wire/msg.h"

typedef struct wire {
  agrl_arena *arena;
  agrl_error *err;
  agrl_rc rc;  // first failure
} wire;

typedef struct wire_codec {
  const ProtobufCMessageDescriptor *desc;
  ProtobufCMessage *(*put)(wire *w, const void *in);
  void (*get)(wire *w, const ProtobufCMessage *pb, void *out);
} wire_codec;

// Defines wire_codec_<field> from <field>_put(w, const agrl_msg_<field> *, Agrl__V1__<Type> *) and <field>_get.
#define WIRE_CODEC(field, Type, type)                                                     \
  static ProtobufCMessage *field##_put_new(wire *w, const void *in) {                     \
    Agrl__V1__##Type *pb = agrl_arena_alloc(w->arena, sizeof *pb);                        \
    agrl__v1__##type##__init(pb);                                                         \
    field##_put(w, (const agrl_msg_##field *)in, pb);                                     \
    return &pb->base;                                                                     \
  }                                                                                       \
  static void field##_get_any(wire *w, const ProtobufCMessage *pb, void *out) {           \
    field##_get(w, (const Agrl__V1__##Type *)(const void *)pb, (agrl_msg_##field *)out);  \
  }                                                                                       \
  const wire_codec wire_codec_##field = {&agrl__v1__##type##__descriptor, field##_put_new, field##_get_any};

#define WIRE_CODEC_DECLARE(NAME, field) extern const wire_codec wire_codec_##field;
AGRL_MSG_MAP(WIRE_CODEC_DECLARE)
#undef WIRE_CODEC_DECLARE

void wire_fail(wire *w, agrl_rc rc, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
bool wire_count(wire *w, size_t n, size_t max, const char *what);  // false (ELIMIT) beyond max
void *wire_array(wire *w, size_t n, size_t size);                  // n zeroed elements; never NULL

// Strings. put_name refuses what is not UTF-8 (EINVAL); put_text replaces bad bytes by U+FFFD; NULL is "".
char *wire_put_name(wire *w, const char *s, size_t max, const char *what);
char *wire_put_text(wire *w, const char *s, size_t max, const char *what);
const char *wire_get_str(wire *w, const char *s, size_t max, const char *what);  // EPARSE, ELIMIT

// Arrays of little-endian elements (size 4 or 8) as bytes.
ProtobufCBinaryData wire_put_le(wire *w, const void *p, size_t n, size_t size, size_t max, const char *what);
void *wire_get_le(wire *w, const ProtobufCBinaryData *d, size_t size, size_t max, size_t *n, const char *what);
ProtobufCBinaryData wire_put_u64s(wire *w, const uint64_t *p, size_t n, const char *what);
const uint64_t *wire_get_u64s(wire *w, const ProtobufCBinaryData *d, size_t *n, const char *what);
// EPARSE when not finite.
double wire_finite(wire *w, double v, const char *what);

// Parts used by more than one family.
Agrl__V1__TraceId *wire_put_id(wire *w, const agrl_trace_id *id);
agrl_trace_id wire_get_id(wire *w, const Agrl__V1__TraceId *pb);
Agrl__V1__Labels *wire_put_labels(wire *w, const agrl_labels *l);
agrl_labels wire_get_labels(wire *w, const Agrl__V1__Labels *pb);
void wire_put_trace(wire *w, const agrl_msg_trace *in, Agrl__V1__Trace *pb);
void wire_get_trace(wire *w, const Agrl__V1__Trace *pb, agrl_msg_trace *out);
void wire_put_scored(wire *w, const agrl_msg_scored *in, Agrl__V1__Scored *pb);
void wire_get_scored(wire *w, const Agrl__V1__Scored *pb, agrl_msg_scored *out);

#endif
