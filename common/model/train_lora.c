// SPDX-License-Identifier: Apache-2.0
// Gradients of adapters, from what a layer's backward has at hand anyway: a matrix's input and its output's gradient. All
// products are of the adapters' size; the matrix's own gradient is never formed.
#include "common/base/bug.h"
#include "common/base/mem.h"
#include "common/model/carve.h"
#include "common/model/train_int.h"

static void carve(agrl_trainer *t, agrl_carver *c) {
  for (size_t i = 0; i < TRAIN_OUTS; i++) t->lora_in[i] = agrl_carve_rows(c, t->max_tokens, t->lora->rank);
  t->lora_out = agrl_carve_rows(c, t->max_tokens, t->lora->rank);
  t->pairs_lora = agrl_carve(c, agrl_packed_words(t->lora->rank, t->max_tokens), sizeof *t->pairs_lora);
}

agrl_rc agrl_trainer_adapt(agrl_trainer *t, const agrl_lora *lora, agrl_error *err) {
  AGRL_ASSERT(t->lora == NULL && lora->model == t->layout);
  t->lora = lora;
  agrl_carver c = {0};
  carve(t, &c);
  t->lora_block = c.overflow ? NULL : agrl_block_alloc(c.used);
  if (t->lora_block == NULL) {
    t->lora = NULL;
    return agrl_fail(err, AGRL_ENOMEM, "trainer: cannot reserve %zu bytes for adapters of rank %zu; lower the tokens of a batch", c.used, lora->rank);
  }
  t->lora_bytes = c.used;
  c = (agrl_carver){.base = t->lora_block};
  carve(t, &c);
  return AGRL_OK;
}

void train_lora_inputs(agrl_trainer *t, const agrl_params *p, const train_in *in, size_t n, size_t M) {
  const size_t rank = t->lora->rank, I = t->layout->tensors[in->weight].cols;
  agrl_linear_out out[TRAIN_OUTS] = {0};
  size_t some = 0;
  AGRL_ASSERT(n <= TRAIN_OUTS);
  for (size_t i = 0; i < n; i++)
    if (train_adapted(t, in[i].weight))
      out[some++] = (agrl_linear_out){t->lora_in[i], agrl_packed_tensor(p->lora_fwd, t->lora->a[in[i].weight]), NULL, NULL, rank};
  agrl_linear(t->pool, out, some, t->rows16, M, I);
  for (size_t i = 0; i < some; i++) agrl_scale(out[i].y, t->lora->scale, M * rank);
}

void train_lora_grads(agrl_trainer *t, const agrl_params *p, float *grads, int weight, size_t i, size_t M) {
  const agrl_tensor_desc *a = &t->lora->layout->tensors[t->lora->a[weight]], *b = a + 1;
  const size_t rank = t->lora->rank;
  agrl_bf16_rows(t->pool, NULL, t->pairs_lora, t->lora_in[i], M, rank);
  agrl_weight_grad(t->pool, grads + b->offset, t->pairs_dy, t->pairs_lora, M, b->rows, rank);
  const agrl_linear_out out = {t->lora_out, agrl_packed_tensor(p->lora_bwd, t->lora->a[weight] + 1), NULL, NULL, rank};
  agrl_linear(t->pool, &out, 1, t->rows16, M, b->rows);
  agrl_scale(t->lora_out, t->lora->scale, M * rank);
  agrl_bf16_rows(t->pool, NULL, t->pairs_lora, t->lora_out, M, rank);
  agrl_weight_grad(t->pool, grads + a->offset, t->pairs_lora, t->pairs_x, M, rank, a->cols);
}

void train_lora_f32(agrl_trainer *t, const agrl_params *p, float *grads, const train_in *in, const float *x, size_t M) {
  const agrl_tensor_desc *a = &t->lora->layout->tensors[t->lora->a[in->weight]], *b = a + 1;
  const size_t rank = t->lora->rank;
  agrl_gemm_nt(t->pool, t->lora_out, x, p->lora_f32 + a->offset, M, rank, a->cols, 0.0f);
  agrl_scale(t->lora_out, t->lora->scale, M * rank);
  agrl_gemm_tn(t->pool, grads + b->offset, in->dy, t->lora_out, b->rows, rank, M, 1.0f);
  agrl_gemm_nn(t->pool, t->lora_out, in->dy, p->lora_f32 + b->offset, M, rank, b->rows, 0.0f);
  agrl_scale(t->lora_out, t->lora->scale, M * rank);
  agrl_gemm_tn(t->pool, grads + a->offset, t->lora_out, x, rank, a->cols, M, 1.0f);
}
