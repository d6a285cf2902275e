// SPDX-License-Identifier: Apache-2.0
// Reading a model for agrlctl model: weights, tokenizer and chat template of a GGUF file or a Hugging Face directory.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/ckpt/gguf.h"
#include "deploy/ctl/model.h"

void ctl_model_note(const char *fmt, ...) {
  if (!isatty(2)) return;
  va_list ap;
  va_start(ap, fmt);
  fputs("\r\033[K", stderr);
  vfprintf(stderr, fmt, ap);
  va_end(ap);
}

bool ctl_model_is_gguf(const char *path) {
  struct stat st;
  return stat(path, &st) != 0 || !S_ISDIR(st.st_mode);
}

static void on_tensor(void *user, size_t done, size_t total) {
  static uint64_t shown_ns;
  const uint64_t now = agrl_mono_ns();
  if (now - shown_ns < 200000000ull) return;
  shown_ns = now;
  ctl_model_note("%s: tensor %zu of %zu", (const char *)user, done, total);
}

static agrl_rc open_gguf(const char *path, ctl_model *m, agrl_error *err) {
  agrl_map map;
  agrl_gguf g = {0};
  agrl_gguf_str chat = {0};
  agrl_spec spec;  // an architecture that is not supported is told before its tokenizer
  agrl_rc rc = agrl_map_open(&map, path, err);
  if (rc) return rc;
  rc = agrl_gguf_parse(map.data, map.len, path, &g, err);
  if (!rc) rc = agrl_gguf_spec(&g, &spec, err);
  if (!rc) rc = agrl_gguf_tokenizer_json(&g, &m->tokenizer_json, err);
  if (!rc) rc = agrl_gguf_load(&g, &m->layout, &m->block, on_tensor, (void *)(uintptr_t)path, err);
  if (!rc && agrl_gguf_read_str(agrl_gguf_get(&g, "tokenizer.chat_template"), &chat)) agrl_buf_add(&m->chat_template, chat.s, chat.len);
  agrl_gguf_release(&g);
  agrl_map_close(&map);
  return rc;
}

static agrl_rc read_if_there(const char *dir, const char *name, agrl_buf *out, agrl_error *err) {
  char *path = agrl_path_join(dir, name);
  const bool there = agrl_file_exists(path);
  free(path);
  return there ? agrl_ckpt_read_extra(dir, name, out, err) : AGRL_OK;
}

agrl_rc ctl_model_dir_texts(const char *dir, agrl_buf *tokenizer_json, agrl_buf *chat_template, agrl_error *err) {
  agrl_rc rc = read_if_there(dir, "tokenizer.json", tokenizer_json, err);
  return rc ? rc : agrl_ckpt_chat_template(dir, chat_template, err);
}

static agrl_rc open_dir(const char *dir, ctl_model *m, agrl_error *err) {
  ctl_model_note("%s: reading", dir);
  agrl_rc rc = ctl_model_dir_texts(dir, &m->tokenizer_json, &m->chat_template, err);
  if (!rc && !m->tokenizer_json.len)
    rc = agrl_fail(err, AGRL_ENOENT, "%s: has no tokenizer.json; save the model with its fast tokenizer", dir);
  if (!rc) rc = read_if_there(dir, AGRL_CKPT_TOKENIZER_CONFIG, &m->tokenizer_config, err);
  if (!rc) rc = agrl_ckpt_load(dir, &m->layout, &m->block, &m->version, err);
  return rc;
}

agrl_rc ctl_model_open(const char *path, ctl_model *m, agrl_error *err) {
  *m = (ctl_model){0};
  agrl_rc rc = ctl_model_is_gguf(path) ? open_gguf(path, m, err) : open_dir(path, m, err);
  if (!rc) rc = agrl_bpe_parse(m->tokenizer_json.data, m->tokenizer_json.len, path, &m->bpe, err);
  if (!rc && agrl_bpe_vocab(m->bpe) > (size_t)m->layout->spec.vocab)
    rc = agrl_fail(err, AGRL_EPARSE, "%s: the tokenizer has ids up to %zu, the model %d rows", path, agrl_bpe_vocab(m->bpe) - 1,
                   m->layout->spec.vocab);
  ctl_model_note("%s", "");
  return rc;
}

void ctl_model_release(ctl_model *m) {
  if (m->block) agrl_block_free(m->block, m->layout->n_elements * sizeof *m->block);
  agrl_layout_free(m->layout);
  agrl_buf_release(&m->tokenizer_json);
  agrl_buf_release(&m->tokenizer_config);
  agrl_buf_release(&m->chat_template);
  agrl_bpe_free(m->bpe);
  *m = (ctl_model){0};
}
