// SPDX-License-Identifier: Apache-2.0
// Reference-counted bf16 weights. Vectors (norms, biases) are kept in f32 beside the block: they are small and every
// kernel wants them so. The hash is computed on first request.
#include "common/model/weights.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bug.h"
#include "common/base/mem.h"
#include "common/tensor/tensor.h"

struct agrl_weights {
  const agrl_layout *layout;
  uint16_t *block;   // bf16
  agrl_packed *packed;  // NULL: not packed
  float *vectors;    // f32 copies of the tensors with one row
  size_t *vec_at;    // per tensor: offset in vectors; SIZE_MAX for matrices
  uint64_t version;
  atomic_int refs;
  pthread_mutex_t hash_lock;
  bool hashed;
  agrl_sha256 hash;
};

// Takes block; NULL: a new one.
static agrl_weights *weights_alloc(const agrl_layout *l, uint16_t *block, uint64_t version) {
  agrl_weights *w = agrl_xcalloc(1, sizeof *w);
  w->layout = l;
  w->version = version;
  w->block = block != NULL ? block : agrl_block_alloc(l->n_elements * sizeof *w->block);
  if (w->block == NULL) AGRL_BUG("out of memory for a weight snapshot of %zu bytes", l->n_elements * sizeof *w->block);
  atomic_init(&w->refs, 1);
  pthread_mutex_init(&w->hash_lock, NULL);
  return w;
}

static void expand_vectors(agrl_weights *w) {
  const agrl_layout *l = w->layout;
  size_t total = 0;
  w->vec_at = agrl_xcalloc(l->n_tensors, sizeof *w->vec_at);
  for (size_t i = 0; i < l->n_tensors; i++) {
    w->vec_at[i] = l->tensors[i].decay ? SIZE_MAX : total;
    if (!l->tensors[i].decay) total += (l->tensors[i].cols + 15) / 16 * 16;
  }
  w->vectors = agrl_xcalloc(total, sizeof *w->vectors);
  for (size_t i = 0; i < l->n_tensors; i++)
    if (w->vec_at[i] != SIZE_MAX)
      agrl_f32_from_bf16(w->vectors + w->vec_at[i], w->block + l->tensors[i].offset, l->tensors[i].cols);
}

agrl_weights *agrl_weights_new(const agrl_layout *layout, const uint16_t *bf16_block, uint64_t version) {
  agrl_weights *w = weights_alloc(layout, NULL, version);
  memcpy(w->block, bf16_block, layout->n_elements * sizeof *w->block);
  expand_vectors(w);
  return w;
}

agrl_weights *agrl_weights_from_f32(const agrl_layout *layout, const float *block, uint64_t version) {
  agrl_weights *w = weights_alloc(layout, NULL, version);
  agrl_bf16_from_f32(w->block, block, layout->n_elements);
  expand_vectors(w);
  return w;
}

agrl_weights *agrl_weights_adopt(const agrl_layout *layout, uint16_t *block, uint64_t version, const agrl_sha256 *hash) {
  agrl_weights *w = weights_alloc(layout, block, version);
  if (hash != NULL) w->hash = *hash;
  w->hashed = hash != NULL;
  expand_vectors(w);
  return w;
}

void agrl_weights_pack(agrl_weights *w, agrl_pool *pool) {
  AGRL_ASSERT(w->packed == NULL);
  w->packed = agrl_packed_new(w->layout, AGRL_PACK_FWD);
  if (w->packed == NULL) AGRL_BUG("out of memory for the packed form of %zu parameters", w->layout->n_elements);
  agrl_packed_fill(w->packed, pool, w->block);
}

agrl_weights *agrl_weights_ref(agrl_weights *w) {
  int before = atomic_fetch_add_explicit(&w->refs, 1, memory_order_relaxed);
  AGRL_ASSERT(before > 0);
  return w;
}

void agrl_weights_unref(agrl_weights *w) {
  if (w == NULL) return;
  int before = atomic_fetch_sub_explicit(&w->refs, 1, memory_order_acq_rel);
  AGRL_ASSERT(before > 0);
  if (before != 1) return;
  if (w->block != NULL) agrl_block_free(w->block, w->layout->n_elements * sizeof *w->block);
  agrl_packed_free(w->packed);
  free(w->vectors);
  free(w->vec_at);
  pthread_mutex_destroy(&w->hash_lock);
  free(w);
}

uint16_t *agrl_weights_reclaim(agrl_weights *w) {
  if (atomic_load_explicit(&w->refs, memory_order_acquire) != 1) return NULL;  // a lone reference cannot become two
  uint16_t *block = w->block;
  w->block = NULL;
  agrl_weights_unref(w);
  return block;
}

const agrl_layout *agrl_weights_layout(const agrl_weights *w) { return w->layout; }

const uint16_t *agrl_weights_block(const agrl_weights *w) { return w->block; }

const uint16_t *agrl_weights_tensor(const agrl_weights *w, int index) {
  AGRL_ASSERT(index >= 0 && (size_t)index < w->layout->n_tensors);
  return w->block + w->layout->tensors[index].offset;
}

const uint32_t *agrl_weights_packed(const agrl_weights *w, int index) {
  AGRL_ASSERT(w->packed != NULL);
  return agrl_packed_tensor(w->packed, index);
}

const agrl_packed *agrl_weights_matrices(const agrl_weights *w) { return w->packed; }

const float *agrl_weights_vector(const agrl_weights *w, int index) {
  AGRL_ASSERT(index >= 0 && (size_t)index < w->layout->n_tensors && w->vec_at[index] != SIZE_MAX);
  return w->vectors + w->vec_at[index];
}

uint64_t agrl_weights_version(const agrl_weights *w) { return w->version; }

agrl_sha256 agrl_weights_hash(const agrl_weights *w) {
  agrl_weights *m = (agrl_weights *)w;  // the cached hash is not part of the snapshot's value
  pthread_mutex_lock(&m->hash_lock);
  if (!m->hashed) {
    m->hash = agrl_sha256_of(m->block, m->layout->n_elements * sizeof *m->block);
    m->hashed = true;
  }
  agrl_sha256 h = m->hash;
  pthread_mutex_unlock(&m->hash_lock);
  return h;
}
