// SPDX-License-Identifier: Apache-2.0
// Public attention functions: one job per (sequence, head), or per (sequence, key/value head) where the heads of a
// group share keys or sum gradients.
#include "common/base/bug.h"
#include "common/tensor/kernels.h"

static void check_shape(size_t H, size_t KV, size_t D) { AGRL_ASSERT(KV > 0 && D > 0 && H % KV == 0); }

static void attn_job(void *arg, size_t index) {
  const agrl_attn_args *a = arg;
  agrl_kernels_use->attn(a, index / a->H, index % a->H);
}

void agrl_attn(agrl_pool *pool, float *o, float *lse, const float *q, const float *k, const float *v,
               const size_t *start, size_t n_seqs, size_t H, size_t KV, size_t D) {
  agrl_attn_args a = {.o = o, .lse = lse, .q = q, .k = k, .v = v, .start = start, .H = H, .KV = KV, .D = D};
  check_shape(H, KV, D);
  agrl_pool_run(pool, attn_job, &a, n_seqs * H);
}

static void attn_bwd_job(void *arg, size_t index) {
  const agrl_attn_args *a = arg;
  agrl_kernels_use->attn_bwd(a, index / a->KV, index % a->KV);
}

void agrl_attn_bwd(agrl_pool *pool, float *dq, float *dk, float *dv, const float *d_o, const float *q, const float *k,
                   const float *v, const float *o, const float *lse, const size_t *start, size_t n_seqs, size_t H,
                       size_t KV,
                   size_t D) {
  agrl_attn_args a = {.dq = dq, .dk = dk, .dv = dv, .q = q, .k = k, .v = v, .d_o = d_o, .o_in = o, .lse_in = lse,
                      .start = start, .H = H, .KV = KV, .D = D};
  check_shape(H, KV, D);
  agrl_pool_run(pool, attn_bwd_job, &a, n_seqs * KV);
}

static void decode_job(void *arg, size_t index) {
  const agrl_attn_args *a = arg;
  agrl_kernels_use->attn_decode(a, index / a->KV, index % a->KV);
}

void agrl_attn_decode(agrl_pool *pool, float *o, const float *q, const agrl_attn_job *jobs, size_t n, size_t H,
                      size_t KV, size_t D) {
  agrl_attn_args a = {.o = o, .q = q, .jobs = jobs, .H = H, .KV = KV, .D = D};
  check_shape(H, KV, D);
  agrl_pool_run(pool, decode_job, &a, n * KV);
}
