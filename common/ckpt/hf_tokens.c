// SPDX-License-Identifier: Apache-2.0
// What the files beside config.json say about tokens: generation_config.json lists every id that ends a completion;
// tokenizer.json and tokenizer_config.json say whether a start token is put before a text (Llama 3: yes, by its
// post-processor; Qwen names one in config.json and never writes it) and which end token closes a turn.
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/ckpt/hf_int.h"

enum { MAX_TEXT = 256 << 20 };

agrl_rc ckpt_parse_generation(const char *text, size_t len, const char *path, agrl_spec *s, agrl_error *err) {
  agrl_json *root;
  agrl_rc rc = agrl_json_parse(text, len, path, &root, err);
  if (rc != AGRL_OK) return rc;
  const agrl_json *ends = agrl_json_get(root, "eos_token_id");
  if (ends != NULL && agrl_json_typeof(ends) != AGRL_JSON_NULL) rc = ckpt_read_ends(ends, path, s, err);
  if (rc == AGRL_OK) rc = ckpt_check_spec(s, path, err);
  agrl_json_free(root);
  return rc;
}

const char *ckpt_added_token(const agrl_json *tokenizer, int32_t id) {
  const agrl_json *added = agrl_json_get(tokenizer, "added_tokens");
  for (size_t i = 0; i < agrl_json_len(added); i++) {
    int64_t v;
    const char *text;
    if (agrl_json_i64(agrl_json_get(agrl_json_at(added, i), "id"), &v) && v == id &&
        agrl_json_str(agrl_json_get(agrl_json_at(added, i), "content"), &text, NULL))
      return text;
  }
  return NULL;
}

// The id a TemplateProcessing puts before a single text, also inside of a Sequence; -1: none.
static int32_t template_start(const agrl_json *post) {
  const char *type = "", *text = "";
  agrl_json_str(agrl_json_get(post, "type"), &type, NULL);
  const agrl_json *list = agrl_json_get(post, "processors");
  if (strcmp(type, "Sequence") == 0) {
    for (size_t i = 0; i < agrl_json_len(list); i++) {
      const int32_t id = template_start(agrl_json_at(list, i));
      if (id >= 0) return id;
    }
  }
  const agrl_json *first = agrl_json_at(agrl_json_get(post, "single"), 0);
  int64_t id;
  if (strcmp(type, "TemplateProcessing") != 0 || !agrl_json_str(agrl_json_get(agrl_json_get(first, "SpecialToken"), "id"), &text, NULL) ||
      !agrl_json_i64(agrl_json_at(agrl_json_get(agrl_json_get(agrl_json_get(post, "special_tokens"), text), "ids"), 0), &id))
    return -1;
  return id >= 0 && id <= INT32_MAX ? (int32_t)id : -1;
}

// A token of tokenizer_config.json is a string, or an object with its content.
static const char *token_text(const agrl_json *j) {
  const char *text = NULL;
  if (!agrl_json_str(j, &text, NULL)) agrl_json_str(agrl_json_get(j, "content"), &text, NULL);
  return text;
}

static void prefer_end(const agrl_json *tokenizer, const char *text, agrl_spec *s) {
  for (int32_t i = 0; text != NULL && i < s->n_stops; i++) {
    const char *stop = ckpt_added_token(tokenizer, s->stop_ids[i]);
    if (stop == NULL || strcmp(stop, text) != 0) continue;
    const int32_t end = s->stop_ids[i];
    s->stop_ids[i] = s->end_id;
    s->end_id = end;
    return;
  }
}

void ckpt_apply_tokenizer(const agrl_json *tokenizer, const agrl_json *config, agrl_spec *s) {
  if (tokenizer == NULL && config == NULL) return;
  const int32_t start = template_start(agrl_json_get(tokenizer, "post_processor"));
  bool add = false;
  agrl_json_bool(agrl_json_get(config, "add_bos_token"), &add);
  if (start >= 0) s->start_id = start;
  else if (!add) s->start_id = -1;
  prefer_end(tokenizer, token_text(agrl_json_get(config, "eos_token")), s);
}

static agrl_rc read_json(const char *dir, const char *name, const ckpt_manifest *m, agrl_json **out, agrl_error *err) {
  agrl_buf text = {0};
  char *path = agrl_path_join(dir, name);
  *out = NULL;
  agrl_rc rc = AGRL_OK;
  if (agrl_file_exists(path)) {
    rc = ckpt_read_checked(dir, name, m, MAX_TEXT, &text, err);
    if (rc == AGRL_OK) rc = agrl_json_parse(text.data, text.len, path, out, err);
  }
  free(path);
  agrl_buf_release(&text);
  return rc;
}

static agrl_rc read_tokenizer(const char *dir, const ckpt_manifest *m, agrl_spec *s, agrl_error *err) {
  agrl_json *tokenizer = NULL, *config = NULL;
  agrl_rc rc = read_json(dir, CKPT_TOKENIZER, m, &tokenizer, err);
  if (rc == AGRL_OK) rc = read_json(dir, CKPT_TOKENIZER_CONFIG, m, &config, err);
  if (rc == AGRL_OK) ckpt_apply_tokenizer(tokenizer, config, s);
  agrl_json_free(tokenizer);
  agrl_json_free(config);
  char *path = agrl_path_join(dir, CKPT_TOKENIZER);
  if (rc == AGRL_OK) rc = ckpt_check_spec(s, path, err);
  free(path);
  return rc;
}

// Directories with a manifest are our own: their config.json says it all.
agrl_rc ckpt_read_tokens(const char *dir, const ckpt_manifest *m, agrl_spec *s, agrl_error *err) {
  if (m->present) return AGRL_OK;
  agrl_buf text = {0};
  char *path = agrl_path_join(dir, CKPT_GENERATION);
  agrl_rc rc = AGRL_OK;
  if (agrl_file_exists(path)) {
    rc = ckpt_read_checked(dir, CKPT_GENERATION, m, MAX_TEXT, &text, err);
    if (rc == AGRL_OK) rc = ckpt_parse_generation(text.data, text.len, path, s, err);
  }
  free(path);
  agrl_buf_release(&text);
  return rc == AGRL_OK ? read_tokenizer(dir, m, s, err) : rc;
}

agrl_rc agrl_ckpt_chat_template(const char *dir, agrl_buf *out, agrl_error *err) {
  ckpt_manifest m;
  agrl_json *config = NULL;
  agrl_buf_clear(out);
  agrl_rc rc = ckpt_manifest_load(dir, &m, err);
  if (rc != AGRL_OK) return rc;
  char *path = agrl_path_join(dir, CKPT_CHAT_TEMPLATE);
  const bool file = agrl_file_exists(path);
  free(path);
  if (file) rc = ckpt_read_checked(dir, CKPT_CHAT_TEMPLATE, &m, MAX_TEXT, out, err);
  else rc = read_json(dir, CKPT_TOKENIZER_CONFIG, &m, &config, err);
  const agrl_json *t = agrl_json_get(config, "chat_template");
  const char *text, *name;
  size_t len;
  if (agrl_json_str(t, &text, &len)) agrl_buf_add(out, text, len);
  for (size_t i = 0; i < agrl_json_len(t); i++)  // several templates, each with a name
    if (agrl_json_str(agrl_json_get(agrl_json_at(t, i), "name"), &name, NULL) && strcmp(name, "default") == 0 &&
        agrl_json_str(agrl_json_get(agrl_json_at(t, i), "template"), &text, &len))
      agrl_buf_add(out, text, len);
  agrl_json_free(config);
  ckpt_manifest_release(&m);
  return rc;
}
