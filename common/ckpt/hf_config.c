// SPDX-License-Identifier: Apache-2.0
// config.json as transformers writes and reads it. What the model here cannot do is refused by its key: a checkpoint that
// loads is computed exactly as its authors meant.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bug.h"
#include "common/base/json.h"
#include "common/ckpt/hf_int.h"

typedef struct arch {
  const char *type, *class_name;
  bool qkv_bias, qk_norm;
} arch;

static const arch archs[] = {
    {"llama", "LlamaForCausalLM", false, false},
    {"qwen2", "Qwen2ForCausalLM", true, false},
    {"qwen3", "Qwen3ForCausalLM", false, true},
};

static const arch *find_arch(const char *type) {
  for (size_t i = 0; i < sizeof archs / sizeof *archs; i++)
    if (strcmp(archs[i].type, type) == 0) return &archs[i];
  return NULL;
}

// A float's shortest decimal, so that 1e-6f is not written as 9.99999997e-07.
static double tidy(float v) {
  char text[32];
  for (int digits = 1; digits <= 9; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, (double)v);
    if (strtof(text, NULL) == v) break;
  }
  return strtod(text, NULL);
}

static void write_ids(agrl_jw *w, const agrl_spec *s) {
  if (s->start_id >= 0) agrl_jw_ki64(w, "bos_token_id", s->start_id);
  if (s->end_id >= 0) agrl_jw_ki64(w, "eos_token_id", s->end_id);
}

void agrl_ckpt_write_config(const agrl_spec *s, agrl_dtype dtype, agrl_buf *out) {
  const arch *a = find_arch(s->arch);
  AGRL_ASSERT(a != NULL);  // a checked spec
  agrl_jw w;
  agrl_jw_init(&w, out);
  agrl_jw_obj(&w);
  agrl_jw_key(&w, "architectures");
  agrl_jw_arr(&w);
  agrl_jw_str(&w, a->class_name);
  agrl_jw_end_arr(&w);
  agrl_jw_kstr(&w, "model_type", a->type);
  agrl_jw_ki64(&w, "hidden_size", s->hidden);
  agrl_jw_ki64(&w, "intermediate_size", s->ffn);
  agrl_jw_ki64(&w, "num_hidden_layers", s->n_layers);
  agrl_jw_ki64(&w, "num_attention_heads", s->n_heads);
  agrl_jw_ki64(&w, "num_key_value_heads", s->n_kv_heads);
  agrl_jw_ki64(&w, "head_dim", s->head_dim);
  agrl_jw_ki64(&w, "vocab_size", s->vocab);
  agrl_jw_ki64(&w, "max_position_embeddings", s->context);
  agrl_jw_kf64(&w, "rope_theta", tidy(s->rope_theta));
  agrl_jw_kf64(&w, "rms_norm_eps", tidy(s->norm_eps));
  agrl_jw_kstr(&w, "hidden_act", "silu");
  agrl_jw_kbool(&w, "attention_bias", false);  // of llama and qwen3; qwen2's query/key/value biases are implied by its type
  agrl_jw_kf64(&w, "attention_dropout", 0);
  if (strcmp(a->type, "llama") == 0) agrl_jw_kbool(&w, "mlp_bias", false);
  else agrl_jw_kbool(&w, "use_sliding_window", false);
  agrl_jw_kbool(&w, "tie_word_embeddings", s->tied);
  agrl_jw_kf64(&w, "initializer_range", 0.02);
  agrl_jw_kbool(&w, "use_cache", true);
  write_ids(&w, s);
  agrl_jw_kstr(&w, "torch_dtype", dtype == AGRL_DTYPE_F32 ? "float32" : "bfloat16");
  agrl_jw_end_obj(&w);
  agrl_buf_addc(out, '\n');
}

void ckpt_generation_config_write(const agrl_spec *s, agrl_buf *out) {
  agrl_jw w;
  agrl_jw_init(&w, out);
  agrl_jw_obj(&w);
  write_ids(&w, s);
  agrl_jw_kbool(&w, "do_sample", true);
  agrl_jw_end_obj(&w);
  agrl_buf_addc(out, '\n');
}

// Tells AutoTokenizer to take tokenizer.json as it is.
void ckpt_tokenizer_config_write(const agrl_spec *s, agrl_buf *out) {
  agrl_jw w;
  agrl_jw_init(&w, out);
  agrl_jw_obj(&w);
  agrl_jw_kstr(&w, "tokenizer_class", "PreTrainedTokenizerFast");
  agrl_jw_ki64(&w, "model_max_length", s->context);
  agrl_jw_end_obj(&w);
  agrl_buf_addc(out, '\n');
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

static const agrl_json *value(const reader *r, const char *key) {  // NULL when absent or null
  const agrl_json *j = agrl_json_get(r->root, key);
  return j == NULL || agrl_json_typeof(j) == AGRL_JSON_NULL ? NULL : j;
}

static int32_t read_int(reader *r, const char *key, bool required, int32_t def) {
  const agrl_json *j = value(r, key);
  int64_t v = def;
  if (j == NULL && required) fail(r, AGRL_EPARSE, key, "is missing");
  if (j != NULL && (!agrl_json_i64(j, &v) || v < -1 || v > INT32_MAX)) {
    fail(r, AGRL_EPARSE, key, "is not an integer in range");
    return def;
  }
  return (int32_t)v;
}

static float read_float(reader *r, const agrl_json *from, const char *key, double def) {
  const agrl_json *j = agrl_json_get(from, key);
  if (j == NULL || agrl_json_typeof(j) == AGRL_JSON_NULL) return (float)def;
  double v = def;
  if (!agrl_json_f64(j, &v)) fail(r, AGRL_EPARSE, key, "is not a number");
  return (float)v;
}

static bool read_bool(reader *r, const char *key, bool def) {
  const agrl_json *j = value(r, key);
  bool v = def;
  if (j != NULL && !agrl_json_bool(j, &v)) fail(r, AGRL_EPARSE, key, "is not true or false");
  return v;
}

// A token id, or the first of a list of them.
static int32_t read_id(reader *r, const char *key) {
  const agrl_json *j = value(r, key);
  if (j != NULL && agrl_json_typeof(j) == AGRL_JSON_ARRAY) {
    int64_t v;
    if (agrl_json_i64(agrl_json_at(j, 0), &v) && v >= 0 && v <= INT32_MAX) return (int32_t)v;
    fail(r, AGRL_EPARSE, key, "is a list without a token id");
    return -1;
  }
  return read_int(r, key, false, -1);
}

static void refuse_true(reader *r, const char *key) {
  if (read_bool(r, key, false)) fail(r, AGRL_EUNSUPPORTED, key, "is not supported");
}

static void refuse_present(reader *r, const char *key) {
  if (value(r, key) != NULL) fail(r, AGRL_EUNSUPPORTED, key, "is not supported");
}

// rope_theta stands alone, or in rope_parameters with rope_type "default" (newer writers).
static float read_rope(reader *r) {
  refuse_present(r, "rope_scaling");
  const agrl_json *p = value(r, "rope_parameters");
  const char *type = "default";
  if (p == NULL) return read_float(r, r->root, "rope_theta", 10000);
  agrl_json_str(agrl_json_get(p, "rope_type"), &type, NULL);
  if (strcmp(type, "default") != 0) fail(r, AGRL_EUNSUPPORTED, "rope_parameters.rope_type", "other than default is not supported");
  return read_float(r, p, "rope_theta", 10000);
}

static void refuse_unsupported(reader *r) {
  const char *act = "silu";
  agrl_json_str(value(r, "hidden_act"), &act, NULL);
  if (strcmp(act, "silu") != 0) fail(r, AGRL_EUNSUPPORTED, "hidden_act", "other than silu is not supported");
  refuse_true(r, "attention_bias");
  refuse_true(r, "mlp_bias");
  refuse_true(r, "use_sliding_window");
  refuse_present(r, "quantization_config");
  const agrl_json *types = value(r, "layer_types");
  for (size_t i = 0; i < agrl_json_len(types); i++) {
    const char *s = "";
    if (!agrl_json_str(agrl_json_at(types, i), &s, NULL) || strcmp(s, "full_attention") != 0)
      fail(r, AGRL_EUNSUPPORTED, "layer_types", "other than full_attention are not supported");
  }
}

static void read_shape(reader *r, const arch *a, agrl_spec *s) {
  snprintf(s->arch, sizeof s->arch, "%s", a->type);
  s->qkv_bias = a->qkv_bias;
  s->qk_norm = a->qk_norm;
  s->hidden = read_int(r, "hidden_size", true, 0);
  s->ffn = read_int(r, "intermediate_size", true, 0);
  s->n_layers = read_int(r, "num_hidden_layers", true, 0);
  s->n_heads = read_int(r, "num_attention_heads", true, 0);
  s->n_kv_heads = read_int(r, "num_key_value_heads", false, s->n_heads);
  s->vocab = read_int(r, "vocab_size", true, 0);
  s->context = read_int(r, "max_position_embeddings", true, 0);
  const int32_t def = strcmp(a->type, "qwen3") == 0 ? 128 : s->n_heads > 0 ? s->hidden / s->n_heads : 0;
  s->head_dim = read_int(r, "head_dim", false, def);
  s->norm_eps = read_float(r, r->root, "rms_norm_eps", 1e-6);
  s->rope_theta = read_rope(r);
  s->tied = read_bool(r, "tie_word_embeddings", false);
  s->start_id = read_id(r, "bos_token_id");
  s->end_id = read_id(r, "eos_token_id");
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
  } else if (find_arch(type) == NULL) {
    r.rc = agrl_fail(err, AGRL_EUNSUPPORTED, "%s: model_type %.60s is not one of llama, qwen2, qwen3", path, type);
  } else {
    read_shape(&r, find_arch(type), out);
    refuse_unsupported(&r);
    if (r.rc == AGRL_OK && (r.rc = agrl_spec_check(out, err)) != AGRL_OK) agrl_fail_in(err, "%s", path);
  }
  agrl_json_free(root);
  return r.rc;
}
