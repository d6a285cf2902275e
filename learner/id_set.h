// SPDX-License-Identifier: Apache-2.0
// A set of group ids, exact and small where ids are dense: 512 neighbours share one block of 72 bytes, so a run that trains
// half of the groups it begins pays less than one byte a group, for as long as it lasts. Any 64-bit id may be in it; one far
// from all others costs a block of its own. One thread at a time.
#ifndef AGRL_LEARNER_ID_SET_H
#define AGRL_LEARNER_ID_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct learner_id_set {  // all zero: empty
  struct learner_id_block *blocks;  // open addressing
  size_t n, cap;                    // blocks in use; slots, a power of two or 0
} learner_id_set;

void learner_id_set_release(learner_id_set *s);  // empty again
void learner_id_set_add(learner_id_set *s, uint64_t id);
void learner_id_set_remove(learner_id_set *s, uint64_t id);  // absent is fine
bool learner_id_set_has(const learner_id_set *s, uint64_t id);
size_t learner_id_set_bytes(const learner_id_set *s);  // of memory held

#endif
