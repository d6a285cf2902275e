// SPDX-License-Identifier: Apache-2.0
// Strict reading of a GGUF file from memory: a cursor that never passes the end, and checks of everything a count, a length or
// an offset claims before it is used.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/base/num.h"
#include "common/ckpt/gguf.h"

enum {
  MAX_VALUES = 65536,
  MAX_TENSORS = 65536,
  MAX_KEY = 65535,
  MIN_VALUE_BYTES = 8 + 4 + 1,           // an empty key, its kind, one byte
  MIN_TENSOR_BYTES = 8 + 4 + 4 + 8,      // an empty name, no dimension, type, offset
  DEFAULT_ALIGNMENT = 32,
  MAX_ALIGNMENT = 1 << 20,
};

typedef struct reader {
  const char *file;
  const uint8_t *data;
  size_t len, at;
  agrl_error *err;
} reader;

static const uint8_t kind_bytes[AGRL_GGUF_KINDS] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

static uint64_t load_le(const uint8_t *p, size_t bytes) {
  uint64_t v = 0;
  for (size_t i = 0; i < bytes; i++) v |= (uint64_t)p[i] << (8 * i);
  return v;
}

static agrl_rc truncated(const reader *r, const char *what) {
  return agrl_fail(r->err, AGRL_EPARSE, "%s: %s at byte %zu runs past the end of the file: truncated?", r->file, what, r->at);
}

static agrl_rc read_uint(reader *r, size_t bytes, const char *what, uint64_t *out) {
  if (r->len - r->at < bytes) return truncated(r, what);
  *out = load_le(r->data + r->at, bytes);
  r->at += bytes;
  return AGRL_OK;
}

static agrl_rc skip(reader *r, uint64_t bytes, const char *what) {
  if (bytes > r->len - r->at) return truncated(r, what);
  r->at += (size_t)bytes;
  return AGRL_OK;
}

static agrl_rc read_string(reader *r, uint64_t max, const char *what, agrl_gguf_str *out) {
  uint64_t n = 0;
  agrl_rc rc = read_uint(r, 8, what, &n);
  if (rc != AGRL_OK) return rc;
  if (n > max) return agrl_fail(r->err, AGRL_ELIMIT, "%s: %s of %" PRIu64 " bytes, at most %" PRIu64, r->file, what, n, max);
  *out = (agrl_gguf_str){(const char *)r->data + r->at, (size_t)n};
  return skip(r, n, what);
}

// Of keys and names: what can be shown in a message and compared as a C string.
static bool printable(agrl_gguf_str s) {
  for (size_t i = 0; i < s.len; i++)
    if (s.s[i] < 0x21 || s.s[i] > 0x7e) return false;
  return s.len > 0;
}

static agrl_rc read_kind(reader *r, agrl_gguf_str key, agrl_gguf_kind *out) {
  uint64_t kind = 0;
  agrl_rc rc = read_uint(r, 4, "a value's type", &kind);
  if (rc != AGRL_OK) return rc;
  if (kind >= AGRL_GGUF_KINDS)
    return agrl_fail(r->err, AGRL_EPARSE, "%s: %.*s: value type %" PRIu64 " is unknown", r->file, (int)key.len, key.s, kind);
  *out = (agrl_gguf_kind)kind;
  return AGRL_OK;
}

static agrl_rc skip_strings(reader *r, uint64_t count, const char *what) {
  agrl_gguf_str s;
  if (count > (r->len - r->at) / 8) return truncated(r, what);
  agrl_rc rc = AGRL_OK;
  for (uint64_t i = 0; rc == AGRL_OK && i < count; i++) rc = read_string(r, r->len, what, &s);
  return rc;
}

static agrl_rc read_array(reader *r, agrl_gguf_value *v) {
  uint64_t count = 0;
  agrl_rc rc = read_kind(r, v->key, &v->element);
  if (rc == AGRL_OK && v->element == AGRL_GGUF_ARRAY)
    return agrl_fail(r->err, AGRL_EUNSUPPORTED, "%s: %.*s: arrays of arrays are not supported", r->file, (int)v->key.len, v->key.s);
  if (rc == AGRL_OK) rc = read_uint(r, 8, "an array's length", &count);
  if (rc != AGRL_OK) return rc;
  v->data = r->data + r->at;
  if (v->element == AGRL_GGUF_STRING) rc = skip_strings(r, count, "an array of strings");
  else if (count > (r->len - r->at) / kind_bytes[v->element]) rc = truncated(r, "an array");
  else rc = skip(r, count * kind_bytes[v->element], "an array");
  v->count = (size_t)count;
  return rc;
}

static agrl_rc read_value(reader *r, agrl_gguf_value *v) {
  agrl_gguf_str s;
  agrl_rc rc = read_string(r, MAX_KEY, "a metadata key", &v->key);
  if (rc == AGRL_OK && (!printable(v->key) || v->key.len > 200))
    return agrl_fail(r->err, AGRL_EPARSE, "%s: a metadata key of %zu bytes is empty, over 200 bytes or not plain text", r->file, v->key.len);
  if (rc == AGRL_OK) rc = read_kind(r, v->key, &v->kind);
  if (rc != AGRL_OK) return rc;
  v->data = r->data + r->at;
  v->count = 1;
  if (v->kind == AGRL_GGUF_ARRAY) return read_array(r, v);
  if (v->kind == AGRL_GGUF_STRING) return read_string(r, r->len, "a string", &s);
  return skip(r, kind_bytes[v->kind], "a value");
}

static int compare_str(agrl_gguf_str a, agrl_gguf_str b) {
  int c = memcmp(a.s, b.s, a.len < b.len ? a.len : b.len);
  return c != 0 ? c : (a.len > b.len) - (a.len < b.len);
}

static int by_key(const void *a, const void *b) {
  return compare_str(((const agrl_gguf_value *)a)->key, ((const agrl_gguf_value *)b)->key);
}

static agrl_rc read_values(reader *r, agrl_gguf *g, uint64_t count) {
  if (count > MAX_VALUES || count > (r->len - r->at) / MIN_VALUE_BYTES)
    return agrl_fail(r->err, AGRL_ELIMIT, "%s: %" PRIu64 " metadata values in %zu bytes: more than the file can hold, or than %d", r->file,
                     count, r->len, MAX_VALUES);
  g->values = agrl_xcalloc((size_t)count + 1, sizeof *g->values);
  agrl_rc rc = AGRL_OK;
  for (; rc == AGRL_OK && g->n_values < count; g->n_values += rc == AGRL_OK) rc = read_value(r, &g->values[g->n_values]);
  if (rc != AGRL_OK) return rc;
  qsort(g->values, g->n_values, sizeof *g->values, by_key);
  for (size_t i = 1; i < g->n_values; i++)
    if (by_key(&g->values[i - 1], &g->values[i]) == 0)
      return agrl_fail(r->err, AGRL_EPARSE, "%s: metadata key %.*s is there twice", r->file, (int)g->values[i].key.len, g->values[i].key.s);
  return AGRL_OK;
}

static agrl_rc read_shape(reader *r, agrl_gguf_tensor *t) {
  uint64_t n = 0;
  agrl_rc rc = read_uint(r, 4, "a tensor's dimensions", &n);
  if (rc != AGRL_OK) return rc;
  if (n < 1 || n > AGRL_GGUF_MAX_DIMS)
    return agrl_fail(r->err, AGRL_EPARSE, "%s: tensor %s: %" PRIu64 " dimensions, expected 1 to %d", r->file, t->name, n, AGRL_GGUF_MAX_DIMS);
  t->n_dims = (size_t)n;
  t->elements = 1;
  for (size_t i = 0; i < t->n_dims; i++) {
    uint64_t v = 0;
    if ((rc = read_uint(r, 8, "a tensor's shape", &v)) != AGRL_OK) return rc;
    t->shape[i] = (size_t)v;
    if (v == 0 || v > INT64_MAX || !agrl_size_mul(t->elements, t->shape[i], &t->elements))
      return agrl_fail(r->err, AGRL_ELIMIT, "%s: tensor %s: its shape is empty or overflows", r->file, t->name);
  }
  return AGRL_OK;
}

static agrl_rc read_type(reader *r, agrl_gguf_tensor *t) {
  uint64_t id = 0;
  agrl_rc rc = read_uint(r, 4, "a tensor's type", &id);
  if (rc != AGRL_OK) return rc;
  t->type = agrl_gguf_type_of((uint32_t)id);
  if (t->type == NULL)
    return agrl_fail(r->err, AGRL_EUNSUPPORTED, "%s: tensor %s: type %s (%" PRIu64 ") is not supported", r->file, t->name,
                     agrl_gguf_type_name((uint32_t)id), id);
  if (t->shape[0] % t->type->block != 0)
    return agrl_fail(r->err, AGRL_EPARSE, "%s: tensor %s: rows of %zu do not divide into %s's blocks of %u", r->file, t->name, t->shape[0],
                     t->type->name, t->type->block);
  if (!agrl_size_mul(t->elements / t->type->block, t->type->bytes, &t->bytes))
    return agrl_fail(r->err, AGRL_ELIMIT, "%s: tensor %s: its shape overflows", r->file, t->name);
  return AGRL_OK;
}

// Offsets are kept in data, as pointers from the file's begin, until the data section's place is known.
static agrl_rc read_tensor(reader *r, agrl_gguf_tensor *t, uint64_t *offset) {
  agrl_gguf_str name = {0};
  agrl_rc rc = read_string(r, AGRL_GGUF_NAME_BYTES - 1, "a tensor's name", &name);
  if (rc != AGRL_OK) return rc;
  if (!printable(name)) return agrl_fail(r->err, AGRL_EPARSE, "%s: a tensor's name is empty or not plain text", r->file);
  memcpy(t->name, name.s, name.len);
  rc = read_shape(r, t);
  if (rc == AGRL_OK) rc = read_type(r, t);
  if (rc == AGRL_OK) rc = read_uint(r, 8, "a tensor's offset", offset);
  return rc;
}

static agrl_rc read_alignment(const reader *r, agrl_gguf *g) {
  const agrl_gguf_value *v = agrl_gguf_get(g, "general.alignment");
  int64_t n = DEFAULT_ALIGNMENT;
  if (v != NULL && (v->kind != AGRL_GGUF_U32 || !agrl_gguf_read_int(v, &n) || n < 8 || n > MAX_ALIGNMENT || (n & (n - 1)) != 0))
    return agrl_fail(r->err, AGRL_EPARSE, "%s: general.alignment is not a power of two from 8 to %d", r->file, MAX_ALIGNMENT);
  g->alignment = (size_t)n;
  return AGRL_OK;
}

typedef struct place {
  agrl_gguf_tensor *tensor;
  uint64_t offset;
} place;

static int by_offset(const void *a, const void *b) {
  const place *x = a, *y = b;
  return (x->offset > y->offset) - (x->offset < y->offset);
}

// Puts the tensors where their offsets say; in order of offset each begins where the one before it ends, padded.
static agrl_rc place_tensors(const reader *r, const agrl_gguf *g, place *places) {
  const size_t mask = g->alignment - 1, base = (r->at + mask) & ~mask;  // r->at < len, a file's size: no overflow
  if (g->n_tensors > 0) qsort(places, g->n_tensors, sizeof *places, by_offset);
  size_t at = 0, end = r->at;  // at: of the data section
  for (size_t i = 0; i < g->n_tensors; i++) {
    agrl_gguf_tensor *t = places[i].tensor;
    if (places[i].offset != at)
      return agrl_fail(r->err, AGRL_EPARSE, "%s: tensor %s %s: offset %" PRIu64 ", expected %zu", r->file, t->name,
                       places[i].offset < at ? "overlaps another or is misaligned" : "leaves a gap before it", places[i].offset, at);
    if (base > r->len || at > r->len - base || t->bytes > r->len - base - at)
      return agrl_fail(r->err, AGRL_EPARSE, "%s: tensor %s: %zu bytes at offset %zu run past the end of the file: truncated?", r->file, t->name,
                       t->bytes, at);
    t->data = r->data + base + at;
    end = base + at + t->bytes;
    at = (at + t->bytes + mask) & ~mask;
  }
  if (r->len - end > mask) return agrl_fail(r->err, AGRL_EPARSE, "%s: %zu bytes after the last tensor", r->file, r->len - end);
  return AGRL_OK;
}

static int by_name(const void *a, const void *b) {
  return strcmp(((const agrl_gguf_tensor *)a)->name, ((const agrl_gguf_tensor *)b)->name);
}

static agrl_rc read_tensors(reader *r, agrl_gguf *g, uint64_t count) {
  if (count > MAX_TENSORS || count > (r->len - r->at) / MIN_TENSOR_BYTES)
    return agrl_fail(r->err, AGRL_ELIMIT, "%s: %" PRIu64 " tensors in %zu bytes: more than the file can hold, or than %d", r->file, count,
                     r->len, MAX_TENSORS);
  g->tensors = agrl_xcalloc((size_t)count + 1, sizeof *g->tensors);
  place *places = agrl_xcalloc((size_t)count + 1, sizeof *places);
  agrl_rc rc = AGRL_OK;
  for (; rc == AGRL_OK && g->n_tensors < count; g->n_tensors += rc == AGRL_OK) {
    places[g->n_tensors].tensor = &g->tensors[g->n_tensors];
    rc = read_tensor(r, &g->tensors[g->n_tensors], &places[g->n_tensors].offset);
  }
  if (rc == AGRL_OK) rc = place_tensors(r, g, places);
  free(places);
  if (rc != AGRL_OK) return rc;
  qsort(g->tensors, g->n_tensors, sizeof *g->tensors, by_name);
  for (size_t i = 1; i < g->n_tensors; i++)
    if (by_name(&g->tensors[i - 1], &g->tensors[i]) == 0)
      return agrl_fail(r->err, AGRL_EPARSE, "%s: tensor %s is there twice", r->file, g->tensors[i].name);
  return AGRL_OK;
}

static agrl_rc read_head(reader *r, agrl_gguf *g, uint64_t *n_tensors, uint64_t *n_values) {
  uint64_t version = 0;
  if (r->len < 4 || memcmp(r->data, "GGUF", 4) != 0) return agrl_fail(r->err, AGRL_EPARSE, "%s: not a GGUF file", r->file);
  r->at = 4;
  agrl_rc rc = read_uint(r, 4, "the version", &version);
  if (rc == AGRL_OK && (version & 0xffff) == 0 && version != 0)
    return agrl_fail(r->err, AGRL_EUNSUPPORTED, "%s: big-endian GGUF is not supported", r->file);
  if (rc == AGRL_OK && version != 2 && version != 3)
    return agrl_fail(r->err, AGRL_EUNSUPPORTED, "%s: GGUF version %" PRIu64 " is not supported, 2 and 3 are", r->file, version);
  g->version = (uint32_t)version;
  if (rc == AGRL_OK) rc = read_uint(r, 8, "the number of tensors", n_tensors);
  if (rc == AGRL_OK) rc = read_uint(r, 8, "the number of metadata values", n_values);
  return rc;
}

agrl_rc agrl_gguf_parse(const uint8_t *data, size_t len, const char *name, agrl_gguf *out, agrl_error *err) {
  reader r = {name, data, len, 0, err};
  uint64_t n_tensors = 0, n_values = 0;
  *out = (agrl_gguf){.name = name};
  agrl_rc rc = read_head(&r, out, &n_tensors, &n_values);
  if (rc == AGRL_OK) rc = read_values(&r, out, n_values);
  if (rc == AGRL_OK) rc = read_alignment(&r, out);
  if (rc == AGRL_OK) rc = read_tensors(&r, out, n_tensors);
  if (rc != AGRL_OK) agrl_gguf_release(out);
  return rc;
}

void agrl_gguf_release(agrl_gguf *g) {
  free(g->values);
  free(g->tensors);
  *g = (agrl_gguf){0};
}

const agrl_gguf_tensor *agrl_gguf_find(const agrl_gguf *g, const char *name) {
  size_t lo = 0, hi = g->n_tensors;
  while (lo < hi) {
    const size_t mid = lo + (hi - lo) / 2;
    const int c = strcmp(g->tensors[mid].name, name);
    if (c == 0) return &g->tensors[mid];
    if (c < 0) lo = mid + 1;
    else hi = mid;
  }
  return NULL;
}

const agrl_gguf_value *agrl_gguf_get(const agrl_gguf *g, const char *key) {
  const agrl_gguf_value probe = {.key = {key, strlen(key)}};
  return g->n_values == 0 ? NULL : bsearch(&probe, g->values, g->n_values, sizeof *g->values, by_key);
}

bool agrl_gguf_read_str(const agrl_gguf_value *v, agrl_gguf_str *out) {
  if (v == NULL || v->kind != AGRL_GGUF_STRING) return false;
  const uint8_t *at = v->data;
  *out = agrl_gguf_next_str(&at);
  return true;
}

bool agrl_gguf_read_int(const agrl_gguf_value *v, int64_t *out) {
  if (v == NULL) return false;
  const uint64_t raw = v->kind < AGRL_GGUF_KINDS ? load_le(v->data, kind_bytes[v->kind]) : 0;
  switch (v->kind) {
    case AGRL_GGUF_U8:
    case AGRL_GGUF_U16:
    case AGRL_GGUF_U32: *out = (int64_t)raw; return true;
    case AGRL_GGUF_I8: *out = (int8_t)raw; return true;
    case AGRL_GGUF_I16: *out = (int16_t)raw; return true;
    case AGRL_GGUF_I32: *out = (int32_t)raw; return true;
    case AGRL_GGUF_I64: *out = (int64_t)raw; return true;
    case AGRL_GGUF_U64:
      if (raw > INT64_MAX) return false;
      *out = (int64_t)raw;
      return true;
    default: return false;
  }
}

bool agrl_gguf_read_real(const agrl_gguf_value *v, double *out) {
  if (v != NULL && v->kind == AGRL_GGUF_F32) {
    float f;
    memcpy(&f, v->data, sizeof f);
    *out = (double)f;
    return true;
  }
  if (v == NULL || v->kind != AGRL_GGUF_F64) return false;
  memcpy(out, v->data, sizeof *out);
  return true;
}

bool agrl_gguf_read_bool(const agrl_gguf_value *v, bool *out) {
  if (v == NULL || v->kind != AGRL_GGUF_BOOL) return false;
  *out = v->data[0] != 0;
  return true;
}

agrl_gguf_str agrl_gguf_next_str(const uint8_t **at) {
  const agrl_gguf_str s = {(const char *)*at + 8, (size_t)load_le(*at, 8)};  // checked when the file was parsed
  *at += 8 + s.len;
  return s;
}

int64_t agrl_gguf_int_at(const agrl_gguf_value *v, size_t i) {
  const uint64_t raw = load_le(v->data + 4 * i, 4);
  return v->element == AGRL_GGUF_I32 ? (int32_t)raw : (int64_t)raw;
}
