// SPDX-License-Identifier: Apache-2.0
// The tokenizer in a GGUF file's metadata, written as the tokenizer.json it was made from: tokens stand there in the byte
// alphabet of Hugging Face, merges as "left right". The file names its pre-tokenizer instead of holding its pattern; those of
// the supported families are listed here as their authors publish them.
#include <inttypes.h>
#include <string.h>

#include "common/base/json.h"
#include "common/ckpt/gguf.h"
#include "common/text/utf8.h"

enum { TYPE_NORMAL = 1, TYPE_CONTROL = 3, TYPE_USER = 4, TYPE_UNUSED = 5, MAX_TOKENS = 1 << 22 };

typedef struct pre {
  const char *name;
  const char *pattern;  // of a Split step; NULL: none
  bool digits;          // a step that isolates each digit
  bool byte_regex;      // ByteLevel splits by GPT-2's pattern itself
  bool nfc, ignore_merges;
} pre;

#define WORDS "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define REST "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
static const pre pres[] = {
    {"gpt-2", NULL, false, true, false, false},
    {"smollm", NULL, true, true, false, false},
    {"qwen2", WORDS "\\p{N}" REST, false, false, true, false},
    {"llama-bpe", WORDS "\\p{N}{1,3}" REST, false, false, false, true},
};

static bool is(agrl_gguf_str s, const char *text) { return s.len == strlen(text) && memcmp(s.s, text, s.len) == 0; }

typedef struct vocab {
  const agrl_gguf_value *tokens, *types, *merges;
  const pre *pre;
} vocab;

static agrl_rc find_pre(const agrl_gguf *g, vocab *v, agrl_error *err) {
  agrl_gguf_str s = {0};
  if (!agrl_gguf_read_str(agrl_gguf_get(g, "tokenizer.ggml.pre"), &s) || is(s, "default"))
    return agrl_fail(err, AGRL_EUNSUPPORTED,
                     "%s: tokenizer.ggml.pre is missing or default: how its texts are split is not known; convert the model again", g->name);
  for (size_t i = 0; i < sizeof pres / sizeof *pres; i++)
    if (is(s, pres[i].name)) v->pre = &pres[i];
  if (v->pre == NULL)
    return agrl_fail(err, AGRL_EUNSUPPORTED, "%s: tokenizer.ggml.pre %.*s is not one of gpt-2, smollm, qwen2, llama-bpe", g->name,
                     (int)(s.len < 60 ? s.len : 60), s.s);
  return AGRL_OK;
}

static bool array_of(const agrl_gguf_value *v, agrl_gguf_kind element) {
  return v != NULL && v->kind == AGRL_GGUF_ARRAY && v->element == element;
}

static agrl_rc find_vocab(const agrl_gguf *g, vocab *v, agrl_error *err) {
  agrl_gguf_str model = {0};
  bool space = false;
  if (!agrl_gguf_read_str(agrl_gguf_get(g, "tokenizer.ggml.model"), &model))
    return agrl_fail(err, AGRL_EPARSE, "%s: tokenizer.ggml.model is missing or not a string", g->name);
  if (!is(model, "gpt2"))
    return agrl_fail(err, AGRL_EUNSUPPORTED, "%s: tokenizer.ggml.model %.*s is not supported, only gpt2 (byte-level BPE) is", g->name,
                     (int)(model.len < 60 ? model.len : 60), model.s);
  agrl_gguf_read_bool(agrl_gguf_get(g, "tokenizer.ggml.add_space_prefix"), &space);
  if (space) return agrl_fail(err, AGRL_EUNSUPPORTED, "%s: tokenizer.ggml.add_space_prefix is not supported", g->name);
  v->tokens = agrl_gguf_get(g, "tokenizer.ggml.tokens");
  v->types = agrl_gguf_get(g, "tokenizer.ggml.token_type");
  v->merges = agrl_gguf_get(g, "tokenizer.ggml.merges");
  if (!array_of(v->tokens, AGRL_GGUF_STRING) || !array_of(v->merges, AGRL_GGUF_STRING))
    return agrl_fail(err, AGRL_EPARSE, "%s: tokenizer.ggml.tokens or tokenizer.ggml.merges is not an array of strings", g->name);
  if (!array_of(v->types, AGRL_GGUF_I32) && !array_of(v->types, AGRL_GGUF_U32))
    return agrl_fail(err, AGRL_EPARSE, "%s: tokenizer.ggml.token_type is not an array of 32-bit integers", g->name);
  const agrl_gguf_tensor *embed = agrl_gguf_find(g, "token_embd.weight");
  if (v->types->count != v->tokens->count || v->tokens->count > MAX_TOKENS || embed == NULL || embed->n_dims != 2 ||
      embed->shape[1] != v->tokens->count)
    return agrl_fail(err, AGRL_EPARSE, "%s: %zu tokens, %zu token types, and another number of rows of token_embd.weight", g->name,
                     v->tokens->count, v->types->count);
  return find_pre(g, v, err);
}

static agrl_rc check_text(const agrl_gguf *g, const agrl_gguf_value *v, agrl_error *err) {
  const uint8_t *at = v->data;
  for (size_t i = 0; i < v->count; i++) {
    const agrl_gguf_str s = agrl_gguf_next_str(&at);
    if (s.len == 0 || agrl_utf8_valid_prefix(s.s, s.len) != s.len || memchr(s.s, 0, s.len) != NULL)
      return agrl_fail(err, AGRL_EPARSE, "%s: %.*s[%zu] is empty or not UTF-8", g->name, (int)v->key.len, v->key.s, i);
  }
  return AGRL_OK;
}

static agrl_rc check_types(const agrl_gguf *g, const vocab *v, agrl_error *err) {
  for (size_t i = 0; i < v->types->count; i++) {
    const int64_t type = agrl_gguf_int_at(v->types, i);
    if (type != TYPE_NORMAL && type != TYPE_CONTROL && type != TYPE_USER && type != TYPE_UNUSED)
      return agrl_fail(err, AGRL_EUNSUPPORTED, "%s: tokenizer.ggml.token_type[%zu] is %" PRId64 ", expected normal, control, user or unused",
                       g->name, i, type);
  }
  return AGRL_OK;
}

static void write_byte_level(agrl_jw *w, bool regex) {
  agrl_jw_obj(w);
  agrl_jw_kstr(w, "type", "ByteLevel");
  agrl_jw_kbool(w, "add_prefix_space", false);
  agrl_jw_kbool(w, "trim_offsets", true);
  agrl_jw_kbool(w, "use_regex", regex);
  agrl_jw_end_obj(w);
}

static void write_pre(agrl_jw *w, const pre *p) {
  agrl_jw_key(w, "normalizer");
  if (p->nfc) {
    agrl_jw_obj(w);
    agrl_jw_kstr(w, "type", "NFC");
    agrl_jw_end_obj(w);
  } else {
    agrl_jw_null(w);
  }
  agrl_jw_key(w, "pre_tokenizer");
  agrl_jw_obj(w);
  agrl_jw_kstr(w, "type", "Sequence");
  agrl_jw_key(w, "pretokenizers");
  agrl_jw_arr(w);
  if (p->digits) {
    agrl_jw_obj(w);
    agrl_jw_kstr(w, "type", "Digits");
    agrl_jw_kbool(w, "individual_digits", true);
    agrl_jw_end_obj(w);
  }
  if (p->pattern != NULL) {
    agrl_jw_obj(w);
    agrl_jw_kstr(w, "type", "Split");
    agrl_jw_key(w, "pattern");
    agrl_jw_obj(w);
    agrl_jw_kstr(w, "Regex", p->pattern);
    agrl_jw_end_obj(w);
    agrl_jw_kstr(w, "behavior", "Isolated");
    agrl_jw_kbool(w, "invert", false);
    agrl_jw_end_obj(w);
  }
  write_byte_level(w, p->byte_regex);
  agrl_jw_end_arr(w);
  agrl_jw_end_obj(w);
}

static void write_added(agrl_jw *w, const vocab *v) {
  const uint8_t *at = v->tokens->data;
  agrl_jw_key(w, "added_tokens");
  agrl_jw_arr(w);
  for (size_t i = 0; i < v->tokens->count; i++) {
    const agrl_gguf_str s = agrl_gguf_next_str(&at);
    const int64_t type = agrl_gguf_int_at(v->types, i);
    if (type != TYPE_CONTROL && type != TYPE_USER) continue;
    agrl_jw_obj(w);
    agrl_jw_ku64(w, "id", i);
    agrl_jw_key(w, "content");
    agrl_jw_strn(w, s.s, s.len);
    agrl_jw_kbool(w, "single_word", false);
    agrl_jw_kbool(w, "lstrip", false);
    agrl_jw_kbool(w, "rstrip", false);
    agrl_jw_kbool(w, "normalized", false);
    agrl_jw_kbool(w, "special", type == TYPE_CONTROL);
    agrl_jw_end_obj(w);
  }
  agrl_jw_end_arr(w);
}

static void write_model(agrl_jw *w, const vocab *v, agrl_buf *key) {
  agrl_jw_key(w, "model");
  agrl_jw_obj(w);
  agrl_jw_kstr(w, "type", "BPE");
  static const char *const none[] = {"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"};
  for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
    agrl_jw_key(w, none[i]);
    agrl_jw_null(w);
  }
  agrl_jw_kbool(w, "fuse_unk", false);
  agrl_jw_kbool(w, "byte_fallback", false);
  agrl_jw_kbool(w, "ignore_merges", v->pre->ignore_merges);
  agrl_jw_key(w, "vocab");
  agrl_jw_obj(w);
  const uint8_t *at = v->tokens->data;
  for (size_t i = 0; i < v->tokens->count; i++) {
    const agrl_gguf_str s = agrl_gguf_next_str(&at);
    if (agrl_gguf_int_at(v->types, i) == TYPE_UNUSED) continue;  // rows that pad the embedding
    agrl_buf_clear(key);
    agrl_buf_add(key, s.s, s.len);
    agrl_jw_ku64(w, key->data, i);
  }
  agrl_jw_end_obj(w);
  agrl_jw_key(w, "merges");
  agrl_jw_arr(w);
  at = v->merges->data;
  for (size_t i = 0; i < v->merges->count; i++) {
    const agrl_gguf_str s = agrl_gguf_next_str(&at);
    agrl_jw_strn(w, s.s, s.len);
  }
  agrl_jw_end_arr(w);
  agrl_jw_end_obj(w);
}

agrl_rc agrl_gguf_tokenizer_json(const agrl_gguf *g, agrl_buf *out, agrl_error *err) {
  vocab v = {0};
  agrl_rc rc = find_vocab(g, &v, err);
  if (rc == AGRL_OK) rc = check_types(g, &v, err);
  if (rc == AGRL_OK) rc = check_text(g, v.tokens, err);
  if (rc == AGRL_OK) rc = check_text(g, v.merges, err);
  if (rc != AGRL_OK) return rc;
  agrl_buf key = {0};
  agrl_jw w;
  agrl_jw_init(&w, out);
  agrl_jw_obj(&w);
  agrl_jw_kstr(&w, "version", "1.0");
  agrl_jw_key(&w, "truncation");
  agrl_jw_null(&w);
  agrl_jw_key(&w, "padding");
  agrl_jw_null(&w);
  write_added(&w, &v);
  write_pre(&w, v.pre);
  agrl_jw_key(&w, "post_processor");
  agrl_jw_null(&w);
  agrl_jw_key(&w, "decoder");
  write_byte_level(&w, true);
  write_model(&w, &v, &key);
  agrl_jw_end_obj(&w);
  agrl_buf_addc(out, '\n');
  agrl_buf_release(&key);
  return AGRL_OK;
}
