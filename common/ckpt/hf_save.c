// SPDX-License-Identifier: Apache-2.0
// Writing a checkpoint: everything goes into DIR.tmp and is fsynced; one rename makes it DIR. An existing DIR is exchanged
// for the new one in one step where the file system can, and removed afterwards.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/ckpt/hf_int.h"
#include "common/ckpt/safetensors.h"

enum { OWN_FILES = 5 };
static const char *const own_names[] = {CKPT_CONFIG, CKPT_GENERATION, CKPT_MODEL, CKPT_INDEX, CKPT_TOKENIZER, CKPT_MANIFEST};

typedef struct writer {
  const char *dir;      // DIR.tmp
  const char **names;   // written so far
  size_t n;
  agrl_error *err;
} writer;

static agrl_rc write_file(writer *w, const char *name, const void *data, size_t len) {
  char *path = agrl_path_join(w->dir, name);
  agrl_rc rc = agrl_file_write_atomic(path, len > 0 ? data : "", len, w->err);
  if (rc == AGRL_OK) w->names[w->n++] = name;
  free(path);
  return rc;
}

static agrl_rc write_buf(writer *w, const char *name, agrl_buf *b) {
  agrl_rc rc = write_file(w, name, b->data, b->len);
  agrl_buf_clear(b);
  return rc;
}

static agrl_rc write_model(writer *w, const agrl_layout *l, const float *block, agrl_dtype dtype) {
  char *path = agrl_path_join(w->dir, CKPT_MODEL);
  agrl_rc rc = agrl_st_write(path, l, block, dtype, w->err);
  if (rc == AGRL_OK) w->names[w->n++] = CKPT_MODEL;
  free(path);
  return rc;
}

static agrl_rc write_own(writer *w, const agrl_layout *l, const float *block, agrl_dtype dtype, const char *tokenizer,
                         size_t tokenizer_len, bool tokenizer_config) {
  agrl_buf b = {0};
  agrl_ckpt_write_config(&l->spec, dtype, &b);
  agrl_rc rc = write_buf(w, CKPT_CONFIG, &b);
  ckpt_generation_config_write(&l->spec, &b);
  if (rc == AGRL_OK) rc = write_buf(w, CKPT_GENERATION, &b);
  if (rc == AGRL_OK) rc = write_model(w, l, block, dtype);
  if (rc == AGRL_OK && tokenizer_len > 0) {
    rc = write_file(w, CKPT_TOKENIZER, tokenizer, tokenizer_len);
    if (rc == AGRL_OK && tokenizer_config) {
      ckpt_tokenizer_config_write(&l->spec, tokenizer, tokenizer_len, &b);
      rc = write_buf(w, CKPT_TOKENIZER_CONFIG, &b);
    }
  }
  agrl_buf_release(&b);
  return rc;
}

static agrl_rc check_extra(const agrl_ckpt_extra *extra, size_t n, agrl_error *err) {
  for (size_t i = 0; i < n; i++) {
    bool taken = false;
    for (size_t j = 0; j < sizeof own_names / sizeof *own_names; j++) taken |= strcmp(extra[i].name, own_names[j]) == 0;
    for (size_t j = 0; j < i; j++) taken |= strcmp(extra[i].name, extra[j].name) == 0;
    if (taken || !ckpt_name_ok(extra[i].name))
      return agrl_fail(err, AGRL_EINVAL, "checkpoint: '%.100s' cannot name an extra file", extra[i].name);
  }
  return AGRL_OK;
}

static bool has_extra(const agrl_ckpt_extra *extra, size_t n, const char *name) {
  for (size_t i = 0; i < n; i++)
    if (strcmp(extra[i].name, name) == 0) return true;
  return false;
}

static agrl_rc swap_in(const char *tmp, const char *dir, agrl_error *err) {
  agrl_rc rc = AGRL_OK;
  if (rename(tmp, dir) != 0) {
    if (errno != EEXIST && errno != ENOTEMPTY) return agrl_fail(err, AGRL_EIO, "%s: rename to %s: %s", tmp, dir, strerror(errno));
    if (renameat2(AT_FDCWD, tmp, AT_FDCWD, dir, RENAME_EXCHANGE) != 0) {
      rc = agrl_file_remove_tree(dir, err);
      if (rc == AGRL_OK && rename(tmp, dir) != 0) rc = agrl_fail(err, AGRL_EIO, "%s: rename to %s: %s", tmp, dir, strerror(errno));
    }
  }
  char *parent = agrl_path_dir(dir);
  if (rc == AGRL_OK) rc = agrl_file_sync_dir(parent, err);
  free(parent);
  if (rc == AGRL_OK) rc = agrl_file_remove_tree(tmp, err);  // what was exchanged out; else it is gone already
  return rc;
}

agrl_rc agrl_ckpt_save(const char *dir, const agrl_layout *l, const float *block, agrl_dtype dtype, const char *tokenizer_json,
                       size_t tokenizer_len, uint64_t version, const agrl_ckpt_extra *extra, size_t n_extra, agrl_error *err) {
  agrl_rc rc = check_extra(extra, n_extra, err);
  if (rc != AGRL_OK) return rc;
  if (version > INT64_MAX) return agrl_fail(err, AGRL_EINVAL, "checkpoint: version epoch over 2^31");
  size_t n = strlen(dir);
  while (n > 1 && dir[n - 1] == '/') n--;
  char *final = agrl_xstrndup(dir, n), *tmp = agrl_xasprintf("%s.tmp", final);
  writer w = {tmp, agrl_xcalloc(OWN_FILES + n_extra, sizeof *w.names), 0, err};
  rc = agrl_file_remove_tree(tmp, err);
  if (rc == AGRL_OK) rc = agrl_file_mkdirs(tmp, err);
  const bool tokenizer_config = !has_extra(extra, n_extra, CKPT_TOKENIZER_CONFIG);
  if (rc == AGRL_OK) rc = write_own(&w, l, block, dtype, tokenizer_json, tokenizer_len, tokenizer_config);
  for (size_t i = 0; rc == AGRL_OK && i < n_extra; i++) rc = write_file(&w, extra[i].name, extra[i].data, extra[i].len);
  if (rc == AGRL_OK) rc = ckpt_manifest_write(tmp, w.names, w.n, version, err);
  if (rc == AGRL_OK) rc = agrl_file_sync_dir(tmp, err);
  if (rc == AGRL_OK) rc = swap_in(tmp, final, err);
  if (rc != AGRL_OK) agrl_file_remove_tree(tmp, NULL);
  free(w.names);
  free(tmp);
  free(final);
  return rc;
}
