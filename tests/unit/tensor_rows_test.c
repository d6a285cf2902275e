// SPDX-License-Identifier: Apache-2.0
// Row kernels of every instruction set (RMSNorm, rotary embedding, SwiGLU, log-softmax): forward against double
// references on odd sizes, backward against central differences of those references, one thread against two.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/lib/tensor_check.h"

typedef struct ctx {
  size_t M, D;
  double *x, *w, *u;
  const float *dy;
  const int32_t *target;
} ctx;

static double norm_at(const ctx *c, size_t m, size_t i) {
  double ss = 0;
  for (size_t j = 0; j < c->D; j++) ss += c->x[m * c->D + j] * c->x[m * c->D + j];
  return c->x[m * c->D + i] / sqrt(ss / (double)c->D + 1e-5) * c->w[i];
}

static double norm_loss(void *arg) {
  const ctx *c = arg;
  double s = 0;
  for (size_t m = 0; m < c->M; m++)
    for (size_t i = 0; i < c->D; i++) s += (double)c->dy[m * c->D + i] * norm_at(c, m, i);
  return s;
}

static void rmsnorm(void **state) {
  static const size_t shapes[][2] = {{1, 1}, {3, 7}, {5, 33}, {2, 64}, {9, 50}};
  for (size_t s = 0; s < 5; s++) {
    size_t M = shapes[s][0], D = shapes[s][1], n = M * D;
    float *x = tc_floats(n, 1, 2), *w = tc_floats(D, 2, 1), *dy = tc_floats(n, 3, 1), *y = agrl_xcalloc(n, 4);
    float *rstd = agrl_xcalloc(M, 4), *dx = agrl_xcalloc(n, 4), *dw = agrl_xcalloc(D, 4);
    ctx c = {.M = M, .D = D, .x = tc_doubles(x, n), .w = tc_doubles(w, D), .dy = dy};
    double *want = agrl_xcalloc(n, 8), *gx = agrl_xcalloc(n, 8), *gw = agrl_xcalloc(D, 8);
    for (size_t i = 0; i < n; i++) want[i] = norm_at(&c, i / D, i % D);
    tc_gradient(gx, c.x, n, norm_loss, &c);
    tc_gradient(gw, c.w, D, norm_loss, &c);
    for (size_t i = 0; i < n; i++) gx[i] += 1.5;  // gradients are added to what is there
    for (size_t i = 0; i < D; i++) gw[i] -= 0.5;
    FOR_EACH_CPU(cpu) {
      agrl_rmsnorm(NULL, y, rstd, x, w, M, D, 1e-5f);
      tc_near("rmsnorm", y, want, n, 2e-6);
      for (size_t i = 0; i < n; i++) dx[i] = 1.5f;
      for (size_t i = 0; i < D; i++) dw[i] = -0.5f;
      agrl_rmsnorm_bwd(NULL, dx, dw, dy, x, w, rstd, M, D);
      tc_near("rmsnorm dx", dx, gx, n, 2e-5);
      tc_near("rmsnorm dw", dw, gw, D, 2e-5);
    }
    free(x), free(w), free(dy), free(y), free(rstd), free(dx), free(dw), free(c.x), free(c.w), free(want), free(gx),
        free(gw);
  }
}

static double swiglu_loss(void *arg) {
  const ctx *c = arg;
  double s = 0;
  for (size_t i = 0; i < c->D; i++) s += (double)c->dy[i] * c->x[i] / (1 + exp(-c->x[i])) * c->u[i];
  return s;
}

static void swiglu(void **state) {
  enum { N = 77 };
  float *g = tc_floats(N, 4, 3), *u = tc_floats(N, 5, 1), *dy = tc_floats(N, 6, 1), y[N], dg[N], du[N];
  ctx c = {.D = N, .x = tc_doubles(g, N), .u = tc_doubles(u, N), .dy = dy};
  double want[N], gg[N], gu[N];
  for (size_t i = 0; i < N; i++) want[i] = c.x[i] / (1 + exp(-c.x[i])) * c.u[i];
  tc_gradient(gg, c.x, N, swiglu_loss, &c);
  tc_gradient(gu, c.u, N, swiglu_loss, &c);
  FOR_EACH_CPU(cpu) {
    agrl_swiglu(NULL, y, g, u, 7, 11);
    tc_near("swiglu", y, want, N, 1e-6);
    agrl_swiglu_bwd(NULL, dg, du, dy, g, u, 7, 11);
    tc_near("swiglu dg", dg, gg, N, 1e-5);
    tc_near("swiglu du", du, gu, N, 1e-5);
    float big[3] = {-500, 500, 0}, one[3] = {1, 1, 1}, out[3];
    agrl_swiglu(NULL, out, big, one, 1, 3);
    assert_true(out[0] == 0 && out[1] == 500 && out[2] == 0);
  }
  free(g), free(u), free(dy), free(c.x), free(c.u);
}

static void rope(void **state) {
  enum { M = 5, H = 3, CONTEXT = 40 };
  static const size_t dims[] = {2, 6, 20, 64, 66};
  const int32_t pos[M] = {0, 1, 39, 7, 7};
  for (size_t k = 0; k < 5; k++) {
    size_t D = dims[k], n = M * H * D;
    float *table = agrl_xcalloc(CONTEXT * D, 4), *x0 = tc_floats(n, 7, 1), *x = agrl_xcalloc(n, 4);
    double *want = agrl_xcalloc(n, 8), *back = tc_doubles(x0, n);
    agrl_rope_table(table, CONTEXT, D, 10000.0, NULL);
    for (size_t r = 0; r < M * H; r++)
      for (size_t i = 0; i < D / 2; i++) {
        double angle = pos[r / H] * pow(10000.0, -2.0 * (double)i / (double)D), a = (double)x0[r * D + i],
            b = (double)x0[r * D + D / 2 + i];
        want[r * D + i] = a * cos(angle) - b * sin(angle);
        want[r * D + D / 2 + i] = b * cos(angle) + a * sin(angle);
      }
    FOR_EACH_CPU(cpu) {
      memcpy(x, x0, n * 4);
      agrl_rope(NULL, x, pos, table, M, H, D, 1);
      tc_near("rope", x, want, n, 1e-6);
      agrl_rope(NULL, x, pos, table, M, H, D, -1);  // the transpose of a rotation undoes it
      tc_near("rope back", x, back, n, 1e-6);
    }
    free(table), free(x0), free(x), free(want), free(back);
  }
}

// Llama 3's scaling in the form it was published in: three cases by wavelength.
static void rope_scaled(void **state) {
  enum { D = 16, CONTEXT = 50 };
  const agrl_rope_scaling s = {8, 1, 4, 128}, off = {0};
  float table[CONTEXT * D], plain[CONTEXT * D];
  int seen[3] = {0};
  agrl_rope_table(table, CONTEXT, D, 10000.0, &s);
  for (size_t i = 0; i < D / 2; i++) {
    double f = pow(10000.0, -(double)i / (D / 2)), w = 2 * acos(-1.0) / f;
    if (w > 128.0 / 1) {
      seen[0]++;
      f /= 8;
    } else if (w >= 128.0 / 4) {
      seen[1]++;
      double smooth = (128.0 / w - 1) / (4 - 1);
      f = (1 - smooth) * f / 8 + smooth * f;
    } else {
      seen[2]++;
    }
    for (size_t p = 0; p < CONTEXT; p++) {
      assert_true(fabs((double)table[p * D + i] - cos((double)p * f)) < 1e-6);
      assert_true(fabs((double)table[p * D + D / 2 + i] - sin((double)p * f)) < 1e-6);
    }
  }
  assert_true(seen[0] > 0 && seen[1] > 0 && seen[2] > 0);
  agrl_rope_table(plain, CONTEXT, D, 10000.0, NULL);
  agrl_rope_table(table, CONTEXT, D, 10000.0, &off);
  assert_memory_equal(table, plain, sizeof plain);
}

static double lse_at(const double *x, size_t V) {
  double top = -INFINITY, s = 0;
  for (size_t i = 0; i < V; i++) top = fmax(top, x[i]);
  for (size_t i = 0; i < V; i++) s += exp(x[i] - top);
  return top + log(s);
}

static double logp_loss(void *arg) {
  const ctx *c = arg;
  double s = 0;
  for (size_t m = 0; m < c->M; m++)
    if (c->target[m] >= 0) s += (double)c->dy[m] * (c->x[m * c->D + (size_t)c->target[m]] - lse_at(c->x + m * c->D,
                                                                                                   c->D));
  return s;
}

static void log_softmax(void **state) {
  static const size_t vocabs[] = {1, 5, 31, 100};
  for (size_t k = 0; k < 4; k++) {
    enum { M = 4 };
    size_t V = vocabs[k], n = M * V;
    float *x = tc_floats(n, 8, 4), *g = agrl_xcalloc(n, 4), lse[M], ent[M], dlogp[M] = {0.5f, -2.0f, 1.0f, 0.0f};
    int32_t target[M] = {0, (int32_t)V - 1, -1, (int32_t)(V / 2)};
    ctx c = {.M = M, .D = V, .x = tc_doubles(x, n), .dy = dlogp, .target = target};
    double want_lse[M], want_ent[M], *grad = agrl_xcalloc(n, 8);
    for (size_t m = 0; m < M; m++) {
      want_lse[m] = lse_at(c.x + m * V, V);
      want_ent[m] = 0;
      for (size_t i = 0; i < V; i++) want_ent[m] -= exp(c.x[m * V + i] - want_lse[m]) * (c.x[m * V + i] - want_lse[m]);
    }
    tc_gradient(grad, c.x, n, logp_loss, &c);
    FOR_EACH_CPU(cpu) {
      agrl_logsumexp(NULL, lse, x, M, V);
      tc_near("logsumexp", lse, want_lse, M, 1e-6);
      agrl_entropy(NULL, ent, x, lse, M, V);
      tc_near("entropy", ent, want_ent, M, 5e-6);
      memcpy(g, x, n * 4);
      agrl_logp_bwd(NULL, g, lse, target, dlogp, M, V);
      tc_near("logp_bwd", g, grad, n, 1e-5);
    }
    free(x), free(g), free(c.x), free(grad);
  }
  FOR_EACH_CPU(cpu) {  // sums of blocks: the same lse to the last bit, and every block's mass
    for (size_t V = 1; V < 1500; V += 1 + V / 5) {
      float *x = tc_floats(V, V, 4), sums[6], top, lse;
      agrl_logsumexp(NULL, &lse, x, 1, V);
      const float inv[] = {1, 1 / 0.7f};
      for (int k = 0; k < 2; k++) {
        double want[6] = {0}, most = -1e9;
        for (size_t i = 0; i < V; i++) most = fmax(most, (double)x[i]);
        for (size_t i = 0; i < V; i++) want[i / AGRL_SOFTMAX_BLOCK] += exp(((double)x[i] - most) * (double)inv[k]);
        const float all = agrl_softmax_blocks(sums, &top, x, V, inv[k]);
        assert_true((double)top == most);
        if (k == 0) tc_same("lse of blocks", &all, &lse, sizeof lse);
        tc_near("sums of blocks", sums, want, (V + AGRL_SOFTMAX_BLOCK - 1) / AGRL_SOFTMAX_BLOCK, 2e-6);
      }
      x[V / 2] = NAN;
      assert_true(isnan(agrl_softmax_blocks(sums, &top, x, V, 1)));
      free(x);
    }
  }
  FOR_EACH_CPU(cpu) {  // forbidden tokens (-inf) and large logits
    float x[5] = {-INFINITY, 3000, 3000, -INFINITY, 3000}, lse, ent;
    agrl_logsumexp(NULL, &lse, x, 1, 5);
    agrl_entropy(NULL, &ent, x, &lse, 1, 5);
    assert_true(fabs((double)lse - 3000 - log(3)) < 3e-4 && fabs((double)ent - log(3)) < 3e-4);
  }
}

// All row kernels, large enough to be split: two threads give the same bits as one.
static void two_threads(void **state) {
  enum { M = 301, D = 193, N = M * D };
  agrl_pool *two = agrl_pool_new(2), *pools[2] = {NULL, two};
  float *x = tc_floats(N, 9, 1), *u = tc_floats(N, 10, 1), *w = tc_floats(D, 11, 1), *dlogp = tc_floats(M, 12, 1);
  int32_t target[M], pos[M];
  float *table = agrl_xcalloc(64 * 192, 4), *out[2];
  agrl_rope_table(table, 64, 192, 1e4, NULL);
  for (int i = 0; i < M; i++) target[i] = i % D, pos[i] = i % 64;
  FOR_EACH_CPU(cpu) {
    for (int t = 0; t < 2; t++) {
      float *o = out[t] = agrl_xcalloc(8 * N + 4 * M, 4), *rstd = o + 8 * N, *lse = rstd + M;
      agrl_rmsnorm(pools[t], o, rstd, x, w, M, D, 1e-6f);
      agrl_rmsnorm_bwd(pools[t], o + N, lse + 2 * M - D, u, x, w, rstd, M, D);
      agrl_swiglu(pools[t], o + 2 * N, x, u, M, D);
      agrl_swiglu_bwd(pools[t], o + 3 * N, o + 4 * N, u, x, w, 1, D);
      agrl_swiglu_bwd(pools[t], o + 3 * N, o + 4 * N, u, x, u, M, D);
      agrl_logsumexp(pools[t], lse, x, M, D);
      agrl_entropy(pools[t], o + 5 * N, x, lse, M, D);
      memcpy(o + 6 * N, x, N * 4);
      agrl_logp_bwd(pools[t], o + 6 * N, lse, target, dlogp, M, D);
      memcpy(o + 7 * N, x, N * 4);
      agrl_rope(pools[t], o + 7 * N, pos, table, M, 1, 192, 1);
    }
    tc_same("row kernels, 2 threads", out[0], out[1], (8 * N + 4 * M) * 4);
    free(out[0]), free(out[1]);
  }
  agrl_pool_free(two);
  free(x), free(u), free(w), free(dlogp), free(table);
}

int main(void) {
  agrl_error err;
  if (agrl_tensor_init(&err) != AGRL_OK) return agrl_rc_exit(err.code);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rmsnorm), cmocka_unit_test(swiglu),      cmocka_unit_test(rope), cmocka_unit_test(rope_scaled),
      cmocka_unit_test(log_softmax), cmocka_unit_test(two_threads),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
