// SPDX-License-Identifier: Apache-2.0
// UTF-8 decoding by the table of well-formed byte sequences (Unicode standard, table 3-7).
#include "common/text/utf8.h"

size_t agrl_utf8_decode(const char *s, size_t n, uint32_t *cp) {
  const unsigned char *b = (const unsigned char *)s;
  if (n == 0) return 0;
  if (b[0] < 0x80) {
    *cp = b[0];
    return 1;
  }
  size_t len = 0;
  unsigned lo = 0x80, hi = 0xBF;  // bounds of the second byte
  uint32_t v = 0;
  if (b[0] >= 0xC2 && b[0] <= 0xDF) {
    len = 2;
    v = b[0] & 0x1Fu;
  } else if (b[0] >= 0xE0 && b[0] <= 0xEF) {
    len = 3;
    v = b[0] & 0x0Fu;
    if (b[0] == 0xE0) lo = 0xA0;
    if (b[0] == 0xED) hi = 0x9F;
  } else if (b[0] >= 0xF0 && b[0] <= 0xF4) {
    len = 4;
    v = b[0] & 0x07u;
    if (b[0] == 0xF0) lo = 0x90;
    if (b[0] == 0xF4) hi = 0x8F;
  }
  if (len == 0 || len > n || b[1] < lo || b[1] > hi) return 0;
  v = v << 6 | (b[1] & 0x3Fu);
  for (size_t i = 2; i < len; i++) {
    if ((b[i] & 0xC0u) != 0x80) return 0;
    v = v << 6 | (b[i] & 0x3Fu);
  }
  *cp = v;
  return len;
}

size_t agrl_utf8_encode(uint32_t cp, char out[4]) {
  if (cp < 0x80) {
    out[0] = (char)cp;
    return 1;
  }
  size_t len = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
  static const unsigned char lead[5] = {0, 0, 0xC0, 0xE0, 0xF0};
  for (size_t i = len - 1; i > 0; i--) {
    out[i] = (char)(0x80 | (cp & 0x3F));
    cp >>= 6;
  }
  out[0] = (char)(lead[len] | cp);
  return len;
}

size_t agrl_utf8_valid_prefix(const char *s, size_t n) {
  size_t i = 0;
  uint32_t cp;
  while (i < n) {
    size_t k = agrl_utf8_decode(s + i, n - i, &cp);
    if (k == 0) break;
    i += k;
  }
  return i;
}

size_t agrl_utf8_cut(const char *s, size_t n, size_t max) {
  if (n <= max) return n;
  size_t i = max;
  while (i > 0 && ((unsigned char)s[i] & 0xC0) == 0x80) i--;
  return i;
}
