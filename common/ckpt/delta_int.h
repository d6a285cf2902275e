// SPDX-License-Identifier: Apache-2.0
// Inside common/ckpt/delta*.c: the package's numbers (see delta.h).
#ifndef AGRL_CKPT_DELTA_INT_H
#define AGRL_CKPT_DELTA_INT_H

#include "common/ckpt/delta.h"

enum { DELTA_MAGIC = 0x44574741, DELTA_FORMAT = 1, DELTA_HEAD_BYTES = 104, DELTA_PIECE_BYTES = 32 };
enum { DELTA_CHANGES, DELTA_WORDS, DELTA_FORMS };
enum { DELTA_GAPS, DELTA_HIGH, DELTA_LOW, DELTA_STREAMS };

typedef struct delta_piece {  // the piece's head, in the order of its bytes
  uint32_t tensor, piece, form, values, gap_bytes, stored[DELTA_STREAMS];
} delta_piece;
_Static_assert(sizeof(delta_piece) == DELTA_PIECE_BYTES, "written as it lies in memory");
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "packages are written as memory lies: a big-endian machine needs swaps here"
#endif

uint64_t delta_layout_hash(const agrl_layout *l);
static inline size_t delta_tensor_elements(const agrl_tensor_desc *t) { return t->rows * t->cols; }
static inline size_t delta_pieces_of(const agrl_tensor_desc *t) {
  return (delta_tensor_elements(t) + AGRL_DELTA_PIECE - 1) / AGRL_DELTA_PIECE;
}
static inline size_t delta_piece_elements(const agrl_tensor_desc *t, size_t piece) {
  size_t left = delta_tensor_elements(t) - piece * AGRL_DELTA_PIECE;
  return left < AGRL_DELTA_PIECE ? left : AGRL_DELTA_PIECE;
}

#endif
