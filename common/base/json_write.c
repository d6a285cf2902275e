// SPDX-License-Identifier: Apache-2.0
// Streaming JSON writer. Misuse (a value without its key, an unmatched end, depth over 32) is a bug and aborts.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bug.h"
#include "common/base/json.h"

enum { MAX_DEPTH = 32 };

void agrl_jw_init(agrl_jw *w, agrl_buf *out) { *w = (agrl_jw){.out = out}; }

// Writes the comma a value or key needs at this place.
static void separate(agrl_jw *w) {
  if (w->after_key) {
    w->after_key = false;
    return;
  }
  if (w->depth == 0) return;
  uint32_t bit = 1u << (w->depth - 1);
  if (w->has_item & bit) agrl_buf_addc(w->out, ',');
  w->has_item |= bit;
}

static void open_level(agrl_jw *w, char c) {
  separate(w);
  AGRL_ASSERT(w->depth < MAX_DEPTH);
  w->depth++;
  w->has_item &= ~(1u << (w->depth - 1));
  agrl_buf_addc(w->out, c);
}

static void close_level(agrl_jw *w, char c) {
  AGRL_ASSERT(w->depth > 0 && !w->after_key);
  w->depth--;
  agrl_buf_addc(w->out, c);
}

void agrl_jw_obj(agrl_jw *w) { open_level(w, '{'); }
void agrl_jw_end_obj(agrl_jw *w) { close_level(w, '}'); }
void agrl_jw_arr(agrl_jw *w) { open_level(w, '['); }
void agrl_jw_end_arr(agrl_jw *w) { close_level(w, ']'); }

// Length of the valid UTF-8 sequence at s (n bytes left), 0 when it is none: overlong, surrogate, too large, cut off.
static size_t utf8_length(const unsigned char *s, size_t n) {
  unsigned char c = s[0];
  if (c < 0x80) return 1;
  size_t len = c >= 0xC2 && c <= 0xDF ? 2 : (c & 0xF0) == 0xE0 ? 3 : c >= 0xF0 && c <= 0xF4 ? 4 : 0;
  if (len == 0 || len > n) return 0;
  for (size_t i = 1; i < len; i++) {
    if ((s[i] & 0xC0) != 0x80) return 0;
  }
  if ((c == 0xE0 && s[1] < 0xA0) || (c == 0xED && s[1] > 0x9F)) return 0;
  if ((c == 0xF0 && s[1] < 0x90) || (c == 0xF4 && s[1] > 0x8F)) return 0;
  return len;
}

static void put_ascii(agrl_buf *b, char c) {
  switch (c) {
    case '"': agrl_buf_adds(b, "\\\""); return;
    case '\\': agrl_buf_adds(b, "\\\\"); return;
    case '\n': agrl_buf_adds(b, "\\n"); return;
    case '\r': agrl_buf_adds(b, "\\r"); return;
    case '\t': agrl_buf_adds(b, "\\t"); return;
    default: break;
  }
  if ((unsigned char)c < 0x20) agrl_buf_addf(b, "\\u%04x", c);
  else agrl_buf_addc(b, c);
}

static void put_quoted(agrl_buf *b, const char *s, size_t n) {
  agrl_buf_reserve(b, n + 2);
  agrl_buf_addc(b, '"');
  for (size_t i = 0; i < n;) {
    size_t len = utf8_length((const unsigned char *)s + i, n - i);
    if (len == 0) agrl_buf_adds(b, "\xEF\xBF\xBD");
    else if (len == 1) put_ascii(b, s[i]);
    else agrl_buf_add(b, s + i, len);
    i += len ? len : 1;
  }
  agrl_buf_addc(b, '"');
}

void agrl_jw_key(agrl_jw *w, const char *key) {
  AGRL_ASSERT(w->depth > 0 && !w->after_key);
  separate(w);
  put_quoted(w->out, key, strlen(key));
  agrl_buf_addc(w->out, ':');
  w->after_key = true;
}

void agrl_jw_str(agrl_jw *w, const char *s) { agrl_jw_strn(w, s, strlen(s)); }

void agrl_jw_strn(agrl_jw *w, const char *s, size_t n) {
  separate(w);
  put_quoted(w->out, s, n);
}

void agrl_jw_i64(agrl_jw *w, int64_t v) {
  separate(w);
  agrl_buf_addf(w->out, "%" PRId64, v);
}

void agrl_jw_u64(agrl_jw *w, uint64_t v) {
  separate(w);
  agrl_buf_addf(w->out, "%" PRIu64, v);
}

void agrl_jw_f64(agrl_jw *w, double v) {
  separate(w);
  if (!isfinite(v)) {
    agrl_buf_adds(w->out, "null");
    return;
  }
  if (v == 0 && signbit(v)) {
    agrl_buf_adds(w->out, "-0.0");
    return;
  }
  char text[40];
  for (int digits = 15; digits <= 17; digits++) {  // %g drops trailing zeros, so 15 is the shortest whenever it is enough
    snprintf(text, sizeof text, "%.*g", digits, v);
    if (strtod(text, NULL) == v) break;
  }
  agrl_buf_adds(w->out, text);
}

void agrl_jw_bool(agrl_jw *w, bool v) {
  separate(w);
  agrl_buf_adds(w->out, v ? "true" : "false");
}

void agrl_jw_null(agrl_jw *w) {
  separate(w);
  agrl_buf_adds(w->out, "null");
}

void agrl_jw_kstr(agrl_jw *w, const char *key, const char *s) {
  agrl_jw_key(w, key);
  agrl_jw_str(w, s);
}

void agrl_jw_ki64(agrl_jw *w, const char *key, int64_t v) {
  agrl_jw_key(w, key);
  agrl_jw_i64(w, v);
}

void agrl_jw_ku64(agrl_jw *w, const char *key, uint64_t v) {
  agrl_jw_key(w, key);
  agrl_jw_u64(w, v);
}

void agrl_jw_kf64(agrl_jw *w, const char *key, double v) {
  agrl_jw_key(w, key);
  agrl_jw_f64(w, v);
}

void agrl_jw_kbool(agrl_jw *w, const char *key, bool v) {
  agrl_jw_key(w, key);
  agrl_jw_bool(w, v);
}
