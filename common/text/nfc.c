// SPDX-License-Identifier: Apache-2.0
// NFC: decompose, order marks by their class, compose. Hangul syllables by arithmetic (Unicode standard, section 3.12).
#include "common/text/nfc.h"

#include <stdlib.h>

#include "common/base/mem.h"
#include "common/text/utf8.h"

enum { hangul_s = 0xAC00, hangul_l = 0x1100, hangul_v = 0x1161, hangul_t = 0x11A7, n_l = 19, n_v = 21, n_t = 28 };

typedef struct mark {
  uint32_t cp;
  uint32_t order;  // position, so that the sort is stable
  uint8_t ccc;
} mark;

typedef struct cps {
  mark *m;
  size_t n, cap;
} cps;

static uint8_t class_of(uint32_t cp) {
  if (cp < 0x300) return 0;
  size_t lo = 0, hi = n_nfc_classes;
  while (lo < hi) {
    size_t mid = (lo + hi) / 2;
    if (nfc_classes[mid].last < cp) lo = mid + 1;
    else hi = mid;
  }
  return lo < n_nfc_classes && nfc_classes[lo].first <= cp ? nfc_classes[lo].ccc : 0;
}

static const nfc_decomp *decomposition(uint32_t cp) {
  size_t lo = 0, hi = n_nfc_decomps;
  while (lo < hi) {
    size_t mid = (lo + hi) / 2;
    if (nfc_decomps[mid].cp < cp) lo = mid + 1;
    else hi = mid;
  }
  return lo < n_nfc_decomps && nfc_decomps[lo].cp == cp ? &nfc_decomps[lo] : NULL;
}

static uint32_t composition(uint32_t a, uint32_t b) {
  if (a >= hangul_l && a < hangul_l + n_l && b >= hangul_v && b < hangul_v + n_v) {
    return hangul_s + ((a - hangul_l) * n_v + (b - hangul_v)) * n_t;
  }
  if (a >= hangul_s && a < hangul_s + n_l * n_v * n_t && (a - hangul_s) % n_t == 0 && b > hangul_t &&
      b < hangul_t + n_t) {
    return a + (b - hangul_t);
  }
  size_t lo = 0, hi = n_nfc_compose;
  while (lo < hi) {
    size_t mid = (lo + hi) / 2;
    const nfc_decomp *d = &nfc_decomps[nfc_compose[mid]];
    if (d->a < a || (d->a == a && d->b < b)) lo = mid + 1;
    else hi = mid;
  }
  if (lo == n_nfc_compose) return 0;
  const nfc_decomp *d = &nfc_decomps[nfc_compose[lo]];
  return d->a == a && d->b == b ? d->cp : 0;
}

static void put(cps *c, uint32_t cp) {
  if (c->n == c->cap) {
    c->cap = c->cap ? c->cap * 2 : 256;
    c->m = agrl_xreallocarray(c->m, c->cap, sizeof *c->m);
  }
  c->m[c->n] = (mark){.cp = cp, .order = (uint32_t)c->n, .ccc = class_of(cp)};
  c->n++;
}

static void decompose(cps *c, uint32_t cp) {
  if (cp >= hangul_s && cp < hangul_s + n_l * n_v * n_t) {
    uint32_t s = cp - hangul_s;
    put(c, hangul_l + s / (n_v * n_t));
    put(c, hangul_v + s % (n_v * n_t) / n_t);
    if (s % n_t != 0) put(c, hangul_t + s % n_t);
    return;
  }
  const nfc_decomp *d = cp < 0xC0 ? NULL : decomposition(cp);
  if (d == NULL) {
    put(c, cp);
    return;
  }
  decompose(c, d->a);
  if (d->b != 0) put(c, d->b);
}

static int by_class(const void *pa, const void *pb) {
  const mark *a = pa, *b = pb;
  if (a->ccc != b->ccc) return a->ccc < b->ccc ? -1 : 1;
  return a->order < b->order ? -1 : a->order > b->order;
}

static void order_marks(cps *c) {
  for (size_t i = 0; i < c->n;) {
    size_t end = i + 1;
    if (c->m[i].ccc != 0) {
      while (end < c->n && c->m[end].ccc != 0) end++;
      if (end - i > 1) qsort(c->m + i, end - i, sizeof *c->m, by_class);
    }
    i = end;
  }
}

static void compose(cps *c) {
  size_t n = 0, starter = 0;
  bool has_starter = false;
  for (size_t i = 0; i < c->n; i++) {
    mark m = c->m[i];
    // blocked: something stands between, of a class not below m's
    bool adjacent = has_starter && n == starter + 1;
    bool blocked = has_starter && !adjacent && (c->m[n - 1].ccc == 0 || c->m[n - 1].ccc >= m.ccc);
    uint32_t whole = has_starter && !blocked ? composition(c->m[starter].cp, m.cp) : 0;
    if (whole != 0) {
      c->m[starter].cp = whole;
      continue;
    }
    if (m.ccc == 0) {
      has_starter = true;
      starter = n;
    }
    c->m[n++] = m;
  }
  c->n = n;
}

static void flush(cps *c, agrl_buf *out) {
  order_marks(c);
  compose(c);
  char b[4];
  for (size_t i = 0; i < c->n; i++) agrl_buf_add(out, b, agrl_utf8_encode(c->m[i].cp, b));
  c->n = 0;
}

bool agrl_nfc(const char *text, size_t len, agrl_buf *out) {
  size_t i = 0;
  while (i < len && (unsigned char)text[i] < 0xCC) i++;  // U+0300 begins with 0xCC
  if (i == len) return false;
  cps c = {0};
  for (i = 0; i < len;) {
    uint32_t cp = 0;
    size_t k = agrl_utf8_decode(text + i, len - i, &cp);
    if (k == 0) {
      flush(&c, out);
      agrl_buf_addc(out, text[i++]);
      continue;
    }
    decompose(&c, cp);
    i += k;
  }
  flush(&c, out);
  free(c.m);
  return true;
}
