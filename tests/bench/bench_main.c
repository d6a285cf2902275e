// SPDX-License-Identifier: Apache-2.0
// agrl-bench: one JSON line a measurement on standard output, the machine's own limits first, so that every figure can
// be read as a share of what this machine gives at this moment.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/base/num.h"
#include "common/base/rng.h"
#include "common/tensor/tensor.h"
#include "tests/bench/bench_cases.h"

typedef struct bench_case {
  const char *name, *help;
  void (*fn)(bench_env *e);
} bench_case;

#define BENCH_ROW(name, help) {#name, help, bench_##name},
static const bench_case cases[] = {BENCH_CASES(BENCH_ROW)};
enum { N_CASES = sizeof cases / sizeof *cases, MAX_SAMPLES = 1000 };

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double faults_so_far(void) {
  struct rusage r;
  getrusage(RUSAGE_SELF, &r);
  return (double)(r.ru_minflt + r.ru_majflt);
}

double bench_median(double *x, size_t n) {
  qsort(x, n, sizeof *x, by_value);
  return x[n / 2];
}

double bench_time(bench_env *e, void (*fn)(void *arg), void *arg) {
  static double sample[MAX_SAMPLES];
  memset(sample, 1, sizeof sample);  // its own pages are not the case's
  fn(arg);
  const double faults = faults_so_far();
  uint64_t start = agrl_mono_ns();
  int n = 0;
  while (n < 3 || (n < MAX_SAMPLES && agrl_since_s(start) < e->seconds)) {
    uint64_t t = agrl_mono_ns();
    fn(arg);
    sample[n++] = agrl_since_s(t);
  }
  e->faults = (faults_so_far() - faults) / n;
  return bench_median(sample, (size_t)n);
}

void bench_begin(bench_env *e, const char *name, int which) {
  agrl_buf_clear(e->line);
  agrl_jw_init(&e->json, e->line);
  agrl_jw_obj(&e->json);
  agrl_jw_kstr(&e->json, "case", name);
  agrl_jw_kstr(&e->json, "cpu", agrl_cpu_name(agrl_tensor_cpu()));
  agrl_jw_ku64(&e->json, "threads", e->n_threads[which]);
}

void bench_end(bench_env *e) {
  agrl_jw_end_obj(&e->json);
  agrl_buf_addc(e->line, '\n');
  fwrite(e->line->data, 1, e->line->len, stdout);
  agrl_buf_add(e->all, e->line->data, e->line->len);
  fflush(stdout);
}

void bench_number(bench_env *e, const char *key, double v) {
  char text[32];
  snprintf(text, sizeof text, "%.4g", v);
  agrl_jw_kf64(&e->json, key, strtod(text, NULL));
}

void bench_rates(bench_env *e, int which, double seconds, double flop, double bytes) {
  bench_number(e, "seconds", seconds);
  if (flop > 0) {
    bench_number(e, "gflops", flop / seconds / 1e9);
    bench_number(e, "ratio_to_f32_peak", flop / seconds / 1e9 / e->peak[which].fma_gflops);
    if (e->peak[which].bf16_gflops > 0) bench_number(e, "ratio_to_bf16_peak", flop / seconds / 1e9 / e->peak[which].bf16_gflops);
  }
  if (bytes > 0) {
    bench_number(e, "gb_per_s", bytes / seconds / 1e9);
    bench_number(e, "ratio_to_bandwidth", bytes / seconds / 1e9 / e->peak[which].read_gbps);
  }
}

void bench_time_rates(bench_env *e, int which, double seconds, double flop, double bytes) {
  bench_rates(e, which, seconds, flop, bytes);
  bench_number(e, "page_faults_per_call", e->faults);
}

void bench_moved(bench_env *e, const char *name, double seconds, double bytes) {
  char key[64];
  snprintf(key, sizeof key, "%s_seconds", name);
  bench_number(e, key, seconds);
  snprintf(key, sizeof key, "%s_ratio_to_bandwidth", name);
  bench_number(e, key, bytes / seconds / 1e9 / e->peak[1].read_gbps);
}

float *bench_floats(size_t n, uint64_t seed) {
  float *x = agrl_block_alloc(n * sizeof *x);
  agrl_rng r;
  if (!x) {
    fprintf(stderr, "agrl-bench: no memory for %zu floats\n", n);
    exit(71);
  }
  agrl_rng_init(&r, seed, 0);
  for (size_t i = 0; i < n; i++) x[i] = (float)((double)agrl_rng_u32(&r) / 2147483648.0 - 1.0);
  return x;
}

static void measure_machine(bench_env *e) {
  for (int t = 0; t < 2; t++) {
    bench_peak_measure(e->pool[t], e->n_threads[t], &e->peak[t]);
    bench_begin(e, "machine", t);
    bench_number(e, "fma_f32_gflops", e->peak[t].fma_gflops);
    if (e->peak[t].bf16_gflops > 0) bench_number(e, "bf16_dot_gflops", e->peak[t].bf16_gflops);
    bench_number(e, "memory_read_gb_per_s", e->peak[t].read_gbps);
    bench_end(e);
  }
}

static int usage(FILE *to, int code) {
  fprintf(to,
          "usage: agrl-bench [--threads N] [--seconds S] [CASE...]\n"
          "       agrl-bench --list | --help\n"
          "Prints one JSON object a line: the code each kernel runs, the machine's limits, then the cases named (default:\n"
          "all), and on standard error the same as tables; with one thread\n"
          "and with N (default: all CPUs). S is the time spent on a line (default 0.1). AGRL_CPU=portable|neon|\n"
          "avx2|avx512|avx512bf16 chooses the kernels. A ratio above 1 to the bandwidth says that caches held the data.\n");
  return code;
}

static bool parse_args(int argc, char **argv, bench_env *e, bool *wanted) {
  bool any = false;
  for (int i = 1; i < argc; i++) {
    uint64_t n;
    if (!strcmp(argv[i], "--threads") && i + 1 < argc) {
      if (!agrl_parse_u64(argv[++i], &n) || n < 1 || n > 1024) return fprintf(stderr, "agrl-bench: --threads: '%s' is not 1 to 1024\n", argv[i]), false;
      e->n_threads[1] = (unsigned)n;
    } else if (!strcmp(argv[i], "--seconds") && i + 1 < argc) {
      if (!agrl_parse_f64(argv[++i], &e->seconds) || e->seconds < 0) return fprintf(stderr, "agrl-bench: --seconds: '%s' is not 0 or more\n", argv[i]), false;
    } else {
      bool found = false;
      for (int c = 0; c < N_CASES; c++)
        if (!strcmp(argv[i], cases[c].name)) wanted[c] = found = any = true;
      if (!found) {
        fprintf(stderr, "agrl-bench: no case \"%s\"; agrl-bench --list names them\n", argv[i]);
        return false;
      }
    }
  }
  for (int c = 0; c < N_CASES && !any; c++) wanted[c] = true;
  return true;
}

int main(int argc, char **argv) {
  bool wanted[N_CASES] = {false};
  agrl_buf line = {0}, all = {0};
  long cpus = sysconf(_SC_NPROCESSORS_ONLN);
  bench_env e = {.n_threads = {1, cpus > 0 ? (unsigned)cpus : 1}, .seconds = 0.1, .line = &line, .all = &all};
  agrl_error err;
  if (argc == 2 && !strcmp(argv[1], "--help")) return usage(stdout, 0);
  if (argc == 2 && !strcmp(argv[1], "--list")) {
    for (int c = 0; c < N_CASES; c++) printf("%-12s %s\n", cases[c].name, cases[c].help);
    return 0;
  }
  if (!parse_args(argc, argv, &e, wanted)) return usage(stderr, 64);
  if (agrl_tensor_init(&err) != AGRL_OK) {
    fprintf(stderr, "agrl-bench: %s\n", err.msg);
    return agrl_rc_exit(err.code);
  }
  agrl_buf_init(&line);
  for (int t = 0; t < 2; t++) e.pool[t] = agrl_pool_new(e.n_threads[t]);
  bench_paths(&e);
  measure_machine(&e);
  for (int c = 0; c < N_CASES; c++)
    if (wanted[c]) cases[c].fn(&e);
  bench_table(all.data, all.len);
  for (int t = 0; t < 2; t++) agrl_pool_free(e.pool[t]);
  agrl_buf_release(&line);
  agrl_buf_release(&all);
  return 0;
}
