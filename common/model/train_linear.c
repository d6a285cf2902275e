// SPDX-License-Identifier: Apache-2.0
// Weights and products of training in both modes. bf16: what enters a product is rounded once for all products that
// share it, and goes through packed weights. f32: OpenBLAS.
#include <string.h>

#include "common/base/bug.h"
#include "common/model/train_int.h"

void train_begin(agrl_trainer *t, const agrl_params *p) {
  const agrl_layout *l = t->layout;
  if (p->f32 != NULL) return;
  for (size_t i = 0; i < l->n_tensors; i++)
    if (!l->tensors[i].decay) agrl_f32_from_bf16(t->vectors + t->vector_at[i], p->bf16 + l->tensors[i].offset, l->tensors[i].cols);
}

const float *train_vector(const agrl_trainer *t, const agrl_params *p, int index) {
  return p->f32 != NULL ? p->f32 + t->layout->tensors[index].offset : t->vectors + t->vector_at[index];
}

void train_embed(const agrl_trainer *t, const agrl_params *p, float *x, int32_t token) {
  const size_t at = t->layout->tensors[t->layout->embed].offset + (size_t)token * t->C;
  if (p->f32 != NULL) memcpy(x, p->f32 + at, t->C * sizeof *x);
  else agrl_f32_from_bf16(x, p->bf16 + at, t->C);
}

static void linear_f32(agrl_trainer *t, const agrl_params *p, const train_out *o, const float *x, size_t M) {
  const agrl_tensor_desc *d = &t->layout->tensors[o->weight];
  const float *bias = o->bias >= 0 ? p->f32 + t->layout->tensors[o->bias].offset : NULL;
  for (size_t m = 0; bias != NULL && m < M; m++) memcpy(o->y + m * d->rows, bias, d->rows * sizeof *bias);
  if (o->add != NULL && o->add != o->y) memcpy(o->y, o->add, M * d->rows * sizeof *o->y);
  agrl_gemm_nt(t->pool, o->y, x, p->f32 + d->offset, M, d->rows, d->cols, bias != NULL || o->add != NULL ? 1.0f : 0.0f);
}

void train_linear(agrl_trainer *t, const agrl_params *p, const train_out *out, size_t n, const float *x, size_t M) {
  const size_t I = t->layout->tensors[out->weight].cols;
  agrl_linear_out packed[AGRL_LINEAR_OUTS];
  if (p->f32 != NULL) {
    for (size_t i = 0; i < n; i++) linear_f32(t, p, &out[i], x, M);
    return;
  }
  for (size_t i = 0; i < n; i++)
    packed[i] = (agrl_linear_out){out[i].y, agrl_packed_tensor(p->fwd, out[i].weight),
                                  out[i].bias >= 0 ? train_vector(t, p, out[i].bias) : NULL, out[i].add,
                                  t->layout->tensors[out[i].weight].rows};
  agrl_bf16_rows(t->pool, t->rows16, NULL, x, M, I);
  agrl_linear(t->pool, packed, n, t->rows16, M, I);
}

void train_linear_bwd(agrl_trainer *t, const agrl_params *p, float *grads, float *dx, const train_in *in, size_t n, const float *x,
                      size_t M) {
  const size_t I = t->layout->tensors[in->weight].cols;
  bool adapted = false;
  for (size_t i = 0; i < n; i++) adapted |= train_adapted(t, in[i].weight);
  if (p->f32 == NULL && (t->lora == NULL || adapted)) agrl_bf16_rows(t->pool, adapted ? t->rows16 : NULL, t->pairs_x, x, M, I);
  if (p->f32 == NULL && adapted) train_lora_inputs(t, p, in, n, M);
  for (size_t i = 0; i < n; i++) {
    const agrl_tensor_desc *d = &t->layout->tensors[in[i].weight];
    float *dW = train_grad(t, grads, in[i].weight);
    const bool mine = train_adapted(t, in[i].weight);
    if (dx == NULL && dW == NULL && !mine) continue;
    if (p->f32 != NULL) {
      if (dW != NULL) agrl_gemm_tn(t->pool, dW, in[i].dy, x, d->rows, I, M, 1.0f);
      if (mine) train_lora_f32(t, p, grads, &in[i], x, M);
      if (dx != NULL) agrl_gemm_nn(t->pool, dx, in[i].dy, p->f32 + d->offset, M, I, d->rows, i > 0 ? 1.0f : 0.0f);
      continue;
    }
    agrl_bf16_rows(t->pool, t->rows16, dW != NULL || mine ? t->pairs_dy : NULL, in[i].dy, M, d->rows);
    if (dW != NULL) agrl_weight_grad(t->pool, dW, t->pairs_dy, t->pairs_x, M, d->rows, I);
    if (mine) train_lora_grads(t, p, grads, in[i].weight, i, M);
    if (dx == NULL) continue;
    const agrl_linear_out out = {dx, agrl_packed_tensor(p->bwd, in[i].weight), NULL, i > 0 ? dx : NULL, I};
    agrl_linear(t->pool, &out, 1, t->rows16, M, d->rows);
  }
}
