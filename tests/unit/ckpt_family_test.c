// SPDX-License-Identifier: Apache-2.0
// Directories as other programs write them: every field of config.json that would change the numbers, several weight files
// with an index, the files that say which tokens begin and end a text, and the files that are carried along.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/file.h"
#include "common/base/json.h"
#include "common/ckpt/hf.h"
#include "tests/lib/model_check.h"
#include "tests/lib/shards.h"

static char root[64];

static int make_root(void **state) {
  (void)state;
  snprintf(root, sizeof root, "/tmp/agrl-family-XXXXXX");
  return mkdtemp(root) == NULL;
}

static int remove_root(void **state) {
  (void)state;
  return agrl_file_remove_tree(root, NULL) != AGRL_OK;
}

static void put(const char *name, const char *text, size_t len) {
  agrl_error err = {0};
  char *path = agrl_path_join(root, name);
  if (agrl_file_write_atomic(path, text, len, &err) != AGRL_OK) fail_msg("%s", err.msg);
  free(path);
}

static void drop(const char *name) {
  char *path = agrl_path_join(root, name);
  unlink(path);
  free(path);
}

static void refused(agrl_rc want, const char *word) {
  agrl_layout *l;
  float *block;
  agrl_error err = {0};
  const agrl_rc rc = agrl_ckpt_load(root, &l, &block, NULL, &err);
  if (rc != want || strstr(err.msg, word) == NULL) fail_msg("want \"%s\": %s: %s", word, agrl_rc_name(rc), err.msg);
  assert_null(l);
  assert_null(block);
}

// ---- config.json

static const char llama[] = "{\"model_type\":\"llama\",\"hidden_size\":32,\"intermediate_size\":64,\"num_hidden_layers\":2,"
                            "\"num_attention_heads\":4,\"vocab_size\":100,\"max_position_embeddings\":64";
static const char qwen2[] = "{\"model_type\":\"qwen2\",\"hidden_size\":32,\"intermediate_size\":64,\"num_hidden_layers\":2,"
                            "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"vocab_size\":100,\"max_position_embeddings\":64";
#define SCALED "\"rope_type\":\"llama3\",\"factor\":32.0,\"low_freq_factor\":1.0,\"high_freq_factor\":4.0"

static agrl_spec parse(const char *base, const char *more, agrl_rc want, const char *word) {
  char text[2048];
  agrl_spec s;
  agrl_error err = {0};
  const int n = snprintf(text, sizeof text, "%s%s}", base, more);
  const agrl_rc rc = agrl_ckpt_parse_config(text, (size_t)n, "config.json", &s, &err);
  if (rc != want || (word != NULL && strstr(err.msg, word) == NULL))
    fail_msg("%s: %s: %s, want %s \"%s\"", more, agrl_rc_name(rc), err.msg, agrl_rc_name(want), word ? word : "");
  return s;
}

static void rope_scaling(void **state) {
  (void)state;
  const char *const same[] = {
      ",\"rope_theta\":500000.0,\"rope_scaling\":{" SCALED ",\"original_max_position_embeddings\":16}",
      ",\"rope_parameters\":{\"rope_theta\":500000.0," SCALED ",\"original_max_position_embeddings\":16}",
      ",\"rope_theta\":500000.0,\"rope_parameters\":null,\"rope_scaling\":{\"type\":\"llama3\"," SCALED
      ",\"original_max_position_embeddings\":16}",
      ",\"rope_parameters\":{\"type\":null,\"rope_theta\":5e5,\"partial_rotary_factor\":1.0,\"attention_factor\":null," SCALED
      ",\"original_max_position_embeddings\":16}",
  };
  for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
    const agrl_spec s = parse(llama, same[i], AGRL_OK, NULL);
    assert_true(s.rope.factor == 32 && s.rope.low_freq_factor == 1 && s.rope.high_freq_factor == 4 && s.rope_theta == 500000);
    assert_int_equal(s.rope.original_context, 16);
  }
  const char *const unscaled[] = {
      ",\"rope_theta\":5e5,\"rope_scaling\":null",
      ",\"rope_theta\":5e5,\"rope_scaling\":{\"type\":\"default\"}",
      ",\"rope_theta\":5e5,\"rope_scaling\":{\"type\":\"default\",\"rope_type\":\"default\"},\"rope_parameters\":null",
      ",\"rope_theta\":1.0,\"rope_parameters\":{\"rope_theta\":5e5,\"rope_type\":\"default\"}",  // transformers 5
      ",\"rope_parameters\":{\"rope_theta\":5e5}",
  };
  for (size_t i = 0; i < sizeof unscaled / sizeof *unscaled; i++) {
    const agrl_spec s = parse(qwen2, unscaled[i], AGRL_OK, NULL);
    assert_true(s.rope.factor == 0 && s.rope_theta == 500000);
  }
  const char *const kinds[] = {"linear", "dynamic", "yarn", "longrope", "su", "mrope"};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    for (int newer = 0; newer < 2; newer++) {
      char more[128], word[64];
      snprintf(more, sizeof more, ",\"rope_%s\":{\"%s\":\"%s\",\"factor\":2}", newer ? "parameters" : "scaling",
               newer ? "rope_type" : "type", kinds[i]);
      snprintf(word, sizeof word, "rope_%s type %s is not supported", newer ? "parameters" : "scaling", kinds[i]);
      parse(llama, more, AGRL_EUNSUPPORTED, word);
    }
  parse(llama, ",\"rope_scaling\":{" SCALED "}", AGRL_EPARSE, "original_max_position_embeddings is missing");
  parse(llama, ",\"rope_scaling\":{\"type\":\"llama3\",\"factor\":2,\"low_freq_factor\":1,\"original_max_position_embeddings\":9}",
        AGRL_EPARSE, "high_freq_factor is missing");
  parse(llama, ",\"rope_scaling\":{\"type\":\"llama3\",\"factor\":0,\"low_freq_factor\":1,\"high_freq_factor\":4,"
               "\"original_max_position_embeddings\":9}", AGRL_EPARSE, "factor");
  parse(llama, ",\"rope_scaling\":{\"type\":\"llama3\",\"factor\":2,\"low_freq_factor\":4,\"high_freq_factor\":4,"
               "\"original_max_position_embeddings\":9}", AGRL_EPARSE, "low < high");
  parse(llama, ",\"rope_scaling\":[2]", AGRL_EPARSE, "rope_scaling is not an object");
  parse(llama, ",\"rope_scaling\":{\"type\":\"default\"},\"rope_parameters\":{}", AGRL_EUNSUPPORTED, "beside rope_parameters");
  parse(llama, ",\"partial_rotary_factor\":0.5", AGRL_EUNSUPPORTED, "partial_rotary_factor");
  parse(llama, ",\"rope_parameters\":{\"partial_rotary_factor\":0.5}", AGRL_EUNSUPPORTED, "partial_rotary_factor");
  parse(llama, ",\"rope_interleaved\":true", AGRL_EUNSUPPORTED, "rope_interleaved");
  parse(llama, ",\"rope_interleaved\":false", AGRL_OK, NULL);
}

// An object that means to scale but does not say how, or says more than is computed here, must not load unscaled.
static void rope_members(void **state) {
  (void)state;
  const struct {
    const char *members, *word;
  } odd[] = {
      {"\"factor\":4.0", "factor without a rope_type that scales is not supported"},
      {"\"type\":null,\"rope_theta\":5e5,\"factor\":4.0", "factor without a rope_type that scales is not supported"},
      {"\"rope_type\":\"default\",\"factor\":4.0", "factor without a rope_type that scales is not supported"},
      {"\"original_max_position_embeddings\":16", "original_max_position_embeddings without a rope_type that scales is not supported"},
      {"\"full_attention\":{\"rope_type\":\"yarn\",\"rope_theta\":5e5,\"factor\":4.0}", "full_attention is not supported"},
      {"\"rope_type\":\"default\",\"sliding_attention\":{\"rope_type\":\"default\",\"rope_theta\":5e5}", "sliding_attention is not supported"},
      {"\"mrope_section\":[2,1,1]", "mrope_section is not supported"},
      {SCALED ",\"original_max_position_embeddings\":16,\"attention_factor\":1.5", "attention_factor is not supported"},
      {"\"type\":\"yarn\",\"rope_type\":\"default\"", "whose rope_type and type differ is not supported"},
      {"\"type\":\"dynamic\"," SCALED ",\"original_max_position_embeddings\":16", "whose rope_type and type differ is not supported"},
  };
  for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
    for (int newer = 0; newer < 2; newer++) {
      char more[256], word[128];
      snprintf(more, sizeof more, ",\"rope_%s\":{%s}", newer ? "parameters" : "scaling", odd[i].members);
      snprintf(word, sizeof word, "rope_%s %s", newer ? "parameters" : "scaling", odd[i].word);
      parse(llama, more, AGRL_EUNSUPPORTED, word);
    }
  parse(llama, ",\"rope_scaling\":{\"rope_type\":{\"type\":\"yarn\"}}", AGRL_EPARSE, "rope_scaling is not an object with a rope_type");
  parse(llama, ",\"rope_scaling\":{\"rope_type\":\"default\",\"type\":2}", AGRL_EPARSE, "rope_scaling is not an object with a rope_type");
  parse(llama, ",\"rope_parameters\":{\"rope_theta\":{\"full_attention\":5e5}}", AGRL_EPARSE, "rope_theta is not a number");
}

static void windows_that_bite(void **state) {
  (void)state;
  parse(qwen2, ",\"use_sliding_window\":false,\"sliding_window\":8,\"max_window_layers\":0", AGRL_OK, NULL);
  parse(qwen2, ",\"use_sliding_window\":true,\"sliding_window\":8,\"max_window_layers\":2", AGRL_OK, NULL);   // no layer of it
  parse(qwen2, ",\"use_sliding_window\":true,\"sliding_window\":64,\"max_window_layers\":0", AGRL_OK, NULL);  // never left
  parse(qwen2, ",\"use_sliding_window\":true,\"sliding_window\":63,\"max_window_layers\":1", AGRL_EUNSUPPORTED, "use_sliding_window");
  parse(qwen2, ",\"layer_types\":[\"full_attention\",\"sliding_attention\"]", AGRL_EUNSUPPORTED, "layer_types");
}

static void other_fields(void **state) {
  (void)state;
  parse(llama, ",\"hidden_act\":\"gelu_pytorch_tanh\"", AGRL_EUNSUPPORTED, "hidden_act");
  parse(llama, ",\"hidden_act\":3", AGRL_EUNSUPPORTED, "hidden_act");
  parse(llama, ",\"attention_bias\":true", AGRL_EUNSUPPORTED, "attention_bias");
  parse(llama, ",\"mlp_bias\":true", AGRL_EUNSUPPORTED, "mlp_bias");
  parse(llama, ",\"quantization_config\":{\"bits\":4}", AGRL_EUNSUPPORTED, "quantization_config");
  const char *const types[] = {"mistral", "gemma2", "qwen2_moe", "qwen3_moe", "phi3", "smollm3"};
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    char text[64];
    snprintf(text, sizeof text, "{\"model_type\":\"%s\"", types[i]);
    parse(text, "", AGRL_EUNSUPPORTED, types[i]);
  }
  assert_int_equal(parse(llama, "", AGRL_OK, NULL).n_kv_heads, 4);
  assert_int_equal(parse(qwen2, "", AGRL_OK, NULL).head_dim, 8);
  parse("{\"model_type\":\"qwen3\",\"hidden_size\":32,\"intermediate_size\":64,\"num_hidden_layers\":2,\"num_attention_heads\":4,"
        "\"vocab_size\":100,\"max_position_embeddings\":64", "", AGRL_EPARSE, "num_key_value_heads");
}

static void end_tokens(void **state) {
  (void)state;
  agrl_spec s = parse(llama, ",\"bos_token_id\":1,\"eos_token_id\":[7,8,7,9]", AGRL_OK, NULL);
  assert_int_equal(s.end_id, 7);
  assert_int_equal(s.n_stops, 2);
  assert_true(agrl_spec_stops(&s, 7) && agrl_spec_stops(&s, 8) && agrl_spec_stops(&s, 9) && !agrl_spec_stops(&s, 1));
  s = parse(llama, ",\"eos_token_id\":null", AGRL_OK, NULL);
  assert_int_equal(s.end_id, -1);
  assert_false(agrl_spec_stops(&s, -1));
  parse(llama, ",\"eos_token_id\":[1,2,3,4,5,6,7,8,9,10]", AGRL_ELIMIT, "more than 9");
  parse(llama, ",\"eos_token_id\":[1,100]", AGRL_EPARSE, "stop token 100");
  parse(llama, ",\"eos_token_id\":[\"x\"]", AGRL_EPARSE, "eos_token_id");
  parse(llama, ",\"eos_token_id\":[-1]", AGRL_EPARSE, "eos_token_id");
}

// ---- several files

static void save_shards(const agrl_layout *l, const float *p, bool head, size_t files) {
  shard_set s = shards_make(l, p, AGRL_DTYPE_BF16, files, head);
  agrl_buf config = {0};
  agrl_ckpt_write_config(&l->spec, AGRL_DTYPE_BF16, &config);
  put("config.json", config.data, config.len);
  put("model.safetensors.index.json", s.index.data, s.index.len);
  for (size_t i = 0; i < files; i++) put(s.names[i], s.files[i].data, s.files[i].len);
  agrl_buf_release(&config);
  shards_release(&s);
}

static void sharded(void **state) {
  (void)state;
  for (int v = 0; v < MC_VARIANTS; v++)
    for (size_t files = 1; files <= 3; files++) {
      agrl_layout *l = mc_layout(v), *back;
      float *p = mc_params(l, 5, true), *q;
      agrl_error err = {0};
      save_shards(l, p, l->spec.tied && files > 1, files);  // a tied model's head in the last file, the embedding in the first
      if (agrl_ckpt_load(root, &back, &q, NULL, &err) != AGRL_OK) fail_msg("%s", err.msg);
      tc_same("parameters", q, p, l->n_elements * sizeof *p);
      agrl_block_free(q, back->n_elements * sizeof *q);
      agrl_layout_free(back);
      agrl_layout_free(l);
      free(p);
    }
}

static void edit(const char *name, const char *from, const char *to) {
  agrl_buf text = {0};
  agrl_error err = {0};
  char *path = agrl_path_join(root, name);
  if (agrl_file_read(path, 1 << 20, &text, &err) != AGRL_OK) fail_msg("%s", err.msg);
  char *at = strstr(text.data, from);
  assert_non_null(at);
  agrl_buf out = {0};
  agrl_buf_add(&out, text.data, (size_t)(at - text.data));
  agrl_buf_adds(&out, to);
  agrl_buf_adds(&out, at + strlen(from));
  put(name, out.data, out.len);
  agrl_buf_release(&out);
  agrl_buf_release(&text);
  free(path);
}

static void hostile_shards(void **state) {
  (void)state;
  static const char index[] = "model.safetensors.index.json", two[] = "model-00002-of-00002.safetensors";
  agrl_layout *l = mc_layout(1);
  float *p = mc_params(l, 5, true);
  const struct {
    const char *from, *to, *word;
    agrl_rc rc;
  } edits[] = {
      {"model-00001-of-00002", "../model-00001-of-00002", "plain name", AGRL_EPARSE},
      {"model-00001-of-00002", "/etc/model-00001-of-00002", "plain name", AGRL_EPARSE},
      {"\"model-00001-of-00002.safetensors\"", "\"config.json\"", "plain name", AGRL_EPARSE},
      {"\"model-00001-of-00002.safetensors\"", "7", "is not a file name", AGRL_EPARSE},
      {"model-00001-of-00002", "model-00009-of-00002", "model-00009-of-00002", AGRL_ENOENT},
      {"embed_tokens.weight\":\"model-00001", "embed_tokens.weight\":\"model-00002", "places here, is missing", AGRL_EPARSE},
      {"0.self_attn.q_proj.weight\":\"model-00001", "0.self_attn.q_proj.weight\":\"model-00002", "places in", AGRL_EPARSE},
      {"\"model.embed_tokens.weight\"", "\"model.embed_tokens.other\"", "does not list", AGRL_EPARSE},
      {"\"weight_map\":{", "\"weight_map\":{\"ghost\":\"model-00001-of-00002.safetensors\",", "ghost", AGRL_EPARSE},
      {"weight_map", "weights_map", "weight_map is missing", AGRL_EPARSE},
  };
  for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
    save_shards(l, p, false, 2);
    edit(index, edits[i].from, edits[i].to);
    refused(edits[i].rc, edits[i].word);
  }
  save_shards(l, p, false, 2);
  put(two, "\x02\0\0\0\0\0\0\0{}", 10);
  refused(AGRL_EPARSE, "is missing");
  put(two, "", 0);
  refused(AGRL_EPARSE, two);
  drop(two);
  refused(AGRL_ENOENT, two);
  // A tied model's stored head must be its embedding, wherever it lies.
  for (size_t files = 1; files <= 2; files++) {
    save_shards(l, p, true, files);
    char *path = agrl_path_join(root, files == 1 ? "model-00001-of-00001.safetensors" : two);
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    assert_int_equal(fseek(f, -1, SEEK_END), 0);
    const int last = fgetc(f);
    assert_int_equal(fseek(f, -1, SEEK_END), 0);
    fputc(last ^ 1, f);
    fclose(f);
    free(path);
    refused(AGRL_EUNSUPPORTED, "lm_head.weight differs from model.embed_tokens.weight");
  }
  drop(index);
  free(p);
  agrl_layout_free(l);
}

// ---- which tokens begin and end a text

static void token_files(void **state) {
  (void)state;
  static const char ids[] = "{\"added_tokens\":[{\"id\":3,\"content\":\"<s>\"},{\"id\":7,\"content\":\"<e>\"},{\"id\":8,\"content\":\"<t>\"}]";
  static const char post[] = ",\"post_processor\":{\"type\":\"Sequence\",\"processors\":[{\"type\":\"ByteLevel\"},"
                             "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},"
                             "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}],\"special_tokens\":{\"<s>\":{\"id\":\"<s>\",\"ids\":[3],"
                             "\"tokens\":[\"<s>\"]}}}]}";
  const struct {
    const char *generation, *tokenizer_config;
    bool tokenizer, post;
    int32_t start, end, stops;
  } cases[] = {
      {NULL, NULL, false, false, 5, 6, 0},  // nothing but config.json
      {"{\"eos_token_id\":[7,8,6]}", NULL, false, false, 5, 7, 2},
      {"{\"eos_token_id\":8}", "{\"add_bos_token\":true}", false, false, 5, 8, 0},
      {"{\"temperature\":0.7}", "{\"add_bos_token\":false}", false, false, -1, 6, 0},  // Qwen: named, never written
      {NULL, "{}", true, false, -1, 6, 0},
      {"{\"eos_token_id\":[7,8]}", "{\"eos_token\":\"<t>\"}", true, true, 3, 8, 1},  // Llama 3: turns end in another of them
      {"{\"eos_token_id\":[7,8]}", "{\"eos_token\":{\"content\":\"<t>\"}}", true, true, 3, 8, 1},
      {"{\"eos_token_id\":[7,8]}", "{\"eos_token\":\"<s>\"}", true, false, -1, 7, 1},
  };
  agrl_layout *l = mc_layout(0);
  float *p = mc_params(l, 5, true);
  l->spec.start_id = 5;
  l->spec.end_id = 6;
  save_shards(l, p, false, 1);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char text[1024];
    snprintf(text, sizeof text, "%s%s}", ids, cases[i].post ? post : "");
    drop("generation_config.json");
    drop("tokenizer.json");
    drop("tokenizer_config.json");
    if (cases[i].generation != NULL) put("generation_config.json", cases[i].generation, strlen(cases[i].generation));
    if (cases[i].tokenizer) put("tokenizer.json", text, strlen(text));
    if (cases[i].tokenizer_config != NULL) put("tokenizer_config.json", cases[i].tokenizer_config, strlen(cases[i].tokenizer_config));
    agrl_spec s;
    agrl_error err = {0};
    if (agrl_ckpt_load_spec(root, &s, &err) != AGRL_OK) fail_msg("case %zu: %s", i, err.msg);
    if (s.start_id != cases[i].start || s.end_id != cases[i].end || s.n_stops != cases[i].stops)
      fail_msg("case %zu: start %d end %d stops %d", i, s.start_id, s.end_id, s.n_stops);
  }
  put("generation_config.json", "{\"eos_token_id\":999}", 20);
  refused(AGRL_EPARSE, "generation_config.json");
  drop("generation_config.json");
  put("tokenizer_config.json", "{", 1);
  refused(AGRL_EPARSE, "tokenizer_config.json");
  drop("tokenizer.json");
  drop("tokenizer_config.json");
  free(p);
  agrl_layout_free(l);
}

// ---- files carried along

static void template_is(const char *dir, const char *want) {
  agrl_buf text = {0};
  agrl_error err = {0};
  if (agrl_ckpt_chat_template(dir, &text, &err) != AGRL_OK) fail_msg("%s", err.msg);
  assert_int_equal(text.len, strlen(want));
  if (text.len > 0) assert_memory_equal(text.data, want, text.len);
  agrl_buf_release(&text);
}

static void chat_template_is_kept(void **state) {
  (void)state;
  template_is(root, "");
  static const char own[] = "{\"chat_template\":\"{{ a }}\",\"model_max_length\":9}";
  static const char named[] = "{\"chat_template\":[{\"name\":\"tool\",\"template\":\"x\"},{\"name\":\"default\",\"template\":\"y\"}]}";
  put("tokenizer_config.json", named, strlen(named));
  template_is(root, "y");
  agrl_layout *l = mc_layout(0);
  float *p = mc_params(l, 5, true);
  agrl_error err = {0};
  char *dir = agrl_path_join(root, "saved"), *path = agrl_path_join(dir, "tokenizer_config.json");
  const agrl_ckpt_extra extra[] = {{AGRL_CKPT_TOKENIZER_CONFIG, own, strlen(own)}, {AGRL_CKPT_CHAT_TEMPLATE, "{{ b }}", 7}};
  for (size_t n = 1; n <= 2; n++) {
    if (agrl_ckpt_save(dir, l, p, AGRL_DTYPE_BF16, "{}", 2, 1, extra, n, &err) != AGRL_OK) fail_msg("%s", err.msg);
    template_is(dir, n == 1 ? "{{ a }}" : "{{ b }}");
    agrl_buf text = {0};
    assert_int_equal(agrl_file_read(path, 1 << 20, &text, &err), AGRL_OK);
    assert_string_equal(text.data, own);
    agrl_buf_release(&text);
    assert_int_equal(agrl_ckpt_verify(dir, &err), AGRL_OK);
  }
  // Without one of its own, the tokenizer's start and end tokens are named for AutoTokenizer.
  static const char tokenizer[] = "{\"added_tokens\":[{\"id\":3,\"content\":\"<s>\"},{\"id\":7,\"content\":\"<e>\"}]}";
  l->spec.start_id = 3;
  l->spec.end_id = 7;
  if (agrl_ckpt_save(dir, l, p, AGRL_DTYPE_BF16, tokenizer, strlen(tokenizer), 1, NULL, 0, &err) != AGRL_OK) fail_msg("%s", err.msg);
  agrl_json *j;
  const char *text;
  bool add = false;
  if (agrl_json_load(path, &j, &err) != AGRL_OK) fail_msg("%s", err.msg);
  assert_true(agrl_json_bool(agrl_json_get(j, "add_bos_token"), &add) && add);
  assert_true(agrl_json_str(agrl_json_get(j, "bos_token"), &text, NULL) && strcmp(text, "<s>") == 0);
  assert_true(agrl_json_str(agrl_json_get(j, "eos_token"), &text, NULL) && strcmp(text, "<e>") == 0);
  agrl_json_free(j);
  template_is(dir, "");
  free(path);
  free(dir);
  free(p);
  agrl_layout_free(l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rope_scaling), cmocka_unit_test(rope_members),   cmocka_unit_test(windows_that_bite),
      cmocka_unit_test(other_fields), cmocka_unit_test(end_tokens),     cmocka_unit_test(sharded),
      cmocka_unit_test(hostile_shards), cmocka_unit_test(token_files),  cmocka_unit_test(chat_template_is_kept),
  };
  if (agrl_tensor_init(NULL) != AGRL_OK) return 70;
  return cmocka_run_group_tests(tests, make_root, remove_root);
}
