// SPDX-License-Identifier: Apache-2.0
// Reading packages (see delta.h). Every number is checked against the layout before it is used, so that no bytes make it write
// outside a piece; what cannot be checked here, the values themselves, is what the hash is for.
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "common/base/bug.h"
#include "common/base/mem.h"
#include "common/ckpt/delta_int.h"

struct agrl_delta_reader {
  const agrl_layout *l;
  uint16_t *block;
  agrl_delta_id expected, id;
  bool have_head, failed;
  uint64_t pieces_left;
  uint64_t next;   // lowest (tensor << 32 | piece) that may follow
  agrl_buf held;   // bytes of a piece that is not whole yet
  uint8_t *plain;  // three streams of a piece
  ZSTD_DCtx *zstd;
};

agrl_delta_reader *agrl_delta_reader_new(const agrl_layout *l, uint16_t *block, const agrl_delta_id *expected) {
  agrl_delta_reader *r = agrl_xcalloc(1, sizeof *r);
  r->l = l;
  r->block = block;
  r->expected = *expected;
  r->plain = agrl_xmalloc(DELTA_STREAMS * AGRL_DELTA_PIECE);
  r->zstd = ZSTD_createDCtx();
  if (r->zstd == NULL) AGRL_BUG("out of memory for a zstd context");
  return r;
}

void agrl_delta_reader_free(agrl_delta_reader *r) {
  if (r == NULL) return;
  ZSTD_freeDCtx(r->zstd);
  agrl_buf_release(&r->held);
  free(r->plain);
  free(r);
}

bool agrl_delta_reader_done(const agrl_delta_reader *r) {
  return r->have_head && !r->failed && r->pieces_left == 0 && r->held.len == 0;
}

const agrl_delta_id *agrl_delta_reader_id(const agrl_delta_reader *r) { return r->have_head ? &r->id : NULL; }

static agrl_rc read_head(agrl_delta_reader *r, const uint8_t *p, agrl_error *err) {
  uint32_t magic[2];
  uint64_t v[3];
  memcpy(magic, p, sizeof magic);
  memcpy(v, p + 8, sizeof v);
  if (magic[0] != DELTA_MAGIC || magic[1] != DELTA_FORMAT) return agrl_fail(err, AGRL_EPARSE, "not a package of weights, format %d", DELTA_FORMAT);
  r->id.base_version = v[1];
  r->id.version = v[2];
  memcpy(r->id.base_hash.b, p + 32, 32);
  memcpy(r->id.hash.b, p + 64, 32);
  memcpy(&r->pieces_left, p + 96, sizeof r->pieces_left);
  const agrl_delta_id *e = &r->expected;
  if (v[0] != delta_layout_hash(r->l)) return agrl_fail(err, AGRL_EVERSION, "package of another model: its tensors have other names or shapes");
  if (v[1] != e->base_version || v[2] != e->version || memcmp(&r->id.base_hash, &e->base_hash, sizeof e->base_hash) != 0)
    return agrl_fail(err, AGRL_EVERSION, "package from version %llu to %llu, needed is one from %llu to %llu with the base's hash",
                     (unsigned long long)v[1], (unsigned long long)v[2], (unsigned long long)e->base_version, (unsigned long long)e->version);
  r->have_head = true;
  return AGRL_OK;
}

// The piece's head against the layout. *n: elements of the piece; *size: bytes of the whole piece, its head included.
static agrl_rc check_piece(const agrl_delta_reader *r, const delta_piece *h, size_t *n, size_t *size, agrl_error *err) {
  uint64_t place = (uint64_t)h->tensor << 32 | h->piece;
  if (h->tensor >= r->l->n_tensors || h->piece >= delta_pieces_of(&r->l->tensors[h->tensor]) || place < r->next)
    return agrl_fail(err, AGRL_EPARSE, "piece %u of tensor %u: no such piece, or not in order", h->piece, h->tensor);
  *n = delta_piece_elements(&r->l->tensors[h->tensor], h->piece);
  bool good = h->form == DELTA_CHANGES ? h->values > 0 && h->values <= *n && h->gap_bytes >= h->values && h->gap_bytes <= *n
                                       : h->form == DELTA_WORDS && h->values == *n && h->gap_bytes == 0;
  const size_t plain[DELTA_STREAMS] = {h->gap_bytes, h->values, h->values};
  *size = sizeof *h;
  for (int i = 0; i < DELTA_STREAMS; i++) {
    good = good && h->stored[i] <= plain[i] && (h->stored[i] > 0) == (plain[i] > 0);
    *size += h->stored[i];
  }
  if (!good) return agrl_fail(err, AGRL_EPARSE, "piece %u of tensor %u: its counts do not fit its %zu elements", h->piece, h->tensor, *n);
  return AGRL_OK;
}

static const uint8_t *plain_stream(agrl_delta_reader *r, int i, const uint8_t *stored, size_t stored_bytes, size_t plain_bytes) {
  if (stored_bytes == plain_bytes) return stored;
  uint8_t *to = r->plain + (size_t)i * AGRL_DELTA_PIECE;
  return ZSTD_decompressDCtx(r->zstd, to, plain_bytes, stored, stored_bytes) == plain_bytes ? to : NULL;
}

static bool take_gap(const uint8_t **p, const uint8_t *end, size_t *gap) {
  size_t v = 0;
  for (unsigned shift = 0; *p < end && shift < 28; shift += 7) {
    uint8_t b = *(*p)++;
    v |= (size_t)(b & 0x7f) << shift;
    if (b < 0x80) {
      *gap = v;
      return true;
    }
  }
  return false;
}

static bool apply_changes(uint16_t *w, size_t n, const delta_piece *h, const uint8_t *gaps, const uint8_t *high, const uint8_t *low) {
  const uint8_t *end = gaps + h->gap_bytes;
  size_t at = 0;
  for (uint32_t i = 0; i < h->values; i++) {
    size_t gap;
    if (!take_gap(&gaps, end, &gap) || gap >= n - at) return false;
    unsigned z = (unsigned)high[i] << 8 | low[i];
    at += gap;
    w[at] = (uint16_t)(w[at] + (z >> 1 ^ (z & 1 ? 0xffffu : 0u)));
    at++;
  }
  return gaps == end;
}

static void apply_words(uint16_t *w, size_t n, const uint8_t *high, const uint8_t *low) {
  for (size_t i = 0; i < n; i++) {
    unsigned r = (unsigned)high[i] << 8 | low[i];
    w[i] = (uint16_t)(r >> 1 | r << 15);
  }
}

static agrl_rc apply_piece(agrl_delta_reader *r, const delta_piece *h, size_t n, const uint8_t *p, agrl_error *err) {
  const size_t plain[DELTA_STREAMS] = {h->gap_bytes, h->values, h->values};
  const uint8_t *stream[DELTA_STREAMS];
  for (int i = 0; i < DELTA_STREAMS; p += h->stored[i++]) {
    stream[i] = plain_stream(r, i, p, h->stored[i], plain[i]);
    if (stream[i] == NULL) return agrl_fail(err, AGRL_EPARSE, "piece %u of tensor %u: stream %d is damaged", h->piece, h->tensor, i);
  }
  uint16_t *w = r->block + r->l->tensors[h->tensor].offset + h->piece * AGRL_DELTA_PIECE;
  if (h->form == DELTA_WORDS) apply_words(w, n, stream[DELTA_HIGH], stream[DELTA_LOW]);
  else if (!apply_changes(w, n, h, stream[DELTA_GAPS], stream[DELTA_HIGH], stream[DELTA_LOW]))
    return agrl_fail(err, AGRL_EPARSE, "piece %u of tensor %u: its gaps leave it", h->piece, h->tensor);
  r->next = ((uint64_t)h->tensor << 32 | h->piece) + 1;
  r->pieces_left--;
  return AGRL_OK;
}

// Takes one whole item off p. *used 0: more bytes are needed.
static agrl_rc take_item(agrl_delta_reader *r, const uint8_t *p, size_t have, size_t *used, agrl_error *err) {
  *used = 0;
  if (!r->have_head) {
    if (have < DELTA_HEAD_BYTES) return AGRL_OK;
    *used = DELTA_HEAD_BYTES;
    return read_head(r, p, err);
  }
  if (r->pieces_left == 0) return agrl_fail(err, AGRL_EPARSE, "bytes after the last piece");
  delta_piece h;
  size_t n = 0, size = 0;
  if (have < sizeof h) return AGRL_OK;
  memcpy(&h, p, sizeof h);
  agrl_rc rc = check_piece(r, &h, &n, &size, err);
  if (rc != AGRL_OK || have < size) return rc;
  *used = size;
  return apply_piece(r, &h, n, p + sizeof h, err);
}

agrl_rc agrl_delta_reader_feed(agrl_delta_reader *r, const void *data, size_t n, agrl_error *err) {
  AGRL_ASSERT(!r->failed);
  agrl_buf_add(&r->held, data, n);
  size_t at = 0, used = 0;
  agrl_rc rc = AGRL_OK;
  do {
    rc = at < r->held.len ? take_item(r, (const uint8_t *)r->held.data + at, r->held.len - at, &used, err) : AGRL_OK;
    at += used;
  } while (rc == AGRL_OK && used > 0 && at < r->held.len);
  if (at > 0) memmove(r->held.data, r->held.data + at, r->held.len - at);
  r->held.len -= at;
  r->failed = rc != AGRL_OK;
  return rc;
}
