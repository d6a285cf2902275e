// SPDX-License-Identifier: Apache-2.0
// Which kernels run: the best instruction set of this CPU, or the one that AGRL_CPU names. Also the pool splitting that
// all public functions share. agrl_kernels_use is written by init and use only, before worker threads compute.
#include <stdlib.h>
#include <string.h>

#include "common/base/bug.h"
#include "common/tensor/gemm.h"
#include "common/tensor/kernels.h"

const agrl_kernels *agrl_kernels_use = &agrl_kernels_portable;
static agrl_cpu cpu_in_use = AGRL_CPU_PORTABLE;

static const char *const cpu_names[AGRL_CPU_N] = {"portable", "neon", "avx2", "avx512", "avx512bf16"};

const char *agrl_cpu_name(agrl_cpu cpu) { return (unsigned)cpu < AGRL_CPU_N ? cpu_names[cpu] : "?"; }
agrl_cpu agrl_tensor_cpu(void) { return cpu_in_use; }

static const agrl_kernels *table_of(agrl_cpu cpu) {
#if defined(__x86_64__)
  if (cpu == AGRL_CPU_AVX2) return &agrl_kernels_avx2;
  if (cpu == AGRL_CPU_AVX512) return &agrl_kernels_avx512;
  if (cpu == AGRL_CPU_AVX512BF16) return &agrl_kernels_avx512bf16;
#elif defined(__aarch64__)
  if (cpu == AGRL_CPU_NEON) return &agrl_kernels_neon;
#endif
  return cpu == AGRL_CPU_PORTABLE ? &agrl_kernels_portable : NULL;
}

bool agrl_cpu_supported(agrl_cpu cpu) {
  if (cpu == AGRL_CPU_PORTABLE) return true;
#if defined(__x86_64__)
  __builtin_cpu_init();
  bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");  // F16C comes with AVX2
  bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  if (cpu == AGRL_CPU_AVX2) return avx2;
  if (cpu == AGRL_CPU_AVX512) return avx512;
  if (cpu == AGRL_CPU_AVX512BF16) return avx512 && __builtin_cpu_supports("avx512bf16");
#elif defined(__aarch64__)
  if (cpu == AGRL_CPU_NEON) return true;  // every 64-bit ARM has it
#endif
  return false;
}

void agrl_tensor_use(agrl_cpu cpu) {
  AGRL_ASSERT(agrl_cpu_supported(cpu));
  agrl_kernels_use = table_of(cpu);
  cpu_in_use = cpu;
}

static agrl_rc choose_cpu(agrl_cpu *out, agrl_error *err) {
  const char *want = getenv("AGRL_CPU");
  if (want && *want) {
    for (int c = 0; c < AGRL_CPU_N; c++) {
      if (strcmp(want, cpu_names[c]) != 0) continue;
      if (!agrl_cpu_supported((agrl_cpu)c))
        return agrl_fail(err, AGRL_EUNSUPPORTED, "AGRL_CPU=%s: this CPU does not have it; unset AGRL_CPU", want);
      *out = (agrl_cpu)c;
      return AGRL_OK;
    }
    return agrl_fail(err, AGRL_EINVAL, "AGRL_CPU=%s: use portable, neon, avx2, avx512 or avx512bf16", want);
  }
  for (int c = AGRL_CPU_N - 1; c >= 0; c--) {
    if (!agrl_cpu_supported((agrl_cpu)c)) continue;
    *out = (agrl_cpu)c;
    return AGRL_OK;
  }
  return AGRL_OK;
}

agrl_rc agrl_tensor_init(agrl_error *err) {
  agrl_cpu cpu = AGRL_CPU_PORTABLE;
  agrl_rc rc = choose_cpu(&cpu, err);
  if (rc != AGRL_OK) return rc;
  agrl_tensor_use(cpu);
  return agrl_gemm_init(err);
}

typedef struct range_job {
  size_t n, chunk;
  agrl_range_fn fn;
  void *arg;
} range_job;

static void run_range(void *arg, size_t index) {
  const range_job *j = arg;
  size_t lo = index * j->chunk, hi = j->n - lo < j->chunk ? j->n : lo + j->chunk;
  j->fn(j->arg, lo, hi);
}

void agrl_parallel_range(agrl_pool *pool, size_t n, size_t align, size_t min, agrl_range_fn fn, void *arg) {
  size_t threads = agrl_pool_threads(pool), chunk;
  if (n == 0) return;
  if (threads < 2 || n <= min) {
    fn(arg, 0, n);
    return;
  }
  chunk = (n + threads - 1) / threads;
  if (chunk < min) chunk = min;
  chunk = (chunk + align - 1) / align * align;
  range_job job = {n, chunk, fn, arg};
  agrl_pool_run(pool, run_range, &job, (n + chunk - 1) / chunk);
}
