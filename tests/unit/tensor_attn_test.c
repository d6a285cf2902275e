// SPDX-License-Identifier: Apache-2.0
// Attention kernels of every instruction set: forward against a double reference over packed segments, with and without
// shared parents; a shared parent changes no bit of a row; backward against central differences; decode equals the
// forward row bit by bit wherever the prefix ends, whichever sequences run together, for any number of threads.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/tensor/attn.h"
#include "tests/lib/tensor_check.h"

typedef struct ctx {
  agrl_attn_segs segs;
  size_t H, KV, D, T;
  double *q, *k, *v, *o, *lse;
  const float *d_o;
} ctx;

// Row of the key at position j of segment s.
static size_t key_row(const ctx *c, size_t s, size_t j) {
  const agrl_attn_segs *g = &c->segs;
  if (g->parent == NULL || g->parent[s] < 0) return g->start[s] + j;
  size_t up = (size_t)g->parent[s], n0 = g->start[up + 1] - g->start[up];
  return j < n0 ? g->start[up] + j : g->start[s] + j - n0;
}

static size_t keys_of(const ctx *c, size_t s, size_t t) {
  size_t n = t - c->segs.start[s] + 1;
  if (c->segs.parent == NULL || c->segs.parent[s] < 0) return n;
  size_t up = (size_t)c->segs.parent[s];
  return n + c->segs.start[up + 1] - c->segs.start[up];
}

static void reference(ctx *c) {
  size_t G = c->H / c->KV, D = c->D;
  for (size_t s = 0; s < c->segs.n; s++) {
    for (size_t t = c->segs.start[s]; t < c->segs.start[s + 1]; t++) {
      for (size_t h = 0; h < c->H; h++) {
        const double *q = c->q + (t * c->H + h) * D;
        double p[600], top = -INFINITY, sum = 0, *o = c->o + (t * c->H + h) * D;
        size_t n = keys_of(c, s, t);
        for (size_t j = 0; j < n; j++) {
          double dot = 0;
          for (size_t d = 0; d < D; d++) dot += q[d] * c->k[(key_row(c, s, j) * c->KV + h / G) * D + d];
          p[j] = dot / sqrt((double)D);
          top = fmax(top, p[j]);
        }
        for (size_t d = 0; d < D; d++) o[d] = 0;
        for (size_t j = 0; j < n; j++) {
          double e = exp(p[j] - top);
          sum += e;
          for (size_t d = 0; d < D; d++) o[d] += e * c->v[(key_row(c, s, j) * c->KV + h / G) * D + d];
        }
        for (size_t d = 0; d < D; d++) o[d] /= sum;
        c->lse[t * c->H + h] = top + log(sum);
      }
    }
  }
}

static double loss(void *arg) {
  ctx *c = arg;
  double s = 0;
  reference(c);
  for (size_t i = 0; i < c->T * c->H * c->D; i++) s += (double)c->d_o[i] * c->o[i];
  return s;
}

typedef struct arrays {
  float *q, *k, *v, *o, *lse, *d_o, *dq, *dk, *dv, *delta;
  size_t nq, nk;
} arrays;

static void setup(ctx *c, arrays *a) {
  c->T = c->segs.start[c->segs.n];
  size_t nq = c->T * c->H * c->D, nk = c->T * c->KV * c->D;
  *a = (arrays){tc_floats(nq, 1, 1.5), tc_floats(nk, 2, 1.5), tc_floats(nk, 3, 1), tc_filled(nq, NAN),
                tc_filled(c->T * c->H, NAN), tc_floats(nq, 4, 1), tc_filled(nq, NAN), tc_filled(nk, NAN),
                tc_filled(nk, NAN), tc_filled(c->T * c->H, NAN), nq, nk};
  c->q = tc_doubles(a->q, nq), c->k = tc_doubles(a->k, nk), c->v = tc_doubles(a->v, nk);
  c->o = agrl_xcalloc(nq, 8), c->lse = agrl_xcalloc(c->T * c->H, 8);
  c->d_o = a->d_o;
  reference(c);
}

static void teardown(ctx *c, arrays *a) {
  free(a->q), free(a->k), free(a->v), free(a->o), free(a->lse), free(a->d_o), free(a->dq), free(a->dk), free(a->dv);
  free(a->delta), free(c->q), free(c->k), free(c->v), free(c->o), free(c->lse);
}

static void check_forward(const agrl_attn_segs *segs) {
  static const size_t shapes[][3] = {{1, 1, 1}, {4, 2, 20}, {3, 1, 64}, {2, 2, 37}, {6, 3, 72}, {2, 1, 130}};
  agrl_pool *two = agrl_pool_new(2);
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
    ctx c = {.segs = *segs, .H = shapes[s][0], .KV = shapes[s][1], .D = shapes[s][2]};
    arrays a;
    setup(&c, &a);
    float *o2 = agrl_xcalloc(a.nq, 4);
    FOR_EACH_CPU(cpu) {
      agrl_attn(NULL, a.o, a.lse, a.q, a.k, a.v, segs, c.H, c.KV, c.D);
      tc_near("attn o", a.o, c.o, a.nq, 5e-6);
      tc_near("attn lse", a.lse, c.lse, c.T * c.H, 2e-6);
      agrl_attn(two, o2, NULL, a.q, a.k, a.v, segs, c.H, c.KV, c.D);
      tc_same("attn, 2 threads", a.o, o2, a.nq * 4);
    }
    free(o2);
    teardown(&c, &a);
  }
  agrl_pool_free(two);
}

static void forward(void **state) {
  static const size_t start[] = {0, 1, 1, 34, 171, 300};  // lengths 1, 0, 33, 137, 129
  check_forward(&(agrl_attn_segs){5, start, NULL});
}

// Trees: a parent shorter than a block, one that ends on a block, one of several blocks, between roots without children.
static const size_t tree_start[] = {0, 5, 25, 26, 59, 60, 124, 130, 200, 201, 301, 371, 372};
static const int32_t tree_parent[] = {-1, 0, 0, 0, -1, -1, 5, 5, -1, -1, 9, 9};
static const agrl_attn_segs trees = {12, tree_start, tree_parent};

static void forward_trees(void **state) { check_forward(&trees); }

// Every segment with a parent alone, behind its own copy of the parent's rows: the same bits.
static void sharing_changes_no_bit(void **state) {
  ctx c = {.segs = trees, .H = 3, .KV = 1, .D = 24};
  arrays a;
  setup(&c, &a);
  const size_t qr = c.H * c.D, kr = c.KV * c.D;
  float *q = agrl_xcalloc(a.nq, 4), *k = agrl_xcalloc(a.nk, 4), *v = agrl_xcalloc(a.nk, 4), *o = agrl_xcalloc(a.nq, 4);
  FOR_EACH_CPU(cpu) {
    agrl_attn(NULL, a.o, NULL, a.q, a.k, a.v, &trees, c.H, c.KV, c.D);
    for (size_t s = 0; s < trees.n; s++) {
      const size_t len = tree_start[s + 1] - tree_start[s], n = keys_of(&c, s, tree_start[s + 1] - 1), whole[2] = {0, n};
      for (size_t j = 0; j < n; j++) {
        const size_t row = key_row(&c, s, j);
        memcpy(q + j * qr, a.q + row * qr, qr * 4);
        memcpy(k + j * kr, a.k + row * kr, kr * 4);
        memcpy(v + j * kr, a.v + row * kr, kr * 4);
      }
      agrl_attn(NULL, o, NULL, q, k, v, &(agrl_attn_segs){1, whole, NULL}, c.H, c.KV, c.D);
      tc_same("a segment and its copy", o + (n - len) * qr, a.o + tree_start[s] * qr, len * qr * 4);
    }
  }
  free(q), free(k), free(v), free(o);
  teardown(&c, &a);
}

static void check_backward(ctx *c, bool differences) {
  arrays a;
  agrl_pool *two = agrl_pool_new(2);
  setup(c, &a);
  float *dq = agrl_xcalloc(a.nq, 4), *dk = agrl_xcalloc(a.nk, 4), *dv = agrl_xcalloc(a.nk, 4);
  double *gq = agrl_xcalloc(a.nq, 8), *gk = agrl_xcalloc(a.nk, 8), *gv = agrl_xcalloc(a.nk, 8);
  if (differences) {
    tc_gradient(gq, c->q, a.nq, loss, c);
    tc_gradient(gk, c->k, a.nk, loss, c);
    tc_gradient(gv, c->v, a.nk, loss, c);
  }
  FOR_EACH_CPU(cpu) {
    agrl_attn(NULL, a.o, a.lse, a.q, a.k, a.v, &c->segs, c->H, c->KV, c->D);
    agrl_attn_bwd(NULL, a.dq, a.dk, a.dv, a.delta, a.d_o, a.q, a.k, a.v, a.o, a.lse, &c->segs, c->H, c->KV, c->D);
    if (differences) {
      tc_near("attn dq", a.dq, gq, a.nq, 3e-5);
      tc_near("attn dk", a.dk, gk, a.nk, 3e-5);
      tc_near("attn dv", a.dv, gv, a.nk, 3e-5);
    }
    agrl_attn_bwd(two, dq, dk, dv, a.delta, a.d_o, a.q, a.k, a.v, a.o, a.lse, &c->segs, c->H, c->KV, c->D);
    tc_same("attn dq, 2 threads", a.dq, dq, a.nq * 4);
    tc_same("attn dk, 2 threads", a.dk, dk, a.nk * 4);
    tc_same("attn dv, 2 threads", a.dv, dv, a.nk * 4);
  }
  free(dq), free(dk), free(dv), free(gq), free(gk), free(gv);
  agrl_pool_free(two);
  teardown(c, &a);
}

static void backward_differences(void **state) {
  static const size_t start[] = {0, 1, 12, 12, 19};
  check_backward(&(ctx){.segs = {4, start, NULL}, .H = 4, .KV = 2, .D = 5}, true);
  static const size_t longer[] = {0, 69};  // crosses the blocks of queries and of keys
  check_backward(&(ctx){.segs = {1, longer, NULL}, .H = 2, .KV = 1, .D = 3}, true);
}

static void backward_trees(void **state) {
  static const size_t start[] = {0, 6, 10, 17, 18, 20, 21};
  static const int32_t parent[] = {-1, 0, 0, 0, -1, -1};
  check_backward(&(ctx){.segs = {6, start, parent}, .H = 4, .KV = 2, .D = 5}, true);
  static const size_t longer[] = {0, 66, 106, 140};  // the parent ends inside a block, the children cross one
  static const int32_t above[] = {-1, 0, 0};
  check_backward(&(ctx){.segs = {3, longer, above}, .H = 2, .KV = 1, .D = 3}, true);
  check_backward(&(ctx){.segs = trees, .H = 6, .KV = 2, .D = 64}, false);
}

static void backward_threads(void **state) {
  static const size_t start[] = {0, 130, 201};
  check_backward(&(ctx){.segs = {2, start, NULL}, .H = 3, .KV = 1, .D = 64}, false);
}

// ---- decode

enum { LEN = 160, SEQS = 12 };

static agrl_attn_cache cache_of(size_t keys, size_t vals, size_t KV, size_t D) {  // NaN where nothing is put
  agrl_attn_cache c = {.groups = agrl_attn_groups(keys) + 1, .cap = vals + 1};
  c.k = tc_filled(KV * c.groups * AGRL_ATTN_GROUP * D, NAN);
  c.v = tc_filled(KV * c.cap * D, NAN);
  return c;
}

static void free_cache(agrl_attn_cache *c) { free(c->k), free(c->v); }

// Sequences over three prefixes of one long sequence's keys; seqs[i] ends at its own row of it.
static void decode_shape(agrl_pool *two, size_t H, size_t KV, size_t D, const size_t *cuts) {
  static const size_t start[] = {0, LEN};
  static const size_t own[SEQS] = {1, 20, 3, 64, 17, 1, 2, 60, 33, 5, 16, 15};
  ctx c = {.segs = {1, start, NULL}, .H = H, .KV = KV, .D = D};
  arrays a;
  setup(&c, &a);
  const size_t row = H * D, kr = KV * D;
  agrl_attn_seq seqs[SEQS];
  agrl_attn_cache shared[3];
  agrl_attn_part parts[SEQS * 9];
  float *q = tc_filled(SEQS * row, NAN), *o = agrl_xcalloc(SEQS * row, 4);
  for (size_t p = 0; p < 3; p++) {
    shared[p] = cache_of(cuts[p], cuts[p], KV, D);
    agrl_attn_put(&shared[p], 0, 0, a.k, a.v, cuts[p], KV, D);
  }
  for (size_t i = 0; i < SEQS; i++) {
    const size_t p = i / 4, cut = cuts[p], n = cut + own[i] < LEN ? cut + own[i] : LEN;
    seqs[i] = (agrl_attn_seq){.shared = shared[p], .own = cache_of(n - cut + cut % 16, n - cut, KV, D), .n_shared = cut, .n = n,
                              .row = (i * 5) % SEQS};
    agrl_attn_fork(&seqs[i].own, &shared[p], cut, KV, D);
    agrl_attn_put(&seqs[i].own, cut % 16, 0, a.k + cut * kr, a.v + cut * kr, n - cut, KV, D);
    memcpy(q + seqs[i].row * row, a.q + (n - 1) * row, row * 4);
  }
  FOR_EACH_CPU(cpu) {
    agrl_attn(NULL, a.o, NULL, a.q, a.k, a.v, &c.segs, H, KV, D);
    for (size_t n = 1; n <= SEQS; n += 11) {
      for (unsigned threads = 1; threads <= 8; threads *= 2) {
        for (size_t i = 0; i < SEQS * row; i++) o[i] = NAN;
        const size_t n_parts = agrl_attn_plan(parts, seqs, n, H, KV, threads);
        assert_true(n_parts <= n * H);
        agrl_attn_decode(two, o, q, seqs, parts, n_parts, H, KV, D);
        for (size_t i = 0; i < n; i++)
          tc_same("decode and forward", o + seqs[i].row * row, a.o + (seqs[i].n - 1) * row, row * 4);
      }
    }
  }
  for (size_t i = 0; i < SEQS; i++) free_cache(&seqs[i].own);
  for (size_t p = 0; p < 3; p++) free_cache(&shared[p]);
  free(q), free(o);
  teardown(&c, &a);
}

static void decode_equals_forward(void **state) {
  static const size_t shapes[][3] = {{1, 1, 7}, {6, 2, 64}, {9, 3, 20}, {5, 1, 33}};
  static const size_t cuts[][3] = {{1, 64, 100}, {15, 16, 63}, {65, 128, 150}, {48, 127, 81}};
  agrl_pool *two = agrl_pool_new(2);
  for (size_t s = 0; s < 4; s++)
    for (size_t u = 0; u < 4; u++) decode_shape(two, shapes[s][0], shapes[s][1], shapes[s][2], cuts[u]);
  agrl_pool_free(two);
}

// The plan covers every (sequence, head) once, keeps to one prefix and one key/value head, and feeds every thread.
static void plan_covers(void **state) {
  enum { N = 20 };
  float k[5];
  agrl_attn_seq seqs[N];
  static const size_t shapes[][2] = {{9, 3}, {1, 1}, {8, 8}, {40, 1}, {96, 2}};
  for (size_t s = 0; s < 5; s++) {
    const size_t H = shapes[s][0], KV = shapes[s][1], G = H / KV;
    agrl_attn_part *parts = agrl_xcalloc(N * H, sizeof *parts);
    for (size_t n = 1; n <= N; n++) {
      for (unsigned threads = 1; threads < 10; threads++) {
        int seen[N * 96] = {0};
        for (size_t i = 0; i < n; i++) seqs[i] = (agrl_attn_seq){.shared.k = &k[i / 8], .n = 9};
        const size_t np = agrl_attn_plan(parts, seqs, n, H, KV, threads);
        assert_true(np <= n * H);
        if (n * H >= 3 * threads && threads > 1) assert_true(np >= threads);
        for (size_t p = 0; p < np; p++) {
          const agrl_attn_part *w = &parts[p];
          assert_true(w->first < w->end && w->end <= n && w->first / 8 == (w->end - 1) / 8);
          assert_true(w->n_heads >= 1 && w->head / G == (w->head + w->n_heads - 1) / G && (w->end - w->first) * w->n_heads <= 32);
          for (size_t i = w->first; i < w->end; i++)
            for (size_t h = w->head; h < w->head + w->n_heads; h++) seen[i * H + h]++;
        }
        for (size_t i = 0; i < n * H; i++) assert_int_equal(seen[i], 1);
      }
    }
    free(parts);
  }
}

int main(void) {
  agrl_error err;
  if (agrl_tensor_init(&err) != AGRL_OK) return agrl_rc_exit(err.code);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(forward),          cmocka_unit_test(forward_trees),    cmocka_unit_test(sharing_changes_no_bit),
      cmocka_unit_test(backward_differences), cmocka_unit_test(backward_trees), cmocka_unit_test(backward_threads),
      cmocka_unit_test(decode_equals_forward), cmocka_unit_test(plan_covers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
