// SPDX-License-Identifier: Apache-2.0
// Shared parts of the codecs: sticky errors, UTF-8, little-endian arrays, trace identities and labels.
#include "common/wire/codec.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void wire_fail(wire *w, agrl_rc rc, const char *fmt, ...) {
  if (w->rc != AGRL_OK) return;
  char text[256];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  w->rc = agrl_fail(w->err, rc, "%s", text);
}

bool wire_count(wire *w, size_t n, size_t max, const char *what) {
  if (n <= max) return true;
  wire_fail(w, AGRL_ELIMIT, "%s: %zu, at most %zu are allowed", what, n, max);
  return false;
}

void *wire_array(wire *w, size_t n, size_t size) { return agrl_arena_alloc(w->arena, n == 0 ? size : n * size); }

// Length of the UTF-8 sequence at s (NUL-terminated), 0 when it is none: overlong forms, surrogates and values beyond
// U+10FFFF are not UTF-8. A NUL never passes as a continuation byte, so reading stops at the end of the string.
static size_t sequence_len(const unsigned char *s) {
  unsigned char c = s[0], low = 0x80, high = 0xBF;
  if (c < 0x80) return 1;
  size_t n = c >= 0xC2 && c <= 0xDF ? 2u : (c & 0xF0) == 0xE0 ? 3u : c >= 0xF0 && c <= 0xF4 ? 4u : 0u;
  if (c == 0xE0) low = 0xA0;
  if (c == 0xED) high = 0x9F;
  if (c == 0xF0) low = 0x90;
  if (c == 0xF4) high = 0x8F;
  if (n == 0 || s[1] < low || s[1] > high) return 0;
  for (size_t i = 2; i < n; i++)
    if ((s[i] & 0xC0) != 0x80) return 0;
  return n;
}

static bool valid_utf8(const char *s) {
  const unsigned char *p = (const unsigned char *)s;
  while (*p != 0) {
    size_t n = sequence_len(p);
    if (n == 0) return false;
    p += n;
  }
  return true;
}

char *wire_put_name(wire *w, const char *s, size_t max, const char *what) {
  if (s == NULL) s = "";
  if (!wire_count(w, strlen(s), max, what)) return (char *)"";
  if (!valid_utf8(s)) wire_fail(w, AGRL_EINVAL, "%s: not valid UTF-8", what);
  return (char *)s;
}

char *wire_put_text(wire *w, const char *s, size_t max, const char *what) {
  if (s == NULL) s = "";
  if (!valid_utf8(s)) {
    char *clean = wire_array(w, strlen(s) * 3 + 1, 1), *o = clean;
    for (const unsigned char *p = (const unsigned char *)s; *p != 0;) {
      size_t n = sequence_len(p);
      memcpy(o, n > 0 ? (const char *)p : "\xEF\xBF\xBD", n > 0 ? n : 3);
      o += n > 0 ? n : 3;
      p += n > 0 ? n : 1;
    }
    s = clean;
  }
  return wire_count(w, strlen(s), max, what) ? (char *)s : (char *)"";
}

const char *wire_get_str(wire *w, const char *s, size_t max, const char *what) {
  if (s == NULL) return "";
  if (!wire_count(w, strlen(s), max, what)) return "";
  if (!valid_utf8(s)) wire_fail(w, AGRL_EPARSE, "%s: not valid UTF-8", what);
  return s;
}

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
static void swap_elements(uint8_t *p, size_t n, size_t size) {
  for (size_t i = 0; i < n; i++, p += size)
    for (size_t a = 0, b = size - 1; a < b; a++, b--) {
      uint8_t t = p[a];
      p[a] = p[b];
      p[b] = t;
    }
}
#endif

ProtobufCBinaryData wire_put_le(wire *w, const void *p, size_t n, size_t size, size_t max, const char *what) {
  ProtobufCBinaryData d = {0, NULL};
  if (n == 0 || !wire_count(w, n, max, what)) return d;
  d.len = n * size;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  d.data = agrl_arena_dup(w->arena, p, d.len);
  swap_elements(d.data, n, size);
#else
  d.data = (uint8_t *)p;
#endif
  return d;
}

// The array stays where protobuf-c's allocator put it: the arena aligns everything to 16 bytes.
void *wire_get_le(wire *w, const ProtobufCBinaryData *d, size_t size, size_t max, size_t *n, const char *what) {
  *n = 0;
  if (d->len % size != 0) {
    wire_fail(w, AGRL_EPARSE, "%s: %zu bytes are no whole number of elements of %zu", what, d->len, size);
    return NULL;
  }
  if (d->len == 0 || !wire_count(w, d->len / size, max, what)) return NULL;
  *n = d->len / size;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  swap_elements(d->data, *n, size);
#endif
  return d->data;
}

ProtobufCBinaryData wire_put_u64s(wire *w, const uint64_t *p, size_t n, const char *what) {
  return wire_put_le(w, p, n, sizeof *p, AGRL_LIMIT_GROUPS, what);
}

const uint64_t *wire_get_u64s(wire *w, const ProtobufCBinaryData *d, size_t *n, const char *what) {
  return wire_get_le(w, d, sizeof(uint64_t), AGRL_LIMIT_GROUPS, n, what);
}

double wire_finite(wire *w, double v, const char *what) {
  if (isfinite(v)) return v;
  wire_fail(w, AGRL_EPARSE, "%s: not a finite number", what);
  return 0;
}

Agrl__V1__TraceId *wire_put_id(wire *w, const agrl_trace_id *id) {
  Agrl__V1__TraceId *pb = wire_array(w, 1, sizeof *pb);
  agrl__v1__trace_id__init(pb);
  pb->run = id->run;
  pb->group = id->group;
  pb->member = id->member;
  pb->attempt = id->attempt;
  return pb;
}

agrl_trace_id wire_get_id(wire *w, const Agrl__V1__TraceId *pb) {
  if (pb == NULL) {
    wire_fail(w, AGRL_EPARSE, "trace without identity");
    return (agrl_trace_id){0};
  }
  return (agrl_trace_id){.run = pb->run, .group = pb->group, .member = pb->member, .attempt = pb->attempt};
}

Agrl__V1__Labels *wire_put_labels(wire *w, const agrl_labels *l) {
  Agrl__V1__Labels *pb = wire_array(w, 1, sizeof *pb);
  agrl__v1__labels__init(pb);
  pb->tier = l->tier;
  pb->category = wire_put_name(w, l->category, AGRL_LIMIT_LABEL, "category");
  pb->attribute = wire_put_name(w, l->attribute, AGRL_LIMIT_LABEL, "attribute");
  return pb;
}

agrl_labels wire_get_labels(wire *w, const Agrl__V1__Labels *pb) {
  if (pb == NULL) return (agrl_labels){.category = "", .attribute = ""};
  return (agrl_labels){.tier = pb->tier,
                       .category = wire_get_str(w, pb->category, AGRL_LIMIT_LABEL, "category"),
                       .attribute = wire_get_str(w, pb->attribute, AGRL_LIMIT_LABEL, "attribute")};
}
