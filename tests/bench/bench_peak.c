// SPDX-License-Identifier: Apache-2.0
// What this machine can do at most: multiply-adds held in registers, in the widest form of the kernels in use, bf16 dot
// products where the CPU has them, and reading 256 MiB of memory. Best of five short runs each, on every pool thread.
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/tensor/tensor.h"
#include "tests/bench/bench_cases.h"
#include "tests/bench/bench_subject.h"

enum { CHAINS = 12, TURNS = 200000, RUNS = 5 };

static volatile float sink;  // keeps results alive

// CHAINS independent sums, each in its own register.
#define EACH_CHAIN(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)

#if defined(__x86_64__)
#include <immintrin.h>

#define PIN(a) __asm__("" : "+v"(a))  // a must be in a register here: no turn can be merged or dropped

__attribute__((target("avx512f"))) static void fma_512(void *arg, size_t index) {
  __m512 b = _mm512_set1_ps(0.999f), c = _mm512_set1_ps(0.001f), s = _mm512_setzero_ps();
#define BEGIN(i) __m512 a##i = c;
#define STEP(i) a##i = _mm512_fmadd_ps(a##i, b, c); PIN(a##i);
#define SUM(i) s = _mm512_add_ps(s, a##i);
  EACH_CHAIN(BEGIN)
  for (long t = 0; t < TURNS; t++) { EACH_CHAIN(STEP) }
  EACH_CHAIN(SUM)
#undef BEGIN
#undef STEP
#undef SUM
  sink = _mm512_cvtss_f32(s);
}

__attribute__((target("avx2,fma"))) static void fma_256(void *arg, size_t index) {
  __m256 b = _mm256_set1_ps(0.999f), c = _mm256_set1_ps(0.001f), s = _mm256_setzero_ps();
#define BEGIN(i) __m256 a##i = c;
#define STEP(i) a##i = _mm256_fmadd_ps(a##i, b, c); PIN(a##i);
#define SUM(i) s = _mm256_add_ps(s, a##i);
  EACH_CHAIN(BEGIN)
  for (long t = 0; t < TURNS; t++) { EACH_CHAIN(STEP) }
  EACH_CHAIN(SUM)
#undef BEGIN
#undef STEP
#undef SUM
  sink = _mm256_cvtss_f32(s);
}

__attribute__((target("avx512f,avx512bf16"))) static void dot_bf16(void *arg, size_t index) {
  __m512bh b = (__m512bh)_mm512_set1_epi16(0x3c00);
  __m512 c = _mm512_set1_ps(0.001f), s = _mm512_setzero_ps();
#define BEGIN(i) __m512 a##i = c;
#define STEP(i) a##i = _mm512_dpbf16_ps(a##i, b, b); PIN(a##i);
#define SUM(i) s = _mm512_add_ps(s, a##i);
  EACH_CHAIN(BEGIN)
  for (long t = 0; t < TURNS; t++) { EACH_CHAIN(STEP) }
  EACH_CHAIN(SUM)
#undef BEGIN
#undef STEP
#undef SUM
  sink = _mm512_cvtss_f32(s);
}
#endif

typedef float quad __attribute__((vector_size(16)));

static void fma_128(void *arg, size_t index) {
  quad b = {0.999f, 0.999f, 0.999f, 0.999f}, c = {0.001f, 0.001f, 0.001f, 0.001f}, s = {0};
#define BEGIN(i) quad a##i = c;
#define STEP(i) a##i = a##i * b + c;
#define SUM(i) s += a##i;
  EACH_CHAIN(BEGIN)
  for (long t = 0; t < TURNS; t++) { EACH_CHAIN(STEP) }
  EACH_CHAIN(SUM)
#undef BEGIN
#undef STEP
#undef SUM
  sink = s[0];
}

static double best_seconds(agrl_pool *pool, unsigned threads, agrl_pool_fn fn, void *arg) {
  double best = 1e9;
  for (int r = 0; r < RUNS; r++) {
    uint64_t start = agrl_mono_ns();
    agrl_pool_run(pool, fn, arg, threads);
    double s = agrl_since_s(start);
    if (s < best) best = s;
  }
  return best;
}

typedef struct read_job {
  const quad *data;
  size_t each;
} read_job;

static void read_part(void *arg, size_t index) {
  const read_job *j = arg;
  const quad *p = j->data + index * j->each, *end = p + j->each;
  quad s0 = {0}, s1 = s0, s2 = s0, s3 = s0;
  for (; p < end; p += 4) {  // a cache line
    __builtin_prefetch(p + 64);
    s0 += p[0];
    s1 += p[1];
    s2 += p[2];
    s3 += p[3];
  }
  sink = (s0 + s1 + s2 + s3)[0];
}

double bench_read_measure(agrl_pool *pool, unsigned threads) {
  size_t bytes = (size_t)256 << 20, each = bytes / sizeof(quad) / threads / 8 * 8;
  void *data = bench_need(agrl_block_alloc(bytes));
  memset(data, 1, bytes);
  read_job j = {data, each};
  const double gbps = (double)(each * threads * sizeof(quad)) / best_seconds(pool, threads, read_part, &j) / 1e9;
  agrl_block_free(data, bytes);
  return gbps;
}

void bench_peak_measure(agrl_pool *pool, unsigned threads, bench_peak *out) {
  agrl_pool_fn fma = fma_128;
  int lanes = 4;
  double turns = (double)CHAINS * TURNS * threads;
  *out = (bench_peak){0, 0, 0};
#if defined(__x86_64__)
  if (agrl_tensor_cpu() >= AGRL_CPU_AVX512) fma = fma_512, lanes = 16;
  else if (agrl_tensor_cpu() == AGRL_CPU_AVX2) fma = fma_256, lanes = 8;
  if (agrl_cpu_supported(AGRL_CPU_AVX512BF16)) out->bf16_gflops = 64 * turns / best_seconds(pool, threads, dot_bf16,
                                                                                            NULL) / 1e9;
#endif
  out->fma_gflops = 2 * lanes * turns / best_seconds(pool, threads, fma, NULL) / 1e9;
  out->read_gbps = bench_read_measure(pool, threads);
}
