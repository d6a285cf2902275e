// SPDX-License-Identifier: Apache-2.0
// The parameter table of a Llama-family decoder and its initial values. The order of the table is the order of the block
// and of the safetensors file, so a change here changes nothing but where things lie.
#include "common/model/spec.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bug.h"
#include "common/base/mem.h"
#include "common/base/num.h"
#include "common/base/rng.h"

enum { ALIGN_ELEMENTS = 32 };  // 64 bytes of bf16, 128 of f32

typedef struct range {
  const char *name;
  int32_t value, min, max;
} range;

static agrl_rc check_arch(const agrl_spec *s, agrl_error *err) {
  static const struct {
    const char *name;
    bool bias, norm;
  } archs[] = {{"llama", false, false}, {"qwen2", true, false}, {"qwen3", false, true}};
  for (size_t i = 0; i < sizeof archs / sizeof *archs; i++) {
    if (strcmp(s->arch, archs[i].name) != 0) continue;
    if (s->qkv_bias != archs[i].bias)
      return agrl_fail(err, AGRL_EUNSUPPORTED, "model: %s %s query/key/value biases", s->arch, archs[i].bias ? "has" : "has no");
    if (s->qk_norm != archs[i].norm)
      return agrl_fail(err, AGRL_EUNSUPPORTED, "model: %s %s query/key norms", s->arch, archs[i].norm ? "has" : "has no");
    return AGRL_OK;
  }
  return agrl_fail(err, AGRL_EUNSUPPORTED, "model: architecture '%.31s' is not one of llama, qwen2, qwen3", s->arch);
}

static agrl_rc check_stops(const agrl_spec *s, agrl_error *err) {
  if (s->n_stops < 0 || s->n_stops > AGRL_SPEC_MAX_STOPS)
    return agrl_fail(err, AGRL_EINVAL, "model: %d stop tokens besides the end token, at most %d", s->n_stops, AGRL_SPEC_MAX_STOPS);
  for (int32_t i = 0; i < s->n_stops; i++) {
    const int32_t id = s->stop_ids[i];
    bool twice = id == s->end_id;
    for (int32_t j = 0; j < i; j++) twice |= id == s->stop_ids[j];
    if (id < 0 || id >= s->vocab || twice)
      return agrl_fail(err, AGRL_EINVAL, "model: stop token %d %s", id, twice ? "is given twice" : "is outside of the vocabulary");
  }
  return AGRL_OK;
}

static agrl_rc check_rope(const agrl_spec *s, agrl_error *err) {
  const agrl_rope_scaling *r = &s->rope;
  if (!(s->rope_theta > 0 && isfinite(s->rope_theta)))
    return agrl_fail(err, AGRL_EINVAL, "model: rope_theta is %g, must be positive", (double)s->rope_theta);
  if (r->factor == 0.0f) return AGRL_OK;
  if (!(r->factor >= 1 && isfinite(r->factor) && r->low_freq_factor > 0 && r->high_freq_factor > r->low_freq_factor &&
        isfinite(r->high_freq_factor) && r->original_context > 0))
    return agrl_fail(err, AGRL_EINVAL,
                     "model: rope scaling factor %g, low_freq_factor %g, high_freq_factor %g, original_max_position_embeddings %d: must "
                     "be factor >= 1, 0 < low < high, positions > 0",
                     (double)r->factor, (double)r->low_freq_factor, (double)r->high_freq_factor, r->original_context);
  return AGRL_OK;
}

agrl_rc agrl_spec_check(const agrl_spec *s, agrl_error *err) {
  if (memchr(s->arch, 0, sizeof s->arch) == NULL) return agrl_fail(err, AGRL_EINVAL, "model: architecture name is too long");
  const range ranges[] = {
      {"layers", s->n_layers, 1, 1024},      {"hidden", s->hidden, 2, 65536},       {"ffn", s->ffn, 2, 1 << 20},
      {"heads", s->n_heads, 1, 1024},        {"kv_heads", s->n_kv_heads, 1, 1024},  {"head_dim", s->head_dim, 2, 1024},
      {"vocab", s->vocab, 1, 1 << 22},       {"context", s->context, 1, 1 << 22},   {"start token", s->start_id, -1, s->vocab - 1},
      {"end token", s->end_id, -1, s->vocab - 1},
  };
  for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
    const range *r = &ranges[i];
    if (r->value < r->min || r->value > r->max)
      return agrl_fail(err, AGRL_EINVAL, "model: %s is %d, must be %d to %d", r->name, r->value, r->min, r->max);
  }
  if (s->n_heads % s->n_kv_heads != 0)
    return agrl_fail(err, AGRL_EINVAL, "model: heads (%d) must be a multiple of kv_heads (%d)", s->n_heads, s->n_kv_heads);
  if (s->head_dim % 2 != 0) return agrl_fail(err, AGRL_EINVAL, "model: head_dim (%d) must be even", s->head_dim);
  if (!(s->norm_eps >= 0 && s->norm_eps < 1))
    return agrl_fail(err, AGRL_EINVAL, "model: norm_eps is %g, must be 0 to 1", (double)s->norm_eps);
  agrl_rc rc = check_rope(s, err);
  if (rc == AGRL_OK) rc = check_stops(s, err);
  return rc == AGRL_OK ? check_arch(s, err) : rc;
}

bool agrl_spec_stops(const agrl_spec *s, int32_t id) {
  if (id < 0) return false;
  if (id == s->end_id) return true;
  for (int32_t i = 0; i < s->n_stops; i++)
    if (id == s->stop_ids[i]) return true;
  return false;
}

static int add_tensor(agrl_layout *l, size_t rows, size_t cols, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

static int add_tensor(agrl_layout *l, size_t rows, size_t cols, const char *fmt, ...) {
  agrl_tensor_desc *t = &l->tensors[l->n_tensors];
  va_list ap;
  va_start(ap, fmt);
  int n = vsnprintf(t->name, sizeof t->name, fmt, ap);
  va_end(ap);
  AGRL_ASSERT(n > 0 && (size_t)n < sizeof t->name);
  t->rows = rows;
  t->cols = cols;
  t->decay = rows > 1;
  t->offset = l->n_elements;
  l->n_elements += (rows * cols + ALIGN_ELEMENTS - 1) / ALIGN_ELEMENTS * ALIGN_ELEMENTS;
  return (int)l->n_tensors++;
}

static void add_layer(agrl_layout *l, int n) {
  const agrl_spec *s = &l->spec;
  const size_t C = (size_t)s->hidden, F = (size_t)s->ffn, D = (size_t)s->head_dim;
  const size_t Q = (size_t)s->n_heads * D, KV = (size_t)s->n_kv_heads * D;
  agrl_layer_index *x = &l->layers[n];
  x->in_norm = add_tensor(l, 1, C, "model.layers.%d.input_layernorm.weight", n);
  x->q = add_tensor(l, Q, C, "model.layers.%d.self_attn.q_proj.weight", n);
  x->k = add_tensor(l, KV, C, "model.layers.%d.self_attn.k_proj.weight", n);
  x->v = add_tensor(l, KV, C, "model.layers.%d.self_attn.v_proj.weight", n);
  x->q_bias = s->qkv_bias ? add_tensor(l, 1, Q, "model.layers.%d.self_attn.q_proj.bias", n) : -1;
  x->k_bias = s->qkv_bias ? add_tensor(l, 1, KV, "model.layers.%d.self_attn.k_proj.bias", n) : -1;
  x->v_bias = s->qkv_bias ? add_tensor(l, 1, KV, "model.layers.%d.self_attn.v_proj.bias", n) : -1;
  x->q_norm = s->qk_norm ? add_tensor(l, 1, D, "model.layers.%d.self_attn.q_norm.weight", n) : -1;
  x->k_norm = s->qk_norm ? add_tensor(l, 1, D, "model.layers.%d.self_attn.k_norm.weight", n) : -1;
  x->o = add_tensor(l, C, Q, "model.layers.%d.self_attn.o_proj.weight", n);
  x->post_norm = add_tensor(l, 1, C, "model.layers.%d.post_attention_layernorm.weight", n);
  x->gate = add_tensor(l, F, C, "model.layers.%d.mlp.gate_proj.weight", n);
  x->up = add_tensor(l, F, C, "model.layers.%d.mlp.up_proj.weight", n);
  x->down = add_tensor(l, C, F, "model.layers.%d.mlp.down_proj.weight", n);
}

// Sizes were bounded by agrl_spec_check: a layer has fewer than 2^40 elements, so 1024 of them fit in a size_t of 64 bits.
agrl_rc agrl_layout_new(const agrl_spec *s, agrl_layout **out, agrl_error *err) {
  *out = NULL;
  agrl_rc rc = agrl_spec_check(s, err);
  if (rc != AGRL_OK) return rc;
  agrl_layout *l = agrl_xcalloc(1, sizeof *l);
  l->spec = *s;
  l->tensors = agrl_xcalloc((size_t)s->n_layers * 14 + 3, sizeof *l->tensors);
  l->layers = agrl_xcalloc((size_t)s->n_layers, sizeof *l->layers);
  l->embed = add_tensor(l, (size_t)s->vocab, (size_t)s->hidden, "model.embed_tokens.weight");
  for (int n = 0; n < s->n_layers; n++) add_layer(l, n);
  l->final_norm = add_tensor(l, 1, (size_t)s->hidden, "model.norm.weight");
  l->head = s->tied ? l->embed : add_tensor(l, (size_t)s->vocab, (size_t)s->hidden, "lm_head.weight");
  l->tensors[l->embed].decay = l->tensors[l->head].decay = true;
  size_t bytes;
  if (!agrl_size_mul(l->n_elements, sizeof(float), &bytes) || l->n_elements > (size_t)1 << 40) {
    size_t n = l->n_elements;
    agrl_layout_free(l);
    return agrl_fail(err, AGRL_ELIMIT, "model: %zu parameters are more than supported", n);
  }
  *out = l;
  return AGRL_OK;
}

void agrl_layout_free(agrl_layout *l) {
  if (l == NULL) return;
  free(l->tensors);
  free(l->layers);
  free(l);
}

int agrl_layout_find(const agrl_layout *l, const char *name) {
  for (size_t i = 0; i < l->n_tensors; i++)
    if (strcmp(l->tensors[i].name, name) == 0) return (int)i;
  return -1;
}

size_t agrl_layout_params(const agrl_layout *l) {
  size_t n = 0;
  for (size_t i = 0; i < l->n_tensors; i++) n += l->tensors[i].rows * l->tensors[i].cols;
  return n;
}

static bool has_suffix(const char *s, const char *suffix) {
  size_t n = strlen(s), m = strlen(suffix);
  return n >= m && strcmp(s + n - m, suffix) == 0;
}

// Every tensor has a stream of its own, so its values do not depend on the tensors before it.
void agrl_params_init(const agrl_layout *l, float *block, uint64_t seed) {
  const float residual = 0.02f / sqrtf(2.0f * (float)l->spec.n_layers);
  memset(block, 0, l->n_elements * sizeof *block);
  for (size_t i = 0; i < l->n_tensors; i++) {
    const agrl_tensor_desc *t = &l->tensors[i];
    float *p = block + t->offset;
    const size_t n = t->rows * t->cols;
    if (has_suffix(t->name, ".bias")) continue;
    if (has_suffix(t->name, "norm.weight")) {
      for (size_t j = 0; j < n; j++) p[j] = 1.0f;
      continue;
    }
    const bool to_residual = has_suffix(t->name, "o_proj.weight") || has_suffix(t->name, "down_proj.weight");
    const float sd = to_residual ? residual : 0.02f;
    agrl_rng rng;
    agrl_rng_init(&rng, seed, i);
    for (size_t j = 0; j < n; j++) p[j] = sd * (float)agrl_rng_normal(&rng);
  }
}
