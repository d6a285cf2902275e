// SPDX-License-Identifier: Apache-2.0
// A model.safetensors.index.json and the files it names. Input: a byte N (up to 4), N + 1 lengths (2 bytes, little-endian),
// the index, then N files, taken for those the index names in its order. Of any bytes: what is accepted is a tied llama of one layer
// whose every value comes from the place the index gives for it.
#include <stdlib.h>
#include <string.h>

#include "common/base/bug.h"
#include "common/base/mem.h"
#include "common/ckpt/hf_int.h"
#include "common/ckpt/safetensors.h"

enum { MAX_FILES = 4 };

int agrl_fuzz_ckpt_shards(const uint8_t *data, size_t size);

typedef struct part {
  const uint8_t *data;
  size_t len;
} part;

static bool cut(const uint8_t *data, size_t size, part out[MAX_FILES + 1], size_t *n) {
  if (size < 1 || data[0] > MAX_FILES) return false;
  *n = data[0];
  size_t at = 1 + 2 * (*n + 1);
  for (size_t i = 0; i <= *n; i++) {
    if (at > size) return false;
    const size_t len = data[1 + 2 * i] | (size_t)data[2 + 2 * i] << 8, left = size - at;
    out[i] = (part){data + at, len < left ? len : left};
    at += out[i].len;
  }
  return true;
}

static void check_index(const ckpt_index *x) {
  AGRL_ASSERT(x->n_files > 0 && x->n_places > 0);
  for (size_t i = 0; i < x->n_files; i++) {
    AGRL_ASSERT(ckpt_name_ok(x->files[i]) && strchr(x->files[i], '/') == NULL);
    for (size_t j = 0; j < i; j++) AGRL_ASSERT(strcmp(x->files[i], x->files[j]) != 0);
  }
  for (size_t i = 0; i < x->n_places; i++) {
    AGRL_ASSERT(x->places[i].file < x->n_files);
    AGRL_ASSERT(i == 0 || strcmp(x->places[i - 1].tensor, x->places[i].tensor) < 0);
  }
}

static void check_values(const ckpt_filler *f, const part *files) {
  for (size_t i = 0; i < f->layout->n_tensors; i++) {
    const agrl_tensor_desc *d = &f->layout->tensors[i];
    size_t k = 0;
    while (strcmp(f->index->places[k].tensor, d->name) != 0) AGRL_ASSERT(++k < f->index->n_places);
    agrl_st st;
    const part *p = &files[f->index->places[k].file];
    AGRL_ASSERT(agrl_st_parse(p->data, p->len, "again", &st, NULL) == AGRL_OK);
    const agrl_st_tensor *t = agrl_st_find(&st, d->name);
    AGRL_ASSERT(t != NULL && t->elements == d->rows * d->cols);
    float *values = agrl_xcalloc(t->elements, sizeof *values);
    agrl_st_to_f32(t, values);
    AGRL_ASSERT(memcmp(values, f->block + d->offset, t->elements * sizeof *values) == 0);
    free(values);
    agrl_st_release(&st);
  }
}

static agrl_rc fill_all(ckpt_filler *f, const part *files, agrl_error *err) {
  agrl_rc rc = AGRL_OK;
  for (size_t i = 0; rc == AGRL_OK && i < f->index->n_files; i++)
    rc = ckpt_fill(f, i, files[i].data, files[i].len, f->index->files[i], err);
  return rc == AGRL_OK ? ckpt_fill_done(f, "fuzz", err) : rc;
}

int agrl_fuzz_ckpt_shards(const uint8_t *data, size_t size) {
  part parts[MAX_FILES + 1];
  size_t n;
  if (!cut(data, size, parts, &n)) return 0;
  agrl_error err = {0};
  ckpt_index index;
  agrl_rc rc = ckpt_index_parse((const char *)parts[0].data, parts[0].len, "fuzz", &index, &err);
  if (rc != AGRL_OK) {
    AGRL_ASSERT(err.code == rc && err.msg[0] != 0 && index.n_files == 0);
    return 0;
  }
  check_index(&index);
  const agrl_spec spec = {.arch = "llama", .n_layers = 1, .hidden = 4, .ffn = 2, .n_heads = 2, .n_kv_heads = 1, .head_dim = 2, .vocab = 3,
                          .context = 8, .rope_theta = 10000, .norm_eps = 1e-5f, .tied = true, .start_id = -1, .end_id = -1};
  agrl_layout *l;
  AGRL_ASSERT(agrl_layout_new(&spec, &l, &err) == AGRL_OK);
  ckpt_filler f = {.layout = l, .index = &index};
  f.block = agrl_xcalloc(l->n_elements, sizeof *f.block);
  f.filled = agrl_xcalloc(l->n_tensors, sizeof *f.filled);
  if (index.n_files <= n) {
    rc = fill_all(&f, parts + 1, &err);
    if (rc == AGRL_OK) check_values(&f, parts + 1);
    else AGRL_ASSERT(err.code == rc && err.msg[0] != 0);
  }
  free(f.block);
  free(f.filled);
  agrl_layout_free(l);
  ckpt_index_release(&index);
  return 0;
}
