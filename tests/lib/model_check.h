// SPDX-License-Identifier: Apache-2.0
// Small models for the model tests: every variant of the family, random parameters with healthy gradients, and packed
// batches. Include after cmocka.h.
#ifndef AGRL_TESTS_MODEL_CHECK_H
#define AGRL_TESTS_MODEL_CHECK_H

#include <stdio.h>

#include "common/base/rng.h"
#include "common/model/spec.h"
#include "common/model/train.h"
#include "common/model/weights.h"
#include "tests/lib/ref_llama.h"
#include "tests/lib/tensor_check.h"

enum { MC_VARIANTS = 6 };  // llama, qwen2, qwen3, each untied and tied

static inline agrl_layout *mc_layout(int variant) {
  static const char *const archs[] = {"llama", "qwen2", "qwen3"};
  agrl_spec s = {.n_layers = 2, .hidden = 20, .ffn = 28, .n_heads = 4, .n_kv_heads = 2, .head_dim = 6, .vocab = 37, .context = 64,
                 .rope_theta = 10000, .norm_eps = 1e-5f, .tied = variant % 2, .start_id = -1, .end_id = -1};
  snprintf(s.arch, sizeof s.arch, "%s", archs[variant / 2]);
  s.qkv_bias = variant / 2 == 1;
  s.qk_norm = variant / 2 == 2;
  agrl_layout *l;
  agrl_error err = {0};
  if (agrl_layout_new(&s, &l, &err) != AGRL_OK) fail_msg("%s", err.msg);
  return l;
}

static inline float *mc_params(const agrl_layout *l, uint64_t seed, bool bf16) {
  float *p = agrl_xcalloc(l->n_elements, sizeof *p);
  for (size_t i = 0; i < l->n_tensors; i++) {
    const agrl_tensor_desc *t = &l->tensors[i];
    agrl_rng r;
    agrl_rng_init(&r, seed, i);
    const bool norm = strstr(t->name, "norm") != NULL;
    for (size_t j = 0; j < t->rows * t->cols; j++) p[t->offset + j] = (float)((norm ? 1 : 0) + 0.25 * agrl_rng_normal(&r));
  }
  if (!bf16) return p;
  uint16_t *h = agrl_xcalloc(l->n_elements, sizeof *h);
  agrl_bf16_from_f32(h, p, l->n_elements);
  agrl_f32_from_bf16(p, h, l->n_elements);
  free(h);
  return p;
}

// The weights of a trainer's pass, in f32 mode or in bf16 mode (where p is rounded).
static inline agrl_params mc_mode(const agrl_layout *l, const float *p, bool bf16) {
  agrl_params w = {.f32 = p};
  if (!bf16) return w;
  uint16_t *h = agrl_xcalloc(l->n_elements, sizeof *h);
  agrl_packed *fwd = agrl_packed_new(l, AGRL_PACK_FWD), *bwd = agrl_packed_new(l, AGRL_PACK_BWD);
  agrl_bf16_from_f32(h, p, l->n_elements);
  agrl_packed_fill(fwd, NULL, h);
  agrl_packed_fill(bwd, NULL, h);
  return (agrl_params){.bf16 = h, .fwd = fwd, .bwd = bwd};
}

static inline void mc_mode_free(agrl_params *w) {
  free((void *)w->bf16);
  agrl_packed_free((agrl_packed *)w->fwd);
  agrl_packed_free((agrl_packed *)w->bwd);
}

static inline agrl_weights *mc_weights(const agrl_layout *l, const float *p, uint64_t version) {
  agrl_weights *w = agrl_weights_from_f32(l, p, version);
  agrl_weights_pack(w, NULL);
  return w;
}

typedef struct mc_batch {
  agrl_batch b;
  size_t start[128];
  int32_t tokens[2048], target[2048];
} mc_batch;

// n_seqs sequences of min_len..max_len tokens; about two thirds of the positions that have a next token are targets.
static inline void mc_fill(mc_batch *m, const agrl_layout *l, size_t n_seqs, uint32_t min_len, uint32_t max_len, uint64_t seed) {
  agrl_rng r;
  agrl_rng_init(&r, seed, 7);
  m->start[0] = 0;
  for (size_t s = 0; s < n_seqs; s++) {
    size_t len = min_len + agrl_rng_below(&r, max_len - min_len + 1), end = m->start[s] + len;
    m->start[s + 1] = end;
    for (size_t i = m->start[s]; i < end; i++) m->tokens[i] = (int32_t)agrl_rng_below(&r, (uint32_t)l->spec.vocab);
    for (size_t i = m->start[s]; i < end; i++) m->target[i] = i + 1 < end && agrl_rng_below(&r, 3) > 0 ? m->tokens[i + 1] : -1;
  }
  m->b = (agrl_batch){n_seqs, m->start, m->tokens, m->target, NULL};
}

// Reference log-probs (0 where no target) and, if not NULL, entropies.
static inline void mc_reference(const agrl_layout *l, const double *params, bool bf16, const agrl_batch *b, double *logp,
                                double *entropy) {
  const size_t V = (size_t)l->spec.vocab, T = b->start[b->n_seqs];
  double *logits = agrl_xcalloc(T * V, sizeof *logits);
  for (size_t s = 0; s < b->n_seqs; s++) {  // a sequence that continues another: both as one
    const size_t at = b->start[s], len = b->start[s + 1] - at, up = b->parent != NULL && b->parent[s] >= 0 ? (size_t)b->parent[s] : s;
    const size_t n0 = up == s ? 0 : b->start[up + 1] - b->start[up];
    int32_t *tokens = agrl_xcalloc(n0 + len, sizeof *tokens);
    double *all = agrl_xcalloc((n0 + len) * V, sizeof *all);
    memcpy(tokens, b->tokens + b->start[up], n0 * sizeof *tokens);
    memcpy(tokens + n0, b->tokens + at, len * sizeof *tokens);
    ref_llama_logits(l, params, bf16, tokens, n0 + len, all);
    memcpy(logits + at * V, all + n0 * V, len * V * sizeof *all);
    free(tokens);
    free(all);
  }
  for (size_t i = 0; i < T; i++) {
    const bool has = b->target[i] >= 0;
    logp[i] = has ? ref_llama_logp(logits + i * V, V, (size_t)b->target[i]) : 0;
    if (entropy != NULL) entropy[i] = has ? ref_llama_entropy(logits + i * V, V) : 0;
  }
  free(logits);
}

static inline agrl_trainer *mc_trainer(const agrl_layout *l, agrl_pool *pool, size_t max_tokens) {
  agrl_trainer *t;
  agrl_error err = {0};
  if (agrl_trainer_new(l, pool, max_tokens, AGRL_RECOMPUTE_NONE, &t, &err) != AGRL_OK) fail_msg("%s", err.msg);
  return t;
}

#endif
