// SPDX-License-Identifier: Apache-2.0
// Kernel bodies of causal attention: forward over packed sequences, backward, and decode over segments. Included once
// by each kernels_<isa>.c. Softmax runs online over blocks of ATT_BK keys counted from the sequence's first; a row's
// result depends on its query and keys only, so decode of a token equals, bit by bit, its row in the forward pass.
#ifndef AGRL_TENSOR_BODY_ATTN_H
#define AGRL_TENSOR_BODY_ATTN_H

#include "common/tensor/kernels.h"
#include "common/tensor/vec.h"
#include "common/tensor/vec_shuffle.h"

#define ATT_BQ 32
#define ATT_BK 64

#define ATT_BD 64  // dimensions of a transposed tile of keys

#define NN_DV (VL == 16 ? 4 : 2)  // vectors of columns in a tile of 4 rows

// mr rows of c, dv vectors from column d: c += a b, a(m,k) at a[m*rs + k*cs], b(K, .) with row stride ldb.
VINLINE void attn_axpy(float *c, size_t ldc, int mr, int dv, const float *a, size_t rs, size_t cs, const float *b,
                       size_t ldb, size_t K, size_t left) {
  vf acc[4][4];
#pragma GCC unroll 4
  for (int m = 0; m < mr; m++)
#pragma GCC unroll 4
    for (int v = 0; v < dv; v++) acc[m][v] = v_ldr(c + (size_t)m * ldc + v * VL, left - (size_t)v * VL);
  for (size_t k = 0; k < K; k++) {
    vf bv[4];
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

// One strip of dv vectors of columns, all rows.
VINLINE void attn_strip(float *c, size_t ldc, int dv, const float *a, size_t rs, size_t cs, const float *b, size_t ldb,
                        size_t M, size_t K, size_t left) {
  size_t m = 0;
  for (; m + 4 <= M; m += 4) attn_axpy(c + m * ldc, ldc, 4, dv, a + m * rs, rs, cs, b, ldb, K, left);
  if (M - m == 3) attn_axpy(c + m * ldc, ldc, 3, dv, a + m * rs, rs, cs, b, ldb, K, left);
  else if (M - m == 2) attn_axpy(c + m * ldc, ldc, 2, dv, a + m * rs, rs, cs, b, ldb, K, left);
  else if (M - m == 1) attn_axpy(c + m * ldc, ldc, 1, dv, a + m * rs, rs, cs, b, ldb, K, left);
}

// c(M,D) += a(M,K) b(K,D); every element sums over k in order.
static void attn_nn(float *c, size_t ldc, const float *a, size_t rs, size_t cs, const float *b, size_t ldb, size_t M,
                    size_t K, size_t D) {
  size_t d = 0, wide = NN_DV * VL;
  for (; d + wide <= D; d += wide) attn_strip(c + d, ldc, NN_DV, a, rs, cs, b + d, ldb, M, K, wide);
  for (; d + VL <= D; d += VL) attn_strip(c + d, ldc, 1, a, rs, cs, b + d, ldb, M, K, VL);
  if (d < D) attn_strip(c + d, ldc, 1, a, rs, cs, b + d, ldb, M, K, D - d);
}

// kt(dn, ATT_BK) = the transpose of nk rows' elements [d0, d0+dn); columns from nk to the next multiple of VL are 0.
static void attn_transpose(float *kt, const float *const *rows, size_t nk, size_t d0, size_t dn) {
  for (size_t j = 0; j < nk; j += VL) {
    for (size_t d = 0; d < dn; d += VL) {
      vf tile[VL];
      float *out = kt + d * ATT_BK + j;
      if (nk - j >= VL && dn - d >= VL) {
#pragma GCC unroll 16
        for (size_t i = 0; i < VL; i++) tile[i] = v_ld(rows[j + i] + d0 + d);
        v_transpose(tile);
#pragma GCC unroll 16
        for (size_t i = 0; i < VL; i++) v_st(out + i * ATT_BK, tile[i]);
      } else {
        for (size_t i = 0; i < VL; i++) tile[i] = j + i < nk ? v_ldr(rows[j + i] + d0 + d, dn - d) : (vf){0};
        v_transpose(tile);
        for (size_t i = 0; i < VL && d + i < dn; i++) v_st(out + i * ATT_BK, tile[i]);
      }
    }
  }
}

// s(M, ATT_BK) = q(M,D) rows(nk,D)^T; every score sums over D in order. Columns from nk on are undefined.
static void attn_scores(float *s, const float *q, size_t ldq, const float *const *rows, size_t M, size_t nk, size_t D) {
  float kt[ATT_BD * ATT_BK] __attribute__((aligned(64)));
  size_t cols = (nk + VL - 1) / VL * VL;
  for (size_t m = 0; m < M; m++) memset(s + m * ATT_BK, 0, cols * sizeof *s);
  for (size_t d0 = 0; d0 < D; d0 += ATT_BD) {
    size_t dn = D - d0 < ATT_BD ? D - d0 : ATT_BD;
    attn_transpose(kt, rows, nk, d0, dn);
    attn_nn(s, ATT_BK, q + d0, ldq, 1, kt, ATT_BK, M, dn, cols);
  }
}

static void attn_rows(const float **rows, const float *k, size_t ldk, size_t n) {
  for (size_t j = 0; j < n; j++) rows[j] = k + j * ldk;
}

typedef struct attn_row {
  float top, sum;  // running maximum of the scaled scores, and sum of exp(score - top)
} attn_row;

// One block of a row's scores: s(ATT_BK), the first n valid, becomes exp(scale*s - top); o(D) is rescaled to the new
// top.
static void attn_softmax_block(attn_row *r, float *s, size_t n, float scale, float *o, size_t D) {
  vf top = v_set(-INFINITY), sum = {0};
  size_t end = (n + VL - 1) / VL * VL;
  for (size_t j = n; j < end; j++) s[j] = -INFINITY;
  for (size_t j = 0; j < end; j += VL) {
    vf z = v_ld(s + j) * scale;
    v_st(s + j, z);
    top = v_max(top, z);
  }
  float t = v_maximum(top);
  if (t < r->top) t = r->top;
  for (size_t j = 0; j < end; j += VL) {
    vf p = v_exp(v_ld(s + j) - t);
    v_st(s + j, p);
    sum += p;
  }
  for (size_t j = end; j < ATT_BK; j += VL) v_st(s + j, (vf){0});
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
  float s[ATT_BQ * ATT_BK] __attribute__((aligned(64))), scale = 1.0f / sqrtf((float)D);
  const float *rows[ATT_BK];
  for (size_t q0 = 0; q0 < T; q0 += ATT_BQ) {
    size_t nq = T - q0 < ATT_BQ ? T - q0 : ATT_BQ, end = q0 + nq;
    attn_row row[ATT_BQ];
    for (size_t r = 0; r < nq; r++) {
      row[r] = (attn_row){-INFINITY, 0};
      memset(o + (q0 + r) * ldq, 0, D * sizeof *o);
    }
    for (size_t k0 = 0; k0 < end; k0 += ATT_BK) {
      size_t nk = end - k0 < ATT_BK ? end - k0 : ATT_BK;
      attn_rows(rows, k + k0 * ldk, ldk, nk);
      attn_scores(s, q + q0 * ldq, ldq, rows, nq, nk, D);
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

// What a block of ATT_BK keys does to one block of queries of one head, and they to it.
static void attn_bwd_pair(const agrl_attn_args *a, size_t t0, size_t q0, size_t nq, size_t h, size_t k0, size_t nk,
                          const float *const *k_rows, const float *const *v_rows) {
  float p[ATT_BQ * ATT_BK] __attribute__((aligned(64))), ds[ATT_BQ * ATT_BK] __attribute__((aligned(64)));
  float delta[ATT_BQ], scale = 1.0f / sqrtf((float)a->D);
  size_t D = a->D, ldq = a->H * D, ldk = a->KV * D, at = (t0 + q0) * ldq + h * D;
  size_t at_k = (t0 + k0) * ldk + h / (a->H / a->KV) * D;
  const float *q = a->q + at, *d_o = a->d_o + at, *o = a->o_in + at, *lse = a->lse_in + (t0 + q0) * a->H + h;
  for (size_t r = 0; r < nq; r++) {
    vf s = {0};
    for (size_t d = 0; d < D; d += VL) s = v_fma(v_ldr(d_o + r * ldq + d, D - d), v_ldr(o + r * ldq + d, D - d), s);
    delta[r] = v_total(s);
  }
  attn_scores(p, q, ldq, k_rows, nq, nk, D);
  attn_scores(ds, d_o, ldq, v_rows, nq, nk, D);
  attn_bwd_block(p, ds, lse, a->H, delta, q0, nq, k0, nk, scale);
  attn_nn(a->dq + at, ldq, ds, ATT_BK, 1, a->k + at_k, ldk, nq, nk, D);
  attn_nn(a->dv + at_k, ldk, p, 1, ATT_BK, d_o, ldq, nk, nq, D);
  attn_nn(a->dk + at_k, ldk, ds, 1, ATT_BK, q, ldq, nk, nq, D);
}

static void k_attn_bwd(const agrl_attn_args *a, size_t seq, size_t kv_head) {
  size_t t0 = a->start[seq], T = a->start[seq + 1] - t0, D = a->D, ldk = a->KV * D, G = a->H / a->KV;
  const float *k_rows[ATT_BK], *v_rows[ATT_BK];
  for (size_t t = t0; t < t0 + T; t++) {
    memset(a->dk + t * ldk + kv_head * D, 0, D * sizeof(float));
    memset(a->dv + t * ldk + kv_head * D, 0, D * sizeof(float));
    memset(a->dq + (t * a->H + kv_head * G) * D, 0, G * D * sizeof(float));
  }
  for (size_t k0 = 0; k0 < T; k0 += ATT_BK) {
    size_t nk = T - k0 < ATT_BK ? T - k0 : ATT_BK;
    attn_rows(k_rows, a->k + (t0 + k0) * ldk + kv_head * D, ldk, nk);
    attn_rows(v_rows, a->v + (t0 + k0) * ldk + kv_head * D, ldk, nk);
    for (size_t h = kv_head * G; h < (kv_head + 1) * G; h++) {
      for (size_t q0 = k0; q0 < T; q0 += ATT_BQ) {  // earlier queries see none of these keys
        size_t nq = T - q0 < ATT_BQ ? T - q0 : ATT_BQ;
        attn_bwd_pair(a, t0, q0, nq, h, k0, nk < q0 + nq - k0 ? nk : q0 + nq - k0, k_rows, v_rows);
      }
    }
  }
}

// Queries of the G heads that share a key/value head, in blocks of ATT_BQ, over both segments as one run of keys.
static void k_attn_decode(const agrl_attn_args *a, size_t job, size_t kv_head) {
  const agrl_attn_seg *seg = a->jobs[job].seg;
  size_t D = a->D, G = a->H / a->KV, n = seg[0].len + seg[1].len;
  float s[ATT_BQ * ATT_BK] __attribute__((aligned(64))), scale = 1.0f / sqrtf((float)D);
  const float *rows[ATT_BK];
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
      if (in0) attn_rows(rows, seg[0].k + at0, D, in0);
      if (in1) attn_rows(rows + in0, seg[1].k + at1, D, in1);
      attn_scores(s, q, D, rows, ng, nk, D);
      for (size_t r = 0; r < ng; r++) attn_softmax_block(&row[r], s + r * ATT_BK, nk, scale, o + r * D, D);
      if (in0) attn_nn(o, D, s, ATT_BK, 1, seg[0].v + at0, D, ng, in0, D);
      if (in1) attn_nn(o, D, s + in0, ATT_BK, 1, seg[1].v + at1, D, ng, in1, D);
    }
    for (size_t r = 0; n && r < ng; r++) (void)attn_finish(&row[r], o + r * D, D);
  }
}

#endif
