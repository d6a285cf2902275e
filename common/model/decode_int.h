// SPDX-License-Identifier: Apache-2.0
// Inside of the decoder, shared by its life cycle (decode.c) and its passes (decode_pass.c).
// Keys and values of a prefix or a sequence lie layer after layer: keys (KV, groups, D, 16), then values (KV, cap, D), f32
// (see common/tensor/attn.h). f32 and not bf16, which would halve the bytes: see the top of decode.c.
#ifndef AGRL_MODEL_DECODE_INT_H
#define AGRL_MODEL_DECODE_INT_H

#include "common/model/decode.h"
#include "common/tensor/attn.h"
#include "common/tensor/tensor.h"

struct agrl_prefix {
  float *kv;
  size_t len;
  int refs;         // 0: free slot
  uint64_t placed;  // number of the last step that ordered its sequences
};

struct agrl_seq {
  float *kv;
  agrl_prefix *prefix;  // NULL: free slot
  size_t len;
  size_t row;    // in the step under way
  uint64_t fed;  // number of the last step that fed it, to catch a sequence given twice
};

struct agrl_decoder {
  const agrl_layout *layout;
  agrl_pool *pool;
  size_t max_batch, max_prompt, max_new;
  size_t C, F, H, KV, D, L, V;  // shape, as in the comments of the kernels
  agrl_prefix *prefixes;        // max_batch slots
  agrl_seq *seqs;               // max_batch slots
  agrl_attn_seq *order;         // (max_batch) of the step under way, those of one prefix side by side
  agrl_seq **order_seq;         // (max_batch) the same order
  agrl_attn_part *parts;        // (max_batch * H)
  int32_t *pos;                 // (R) with R = max(max_batch, max_prompt)
  size_t offsets[2];            // one packed sequence, for the prefill's attention
  uint64_t steps;
  float *rope;                  // (context used, D)
  float *x, *xn;                // (R,C) residual stream, normed
  float *q, *k, *v, *o;         // (R,H,D) (R,KV,D) (R,KV,D) (R,H,D)
  float *gate, *up, *act;       // (R,F)
  uint16_t *x16;                // (R, max(C,H*D,F)) bf16 rows: the input of a product
  void *block;
  size_t block_bytes;
};

// A sequence's own keys begin with a copy of its prefix's last incomplete group.
static inline size_t decode_prefix_groups(const agrl_decoder *d) { return agrl_attn_groups(d->max_prompt); }
static inline size_t decode_seq_groups(const agrl_decoder *d) { return agrl_attn_groups(d->max_new + AGRL_ATTN_GROUP - 1); }

static inline size_t decode_slot_floats(const agrl_decoder *d, size_t groups, size_t cap) {
  return d->L * d->KV * d->D * (groups * AGRL_ATTN_GROUP + cap);
}

// One layer of a slot.
static inline agrl_attn_cache decode_cache(const agrl_decoder *d, float *kv, size_t groups, size_t cap, size_t layer) {
  const size_t keys = d->KV * groups * AGRL_ATTN_GROUP * d->D, all = keys + d->KV * cap * d->D;
  return (agrl_attn_cache){kv + layer * all, kv + layer * all + keys, groups, cap};
}
static inline agrl_attn_cache decode_prefix_cache(const agrl_decoder *d, const agrl_prefix *p, size_t layer) {
  return decode_cache(d, p->kv, decode_prefix_groups(d), d->max_prompt, layer);
}
static inline agrl_attn_cache decode_seq_cache(const agrl_decoder *d, const agrl_seq *s, size_t layer) {
  return decode_cache(d, s->kv, decode_seq_groups(d), d->max_new, layer);
}

#endif
