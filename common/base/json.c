// SPDX-License-Identifier: Apache-2.0
// Strict JSON reading over jansson, which rejects bad UTF-8, lone surrogates, [01], NaN and 1e999 by itself; duplicate
// keys by flag. Nesting is bounded here, before the parser recurses. An agrl_json is a json_t under another name.
#include "common/base/json.h"

#include <jansson.h>
#include <string.h>

#include "common/base/file.h"

enum { MAX_DEPTH = 64 };
static const size_t max_file_bytes = (size_t)256 << 20;

static json_t *raw(const agrl_json *j) { return (json_t *)(uintptr_t)j; }

static const agrl_json *node(const json_t *j) { return (const agrl_json *)j; }

static bool too_deep(const char *s, size_t n) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < n; i++) {
    char c = s[i];
    if (in_string) {
      if (c == '\\') i++;
      else if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > MAX_DEPTH) return true;
    } else if (c == ']' || c == '}') {
      depth--;
    }
  }
  return false;
}

agrl_rc agrl_json_parse(const char *text, size_t len, const char *name, agrl_json **out, agrl_error *err) {
  *out = NULL;
  if (len > max_file_bytes) return agrl_fail(err, AGRL_ELIMIT, "%s: JSON of %zu bytes is over the limit of %zu", name, len, max_file_bytes);
  if (too_deep(text, len)) return agrl_fail(err, AGRL_ELIMIT, "%s: JSON nested deeper than %d", name, MAX_DEPTH);
  if (len && memchr(text, 0, len)) return agrl_fail(err, AGRL_EPARSE, "%s: JSON with a NUL byte", name);  // jansson skips one after a number
  json_error_t je;
  json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &je);
  if (!root) return agrl_fail(err, AGRL_EPARSE, "%s:%d:%d: %s", name, je.line, je.column, je.text);
  *out = (agrl_json *)root;
  return AGRL_OK;
}

agrl_rc agrl_json_load(const char *path, agrl_json **out, agrl_error *err) {
  *out = NULL;
  agrl_buf text = {0};
  agrl_rc rc = agrl_file_read(path, max_file_bytes, &text, err);
  if (!rc) rc = agrl_json_parse(text.data ? text.data : "", text.len, path, out, err);
  agrl_buf_release(&text);
  return rc;
}

void agrl_json_free(agrl_json *root) { json_decref(raw(root)); }

agrl_json_type agrl_json_typeof(const agrl_json *j) {
  if (!j) return AGRL_JSON_NULL;
  switch (json_typeof(raw(j))) {
    case JSON_OBJECT: return AGRL_JSON_OBJECT;
    case JSON_ARRAY: return AGRL_JSON_ARRAY;
    case JSON_STRING: return AGRL_JSON_STRING;
    case JSON_INTEGER: return AGRL_JSON_INT;
    case JSON_REAL: return AGRL_JSON_REAL;
    case JSON_TRUE:
    case JSON_FALSE: return AGRL_JSON_BOOL;
    case JSON_NULL: break;
  }
  return AGRL_JSON_NULL;
}

const agrl_json *agrl_json_get(const agrl_json *j, const char *key) { return node(json_object_get(raw(j), key)); }

const agrl_json *agrl_json_at(const agrl_json *j, size_t index) { return node(json_array_get(raw(j), index)); }

size_t agrl_json_len(const agrl_json *j) {
  return json_is_object(raw(j)) ? json_object_size(raw(j)) : json_array_size(raw(j));
}

bool agrl_json_str(const agrl_json *j, const char **s, size_t *len) {
  if (!json_is_string(raw(j))) return false;
  *s = json_string_value(raw(j));
  if (len) *len = json_string_length(raw(j));
  return true;
}

bool agrl_json_i64(const agrl_json *j, int64_t *out) {
  if (!json_is_integer(raw(j))) return false;
  *out = json_integer_value(raw(j));
  return true;
}

bool agrl_json_f64(const agrl_json *j, double *out) {
  if (!json_is_number(raw(j))) return false;
  *out = json_number_value(raw(j));
  return true;
}

bool agrl_json_bool(const agrl_json *j, bool *out) {
  if (!json_is_boolean(raw(j))) return false;
  *out = json_is_true(raw(j));
  return true;
}

void *agrl_json_first(const agrl_json *j) { return json_object_iter(raw(j)); }

void *agrl_json_next(const agrl_json *j, void *it) { return json_object_iter_next(raw(j), it); }

const char *agrl_json_key(void *it) { return json_object_iter_key(it); }

const agrl_json *agrl_json_value(void *it) { return node(json_object_iter_value(it)); }
