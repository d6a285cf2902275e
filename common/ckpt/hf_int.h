// SPDX-License-Identifier: Apache-2.0
// Inside of common/ckpt: the manifest and config.json.
#ifndef AGRL_CKPT_HF_INT_H
#define AGRL_CKPT_HF_INT_H

#include "common/base/buf.h"
#include "common/base/hash.h"
#include "common/ckpt/hf.h"

#define CKPT_MANIFEST "agrl_manifest.json"
#define CKPT_MODEL "model.safetensors"
#define CKPT_CONFIG "config.json"

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

void ckpt_generation_config_write(const agrl_spec *s, agrl_buf *out);
void ckpt_tokenizer_config_write(const agrl_spec *s, agrl_buf *out);

#endif
