// SPDX-License-Identifier: Apache-2.0
// Helpers of the kernel tests: random arrays, a loop over the instruction sets this CPU has, tolerant comparison, and
// central finite differences of a double-precision forward pass.
#ifndef AGRL_TESTS_TENSOR_CHECK_H
#define AGRL_TESTS_TENSOR_CHECK_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/mem.h"
#include "common/base/rng.h"
#include "common/tensor/tensor.h"

#ifndef TC_FIRST_CPU
#define TC_FIRST_CPU AGRL_CPU_PORTABLE
#endif
#define FOR_EACH_CPU(c)                              \
  for (agrl_cpu c = TC_FIRST_CPU; c < AGRL_CPU_N; c++) \
    if (agrl_cpu_supported(c) && (agrl_tensor_use(c), 1))

static inline float *tc_floats(size_t n, uint64_t seed, double scale) {
  float *x = agrl_xcalloc(n ? n : 1, sizeof *x);
  agrl_rng r;
  agrl_rng_init(&r, seed, n);
  for (size_t i = 0; i < n; i++) x[i] = (float)(agrl_rng_normal(&r) * scale);
  return x;
}

static inline float *tc_filled(size_t n, float value) {
  float *x = agrl_xcalloc(n ? n : 1, sizeof *x);
  for (size_t i = 0; i < n; i++) x[i] = value;
  return x;
}

static inline double *tc_doubles(const float *x, size_t n) {
  double *d = agrl_xcalloc(n ? n : 1, sizeof *d);
  for (size_t i = 0; i < n; i++) d[i] = (double)x[i];
  return d;
}

// |got - want| <= tol * (1 + |want|) for every element, and no NaN.
static inline void tc_near(const char *what, const float *got, const double *want, size_t n, double tol) {
  for (size_t i = 0; i < n; i++) {
    if (fabs((double)got[i] - want[i]) <= tol * (1.0 + fabs(want[i]))) continue;
    fail_msg("%s on %s: element %zu of %zu is %.9g, want %.9g (tolerance %g)", what, agrl_cpu_name(agrl_tensor_cpu()),
             i, n,
             (double)got[i], want[i], tol);
  }
}

// The 2-norm of got - want is at most tol times that of want.
static inline void tc_close(const char *what, const float *got, const float *want, size_t n, double tol) {
  double norm = 0, off = 0;
  for (size_t i = 0; i < n; i++) {
    norm += (double)want[i] * (double)want[i];
    off += ((double)got[i] - (double)want[i]) * ((double)got[i] - (double)want[i]);
  }
  if (!(sqrt(off) <= tol * sqrt(norm)))
    fail_msg("%s on %s: off by %.3g of the norm, at most %g", what, agrl_cpu_name(agrl_tensor_cpu()), sqrt(off / norm), tol);
}

static inline void tc_same(const char *what, const void *a, const void *b, size_t bytes) {
  if (memcmp(a, b, bytes) != 0) fail_msg("%s on %s: results differ in some bit", what,
                                         agrl_cpu_name(agrl_tensor_cpu()));
}

// d(loss)/d(x[i]) by central differences; loss reads x through ctx.
static inline void tc_gradient(double *out, double *x, size_t n, double (*loss)(void *ctx), void *ctx) {
  for (size_t i = 0; i < n; i++) {
    double keep = x[i], h = 1e-5;
    x[i] = keep + h;
    double up = loss(ctx);
    x[i] = keep - h;
    double down = loss(ctx);
    x[i] = keep;
    out[i] = (up - down) / (2 * h);
  }
}

#endif
