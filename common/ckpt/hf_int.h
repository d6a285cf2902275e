// SPDX-License-Identifier: Apache-2.0
// Inside of common/ckpt: the manifest, the JSON files of a directory, and its shards.
#ifndef AGRL_CKPT_HF_INT_H
#define AGRL_CKPT_HF_INT_H

#include "common/base/buf.h"
#include "common/base/hash.h"
#include "common/base/json.h"
#include "common/ckpt/hf.h"

#define CKPT_MANIFEST "agrl_manifest.json"
#define CKPT_MODEL "model.safetensors"
#define CKPT_CONFIG "config.json"
#define CKPT_INDEX "model.safetensors.index.json"
#define CKPT_GENERATION "generation_config.json"
#define CKPT_TOKENIZER "tokenizer.json"
#define CKPT_TOKENIZER_CONFIG AGRL_CKPT_TOKENIZER_CONFIG
#define CKPT_CHAT_TEMPLATE AGRL_CKPT_CHAT_TEMPLATE

typedef struct ckpt_arch {
  const char *type, *class_name;  // config.json's model_type and architectures[0]
  bool qkv_bias, qk_norm;
} ckpt_arch;

typedef struct ckpt_file {
  char *name;
  uint64_t bytes;
  char sha256[65];
} ckpt_file;

typedef struct ckpt_manifest {
  bool present;  // false: the directory has none (a checkpoint from elsewhere)
  uint64_t version;
  ckpt_file *files;
  size_t n;
} ckpt_manifest;

agrl_rc ckpt_manifest_load(const char *dir, ckpt_manifest *out, agrl_error *err);  // OK with present false when absent
void ckpt_manifest_release(ckpt_manifest *m);
// Checks one file's contents against the manifest; OK when there is no manifest, AGRL_ECHECKSUM when not listed or different.
agrl_rc ckpt_manifest_check(const ckpt_manifest *m, const char *dir, const char *name, const void *data, size_t len,
                            agrl_error *err);
agrl_rc ckpt_manifest_write(const char *dir, const char *const *names, size_t n, uint64_t version, agrl_error *err);
bool ckpt_name_ok(const char *name);  // a plain file name: [A-Za-z0-9._-], no leading dot

const ckpt_arch *ckpt_arch_find(const char *type);  // NULL: not one of the three
agrl_rc ckpt_check_spec(const agrl_spec *s, const char *path, agrl_error *err);  // AGRL_EPARSE: what the file at path says cannot be

void ckpt_generation_config_write(const agrl_spec *s, agrl_buf *out);
void ckpt_tokenizer_config_write(const agrl_spec *s, const char *tokenizer_json, size_t len, agrl_buf *out);

// hf_tokens.c: start, end and stop tokens as the files beside config.json state them.
agrl_rc ckpt_read_ends(const agrl_json *j, const char *path, agrl_spec *s, agrl_error *err);  // an eos_token_id
// generation_config.json: its end tokens, where it has some, replace those of config.json.
agrl_rc ckpt_parse_generation(const char *text, size_t len, const char *path, agrl_spec *s, agrl_error *err);
// tokenizer.json and tokenizer_config.json (each may be NULL): whether s->start_id is put before a text at all, and which of
// several end tokens ends a completion.
void ckpt_apply_tokenizer(const agrl_json *tokenizer, const agrl_json *tokenizer_config, agrl_spec *s);
const char *ckpt_added_token(const agrl_json *tokenizer, int32_t id);  // its text, or NULL
agrl_rc ckpt_read_checked(const char *dir, const char *name, const ckpt_manifest *m, size_t max, agrl_buf *out, agrl_error *err);
agrl_rc ckpt_read_tokens(const char *dir, const ckpt_manifest *m, agrl_spec *s, agrl_error *err);  // of all three files

// hf_shards.c: which file holds which tensor, and a parameter block filled from them.
typedef struct ckpt_index {
  char **files;  // plain names, each once
  size_t n_files;
  struct ckpt_place {
    char *tensor;
    size_t file;  // index of files
  } *places;      // sorted by tensor
  size_t n_places;
} ckpt_index;

typedef struct ckpt_filler {
  const agrl_layout *layout;
  const ckpt_index *index;  // NULL: one file holds all
  float *block;
  bool *filled;             // per tensor of the layout
  bool head_unchecked;      // a tied model's stored head was met before the embedding it must equal: fill from its file again
} ckpt_filler;

agrl_rc ckpt_index_parse(const char *text, size_t len, const char *path, ckpt_index *out, agrl_error *err);
void ckpt_index_release(ckpt_index *x);
// Copies the tensors of file number `file`, whose bytes are given; name is used in messages. Everything in it must be a
// tensor of the layout that belongs there.
agrl_rc ckpt_fill(ckpt_filler *f, size_t file, const uint8_t *data, size_t len, const char *name, agrl_error *err);
agrl_rc ckpt_fill_done(const ckpt_filler *f, const char *name, agrl_error *err);  // AGRL_EPARSE: a tensor is missing
agrl_rc ckpt_load_block(const char *dir, const ckpt_manifest *m, const agrl_layout *l, float **out, agrl_error *err);

#endif
