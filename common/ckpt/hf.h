// SPDX-License-Identifier: Apache-2.0
// Checkpoints are Hugging Face directories: config.json, model.safetensors, tokenizer.json, generation_config.json, and
// agrl_manifest.json (sha256 and size of every file, version). Written to DIR.tmp, fsynced, renamed: a directory
// that has its final name is whole. Reading checks the files read against the manifest when there is one.
#ifndef AGRL_CKPT_HF_H
#define AGRL_CKPT_HF_H

#include "common/base/buf.h"
#include "common/model/spec.h"

typedef enum { AGRL_DTYPE_F32, AGRL_DTYPE_BF16, AGRL_DTYPE_F16 } agrl_dtype;

typedef struct agrl_ckpt_extra {  // one more file in the directory (optimiser state, trainer state)
  const char *name;
  const void *data;
  size_t len;
} agrl_ckpt_extra;

// Files beside the weights that a model brings and that are kept as they are: pass them as extras of these names. Without
// the first, one is written that says to take tokenizer.json as it is.
#define AGRL_CKPT_TOKENIZER_CONFIG "tokenizer_config.json"
#define AGRL_CKPT_CHAT_TEMPLATE "chat_template.jinja"

// block: f32, layout's n_elements. tokenizer_json: contents of tokenizer.json. version 0 allowed.
agrl_rc agrl_ckpt_save(const char *dir, const agrl_layout *l, const float *block, agrl_dtype dtype, const char *tokenizer_json,
                       size_t tokenizer_len, uint64_t version, const agrl_ckpt_extra *extra, size_t n_extra, agrl_error *err);
// Loads config.json and the weights (model.safetensors, or the files of model.safetensors.index.json) into a fresh layout and
// f32 block (agrl_block_alloc; free with agrl_block_free(*block, layout->n_elements * 4)). version: 0 when there is no
// manifest; then the directory comes from elsewhere, and start, end and stop tokens are read from generation_config.json,
// tokenizer.json and tokenizer_config.json too.
agrl_rc agrl_ckpt_load(const char *dir, agrl_layout **layout, float **block, uint64_t *version, agrl_error *err);
agrl_rc agrl_ckpt_load_spec(const char *dir, agrl_spec *spec, agrl_error *err);
// config.json as text: what travels in announcements (learner writes it, actors parse it).
agrl_rc agrl_ckpt_parse_config(const char *json, size_t len, const char *name, agrl_spec *spec, agrl_error *err);
void agrl_ckpt_write_config(const agrl_spec *spec, agrl_dtype dtype, agrl_buf *out);
// The chat template's text (chat_template.jinja, or tokenizer_config.json's); out is empty when there is none.
agrl_rc agrl_ckpt_chat_template(const char *dir, agrl_buf *out, agrl_error *err);
agrl_rc agrl_ckpt_verify(const char *dir, agrl_error *err);  // every hash of the manifest
agrl_rc agrl_ckpt_read_extra(const char *dir, const char *name, agrl_buf *out, agrl_error *err);

// Retention under a root: version directories "v00000001-00000020" (epoch-step, decimal), symlinks swapped atomically: "latest",
// and others by which a version is kept.
void agrl_ckpt_version_name(uint64_t version, char out[32]);
agrl_rc agrl_ckpt_set_latest(const char *root, const char *name, agrl_error *err);
agrl_rc agrl_ckpt_set_link(const char *root, const char *link_name, const char *name, agrl_error *err);  // "best" -> name
// Newest version directory that verifies; falls back to older ones, naming the broken in the log. AGRL_ENOENT: none.
agrl_rc agrl_ckpt_find_latest(const char *root, char **dir, uint64_t *version, agrl_error *err);
// Removes versions but for the newest `keep` and those that a symlink in root points to.
agrl_rc agrl_ckpt_retain(const char *root, size_t keep, agrl_error *err);

#endif
