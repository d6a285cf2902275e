// SPDX-License-Identifier: Apache-2.0
// Which code each kernel runs on this machine, and why that one: what the bench prints before its figures.
#include <stdio.h>
#include <stdlib.h>

#include "common/tensor/tensor.h"
#include "tests/bench/bench_cases.h"

#include <cblas.h>

static const char *vectors(agrl_cpu cpu) {
  static const char *const text[AGRL_CPU_N] = {"portable C, 4 lanes", "NEON, 4 lanes", "AVX2+FMA, 8 lanes", "AVX-512, 16 lanes", "AVX-512, 16 lanes"};
  return text[cpu];
}

static const char *products(agrl_cpu cpu) {
  static const char *const text[AGRL_CPU_N] = {"portable C, 4 x 8 tiles", "NEON FMA, 6 x 16 tiles", "AVX2 FMA, 6 x 16 tiles", "AVX-512 FMA, 6 x 64 tiles",
                                               "vdpbf16ps, 6 x 64 tiles"};
  return text[cpu];
}

typedef struct path {
  const char *kernel, *code, *why;
} path;

void bench_paths(bench_env *e) {
  char blas[64], chosen[128];
  const agrl_cpu cpu = agrl_tensor_cpu();
  const char *forced = getenv("AGRL_CPU"), *wide = vectors(cpu);
  snprintf(blas, sizeof blas, "OpenBLAS (%s)", openblas_get_corename());
  if (forced && *forced) snprintf(chosen, sizeof chosen, "AGRL_CPU=%s forces it", forced);
  else snprintf(chosen, sizeof chosen, "the best of those this CPU has");
  const path paths[] = {
      {"variant", agrl_cpu_name(cpu), chosen},
      {"linear, weight_grad", products(cpu),
       cpu == AGRL_CPU_AVX512BF16 ? "bf16 dot product: twice the multiply-adds of f32; own code, as OpenBLAS has no bf16"
                                  : "no bf16 dot product here: bf16 widened to f32; read at 2 bytes a weight all the same"},
      {"gemm (f32 mode: parity)", blas, "f32 large products are what it does best; not on the way of actor or learner"},
      {"attention, all passes", wide, "f32: scores and sums stay so; key blocks in fixed order, as the zero gap needs"},
      {"pack, bf16 rounding", wide, "moves bytes: bound by memory, not by arithmetic"},
      {"norms, rope, SwiGLU", wide, "one pass over rows that are in cache"},
      {"log-softmax, entropy", wide, "own polynomial exp: libm's vector form needs -ffast-math"},
      {"sampling", wide, "unfiltered: vector maximum, exp and block sums; top_k and top_p: selection in scalar C"},
      {"AdamW", wide, "one pass over 28 bytes a parameter: bound by memory"},
      {"f16 conversion", cpu == AGRL_CPU_PORTABLE ? "portable C" : cpu == AGRL_CPU_NEON ? "fcvtl, fcvtn" : "F16C", "import of checkpoints only"},
  };
  fprintf(stderr, "%-24s %-26s %s\n", "kernel", "path", "why");
  for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
    fprintf(stderr, "%-24s %-26s %s\n", paths[i].kernel, paths[i].code, paths[i].why);
    bench_begin(e, "path", 0);
    agrl_jw_kstr(&e->json, "kernel", paths[i].kernel);
    agrl_jw_kstr(&e->json, "path", paths[i].code);
    agrl_jw_kstr(&e->json, "why", paths[i].why);
    bench_end(e);
  }
}
