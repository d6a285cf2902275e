// SPDX-License-Identifier: Apache-2.0
// Growable byte buffer: capacity doubles, one byte is always kept for the closing NUL.
#include "common/base/buf.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bug.h"
#include "common/base/mem.h"
#include "common/base/num.h"

void agrl_buf_init(agrl_buf *b) { *b = (agrl_buf){0}; }

void agrl_buf_release(agrl_buf *b) {
  free(b->data);
  *b = (agrl_buf){0};
}

void agrl_buf_clear(agrl_buf *b) {
  b->len = 0;
  if (b->data) b->data[0] = '\0';
}

void agrl_buf_reserve(agrl_buf *b, size_t extra) {
  size_t need;
  if (!agrl_size_add(b->len, extra, &need) || !agrl_size_add(need, 1, &need)) {
    AGRL_BUG("buffer of %zu + %zu bytes overflows", b->len, extra);
  }
  if (need <= b->cap) return;
  size_t cap = b->cap > SIZE_MAX / 2 ? need : b->cap * 2;
  if (cap < need) cap = need;
  if (cap < 64) cap = 64;
  b->data = agrl_xreallocarray(b->data, cap, 1);
  b->cap = cap;
}

void agrl_buf_add(agrl_buf *b, const void *p, size_t n) {
  agrl_buf_reserve(b, n);
  if (n) memcpy(b->data + b->len, p, n);
  b->len += n;
  b->data[b->len] = '\0';
}

void agrl_buf_adds(agrl_buf *b, const char *s) { agrl_buf_add(b, s, strlen(s)); }

void agrl_buf_addc(agrl_buf *b, char c) { agrl_buf_add(b, &c, 1); }

void agrl_buf_vaddf(agrl_buf *b, const char *fmt, va_list ap) {
  agrl_buf_reserve(b, 128);
  va_list again;
  va_copy(again, ap);
  size_t room = b->cap - b->len;
  int n = vsnprintf(b->data + b->len, room, fmt, ap);
  AGRL_ASSERT(n >= 0);
  if ((size_t)n >= room) {
    agrl_buf_reserve(b, (size_t)n);
    vsnprintf(b->data + b->len, b->cap - b->len, fmt, again);
  }
  va_end(again);
  b->len += (size_t)n;
}

void agrl_buf_addf(agrl_buf *b, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  agrl_buf_vaddf(b, fmt, ap);
  va_end(ap);
}

void agrl_buf_add_visible(agrl_buf *b, const char *s, size_t n) {
  for (size_t i = 0; i < n; i++) {
    unsigned char c = (unsigned char)s[i];
    bool c1 = c == 0xc2 && i + 1 < n && ((unsigned char)s[i + 1] & 0xe0) == 0x80;  // U+0080..U+009F
    if (c < 32 || c == 127 || c1) agrl_buf_addf(b, "\\x%02x", c);
    else agrl_buf_addc(b, (char)c);
    if (c1) agrl_buf_addf(b, "\\x%02x", (unsigned char)s[++i]);
  }
}

void agrl_buf_add_cell(agrl_buf *b, const char *s, size_t width) {
  size_t at = b->len, n = 0;
  agrl_buf_reserve(b, width);
  agrl_buf_add_visible(b, s, strlen(s));
  for (; at < b->len; at++) {
    n += ((unsigned char)b->data[at] & 0xc0) != 0x80;  // the first byte of a character
    if (n > width) break;
  }
  b->len = at;
  b->data[at] = '\0';
  for (; n < width; n++) agrl_buf_addc(b, ' ');
}

char *agrl_buf_take(agrl_buf *b) {
  agrl_buf_reserve(b, 0);
  b->data[b->len] = '\0';
  char *out = b->data;
  *b = (agrl_buf){0};
  return out;
}
