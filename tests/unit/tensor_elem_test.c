// SPDX-License-Identifier: Apache-2.0
// Element-wise kernels of every instruction set: conversions over all 16-bit patterns, rounding against a definition in
// double, the error of expf, AdamW and the sums.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/lib/tensor_check.h"

static float from_bits(uint32_t u) {
  float f;
  memcpy(&f, &u, 4);
  return f;
}
static uint32_t to_bits(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  return u;
}

// Nearest bf16 of a finite f32, ties to even, found by looking at both neighbours.
static uint16_t bf16_reference(float x) {
  uint32_t u = to_bits(x);
  if (isnan(x)) return (uint16_t)(u >> 16 | 0x40u);
  uint32_t down = u & 0xffff0000u, rest = u & 0xffffu;
  if (rest > 0x8000u || (rest == 0x8000u && (down & 0x10000u))) down += 0x10000u;  // may carry into infinity: correct
  return (uint16_t)(down >> 16);
}

static void bf16_rounding(void **state) {
  // Every sign and exponent, with mantissas at and around ties, the carry into the exponent, infinities and NaN.
  static const uint32_t mantissas[] = {0,        1,        0x7fff,   0x8000,   0x8001,   0xffff,   0x10000,  0x17fff,
                                       0x18000,  0x18001,  0x3f8000, 0x400000, 0x7f7fff, 0x7f8000, 0x7f8001, 0x7fffff};
  enum { N = 512 * 16 };
  static float src[N];
  static uint16_t dst[N + 1];
  for (uint32_t e = 0; e < 512; e++)
    for (uint32_t m = 0; m < 16; m++) src[e * 16 + m] = from_bits(e << 23 | mantissas[m]);
  FOR_EACH_CPU(c) {
    for (size_t n = N; n > N - 20; n--) {  // tails
      dst[n] = 0xabcd;
      agrl_bf16_from_f32(dst, src, n);
      assert_int_equal(dst[n], 0xabcd);
      for (size_t i = n == N ? 0 : n - 40; i < n; i++) {
        if (dst[i] != bf16_reference(src[i])) fail_msg("%s: %08x -> %04x", agrl_cpu_name(c), to_bits(src[i]), dst[i]);
      }
    }
  }
}

static void bf16_widening(void **state) {
  static uint16_t src[65536];
  static float dst[65536];
  for (uint32_t i = 0; i < 65536; i++) src[i] = (uint16_t)i;
  FOR_EACH_CPU(c) {
    agrl_f32_from_bf16(dst, src, 65535);
    for (uint32_t i = 0; i < 65535; i++) assert_int_equal(to_bits(dst[i]), i << 16);
    agrl_f32_from_bf16(dst, src + 3, 5);
    assert_int_equal(to_bits(dst[4]), 7u << 16);
    assert_int_equal(to_bits(dst[5]), 5u << 16);
  }
}

static double f16_value(uint16_t h) {
  int e = h >> 10 & 31, m = h & 0x3ff;
  double v = e == 31 ? (m ? NAN : INFINITY) : e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
  return h & 0x8000 ? -v : v;
}

static void f16_both_ways(void **state) {
  static uint16_t src[65536], back[65536];
  static float wide[65536], between[65536];
  static uint16_t rounded[65536];
  for (uint32_t i = 0; i < 65536; i++) src[i] = (uint16_t)i;
  // Midpoints of neighbours (ties), exactly representable in f32, plus values beyond the range.
  for (uint32_t i = 0; i < 65536; i++) {
    double mid = (i & 0x7fff) < 0x7bff ? (f16_value((uint16_t)i) + f16_value((uint16_t)(i + 1))) / 2 : 70000.0;
    between[i] = (float)mid;
  }
  FOR_EACH_CPU(c) {
    agrl_f32_from_f16(wide, src, 65536);
    agrl_f16_from_f32(back, wide, 65536);
    agrl_f16_from_f32(rounded, between, 65536);
    for (uint32_t i = 0; i < 65536; i++) {
      double want = f16_value(src[i]);
      if (isnan(want)) {
        assert_true(isnan(wide[i]) && (back[i] & 0x7c00) == 0x7c00 && (back[i] & 0x3ff));
        continue;
      }
      assert_true((double)wide[i] == want);
      assert_int_equal(back[i], src[i]);
      uint16_t even = (i & 0x7fff) < 0x7bff ? (uint16_t)(i & 1 ? i + 1 : i) : 0x7c00;
      assert_int_equal(rounded[i], even);
    }
  }
}

static void expf_error(void **state) {
  enum { N = 1 << 16 };
  static float x[N], y[N];
  for (int i = 0; i < N; i++) x[i] = (float)(-86.6 + (88.7 + 86.6) * i / N);
  FOR_EACH_CPU(c) {
    agrl_expf(y, x, N);
    double worst = 0;
    for (int i = 0; i < N; i++) worst = fmax(worst, fabs((double)y[i] / exp((double)x[i]) - 1.0));
    assert_true(worst < 2.0e-7);  // under 2 ulp
    float edge[9] = {0.0f, -0.0f, -INFINITY, INFINITY, NAN, -87.0f, 89.0f, -1000.0f, 88.72f};
    agrl_expf(edge, edge, 9);  // in place, with a tail
    assert_true(edge[0] == 1.0f && edge[1] == 1.0f && edge[2] == 0.0f && isinf(edge[3]) && isnan(edge[4]));
    assert_true(edge[5] == 0.0f && isinf(edge[6]) && edge[7] == 0.0f && isfinite(edge[8]));
  }
}

static void sums_and_scales(void **state) {
  enum { N = 100003 };
  float *x = tc_floats(N, 1, 3.0), *y = tc_floats(N, 2, 1.0), *z = agrl_xcalloc(N, 4);
  double want = 0;
  for (size_t i = 0; i < N; i++) want += (double)x[i] * (double)x[i];
  agrl_pool *two = agrl_pool_new(2);
  FOR_EACH_CPU(c) {
    double one = agrl_sumsq(NULL, x, N);
    assert_true(fabs(one / want - 1) < 1e-6);
    assert_true(agrl_sumsq(two, x, N) == one);
    assert_true(agrl_sumsq(two, x, 0) == 0);
    memcpy(z, y, N * 4);
    agrl_add(z, x, N);
    agrl_scale(z, 0.5f, N - 1);
    for (size_t i = 0; i + 1 < N; i++) assert_true(z[i] == (y[i] + x[i]) * 0.5f);
    assert_true(z[N - 1] == y[N - 1] + x[N - 1]);
  }
  agrl_pool_free(two);
  free(x), free(y), free(z);
}

typedef struct state4 {
  float *p, *m, *v;
  uint16_t *bf16;
} state4;

static void adamw_three_steps(agrl_pool *pool, state4 *s, const float *p0, const float *grad, size_t n) {
  memcpy(s->p, p0, n * 4);
  memset(s->m, 0, n * 4);
  memset(s->v, 0, n * 4);
  for (int t = 1; t <= 3; t++) {
    agrl_adamw a = {1e-2f, 0.9f, 0.95f, 1e-8f, 0.1f, (float)(1 - pow(0.9, t)), (float)(1 - pow(0.95, t)), 0.25f};
    agrl_adamw_step(pool, s->p, s->m, s->v, grad, s->bf16, n, &a);
  }
}

static void adamw_reference(void **state) {
  enum { N = 70001 };
  float *p0 = tc_floats(N, 3, 1.0), *grad = tc_floats(N, 4, 1.0);
  double *want = agrl_xcalloc(N, sizeof *want);
  for (size_t i = 0; i < N; i++) {
    double p = (double)p0[i], m = 0, v = 0, g = (double)grad[i] * 0.25;
    for (int t = 1; t <= 3; t++) {
      m = 0.9 * m + 0.1 * g;
      v = 0.95 * v + 0.05 * g * g;
      p = p * (1 - 1e-2 * 0.1) - 1e-2 * (m / (1 - pow(0.9, t))) / (sqrt(v / (1 - pow(0.95, t))) + 1e-8);
    }
    want[i] = p;
  }
  agrl_pool *two = agrl_pool_new(2);
  state4 a = {agrl_xcalloc(N, 4), agrl_xcalloc(N, 4), agrl_xcalloc(N, 4), agrl_xcalloc(N, 2)};
  state4 b = {agrl_xcalloc(N, 4), agrl_xcalloc(N, 4), agrl_xcalloc(N, 4), NULL};
  uint16_t *bf16 = agrl_xcalloc(N, 2);
  FOR_EACH_CPU(c) {
    adamw_three_steps(NULL, &a, p0, grad, N);
    adamw_three_steps(two, &b, p0, grad, N);
    tc_near("adamw", a.p, want, N, 2e-6);
    tc_same("adamw p, 2 threads", a.p, b.p, N * 4);
    tc_same("adamw m, 2 threads", a.m, b.m, N * 4);
    tc_same("adamw v, 2 threads", a.v, b.v, N * 4);
    agrl_bf16_from_f32(bf16, a.p, N);
    tc_same("adamw bf16", bf16, a.bf16, N * 2);
  }
  agrl_pool_free(two);
  free(a.p), free(a.m), free(a.v), free(a.bf16), free(b.p), free(b.m), free(b.v);
  free(p0), free(grad), free(want), free(bf16);
}

static void dispatch(void **state) {
  agrl_error err;
  for (int c = 0; c < AGRL_CPU_N; c++) {
    setenv("AGRL_CPU", agrl_cpu_name((agrl_cpu)c), 1);
    agrl_rc rc = agrl_tensor_init(&err);
    if (agrl_cpu_supported((agrl_cpu)c)) {
      assert_int_equal(rc, AGRL_OK);
      assert_int_equal(agrl_tensor_cpu(), c);
    } else {
      assert_int_equal(rc, AGRL_EUNSUPPORTED);
    }
  }
  setenv("AGRL_CPU", "mmx", 1);
  assert_int_equal(agrl_tensor_init(&err), AGRL_EINVAL);
  assert_non_null(strstr(err.msg, "mmx"));
  unsetenv("AGRL_CPU");
  assert_int_equal(agrl_tensor_init(&err), AGRL_OK);
  for (int c = (int)agrl_tensor_cpu() + 1; c < AGRL_CPU_N; c++) assert_false(agrl_cpu_supported((agrl_cpu)c));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bf16_rounding),   cmocka_unit_test(bf16_widening),   cmocka_unit_test(f16_both_ways),
      cmocka_unit_test(expf_error),      cmocka_unit_test(sums_and_scales), cmocka_unit_test(adamw_reference),
      cmocka_unit_test(dispatch),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
