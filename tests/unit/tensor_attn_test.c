// SPDX-License-Identifier: Apache-2.0
// Attention kernels of every instruction set: forward against a double reference over packed sequences, backward
// against central differences of it, and decode equal to the forward row bit by bit wherever its segments are cut.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/lib/tensor_check.h"

typedef struct ctx {
  size_t n_seqs, H, KV, D, T;
  const size_t *start;
  double *q, *k, *v, *o, *lse;
  const float *d_o;
} ctx;

static void reference(ctx *c) {
  size_t G = c->H / c->KV, D = c->D;
  for (size_t s = 0; s < c->n_seqs; s++) {
    for (size_t t = c->start[s]; t < c->start[s + 1]; t++) {
      for (size_t h = 0; h < c->H; h++) {
        const double *q = c->q + (t * c->H + h) * D;
        double p[600], top = -INFINITY, sum = 0, *o = c->o + (t * c->H + h) * D;
        for (size_t j = c->start[s]; j <= t; j++) {
          double dot = 0;
          for (size_t d = 0; d < D; d++) dot += q[d] * c->k[(j * c->KV + h / G) * D + d];
          p[j - c->start[s]] = dot / sqrt((double)D);
          top = fmax(top, p[j - c->start[s]]);
        }
        for (size_t d = 0; d < D; d++) o[d] = 0;
        for (size_t j = c->start[s]; j <= t; j++) {
          double e = exp(p[j - c->start[s]] - top);
          sum += e;
          for (size_t d = 0; d < D; d++) o[d] += e * c->v[(j * c->KV + h / G) * D + d];
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
  float *q, *k, *v, *o, *lse, *d_o, *dq, *dk, *dv;
  size_t nq, nk;
} arrays;

static void setup(ctx *c, arrays *a) {
  size_t nq = c->T * c->H * c->D, nk = c->T * c->KV * c->D;
  *a = (arrays){tc_floats(nq, 1, 1.5), tc_floats(nk, 2, 1.5), tc_floats(nk, 3, 1), tc_filled(nq, NAN),
                tc_filled(c->T * c->H, NAN), tc_floats(nq, 4, 1), tc_filled(nq, NAN), tc_filled(nk, NAN),
                    tc_filled(nk, NAN),
                nq, nk};
  c->q = tc_doubles(a->q, nq), c->k = tc_doubles(a->k, nk), c->v = tc_doubles(a->v, nk);
  c->o = agrl_xcalloc(nq, 8), c->lse = agrl_xcalloc(c->T * c->H, 8);
  c->d_o = a->d_o;
  reference(c);
}

static void teardown(ctx *c, arrays *a) {
  free(a->q), free(a->k), free(a->v), free(a->o), free(a->lse), free(a->d_o), free(a->dq), free(a->dk), free(a->dv);
  free(c->q), free(c->k), free(c->v), free(c->o), free(c->lse);
}

static void forward(void **state) {
  static const size_t start[] = {0, 1, 1, 34, 171, 300};  // lengths 1, 0, 33, 137, 129
  static const size_t shapes[][3] = {{1, 1, 1}, {4, 2, 20}, {3, 1, 64}, {2, 2, 37}, {6, 3, 72}};
  agrl_pool *two = agrl_pool_new(2);
  for (size_t s = 0; s < 5; s++) {
    ctx c = {.n_seqs = 5, .H = shapes[s][0], .KV = shapes[s][1], .D = shapes[s][2], .T = 300, .start = start};
    arrays a;
    setup(&c, &a);
    float *o2 = agrl_xcalloc(a.nq, 4);
    FOR_EACH_CPU(cpu) {
      agrl_attn(NULL, a.o, a.lse, a.q, a.k, a.v, start, 5, c.H, c.KV, c.D);
      tc_near("attn o", a.o, c.o, a.nq, 5e-6);
      tc_near("attn lse", a.lse, c.lse, c.T * c.H, 2e-6);
      agrl_attn(two, o2, NULL, a.q, a.k, a.v, start, 5, c.H, c.KV, c.D);
      tc_same("attn, 2 threads", a.o, o2, a.nq * 4);
    }
    free(o2);
    teardown(&c, &a);
  }
  agrl_pool_free(two);
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
    agrl_attn(NULL, a.o, a.lse, a.q, a.k, a.v, c->start, c->n_seqs, c->H, c->KV, c->D);
    agrl_attn_bwd(NULL, a.dq, a.dk, a.dv, a.d_o, a.q, a.k, a.v, a.o, a.lse, c->start, c->n_seqs, c->H, c->KV, c->D);
    if (differences) {
      tc_near("attn dq", a.dq, gq, a.nq, 3e-5);
      tc_near("attn dk", a.dk, gk, a.nk, 3e-5);
      tc_near("attn dv", a.dv, gv, a.nk, 3e-5);
    }
    agrl_attn_bwd(two, dq, dk, dv, a.d_o, a.q, a.k, a.v, a.o, a.lse, c->start, c->n_seqs, c->H, c->KV, c->D);
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
  check_backward(&(ctx){.n_seqs = 4, .H = 4, .KV = 2, .D = 5, .T = 19, .start = start}, true);
  static const size_t longer[] = {0, 69};  // crosses the blocks of queries and of keys
  check_backward(&(ctx){.n_seqs = 1, .H = 2, .KV = 1, .D = 3, .T = 69, .start = longer}, true);
}

// For larger heads the sum over blocks is checked through linearity: the same gradients as for the sequence cut
// nowhere.
static void backward_threads(void **state) {
  static const size_t start[] = {0, 130, 201};
  check_backward(&(ctx){.n_seqs = 2, .H = 3, .KV = 1, .D = 64, .T = 201, .start = start}, false);
}

// Copies keys or values [from, from+len) of packed (T,KV,D) into a segment (KV,cap,D).
static float *segment(const float *x, size_t from, size_t len, size_t cap, size_t KV, size_t D) {
  float *s = tc_filled(KV * cap * D, NAN);
  for (size_t h = 0; h < KV; h++)
    for (size_t j = 0; j < len; j++) memcpy(s + (h * cap + j) * D, x + ((from + j) * KV + h) * D, D * 4);
  return s;
}

static void decode_equals_forward(void **state) {
  enum { T = 150 };
  static const size_t shapes[][3] = {{1, 1, 7}, {6, 2, 64}, {9, 3, 20}, {5, 1, 33}};
  static const size_t cuts[] = {0, 1, 63, 64, 65, 100, 149, 150};
  static const size_t start[] = {0, T};
  agrl_pool *two = agrl_pool_new(2);
  for (size_t s = 0; s < 4; s++) {
    ctx c = {.n_seqs = 1, .H = shapes[s][0], .KV = shapes[s][1], .D = shapes[s][2], .T = T, .start = start};
    arrays a;
    setup(&c, &a);
    size_t row = c.H * c.D;
    FOR_EACH_CPU(cpu) {
      agrl_attn(NULL, a.o, a.lse, a.q, a.k, a.v, start, 1, c.H, c.KV, c.D);
      agrl_attn_job jobs[8];
      float *q = agrl_xcalloc(8 * row, 4), *o = tc_filled(8 * row, NAN), *mem[32];
      for (size_t j = 0; j < 8; j++) {  // sequence j: cut at cuts[j], query at a row that sees the last key used
        size_t len = cuts[j] + 20 < T ? cuts[j] + 20 : T, own = len - cuts[j];
        mem[4 * j] = segment(a.k, 0, cuts[j], cuts[j] + 1, c.KV, c.D);
        mem[4 * j + 1] = segment(a.v, 0, cuts[j], cuts[j] + 1, c.KV, c.D);
        mem[4 * j + 2] = segment(a.k, cuts[j], own, own + 3, c.KV, c.D);
        mem[4 * j + 3] = segment(a.v, cuts[j], own, own + 3, c.KV, c.D);
        jobs[j] = (agrl_attn_job){{{mem[4 * j], mem[4 * j + 1], cuts[j] + 1, cuts[j]},
                                   {mem[4 * j + 2], mem[4 * j + 3], own + 3, own}}};
        memcpy(q + j * row, a.q + (len - 1) * row, row * 4);
      }
      agrl_attn_decode(two, o, q, jobs, 8, c.H, c.KV, c.D);
      for (size_t j = 0; j < 8; j++) {
        size_t len = cuts[j] + 20 < T ? cuts[j] + 20 : T;
        tc_same("decode and forward", o + j * row, a.o + (len - 1) * row, row * 4);
      }
      for (size_t j = 0; j < 32; j++) free(mem[j]);
      free(q), free(o);
    }
    teardown(&c, &a);
  }
  agrl_pool_free(two);
}

int main(void) {
  agrl_error err;
  if (agrl_tensor_init(&err) != AGRL_OK) return agrl_rc_exit(err.code);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(forward),
      cmocka_unit_test(backward_differences),
      cmocka_unit_test(backward_threads),
      cmocka_unit_test(decode_equals_forward),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
