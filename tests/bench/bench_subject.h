// SPDX-License-Identifier: Apache-2.0
// The two models that cases measure, with random weights: the quickstart's, whose shape is read from deploy/etc/quickstart.yaml,
// and a 135M Llama.
#ifndef AGRL_BENCH_SUBJECT_H
#define AGRL_BENCH_SUBJECT_H

#include "common/model/train.h"
#include "common/model/weights.h"
#include "tests/bench/bench_cases.h"

enum { BENCH_SUBJECTS = 2, BENCH_PRODUCTS = 5 };

typedef struct bench_subject {
  const char *name;
  agrl_spec spec;
  agrl_layout *l;
  float *params;       // values are bf16, as served
  agrl_weights *w;     // packed
  agrl_packed *bwd;
  agrl_params served;  // of w and bwd
  double mults;  // weights of products per token: all matrices, the embedding table only as LM head
} bench_subject;

const char *bench_subject_name(int index);  // index: below BENCH_SUBJECTS
agrl_spec bench_subject_spec(int index);    // ends the program when quickstart.yaml cannot be read
// (inputs, outputs) of its matrices, each distinct shape once: query and output, key and value, gate and up, down, LM head.
void bench_subject_products(int index, size_t kn[BENCH_PRODUCTS][2]);
void bench_subject_open(bench_subject *m, int index);
void bench_subject_close(bench_subject *m);
void *bench_need(void *p);                             // ends the program when p is NULL
_Noreturn void bench_die(const char *why);
// bench_begin with the model's name and size, on all threads.
void bench_subject_begin(bench_env *e, const char *what, const bench_subject *m);

#endif
