// SPDX-License-Identifier: Apache-2.0
// Inside of the decoder, shared by its life cycle (decode.c) and its passes (decode_pass.c).
// Keys and values of a prefix or a sequence: (n_layers, 2, KV, cap, D) f32, so that one head's keys are contiguous.
#ifndef AGRL_MODEL_DECODE_INT_H
#define AGRL_MODEL_DECODE_INT_H

#include "common/model/decode.h"
#include "common/tensor/tensor.h"

struct agrl_prefix {
  float *kv;
  size_t len;
  int refs;  // 0: free slot
};

struct agrl_seq {
  float *kv;
  agrl_prefix *prefix;  // NULL: free slot
  size_t len;
  uint64_t fed;  // number of the last step that fed it, to catch a sequence given twice
};

struct agrl_decoder {
  const agrl_layout *layout;
  agrl_pool *pool;
  size_t max_batch, max_prompt, max_new;
  size_t C, F, H, KV, D, L, V;  // shape, as in the comments of the kernels
  agrl_prefix *prefixes;        // max_batch slots
  agrl_seq *seqs;               // max_batch slots
  agrl_attn_job *jobs;          // (max_batch)
  int32_t *pos;                 // (R) with R = max(max_batch, max_prompt)
  size_t offsets[2];            // one packed sequence, for the prefill's attention
  uint64_t steps;
  float *rope;                  // (context used, D)
  float *x, *xn;                // (R,C) residual stream, normed
  float *q, *k, *v, *o;         // (R,H,D) (R,KV,D) (R,KV,D) (R,H,D)
  float *gate, *up, *act;       // (R,F)
  float *lse;                   // (R,H)
  void *block;
  size_t block_bytes;
};

// One layer's keys (which 0) or values (which 1) in a slot of capacity cap: (KV, cap, D).
static inline float *decode_kv(const agrl_decoder *d, float *kv, size_t cap, size_t layer, size_t which) {
  return kv + (layer * 2 + which) * d->KV * cap * d->D;
}

#endif
