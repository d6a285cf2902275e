// SPDX-License-Identifier: Apache-2.0
// The scratch block in which the next weights are put together from links (fetched by weights_client.c): which bytes come
// next, are they the ones that belong there, and what the block is when they are all in. No sockets, no threads: the two slow
// things, filling and hashing a block, are plain functions that a worker may run while nothing else touches the build.
// Where adapters are trained, what is put together is their block; it is then merged with their base (weights_merge.h), which comes as a link
// of its own before the others, once.
#ifndef AGRL_ACTOR_WEIGHTS_BUILD_H
#define AGRL_ACTOR_WEIGHTS_BUILD_H

#include "actor/weights_merge.h"
#include "actor/weights_turns.h"
#include "common/ckpt/delta.h"
#include "common/wire/limits.h"
#include "common/wire/msg.h"

typedef struct actor_weights_build {
  actor_weights_turns turns;  // of what travels: the model or its adapters
  bool merges;                // adapters; merge is used
  actor_weights_merge merge;
  // the way under way
  uint64_t version;        // where it leads
  agrl_sha256 hash, base_hash;
  agrl_link links[AGRL_LIMIT_LINKS];
  size_t n_links, at;      // at: the link being received
  uint64_t got;            // bytes of it
  agrl_delta_reader *reader;  // of a package; NULL for the block itself
  agrl_sha256 reached_hash;   // named by the last package applied: what the next one must build on
} actor_weights_build;

// lora: NULL, or adapters on that model; borrowed like it.
void actor_weights_build_init(actor_weights_build *b, const agrl_layout *model, const agrl_lora *lora);
void actor_weights_build_release(actor_weights_build *b);
// Makes the scratch block available: the retired snapshot's, or a new one. AGRL_EAGAIN: the engine has not swapped yet.
agrl_rc actor_weights_build_ready(actor_weights_build *b, agrl_error *err);
// Begins with the announcement's links. AGRL_EVERSION: they do not lead from the live version to the announced one.
agrl_rc actor_weights_build_begin(actor_weights_build *b, const agrl_msg_announce *a, agrl_error *err);
void actor_weights_build_fill(actor_weights_build *b);  // the scratch as the first link needs it; before the first chunk
// What to ask for; the next chunk must answer exactly this. False: all is in.
bool actor_weights_build_next(actor_weights_build *b, agrl_msg_chunk_get *get);
// AGRL_EVERSION: not the bytes that come next, or of another base. AGRL_EPARSE: damaged.
agrl_rc actor_weights_build_take(actor_weights_build *b, const agrl_msg_chunk *k, agrl_error *err);
// True: the scratch has the announced hash (and so has the base), and is now a snapshot, merged and packed for decoding. For a worker: at 135M parameters
// it takes a few tenths of a second.
bool actor_weights_build_verify(actor_weights_build *b);
agrl_sha256 actor_weights_build_base(const actor_weights_build *b);  // of the base that is here; zeros: none
// What was verified becomes the live snapshot; the caller's reference to it, or to what it was merged into.
agrl_weights *actor_weights_build_commit(actor_weights_build *b);

#endif
