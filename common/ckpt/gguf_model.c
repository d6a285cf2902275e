// SPDX-License-Identifier: Apache-2.0
// The model in a GGUF file. Its metadata may hold only what is understood here: a key of the architecture that is not known
// could change what the model computes, so it is refused by name. Two of the file's habits are undone: other tensor names,
// and, for llama, the order of query and key rows.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/ckpt/gguf.h"
#include "common/tensor/tensor.h"

typedef struct reader {
  const agrl_gguf *g;
  const char *arch;
  agrl_error *err;
  agrl_rc rc;  // of the first failure
} reader;

static void fail(reader *r, agrl_rc rc, const char *key, const char *what) {
  if (r->rc == AGRL_OK) r->rc = agrl_fail(r->err, rc, "%s: %s.%s %s", r->g->name, r->arch, key, what);
}

static const agrl_gguf_value *value(const reader *r, const char *key) {
  char full[256];
  snprintf(full, sizeof full, "%s.%s", r->arch, key);
  return agrl_gguf_get(r->g, full);
}

// def < 0: required.
static int32_t read_int(reader *r, const char *key, int32_t def) {
  const agrl_gguf_value *v = value(r, key);
  int64_t n = def;
  if (v == NULL && def < 0) fail(r, AGRL_EPARSE, key, "is missing");
  if (v != NULL && v->kind == AGRL_GGUF_ARRAY) fail(r, AGRL_EUNSUPPORTED, key, "that differs by layer is not supported");
  else if (v != NULL && (!agrl_gguf_read_int(v, &n) || n < 0 || n > INT32_MAX)) fail(r, AGRL_EPARSE, key, "is not an integer in range");
  return r->rc == AGRL_OK ? (int32_t)n : 0;
}

static float read_real(reader *r, const char *key, double def) {
  const agrl_gguf_value *v = value(r, key);
  double x = def;
  if (v == NULL && def < 0) fail(r, AGRL_EPARSE, key, "is missing");
  if (v != NULL && !agrl_gguf_read_real(v, &x)) fail(r, AGRL_EPARSE, key, "is not a floating-point number");
  return (float)x;
}

static void read_scaling(reader *r) {
  agrl_gguf_str type = {"none", 4};
  const agrl_gguf_value *v = value(r, "rope.scaling.type");
  if (v != NULL && !agrl_gguf_read_str(v, &type)) fail(r, AGRL_EPARSE, "rope.scaling.type", "is not a string");
  if (type.len == 4 && memcmp(type.s, "none", 4) == 0) return;
  if (r->rc == AGRL_OK)
    r->rc = agrl_fail(r->err, AGRL_EUNSUPPORTED, "%s: %s.rope.scaling.type %.*s is not supported", r->g->name, r->arch,
                      (int)(type.len < 60 ? type.len : 60), type.s);
}

// Every key of the architecture is one that is read here, or says what is true anyway.
static void refuse_unknown(reader *r) {
  static const char *const known[] = {
      "context_length", "embedding_length", "block_count", "feed_forward_length", "attention.head_count", "attention.head_count_kv",
      "attention.key_length", "attention.value_length", "attention.layer_norm_rms_epsilon", "rope.dimension_count", "rope.freq_base",
      "rope.scaling.type", "vocab_size"};
  const size_t n = strlen(r->arch);
  for (size_t i = 0; i < r->g->n_values; i++) {
    const agrl_gguf_str key = r->g->values[i].key;
    if (key.len <= n || memcmp(key.s, r->arch, n) != 0 || key.s[n] != '.') continue;
    bool found = false;
    for (size_t k = 0; k < sizeof known / sizeof *known; k++)
      found |= strlen(known[k]) == key.len - n - 1 && memcmp(known[k], key.s + n + 1, key.len - n - 1) == 0;
    int64_t v = 1;
    const bool off = agrl_gguf_read_int(&r->g->values[i], &v) && v == 0;  // expert_count 0, and the like
    if (!found && !off && r->rc == AGRL_OK)
      r->rc = agrl_fail(r->err, AGRL_EUNSUPPORTED, "%s: %.*s is not supported", r->g->name, (int)key.len, key.s);
  }
}

#define ROPE_FACTORS "rope_freqs.weight"

// Llama 3 keeps its rope scaling as a tensor: what each frequency is divided by. The parameters behind it are not in the file,
// so those of the published models are tried, with the tensor's last element, the lowest frequency's, as the factor; every
// element must then be what the rule says.
static void read_rope_factors(reader *r, agrl_spec *s) {
  const agrl_gguf_tensor *t = agrl_gguf_find(r->g, ROPE_FACTORS);
  if (t == NULL || r->rc != AGRL_OK) return;
  const size_t half = (size_t)s->head_dim / 2;
  if (strcmp(r->arch, "llama") != 0 || t->n_dims != 1 || half == 0 || t->elements != half || t->type->block != 1) {
    r->rc = agrl_fail(r->err, AGRL_EPARSE, "%s: tensor " ROPE_FACTORS " is not the %zu numbers of a llama head", r->g->name, half);
    return;
  }
  float *divisor = agrl_xreallocarray(NULL, half, sizeof *divisor);
  agrl_gguf_to_f32(t, divisor);
  const agrl_rope_scaling rope = {.factor = divisor[half - 1], .low_freq_factor = 1, .high_freq_factor = 4, .original_context = 8192};
  bool same = rope.factor >= 1;
  for (size_t i = 0; same && i < half; i++) {
    const double frequency = pow((double)s->rope_theta, -2.0 * (double)i / (double)s->head_dim);
    same = fabs((double)divisor[i] * agrl_rope_frequency(frequency, &rope) / frequency - 1.0) < 1e-4;
  }
  free(divisor);
  if (same) s->rope = rope;
  else
    r->rc = agrl_fail(r->err, AGRL_EUNSUPPORTED,
                      "%s: tensor " ROPE_FACTORS " is not Llama 3's rope scaling with low_freq_factor 1, high_freq_factor 4 and 8192 "
                      "original positions: not supported", r->g->name);
}

static int32_t token_id(reader *r, const char *key) {
  const agrl_gguf_value *v = agrl_gguf_get(r->g, key);
  int64_t id = -1;
  if (v != NULL && (!agrl_gguf_read_int(v, &id) || id < 0 || id > INT32_MAX) && r->rc == AGRL_OK)
    r->rc = agrl_fail(r->err, AGRL_EPARSE, "%s: %s is not a token id", r->g->name, key);
  return r->rc == AGRL_OK ? (int32_t)id : -1;
}

static void add_stop(agrl_spec *s, int32_t id) {
  if (s->end_id < 0) s->end_id = id;
  else if (id >= 0 && !agrl_spec_stops(s, id)) s->stop_ids[s->n_stops++] = id;
}

static void read_tokens(reader *r, agrl_spec *s) {
  agrl_gguf_str pre = {0};
  agrl_gguf_read_str(agrl_gguf_get(r->g, "tokenizer.ggml.pre"), &pre);
  bool start = pre.len == 9 && memcmp(pre.s, "llama-bpe", 9) == 0;  // Llama 3's own default
  agrl_gguf_read_bool(agrl_gguf_get(r->g, "tokenizer.ggml.add_bos_token"), &start);
  s->start_id = start ? token_id(r, "tokenizer.ggml.bos_token_id") : -1;
  s->end_id = token_id(r, "tokenizer.ggml.eos_token_id");
  add_stop(s, token_id(r, "tokenizer.ggml.eot_token_id"));
}

// The embedding's rows are the vocabulary; a stated vocab_size must agree.
static int32_t read_vocab(reader *r) {
  const agrl_gguf_tensor *t = agrl_gguf_find(r->g, "token_embd.weight");
  if (t == NULL || t->n_dims != 2 || t->shape[1] > INT32_MAX) {
    if (r->rc == AGRL_OK) r->rc = agrl_fail(r->err, AGRL_EPARSE, "%s: tensor token_embd.weight is missing or not a matrix", r->g->name);
    return 0;
  }
  const int32_t rows = (int32_t)t->shape[1];
  if (read_int(r, "vocab_size", rows) != rows) fail(r, AGRL_EPARSE, "vocab_size", "differs from the rows of token_embd.weight");
  return rows;
}

static void read_shape(reader *r, agrl_spec *s) {
  snprintf(s->arch, sizeof s->arch, "%s", r->arch);
  s->qkv_bias = strcmp(r->arch, "qwen2") == 0;
  s->qk_norm = strcmp(r->arch, "qwen3") == 0;
  s->hidden = read_int(r, "embedding_length", -1);
  s->ffn = read_int(r, "feed_forward_length", -1);
  s->n_layers = read_int(r, "block_count", -1);
  s->n_heads = read_int(r, "attention.head_count", -1);
  s->n_kv_heads = read_int(r, "attention.head_count_kv", s->n_heads);
  s->head_dim = read_int(r, "attention.key_length", s->n_heads > 0 ? s->hidden / s->n_heads : 0);
  s->context = read_int(r, "context_length", -1);
  s->rope_theta = read_real(r, "rope.freq_base", 10000);
  s->norm_eps = read_real(r, "attention.layer_norm_rms_epsilon", -1);
  s->vocab = read_vocab(r);
  s->tied = agrl_gguf_find(r->g, "output.weight") == NULL;
  if (read_int(r, "attention.value_length", s->head_dim) != s->head_dim)
    fail(r, AGRL_EUNSUPPORTED, "attention.value_length", "other than key_length is not supported");
  if (read_int(r, "rope.dimension_count", s->head_dim) != s->head_dim)
    fail(r, AGRL_EUNSUPPORTED, "rope.dimension_count", "other than the head's size is not supported");
}

static agrl_rc refuse_split(const agrl_gguf *g, agrl_error *err) {
  int64_t n = 0;
  if (agrl_gguf_read_int(agrl_gguf_get(g, "split.count"), &n) && n > 1)
    return agrl_fail(err, AGRL_EUNSUPPORTED, "%s: split.count is %" PRId64 ": files in parts are not supported; join them first", g->name, n);
  return AGRL_OK;
}

agrl_rc agrl_gguf_spec(const agrl_gguf *g, agrl_spec *out, agrl_error *err) {
  static const char *const archs[] = {"llama", "qwen2", "qwen3"};
  agrl_gguf_str s = {0};
  *out = (agrl_spec){.start_id = -1, .end_id = -1};
  reader r = {.g = g, .err = err};
  if (!agrl_gguf_read_str(agrl_gguf_get(g, "general.architecture"), &s))
    return agrl_fail(err, AGRL_EPARSE, "%s: general.architecture is missing or not a string", g->name);
  for (size_t i = 0; i < 3; i++)
    if (strlen(archs[i]) == s.len && memcmp(archs[i], s.s, s.len) == 0) r.arch = archs[i];
  if (r.arch == NULL)
    return agrl_fail(err, AGRL_EUNSUPPORTED, "%s: general.architecture %.*s is not one of llama, qwen2, qwen3", g->name,
                     (int)(s.len < 60 ? s.len : 60), s.s);
  r.rc = refuse_split(g, err);
  read_scaling(&r);
  refuse_unknown(&r);
  read_shape(&r, out);
  read_rope_factors(&r, out);
  read_tokens(&r, out);
  agrl_error why;
  if (r.rc == AGRL_OK && agrl_spec_check(out, &why) != AGRL_OK) r.rc = agrl_fail(err, AGRL_EPARSE, "%s: %s", g->name, why.msg);
  return r.rc;
}

// The file's name of the layout's tensor i.
static void file_name(const agrl_layout *l, size_t i, char out[AGRL_GGUF_NAME_BYTES]) {
  static const struct {
    const char *hf, *gguf;
  } parts[] = {{"input_layernorm.weight", "attn_norm.weight"},
               {"post_attention_layernorm.weight", "ffn_norm.weight"},
               {"self_attn.q_proj.weight", "attn_q.weight"},
               {"self_attn.k_proj.weight", "attn_k.weight"},
               {"self_attn.v_proj.weight", "attn_v.weight"},
               {"self_attn.o_proj.weight", "attn_output.weight"},
               {"self_attn.q_proj.bias", "attn_q.bias"},
               {"self_attn.k_proj.bias", "attn_k.bias"},
               {"self_attn.v_proj.bias", "attn_v.bias"},
               {"self_attn.q_norm.weight", "attn_q_norm.weight"},
               {"self_attn.k_norm.weight", "attn_k_norm.weight"},
               {"mlp.gate_proj.weight", "ffn_gate.weight"},
               {"mlp.up_proj.weight", "ffn_up.weight"},
               {"mlp.down_proj.weight", "ffn_down.weight"}};
  const char *name = l->tensors[i].name;
  int layer = 0, used = 0;
  out[0] = 0;
  if ((int)i == l->embed) snprintf(out, AGRL_GGUF_NAME_BYTES, "token_embd.weight");
  else if ((int)i == l->final_norm) snprintf(out, AGRL_GGUF_NAME_BYTES, "output_norm.weight");
  else if ((int)i == l->head) snprintf(out, AGRL_GGUF_NAME_BYTES, "output.weight");
  else if (sscanf(name, "model.layers.%d.%n", &layer, &used) == 1 && used > 0)
    for (size_t k = 0; k < sizeof parts / sizeof *parts; k++)
      if (strcmp(name + used, parts[k].hf) == 0) snprintf(out, AGRL_GGUF_NAME_BYTES, "blk.%d.%s", layer, parts[k].gguf);
}

// llama's converter writes the rows of each query and key head for rotation in adjacent pairs (0, 1), (2, 3), ...; the model
// here rotates halves, (0, d/2), (1, d/2 + 1), ...: row 2 j + h of a head is row h d/2 + j here.
static void unpermute_head(const float *from, float *to, size_t head_dim, size_t cols) {
  for (size_t row = 0; row < head_dim; row++) memcpy(to + (row % 2 * (head_dim / 2) + row / 2) * cols, from + row * cols, cols * sizeof *to);
}

static void unpermute(float *w, size_t rows, size_t head_dim, size_t cols) {
  float *head = agrl_xreallocarray(NULL, head_dim * cols, sizeof *head);
  for (size_t at = 0; at < rows; at += head_dim) {
    memcpy(head, w + at * cols, head_dim * cols * sizeof *head);
    unpermute_head(head, w + at * cols, head_dim, cols);
  }
  free(head);
}

static void round_to_bf16(float *x, size_t n) {
  enum { STEP = 4096 };
  uint16_t half[STEP];
  for (size_t at = 0, k; at < n; at += k) {
    k = n - at < STEP ? n - at : STEP;
    agrl_bf16_from_f32(half, x + at, k);
    agrl_f32_from_bf16(x + at, half, k);
  }
}

static bool rotated(const agrl_layout *l, int i) {
  if (strcmp(l->spec.arch, "llama") != 0) return false;
  for (int n = 0; n < l->spec.n_layers; n++)
    if (l->layers[n].q == i || l->layers[n].k == i) return true;
  return false;
}

static agrl_rc find_tensors(const agrl_gguf *g, const agrl_layout *l, const agrl_gguf_tensor **found, agrl_error *err) {
  char name[AGRL_GGUF_NAME_BYTES];
  bool *used = agrl_xcalloc(g->n_tensors + 1, sizeof *used);
  agrl_rc rc = AGRL_OK;
  for (size_t i = 0; rc == AGRL_OK && i < l->n_tensors; i++) {
    const agrl_tensor_desc *d = &l->tensors[i];
    file_name(l, i, name);
    const agrl_gguf_tensor *t = found[i] = agrl_gguf_find(g, name);
    if (t == NULL) {
      rc = agrl_fail(err, AGRL_EPARSE, "%s: tensor %s is missing", g->name, name);
      break;
    }
    used[t - g->tensors] = true;
    const bool fits = d->decay ? t->n_dims == 2 && t->shape[1] == d->rows && t->shape[0] == d->cols : t->n_dims == 1 && t->shape[0] == d->cols;
    if (!fits) rc = agrl_fail(err, AGRL_EPARSE, "%s: tensor %s is not the %zu x %zu of the metadata", g->name, name, d->rows, d->cols);
  }
  for (size_t i = 0; rc == AGRL_OK && i < g->n_tensors; i++)
    if (!used[i] && !(l->spec.rope.factor > 0 && strcmp(g->tensors[i].name, ROPE_FACTORS) == 0))
      rc = agrl_fail(err, AGRL_EUNSUPPORTED, "%s: tensor %s is not part of a %s model of this shape", g->name, g->tensors[i].name, l->spec.arch);
  free(used);
  return rc;
}

// The layout of that shape and, by its tensors, those of the file. Free both.
static agrl_rc lay_out(const agrl_gguf *g, const agrl_spec *spec, agrl_layout **l, const agrl_gguf_tensor ***found, agrl_error *err) {
  if ((size_t)spec->n_layers > g->n_tensors)  // before memory is taken for so many
    return agrl_fail(err, AGRL_EPARSE, "%s: %s.block_count is %d in a file of %zu tensors", g->name, spec->arch, spec->n_layers, g->n_tensors);
  agrl_rc rc = agrl_layout_new(spec, l, err);
  if (rc != AGRL_OK) return rc;
  *found = agrl_xcalloc((*l)->n_tensors, sizeof **found);
  return find_tensors(g, *l, *found, err);
}

agrl_rc agrl_gguf_fits(const agrl_gguf *g, const agrl_spec *spec, agrl_error *err) {
  agrl_layout *l = NULL;
  const agrl_gguf_tensor **found = NULL;
  agrl_rc rc = lay_out(g, spec, &l, &found, err);
  free(found);
  agrl_layout_free(l);
  return rc;
}

agrl_rc agrl_gguf_load(const agrl_gguf *g, agrl_layout **layout, float **block, agrl_gguf_progress progress, void *user, agrl_error *err) {
  agrl_spec spec;
  agrl_layout *l = NULL;
  const agrl_gguf_tensor **found = NULL;
  float *p = NULL;
  *layout = NULL;
  *block = NULL;
  agrl_rc rc = agrl_gguf_spec(g, &spec, err);
  if (rc == AGRL_OK) rc = lay_out(g, &spec, &l, &found, err);
  if (rc == AGRL_OK && (p = agrl_block_alloc(l->n_elements * sizeof *p)) == NULL)
    rc = agrl_fail(err, AGRL_ENOMEM, "%s: cannot reserve %zu bytes for its parameters", g->name, l->n_elements * sizeof *p);
  for (size_t i = 0; rc == AGRL_OK && i < l->n_tensors; i++) {
    const agrl_tensor_desc *d = &l->tensors[i];
    if (progress != NULL) progress(user, i, l->n_tensors);
    agrl_gguf_to_f32(found[i], p + d->offset);
    if (rotated(l, (int)i)) unpermute(p + d->offset, d->rows, (size_t)spec.head_dim, d->cols);
    round_to_bf16(p + d->offset, d->rows * d->cols);
  }
  free(found);
  if (rc != AGRL_OK) {
    agrl_layout_free(l);
    return rc;
  }
  if (progress != NULL) progress(user, l->n_tensors, l->n_tensors);
  *layout = l;
  *block = p;
  return AGRL_OK;
}
