// SPDX-License-Identifier: Apache-2.0
// Immutable, reference-counted snapshot of served weights (bf16 block in the layout of spec.h) with its version.
// Thread-safe ref/unref; contents never change after creation. Readers swap snapshots by pointer between decode steps.
// A decoder reads the packed form (agrl_weights_pack), a publisher the block alone; the block stays beside the packed form
// because hashes, deltas and embedding rows are its own: 4 bytes a parameter where a decoder runs, 2 where none does.
#ifndef AGRL_MODEL_WEIGHTS_H
#define AGRL_MODEL_WEIGHTS_H

#include <stdint.h>

#include "common/base/hash.h"
#include "common/base/pool.h"
#include "common/model/packed.h"
#include "common/model/spec.h"
#include "common/wire/version.h"

typedef struct agrl_weights agrl_weights;

// Takes a copy of the bf16 block; layout is borrowed and must outlive the snapshot.
agrl_weights *agrl_weights_new(const agrl_layout *layout, const uint16_t *bf16_block, uint64_t version);
// The same from f32 (rounded to nearest even).
agrl_weights *agrl_weights_from_f32(const agrl_layout *layout, const float *block, uint64_t version);
// Takes the block itself (an agrl_block of n_elements), whose SHA-256 the caller has found to be *hash (NULL: has not looked).
agrl_weights *agrl_weights_adopt(const agrl_layout *layout, uint16_t *block, uint64_t version, const agrl_sha256 *hash);
// The block of a snapshot nobody else refers to, which ends with this; NULL, and nothing done, while others do.
uint16_t *agrl_weights_reclaim(agrl_weights *w);
// Adds the packed form that decoders need, before the snapshot is shared with other threads. Once; ends the process when
// there is no memory.
void agrl_weights_pack(agrl_weights *w, agrl_pool *pool);
agrl_weights *agrl_weights_ref(agrl_weights *w);
void agrl_weights_unref(agrl_weights *w);  // NULL is fine
const agrl_layout *agrl_weights_layout(const agrl_weights *w);
const uint16_t *agrl_weights_block(const agrl_weights *w);              // bf16, n_elements
const uint16_t *agrl_weights_tensor(const agrl_weights *w, int index);  // bf16
const uint32_t *agrl_weights_packed(const agrl_weights *w, int index);  // after agrl_weights_pack
const agrl_packed *agrl_weights_matrices(const agrl_weights *w);        // NULL before
const float *agrl_weights_vector(const agrl_weights *w, int index);     // f32 copy of a vector (norms, biases)
uint64_t agrl_weights_version(const agrl_weights *w);
agrl_sha256 agrl_weights_hash(const agrl_weights *w);  // of the bf16 block

#endif
