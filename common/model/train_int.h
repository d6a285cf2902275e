// SPDX-License-Identifier: Apache-2.0
// Inside of the trainer, shared by batch checks (train_batch.c), forward (train.c), LM head (train_head.c) and backward
// (train_backward.c).
// T tokens of the packed batch, C hidden, F ffn, H heads, KV key/value heads, D head size, S positions with a target.
// Saved per token and layer: 2 C + 2 H D + 2 KV D + H + 2 F floats (with QK-norm H D + KV D more), plus C at the end.
// Norm outputs and the SwiGLU output are computed again in backward. With AGRL_RECOMPUTE_LAYER a layer keeps its C input
// floats only; the rest exists once and backward computes it again, layer by layer, with the same bits.
#ifndef AGRL_MODEL_TRAIN_INT_H
#define AGRL_MODEL_TRAIN_INT_H

#include "common/model/train.h"
#include "common/tensor/attn.h"
#include "common/tensor/tensor.h"

typedef struct train_saved {  // one layer's activations
  float *x_in, *x_mid;        // (T,C) residual stream before attention, before feed-forward
  float *q_raw, *k_raw;       // (T,H,D) (T,KV,D) before QK-norm; NULL without it
  float *q, *k, *v, *o;       // (T,H,D) (T,KV,D) (T,KV,D) (T,H,D); q and k after norm and rotation
  float *lse;                 // (T,H)
  float *gate, *up;           // (T,F)
} train_saved;

enum { TRAIN_OUTS = 3 };  // products of one input, at most

struct agrl_trainer {
  const agrl_layout *layout;
  agrl_pool *pool;
  size_t max_tokens;
  agrl_recompute recompute;
  size_t C, F, H, KV, D, L, V;
  train_saved *saved;        // (L)
  float *x_out;              // (T,C) after the last layer
  float *rope;               // (context, D)
  int32_t *pos;              // (T)
  float *xn, *dxn, *dx;      // (T,C)
  float *rstd;               // (T * H), shared by every norm in turn
  float *fa, *fb, *fc;       // (T,F) scratch of the feed-forward
  float *dq, *dk, *dv, *d_o; // (T,H,D) (T,KV,D) (T,KV,D) (T,H,D)
  float *dq_raw, *dk_raw;    // like q_raw, k_raw
  // bf16 mode: vectors widened for the pass; what enters a product, as rows and as token pairs
  float *vectors;
  size_t *vector_at;         // (tensors) offset in vectors
  uint16_t *rows16;          // of every width: (T, C, H D, F), (chunk, V)
  uint32_t *pairs_x;         // (T, C, H D, F)
  uint32_t *pairs_dy;        // of every width
  // LM head, rows gathered in order of position
  size_t chunk;              // rows of logits at a time
  float *logits;             // (chunk, V)
  size_t *sel;               // (S) positions
  int32_t *sel_target;       // (S)
  float *hx, *hn, *dh, *dhx; // (T,C) gathered x_out, its norm, and their gradients
  float *h_rstd, *h_lse;     // (T)
  float *h_dlogp, *h_ent;    // (T)
  // adapters
  const agrl_lora *lora;     // NULL: every parameter is trained
  float *lora_in[TRAIN_OUTS];  // (T, rank) s x A^T of the products of one input
  float *lora_out;           // (T, rank) s dy B
  uint32_t *pairs_lora;      // (T, rank) of either
  void *lora_block;
  size_t lora_bytes;
  size_t n_sel, saved_tokens;  // saved_tokens 0: nothing saved for a backward
  void *block;
  size_t block_bytes;
};

// NULL: frozen.
static inline float *train_grad(const agrl_trainer *t, float *block, int index) {
  return t->lora == NULL ? block + t->layout->tensors[index].offset : NULL;
}

// train_batch.c
agrl_rc train_check_batch(const agrl_trainer *t, const agrl_batch *b, agrl_error *err);
void train_positions(agrl_trainer *t, const agrl_batch *b);  // fills pos
static inline agrl_attn_segs train_segs(const agrl_batch *b) { return (agrl_attn_segs){b->n_seqs, b->start, b->parent}; }

// train.c: from s->x_in to everything else in s, and to x_next(T,C); NULL: what backward needs of s only.
void train_forward_layer(agrl_trainer *t, const agrl_params *params, const agrl_batch *b, size_t layer, const train_saved *s,
                         float *x_next, size_t T);
// train_backward.c: from dx(T,C) at the last layer's output.
void train_layers_backward(agrl_trainer *t, const agrl_params *params, const agrl_batch *b, float *grads);

// train_linear.c
void train_begin(agrl_trainer *t, const agrl_params *p);  // of a forward; a backward has the same params
const float *train_vector(const agrl_trainer *t, const agrl_params *p, int index);
void train_embed(const agrl_trainer *t, const agrl_params *p, float *x, int32_t token);  // x(C): the token's row of the table
typedef struct train_out {
  float *y;
  int weight, bias;  // tensors; bias -1: none
  const float *add;  // NULL: none
} train_out;
// y(M,O) = (add | bias | 0) + x(M,I) W^T of several products of one input.
void train_linear(agrl_trainer *t, const agrl_params *p, const train_out *out, size_t n, const float *x, size_t M);
typedef struct train_in {
  const float *dy;
  int weight;
} train_in;
// Their backward: dW += dy^T x (with adapters: theirs), dx(M,I) = sum of dy W; dx NULL: not wanted.
void train_linear_bwd(agrl_trainer *t, const agrl_params *p, float *grads, float *dx, const train_in *in, size_t n, const float *x,
                      size_t M);

// train_lora.c
static inline bool train_adapted(const agrl_trainer *t, int weight) { return t->lora != NULL && t->lora->a[weight] >= 0; }
// bf16 mode, in two steps around what else is done with x and dy. x: rows16 of the input, for all of in.
void train_lora_inputs(agrl_trainer *t, const agrl_params *p, const train_in *in, size_t n, size_t M);
// The gradients of product i of them. rows16 and pairs_dy hold its dy, pairs_x the input.
void train_lora_grads(agrl_trainer *t, const agrl_params *p, float *grads, int weight, size_t i, size_t M);
void train_lora_f32(agrl_trainer *t, const agrl_params *p, float *grads, const train_in *in, const float *x, size_t M);

// train_head.c
void train_head_select(agrl_trainer *t, const agrl_batch *b);
void train_head_forward(agrl_trainer *t, const agrl_params *params, size_t T, float *logp, float *entropy);
void train_head_backward(agrl_trainer *t, const agrl_params *params, size_t T, const float *dlogp, float *grads);  // fills dx
// Both in one go over the chunks: logits are computed once.
void train_head_both(agrl_trainer *t, const agrl_params *params, size_t T, const float *dlogp, float *logp, float *grads);

#endif
