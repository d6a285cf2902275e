// SPDX-License-Identifier: Apache-2.0
// See id_set.h. A block is keyed by id / 512 and stays when its last id goes: a slot that turned empty would break the probe
// sequences that run through it, and what left the set is added again soon (a redone step after a fork).
#include "learner/id_set.h"

#include <stdlib.h>

#include "common/base/hash.h"
#include "common/base/mem.h"

enum { BLOCK_IDS = 512, WORD_BITS = 64, FIRST_CAP = 16 };

typedef struct learner_id_block {
  uint64_t key;  // id / BLOCK_IDS + 1; 0: a free slot
  uint64_t bits[BLOCK_IDS / WORD_BITS];
} learner_id_block;

static uint64_t key_of(uint64_t id) { return id / BLOCK_IDS + 1; }

// Where the block of key is, or would be. The table has a free slot.
static learner_id_block *slot_of(const learner_id_set *s, uint64_t key) {
  size_t mask = s->cap - 1, i = (size_t)agrl_hash64(&key, sizeof key) & mask;
  while (s->blocks[i].key != 0 && s->blocks[i].key != key) i = (i + 1) & mask;
  return &s->blocks[i];
}

static learner_id_block *find(const learner_id_set *s, uint64_t id) {
  if (s->cap == 0) return NULL;
  learner_id_block *b = slot_of(s, key_of(id));
  return b->key != 0 ? b : NULL;
}

static void grow(learner_id_set *s) {
  learner_id_set bigger = {.n = s->n, .cap = s->cap > 0 ? 2 * s->cap : FIRST_CAP};
  bigger.blocks = agrl_xcalloc(bigger.cap, sizeof *bigger.blocks);
  for (size_t i = 0; i < s->cap; i++)
    if (s->blocks[i].key != 0) *slot_of(&bigger, s->blocks[i].key) = s->blocks[i];
  free(s->blocks);
  *s = bigger;
}

static uint64_t *word_of(learner_id_block *b, uint64_t id) { return &b->bits[id % BLOCK_IDS / WORD_BITS]; }

static uint64_t bit_of(uint64_t id) { return UINT64_C(1) << id % WORD_BITS; }

void learner_id_set_release(learner_id_set *s) {
  free(s->blocks);
  *s = (learner_id_set){0};
}

void learner_id_set_add(learner_id_set *s, uint64_t id) {
  learner_id_block *b = find(s, id);
  if (b == NULL) {
    if (4 * (s->n + 1) > 3 * s->cap) grow(s);
    b = slot_of(s, key_of(id));
    b->key = key_of(id);
    s->n++;
  }
  *word_of(b, id) |= bit_of(id);
}

void learner_id_set_remove(learner_id_set *s, uint64_t id) {
  learner_id_block *b = find(s, id);
  if (b != NULL) *word_of(b, id) &= ~bit_of(id);
}

bool learner_id_set_has(const learner_id_set *s, uint64_t id) {
  learner_id_block *b = find(s, id);
  return b != NULL && (*word_of(b, id) & bit_of(id)) != 0;
}

size_t learner_id_set_bytes(const learner_id_set *s) { return s->cap * sizeof(learner_id_block); }
