// SPDX-License-Identifier: Apache-2.0
// Backward through the layers, last to first. dx is the gradient of the residual stream; every block adds its part to it
// through the norm it began with. Gradients of weights are added in an order that does not depend on threads.
#include <string.h>

#include "common/base/bug.h"
#include "common/model/train_int.h"

static void bias_bwd(float *db, const float *dy, size_t T, size_t O) {
  for (size_t i = 0; i < T; i++) agrl_add(db, dy + i * O, O);
}

// y = rmsnorm(x) was not kept: computes it into xn again, with the rstd its backward wants.
static void norm_again(agrl_trainer *t, const agrl_params *params, int weight, const float *x, size_t T) {
  agrl_rmsnorm(t->pool, t->xn, t->rstd, x, train_vector(t, params, weight), T, t->C, t->layout->spec.norm_eps);
}

// The first layer with adapters: nothing below is trained, so the residual stream's gradient ends in it.
static bool ends_here(const agrl_trainer *t, size_t layer) { return t->lora != NULL && layer == 0; }

static void norm_bwd(agrl_trainer *t, const agrl_params *params, float *grads, int weight, const float *x, size_t T) {
  agrl_rmsnorm_bwd(t->pool, t->dx, train_grad(t, grads, weight), t->dxn, x, train_vector(t, params, weight), t->rstd, T, t->C);
}

static void feed_forward_bwd(agrl_trainer *t, const agrl_params *params, float *grads, const agrl_layer_index *n, const train_saved *s,
                             size_t T) {
  float *act = t->fa, *dact = t->fb, *dup = t->fc, *dgate = t->fa;  // act is not needed once down's gradient is done
  norm_again(t, params, n->post_norm, s->x_mid, T);
  agrl_swiglu(t->pool, act, s->gate, s->up, T, t->F);
  train_linear_bwd(t, params, grads, dact, &(train_in){t->dx, n->down}, 1, act, T);
  agrl_swiglu_bwd(t->pool, dgate, dup, dact, s->gate, s->up, T, t->F);
  const train_in wide[] = {{dgate, n->gate}, {dup, n->up}};
  train_linear_bwd(t, params, grads, t->dxn, wide, 2, t->xn, T);
  norm_bwd(t, params, grads, n->post_norm, s->x_mid, T);
}

// Backward of the per-head norm of q or k: raw is (rows, D) with a row per token and head. The result is in d_raw.
static void head_norm_bwd(agrl_trainer *t, const agrl_params *params, float *grads, int weight, float *d_raw, const float *dy,
                          const float *raw, float *scratch, size_t rows) {
  const float *w = train_vector(t, params, weight);
  agrl_rmsnorm(t->pool, scratch, t->rstd, raw, w, rows, t->D, t->layout->spec.norm_eps);  // for rstd; scratch is dropped
  memset(d_raw, 0, rows * t->D * sizeof *d_raw);
  agrl_rmsnorm_bwd(t->pool, d_raw, train_grad(t, grads, weight), dy, raw, w, t->rstd, rows, t->D);
}

static void attention_bwd(agrl_trainer *t, const agrl_params *params, float *grads, const agrl_batch *b, size_t layer, size_t T) {
  const agrl_layer_index *n = &t->layout->layers[layer];
  const train_saved *s = &t->saved[layer];
  const size_t Q = t->H * t->D, K = t->KV * t->D;
  float *dq = t->dq, *dk = t->dk;
  train_linear_bwd(t, params, grads, t->d_o, &(train_in){t->dx, n->o}, 1, s->o, T);
  const agrl_attn_segs segs = train_segs(b);
  agrl_attn_bwd(t->pool, dq, dk, t->dv, t->rstd, t->d_o, s->q, s->k, s->v, s->o, s->lse, &segs, t->H, t->KV, t->D);
  agrl_rope(t->pool, dq, t->pos, t->rope, T, t->H, t->D, -1);
  agrl_rope(t->pool, dk, t->pos, t->rope, T, t->KV, t->D, -1);
  if (n->q_norm >= 0) {
    head_norm_bwd(t, params, grads, n->q_norm, t->dq_raw, dq, s->q_raw, t->d_o, T * t->H);
    dq = t->dq_raw;
  }
  if (n->k_norm >= 0) {
    head_norm_bwd(t, params, grads, n->k_norm, t->dk_raw, dk, s->k_raw, t->d_o, T * t->KV);
    dk = t->dk_raw;
  }
  if (n->q_bias >= 0 && t->lora == NULL) bias_bwd(train_grad(t, grads, n->q_bias), dq, T, Q);
  if (n->k_bias >= 0 && t->lora == NULL) bias_bwd(train_grad(t, grads, n->k_bias), dk, T, K);
  if (n->v_bias >= 0 && t->lora == NULL) bias_bwd(train_grad(t, grads, n->v_bias), t->dv, T, K);
  norm_again(t, params, n->in_norm, s->x_in, T);
  const train_in qkv[] = {{dq, n->q}, {dk, n->k}, {t->dv, n->v}};
  train_linear_bwd(t, params, grads, ends_here(t, layer) ? NULL : t->dxn, qkv, 3, t->xn, T);
  if (!ends_here(t, layer)) norm_bwd(t, params, grads, n->in_norm, s->x_in, T);
}

// The last layer's activations are still there, whatever the policy.
void train_layers_backward(agrl_trainer *t, const agrl_params *params, const agrl_batch *b, float *grads) {
  const size_t T = b->start[b->n_seqs];
  for (size_t l = t->L; l-- > 0;) {
    const agrl_layer_index *n = &t->layout->layers[l];
    if (t->recompute == AGRL_RECOMPUTE_LAYER && l + 1 < t->L) train_forward_layer(t, params, b, l, &t->saved[l], NULL, T);
    feed_forward_bwd(t, params, grads, n, &t->saved[l], T);
    attention_bwd(t, params, grads, b, l, T);
  }
  if (t->lora != NULL) return;
  float *table = train_grad(t, grads, t->layout->embed);  // in token order
  for (size_t i = 0; i < T; i++) agrl_add(table + (size_t)b->tokens[i] * t->C, t->dx + i * t->C, t->C);
}

void agrl_trainer_backward(agrl_trainer *t, const agrl_params *params, const agrl_batch *b, const float *dlogp, float *grads) {
  const size_t T = b->start[b->n_seqs];
  AGRL_ASSERT(t->saved_tokens == T);
  if (T == 0) return;
  train_head_backward(t, params, T, dlogp, grads);
  train_layers_backward(t, params, b, grads);
  t->saved_tokens = 0;
}
