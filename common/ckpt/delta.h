// SPDX-License-Identifier: Apache-2.0
// Packages of weights: what turns one bf16 block of a layout into another (a delta), or a block of zeros into one (an
// anchor). The unit is a piece of a named tensor, at most AGRL_DELTA_PIECE elements; a piece that did not change is not in
// the package, and each other one is held in the form that takes fewer bytes: its changes or its words. Little-endian:
//   head    "AGWD", u32 format 1, u64 layout (hash of names and shapes), u64 base version (0: anchor), u64 version,
//           32 bytes SHA-256 of the base's block, 32 of the block reached, u64 pieces
//   piece   u32 tensor, u32 piece of it, u32 form (0 changes, 1 words), u32 values, u32 bytes of gaps, u32 stored bytes of
//           the three streams; then the streams: gaps, high bytes, low bytes. Stored bytes equal to the plain ones: as they
//           are; fewer: a zstd frame. Pieces are in order of (tensor, piece).
//   changes gaps: unchanged elements before each change, LEB128; values: new word less old word mod 2^16, zigzag, in two
//           byte planes. At a small learning rate nearly all are +-1, and a gap's entropy is that of a geometric variable,
//           which the entropy coder of zstd comes near without any model of ours.
//   words   rotated left by one bit, in two byte planes: the high one is the exponent, which compresses; the low one does not.
// Encoding depends on nothing but the blocks and the id: the thread count does not change a byte. Encoding
// takes the package's bytes and 4 MiB a thread. No function keeps a reference to its arguments, but for the reader's
// layout and block.
#ifndef AGRL_CKPT_DELTA_H
#define AGRL_CKPT_DELTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/hash.h"
#include "common/base/pool.h"
#include "common/model/spec.h"

#define AGRL_DELTA_PIECE ((size_t)1 << 20)

typedef struct agrl_delta_id {
  uint64_t base_version, version;  // base_version 0: an anchor, base_hash is zeros
  agrl_sha256 base_hash, hash;     // of the whole bf16 blocks, padding included
} agrl_delta_id;

typedef struct agrl_delta_stats {
  size_t changed;         // words that differ; anchors: all
  size_t pieces, as_words;  // written; those of them held as words
} agrl_delta_stats;

// Appends the package to out. base (NULL: anchor) and now are bf16 blocks of l. pool may be NULL. st may be NULL.
void agrl_delta_encode(const agrl_layout *l, const uint16_t *base, const uint16_t *now, const agrl_delta_id *id, agrl_pool *pool,
                       agrl_buf *out, agrl_delta_stats *st);

// Applies a package to block as its bytes come, a piece as soon as it is whole: buffers at most one piece (3 MiB).
// block is the base's content (a copy: live weights are never given here) or zeros for an anchor. It holds the version named
// by the id only if agrl_delta_reader_done AND its SHA-256 is id->hash: checking that is the caller's, once for a chain of
// packages. After an error block holds nothing in particular.
typedef struct agrl_delta_reader agrl_delta_reader;
// expected: version, base_version and base_hash must be these (hash is not looked at).
agrl_delta_reader *agrl_delta_reader_new(const agrl_layout *l, uint16_t *block, const agrl_delta_id *expected);
void agrl_delta_reader_free(agrl_delta_reader *r);
// AGRL_EVERSION: of another base, version or layout, and nothing was written. AGRL_EPARSE: not a package, or damaged.
agrl_rc agrl_delta_reader_feed(agrl_delta_reader *r, const void *data, size_t n, agrl_error *err);
bool agrl_delta_reader_done(const agrl_delta_reader *r);  // every piece was applied; more bytes are an error
const agrl_delta_id *agrl_delta_reader_id(const agrl_delta_reader *r);  // NULL before the head was read

#endif
