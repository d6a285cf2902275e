// SPDX-License-Identifier: Apache-2.0
// The benchmark's table of cases, and what a case works with. To add one: write void bench_<name>(bench_env *) in a
// bench_*.c file and add its row below. A case prints one JSON line per measurement through bench_begin ... bench_end.
#ifndef AGRL_BENCH_CASES_H
#define AGRL_BENCH_CASES_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/json.h"
#include "common/base/pool.h"

// X(name, help)
#define BENCH_CASES(X)                                                                    \
  X(linear, "bf16 linear layer, cold weights, shapes of a 135M Llama and of the quickstart model") \
  X(gemm, "OpenBLAS products, which a float32 training step uses: forward, input gradient, weight gradient") \
  X(attention, "causal attention forward, backward and decode")                           \
  X(elementwise, "norms, SwiGLU, log-softmax, AdamW: bytes moved against the memory bandwidth") \
  X(model, "decode, prefill and training step (without and with AdamW) of the quickstart model and of a 135M Llama") \
  X(train_tree, "a training pass over a group of 8 rollouts: prompt shared or not, recomputation, fused LM head") \
  X(lora, "a whole SFT and GRPO step, every parameter trained or adapters only: time, memory, bytes of a version") \
  X(weights, "a weight version of both models: snapshot, hash, delta and anchor, receipt and verification, decode pause of a swap") \
  X(weights_lr, "bytes of a delta against the learning rate: AdamW steps on real gradients of both models")             \
  X(replay, "scored traces of 2 KiB committed with fsync: traces/s and commit time")

typedef struct bench_peak {  // measured at start for a number of threads
  double fma_gflops;         // f32, widest registers of the kernels in use
  double bf16_gflops;        // bf16 dot products; 0 where the CPU has none
  double read_gbps;          // 256 MiB, read once
} bench_peak;

typedef struct bench_env {
  unsigned n_threads[2];  // 1, and all
  agrl_pool *pool[2];
  bench_peak peak[2];
  double seconds;  // measuring time per line
  double faults;   // page faults a call in the last bench_time, after its warm-up
  agrl_buf *line, *all;  // internal to bench_main.c: this line, and all lines
  agrl_jw json;
} bench_env;

// Seconds per call of fn(arg), the median of repeated calls after one warm-up call.
double bench_time(bench_env *e, void (*fn)(void *arg), void *arg);
double bench_median(double *x, size_t n);  // sorts x; n >= 1

// A JSON line: begin writes case, threads (which: 0 one, 1 all) and CPU variant; add fields through e->json; end prints
// it.
void bench_begin(bench_env *e, const char *name, int which);
void bench_end(bench_env *e);
// Adds v with four significant digits: more would be noise.
void bench_number(bench_env *e, const char *key, double v);
// Adds seconds and, where not 0, GFLOP/s with its ratios to the f32 and bf16 peaks and GB/s with its ratio to the memory
// bandwidth; bench_time's also the page faults.
void bench_rates(bench_env *e, int which, double seconds, double flop, double bytes);
void bench_time_rates(bench_env *e, int which, double seconds, double flop, double bytes);
// Adds <name>_seconds and <name>_ratio_to_bandwidth, of bytes read and written.
void bench_moved(bench_env *e, const char *name, double seconds, double bytes);

float *bench_floats(size_t n, uint64_t seed);  // normal, in an agrl_block of n * 4 bytes

void bench_paths(bench_env *e);                     // bench_paths.c
void bench_table(const char *lines, size_t len);    // bench_table.c
void bench_peak_measure(agrl_pool *pool, unsigned threads, bench_peak *out);
double bench_read_measure(agrl_pool *pool, unsigned threads);  // read_gbps alone

#define BENCH_DECLARE(name, help) void bench_##name(bench_env *e);
BENCH_CASES(BENCH_DECLARE)
#undef BENCH_DECLARE

#endif
