// SPDX-License-Identifier: Apache-2.0
// Packages of weights. The first byte chooses what the rest is.
// Even: a package, fed whole and byte by byte. It is refused, or every piece was applied; both ways agree, words outside
// tensors and beyond the block are never written, and what passes the hash is the block the package was made of.
// Odd: edits of a base (steps and words). Their package leads from the base to the edited block exactly, in no more bytes than
// the words take plus heads, on one thread or two, and an anchor of the same block does so from zeros.
#include <stdlib.h>
#include <string.h>

#include "common/base/bug.h"
#include "common/base/mem.h"
#include "common/ckpt/delta.h"

int agrl_fuzz_ckpt_delta(const uint8_t *data, size_t size);

enum { GUARD = 64, PIECE_HEAD = 32, HEAD = 104 };

static agrl_layout *tiny_layout(void) {
  const agrl_spec s = {.arch = "llama", .n_layers = 1, .hidden = 24, .ffn = 32, .n_heads = 2, .n_kv_heads = 1, .head_dim = 12, .vocab = 20,
                       .context = 8, .rope_theta = 10000, .norm_eps = 1e-5f, .tied = true, .start_id = 0, .end_id = 1};
  agrl_layout *l = NULL;
  AGRL_ASSERT(agrl_layout_new(&s, &l, NULL) == AGRL_OK);
  return l;
}

// A base that every run has: words near those of weights, zeros between tensors, a guard after the block.
static uint16_t *new_base(const agrl_layout *l) {
  uint16_t *b = agrl_xcalloc(l->n_elements + GUARD, sizeof *b);
  for (size_t t = 0; t < l->n_tensors; t++)
    for (size_t i = 0; i < l->tensors[t].rows * l->tensors[t].cols; i++)
      b[l->tensors[t].offset + i] = (uint16_t)(0x3c00 + (i * 40503u >> 3) % 0x180 + (i & 1) * 0x8000u);
  return b;
}

static bool is_padding(const agrl_layout *l, size_t at) {
  for (size_t t = 0; t < l->n_tensors; t++)
    if (at >= l->tensors[t].offset && at < l->tensors[t].offset + l->tensors[t].rows * l->tensors[t].cols) return false;
  return true;
}

static agrl_rc apply(const agrl_layout *l, uint16_t *block, const agrl_delta_id *id, const uint8_t *data, size_t n, size_t step, bool *done,
                     agrl_sha256 *named) {
  agrl_delta_reader *r = agrl_delta_reader_new(l, block, id);
  agrl_rc rc = AGRL_OK;
  for (size_t at = 0; rc == AGRL_OK && at < n; at += step) {
    agrl_error err = {0};
    rc = agrl_delta_reader_feed(r, data + at, n - at < step ? n - at : step, &err);
    AGRL_ASSERT(rc == AGRL_OK || (err.code == rc && err.msg[0] != 0 && (rc == AGRL_EPARSE || rc == AGRL_EVERSION)));
  }
  *done = agrl_delta_reader_done(r);
  AGRL_ASSERT(!*done || rc == AGRL_OK);
  if (*done) *named = agrl_delta_reader_id(r)->hash;
  agrl_delta_reader_free(r);
  return rc;
}

static void read_package(const agrl_layout *l, const uint16_t *base, const uint8_t *data, size_t size) {
  const size_t bytes = l->n_elements * sizeof *base;
  agrl_delta_id id = {.base_version = 1, .version = 2, .base_hash = agrl_sha256_of(base, bytes)};
  if (size >= 24 && memcmp(data + 16, (const uint8_t[8]){0}, 8) == 0) id = (agrl_delta_id){.version = 2};  // an anchor
  uint16_t *whole = new_base(l), *split = new_base(l);
  if (id.base_version == 0) memset(whole, 0, bytes), memset(split, 0, bytes);
  bool done, done_split;
  agrl_sha256 named = {{0}}, named_split;
  const agrl_rc rc = apply(l, whole, &id, data, size, size + 1, &done, &named);
  const agrl_rc rc_split = apply(l, split, &id, data, size, 1, &done_split, &named_split);
  AGRL_ASSERT(rc == rc_split && done == done_split && memcmp(whole, split, bytes) == 0);
  if (rc == AGRL_EVERSION) AGRL_ASSERT(id.base_version == 0 || memcmp(whole, base, bytes) == 0);  // refused before a word was written
  for (size_t i = 0; i < l->n_elements + GUARD; i++)
    if (i >= l->n_elements || is_padding(l, i)) AGRL_ASSERT(whole[i] == 0);
  const agrl_sha256 got = agrl_sha256_of(whole, bytes);
  if (done && memcmp(&got, &named, sizeof got) == 0) {  // then it is a package of that block: writing it again leads there too
    agrl_buf again = {0};
    id.hash = named;
    agrl_delta_encode(l, id.base_version ? base : NULL, whole, &id, NULL, &again, NULL);
    uint16_t *copy = new_base(l);
    if (id.base_version == 0) memset(copy, 0, bytes);
    AGRL_ASSERT(apply(l, copy, &id, (const uint8_t *)again.data, again.len, 7, &done, &named) == AGRL_OK && done);
    AGRL_ASSERT(memcmp(copy, whole, bytes) == 0);
    free(copy);
    agrl_buf_release(&again);
  }
  free(whole);
  free(split);
}

static void round_trip(const agrl_layout *l, const uint16_t *from, const uint16_t *to, const agrl_delta_id *id) {
  const size_t bytes = l->n_elements * sizeof *to;
  agrl_buf one = {0}, two = {0};
  agrl_delta_stats st, st2;
  agrl_pool *pool = agrl_pool_new(2);
  agrl_delta_encode(l, id->base_version ? from : NULL, to, id, NULL, &one, &st);
  agrl_delta_encode(l, id->base_version ? from : NULL, to, id, pool, &two, &st2);
  agrl_pool_free(pool);
  AGRL_ASSERT(one.len == two.len && memcmp(one.data, two.data, one.len) == 0 && st.changed == st2.changed);
  AGRL_ASSERT(one.len <= HEAD + st.pieces * PIECE_HEAD + bytes && st.as_words <= st.pieces);
  size_t differ = 0;
  for (size_t i = 0; i < l->n_elements; i++) differ += from[i] != to[i];
  if (id->base_version) AGRL_ASSERT(st.changed == differ && (differ > 0) == (st.pieces > 0));
  uint16_t *copy = agrl_xcalloc(l->n_elements, sizeof *copy);
  if (id->base_version) memcpy(copy, from, bytes);
  bool done;
  agrl_sha256 named;
  AGRL_ASSERT(apply(l, copy, id, (const uint8_t *)one.data, one.len, 1000, &done, &named) == AGRL_OK && done);
  AGRL_ASSERT(memcmp(copy, to, bytes) == 0 && memcmp(&named, &id->hash, sizeof named) == 0);
  free(copy);
  agrl_buf_release(&one);
  agrl_buf_release(&two);
}

static void edit(const agrl_layout *l, const uint16_t *base, const uint8_t *data, size_t size) {
  const size_t bytes = l->n_elements * sizeof *base;
  uint16_t *to = new_base(l);
  for (size_t at = 0, i = 0; i + 3 <= size; i += 3) {
    at = (at + data[i]) % l->n_elements;
    if (!is_padding(l, at)) to[at] = (uint16_t)(to[at] + (data[i + 1] | data[i + 2] << 8));
  }
  agrl_delta_id id = {.base_version = 7, .version = 9, .base_hash = agrl_sha256_of(base, bytes), .hash = agrl_sha256_of(to, bytes)};
  round_trip(l, base, to, &id);
  id.base_version = 0;
  memset(&id.base_hash, 0, sizeof id.base_hash);
  round_trip(l, base, to, &id);
  free(to);
}

int agrl_fuzz_ckpt_delta(const uint8_t *data, size_t size) {
  if (size == 0) return 0;
  agrl_layout *l = tiny_layout();
  uint16_t *base = new_base(l);
  if (data[0] % 2 == 0) read_package(l, base, data + 1, size - 1);
  else edit(l, base, data + 1, size - 1);
  free(base);
  agrl_layout_free(l);
  return 0;
}
