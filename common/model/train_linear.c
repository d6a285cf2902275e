// SPDX-License-Identifier: Apache-2.0
// Products of the training forward. Where a weight matrix holds bf16 values only (the served weights do), it is narrowed
// and goes through the kernel that the actors use, so that log-probs agree with theirs to the last bit; any other matrix
// goes through the f32 product. Narrowing is one pass over the matrix, small beside the product over a batch.
#include <stdatomic.h>
#include <string.h>

#include "common/model/train_int.h"

enum { PIECE = 1 << 15, STEP = 1024 };

typedef struct narrow_job {
  uint16_t *dst;
  const float *src;
  size_t n;
  atomic_bool rounded;
} narrow_job;

static void narrow_piece(void *arg, size_t index) {
  narrow_job *j = arg;
  float again[STEP];
  const size_t end = j->n < (index + 1) * PIECE ? j->n : (index + 1) * PIECE;
  for (size_t at = index * PIECE, n; at < end; at += n) {
    n = end - at < STEP ? end - at : STEP;
    agrl_bf16_from_f32(j->dst + at, j->src + at, n);
    agrl_f32_from_bf16(again, j->dst + at, n);
    if (memcmp(again, j->src + at, n * sizeof *again) == 0) continue;
    atomic_store_explicit(&j->rounded, true, memory_order_relaxed);
    return;
  }
}

const uint16_t *train_as_bf16(agrl_trainer *t, const float *params, int weight) {
  const agrl_tensor_desc *d = &t->layout->tensors[weight];
  narrow_job j = {.dst = t->w16, .src = params + d->offset, .n = d->rows * d->cols};
  narrow_piece(&j, 0);  // f32 weights show at once
  const size_t pieces = (j.n + PIECE - 1) / PIECE;
  if (!atomic_load(&j.rounded) && pieces > 1) agrl_pool_run(t->pool, narrow_piece, &j, pieces);
  return atomic_load(&j.rounded) ? NULL : t->w16;
}

void train_linear_as(agrl_trainer *t, const float *params, const uint16_t *w16, float *y, const float *x, int weight, int bias,
                     size_t M,
                     size_t I, size_t O) {
  const float *row = bias >= 0 ? train_param(t, params, bias) : NULL;
  if (w16 != NULL) {
    agrl_linear_bf16(t->pool, y, x, w16, row, M, I, O);
    return;
  }
  for (size_t m = 0; row != NULL && m < M; m++) memcpy(y + m * O, row, O * sizeof *y);
  agrl_gemm_nt(t->pool, y, x, train_param(t, params, weight), M, O, I, row != NULL ? 1.0f : 0.0f);
}

void train_linear(agrl_trainer *t, const float *params, float *y, const float *x, int weight, int bias, size_t M, size_t I,
                  size_t O) {
  train_linear_as(t, params, train_as_bf16(t, params, weight), y, x, weight, bias, M, I, O);
}
