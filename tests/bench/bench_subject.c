// SPDX-License-Identifier: Apache-2.0
// See bench_subject.h.
#include "tests/bench/bench_subject.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/conf/config.h"
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

enum { CONTEXT = 1024 };  // long enough for every case; the shape's own does not change a figure

static agrl_spec quickstart(void) {
  agrl_config c;
  agrl_error err;
  if (agrl_config_load(AGRL_BENCH_QUICKSTART, &c, &err) != AGRL_OK) bench_die(err.msg);
  const agrl_spec s = {.n_layers = (int32_t)c.model.layers, .hidden = (int32_t)c.model.hidden, .ffn = (int32_t)c.model.ffn,
                       .n_heads = (int32_t)c.model.heads, .n_kv_heads = (int32_t)c.model.kv_heads, .vocab = (int32_t)c.model.vocab,
                       .rope_theta = (float)c.model.rope_theta, .tied = c.model.tied};
  agrl_config_release(&c);
  return s;
}

const char *bench_subject_name(int index) { return index == 0 ? "quickstart" : "135m"; }

agrl_spec bench_subject_spec(int index) {
  agrl_spec s = index == 0 ? quickstart()
                           : (agrl_spec){.n_layers = 30, .hidden = 576, .ffn = 1536, .n_heads = 9, .n_kv_heads = 3, .vocab = 49152,
                                         .rope_theta = 10000, .tied = true};
  snprintf(s.arch, sizeof s.arch, "llama");
  s.head_dim = s.hidden / s.n_heads;
  s.context = CONTEXT;
  s.norm_eps = 1e-5f;
  s.start_id = s.end_id = -1;
  return s;
}

void bench_subject_products(int index, size_t kn[BENCH_PRODUCTS][2]) {
  const agrl_spec s = bench_subject_spec(index);
  const size_t hidden = (size_t)s.hidden, ffn = (size_t)s.ffn, kv = (size_t)s.n_kv_heads * (size_t)s.head_dim;
  const size_t all[BENCH_PRODUCTS][2] = {{hidden, hidden}, {hidden, kv}, {hidden, ffn}, {ffn, hidden}, {hidden, (size_t)s.vocab}};
  memcpy(kn, all, sizeof all);
}

void bench_subject_open(bench_subject *m, int index) {
  agrl_error err;
  *m = (bench_subject){.name = bench_subject_name(index), .spec = bench_subject_spec(index)};
  if (agrl_layout_new(&m->spec, &m->l, &err) != AGRL_OK) bench_die(err.msg);
  const size_t n = m->l->n_elements;
  m->params = bench_need(agrl_block_alloc(n * sizeof(float)));
  agrl_params_init(m->l, m->params, 1);
  m->w = agrl_weights_from_f32(m->l, m->params, 1);
  agrl_weights_pack(m->w, NULL);
  m->bwd = bench_need(agrl_packed_new(m->l, AGRL_PACK_BWD));
  agrl_packed_fill(m->bwd, NULL, agrl_weights_block(m->w));
  m->served = (agrl_params){.bf16 = agrl_weights_block(m->w), .fwd = agrl_weights_matrices(m->w), .bwd = m->bwd};
  agrl_f32_from_bf16(m->params, agrl_weights_block(m->w), n);
  m->mults = (double)agrl_layout_params(m->l);
  if (!m->spec.tied) m->mults -= (double)m->spec.vocab * m->spec.hidden;
}

void bench_subject_close(bench_subject *m) {
  agrl_weights_unref(m->w);
  agrl_packed_free(m->bwd);
  agrl_block_free(m->params, m->l->n_elements * sizeof(float));
  agrl_layout_free(m->l);
}

void bench_subject_begin(bench_env *e, const char *what, const bench_subject *m) {
  bench_begin(e, what, 1);
  agrl_jw_kstr(&e->json, "model", m->name);
  agrl_jw_ku64(&e->json, "parameters", agrl_layout_params(m->l));
}
