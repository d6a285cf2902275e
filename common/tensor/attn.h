// SPDX-License-Identifier: Apache-2.0
// Causal attention: forward and backward over packed segments (training, prefill), and decode over cached keys. Softmax
// runs online over blocks of AGRL_ATTN_BLOCK keys counted from the sequence's first key, and a score sums over D in
// order: a row of o depends, to the last bit, on its query, its keys and its values only. It is the same in forward and
// decode, for any packing, any sharing of a prefix and any number of threads. scale = 1/sqrt(D).
// Heads: query head h uses key/value head h / (H / KV). D at most AGRL_ATTN_D_MAX (asserted).
#ifndef AGRL_TENSOR_ATTN_H
#define AGRL_TENSOR_ATTN_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/pool.h"

enum { AGRL_ATTN_BLOCK = 64, AGRL_ATTN_GROUP = 16, AGRL_ATTN_D_MAX = 1024 };

// Packed rows: segment s is rows [start[s], start[s+1]). Its keys are those of its parent, then its own. A parent has
// no parent itself, and its children follow it directly.
typedef struct agrl_attn_segs {
  size_t n;
  const size_t *start;    // n + 1
  const int32_t *parent;  // n, -1: none; NULL: none has one
} agrl_attn_segs;

// q (T,H,D), k and v (T,KV,D), o (T,H,D); lse (T,H), may be NULL: log-sum-exp of the scaled scores, for backward.
void agrl_attn(agrl_pool *pool, float *o, float *lse, const float *q, const float *k, const float *v,
               const agrl_attn_segs *segs, size_t H, size_t KV, size_t D);
// dq, dk, dv overwritten; a parent's dk and dv sum over its own rows, then its children's, in order. delta (T,H): scratch.
void agrl_attn_bwd(agrl_pool *pool, float *dq, float *dk, float *dv, float *delta, const float *d_o, const float *q,
                   const float *k, const float *v, const float *o, const float *lse, const agrl_attn_segs *segs, size_t H,
                   size_t KV, size_t D);

// Cached keys and values of one layer. Keys lie in groups of 16, transposed: element d of key j of a group is
// [d * 16 + j], so that a vector holds one element of many keys and a score needs no sum across lanes.
typedef struct agrl_attn_cache {
  float *k;            // (KV, groups, D, 16)
  float *v;            // (KV, cap, D)
  size_t groups, cap;
} agrl_attn_cache;
static inline size_t agrl_attn_groups(size_t keys) { return (keys + AGRL_ATTN_GROUP - 1) / AGRL_ATTN_GROUP; }
// Puts n tokens' keys and values, k and v (n,KV,D), at key index at_k and value index at_v.
void agrl_attn_put(const agrl_attn_cache *c, size_t at_k, size_t at_v, const float *k, const float *v, size_t n,
                   size_t KV, size_t D);

// A sequence of a decode step: one query over n_shared keys of a prefix and n - n_shared of its own. A group of keys
// lies in one cache: own.k begins with a copy of the prefix's last n_shared % 16 keys (agrl_attn_fork), own.v does not.
typedef struct agrl_attn_seq {
  agrl_attn_cache shared, own;
  size_t n_shared, n;  // n: keys in all, the query's own included
  size_t row;          // of q, k, v and o
} agrl_attn_seq;
// Puts each sequence's newest key and value, from its row of k and v (rows,KV,D).
void agrl_attn_append(agrl_pool *pool, const agrl_attn_seq *seqs, size_t n, const float *k, const float *v, size_t KV, size_t D);
void agrl_attn_fork(const agrl_attn_cache *own, const agrl_attn_cache *shared, size_t n_shared, size_t KV, size_t D);

// The work of a step, cut so that threads share it evenly and queries over the same prefix read it together: heads
// [head, head + n_heads), all of one key/value head, of seqs [first, end), all of one prefix.
typedef struct agrl_attn_part {
  uint32_t first, end, head, n_heads;
} agrl_attn_part;
// Fills parts (room for n * H) and returns how many. Sequences that share a prefix (equal shared.k) must be neighbours.
// Depends on how many sequences share which prefix only: one plan does for every layer of a step.
size_t agrl_attn_plan(agrl_attn_part *parts, const agrl_attn_seq *seqs, size_t n, size_t H, size_t KV, unsigned threads);
void agrl_attn_decode(agrl_pool *pool, float *o, const float *q, const agrl_attn_seq *seqs, const agrl_attn_part *parts,
                      size_t n_parts, size_t H, size_t KV, size_t D);  // o, q: (rows,H,D)

#endif
