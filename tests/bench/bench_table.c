// SPDX-License-Identifier: Apache-2.0
// The lines of a run once more for people, on standard error: what was measured, its rate, and its share of what the machine
// gave in the same run.
#include <stdio.h>
#include <string.h>

#include "common/base/buf.h"
#include "tests/bench/bench_cases.h"

// Figures with a column; what else a line says is its label.
static const char *const columns[] = {"seconds", "tokens_per_s", "gflops", "ratio_to_f32_peak", "ratio_to_bf16_peak", "gb_per_s",
                                      "ratio_to_bandwidth", "page_faults_per_call"};
static const char *const titles[] = {"ms", "tokens/s", "GFLOP/s", "of f32", "of bf16", "GB/s", "of memory", "faults"};
enum { N = sizeof columns / sizeof *columns };

static int column_of(const char *key) {
  for (int c = 0; c < N; c++)
    if (!strcmp(columns[c], key)) return c;
  return -1;
}

static void number(agrl_buf *out, double v) { agrl_buf_addf(out, v != 0 && v < 0.001 ? "%.2g" : v < 100 ? "%.3g" : "%.0f", v); }

static void row(const agrl_json *line) {
  agrl_buf label = {0}, cell = {0};
  const char *text;
  double v, value[N];
  bool has[N] = {false};
  for (void *it = agrl_json_first(line); it; it = agrl_json_next(line, it)) {
    const char *key = agrl_json_key(it);
    const agrl_json *j = agrl_json_value(it);
    const int c = column_of(key);
    if (!strcmp(key, "cpu")) continue;
    if (c >= 0 && agrl_json_f64(j, &value[c])) {
      has[c] = true;
    } else if (agrl_json_str(j, &text, NULL)) {
      agrl_buf_addf(&label, "%s ", text);
    } else if (agrl_json_f64(j, &v)) {
      agrl_buf_addf(&label, "%s ", key);
      number(&label, v);
      agrl_buf_addc(&label, ' ');
    }
  }
  fprintf(stderr, "%-70s", label.data);
  for (int c = 0; c < N; c++) {
    agrl_buf_clear(&cell);
    if (has[c]) number(&cell, c == 0 ? 1e3 * value[c] : value[c]);
    fprintf(stderr, " %9s", has[c] ? cell.data : "");
  }
  fputc('\n', stderr);
  agrl_buf_release(&label);
  agrl_buf_release(&cell);
}

void bench_table(const char *lines, size_t len) {
  fprintf(stderr, "\n%-70s", "case");
  for (int c = 0; c < N; c++) fprintf(stderr, " %9s", titles[c]);
  fputc('\n', stderr);
  for (const char *end; len > 0 && (end = memchr(lines, '\n', len)) != NULL; len -= (size_t)(end + 1 - lines), lines = end + 1) {
    agrl_json *line = NULL;
    if (agrl_json_parse(lines, (size_t)(end - lines), "line", &line, NULL) != AGRL_OK) continue;
    const char *name = "";
    agrl_json_str(agrl_json_get(line, "case"), &name, NULL);
    if (strcmp(name, "path") != 0) row(line);
    agrl_json_free(line);
  }
}
