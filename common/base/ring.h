// SPDX-License-Identifier: Apache-2.0
// Bounded single-producer single-consumer ring of pointers, lock-free. Exactly one thread puts and one takes.
// Used between a daemon's loop thread and its engine thread, with uv_async (or a condition) to wake the other side.
#ifndef AGRL_BASE_RING_H
#define AGRL_BASE_RING_H

#include <stdbool.h>
#include <stddef.h>

typedef struct agrl_ring agrl_ring;

agrl_ring *agrl_ring_new(size_t capacity);  // rounded up to a power of two
void agrl_ring_free(agrl_ring *r);          // does not touch what is still inside
bool agrl_ring_put(agrl_ring *r, void *item);  // false when full; the caller still owns item
void *agrl_ring_take(agrl_ring *r);            // NULL when empty
size_t agrl_ring_len(const agrl_ring *r);      // approximate from other threads

#endif
