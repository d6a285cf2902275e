// SPDX-License-Identifier: Apache-2.0
// Kernel bodies of causal attention, see attn.h: forward over packed segments, backward, and decode over cached keys.
// Included once by each kernels_<isa>.c. Forward and backward transpose a block of keys once for all the rows that a
// job puts against it; the cache holds keys transposed.
#ifndef AGRL_TENSOR_BODY_ATTN_H
#define AGRL_TENSOR_BODY_ATTN_H

#include "common/tensor/kernels.h"
#include "common/tensor/vec.h"
#include "common/tensor/vec_shuffle.h"

#define ATT_BQ 32
#define ATT_BK AGRL_ATTN_BLOCK
#define ATT_G AGRL_ATTN_GROUP

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

// kt(D, ATT_BK) = the transpose of nk rows of D elements; columns from nk to the next multiple of VL are 0.
static void attn_transpose(float *kt, const float *const *rows, size_t nk, size_t D) {
  for (size_t j = 0; j < nk; j += VL) {
    for (size_t d = 0; d < D; d += VL) {
      vf tile[VL];
      float *out = kt + d * ATT_BK + j;
      if (nk - j >= VL && D - d >= VL) {
#pragma GCC unroll 16
        for (size_t i = 0; i < VL; i++) tile[i] = v_ld(rows[j + i] + d);
        v_transpose(tile);
#pragma GCC unroll 16
        for (size_t i = 0; i < VL; i++) v_st(out + i * ATT_BK, tile[i]);
      } else {
        for (size_t i = 0; i < VL; i++) tile[i] = j + i < nk ? v_ldr(rows[j + i] + d, D - d) : (vf){0};
        v_transpose(tile);
        for (size_t i = 0; i < VL && d + i < D; i++) v_st(out + i * ATT_BK, tile[i]);
      }
    }
  }
}

// s(M, ATT_BK) = q(M,D) kt(D, ATT_BK); every score sums over D in order. Columns from nk on are undefined.
static void attn_scores(float *s, const float *q, size_t ldq, const float *kt, size_t M, size_t nk, size_t D) {
  size_t cols = (nk + VL - 1) / VL * VL;
  for (size_t m = 0; m < M; m++) memset(s + m * ATT_BK, 0, cols * sizeof *s);
  attn_nn(s, ATT_BK, q, ldq, 1, kt, ATT_BK, M, D, cols);
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
  float keep = r->top == t ? 1.0f : v_exp(v_set(r->top - t))[0];  // exp(0) is exactly 1
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

// Rows [q0,q1) of segment seg, one head. n0 keys come from the parent.
static void attn_segment(const agrl_attn_args *a, size_t seg, size_t q0, size_t q1, size_t head) {
  const agrl_attn_segs *g = &a->segs;
  size_t D = a->D, ldq = a->H * D, ldk = a->KV * D, t0 = g->start[seg], own = head / (a->H / a->KV) * D, n0 = 0;
  const float *k = a->k + t0 * ldk + own, *v = a->v + t0 * ldk + own, *k_up = k, *v_up = v;
  if (g->parent != NULL && g->parent[seg] >= 0) {
    size_t up = (size_t)g->parent[seg];
    n0 = g->start[up + 1] - g->start[up];
    k_up = a->k + g->start[up] * ldk + own;
    v_up = a->v + g->start[up] * ldk + own;
  }
  const float *q = a->q + t0 * ldq + head * D, *rows[ATT_BK];
  float *o = a->o + t0 * ldq + head * D, scale = 1.0f / sqrtf((float)D);
  float s[ATT_BQ * ATT_BK] __attribute__((aligned(64))), kt[D * ATT_BK] __attribute__((aligned(64)));
  attn_row row[ATTN_ROWS];
  for (size_t r = q0; r < q1; r++) {
    row[r - q0] = (attn_row){-INFINITY, 0};
    memset(o + r * ldq, 0, D * sizeof *o);
  }
  for (size_t k0 = 0; k0 < n0 + q1; k0 += ATT_BK) {
    size_t nk = n0 + q1 - k0 < ATT_BK ? n0 + q1 - k0 : ATT_BK, up = k0 < n0 ? (n0 - k0 < nk ? n0 - k0 : nk) : 0;
    attn_rows(rows, k_up + k0 * ldk, ldk, up);
    attn_rows(rows + up, k + (k0 + up - n0) * ldk, ldk, nk - up);
    attn_transpose(kt, rows, nk, D);
    for (size_t b = q0; b < q1; b += ATT_BQ) {
      size_t nq = q1 - b < ATT_BQ ? q1 - b : ATT_BQ, end = n0 + b + nq;
      if (end <= k0) continue;
      size_t n = end - k0 < nk ? end - k0 : nk, up_n = up < n ? up : n;
      attn_scores(s, q + b * ldq, ldq, kt, nq, n, D);
      for (size_t r = 0; r < nq; r++) {
        size_t seen = n0 + b + r + 1;  // keys this row sees
        float *sr = s + r * ATT_BK;
        if (seen <= k0) memset(sr, 0, ATT_BK * sizeof *s);
        else attn_softmax_block(&row[b - q0 + r], sr, seen - k0 < n ? seen - k0 : n, scale, o + (b + r) * ldq, D);
      }
      if (up_n > 0) attn_nn(o + b * ldq, ldq, s, ATT_BK, 1, v_up + k0 * ldk, ldk, nq, up_n, D);
      if (n > up_n) attn_nn(o + b * ldq, ldq, s + up_n, ATT_BK, 1, v + (k0 + up_n - n0) * ldk, ldk, nq, n - up_n, D);
    }
  }
  for (size_t r = q0; r < q1; r++) {
    float l = attn_finish(&row[r - q0], o + r * ldq, D);
    if (a->lse) a->lse[(t0 + r) * a->H + head] = l;
  }
}

static void k_attn(const agrl_attn_args *a, size_t t0, size_t t1, size_t head) {
  const size_t *start = a->segs.start;
  size_t lo = 0, hi = a->segs.n;  // the segment of row t0: start[lo] <= t0 < start[hi]
  while (hi - lo > 1) {
    size_t mid = (lo + hi) / 2;
    if (start[mid] <= t0) lo = mid;
    else hi = mid;
  }
  for (; t0 < t1; lo++) {
    size_t end = start[lo + 1] < t1 ? start[lo + 1] : t1;
    if (end > t0) attn_segment(a, lo, t0 - start[lo], end - start[lo], head);
    t0 = end;
  }
}

// Block of P = exp(scale*S - lse) and dS = P * (dP - delta) * scale: row r sees the first seen + r of nk keys.
static void attn_bwd_block(float *p, float *ds, const float *lse, const float *delta, size_t ldl, size_t nq, size_t nk,
                           size_t seen, float scale) {
  size_t end = (nk + VL - 1) / VL * VL;
  for (size_t r = 0; r < nq; r++, p += ATT_BK, ds += ATT_BK) {
    for (size_t j = seen + r < nk ? seen + r : nk; j < end; j++) p[j] = -INFINITY, ds[j] = 0;
    for (size_t j = 0; j < end; j += VL) {
      vf e = v_exp(v_fma(v_ld(p + j), v_set(scale), v_set(-lse[r * ldl])));
      v_st(p + j, e);
      v_st(ds + j, e * (v_ld(ds + j) - delta[r * ldl]) * scale);
    }
  }
}

// What nk keys from row k0 (kt, vt: transposed) do to rows [q0, q1) of one head, and they to them. Row q0 sees the first
// `seen` of them, each further row one more.
static void attn_bwd_rows(const agrl_attn_args *a, size_t q0, size_t q1, size_t h, size_t k0, size_t nk, size_t seen,
                          const float *kt, const float *vt) {
  float p[ATT_BQ * ATT_BK] __attribute__((aligned(64))), ds[ATT_BQ * ATT_BK] __attribute__((aligned(64)));
  size_t D = a->D, ldq = a->H * D, ldk = a->KV * D, at_k = k0 * ldk + h / (a->H / a->KV) * D;
  for (size_t t = q0; t < q1; t += ATT_BQ, seen += ATT_BQ) {
    size_t nq = q1 - t < ATT_BQ ? q1 - t : ATT_BQ, at = t * ldq + h * D;
    size_t n = seen + nq - 1 < nk ? seen + nq - 1 : nk;
    attn_scores(p, a->q + at, ldq, kt, nq, n, D);
    attn_scores(ds, a->d_o + at, ldq, vt, nq, n, D);
    attn_bwd_block(p, ds, a->lse_in + t * a->H + h, a->delta + t * a->H + h, a->H, nq, n, seen, 1.0f / sqrtf((float)D));
    attn_nn(a->dq + at, ldq, ds, ATT_BK, 1, a->k + at_k, ldk, nq, n, D);
    attn_nn(a->dv + at_k, ldk, p, 1, ATT_BK, a->d_o + at, ldq, n, nq, D);
    attn_nn(a->dk + at_k, ldk, ds, 1, ATT_BK, a->q + at, ldq, n, nq, D);
  }
}

static void attn_bwd_begin(const agrl_attn_args *a, size_t t0, size_t t1, size_t kv_head) {
  size_t D = a->D, ldk = a->KV * D, G = a->H / a->KV;
  for (size_t t = t0; t < t1; t++) {
    memset(a->dk + t * ldk + kv_head * D, 0, D * sizeof(float));
    memset(a->dv + t * ldk + kv_head * D, 0, D * sizeof(float));
    memset(a->dq + (t * a->H + kv_head * G) * D, 0, G * D * sizeof(float));
    for (size_t h = kv_head * G; h < (kv_head + 1) * G; h++) {
      const float *d_o = a->d_o + (t * a->H + h) * D, *o = a->o_in + (t * a->H + h) * D;
      vf s = {0};
      for (size_t d = 0; d < D; d += VL) s = v_fma(v_ldr(d_o + d, D - d), v_ldr(o + d, D - d), s);
      a->delta[t * a->H + h] = v_total(s);
    }
  }
}

// Keys of [t0, t1) against the rows of their own segment, then against rows [t1, below), which see them all.
static void attn_bwd_keys(const agrl_attn_args *a, size_t t0, size_t t1, size_t below, size_t kv_head) {
  size_t D = a->D, ldk = a->KV * D, G = a->H / a->KV;
  const float *rows[ATT_BK];
  float kt[D * ATT_BK] __attribute__((aligned(64))), vt[D * ATT_BK] __attribute__((aligned(64)));
  for (size_t k0 = t0; k0 < t1; k0 += ATT_BK) {
    size_t nk = t1 - k0 < ATT_BK ? t1 - k0 : ATT_BK;
    attn_rows(rows, a->k + k0 * ldk + kv_head * D, ldk, nk);
    attn_transpose(kt, rows, nk, D);
    attn_rows(rows, a->v + k0 * ldk + kv_head * D, ldk, nk);
    attn_transpose(vt, rows, nk, D);
    for (size_t h = kv_head * G; h < (kv_head + 1) * G; h++) {
      attn_bwd_rows(a, k0, t1, h, k0, nk, 1, kt, vt);
      attn_bwd_rows(a, t1, below, h, k0, nk, nk, kt, vt);
    }
  }
}

static void k_attn_bwd(const agrl_attn_args *a, size_t root, size_t kv_head) {
  const agrl_attn_segs *g = &a->segs;
  size_t end = root + 1;
  while (end < g->n && g->parent != NULL && g->parent[end] >= 0) end++;
  attn_bwd_begin(a, g->start[root], g->start[end], kv_head);
  attn_bwd_keys(a, g->start[root], g->start[root + 1], g->start[end], kv_head);
  for (size_t s = root + 1; s < end; s++) attn_bwd_keys(a, g->start[s], g->start[s + 1], g->start[s + 1], kv_head);
}

// mr rows of s, nv vectors of columns from `at`: s = q(.,D) . keys, the groups of keys transposed and given one by one.
VINLINE void attn_group_tile(float *s, const float *q, int mr, int nv, const float *const *groups, size_t at, size_t D) {
  vf acc[4][4] = {{{0}}};
  const float *k[4];
#pragma GCC unroll 4
  for (int v = 0; v < nv; v++) k[v] = groups[(at + (size_t)v * VL) / ATT_G] + (at + (size_t)v * VL) % ATT_G;
  for (size_t d = 0; d < D; d++) {
    vf kv[4];
#pragma GCC unroll 4
    for (int v = 0; v < nv; v++) kv[v] = v_ld(k[v] + d * ATT_G);
#pragma GCC unroll 4
    for (int m = 0; m < mr; m++) {
      vf x = v_set(q[(size_t)m * D + d]);
#pragma GCC unroll 4
      for (int v = 0; v < nv; v++) acc[m][v] = v_fma(x, kv[v], acc[m][v]);
    }
  }
#pragma GCC unroll 4
  for (int m = 0; m < mr; m++)
#pragma GCC unroll 4
    for (int v = 0; v < nv; v++) v_st(s + (size_t)m * ATT_BK + at + v * VL, acc[m][v]);
}

VINLINE void attn_group_strip(float *s, const float *q, size_t M, int nv, const float *const *groups, size_t at, size_t D) {
  size_t m = 0;
  for (; m + 4 <= M; m += 4) attn_group_tile(s + m * ATT_BK, q + m * D, 4, nv, groups, at, D);
  if (M - m == 3) attn_group_tile(s + m * ATT_BK, q + m * D, 3, nv, groups, at, D);
  else if (M - m == 2) attn_group_tile(s + m * ATT_BK, q + m * D, 2, nv, groups, at, D);
  else if (M - m == 1) attn_group_tile(s + m * ATT_BK, q + m * D, 1, nv, groups, at, D);
}

// s(M, ATT_BK) of up to four groups of keys; the same sums as attn_scores.
static void attn_group_scores(float *s, const float *q, size_t M, const float *const *groups, size_t nk, size_t D) {
  size_t at = 0, cols = (nk + VL - 1) / VL * VL, wide = NN_DV * VL;
  for (; at + wide <= cols; at += wide) attn_group_strip(s, q, M, NN_DV, groups, at, D);
  for (; at < cols; at += VL) attn_group_strip(s, q, M, 1, groups, at, D);
}

// M queries that see the same keys of seq: q and o (M,D), keys [k0, end).
static void attn_cached(const agrl_attn_args *a, const agrl_attn_seq *seq, size_t kv_head, attn_row *row, const float *q,
                        float *o, size_t M, size_t k0, size_t end) {
  float s[ATT_BQ * ATT_BK] __attribute__((aligned(64))), scale = 1.0f / sqrtf((float)a->D);
  const float *groups[ATT_BK / ATT_G];
  size_t D = a->D, n0 = seq->n_shared, cut = n0 / ATT_G;
  const float *up = seq->shared.k + kv_head * seq->shared.groups * D * ATT_G;
  const float *own = seq->own.k + kv_head * seq->own.groups * D * ATT_G;
  for (; k0 < end; k0 += ATT_BK) {
    size_t nk = end - k0 < ATT_BK ? end - k0 : ATT_BK, v_up = k0 < n0 ? (n0 - k0 < nk ? n0 - k0 : nk) : 0;
    for (size_t g = 0; g * ATT_G < nk; g++) {
      size_t at = k0 / ATT_G + g;
      groups[g] = at < cut ? up + at * D * ATT_G : own + (at - cut) * D * ATT_G;
    }
    attn_group_scores(s, q, M, groups, nk, D);
    for (size_t r = 0; r < M; r++) attn_softmax_block(&row[r], s + r * ATT_BK, nk, scale, o + r * D, D);
    if (v_up > 0)
      attn_nn(o, D, s, ATT_BK, 1, seq->shared.v + (kv_head * seq->shared.cap + k0) * D, D, M, v_up, D);
    if (nk > v_up)
      attn_nn(o, D, s + v_up, ATT_BK, 1, seq->own.v + (kv_head * seq->own.cap + k0 + v_up - n0) * D, D, M, nk - v_up, D);
  }
}

// All queries of the part run over the prefix's full blocks together, then each sequence goes on alone.
static void k_attn_decode(const agrl_attn_args *a, const agrl_attn_part *part) {
  size_t D = a->D, nh = part->n_heads, M = (part->end - part->first) * nh, kv_head = part->head / (a->H / a->KV);
  const agrl_attn_seq *seqs = a->seqs + part->first;
  float rows[2 * M * D], *q = rows, *o = rows + M * D;
  attn_row row[ATT_BQ];
  memset(rows, 0, sizeof rows);
  for (size_t m = 0; m < M; m++) {
    row[m] = (attn_row){-INFINITY, 0};
    memcpy(q + m * D, a->q + (seqs[m / nh].row * a->H + part->head + m % nh) * D, D * sizeof *q);
  }
  size_t full = seqs[0].n_shared / ATT_BK * ATT_BK;
  attn_cached(a, &seqs[0], kv_head, row, q, o, M, 0, full);
  for (size_t i = 0; i * nh < M; i++) {
    float *out = a->o + (seqs[i].row * a->H + part->head) * D;
    attn_cached(a, &seqs[i], kv_head, row + i * nh, q + i * nh * D, o + i * nh * D, nh, full, seqs[i].n);
    for (size_t h = 0; h < nh; h++) (void)attn_finish(&row[i * nh + h], o + (i * nh + h) * D, D);
    memcpy(out, o + i * nh * D, nh * D * sizeof *o);
  }
}

#endif
