// SPDX-License-Identifier: Apache-2.0
// The trainer's memory and its forward pass. Without save, all layers share the first layer's activations.
#include "common/model/train.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/bug.h"
#include "common/base/mem.h"
#include "common/model/carve.h"
#include "common/model/train_int.h"

static void carve_layer(const agrl_trainer *t, agrl_carver *c, train_saved *out) {
  const size_t T = t->max_tokens, Q = t->H * t->D, K = t->KV * t->D;
  const bool norm = t->layout->spec.qk_norm;
  train_saved s = {0};
  s.x_in = agrl_carve_rows(c, T, t->C);
  s.x_mid = agrl_carve_rows(c, T, t->C);
  s.q_raw = norm ? agrl_carve_rows(c, T, Q) : NULL;
  s.k_raw = norm ? agrl_carve_rows(c, T, K) : NULL;
  s.q = agrl_carve_rows(c, T, Q);
  s.k = agrl_carve_rows(c, T, K);
  s.v = agrl_carve_rows(c, T, K);
  s.o = agrl_carve_rows(c, T, Q);
  s.lse = agrl_carve_rows(c, T, t->H);
  s.gate = agrl_carve_rows(c, T, t->F);
  s.up = agrl_carve_rows(c, T, t->F);
  if (c->base != NULL) *out = s;
}

static size_t most(size_t a, size_t b) { return a > b ? a : b; }

// Inputs of products: at most T rows of a layer's widest, or a chunk of logits.
static void carve_inputs(agrl_trainer *t, agrl_carver *c) {
  const size_t T = t->max_tokens, x = most(most(t->C, t->F), t->H * t->D), dy = most(x, t->KV * t->D);
  size_t n = 0;
  t->vector_at = agrl_carve(c, t->layout->n_tensors, sizeof *t->vector_at);
  for (size_t i = 0; i < t->layout->n_tensors; i++) {
    if (t->layout->tensors[i].decay) continue;
    if (c->base != NULL) t->vector_at[i] = n;
    n += (t->layout->tensors[i].cols + 15) / 16 * 16;
  }
  t->vectors = agrl_carve(c, n, sizeof *t->vectors);
  t->rows16 = agrl_carve(c, most(T * agrl_bf16_stride(dy), t->chunk * agrl_bf16_stride(t->V)), sizeof *t->rows16);
  t->pairs_x = agrl_carve(c, agrl_packed_words(x, T), sizeof *t->pairs_x);
  t->pairs_dy = agrl_carve(c, most(agrl_packed_words(dy, T), agrl_packed_words(t->V, t->chunk)), sizeof *t->pairs_dy);
}

static void carve_scratch(agrl_trainer *t, agrl_carver *c) {
  const size_t T = t->max_tokens, Q = t->H * t->D, K = t->KV * t->D;
  const bool norm = t->layout->spec.qk_norm;
  t->x_out = agrl_carve_rows(c, T, t->C);
  t->rope = agrl_carve_rows(c, (size_t)t->layout->spec.context, t->D);
  t->pos = agrl_carve(c, T, sizeof *t->pos);
  t->xn = agrl_carve_rows(c, T, t->C);
  t->dxn = agrl_carve_rows(c, T, t->C);
  t->dx = agrl_carve_rows(c, T, t->C);
  t->rstd = agrl_carve_rows(c, T, t->H);
  t->fa = agrl_carve_rows(c, T, t->F);
  t->fb = agrl_carve_rows(c, T, t->F);
  t->fc = agrl_carve_rows(c, T, t->F);
  t->dq = agrl_carve_rows(c, T, Q);
  t->dk = agrl_carve_rows(c, T, K);
  t->dv = agrl_carve_rows(c, T, K);
  t->d_o = agrl_carve_rows(c, T, Q);
  t->dq_raw = norm ? agrl_carve_rows(c, T, Q) : NULL;
  t->dk_raw = norm ? agrl_carve_rows(c, T, K) : NULL;
  carve_inputs(t, c);
  t->logits = agrl_carve_rows(c, t->chunk, t->V);
  t->sel = agrl_carve(c, T, sizeof *t->sel);
  t->sel_target = agrl_carve(c, T, sizeof *t->sel_target);
  t->hx = agrl_carve_rows(c, T, t->C);
  t->hn = agrl_carve_rows(c, T, t->C);
  t->dh = agrl_carve_rows(c, T, t->C);
  t->dhx = agrl_carve_rows(c, T, t->C);
  t->h_rstd = agrl_carve_rows(c, T, 1);
  t->h_lse = agrl_carve_rows(c, T, 1);
  t->h_dlogp = agrl_carve_rows(c, T, 1);
  t->h_ent = agrl_carve_rows(c, T, 1);
}

static void carve_all(agrl_trainer *t, agrl_carver *c) {
  t->saved = agrl_carve(c, t->L, sizeof *t->saved);
  carve_layer(t, c, c->base != NULL ? &t->saved[0] : NULL);
  for (size_t l = 1; l < t->L; l++) {
    if (t->recompute == AGRL_RECOMPUTE_NONE) {
      carve_layer(t, c, c->base != NULL ? &t->saved[l] : NULL);
      continue;
    }
    float *x_in = agrl_carve_rows(c, t->max_tokens, t->C);  // its own; the rest is the first layer's, and computed again
    if (c->base == NULL) continue;
    t->saved[l] = t->saved[0];
    t->saved[l].x_in = x_in;
  }
  carve_scratch(t, c);
}

// Rows of logits at a time: at most 512, and 64 MiB of them where that leaves 64 rows.
static size_t chunk_rows(size_t vocab, size_t max_tokens) {
  size_t rows = ((size_t)64 << 20) / sizeof(float) / vocab / 32 * 32;
  if (rows < 64) rows = 64;
  if (rows > 512) rows = 512;
  return rows < max_tokens ? rows : max_tokens;
}

agrl_rc agrl_trainer_new(const agrl_layout *l, agrl_pool *pool, size_t max_tokens, agrl_recompute recompute, agrl_trainer **out,
                         agrl_error *err) {
  const agrl_spec *s = &l->spec;
  *out = NULL;
  if (max_tokens == 0 || max_tokens > (size_t)1 << 28)
    return agrl_fail(err, AGRL_EINVAL, "trainer: batch of %zu tokens, must be 1 to %d", max_tokens, 1 << 28);
  agrl_trainer *t = agrl_xcalloc(1, sizeof *t);
  t->layout = l;
  t->pool = pool;
  t->max_tokens = max_tokens;
  t->recompute = recompute;
  t->C = (size_t)s->hidden;
  t->F = (size_t)s->ffn;
  t->H = (size_t)s->n_heads;
  t->KV = (size_t)s->n_kv_heads;
  t->D = (size_t)s->head_dim;
  t->L = (size_t)s->n_layers;
  t->V = (size_t)s->vocab;
  t->chunk = chunk_rows(t->V, max_tokens);
  agrl_carver c = {0};
  carve_all(t, &c);
  t->block_bytes = c.used;
  t->block = c.overflow ? NULL : agrl_block_alloc(c.used);
  if (t->block == NULL) {
    size_t need = c.used;
    free(t);
    return agrl_fail(err, AGRL_ENOMEM, "trainer: cannot reserve %zu bytes for %zu tokens; lower the tokens of a batch%s", need,
                     max_tokens, recompute == AGRL_RECOMPUTE_NONE ? " or recompute layers" : "");
  }
  c = (agrl_carver){.base = t->block};
  carve_all(t, &c);
  agrl_rope_table(t->rope, (size_t)s->context, t->D, s->rope_theta, &s->rope);
  *out = t;
  return AGRL_OK;
}

void agrl_trainer_free(agrl_trainer *t) {
  if (t == NULL) return;
  agrl_block_free(t->block, t->block_bytes);
  if (t->lora_block != NULL) agrl_block_free(t->lora_block, t->lora_bytes);
  free(t);
}

size_t agrl_trainer_bytes(const agrl_trainer *t) { return t->block_bytes + t->lora_bytes + sizeof *t; }

void train_forward_layer(agrl_trainer *t, const agrl_params *params, const agrl_batch *b, size_t layer, const train_saved *s,
                         float *x_next, size_t T) {
  const agrl_layer_index *n = &t->layout->layers[layer];
  const float eps = t->layout->spec.norm_eps;
  agrl_rmsnorm(t->pool, t->xn, NULL, s->x_in, train_vector(t, params, n->in_norm), T, t->C, eps);
  const train_out qkv[] = {{n->q_norm >= 0 ? s->q_raw : s->q, n->q, n->q_bias, NULL},
                           {n->k_norm >= 0 ? s->k_raw : s->k, n->k, n->k_bias, NULL},
                           {s->v, n->v, n->v_bias, NULL}};
  train_linear(t, params, qkv, 3, t->xn, T);
  if (n->q_norm >= 0) agrl_rmsnorm(t->pool, s->q, NULL, s->q_raw, train_vector(t, params, n->q_norm), T * t->H, t->D, eps);
  if (n->k_norm >= 0) agrl_rmsnorm(t->pool, s->k, NULL, s->k_raw, train_vector(t, params, n->k_norm), T * t->KV, t->D, eps);
  agrl_rope(t->pool, s->q, t->pos, t->rope, T, t->H, t->D, 1);
  agrl_rope(t->pool, s->k, t->pos, t->rope, T, t->KV, t->D, 1);
  const agrl_attn_segs segs = train_segs(b);
  agrl_attn(t->pool, s->o, s->lse, s->q, s->k, s->v, &segs, t->H, t->KV, t->D);
  train_linear(t, params, &(train_out){s->x_mid, n->o, -1, s->x_in}, 1, s->o, T);
  agrl_rmsnorm(t->pool, t->xn, NULL, s->x_mid, train_vector(t, params, n->post_norm), T, t->C, eps);
  const train_out wide[] = {{s->gate, n->gate, -1, NULL}, {s->up, n->up, -1, NULL}};
  train_linear(t, params, wide, 2, t->xn, T);
  if (x_next == NULL) return;
  agrl_swiglu(t->pool, t->fa, s->gate, s->up, T, t->F);
  train_linear(t, params, &(train_out){x_next, n->down, -1, s->x_mid}, 1, t->fa, T);
}

// Embedding and all layers; false: an empty batch.
static bool forward_layers(agrl_trainer *t, const agrl_params *params, const agrl_batch *b, bool save) {
  const size_t T = b->start[b->n_seqs];
  train_begin(t, params);
  for (size_t i = 0; i < T; i++) train_embed(t, params, t->saved[0].x_in + i * t->C, b->tokens[i]);
  train_positions(t, b);
  for (size_t l = 0; T > 0 && l < t->L; l++) {
    float *x_next = l + 1 == t->L ? t->x_out : t->saved[save ? l + 1 : 0].x_in;
    train_forward_layer(t, params, b, l, &t->saved[save ? l : 0], x_next, T);
  }
  train_head_select(t, b);
  return T > 0;
}

agrl_rc agrl_trainer_forward(agrl_trainer *t, const agrl_params *params, const agrl_batch *b, bool save, float *logp, float *entropy,
                             agrl_error *err) {
  t->saved_tokens = 0;
  agrl_rc rc = train_check_batch(t, b, err);
  if (rc != AGRL_OK || !forward_layers(t, params, b, save)) return rc;
  train_head_forward(t, params, b->start[b->n_seqs], logp, entropy);
  if (save) t->saved_tokens = b->start[b->n_seqs];
  return AGRL_OK;
}

agrl_rc agrl_trainer_forward_backward(agrl_trainer *t, const agrl_params *params, const agrl_batch *b, const float *dlogp, float *logp,
                                      float *grads, agrl_error *err) {
  t->saved_tokens = 0;
  agrl_rc rc = train_check_batch(t, b, err);
  if (rc != AGRL_OK || !forward_layers(t, params, b, true)) return rc;
  train_head_both(t, params, b->start[b->n_seqs], dlogp, logp, grads);
  train_layers_backward(t, params, b, grads);
  return AGRL_OK;
}
