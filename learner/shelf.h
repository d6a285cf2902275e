// SPDX-License-Identifier: Apache-2.0
// What the learner keeps of the versions it published, so that an actor gets to the newest one in the fewest bytes: the newest
// snapshot, the last anchor, and the newest deltas. Bytes, with a block of B bytes (2 a parameter): B for the snapshot, at most
// about B for the anchor (0.7 B measured), at most B for all deltas together: the oldest go first, and a chain longer than
// the block would never be chosen; and B again for the snapshot before, but only while someone has begun to fetch that one
// whole. A plan may name packages of several versions; each stays until newer ones push it out.
// No threads of its own: packages are made by one thread and the shelf belongs to another.
#ifndef AGRL_LEARNER_SHELF_H
#define AGRL_LEARNER_SHELF_H

#include "common/base/pool.h"
#include "common/ckpt/delta.h"
#include "common/model/weights.h"
#include "common/wire/msg_learner.h"

enum { LEARNER_DELTAS_MAX = 128 };  // with a base and an anchor within AGRL_LIMIT_LINKS

typedef struct learner_package {  // an anchor (base 0) or a delta; immutable
  uint64_t version, base;
  agrl_buf bytes;
} learner_package;

// base NULL: an anchor. Hashes both snapshots if they are not yet. *changed (may be NULL): words that differ.
learner_package *learner_package_new(agrl_weights *base, agrl_weights *now, agrl_pool *pool, size_t *changed);
void learner_package_free(learner_package *p);  // NULL is fine

typedef struct learner_shelf {  // zero: nothing published
  agrl_weights *newest, *previous;  // previous: only if it was asked for whole while it was the newest
  bool newest_asked;
  learner_package *anchor;
  learner_package *deltas[LEARNER_DELTAS_MAX];  // oldest first, not always one chain
  size_t n_deltas, delta_bytes;
} learner_shelf;

void learner_shelf_release(learner_shelf *s);
// A newer version; takes all three. Without a delta (NULL) nothing leads to it from older versions.
void learner_shelf_put(learner_shelf *s, agrl_weights *w, learner_package *anchor, learner_package *delta);
// The cheapest way from version have (0: none) to the newest: deltas, or the anchor and deltas, or the block. full: the block.
// Returns the number of links, 0 when have is the newest. links has room for AGRL_LIMIT_LINKS.
size_t learner_shelf_plan(const learner_shelf *s, uint64_t have, bool full, agrl_link *links);
// The bytes of a link; NULL: no longer kept.
const uint8_t *learner_shelf_find(learner_shelf *s, agrl_link_kind kind, uint64_t version, size_t *len);

#endif
