// SPDX-License-Identifier: Apache-2.0
// Writing config.json, generation_config.json and, for tokenizers without one of their own, tokenizer_config.json.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bug.h"
#include "common/base/json.h"
#include "common/ckpt/hf_int.h"

// A float's shortest decimal, so that 1e-6f is not written as 9.99999997e-07.
static double tidy(float v) {
  char text[32];
  for (int digits = 1; digits <= 9; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, (double)v);
    if (strtof(text, NULL) == v) break;
  }
  return strtod(text, NULL);
}

static void write_id(agrl_jw *w, const char *key, int32_t id) {
  agrl_jw_key(w, key);
  if (id >= 0) agrl_jw_i64(w, id);
  else agrl_jw_null(w);  // left out, transformers would assume Llama 2's
}

static void write_ids(agrl_jw *w, const agrl_spec *s) {
  write_id(w, "bos_token_id", s->start_id);
  if (s->n_stops == 0) {
    write_id(w, "eos_token_id", s->end_id);
    return;
  }
  agrl_jw_key(w, "eos_token_id");
  agrl_jw_arr(w);
  if (s->end_id >= 0) agrl_jw_i64(w, s->end_id);
  for (int32_t i = 0; i < s->n_stops; i++) agrl_jw_i64(w, s->stop_ids[i]);
  agrl_jw_end_arr(w);
}

// The older form, which every version of transformers and llama.cpp's converter read.
static void write_rope(agrl_jw *w, const agrl_spec *s) {
  agrl_jw_kf64(w, "rope_theta", tidy(s->rope_theta));
  if (s->rope.factor == 0.0f) return;
  agrl_jw_key(w, "rope_scaling");
  agrl_jw_obj(w);
  agrl_jw_kstr(w, "rope_type", "llama3");
  agrl_jw_kf64(w, "factor", tidy(s->rope.factor));
  agrl_jw_kf64(w, "low_freq_factor", tidy(s->rope.low_freq_factor));
  agrl_jw_kf64(w, "high_freq_factor", tidy(s->rope.high_freq_factor));
  agrl_jw_ki64(w, "original_max_position_embeddings", s->rope.original_context);
  agrl_jw_end_obj(w);
}

void agrl_ckpt_write_config(const agrl_spec *s, agrl_dtype dtype, agrl_buf *out) {
  const ckpt_arch *a = ckpt_arch_find(s->arch);
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
  write_rope(&w, s);
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

static void write_token(agrl_jw *w, const char *key, const agrl_json *tokenizer, int32_t id) {
  const char *text = ckpt_added_token(tokenizer, id);
  if (text != NULL) agrl_jw_kstr(w, key, text);
}

// Tells AutoTokenizer to take tokenizer.json as it is, and to put the start token before a text.
void ckpt_tokenizer_config_write(const agrl_spec *s, const char *tokenizer_json, size_t len, agrl_buf *out) {
  agrl_json *tokenizer = NULL;
  if (agrl_json_parse(tokenizer_json, len, "tokenizer.json", &tokenizer, NULL) != AGRL_OK) tokenizer = NULL;  // then without texts
  agrl_jw w;
  agrl_jw_init(&w, out);
  agrl_jw_obj(&w);
  agrl_jw_kstr(&w, "tokenizer_class", "PreTrainedTokenizerFast");
  agrl_jw_ki64(&w, "model_max_length", s->context);
  agrl_jw_kbool(&w, "add_bos_token", s->start_id >= 0);
  write_token(&w, "bos_token", tokenizer, s->start_id);
  write_token(&w, "eos_token", tokenizer, s->end_id);
  agrl_jw_end_obj(&w);
  agrl_buf_addc(out, '\n');
  agrl_json_free(tokenizer);
}
