// SPDX-License-Identifier: Apache-2.0
// Private to common/tensor: the table of single-thread kernels that each instruction set fills (kernels_<isa>.c), and
// the one in use. The public functions split their work over the pool and call through it. Ranges are half open.
#ifndef AGRL_TENSOR_KERNELS_H
#define AGRL_TENSOR_KERNELS_H

#include "common/tensor/attn.h"
#include "common/tensor/tensor.h"

enum { ATTN_ROWS = 128 };  // of one call of attn
enum { AGRL_LINEAR_PANEL = 64 };  // outputs of a panel of packed weights

typedef struct agrl_linear_args {
  float *y;           // (M,O)
  const uint32_t *x;  // (M, pairs of I)
  const uint32_t *w;  // packed
  const float *from;  // where sums start, NULL: 0; row m at from + m * ld_from (0: a bias)
  size_t ld_from, I, O;
} agrl_linear_args;

typedef struct agrl_grad_args {
  float *dW;               // (O,I)
  const uint32_t *dy, *x;  // token pairs: of O, of I
  size_t T, O, I;
} agrl_grad_args;

typedef struct agrl_attn_args {
  float *o, *lse, *dq, *dk, *dv, *delta;
  const float *q, *k, *v, *d_o, *o_in, *lse_in;
  agrl_attn_segs segs;
  const agrl_attn_seq *seqs;
  size_t H, KV, D;
} agrl_attn_args;

typedef struct agrl_kernels {
  void (*bf16_from_f32)(uint16_t *dst, const float *src, size_t n);
  void (*f32_from_bf16)(float *dst, const uint16_t *src, size_t n);
  void (*f32_from_f16)(float *dst, const uint16_t *src, size_t n);
  void (*f16_from_f32)(uint16_t *dst, const float *src, size_t n);
  void (*expf)(float *y, const float *x, size_t n);
  void (*add)(float *y, const float *x, size_t n);
  void (*scale)(float *y, float a, size_t n);
  double (*sumsq)(const float *x, size_t n);
  void (*swiglu)(float *y, const float *g, const float *u, size_t n);
  void (*swiglu_bwd)(float *dg, float *du, const float *dy, const float *g, const float *u, size_t n);
  void (*adamw)(float *p, float *m, float *v, const float *grad, uint16_t *bf16, size_t n, const agrl_adamw *a);

  void (*rmsnorm)(float *y, float *rstd, const float *x, const float *w, size_t M, size_t D, float eps);
  void (*rmsnorm_dx)(float *dx, const float *dy, const float *x, const float *w, const float *rstd, size_t M, size_t D);
  void (*rmsnorm_dw)(float *dw, const float *dy, const float *x, const float *rstd, size_t M, size_t D, size_t c0,
                     size_t c1);
  void (*rope)(float *x, const int32_t *pos, const float *cos_sin, size_t M, size_t n_heads, size_t head_dim, int dir);
  void (*logsumexp)(float *lse, const float *logits, size_t M, size_t V);
  float (*softmax_blocks)(float *sums, float *top, const float *logits, size_t V, float inv);
  void (*logp_bwd)(float *logits, const float *lse, const int32_t *target, const float *dlogp, size_t M, size_t V);
  void (*entropy)(float *entropy, const float *logits, const float *lse, size_t M, size_t V);

  void (*linear)(const agrl_linear_args *a, size_t m0, size_t m1, size_t o0, size_t o1);  // o0 multiple of 32
  void (*weight_grad)(const agrl_grad_args *a, size_t o0, size_t o1);                     // o0 multiple of 16
  // Panels [p0, p1) of packed weights; token pairs [p0, p1) of rounded rows.
  void (*pack_fwd)(uint32_t *dst, const uint16_t *w, size_t O, size_t I, size_t p0, size_t p1);
  void (*pack_bwd)(uint32_t *dst, const uint16_t *w, size_t O, size_t I, size_t p0, size_t p1);
  void (*round_rows)(uint16_t *rows, uint32_t *pairs, const float *src, size_t M, size_t I, size_t p0, size_t p1);
  void (*attn)(const agrl_attn_args *a, size_t t0, size_t t1, size_t head);  // rows [t0,t1), at most ATTN_ROWS
  void (*attn_bwd)(const agrl_attn_args *a, size_t root, size_t kv_head);     // of a root segment and its children
  void (*attn_decode)(const agrl_attn_args *a, const agrl_attn_part *part);
} agrl_kernels;

extern const agrl_kernels agrl_kernels_portable;
#if defined(__x86_64__)
extern const agrl_kernels agrl_kernels_avx2, agrl_kernels_avx512, agrl_kernels_avx512bf16;
#elif defined(__aarch64__)
extern const agrl_kernels agrl_kernels_neon;
#endif

extern const agrl_kernels *agrl_kernels_use;  // set by agrl_tensor_init; portable before it

// Splits [0, n) into chunks that are multiples of align (the last one excepted), one per pool thread but none smaller
// than min, and calls fn(arg, lo, hi) for each over the pool. Finer chunks, which free threads could take from each other, cost more
// than they gain: cut in four a thread, the 135M model decoded 32 sequences 9 % slower and prefilled 8 % slower on two quiet cores.
typedef void (*agrl_range_fn)(void *arg, size_t lo, size_t hi);
void agrl_parallel_range(agrl_pool *pool, size_t n, size_t align, size_t min, agrl_range_fn fn, void *arg);

#endif
