// SPDX-License-Identifier: Apache-2.0
// Reading config.json as transformers writes it, in its older and its newer form. What the model here cannot do is
// refused by its key: a checkpoint that loads is computed exactly as its authors meant.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/json.h"
#include "common/ckpt/hf_int.h"

static const ckpt_arch archs[] = {
    {"llama", "LlamaForCausalLM", false, false},
    {"qwen2", "Qwen2ForCausalLM", true, false},
    {"qwen3", "Qwen3ForCausalLM", false, true},
};

const ckpt_arch *ckpt_arch_find(const char *type) {
  for (size_t i = 0; i < sizeof archs / sizeof *archs; i++)
    if (strcmp(archs[i].type, type) == 0) return &archs[i];
  return NULL;
}

typedef struct reader {
  const agrl_json *root;
  const char *path;
  agrl_error *err;
  agrl_rc rc;  // of the first failure
} reader;

static void fail(reader *r, agrl_rc rc, const char *key, const char *what) {
  if (r->rc == AGRL_OK) r->rc = agrl_fail(r->err, rc, "%s: %s %s", r->path, key, what);
}

static const agrl_json *value_in(const agrl_json *from, const char *key) {  // NULL when absent or null
  const agrl_json *j = agrl_json_get(from, key);
  return j == NULL || agrl_json_typeof(j) == AGRL_JSON_NULL ? NULL : j;
}

static const agrl_json *value(const reader *r, const char *key) { return value_in(r->root, key); }

static int32_t read_int_in(reader *r, const agrl_json *from, const char *key, bool required, int32_t def) {
  const agrl_json *j = value_in(from, key);
  int64_t v = def;
  if (j == NULL && required) fail(r, AGRL_EPARSE, key, "is missing");
  if (j != NULL && (!agrl_json_i64(j, &v) || v < -1 || v > INT32_MAX)) {
    fail(r, AGRL_EPARSE, key, "is not an integer in range");
    return def;
  }
  return (int32_t)v;
}

static int32_t read_int(reader *r, const char *key, bool required, int32_t def) {
  return read_int_in(r, r->root, key, required, def);
}

static float read_float(reader *r, const agrl_json *from, const char *key, bool required, double def) {
  const agrl_json *j = value_in(from, key);
  double v = def;
  if (j == NULL && required) fail(r, AGRL_EPARSE, key, "is missing");
  if (j != NULL && !agrl_json_f64(j, &v)) fail(r, AGRL_EPARSE, key, "is not a number");
  return (float)v;
}

static bool read_bool(reader *r, const char *key, bool def) {
  const agrl_json *j = value(r, key);
  bool v = def;
  if (j != NULL && !agrl_json_bool(j, &v)) fail(r, AGRL_EPARSE, key, "is not true or false");
  return v;
}

static void refuse_true(reader *r, const char *key) {
  if (read_bool(r, key, false)) fail(r, AGRL_EUNSUPPORTED, key, "is not supported");
}

static void refuse_present(reader *r, const char *key) {
  if (value(r, key) != NULL) fail(r, AGRL_EUNSUPPORTED, key, "is not supported");
}

static void refuse_partial_rotary(reader *r, const agrl_json *from) {
  if (read_float(r, from, "partial_rotary_factor", false, 1) != 1.0f)
    fail(r, AGRL_EUNSUPPORTED, "partial_rotary_factor", "other than 1 is not supported");
}

static bool is_one_of(const char *key, const char *const *names, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (strcmp(names[i], key) == 0) return true;
  return false;
}

// Anything else in the object changes the angles, too: scaling that names no type, or a whole object for each kind of layer.
static void refuse_members(reader *r, const agrl_json *p, const char *name, bool scaled) {
  static const char *const plain[] = {"rope_theta", "rope_type", "type", "partial_rotary_factor"};
  static const char *const scale[] = {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"};
  for (void *it = agrl_json_first(p); it != NULL && r->rc == AGRL_OK; it = agrl_json_next(p, it)) {
    const char *key = agrl_json_key(it);
    const bool scales = is_one_of(key, scale, sizeof scale / sizeof *scale);
    if (value_in(p, key) == NULL || is_one_of(key, plain, sizeof plain / sizeof *plain) || (scaled && scales)) continue;
    r->rc = agrl_fail(r->err, AGRL_EUNSUPPORTED, "%s: %s %.60s %s", r->path, name, key,
                      scales ? "without a rope_type that scales is not supported" : "is not supported");
  }
}

// The kind is rope_type or, of older writers, type; of both, when they agree. NULL: not to be read.
static const char *rope_kind(reader *r, const agrl_json *p, const char *name) {
  const agrl_json *now = value_in(p, "rope_type"), *old = value_in(p, "type");
  const char *kind = "default", *other = NULL;
  if (agrl_json_typeof(p) != AGRL_JSON_OBJECT || (now != NULL && !agrl_json_str(now, &kind, NULL)) ||
      (old != NULL && !agrl_json_str(old, &other, NULL))) {
    fail(r, AGRL_EPARSE, name, "is not an object with a rope_type");
    return NULL;
  }
  if (now != NULL && other != NULL && strcmp(kind, other) != 0) {
    fail(r, AGRL_EUNSUPPORTED, name, "whose rope_type and type differ is not supported");
    return NULL;
  }
  return now == NULL && other != NULL ? other : kind;
}

// rope_theta stands beside rope_scaling, or with it in rope_parameters (newer writers).
static void read_rope(reader *r, agrl_spec *s) {
  const agrl_json *old = value(r, "rope_scaling"), *p = value(r, "rope_parameters");
  const char *name = old != NULL ? "rope_scaling" : "rope_parameters";
  if (old != NULL && p != NULL) fail(r, AGRL_EUNSUPPORTED, "rope_scaling", "beside rope_parameters is not supported");
  if (old != NULL) p = old;
  s->rope_theta = read_float(r, value_in(p, "rope_theta") != NULL ? p : r->root, "rope_theta", false, 10000);
  refuse_partial_rotary(r, r->root);
  if (p == NULL) return;
  refuse_partial_rotary(r, p);
  const char *kind = rope_kind(r, p, name);
  if (kind == NULL) return;
  const bool scaled = strcmp(kind, "llama3") == 0;
  if (!scaled && strcmp(kind, "default") != 0) {
    if (r->rc == AGRL_OK) r->rc = agrl_fail(r->err, AGRL_EUNSUPPORTED, "%s: %s type %.40s is not supported", r->path, name, kind);
    return;
  }
  refuse_members(r, p, name, scaled);
  if (!scaled) return;
  s->rope.factor = read_float(r, p, "factor", true, 1);
  s->rope.low_freq_factor = read_float(r, p, "low_freq_factor", true, 1);
  s->rope.high_freq_factor = read_float(r, p, "high_freq_factor", true, 4);
  s->rope.original_context = read_int_in(r, p, "original_max_position_embeddings", true, 1);
  if (s->rope.factor == 0.0f) fail(r, AGRL_EPARSE, name, "factor must be at least 1");
}

// A window that no position of the model's context can leave changes nothing.
static void refuse_sliding(reader *r, const agrl_spec *s) {
  const bool on = read_bool(r, "use_sliding_window", false);
  const int32_t from = read_int(r, "max_window_layers", false, 28), window = read_int(r, "sliding_window", false, 4096);
  if (on && from < s->n_layers && window < s->context)
    fail(r, AGRL_EUNSUPPORTED, "use_sliding_window", "is not supported (sliding_window is shorter than max_position_embeddings)");
  const agrl_json *types = value(r, "layer_types");
  for (size_t i = 0; i < agrl_json_len(types); i++) {
    const char *type = "";
    if (!agrl_json_str(agrl_json_at(types, i), &type, NULL) || strcmp(type, "full_attention") != 0)
      fail(r, AGRL_EUNSUPPORTED, "layer_types", "other than full_attention are not supported");
  }
}

static void refuse_unsupported(reader *r, const agrl_spec *s) {
  const char *act = "silu";
  const agrl_json *j = value(r, "hidden_act");
  if (j != NULL && (!agrl_json_str(j, &act, NULL) || strcmp(act, "silu") != 0))
    fail(r, AGRL_EUNSUPPORTED, "hidden_act", "other than silu is not supported");
  refuse_true(r, "attention_bias");
  refuse_true(r, "mlp_bias");
  refuse_true(r, "rope_interleaved");
  refuse_present(r, "quantization_config");
  refuse_sliding(r, s);
}

// One id or a list; the first is the end token, the others stop a rollout too.
agrl_rc ckpt_read_ends(const agrl_json *j, const char *path, agrl_spec *s, agrl_error *err) {
  const bool list = j != NULL && agrl_json_typeof(j) == AGRL_JSON_ARRAY;
  const size_t n = list ? agrl_json_len(j) : 1;
  s->end_id = -1;
  s->n_stops = 0;
  for (size_t i = 0; i < n; i++) {
    int64_t v;
    if (!agrl_json_i64(list ? agrl_json_at(j, i) : j, &v) || v < 0 || v > INT32_MAX)
      return agrl_fail(err, AGRL_EPARSE, "%s: eos_token_id is neither a token id nor a list of them", path);
    if (agrl_spec_stops(s, (int32_t)v)) continue;
    if (s->end_id < 0) {
      s->end_id = (int32_t)v;
    } else if (s->n_stops < AGRL_SPEC_MAX_STOPS) {
      s->stop_ids[s->n_stops++] = (int32_t)v;
    } else {
      return agrl_fail(err, AGRL_ELIMIT, "%s: eos_token_id has more than %d ids", path, AGRL_SPEC_MAX_STOPS + 1);
    }
  }
  return AGRL_OK;
}

static void read_shape(reader *r, const ckpt_arch *a, agrl_spec *s) {
  snprintf(s->arch, sizeof s->arch, "%s", a->type);
  s->qkv_bias = a->qkv_bias;
  s->qk_norm = a->qk_norm;
  s->hidden = read_int(r, "hidden_size", true, 0);
  s->ffn = read_int(r, "intermediate_size", true, 0);
  s->n_layers = read_int(r, "num_hidden_layers", true, 0);
  s->n_heads = read_int(r, "num_attention_heads", true, 0);
  s->n_kv_heads = read_int(r, "num_key_value_heads", false, s->n_heads);
  if (strcmp(a->type, "llama") != 0 && agrl_json_get(r->root, "num_key_value_heads") == NULL)
    fail(r, AGRL_EPARSE, "num_key_value_heads", "is missing");
  s->vocab = read_int(r, "vocab_size", true, 0);
  s->context = read_int(r, "max_position_embeddings", true, 0);
  const int32_t def = strcmp(a->type, "qwen3") == 0 ? 128 : s->n_heads > 0 ? s->hidden / s->n_heads : 0;
  s->head_dim = read_int(r, "head_dim", false, def);
  s->norm_eps = read_float(r, r->root, "rms_norm_eps", false, 1e-6);
  read_rope(r, s);
  s->tied = read_bool(r, "tie_word_embeddings", false);
  s->start_id = read_int(r, "bos_token_id", false, -1);
  s->end_id = -1;
  const agrl_json *ends = value(r, "eos_token_id");
  if (ends != NULL && r->rc == AGRL_OK) r->rc = ckpt_read_ends(ends, r->path, s, r->err);
}

agrl_rc ckpt_check_spec(const agrl_spec *s, const char *path, agrl_error *err) {
  agrl_error why;
  return agrl_spec_check(s, &why) == AGRL_OK ? AGRL_OK : agrl_fail(err, AGRL_EPARSE, "%s: %s", path, why.msg);
}

agrl_rc agrl_ckpt_parse_config(const char *text, size_t len, const char *path, agrl_spec *out, agrl_error *err) {
  agrl_json *root;
  agrl_rc rc = agrl_json_parse(text, len, path, &root, err);
  if (rc != AGRL_OK) return rc;
  reader r = {root, path, err, AGRL_OK};
  const char *type = NULL;
  *out = (agrl_spec){0};
  if (!agrl_json_str(value(&r, "model_type"), &type, NULL)) {
    fail(&r, AGRL_EPARSE, "model_type", "is missing");
  } else if (ckpt_arch_find(type) == NULL) {
    r.rc = agrl_fail(err, AGRL_EUNSUPPORTED, "%s: model_type %.60s is not one of llama, qwen2, qwen3", path, type);
  } else {
    read_shape(&r, ckpt_arch_find(type), out);
    refuse_unsupported(&r, out);
    if (r.rc == AGRL_OK) r.rc = ckpt_check_spec(out, path, err);
  }
  agrl_json_free(root);
  return r.rc;
}
