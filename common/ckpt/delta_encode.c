// SPDX-License-Identifier: Apache-2.0
// Writing packages (see delta.h). Threads take pieces off one counter, each with its own scratch and zstd context, and leave
// them in a table that is then joined in order.
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "common/base/bug.h"
#include "common/base/mem.h"
#include "common/ckpt/delta_int.h"

enum { ZSTD_LEVEL = 1 };

uint64_t delta_layout_hash(const agrl_layout *l) {
  agrl_buf b = {0};
  for (size_t i = 0; i < l->n_tensors; i++) {
    const agrl_tensor_desc *t = &l->tensors[i];
    agrl_buf_addf(&b, "%s %zu %zu %zu\n", t->name, t->rows, t->cols, t->offset);
  }
  uint64_t h = agrl_hash64(b.data, b.len);
  agrl_buf_release(&b);
  return h;
}

typedef struct part {  // a piece on its way: where it is, and its bytes once encoded
  uint32_t tensor, piece;
  size_t changed;
  bool words;
  agrl_buf bytes;
} part;

typedef struct encode_job {
  const agrl_layout *l;
  const uint16_t *base, *now;
  part *parts;
  size_t n_parts;
  atomic_size_t next;
} encode_job;

typedef struct scratch {
  uint8_t plain[DELTA_STREAMS][AGRL_DELTA_PIECE];
  ZSTD_CCtx *zstd;
} scratch;

// The stream as it is stored: compressed if that is shorter.
static uint32_t add_stream(scratch *s, int stream, size_t n, agrl_buf *out) {
  if (n == 0) return 0;
  size_t bound = ZSTD_compressBound(n);
  agrl_buf_reserve(out, bound);
  size_t got = ZSTD_compressCCtx(s->zstd, out->data + out->len, bound, s->plain[stream], n, ZSTD_LEVEL);
  if (!ZSTD_isError(got) && got < n) {
    out->len += got;
    return (uint32_t)got;
  }
  agrl_buf_add(out, s->plain[stream], n);
  return (uint32_t)n;
}

static void add_piece(scratch *s, delta_piece head, agrl_buf *out) {
  size_t at = out->len;
  agrl_buf_add(out, &head, sizeof head);
  head.stored[DELTA_GAPS] = add_stream(s, DELTA_GAPS, head.gap_bytes, out);
  head.stored[DELTA_HIGH] = add_stream(s, DELTA_HIGH, head.values, out);
  head.stored[DELTA_LOW] = add_stream(s, DELTA_LOW, head.values, out);
  memcpy(out->data + at, &head, sizeof head);
}

static uint8_t *put_gap(uint8_t *p, size_t gap) {  // no more bytes than the elements it covers: gaps fit their plane
  for (; gap >= 0x80; gap >>= 7) *p++ = (uint8_t)(gap | 0x80);
  *p++ = (uint8_t)gap;
  return p;
}

// Fills the streams with the changes; returns their number.
static size_t find_changes(scratch *s, const uint16_t *a, const uint16_t *b, size_t n, size_t *gap_bytes) {
  uint8_t *gaps = s->plain[DELTA_GAPS], *high = s->plain[DELTA_HIGH], *low = s->plain[DELTA_LOW];
  size_t found = 0, after_last = 0;
  for (size_t i = 0; i < n;) {
    uint64_t x, y;
    if (n - i >= 4 && (memcpy(&x, a + i, sizeof x), memcpy(&y, b + i, sizeof y), x == y)) {
      i += 4;
      continue;
    }
    for (size_t end = n - i >= 4 ? i + 4 : n; i < end; i++) {
      if (a[i] == b[i]) continue;
      gaps = put_gap(gaps, i - after_last);
      after_last = i + 1;
      unsigned d = (uint16_t)(b[i] - a[i]), zigzag = (d << 1 ^ (d >> 15 ? 0xffffu : 0u)) & 0xffffu;
      high[found] = (uint8_t)(zigzag >> 8);
      low[found++] = (uint8_t)zigzag;
    }
  }
  *gap_bytes = (size_t)(gaps - s->plain[DELTA_GAPS]);
  return found;
}

static void split_words(scratch *s, const uint16_t *w, size_t n) {
  for (size_t i = 0; i < n; i++) {
    unsigned r = (unsigned)w[i] << 1 | w[i] >> 15;
    s->plain[DELTA_HIGH][i] = (uint8_t)(r >> 8);
    s->plain[DELTA_LOW][i] = (uint8_t)r;
  }
}

static void encode_part(const encode_job *j, part *p, scratch *s) {
  const agrl_tensor_desc *t = &j->l->tensors[p->tensor];
  size_t at = t->offset + p->piece * AGRL_DELTA_PIECE, n = delta_piece_elements(t, p->piece), gap_bytes = 0;
  delta_piece head = {.tensor = p->tensor, .piece = p->piece, .form = DELTA_CHANGES};
  p->changed = n;
  if (j->base != NULL) {
    p->changed = find_changes(s, j->base + at, j->now + at, n, &gap_bytes);
    if (p->changed == 0) return;
    head.values = (uint32_t)p->changed;
    head.gap_bytes = (uint32_t)gap_bytes;
    add_piece(s, head, &p->bytes);
    if (p->bytes.len < n) return;  // under half of the plain words, which never compress so far
  }
  agrl_buf words = {0};
  split_words(s, j->now + at, n);
  head.form = DELTA_WORDS;
  head.values = (uint32_t)n;
  head.gap_bytes = 0;
  add_piece(s, head, &words);
  p->words = j->base == NULL || words.len < p->bytes.len;
  agrl_buf *worse = p->words ? &p->bytes : &words;
  agrl_buf_release(worse);
  if (p->words) p->bytes = words;
}

static void encode_parts(void *arg, size_t index) {
  encode_job *j = arg;
  scratch *s = agrl_xmalloc(sizeof *s);
  (void)index;
  s->zstd = ZSTD_createCCtx();
  if (s->zstd == NULL) AGRL_BUG("out of memory for a zstd context");
  for (size_t i; (i = atomic_fetch_add(&j->next, 1)) < j->n_parts;) encode_part(j, &j->parts[i], s);
  ZSTD_freeCCtx(s->zstd);
  free(s);
}

static void list_parts(encode_job *j) {
  for (size_t t = 0; t < j->l->n_tensors; t++) j->n_parts += delta_pieces_of(&j->l->tensors[t]);
  j->parts = agrl_xcalloc(j->n_parts, sizeof *j->parts);
  size_t n = 0;
  for (size_t t = 0; t < j->l->n_tensors; t++)
    for (size_t p = 0; p < delta_pieces_of(&j->l->tensors[t]); p++) j->parts[n++] = (part){.tensor = (uint32_t)t, .piece = (uint32_t)p};
}

static void add_head(const agrl_layout *l, const agrl_delta_id *id, uint64_t pieces, agrl_buf *out) {
  const uint32_t magic[2] = {DELTA_MAGIC, DELTA_FORMAT};
  const uint64_t versions[3] = {delta_layout_hash(l), id->base_version, id->version};
  size_t at = out->len;
  agrl_buf_add(out, magic, sizeof magic);
  agrl_buf_add(out, versions, sizeof versions);
  agrl_buf_add(out, id->base_hash.b, sizeof id->base_hash.b);
  agrl_buf_add(out, id->hash.b, sizeof id->hash.b);
  agrl_buf_add(out, &pieces, sizeof pieces);
  AGRL_ASSERT(out->len - at == DELTA_HEAD_BYTES);
}

void agrl_delta_encode(const agrl_layout *l, const uint16_t *base, const uint16_t *now, const agrl_delta_id *id, agrl_pool *pool,
                       agrl_buf *out, agrl_delta_stats *st) {
  AGRL_ASSERT((base == NULL) == (id->base_version == 0));
  encode_job j = {.l = l, .base = base, .now = now};
  agrl_delta_stats sum = {0};
  size_t bytes = DELTA_HEAD_BYTES;
  list_parts(&j);
  agrl_pool_run(pool, encode_parts, &j, agrl_pool_threads(pool));
  for (size_t i = 0; i < j.n_parts; i++) {
    sum.changed += j.parts[i].changed;
    sum.pieces += j.parts[i].bytes.len > 0;
    sum.as_words += j.parts[i].words;
    bytes += j.parts[i].bytes.len;
  }
  agrl_buf_reserve(out, bytes);
  add_head(l, id, sum.pieces, out);
  for (size_t i = 0; i < j.n_parts; i++) {
    agrl_buf_add(out, j.parts[i].bytes.data, j.parts[i].bytes.len);
    agrl_buf_release(&j.parts[i].bytes);
  }
  free(j.parts);
  if (st != NULL) *st = sum;
}
