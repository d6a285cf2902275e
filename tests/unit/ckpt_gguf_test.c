// SPDX-License-Identifier: Apache-2.0
// GGUF: every block format against golden values, files that lie, models of each architecture, and their tokenizer.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/text/bpe.h"
#include "tests/lib/gguf_kit.h"

static void expect_refused(const agrl_buf *b, agrl_rc want, const char *word) {
  agrl_gguf g;
  agrl_error err = {0};
  const agrl_rc rc = agrl_gguf_parse((const uint8_t *)b->data, b->len, "file", &g, &err);
  if (rc != want || strstr(err.msg, word) == NULL) fail_msg("rc %s, message '%s'; expected %s with '%s'", agrl_rc_name(rc), err.msg, agrl_rc_name(want), word);
  assert_null(g.tensors);
}

// --- block formats ---

// The golden values were computed by the same float32 operations in the same order, so every bit must agree.
static void formats_are_exact(void **state) {
  static const uint32_t ids[] = {0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 30};
  for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
    const agrl_gguf_type *type = agrl_gguf_type_of(ids[i]);
    assert_non_null(type);
    char *path = agrl_xasprintf("%s/golden/gguf/%s.bin", AGRL_TEST_DIR, type->name);
    agrl_buf raw = {0};
    agrl_error err = {0};
    if (agrl_file_read(path, 1 << 20, &raw, &err)) fail_msg("%s", err.msg);
    const size_t n = raw.len / (type->bytes + 4 * type->block);
    assert_true(n >= 4 && n * (type->bytes + 4 * type->block) == raw.len);
    float *out = agrl_xcalloc(n * type->block, sizeof *out);
    type->to_f32((const uint8_t *)raw.data, out, n);
    const uint8_t *want = (const uint8_t *)raw.data + n * type->bytes;
    for (size_t k = 0; k < n * type->block; k++) {
      float w;
      memcpy(&w, want + 4 * k, 4);
      if (memcmp(&w, &out[k], 4) != 0) fail_msg("%s: element %zu is %.9g, expected %.9g", type->name, k, (double)out[k], (double)w);
    }
    free(out);
    free(path);
    agrl_buf_release(&raw);
  }
  assert_null(agrl_gguf_type_of(10));
  assert_string_equal(agrl_gguf_type_name(10), "Q2_K");
}

// --- containers ---

// One vector of 8 F32 and one value; cut, offset and type can be spoiled.
static void simple(agrl_buf *b, const char *key, uint32_t type, uint64_t dim, uint64_t offset, size_t data) {
  agrl_buf_clear(b);
  gk_head(b, 3, 1, 1);
  gk_int(b, key, 32);
  gk_tensor(b, "a", dim, 0, type, offset);
  gk_pad(b);
  for (size_t i = 0; i < data; i++) agrl_buf_addc(b, (char)i);
}

static void reads_a_file(void **state) {
  agrl_buf b = {0};
  agrl_gguf g;
  agrl_error err = {0};
  int64_t v = 0;
  simple(&b, "general.alignment", 0, 8, 0, 32);
  assert_int_equal(agrl_gguf_parse((const uint8_t *)b.data, b.len, "file", &g, &err), AGRL_OK);
  assert_int_equal(g.version, 3);
  assert_true(agrl_gguf_read_int(agrl_gguf_get(&g, "general.alignment"), &v) && v == 32);
  const agrl_gguf_tensor *t = agrl_gguf_find(&g, "a");
  assert_non_null(t);
  assert_ptr_equal(t->data, b.data + b.len - 32);
  assert_null(agrl_gguf_find(&g, "b"));
  agrl_gguf_release(&g);
  for (size_t n = 0; n < b.len; n++) {  // cut anywhere
    assert_int_not_equal(agrl_gguf_parse((const uint8_t *)b.data, n, "file", &g, &err), AGRL_OK);
    assert_null(g.tensors);
  }
  agrl_buf_release(&b);
}

static void lies_are_refused(void **state) {
  agrl_buf b = {0};
  simple(&b, "k", 10, 256, 0, 84);
  expect_refused(&b, AGRL_EUNSUPPORTED, "Q2_K");
  simple(&b, "k", 0, 8, 32, 64);
  expect_refused(&b, AGRL_EPARSE, "gap");
  simple(&b, "k", 0, UINT64_C(1) << 62, 0, 32);
  expect_refused(&b, AGRL_ELIMIT, "overflows");
  simple(&b, "k", 0, UINT64_C(1) << 40, 0, 32);
  expect_refused(&b, AGRL_EPARSE, "past the end");
  simple(&b, "k", 2, 33, 0, 64);
  expect_refused(&b, AGRL_EPARSE, "blocks of 32");
  simple(&b, "k", 0, 8, 0, 96);
  expect_refused(&b, AGRL_EPARSE, "after the last tensor");
  simple(&b, "k k", 0, 8, 0, 32);
  expect_refused(&b, AGRL_EPARSE, "plain text");
  agrl_buf_clear(&b);
  gk_head(&b, 3, UINT64_MAX / 2, 0);
  expect_refused(&b, AGRL_ELIMIT, "tensors");
  agrl_buf_clear(&b);
  gk_head(&b, 3, 0, UINT64_MAX);
  expect_refused(&b, AGRL_ELIMIT, "metadata values");
  agrl_buf_clear(&b);
  gk_head(&b, 1, 0, 0);
  expect_refused(&b, AGRL_EUNSUPPORTED, "version 1");
  agrl_buf_clear(&b);
  gk_head(&b, 3u << 24, 0, 0);
  expect_refused(&b, AGRL_EUNSUPPORTED, "big-endian");
  agrl_buf_clear(&b);
  gk_head(&b, 3, 0, 1);
  gk_array(&b, "nested", AGRL_GGUF_ARRAY, 1);
  gk_pad(&b);
  expect_refused(&b, AGRL_EUNSUPPORTED, "arrays of arrays");
  agrl_buf_clear(&b);
  gk_head(&b, 3, 0, 1);
  gk_array(&b, "long", AGRL_GGUF_U64, UINT64_C(1) << 61);
  gk_pad(&b);
  expect_refused(&b, AGRL_EPARSE, "past the end");
  agrl_buf_clear(&b);
  gk_head(&b, 3, 0, 2);
  gk_int(&b, "k", 1);
  gk_int(&b, "k", 2);
  expect_refused(&b, AGRL_EPARSE, "twice");
  agrl_buf_clear(&b);
  gk_head(&b, 3, 0, 1);
  gk_int(&b, "general.alignment", 24);
  expect_refused(&b, AGRL_EPARSE, "power of two");
  for (int overlap = 0; overlap < 2; overlap++) {
    agrl_buf_clear(&b);
    gk_head(&b, 3, 2, 0);
    gk_tensor(&b, "a", 8, 0, 0, 0);
    gk_tensor(&b, overlap ? "b" : "a", 8, 0, 0, overlap ? 0 : 32);
    gk_pad(&b);
    for (int i = 0; i < 64; i++) agrl_buf_addc(&b, 1);
    expect_refused(&b, AGRL_EPARSE, overlap ? "overlaps" : "twice");
  }
  agrl_buf_release(&b);
}

// --- models ---

enum { HIDDEN = 16, FFN = 24, HEADS = 4, KV = 2, HEAD_DIM = 8, VOCAB = 261 };

typedef struct model {
  const char *arch, *extra_key, *extra_tensor, *tokenizer, *pre;
  bool no_gate;            // a tensor is missing
  float rope_factors[4];   // of a tensor rope_freqs.weight; the first 0: none
  uint32_t turn_end;       // eot_token_id; 0: none
} model;

typedef struct shape {
  char name[64];
  uint64_t dim0, dim1;
} shape;

static void add_shapes(shape *out, size_t *n, int layer, const shape *from, size_t count) {
  for (size_t i = 0; i < count; i++, ++*n) {
    out[*n] = from[i];
    snprintf(out[*n].name, sizeof out->name, "blk.%d.%.40s", layer, from[i].name);
  }
}

static size_t list_tensors(const model *m, shape *out) {
  static const shape layer[] = {{"attn_norm.weight", HIDDEN, 0},
                                {"attn_q.weight", HIDDEN, HEADS * HEAD_DIM},
                                {"attn_k.weight", HIDDEN, KV * HEAD_DIM},
                                {"attn_v.weight", HIDDEN, KV * HEAD_DIM},
                                {"attn_output.weight", HEADS * HEAD_DIM, HIDDEN},
                                {"ffn_norm.weight", HIDDEN, 0},
                                {"ffn_up.weight", HIDDEN, FFN},
                                {"ffn_down.weight", FFN, HIDDEN},
                                {"ffn_gate.weight", HIDDEN, FFN}};
  static const shape bias[] = {{"attn_q.bias", HEADS * HEAD_DIM, 0}, {"attn_k.bias", KV * HEAD_DIM, 0}, {"attn_v.bias", KV * HEAD_DIM, 0}};
  static const shape norm[] = {{"attn_q_norm.weight", HEAD_DIM, 0}, {"attn_k_norm.weight", HEAD_DIM, 0}};
  size_t n = 0;
  out[n++] = (shape){"token_embd.weight", HIDDEN, VOCAB};
  out[n++] = (shape){"output_norm.weight", HIDDEN, 0};
  if (m->extra_tensor) snprintf(out[n].name, 64, "%s", m->extra_tensor), out[n++].dim0 = 8;
  if (m->rope_factors[0] > 0) out[n++] = (shape){"rope_freqs.weight", HEAD_DIM / 2, 0};
  for (int l = 0; l < 2; l++) {
    add_shapes(out, &n, l, layer, m->no_gate ? 8 : 9);
    if (!strcmp(m->arch, "qwen2")) add_shapes(out, &n, l, bias, 3);
    if (!strcmp(m->arch, "qwen3")) add_shapes(out, &n, l, norm, 2);
  }
  return n;
}

static void arch_int(agrl_buf *b, const model *m, const char *key, uint32_t v) {
  char *full = agrl_xasprintf("%s.%s", m->arch, key);
  gk_int(b, full, v);
  free(full);
}

// 256 bytes, "<|im_end|>" (256), "he" (257), a user token, two unused rows.
static void put_tokenizer(agrl_buf *b, const model *m) {
  gk_str(b, "tokenizer.ggml.model", m->tokenizer ? m->tokenizer : "gpt2");
  gk_str(b, "tokenizer.ggml.pre", m->pre ? m->pre : "smollm");
  gk_array(b, "tokenizer.ggml.tokens", AGRL_GGUF_STRING, VOCAB);
  for (unsigned i = 0; i < 256; i++) {  // the byte alphabet, as its authors define it
    const bool plain = (i >= 33 && i <= 126) || (i >= 161 && i <= 172) || i >= 174;
    const unsigned cp = plain ? i : i <= 32 ? 256 + i : i <= 160 ? 256 + i - 127 + 33 : 256 + 67;
    const char two[3] = {(char)(0xC0 | cp >> 6), (char)(0x80 | (cp & 63)), 0}, one[2] = {(char)cp, 0};
    gk_text(b, cp < 128 ? one : two);
  }
  gk_text(b, "<|im_end|>");
  gk_text(b, "he");
  gk_text(b, "<think>");
  gk_text(b, "[PAD259]");
  gk_text(b, "[PAD260]");
  gk_array(b, "tokenizer.ggml.token_type", AGRL_GGUF_I32, VOCAB);
  for (unsigned i = 0; i < VOCAB; i++) gk_u32(b, i == 256 ? 3 : i == 258 ? 4 : i > 258 ? 5 : 1);
  gk_array(b, "tokenizer.ggml.merges", AGRL_GGUF_STRING, 1);
  gk_text(b, "h e");
  gk_int(b, "tokenizer.ggml.eos_token_id", 256);
  if (m->turn_end) gk_int(b, "tokenizer.ggml.eot_token_id", m->turn_end);
}

// Element i of tensor t: an exact bf16, never 0.
static float element(size_t t, uint64_t i) { return (float)((int)((t * 7 + i) % 127) * 2 - 125) / 128.0f; }

static void put_model(agrl_buf *b, const model *m) {
  shape s[64] = {{{0}, 0, 0}};
  const size_t n = list_tensors(m, s);
  agrl_buf_clear(b);
  gk_head(b, 3, n, 16 + (m->extra_key != NULL) + (m->turn_end != 0));
  gk_str(b, "general.architecture", m->arch);
  arch_int(b, m, "block_count", 2);
  arch_int(b, m, "embedding_length", HIDDEN);
  arch_int(b, m, "feed_forward_length", FFN);
  arch_int(b, m, "attention.head_count", HEADS);
  arch_int(b, m, "attention.head_count_kv", KV);
  arch_int(b, m, "attention.key_length", HEAD_DIM);
  arch_int(b, m, "context_length", 64);
  char *eps = agrl_xasprintf("%s.attention.layer_norm_rms_epsilon", m->arch), *theta = agrl_xasprintf("%s.rope.freq_base", m->arch);
  gk_real(b, eps, 1e-6f);
  gk_real(b, theta, m->rope_factors[0] > 0 ? 500000 : 50000);
  free(eps);
  free(theta);
  put_tokenizer(b, m);
  if (m->extra_key) gk_str(b, m->extra_key, "yarn");
  uint64_t at = 0;
  for (size_t i = 0; i < n; i++) {
    gk_tensor(b, s[i].name, s[i].dim0, s[i].dim1, 0, at);
    at += (s[i].dim0 * (s[i].dim1 ? s[i].dim1 : 1) * 4 + 31) / 32 * 32;
  }
  gk_pad(b);
  for (size_t i = 0; i < n; i++) {
    for (uint64_t k = 0; k < s[i].dim0 * (s[i].dim1 ? s[i].dim1 : 1); k++) {
      float v = element(i, k) + 1e-5f;  // the rest goes when it is rounded to bf16
      if (m->rope_factors[0] > 0 && !strcmp(s[i].name, "rope_freqs.weight")) v = m->rope_factors[k];
      agrl_buf_add(b, &v, 4);
    }
    while (b->len % 32 != 0) agrl_buf_addc(b, 0);
  }
}

static agrl_rc load(const agrl_buf *b, agrl_layout **l, float **block, agrl_buf *tokenizer, agrl_error *err) {
  agrl_gguf g;
  *l = NULL;
  agrl_rc rc = agrl_gguf_parse((const uint8_t *)b->data, b->len, "file", &g, err);
  if (!rc) rc = agrl_gguf_load(&g, l, block, NULL, NULL, err);
  if (!rc) rc = agrl_gguf_tokenizer_json(&g, tokenizer, err);
  agrl_gguf_release(&g);
  return rc;
}

static void expect_tensor(const model *m, const agrl_layout *l, const float *block, const char *hf, const char *gguf, bool permuted) {
  shape s[64] = {{{0}, 0, 0}};
  size_t n = list_tensors(m, s), t = 0;
  while (t < n && strcmp(s[t].name, gguf) != 0) t++;
  const int i = agrl_layout_find(l, hf);
  assert_true(t < n && i >= 0);
  const agrl_tensor_desc *d = &l->tensors[i];
  for (size_t r = 0; r < d->rows; r++) {
    // row 2 j + h of a head in the file is row h d/2 + j of the model
    const size_t in = r % HEAD_DIM, from = permuted ? r - in + in % (HEAD_DIM / 2) * 2 + in / (HEAD_DIM / 2) : r;
    for (size_t c = 0; c < d->cols; c++)
      if (fabsf(block[d->offset + r * d->cols + c] - element(t, from * d->cols + c)) > 0)
        fail_msg("%s: row %zu column %zu is %g", hf, r, c, (double)block[d->offset + r * d->cols + c]);
  }
}

static void models_load(void **state) {
  static const char *const archs[] = {"llama", "qwen2", "qwen3"};
  for (size_t i = 0; i < 3; i++) {
    const model m = {.arch = archs[i]};
    agrl_buf b = {0}, json = {0};
    agrl_layout *l;
    float *block = NULL;
    agrl_error err = {0};
    put_model(&b, &m);
    if (load(&b, &l, &block, &json, &err)) fail_msg("%s", err.msg);
    assert_string_equal(l->spec.arch, archs[i]);
    assert_true(l->spec.tied && l->spec.end_id == 256 && l->spec.start_id == -1 && l->spec.context == 64 && l->spec.head_dim == HEAD_DIM);
    assert_true(fabsf(l->spec.rope_theta - 50000) < 1e-3f && fabsf(l->spec.norm_eps - 1e-6f) < 1e-12f);
    expect_tensor(&m, l, block, "model.embed_tokens.weight", "token_embd.weight", false);
    expect_tensor(&m, l, block, "model.layers.1.self_attn.q_proj.weight", "blk.1.attn_q.weight", i == 0);
    expect_tensor(&m, l, block, "model.layers.0.self_attn.k_proj.weight", "blk.0.attn_k.weight", i == 0);
    expect_tensor(&m, l, block, "model.layers.0.self_attn.v_proj.weight", "blk.0.attn_v.weight", false);
    expect_tensor(&m, l, block, "model.layers.1.mlp.down_proj.weight", "blk.1.ffn_down.weight", false);
    if (i == 1) expect_tensor(&m, l, block, "model.layers.1.self_attn.k_proj.bias", "blk.1.attn_k.bias", false);
    if (i == 2) expect_tensor(&m, l, block, "model.layers.0.self_attn.q_norm.weight", "blk.0.attn_q_norm.weight", false);
    agrl_block_free(block, l->n_elements * sizeof *block);
    agrl_layout_free(l);
    agrl_buf_release(&b);
    agrl_buf_release(&json);
  }
}

static void unsupported_is_named(void **state) {
  static const struct {
    model m;
    const char *word;
  } cases[] = {{{.arch = "mamba"}, "general.architecture mamba"},
               {{.arch = "llama", .extra_key = "llama.rope.scaling.type"}, "llama.rope.scaling.type yarn is not supported"},
               {{.arch = "llama", .extra_key = "llama.attention.scale"}, "llama.attention.scale is not supported"},
               {{.arch = "llama", .extra_tensor = "rope_freqs.weight"}, "rope_freqs.weight is not the 4 numbers"},
               {{.arch = "llama", .rope_factors = {1, 1, 2.7f, 8}}, "rope_freqs.weight is not Llama 3's"},
               {{.arch = "llama", .rope_factors = {1, 1, 1, 0.5f}}, "rope_freqs.weight is not Llama 3's"},
               {{.arch = "qwen2", .rope_factors = {1, 1, 1, 1}}, "rope_freqs.weight is not the 4 numbers"},
               {{.arch = "qwen3", .extra_tensor = "blk.0.ssm_a"}, "blk.0.ssm_a is not part"},
               {{.arch = "qwen2", .no_gate = true}, "blk.0.ffn_gate.weight is missing"},
               {{.arch = "llama", .tokenizer = "llama"}, "tokenizer.ggml.model llama is not supported"},
               {{.arch = "llama", .pre = "default"}, "tokenizer.ggml.pre is missing or default"},
               {{.arch = "llama", .pre = "chameleon"}, "tokenizer.ggml.pre chameleon"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    agrl_buf b = {0}, json = {0};
    agrl_layout *l;
    float *block = NULL;
    agrl_error err = {0};
    put_model(&b, &cases[i].m);
    assert_int_not_equal(load(&b, &l, &block, &json, &err), AGRL_OK);
    if (strstr(err.msg, cases[i].word) == NULL) fail_msg("'%s' lacks '%s'", err.msg, cases[i].word);
    if (l) agrl_block_free(block, l->n_elements * sizeof *block), agrl_layout_free(l);
    agrl_buf_release(&b);
    agrl_buf_release(&json);
  }
}

// With theta 500000 and 8 dimensions the wavelengths are 6.3, 167, 4443 and 118137. Those below 8192 / 4 stay, the one above 8192
// is divided by the factor; for the third, keep = (8192 / 4442.88 - 1) / 3 and its divisor is 1 / (keep + (1 - keep) / factor).
static void llama3_scaling_and_ends(void **state) {
  static const struct {
    model m;
    int32_t stops;
  } cases[] = {{{.arch = "llama", .rope_factors = {1, 1, 2.694529f, 8}, .turn_end = 258}, 1},
               {{.arch = "llama", .rope_factors = {1, 1, 3.292262f, 32}, .turn_end = 256}, 0}};
  for (size_t i = 0; i < 2; i++) {
    agrl_buf b = {0}, json = {0};
    agrl_layout *l;
    float *block = NULL;
    agrl_error err = {0};
    put_model(&b, &cases[i].m);
    if (load(&b, &l, &block, &json, &err)) fail_msg("%s", err.msg);
    const agrl_rope_scaling *r = &l->spec.rope;
    assert_true(fabsf(r->factor - cases[i].m.rope_factors[3]) < 1e-6f && r->original_context == 8192);
    assert_true(fabsf(r->low_freq_factor - 1) < 1e-6f && fabsf(r->high_freq_factor - 4) < 1e-6f);
    assert_int_equal(l->spec.end_id, 256);
    assert_int_equal(l->spec.n_stops, cases[i].stops);
    assert_int_equal(agrl_spec_stops(&l->spec, 258), cases[i].stops == 1);
    agrl_block_free(block, l->n_elements * sizeof *block);
    agrl_layout_free(l);
    agrl_buf_release(&b);
    agrl_buf_release(&json);
  }
}

static void tokenizers_encode(void **state) {
  static const char *const pres[] = {"smollm", "gpt-2", "qwen2", "llama-bpe"};
  for (size_t i = 0; i < sizeof pres / sizeof *pres; i++) {
    const model m = {.arch = "llama", .pre = pres[i]};
    agrl_buf b = {0}, json = {0};
    agrl_layout *l;
    float *block = NULL;
    agrl_bpe *t = NULL;
    agrl_error err = {0};
    int32_t ids[16];
    put_model(&b, &m);
    if (load(&b, &l, &block, &json, &err) || agrl_bpe_parse(json.data, json.len, "json", &t, &err)) fail_msg("%s", err.msg);
    assert_int_equal(agrl_bpe_encode(t, "he<|im_end|>", 12, true, ids, 16), 2);
    assert_true(ids[0] == 257 && ids[1] == 256);
    assert_int_equal(agrl_bpe_encode(t, "<|im_end|>", 10, false, ids, 16), 10);
    assert_int_equal(agrl_bpe_encode(t, "<think>", 7, false, ids, 16), 1);  // not special: always recognised
    assert_int_equal(agrl_bpe_special(t, "[PAD259]"), -1);
    assert_int_equal(agrl_bpe_vocab(t), 259);
    agrl_bpe_free(t);
    agrl_block_free(block, l->n_elements * sizeof *block);
    agrl_layout_free(l);
    agrl_buf_release(&b);
    agrl_buf_release(&json);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(formats_are_exact), cmocka_unit_test(reads_a_file), cmocka_unit_test(lies_are_refused),
                                     cmocka_unit_test(models_load),       cmocka_unit_test(unsupported_is_named),
                                     cmocka_unit_test(llama3_scaling_and_ends), cmocka_unit_test(tokenizers_encode)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
