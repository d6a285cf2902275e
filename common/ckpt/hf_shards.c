// SPDX-License-Identifier: Apache-2.0
// The weights of a directory: model.safetensors, or the files that model.safetensors.index.json names, one mapped at a
// time. Index and files must agree on every tensor; whatever is missing, unknown or in the wrong place is refused by name.
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/ckpt/hf_int.h"
#include "common/ckpt/safetensors.h"

enum { MAX_INDEX = 64 << 20, MAX_FILES = 4096 };

static const char HEAD[] = "lm_head.weight";

static int by_tensor(const void *a, const void *b) {
  return strcmp(((const struct ckpt_place *)a)->tensor, ((const struct ckpt_place *)b)->tensor);
}

static const struct ckpt_place *find_place(const ckpt_index *x, const char *tensor) {
  struct ckpt_place key = {.tensor = (char *)tensor};
  return x->n_places > 0 ? bsearch(&key, x->places, x->n_places, sizeof key, by_tensor) : NULL;
}

static agrl_rc file_number(ckpt_index *x, const char *file, const char *path, size_t *out, agrl_error *err) {
  static const char suffix[] = ".safetensors";
  for (*out = 0; *out < x->n_files; ++*out)
    if (strcmp(x->files[*out], file) == 0) return AGRL_OK;
  const size_t n = strlen(file), k = sizeof suffix - 1;
  if (!ckpt_name_ok(file) || n <= k || strcmp(file + n - k, suffix) != 0)
    return agrl_fail(err, AGRL_EPARSE, "%s: weight_map names the file '%.100s', must be a plain name ending in %s", path, file, suffix);
  if (x->n_files == MAX_FILES) return agrl_fail(err, AGRL_ELIMIT, "%s: weight_map names more than %d files", path, MAX_FILES);
  x->files = agrl_xreallocarray(x->files, x->n_files + 1, sizeof *x->files);
  x->files[x->n_files++] = agrl_xstrdup(file);
  return AGRL_OK;
}

// metadata.total_size is not looked at: nothing depends on it, and some writers count it differently.
static agrl_rc read_map(const agrl_json *map, const char *path, ckpt_index *x, agrl_error *err) {
  if (map == NULL || agrl_json_typeof(map) != AGRL_JSON_OBJECT || agrl_json_len(map) == 0)
    return agrl_fail(err, AGRL_EPARSE, "%s: weight_map is missing or empty", path);
  x->places = agrl_xcalloc(agrl_json_len(map), sizeof *x->places);
  for (void *it = agrl_json_first(map); it != NULL; it = agrl_json_next(map, it)) {
    const char *file = NULL;
    size_t len, number;
    if (!agrl_json_str(agrl_json_value(it), &file, &len) || strlen(file) != len)
      return agrl_fail(err, AGRL_EPARSE, "%s: weight_map of %.100s is not a file name", path, agrl_json_key(it));
    agrl_rc rc = file_number(x, file, path, &number, err);
    if (rc != AGRL_OK) return rc;
    x->places[x->n_places++] = (struct ckpt_place){agrl_xstrdup(agrl_json_key(it)), number};
  }
  qsort(x->places, x->n_places, sizeof *x->places, by_tensor);
  return AGRL_OK;
}

agrl_rc ckpt_index_parse(const char *text, size_t len, const char *path, ckpt_index *out, agrl_error *err) {
  agrl_json *root;
  *out = (ckpt_index){0};
  agrl_rc rc = agrl_json_parse(text, len, path, &root, err);
  if (rc != AGRL_OK) return rc;
  rc = read_map(agrl_json_get(root, "weight_map"), path, out, err);
  if (rc != AGRL_OK) ckpt_index_release(out);
  agrl_json_free(root);
  return rc;
}

void ckpt_index_release(ckpt_index *x) {
  for (size_t i = 0; i < x->n_files; i++) free(x->files[i]);
  for (size_t i = 0; i < x->n_places; i++) free(x->places[i].tensor);
  free(x->files);
  free(x->places);
  *x = (ckpt_index){0};
}

static bool is_buffer(const char *name) {  // constants that old writers stored beside the parameters
  static const char suffix[] = ".rotary_emb.inv_freq";
  size_t n = strlen(name), k = sizeof suffix - 1;
  return n > k && strcmp(name + n - k, suffix) == 0;
}

// Tensor by tensor, the file and the index must name the same.
static agrl_rc check_index(const ckpt_filler *f, size_t file, const agrl_st *st, const char *name, agrl_error *err) {
  const ckpt_index *x = f->index;
  for (size_t i = 0; i < st->n; i++) {
    const struct ckpt_place *p = find_place(x, st->tensors[i].name);
    if (p == NULL || p->file != file)
      return agrl_fail(err, AGRL_EPARSE, "%s: holds tensor %.100s, which " CKPT_INDEX " %s%s", name, st->tensors[i].name,
                       p == NULL ? "does not list" : "places in ", p == NULL ? "" : x->files[p->file]);
  }
  for (size_t i = 0; i < x->n_places; i++)
    if (x->places[i].file == file && agrl_st_find(st, x->places[i].tensor) == NULL)
      return agrl_fail(err, AGRL_EPARSE, "%s: tensor %.100s, which " CKPT_INDEX " places here, is missing", name, x->places[i].tensor);
  return AGRL_OK;
}

static agrl_rc check_shape(const agrl_tensor_desc *d, const agrl_st_tensor *t, const char *name, agrl_error *err) {
  const bool fits = d->decay ? t->n_dims == 2 && t->shape[0] == d->rows && t->shape[1] == d->cols
                             : t->n_dims == 1 && t->shape[0] == d->cols;
  if (fits) return AGRL_OK;
  return agrl_fail(err, AGRL_EPARSE, "%s: tensor %s has another shape than %zu x %zu of config.json", name, d->name, d->rows, d->cols);
}

static agrl_rc fill_from(ckpt_filler *f, const agrl_st *st, const char *name, agrl_error *err) {
  const agrl_layout *l = f->layout;
  for (size_t i = 0; i < st->n; i++) {
    const agrl_st_tensor *t = &st->tensors[i];
    const int at = agrl_layout_find(l, t->name);
    if (is_buffer(t->name) || (l->spec.tied && strcmp(t->name, HEAD) == 0)) continue;
    if (at < 0)
      return agrl_fail(err, AGRL_EUNSUPPORTED, "%s: tensor %.100s is not part of a %s model of this shape", name, t->name, l->spec.arch);
    const agrl_tensor_desc *d = &l->tensors[at];
    agrl_rc rc = check_shape(d, t, name, err);
    if (rc != AGRL_OK) return rc;
    agrl_st_to_f32(t, f->block + d->offset);
    f->filled[at] = true;
  }
  return AGRL_OK;
}

static agrl_rc compare_head(const ckpt_filler *f, const agrl_st_tensor *t, const char *name, agrl_error *err) {
  const agrl_tensor_desc *d = &f->layout->tensors[f->layout->embed];
  agrl_rc rc = check_shape(d, t, name, err);
  if (rc != AGRL_OK) return rc;
  float *head = agrl_xmalloc(t->elements * sizeof *head);
  agrl_st_to_f32(t, head);
  if (memcmp(head, f->block + d->offset, t->elements * sizeof *head) != 0)
    rc = agrl_fail(err, AGRL_EUNSUPPORTED, "%s: tensor %s differs from %s, but config.json says tie_word_embeddings", name, HEAD, d->name);
  free(head);
  return rc;
}

// Some writers store the head of a tied model too. A head met before the embedding is looked at again when all is read.
static agrl_rc check_tied(ckpt_filler *f, const agrl_st *st, const char *name, agrl_error *err) {
  const agrl_st_tensor *t = f->layout->spec.tied ? agrl_st_find(st, HEAD) : NULL;
  f->head_unchecked |= t != NULL && !f->filled[f->layout->embed];
  return t != NULL && !f->head_unchecked ? compare_head(f, t, name, err) : AGRL_OK;
}

agrl_rc ckpt_fill(ckpt_filler *f, size_t file, const uint8_t *data, size_t len, const char *name, agrl_error *err) {
  agrl_st st;
  agrl_rc rc = agrl_st_parse(data, len, name, &st, err);
  if (rc != AGRL_OK) return rc;
  if (f->index != NULL) rc = check_index(f, file, &st, name, err);
  if (rc == AGRL_OK) rc = fill_from(f, &st, name, err);
  if (rc == AGRL_OK) rc = check_tied(f, &st, name, err);
  agrl_st_release(&st);
  return rc;
}

agrl_rc ckpt_fill_done(const ckpt_filler *f, const char *name, agrl_error *err) {
  for (size_t i = 0; i < f->layout->n_tensors; i++)
    if (!f->filled[i]) return agrl_fail(err, AGRL_EPARSE, "%s: tensor %s is missing", name, f->layout->tensors[i].name);
  return AGRL_OK;
}

static agrl_rc fill_file(ckpt_filler *f, const char *dir, const ckpt_manifest *m, size_t file, agrl_error *err) {
  const char *name = f->index != NULL ? f->index->files[file] : CKPT_MODEL;
  char *path = agrl_path_join(dir, name);
  agrl_map map;
  agrl_rc rc = agrl_map_open(&map, path, err);
  if (rc == AGRL_OK) {
    rc = ckpt_manifest_check(m, dir, name, map.data, map.len, err);
    if (rc == AGRL_OK) rc = ckpt_fill(f, file, map.data, map.len, path, err);
    agrl_map_close(&map);
  }
  free(path);
  return rc;
}

static agrl_rc fill_all(ckpt_filler *f, const char *dir, const ckpt_manifest *m, agrl_error *err) {
  const size_t n = f->index != NULL ? f->index->n_files : 1;
  agrl_rc rc = AGRL_OK;
  for (size_t i = 0; rc == AGRL_OK && i < n; i++) rc = fill_file(f, dir, m, i, err);
  if (rc == AGRL_OK) rc = ckpt_fill_done(f, dir, err);
  if (rc != AGRL_OK || !f->head_unchecked) return rc;
  f->head_unchecked = false;
  return fill_file(f, dir, m, find_place(f->index, HEAD)->file, err);
}

static agrl_rc load_index(const char *dir, const ckpt_manifest *m, ckpt_index *x, agrl_error *err) {
  agrl_buf text = {0};
  char *path = agrl_path_join(dir, CKPT_INDEX);
  agrl_rc rc = ckpt_read_checked(dir, CKPT_INDEX, m, MAX_INDEX, &text, err);
  if (rc == AGRL_OK) rc = ckpt_index_parse(text.data, text.len, path, x, err);
  free(path);
  agrl_buf_release(&text);
  return rc;
}

agrl_rc ckpt_load_block(const char *dir, const ckpt_manifest *m, const agrl_layout *l, float **out, agrl_error *err) {
  char *single = agrl_path_join(dir, CKPT_MODEL), *several = agrl_path_join(dir, CKPT_INDEX);
  const bool sharded = !agrl_file_exists(single) && agrl_file_exists(several);
  const size_t bytes = l->n_elements * sizeof(float);
  free(single);
  free(several);
  ckpt_index index = {0};
  agrl_rc rc = sharded ? load_index(dir, m, &index, err) : AGRL_OK;
  ckpt_filler f = {.layout = l, .index = sharded ? &index : NULL, .filled = agrl_xcalloc(l->n_tensors, sizeof *f.filled)};
  if (rc == AGRL_OK && (f.block = agrl_block_alloc(bytes)) == NULL)
    rc = agrl_fail(err, AGRL_ENOMEM, "%s: cannot reserve %zu bytes for its parameters", dir, bytes);
  if (rc == AGRL_OK) rc = fill_all(&f, dir, m, err);
  if (rc == AGRL_OK) *out = f.block;
  else if (f.block != NULL) agrl_block_free(f.block, bytes);
  free(f.filled);
  ckpt_index_release(&index);
  return rc;
}
