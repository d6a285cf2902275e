// SPDX-License-Identifier: Apache-2.0
// Numeric kernels with CPU dispatch at run time (AVX-512 BF16, AVX-512, AVX2+FMA, NEON, portable C). No idea of a transformer
// beyond its building blocks. All arrays row-major f32 unless said; sizes in elements; outputs do not alias inputs
// unless said. Results do not depend on the thread count of the pool: every output element is reduced by one job in a
// fixed order. AGRL_CPU=portable|neon|avx2|avx512|avx512bf16 forces a variant.
#ifndef AGRL_TENSOR_TENSOR_H
#define AGRL_TENSOR_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/pool.h"

typedef enum { AGRL_CPU_PORTABLE, AGRL_CPU_NEON, AGRL_CPU_AVX2, AGRL_CPU_AVX512, AGRL_CPU_AVX512BF16, AGRL_CPU_N } agrl_cpu;

// Picks the best variant (or AGRL_CPU's), pins OpenBLAS to one thread per caller, and checks a small GEMM against a
// naive loop: AGRL_ESELFCHECK on mismatch (old OpenBLAS on new CPUs). Call once before use, from one thread.
agrl_rc agrl_tensor_init(agrl_error *err);
agrl_cpu agrl_tensor_cpu(void);
bool agrl_cpu_supported(agrl_cpu cpu);
void agrl_tensor_use(agrl_cpu cpu);  // tests and bench
const char *agrl_cpu_name(agrl_cpu cpu);

void agrl_bf16_from_f32(uint16_t *dst, const float *src, size_t n);  // round to nearest even, NaN kept
void agrl_f32_from_bf16(float *dst, const uint16_t *src, size_t n);
void agrl_f32_from_f16(float *dst, const uint16_t *src, size_t n);
void agrl_f16_from_f32(uint16_t *dst, const float *src, size_t n);

// ---- bf16 products. Definition, the same for every variant up to the rounding of its sums: inputs are bf16, sums f32.
// An output element is ONE running sum over pairs (k, k+1) of the reduction, in order. It starts from a bias, from what
// it is added to, or from 0, and nothing is folded across lanes. So an element has the same bits for any M, any tile, any split
// over threads, and any cut of the reduction at an even k (a sum passes through y unchanged): batch invariance and
// chunk invariance by construction. Variants differ from each other in the last bits: avx512bf16 adds a pair by
// vdpbf16ps, which takes subnormal inputs as 0 and flushes subnormal results to 0; the others add the even and the odd
// product by two multiply-adds and keep subnormals. NaN and infinities propagate in all.
//
// bf16 rows: (M,I) with row stride I rounded up to even; where I is odd the last element of a row is 0.
static inline size_t agrl_bf16_stride(size_t I) { return (I + 1) & ~(size_t)1; }
// Packed weights, one layout for every variant: 32-bit words [outputs/64][pairs][64], a word holding elements 2p (low
// half) and 2p+1 of one output's reduction; zeros beyond the last output and the last element. 64-byte aligned.
size_t agrl_packed_words(size_t outputs, size_t reduction);
// From w(O,I) row-major bf16. _fwd: outputs O, reduction I (y = x w^T). _bwd: outputs I, reduction O (dx = dy w).
void agrl_pack_fwd(agrl_pool *pool, uint32_t *dst, const uint16_t *w, size_t O, size_t I);
void agrl_pack_bwd(agrl_pool *pool, uint32_t *dst, const uint16_t *w, size_t O, size_t I);
// Rounds src(M,I) to nearest even, into bf16 rows (input of agrl_linear), into token pairs (input of agrl_weight_grad:
// packed, I outputs, reduction M; what lies beyond the last output is left as it was), or both; NULL: not wanted.
void agrl_bf16_rows(agrl_pool *pool, uint16_t *rows, uint32_t *pairs, const float *src, size_t M, size_t I);

// Several products of one input, in one parallel call: y(M,O) = (add(M,O) | bias(O) | 0) + x(M,I) . w^T.
typedef struct agrl_linear_out {
  float *y;           // no two outs of a call overlap
  const uint32_t *w;  // packed: O outputs, reduction I
  const float *bias;  // NULL: none
  const float *add;   // residual, or y itself to accumulate; NULL: none. Not both of bias and add.
  size_t O;
} agrl_linear_out;
enum { AGRL_LINEAR_OUTS = 4 };  // n at most
void agrl_linear(agrl_pool *pool, const agrl_linear_out *out, size_t n, const uint16_t *x, size_t M, size_t I);  // x: bf16 rows
// dW(O,I) += dy(T,O)^T . x(T,I), both as token pairs: (0,1), (2,3), ... of the T given.
void agrl_weight_grad(agrl_pool *pool, float *dW, const uint32_t *dy, const uint32_t *x, size_t T, size_t O, size_t I);

// f32 products on OpenBLAS, split over the pool with a fixed partition of the output. beta 0 or 1.
// C(M,N) = A(M,K) B(N,K)^T
void agrl_gemm_nt(agrl_pool *pool, float *C, const float *A, const float *B, size_t M, size_t N, size_t K, float beta);
// C(M,N) = A(M,K) B(K,N)
void agrl_gemm_nn(agrl_pool *pool, float *C, const float *A, const float *B, size_t M, size_t N, size_t K, float beta);
// C(M,N) = A(K,M)^T B(K,N)
void agrl_gemm_tn(agrl_pool *pool, float *C, const float *A, const float *B, size_t M, size_t N, size_t K, float beta);

// RMSNorm over rows: y(M,D) = x * rstd * w, y may be x; rstd(M) kept for backward (may be NULL).
void agrl_rmsnorm(agrl_pool *pool, float *y, float *rstd, const float *x, const float *w, size_t M, size_t D,
                  float eps);
// dx(M,D) += ..., dw(D) += ... (dw reduced in row order blocks of fixed size; NULL: not wanted)
void agrl_rmsnorm_bwd(agrl_pool *pool, float *dx, float *dw, const float *dy, const float *x, const float *w,
                      const float *rstd, size_t M, size_t D);

// Rotary embedding in place on x(M, n_heads, head_dim), Hugging Face "rotate half" convention; pos(M). dir +1 forward,
// -1 backward. cos_sin: table (context, head_dim) of [cos(0..d/2), sin(0..d/2)] per position, built by agrl_rope_table.
// scaling (NULL or factor 0: none) is Llama 3's: with wavelength w = 2 pi / frequency, frequencies of w > original / low are
// divided by factor, those of w < original / high stay, and between them both are mixed linearly in original / w.
typedef struct agrl_rope_scaling {
  float factor, low_freq_factor, high_freq_factor;
  int32_t original_context;  // positions the unscaled model was trained on
} agrl_rope_scaling;
double agrl_rope_frequency(double frequency, const agrl_rope_scaling *scaling);
void agrl_rope_table(float *cos_sin, size_t context, size_t head_dim, double theta, const agrl_rope_scaling *scaling);
void agrl_rope(agrl_pool *pool, float *x, const int32_t *pos, const float *cos_sin, size_t M, size_t n_heads,
               size_t head_dim, int dir);

// y(M,F) = silu(g) * u ; backward: dg, du overwritten.
void agrl_swiglu(agrl_pool *pool, float *y, const float *g, const float *u, size_t M, size_t F);
void agrl_swiglu_bwd(agrl_pool *pool, float *dg, float *du, const float *dy, const float *g, const float *u, size_t M,
                     size_t F);

// Log-softmax pieces over rows of logits (M,V): lse(M).
void agrl_logsumexp(agrl_pool *pool, float *lse, const float *logits, size_t M, size_t V);
// What drawing a token from a row needs: its maximum *top, sums[b] of exp((logit - *top) * inv) over block b of the row
// (ceil(V / AGRL_SOFTMAX_BLOCK) of them), and, returned, *top + log of all: at inv 1 agrl_logsumexp's to the last bit. NaN where
// the row holds a NaN or +inf, or no finite value; *top is then undefined. One thread.
enum { AGRL_SOFTMAX_BLOCK = 256 };
float agrl_softmax_blocks(float *sums, float *top, const float *logits, size_t V, float inv);
// logits(M,V) -> d(loss)/d(logits) in place for loss = sum_m dlogp[m] * log p(target[m]), that is
// dlogp[m] * (onehot - softmax). Rows with target -1 become 0.
void agrl_logp_bwd(agrl_pool *pool, float *logits, const float *lse, const int32_t *target, const float *dlogp,
                   size_t M, size_t V);
void agrl_entropy(agrl_pool *pool, float *entropy, const float *logits, const float *lse, size_t M, size_t V);  // nats

void agrl_add(float *y, const float *x, size_t n);             // y += x
void agrl_scale(float *y, float a, size_t n);                  // y *= a
double agrl_sumsq(agrl_pool *pool, const float *x, size_t n);  // fixed blocks: independent of the thread count
void agrl_expf(float *y, const float *x, size_t n);            // y may be x; relative error < 2e-7; 0 below 2^-125

// One AdamW step over n elements, in one pass. grad is scaled by gscale first (clipping). Bias corrections
// bc1 = 1-b1^t, bc2 = 1-b2^t. wd 0 for vectors. Also writes the bf16-rounded values (bf16 may be NULL).
typedef struct agrl_adamw {
  float lr, beta1, beta2, eps, wd, bc1, bc2, gscale;
} agrl_adamw;
void agrl_adamw_step(agrl_pool *pool, float *p, float *m, float *v, const float *grad, uint16_t *bf16, size_t n,
                     const agrl_adamw *a);

#endif
