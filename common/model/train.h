// SPDX-License-Identifier: Apache-2.0
// Training side: packed forward with saved activations, per-token log-probs, and backward. Linked by learner and tests.
// Two modes, chosen by the weights given (agrl_params). bf16: products are those of actors (tensor.h), forward and backward,
// so log-probs at temperature 1 equal theirs to the last bit; activations and their gradients are rounded to bf16 where
// they enter a product, all else is f32. f32: products through OpenBLAS, nothing rounded. Results do not depend on the
// thread count or on how sequences are packed (gradients: up to the order of their sum). Not thread-safe; uses the pool.
// State, one block reserved for max_tokens and touched once: per token and layer 4 * (2 hidden + 2 heads * head_dim +
// 2 kv_heads * head_dim + heads + 2 ffn) bytes (QK-norm: 4 * (heads + kv_heads) * head_dim more). Scratch: a token 4 * (8 hidden
// + 3 ffn + 2 heads * head_dim + 2 kv_heads * head_dim) bytes; a chunk of logits (at most 64 MiB, but 64 rows); the inputs of
// products in bf16, three buffers of 2 bytes an element of the widest of max_tokens, two of them at least of a chunk of
// logits. With AGRL_RECOMPUTE_LAYER 4 * hidden bytes per token and layer, and that much of one layer once; backward then
// computes every layer but the last again: 18 % more time at the 135M shape, the same gradients to the last bit.
#ifndef AGRL_MODEL_TRAIN_H
#define AGRL_MODEL_TRAIN_H

#include "common/base/pool.h"
#include "common/model/lora.h"
#include "common/model/packed.h"
#include "common/model/spec.h"

typedef struct agrl_trainer agrl_trainer;

typedef enum { AGRL_RECOMPUTE_NONE, AGRL_RECOMPUTE_LAYER } agrl_recompute;

// A packed batch without padding: sequence s is tokens[start[s] .. start[s+1]), T = start[n_seqs], and continues
// sequence parent[s], whose tokens are computed once for all that continue it. A parent has none itself and comes just
// before those that continue it. Position t with target[t] >= 0 asks for log p(target[t] | the parent's tokens and its
// sequence's up to and including t): a prompt p_0 .. p_n of several completions is a sequence p_0 .. p_{n-1}, continued
// by p_n c_0 c_1 ... for each, so that every position has one target. Log-probs are those of unshared sequences to the
// last bit; gradients up to the order of their sums.
typedef struct agrl_batch {
  size_t n_seqs;
  const size_t *start;     // n_seqs + 1
  const int32_t *tokens;   // T
  const int32_t *target;   // T; -1: no loss, not computed in the LM head
  const int32_t *parent;   // n_seqs, -1: continues none; NULL: none continues another
} agrl_batch;

// The weights of a pass.
typedef struct agrl_params {
  const float *f32;        // f32 mode: block of the layout; NULL: bf16 mode
  const uint16_t *bf16;    // bf16 mode: block of the layout
  const agrl_packed *fwd;  // its matrices in both forms; bwd may be NULL where no backward follows
  const agrl_packed *bwd;
  // Of a trainer with adapters, for a backward: those whose merged weights are above, in the mode's form.
  const float *lora_f32;                     // f32 mode: block of the adapters' layout
  const agrl_packed *lora_fwd, *lora_bwd;    // bf16 mode: of the adapters' layout
} agrl_params;

agrl_rc agrl_trainer_new(const agrl_layout *l, agrl_pool *pool, size_t max_tokens, agrl_recompute recompute, agrl_trainer **out,
                         agrl_error *err);
// From now on adapters are trained, and nothing else: blocks of gradients are of lora->layout, and no product is computed for the
// gradient of what is frozen. With s = scale, x(T,in) a matrix's input and dy(T,out) its output's gradient:
//   dB += dy^T (s x A^T),  dA += (s dy B)^T x,  dx from dy and the merged weights as before.
// In bf16 mode both inner products are rounded to bf16 where they enter the outer one. 20 bytes per token and rank more. lora is
// borrowed. Once, before the first pass.
agrl_rc agrl_trainer_adapt(agrl_trainer *t, const agrl_lora *lora, agrl_error *err);
void agrl_trainer_free(agrl_trainer *t);
size_t agrl_trainer_bytes(const agrl_trainer *t);

// Fills logp[t] (natural log, temperature 1) where target[t] >= 0, 0 elsewhere; entropy (nats) likewise if not NULL.
// AGRL_ELIMIT when T > max_tokens or a sequence exceeds the context, AGRL_EINVAL for bad
// ids or parents. save: keep activations for a following backward.
agrl_rc agrl_trainer_forward(agrl_trainer *t, const agrl_params *params, const agrl_batch *b, bool save, float *logp, float *entropy,
                             agrl_error *err);
// Adds d(loss)/d(params) to grads (f32 block of what is trained), given dlogp[t] = d(loss)/d(logp[t]). Must follow forward(save=true) of the
// same batch and params.
void agrl_trainer_backward(agrl_trainer *t, const agrl_params *params, const agrl_batch *b, const float *dlogp, float *grads);
// Both, for a loss whose dlogp does not depend on the log-probs (cross-entropy): logits are computed once, not twice.
// logp as from forward; grads as from backward, to the last bit.
agrl_rc agrl_trainer_forward_backward(agrl_trainer *t, const agrl_params *params, const agrl_batch *b, const float *dlogp, float *logp,
                                      float *grads, agrl_error *err);

#endif
