// SPDX-License-Identifier: Apache-2.0
// Kernel bodies of causal attention: forward over packed sequences, backward, and decode over segments. Included once by
// each kernels_<isa>.c. Softmax runs online over blocks of ATT_BK keys counted from the sequence's first; a row's result
// depends on its query and keys only, so decode of a token equals, bit by bit, its row in the forward pass.
#ifndef AGRL_TENSOR_BODY_ATTN_H
#define AGRL_TENSOR_BODY_ATTN_H

#include "common/tensor/kernels.h"
#include "common/tensor/vec.h"

#define ATT_BQ 32
#define ATT_BK 64

#if VL == 16
#define NT_MR 4
#define NT_NR 4
#define NN_DV 4
#elif VL == 8
#define NT_MR 2
#define NT_NR 4
#define NN_DV 2
#else
#define NT_MR 1
#define NT_NR 4
#define NN_DV 2
#endif
#define NN_MR 4

// s(mr, NT_NR): dot products over D of mr rows of a with NT_NR rows of b; columns beyond cols repeat the last.
VINLINE void attn_dots(float *s, size_t lds, int mr, const float *a, size_t lda, const float *b, size_t ldb, size_t cols,
                       size_t D) {
  vf acc[NT_MR * NT_NR] = {{0}};
  const float *bp[NT_NR];
  for (size_t n = 0; n < NT_NR; n++) bp[n] = b + (n < cols ? n : cols - 1) * ldb;
  for (size_t d = 0; d < D; d += VL) {
    vf av[NT_MR];
#pragma GCC unroll 4
    for (int m = 0; m < mr; m++) av[m] = v_ldr(a + (size_t)m * lda + d, D - d);
#pragma GCC unroll 4
    for (int n = 0; n < NT_NR; n++) {
      vf bv = v_ldr(bp[n] + d, D - d);
#pragma GCC unroll 4
      for (int m = 0; m < mr; m++) acc[m * NT_NR + n] = v_fma(av[m], bv, acc[m * NT_NR + n]);
    }
  }
  float tmp[NT_MR * NT_NR + VL];
#pragma GCC unroll 4
  for (int g = 0; g < mr * NT_NR; g += VL) v_st(tmp + g, v_totals(acc + g, mr * NT_NR < VL ? mr * NT_NR : VL));
  for (int m = 0; m < mr; m++)
    for (size_t n = 0; n < cols; n++) s[(size_t)m * lds + n] = tmp[(size_t)m * NT_NR + n];
}

// s(M,N) = a(M,D) b(N,D)^T
static void attn_nt(float *s, size_t lds, const float *a, size_t lda, const float *b, size_t ldb, size_t M, size_t N,
                    size_t D) {
  size_t m = 0;
  for (; m + NT_MR <= M; m += NT_MR)
    for (size_t n = 0; n < N; n += NT_NR)
      attn_dots(s + m * lds + n, lds, NT_MR, a + m * lda, lda, b + n * ldb, ldb, N - n < NT_NR ? N - n : NT_NR, D);
  for (; m < M; m++)
    for (size_t n = 0; n < N; n += NT_NR)
      attn_dots(s + m * lds + n, lds, 1, a + m * lda, lda, b + n * ldb, ldb, N - n < NT_NR ? N - n : NT_NR, D);
}

// mr rows of c, dv vectors from column d: c += a b, a(m,k) at a[m*rs + k*cs], b(K, .) with row stride ldb.
VINLINE void attn_axpy(float *c, size_t ldc, int mr, int dv, const float *a, size_t rs, size_t cs, const float *b, size_t ldb,
                       size_t K, size_t left) {
  vf acc[NN_MR][NN_DV];
#pragma GCC unroll 4
  for (int m = 0; m < mr; m++)
#pragma GCC unroll 4
    for (int v = 0; v < dv; v++) acc[m][v] = v_ldr(c + (size_t)m * ldc + v * VL, left - (size_t)v * VL);
  for (size_t k = 0; k < K; k++) {
    vf bv[NN_DV];
#pragma GCC unroll 4
    for (int v = 0; v < dv; v++) bv[v] = v_ldr(b + k * ldb + v * VL, left - (size_t)v * VL);
#pragma GCC unroll 4
    for (int m = 0; m < mr; m++) {
      vf s = v_set(a[(size_t)m * rs + k * cs]);
#pragma GCC unroll 4
      for (int v = 0; v < dv; v++) acc[m][v] = v_fma(s, bv[v], acc[m][v]);
    }
  }
#pragma GCC unroll 4
  for (int m = 0; m < mr; m++)
#pragma GCC unroll 4
    for (int v = 0; v < dv; v++) v_str(c + (size_t)m * ldc + v * VL, acc[m][v], left - (size_t)v * VL);
}

// c(M,D) += a(M,K) b(K,D); every element sums over k in order.
static void attn_nn(float *c, size_t ldc, const float *a, size_t rs, size_t cs, const float *b, size_t ldb, size_t M, size_t K,
                    size_t D) {
  size_t d = 0;
  for (; d + NN_DV * VL <= D; d += NN_DV * VL) {
    size_t m = 0;
    for (; m + NN_MR <= M; m += NN_MR)
      attn_axpy(c + m * ldc + d, ldc, NN_MR, NN_DV, a + m * rs, rs, cs, b + d, ldb, K, NN_DV * VL);
    for (; m < M; m++) attn_axpy(c + m * ldc + d, ldc, 1, NN_DV, a + m * rs, rs, cs, b + d, ldb, K, NN_DV * VL);
  }
  for (; d < D; d += VL) {
    size_t m = 0;
    for (; m + NN_MR <= M; m += NN_MR) attn_axpy(c + m * ldc + d, ldc, NN_MR, 1, a + m * rs, rs, cs, b + d, ldb, K, D - d);
    for (; m < M; m++) attn_axpy(c + m * ldc + d, ldc, 1, 1, a + m * rs, rs, cs, b + d, ldb, K, D - d);
  }
}

typedef struct attn_row {
  float top, sum;  // running maximum of the scaled scores, and sum of exp(score - top)
} attn_row;

// One block of a row's scores: s(ATT_BK), the first n valid, becomes exp(scale*s - top); o(D) is rescaled to the new top.
static void attn_softmax_block(attn_row *r, float *s, size_t n, float scale, float *o, size_t D) {
  vf top = v_set(-INFINITY), sum = {0};
  for (size_t j = n; j < ATT_BK; j++) s[j] = -INFINITY;
  for (size_t j = 0; j < ATT_BK; j += VL) {
    vf z = v_ld(s + j) * scale;
    v_st(s + j, z);
    top = v_max(top, z);
  }
  float t = v_maximum(top);
  if (t < r->top) t = r->top;
  for (size_t j = 0; j < ATT_BK; j += VL) {
    vf p = v_exp(v_ld(s + j) - t);
    v_st(s + j, p);
    sum += p;
  }
  float keep = v_exp(v_set(r->top - t))[0];
  r->sum = r->sum * keep + v_total(sum);
  r->top = t;
  if (keep != 1.0f)
    for (size_t d = 0; d < D; d += VL) v_str(o + d, v_ldr(o + d, D - d) * keep, D - d);
}

static float attn_finish(const attn_row *r, float *o, size_t D) {
  float inv = 1.0f / r->sum;
  for (size_t d = 0; d < D; d += VL) v_str(o + d, v_ldr(o + d, D - d) * inv, D - d);
  return r->top + logf(r->sum);
}

static void k_attn(const agrl_attn_args *a, size_t seq, size_t head) {
  size_t t0 = a->start[seq], T = a->start[seq + 1] - t0, D = a->D, ldq = a->H * D, ldk = a->KV * D;
  size_t kvh = head / (a->H / a->KV);
  const float *q = a->q + t0 * ldq + head * D, *k = a->k + t0 * ldk + kvh * D, *v = a->v + t0 * ldk + kvh * D;
  float *o = a->o + t0 * ldq + head * D, *lse = a->lse ? a->lse + t0 * a->H + head : NULL;
  float scale = 1.0f / sqrtf((float)D);
  float s[ATT_BQ * ATT_BK] __attribute__((aligned(64)));
  for (size_t q0 = 0; q0 < T; q0 += ATT_BQ) {
    size_t nq = T - q0 < ATT_BQ ? T - q0 : ATT_BQ, end = q0 + nq;
    attn_row row[ATT_BQ];
    for (size_t r = 0; r < nq; r++) {
      row[r] = (attn_row){-INFINITY, 0};
      memset(o + (q0 + r) * ldq, 0, D * sizeof *o);
    }
    for (size_t k0 = 0; k0 < end; k0 += ATT_BK) {
      size_t nk = end - k0 < ATT_BK ? end - k0 : ATT_BK;
      attn_nt(s, ATT_BK, q + q0 * ldq, ldq, k + k0 * ldk, ldk, nq, nk, D);
      for (size_t r = 0; r < nq; r++) {
        size_t seen = q0 + r + 1;  // keys this row sees
        if (seen <= k0) memset(s + r * ATT_BK, 0, ATT_BK * sizeof *s);
        else attn_softmax_block(&row[r], s + r * ATT_BK, seen - k0 < nk ? seen - k0 : nk, scale, o + (q0 + r) * ldq, D);
      }
      attn_nn(o + q0 * ldq, ldq, s, ATT_BK, 1, v + k0 * ldk, ldk, nq, nk, D);
    }
    for (size_t r = 0; r < nq; r++) {
      float l = attn_finish(&row[r], o + (q0 + r) * ldq, D);
      if (lse) lse[(q0 + r) * a->H] = l;
    }
  }
}

// Block of P = exp(scale*S - lse) and dS = P * (dP - delta) * scale for queries [q0, q0+nq) and keys [k0, k0+nk).
static void attn_bwd_block(float *p, float *ds, const float *lse, size_t ldl, const float *delta, size_t q0, size_t nq,
                           size_t k0, size_t nk, float scale) {
  for (size_t r = 0; r < nq; r++, p += ATT_BK, ds += ATT_BK) {
    size_t seen = q0 + r + 1 <= k0 ? 0 : q0 + r + 1 - k0;
    if (seen > nk) seen = nk;
    for (size_t j = seen; j < ATT_BK; j++) p[j] = -INFINITY, ds[j] = 0;
    for (size_t j = 0; j < ATT_BK; j += VL) {
      vf e = v_exp(v_fma(v_ld(p + j), v_set(scale), v_set(-lse[r * ldl])));
      v_st(p + j, e);
      v_st(ds + j, e * (v_ld(ds + j) - delta[r]) * scale);
    }
  }
}

static void k_attn_bwd(const agrl_attn_args *a, size_t seq, size_t kv_head) {
  size_t t0 = a->start[seq], T = a->start[seq + 1] - t0, D = a->D, ldq = a->H * D, ldk = a->KV * D, G = a->H / a->KV;
  const float *k = a->k + t0 * ldk + kv_head * D, *v = a->v + t0 * ldk + kv_head * D;
  float *dk = a->dk + t0 * ldk + kv_head * D, *dv = a->dv + t0 * ldk + kv_head * D;
  float scale = 1.0f / sqrtf((float)D);
  float p[ATT_BQ * ATT_BK] __attribute__((aligned(64))), ds[ATT_BQ * ATT_BK] __attribute__((aligned(64)));
  for (size_t t = 0; t < T; t++) {
    memset(dk + t * ldk, 0, D * sizeof *dk);
    memset(dv + t * ldk, 0, D * sizeof *dv);
  }
  for (size_t h = kv_head * G; h < (kv_head + 1) * G; h++) {
    for (size_t q0 = 0; q0 < T; q0 += ATT_BQ) {
      size_t nq = T - q0 < ATT_BQ ? T - q0 : ATT_BQ, end = q0 + nq, at = (t0 + q0) * ldq + h * D;
      const float *q = a->q + at, *d_o = a->d_o + at, *o = a->o_in + at, *lse = a->lse_in + (t0 + q0) * a->H + h;
      float *dq = a->dq + at, delta[ATT_BQ];
      for (size_t r = 0; r < nq; r++) {
        vf s = {0};
        for (size_t d = 0; d < D; d += VL) s = v_fma(v_ldr(d_o + r * ldq + d, D - d), v_ldr(o + r * ldq + d, D - d), s);
        delta[r] = v_total(s);
        memset(dq + r * ldq, 0, D * sizeof *dq);
      }
      for (size_t k0 = 0; k0 < end; k0 += ATT_BK) {
        size_t nk = end - k0 < ATT_BK ? end - k0 : ATT_BK;
        attn_nt(p, ATT_BK, q, ldq, k + k0 * ldk, ldk, nq, nk, D);
        attn_nt(ds, ATT_BK, d_o, ldq, v + k0 * ldk, ldk, nq, nk, D);
        attn_bwd_block(p, ds, lse, a->H, delta, q0, nq, k0, nk, scale);
        attn_nn(dq, ldq, ds, ATT_BK, 1, k + k0 * ldk, ldk, nq, nk, D);
        attn_nn(dv + k0 * ldk, ldk, p, 1, ATT_BK, d_o, ldq, nk, nq, D);
        attn_nn(dk + k0 * ldk, ldk, ds, 1, ATT_BK, q, ldq, nk, nq, D);
      }
    }
  }
}

// Queries of the G heads that share a key/value head, in blocks of ATT_BQ, over both segments as one run of keys.
static void k_attn_decode(const agrl_attn_args *a, size_t job, size_t kv_head) {
  const agrl_attn_seg *seg = a->jobs[job].seg;
  size_t D = a->D, G = a->H / a->KV, n = seg[0].len + seg[1].len;
  float scale = 1.0f / sqrtf((float)D);
  float s[ATT_BQ * ATT_BK] __attribute__((aligned(64)));
  for (size_t g0 = 0; g0 < G; g0 += ATT_BQ) {
    size_t ng = G - g0 < ATT_BQ ? G - g0 : ATT_BQ, at = (job * a->H + kv_head * G + g0) * D;
    const float *q = a->q + at;
    float *o = a->o + at;
    attn_row row[ATT_BQ];
    for (size_t r = 0; r < ng; r++) row[r] = (attn_row){-INFINITY, 0};
    memset(o, 0, ng * D * sizeof *o);
    for (size_t k0 = 0; k0 < n; k0 += ATT_BK) {
      size_t nk = n - k0 < ATT_BK ? n - k0 : ATT_BK;
      size_t in0 = k0 < seg[0].len ? (seg[0].len - k0 < nk ? seg[0].len - k0 : nk) : 0, in1 = nk - in0;
      size_t at0 = (kv_head * seg[0].cap + k0) * D, at1 = (kv_head * seg[1].cap + k0 + in0 - seg[0].len) * D;
      if (in0) attn_nt(s, ATT_BK, q, D, seg[0].k + at0, D, ng, in0, D);
      if (in1) attn_nt(s + in0, ATT_BK, q, D, seg[1].k + at1, D, ng, in1, D);
      for (size_t r = 0; r < ng; r++) attn_softmax_block(&row[r], s + r * ATT_BK, nk, scale, o + r * D, D);
      if (in0) attn_nn(o, D, s, ATT_BK, 1, seg[0].v + at0, D, ng, in0, D);
      if (in1) attn_nn(o, D, s + in0, ATT_BK, 1, seg[1].v + at1, D, ng, in1, D);
    }
    for (size_t r = 0; n && r < ng; r++) (void)attn_finish(&row[r], o + r * D, D);
  }
}

#endif
