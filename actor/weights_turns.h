// SPDX-License-Identifier: Apache-2.0
// Two blocks of weights that take turns: the live snapshot, and the one before it, which becomes the scratch for the next once
// the engine no longer uses it. No sockets, no threads.
#ifndef AGRL_ACTOR_WEIGHTS_TURNS_H
#define AGRL_ACTOR_WEIGHTS_TURNS_H

#include "common/model/weights.h"

typedef struct actor_weights_turns {
  const agrl_layout *layout;     // borrowed
  size_t bytes;                  // of a block
  uint16_t *scratch;             // NULL while the engine holds what will be it
  agrl_weights *live, *retired;  // references of ours; retired: the one before, perhaps still the engine's too
  agrl_weights *next;            // made of the scratch, not live yet
} actor_weights_turns;

void actor_weights_turns_init(actor_weights_turns *t, const agrl_layout *layout);
void actor_weights_turns_release(actor_weights_turns *t);
// Makes the scratch available: the retired snapshot's block, or a new one. AGRL_EAGAIN: the engine has not swapped yet.
agrl_rc actor_weights_turns_ready(actor_weights_turns *t, agrl_error *err);
// The scratch is now the next snapshot. hash as in agrl_weights_adopt.
agrl_weights *actor_weights_turns_adopt(actor_weights_turns *t, uint64_t version, const agrl_sha256 *hash);
void actor_weights_turns_commit(actor_weights_turns *t);  // the next snapshot becomes the live one

#endif
