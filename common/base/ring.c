// SPDX-License-Identifier: Apache-2.0
// Single-producer single-consumer ring. Each side owns one index on its own cache line and keeps a copy of the other's,
// re-read only when the copy says full (or empty). Indexes run freely and are masked.
#include "common/base/ring.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/base/bug.h"
#include "common/base/mem.h"

struct agrl_ring {
  _Alignas(64) _Atomic size_t head;  // written by the producer
  size_t tail_seen;
  _Alignas(64) _Atomic size_t tail;  // written by the consumer
  size_t head_seen;
  _Alignas(64) size_t mask;
  void **slots;
};

agrl_ring *agrl_ring_new(size_t capacity) {
  AGRL_ASSERT(capacity > 0 && capacity <= SIZE_MAX / 4);
  size_t n = 1;
  while (n < capacity) n *= 2;
  agrl_ring *r = aligned_alloc(64, sizeof *r);
  if (!r) AGRL_BUG("out of memory allocating a ring");
  *r = (agrl_ring){.mask = n - 1, .slots = agrl_xcalloc(n, sizeof(void *))};
  return r;
}

void agrl_ring_free(agrl_ring *r) {
  if (!r) return;
  free(r->slots);
  free(r);
}

bool agrl_ring_put(agrl_ring *r, void *item) {
  AGRL_ASSERT(item);
  size_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
  if (head - r->tail_seen > r->mask) {
    r->tail_seen = atomic_load_explicit(&r->tail, memory_order_acquire);
    if (head - r->tail_seen > r->mask) return false;
  }
  r->slots[head & r->mask] = item;
  atomic_store_explicit(&r->head, head + 1, memory_order_release);
  return true;
}

void *agrl_ring_take(agrl_ring *r) {
  size_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
  if (tail == r->head_seen) {
    r->head_seen = atomic_load_explicit(&r->head, memory_order_acquire);
    if (tail == r->head_seen) return NULL;
  }
  void *item = r->slots[tail & r->mask];
  atomic_store_explicit(&r->tail, tail + 1, memory_order_release);
  return item;
}

size_t agrl_ring_len(const agrl_ring *r) {
  size_t tail = atomic_load_explicit(&r->tail, memory_order_acquire);
  size_t head = atomic_load_explicit(&r->head, memory_order_acquire);
  size_t len = head - tail;
  return len > r->mask + 1 ? r->mask + 1 : len;
}
