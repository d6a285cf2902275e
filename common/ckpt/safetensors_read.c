// SPDX-License-Identifier: Apache-2.0
// Strict reading of a safetensors file from memory. Nothing of the header is believed before it was checked against the
// length of the data and against the other tensors.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/mem.h"
#include "common/base/num.h"
#include "common/ckpt/safetensors.h"
#include "common/tensor/tensor.h"

typedef struct reader {
  const char *file;
  const uint8_t *data;  // after the header
  size_t len;
  agrl_error *err;
} reader;

static size_t dtype_size(agrl_dtype d) { return d == AGRL_DTYPE_F32 ? 4 : 2; }

static agrl_rc read_dtype(const reader *r, const agrl_json *entry, agrl_st_tensor *t) {
  static const struct {
    const char *name;
    agrl_dtype dtype;
  } known[] = {{"F32", AGRL_DTYPE_F32}, {"BF16", AGRL_DTYPE_BF16}, {"F16", AGRL_DTYPE_F16}};
  const char *s;
  if (!agrl_json_str(agrl_json_get(entry, "dtype"), &s, NULL))
    return agrl_fail(r->err, AGRL_EPARSE, "%s: tensor %.100s: dtype is missing or not a string", r->file, t->name);
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    if (strcmp(s, known[i].name) != 0) continue;
    t->dtype = known[i].dtype;
    return AGRL_OK;
  }
  return agrl_fail(r->err, AGRL_EUNSUPPORTED, "%s: tensor %.100s: dtype %.20s is not one of F32, BF16, F16", r->file, t->name, s);
}

static agrl_rc read_shape(const reader *r, const agrl_json *entry, agrl_st_tensor *t) {
  const agrl_json *shape = agrl_json_get(entry, "shape");
  if (shape == NULL || agrl_json_typeof(shape) != AGRL_JSON_ARRAY)
    return agrl_fail(r->err, AGRL_EPARSE, "%s: tensor %.100s: shape is missing or not an array", r->file, t->name);
  t->n_dims = agrl_json_len(shape);
  if (t->n_dims > AGRL_ST_MAX_DIMS)
    return agrl_fail(r->err, AGRL_ELIMIT, "%s: tensor %.100s: %zu dimensions, at most %d", r->file, t->name, t->n_dims,
                     AGRL_ST_MAX_DIMS);
  t->elements = 1;
  for (size_t i = 0; i < t->n_dims; i++) {
    int64_t v;
    if (!agrl_json_i64(agrl_json_at(shape, i), &v) || v < 0)
      return agrl_fail(r->err, AGRL_EPARSE, "%s: tensor %.100s: shape holds something that is not a size", r->file, t->name);
    t->shape[i] = (size_t)v;
    if (!agrl_size_mul(t->elements, t->shape[i], &t->elements))
      return agrl_fail(r->err, AGRL_ELIMIT, "%s: tensor %.100s: shape overflows", r->file, t->name);
  }
  if (!agrl_size_mul(t->elements, dtype_size(t->dtype), &t->bytes))
    return agrl_fail(r->err, AGRL_ELIMIT, "%s: tensor %.100s: shape overflows", r->file, t->name);
  return AGRL_OK;
}

static agrl_rc read_offsets(const reader *r, const agrl_json *entry, agrl_st_tensor *t) {
  const agrl_json *o = agrl_json_get(entry, "data_offsets");
  int64_t begin, end;
  if (agrl_json_len(o) != 2 || !agrl_json_i64(agrl_json_at(o, 0), &begin) || !agrl_json_i64(agrl_json_at(o, 1), &end))
    return agrl_fail(r->err, AGRL_EPARSE, "%s: tensor %.100s: data_offsets is not a pair of integers", r->file, t->name);
  if (begin < 0 || end < begin || (uint64_t)end > r->len)
    return agrl_fail(r->err, AGRL_EPARSE,
                     "%s: tensor %.100s: data_offsets [%" PRId64 ", %" PRId64 "] are outside the %zu bytes of data",
                     r->file, t->name, begin, end, r->len);
  if ((size_t)(end - begin) != t->bytes)
    return agrl_fail(r->err, AGRL_EPARSE, "%s: tensor %.100s: %" PRId64 " bytes where shape and dtype want %zu", r->file, t->name,
                     end - begin, t->bytes);
  t->data = r->data + begin;
  return AGRL_OK;
}

static agrl_rc read_tensor(const reader *r, const char *name, const agrl_json *entry, agrl_st_tensor *t) {
  t->name = agrl_xstrdup(name);
  if (agrl_json_typeof(entry) != AGRL_JSON_OBJECT)
    return agrl_fail(r->err, AGRL_EPARSE, "%s: tensor %.100s: not an object", r->file, t->name);
  agrl_rc rc = read_dtype(r, entry, t);
  if (rc == AGRL_OK) rc = read_shape(r, entry, t);
  if (rc == AGRL_OK) rc = read_offsets(r, entry, t);
  return rc;
}

static int by_data(const void *a, const void *b) {
  const agrl_st_tensor *x = a, *y = b;
  if (x->data != y->data) return x->data < y->data ? -1 : 1;
  return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;  // empty ones first
}

static agrl_rc check_cover(const reader *r, agrl_st *st) {
  const uint8_t *at = r->data;
  if (st->n > 1) qsort(st->tensors, st->n, sizeof *st->tensors, by_data);
  for (size_t i = 0; i < st->n; i++) {
    if (st->tensors[i].data != at)
      return agrl_fail(r->err, AGRL_EPARSE, "%s: tensor %.100s %s", r->file, st->tensors[i].name,
                       st->tensors[i].data < at ? "overlaps another" : "leaves a gap before it");
    at += st->tensors[i].bytes;
  }
  if (at != r->data + r->len) return agrl_fail(r->err, AGRL_EPARSE, "%s: bytes after the last tensor", r->file);
  return AGRL_OK;
}

static agrl_rc read_tensors(const reader *r, const agrl_json *root, agrl_st *st) {
  if (agrl_json_typeof(root) != AGRL_JSON_OBJECT) return agrl_fail(r->err, AGRL_EPARSE, "%s: header is not an object", r->file);
  st->tensors = agrl_xcalloc(agrl_json_len(root), sizeof *st->tensors);
  for (void *it = agrl_json_first(root); it != NULL; it = agrl_json_next(root, it)) {
    if (strcmp(agrl_json_key(it), "__metadata__") == 0) continue;
    agrl_rc rc = read_tensor(r, agrl_json_key(it), agrl_json_value(it), &st->tensors[st->n++]);
    if (rc != AGRL_OK) return rc;
  }
  return check_cover(r, st);
}

agrl_rc agrl_st_parse(const uint8_t *data, size_t len, const char *name, agrl_st *out, agrl_error *err) {
  *out = (agrl_st){0};
  if (len < 8) return agrl_fail(err, AGRL_EPARSE, "%s: %zu bytes are too few for a safetensors file", name, len);
  uint64_t header = 0;
  for (unsigned i = 0; i < 8; i++) header |= (uint64_t)data[i] << (8 * i);
  if (header > AGRL_ST_MAX_HEADER)
    return agrl_fail(err, AGRL_ELIMIT, "%s: header of %" PRIu64 " bytes, at most %d", name, header, AGRL_ST_MAX_HEADER);
  if (header > len - 8) return agrl_fail(err, AGRL_EPARSE, "%s: header of %" PRIu64 " bytes in a file of %zu: truncated?", name,
                                         header, len);
  if (header == 0 || data[8] != '{') return agrl_fail(err, AGRL_EPARSE, "%s: header does not begin with '{'", name);
  agrl_json *root;
  agrl_rc rc = agrl_json_parse((const char *)data + 8, (size_t)header, name, &root, err);
  if (rc != AGRL_OK) return rc;
  const reader r = {name, data + 8 + header, len - 8 - (size_t)header, err};
  rc = read_tensors(&r, root, out);
  agrl_json_free(root);
  if (rc != AGRL_OK) agrl_st_release(out);
  return rc;
}

void agrl_st_release(agrl_st *st) {
  for (size_t i = 0; i < st->n; i++) free(st->tensors[i].name);
  free(st->tensors);
  *st = (agrl_st){0};
}

const agrl_st_tensor *agrl_st_find(const agrl_st *st, const char *name) {
  for (size_t i = 0; i < st->n; i++)
    if (strcmp(st->tensors[i].name, name) == 0) return &st->tensors[i];
  return NULL;
}

// The data of a file need not be aligned, so 16-bit values pass through a small buffer.
void agrl_st_to_f32(const agrl_st_tensor *t, float *out) {
  enum { STEP = 4096 };
  uint16_t half[STEP];
  if (t->dtype == AGRL_DTYPE_F32) {
    memcpy(out, t->data, t->bytes);
    return;
  }
  for (size_t at = 0, n; at < t->elements; at += n) {
    n = t->elements - at < STEP ? t->elements - at : STEP;
    memcpy(half, t->data + at * 2, n * 2);
    if (t->dtype == AGRL_DTYPE_BF16) agrl_f32_from_bf16(out + at, half, n);
    else agrl_f32_from_f16(out + at, half, n);
  }
}
