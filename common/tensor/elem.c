// SPDX-License-Identifier: Apache-2.0
// Public element-wise functions: split over the pool, then the kernels in use. Elements are independent, so the split
// may follow the thread count; agrl_sumsq, a reduction, uses blocks that depend on n only.
#include "common/tensor/kernels.h"

enum { ELEM_MIN = 16384, ELEM_ALIGN = 64, SUMSQ_BLOCKS = 256 };

void agrl_bf16_from_f32(uint16_t *dst, const float *src, size_t n) { agrl_kernels_use->bf16_from_f32(dst, src, n); }
void agrl_f32_from_bf16(float *dst, const uint16_t *src, size_t n) { agrl_kernels_use->f32_from_bf16(dst, src, n); }
void agrl_f32_from_f16(float *dst, const uint16_t *src, size_t n) { agrl_kernels_use->f32_from_f16(dst, src, n); }
void agrl_f16_from_f32(uint16_t *dst, const float *src, size_t n) { agrl_kernels_use->f16_from_f32(dst, src, n); }
void agrl_add(float *y, const float *x, size_t n) { agrl_kernels_use->add(y, x, n); }
void agrl_scale(float *y, float a, size_t n) { agrl_kernels_use->scale(y, a, n); }
void agrl_expf(float *y, const float *x, size_t n) { agrl_kernels_use->expf(y, x, n); }

typedef struct sumsq_job {
  const float *x;
  size_t n, block;
  double part[SUMSQ_BLOCKS];
} sumsq_job;

static void sumsq_block(void *arg, size_t index) {
  sumsq_job *j = arg;
  size_t at = index * j->block;
  j->part[index] = agrl_kernels_use->sumsq(j->x + at, j->n - at < j->block ? j->n - at : j->block);
}

double agrl_sumsq(agrl_pool *pool, const float *x, size_t n) {
  sumsq_job j = {.x = x, .n = n, .block = (n + SUMSQ_BLOCKS - 1) / SUMSQ_BLOCKS};
  if (j.block < ELEM_MIN) j.block = ELEM_MIN;
  size_t blocks = (n + j.block - 1) / j.block;
  double total = 0;
  agrl_pool_run(pool, sumsq_block, &j, blocks);
  for (size_t i = 0; i < blocks; i++) total += j.part[i];
  return total;
}

typedef struct swiglu_job {
  float *y, *dg, *du;
  const float *dy, *g, *u;
} swiglu_job;

static void swiglu_range(void *arg, size_t lo, size_t hi) {
  const swiglu_job *j = arg;
  agrl_kernels_use->swiglu(j->y + lo, j->g + lo, j->u + lo, hi - lo);
}

void agrl_swiglu(agrl_pool *pool, float *y, const float *g, const float *u, size_t M, size_t F) {
  agrl_parallel_range(pool, M * F, ELEM_ALIGN, ELEM_MIN / 2, swiglu_range, &(swiglu_job){.y = y, .g = g, .u = u});
}

static void swiglu_bwd_range(void *arg, size_t lo, size_t hi) {
  const swiglu_job *j = arg;
  agrl_kernels_use->swiglu_bwd(j->dg + lo, j->du + lo, j->dy + lo, j->g + lo, j->u + lo, hi - lo);
}

void agrl_swiglu_bwd(agrl_pool *pool, float *dg, float *du, const float *dy, const float *g, const float *u, size_t M,
                     size_t F) {
  swiglu_job j = {.dg = dg, .du = du, .dy = dy, .g = g, .u = u};
  agrl_parallel_range(pool, M * F, ELEM_ALIGN, ELEM_MIN / 2, swiglu_bwd_range, &j);
}

typedef struct adamw_job {
  float *p, *m, *v;
  uint16_t *bf16;
  const float *grad;
  const agrl_adamw *a;
} adamw_job;

static void adamw_range(void *arg, size_t lo, size_t hi) {
  const adamw_job *j = arg;
  agrl_kernels_use->adamw(j->p + lo, j->m + lo, j->v + lo, j->grad + lo,
                          j->bf16 ? j->bf16 + lo : NULL, hi - lo, j->a);
}

void agrl_adamw_step(agrl_pool *pool, float *p, float *m, float *v, const float *grad, uint16_t *bf16, size_t n,
                     const agrl_adamw *a) {
  adamw_job j = {p, m, v, bf16, grad, a};
  agrl_parallel_range(pool, n, ELEM_ALIGN, ELEM_MIN, adamw_range, &j);
}
