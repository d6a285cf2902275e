// SPDX-License-Identifier: Apache-2.0
// Training side: packed forward with saved activations, per-token log-probs, and backward. Linked by learner and tests.
// The weights used are an f32 block. A matrix whose values are all bf16 (the served values) goes through the kernel that
// actors use: with served weights, log-probs equal theirs at temperature 1 to the last bit. Results do not depend on the
// thread count or on how sequences are packed (gradients: up to the order of their sum). Not thread-safe; uses the pool.
// State, one block reserved for max_tokens: per token and layer 4 * (2 hidden + 2 heads * head_dim + 2 kv_heads * head_dim
// + heads + 2 ffn) bytes (QK-norm: 4 * (heads + kv_heads) * head_dim more), and scratch of about two layers.
#ifndef AGRL_MODEL_TRAIN_H
#define AGRL_MODEL_TRAIN_H

#include "common/base/pool.h"
#include "common/model/spec.h"

typedef struct agrl_trainer agrl_trainer;

// A packed batch without padding: sequence s is tokens[start[s] .. start[s+1]). T = start[n_seqs].
// Position t with target[t] >= 0 asks for log p(target[t] | tokens of its sequence up to and including t).
typedef struct agrl_batch {
  size_t n_seqs;
  const size_t *start;     // n_seqs + 1
  const int32_t *tokens;   // T
  const int32_t *target;   // T; -1: no loss, not computed in the LM head
} agrl_batch;

agrl_rc agrl_trainer_new(const agrl_layout *l, agrl_pool *pool, size_t max_tokens, agrl_trainer **out, agrl_error *err);
void agrl_trainer_free(agrl_trainer *t);
size_t agrl_trainer_max_tokens(const agrl_trainer *t);
size_t agrl_trainer_bytes(const agrl_trainer *t);

// Fills logp[t] (natural log, temperature 1) where target[t] >= 0, 0 elsewhere; entropy (nats) likewise if not NULL.
// AGRL_ELIMIT when T > max_tokens or a sequence exceeds the context. save: keep activations for a following backward.
agrl_rc agrl_trainer_forward(agrl_trainer *t, const float *params, const agrl_batch *b, bool save, float *logp, float *entropy,
                             agrl_error *err);
// Adds d(loss)/d(params) to grads (f32 block), given dlogp[t] = d(loss)/d(logp[t]). Must follow forward(save=true) of the
// same batch and params.
void agrl_trainer_backward(agrl_trainer *t, const float *params, const agrl_batch *b, const float *dlogp, float *grads);

#endif
