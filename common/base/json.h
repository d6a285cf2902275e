// SPDX-License-Identifier: Apache-2.0
// JSON. Reading is strict (duplicate keys, bad UTF-8, NaN, trailing bytes are errors; nesting and size bounded) and
// gives an immutable tree (jansson inside). Writing is a streaming writer into an agrl_buf. Not thread-safe per object.
#ifndef AGRL_BASE_JSON_H
#define AGRL_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"

typedef struct agrl_json agrl_json;  // a node; borrowed from its root

typedef enum { AGRL_JSON_NULL, AGRL_JSON_BOOL, AGRL_JSON_INT, AGRL_JSON_REAL, AGRL_JSON_STRING, AGRL_JSON_ARRAY, AGRL_JSON_OBJECT } agrl_json_type;

// name is used in messages ("data.jsonl:12"). On success *out owns the tree: agrl_json_free(root).
agrl_rc agrl_json_parse(const char *text, size_t len, const char *name, agrl_json **out, agrl_error *err);
agrl_rc agrl_json_load(const char *path, agrl_json **out, agrl_error *err);
void agrl_json_free(agrl_json *root);

agrl_json_type agrl_json_typeof(const agrl_json *j);
// Lookups return NULL when j is NULL, not of the right type, or the key/index is absent, so they chain.
const agrl_json *agrl_json_get(const agrl_json *j, const char *key);
const agrl_json *agrl_json_at(const agrl_json *j, size_t index);
size_t agrl_json_len(const agrl_json *j);  // array or object members; 0 otherwise
// Typed reads: false (out untouched) when j is NULL or of another type.
bool agrl_json_str(const agrl_json *j, const char **s, size_t *len);  // s is NUL-terminated UTF-8; len may be NULL
bool agrl_json_i64(const agrl_json *j, int64_t *out);
bool agrl_json_f64(const agrl_json *j, double *out);  // int or real
bool agrl_json_bool(const agrl_json *j, bool *out);
// Object iteration in insertion order: for (it = agrl_json_first(j); it; it = agrl_json_next(j, it))
void *agrl_json_first(const agrl_json *j);
void *agrl_json_next(const agrl_json *j, void *it);
const char *agrl_json_key(void *it);
const agrl_json *agrl_json_value(void *it);

// Writer. Commas and quoting are its business; depth <= 32. NaN and infinities are written as null.
typedef struct agrl_jw {
  agrl_buf *out;
  uint32_t has_item;  // bit per depth
  int depth;
  bool after_key;
} agrl_jw;
void agrl_jw_init(agrl_jw *w, agrl_buf *out);
void agrl_jw_obj(agrl_jw *w);
void agrl_jw_end_obj(agrl_jw *w);
void agrl_jw_arr(agrl_jw *w);
void agrl_jw_end_arr(agrl_jw *w);
void agrl_jw_key(agrl_jw *w, const char *key);
void agrl_jw_str(agrl_jw *w, const char *s);
void agrl_jw_strn(agrl_jw *w, const char *s, size_t n);  // bytes that are not UTF-8 become U+FFFD
void agrl_jw_i64(agrl_jw *w, int64_t v);
void agrl_jw_u64(agrl_jw *w, uint64_t v);
void agrl_jw_f64(agrl_jw *w, double v);  // shortest text that reads back equal
void agrl_jw_bool(agrl_jw *w, bool v);
void agrl_jw_null(agrl_jw *w);
// key + value in one call
void agrl_jw_kstr(agrl_jw *w, const char *key, const char *s);
void agrl_jw_ki64(agrl_jw *w, const char *key, int64_t v);
void agrl_jw_ku64(agrl_jw *w, const char *key, uint64_t v);
void agrl_jw_kf64(agrl_jw *w, const char *key, double v);
void agrl_jw_kbool(agrl_jw *w, const char *key, bool v);

#endif
