// SPDX-License-Identifier: Apache-2.0
// See bench_subject.h.
#include "tests/bench/bench_subject.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/mem.h"
#include "common/tensor/tensor.h"

void bench_die(const char *why) {
  fprintf(stderr, "agrl-bench: %s\n", why);
  exit(70);
}

void *bench_need(void *p) {
  if (p != NULL) return p;
  fputs("agrl-bench: no memory for the model\n", stderr);
  exit(71);
}

static agrl_spec shape(int layers, int hidden, int ffn, int heads, int kv, int vocab, bool tied) {
  return (agrl_spec){.arch = "llama", .n_layers = layers, .hidden = hidden, .ffn = ffn, .n_heads = heads, .n_kv_heads = kv,
                     .head_dim = hidden / heads, .vocab = vocab, .context = 1024, .rope_theta = 10000, .norm_eps = 1e-5f, .tied = tied,
                     .start_id = -1, .end_id = -1};
}

void bench_subject_open(bench_subject *m, int index) {
  agrl_error err;
  *m = index == 0 ? (bench_subject){.name = "quickstart", .spec = shape(4, 128, 384, 4, 2, 1024, true)}
                  : (bench_subject){.name = "135m", .spec = shape(30, 576, 1536, 9, 3, 49152, true)};
  if (agrl_layout_new(&m->spec, &m->l, &err) != AGRL_OK) bench_die(err.msg);
  const size_t n = m->l->n_elements;
  m->params = bench_need(agrl_block_alloc(n * sizeof(float)));
  agrl_params_init(m->l, m->params, 1);
  m->w = agrl_weights_from_f32(m->l, m->params, 1);
  agrl_f32_from_bf16(m->params, agrl_weights_block(m->w), n);
  m->mults = (double)agrl_layout_params(m->l);
  if (!m->spec.tied) m->mults -= (double)m->spec.vocab * m->spec.hidden;
}

void bench_subject_close(bench_subject *m) {
  agrl_weights_unref(m->w);
  agrl_block_free(m->params, m->l->n_elements * sizeof(float));
  agrl_layout_free(m->l);
}

void bench_subject_begin(bench_env *e, const char *what, const bench_subject *m) {
  bench_begin(e, what, 1);
  agrl_jw_kstr(&e->json, "model", m->name);
  agrl_jw_ku64(&e->json, "parameters", agrl_layout_params(m->l));
}
