// SPDX-License-Identifier: Apache-2.0
// Input mutation for the property tests: small random edits of seed inputs, the same for the same generator state.
#ifndef AGRL_TESTS_LIB_MUTATE_H
#define AGRL_TESTS_LIB_MUTATE_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/rng.h"

enum { AGRL_MUTATE_MAX_BYTES = 1 << 16 };

// Edits *input in place, 1 to 8 edits: flips, odd values, inserts, deletes, repeats, cuts, and pieces of other
// (a second seed, may be empty). The result has at most AGRL_MUTATE_MAX_BYTES bytes.
void agrl_mutate(agrl_rng *rng, agrl_buf *input, const uint8_t *other, size_t other_len);

#endif
