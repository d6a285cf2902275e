// SPDX-License-Identifier: Apache-2.0
// What an actor has besides the adapters it receives (weights_build.h): the base they belong to, received once, and the snapshots of
// the whole model that base and adapters are merged into. Three blocks of the model: base, live, and the next, which is the
// retired one taken back. No sockets, no threads.
#ifndef AGRL_ACTOR_WEIGHTS_MERGE_H
#define AGRL_ACTOR_WEIGHTS_MERGE_H

#include "actor/weights_turns.h"
#include "common/model/lora.h"

typedef struct actor_weights_merge {
  const agrl_lora *lora;      // borrowed
  actor_weights_turns turns;  // merged
  uint16_t *base;
  agrl_sha256 hash;           // of base, once verified; zeros: there is none
} actor_weights_merge;

void actor_weights_merge_init(actor_weights_merge *m, const agrl_lora *lora);
void actor_weights_merge_release(actor_weights_merge *m);
// Makes the base's and the next block available. AGRL_EAGAIN: the engine still uses the weights before the live ones.
agrl_rc actor_weights_merge_ready(actor_weights_merge *m, agrl_error *err);
bool actor_weights_merge_none(const agrl_sha256 *base);  // zeros, which stand for no base
bool actor_weights_merge_has(const actor_weights_merge *m, const agrl_sha256 *base);  // never for zeros
// A base is received: what there was is no longer valid, and the bytes come in order.
void actor_weights_merge_begin(actor_weights_merge *m);
void actor_weights_merge_take(actor_weights_merge *m, uint64_t offset, const void *data, size_t n);
// For a worker. True: the base is this one.
bool actor_weights_merge_verify(actor_weights_merge *m, const agrl_sha256 *base);
// For a worker: the model's next snapshot, packed for decoding, from the adapters' block.
void actor_weights_merge_apply(actor_weights_merge *m, const uint16_t *adapters, uint64_t version);
agrl_weights *actor_weights_merge_commit(actor_weights_merge *m);  // the caller's reference to it

#endif
