// SPDX-License-Identifier: Apache-2.0
// Reading a checkpoint. Each file read is checked against the manifest, where there is one, from the very bytes that are
// then used. Missing and unknown tensors are refused by name.
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/ckpt/hf_int.h"
#include "common/ckpt/safetensors.h"

enum { MAX_CONFIG = 4 << 20 };

static agrl_rc read_checked(const char *dir, const char *name, const ckpt_manifest *m, size_t max, agrl_buf *out, agrl_error *err) {
  char *path = agrl_path_join(dir, name);
  agrl_rc rc = agrl_file_read(path, max, out, err);
  if (rc == AGRL_OK) rc = ckpt_manifest_check(m, dir, name, out->data, out->len, err);
  free(path);
  return rc;
}

static agrl_rc load_spec(const char *dir, const ckpt_manifest *m, agrl_spec *spec, agrl_error *err) {
  agrl_buf text = {0};
  char *path = agrl_path_join(dir, CKPT_CONFIG);
  agrl_rc rc = read_checked(dir, CKPT_CONFIG, m, MAX_CONFIG, &text, err);
  if (rc == AGRL_OK) rc = agrl_ckpt_parse_config(text.data, text.len, path, spec, err);
  free(path);
  agrl_buf_release(&text);
  return rc;
}

agrl_rc agrl_ckpt_load_spec(const char *dir, agrl_spec *spec, agrl_error *err) {
  ckpt_manifest m;
  agrl_rc rc = ckpt_manifest_load(dir, &m, err);
  if (rc == AGRL_OK) rc = load_spec(dir, &m, spec, err);
  ckpt_manifest_release(&m);
  return rc;
}

static bool is_buffer(const char *name) {  // constants that old writers stored beside the parameters
  static const char suffix[] = ".rotary_emb.inv_freq";
  size_t n = strlen(name), k = sizeof suffix - 1;
  return n > k && strcmp(name + n - k, suffix) == 0;
}

static agrl_rc check_names(const agrl_st *st, const agrl_layout *l, const char *path, agrl_error *err) {
  for (size_t i = 0; i < st->n; i++) {
    const char *name = st->tensors[i].name;
    if (agrl_layout_find(l, name) >= 0 || is_buffer(name)) continue;
    return agrl_fail(err, AGRL_EUNSUPPORTED, "%s: tensor %.100s is not part of a %s model of this shape%s", path, name,
                     l->spec.arch,
                     strcmp(name, "lm_head.weight") == 0 ? " (tie_word_embeddings is true)" : "");
  }
  return AGRL_OK;
}

static agrl_rc fill_block(const agrl_st *st, const agrl_layout *l, const char *path, float *block, agrl_error *err) {
  for (size_t i = 0; i < l->n_tensors; i++) {
    const agrl_tensor_desc *d = &l->tensors[i];
    const agrl_st_tensor *t = agrl_st_find(st, d->name);
    if (t == NULL) return agrl_fail(err, AGRL_EPARSE, "%s: tensor %s is missing", path, d->name);
    const bool fits = d->decay ? t->n_dims == 2 && t->shape[0] == d->rows && t->shape[1] == d->cols
                               : t->n_dims == 1 && t->shape[0] == d->cols;
    if (!fits)
      return agrl_fail(err, AGRL_EPARSE, "%s: tensor %s has another shape than %zu x %zu of config.json", path, d->name, d->rows,
                       d->cols);
    agrl_st_to_f32(t, block + d->offset);
  }
  return AGRL_OK;
}

static agrl_rc load_block(const char *dir, const char *path, const ckpt_manifest *m, const agrl_layout *l, float **out,
                          agrl_error *err) {
  agrl_map map;
  agrl_st st = {0};
  agrl_rc rc = agrl_map_open(&map, path, err);
  if (rc != AGRL_OK) return rc;
  rc = ckpt_manifest_check(m, dir, CKPT_MODEL, map.data, map.len, err);
  if (rc == AGRL_OK) rc = agrl_st_parse(map.data, map.len, path, &st, err);
  if (rc == AGRL_OK) rc = check_names(&st, l, path, err);
  float *block = NULL;
  if (rc == AGRL_OK && (block = agrl_block_alloc(l->n_elements * sizeof *block)) == NULL)
    rc = agrl_fail(err, AGRL_ENOMEM, "%s: cannot reserve %zu bytes for its parameters", path, l->n_elements * sizeof *block);
  if (rc == AGRL_OK) rc = fill_block(&st, l, path, block, err);
  if (rc == AGRL_OK) *out = block;
  else if (block != NULL) agrl_block_free(block, l->n_elements * sizeof *block);
  agrl_st_release(&st);
  agrl_map_close(&map);
  return rc;
}

static agrl_rc load_model(const char *dir, const ckpt_manifest *m, const agrl_layout *l, float **out, agrl_error *err) {
  char *path = agrl_path_join(dir, CKPT_MODEL), *index = agrl_path_join(dir, CKPT_MODEL ".index.json");
  agrl_rc rc;
  if (!agrl_file_exists(path) && agrl_file_exists(index))
    rc = agrl_fail(err, AGRL_EUNSUPPORTED, "%s: checkpoints in several files are not supported: save it again as one " CKPT_MODEL,
                   index);
  else
    rc = load_block(dir, path, m, l, out, err);
  free(path);
  free(index);
  return rc;
}

agrl_rc agrl_ckpt_load(const char *dir, agrl_layout **layout, float **block, uint64_t *version, agrl_error *err) {
  ckpt_manifest m;
  agrl_spec spec;
  agrl_layout *l = NULL;
  *layout = NULL;
  *block = NULL;
  agrl_rc rc = ckpt_manifest_load(dir, &m, err);
  if (rc == AGRL_OK) rc = load_spec(dir, &m, &spec, err);
  if (rc == AGRL_OK) rc = agrl_layout_new(&spec, &l, err);
  if (rc == AGRL_OK) rc = load_model(dir, &m, l, block, err);
  if (rc == AGRL_OK) {
    *layout = l;
    if (version != NULL) *version = m.version;
  } else {
    agrl_layout_free(l);
  }
  ckpt_manifest_release(&m);
  return rc;
}

agrl_rc agrl_ckpt_read_extra(const char *dir, const char *name, agrl_buf *out, agrl_error *err) {
  ckpt_manifest m;
  if (!ckpt_name_ok(name)) return agrl_fail(err, AGRL_EINVAL, "checkpoint: '%.100s' is not a plain file name", name);
  agrl_rc rc = ckpt_manifest_load(dir, &m, err);
  if (rc == AGRL_OK) rc = read_checked(dir, name, &m, SIZE_MAX / 4, out, err);
  ckpt_manifest_release(&m);
  return rc;
}
