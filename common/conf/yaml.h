// SPDX-License-Identifier: Apache-2.0
// YAML tree with positions (libyaml inside). Strict: one document, no anchors/aliases/tags, duplicate keys refused,
// depth and size bounded. Every message reads "file:line:column: what". Immutable after parse; free the root only.
#ifndef AGRL_CONF_YAML_H
#define AGRL_CONF_YAML_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/err.h"

typedef enum { AGRL_YAML_SCALAR, AGRL_YAML_SEQ, AGRL_YAML_MAP } agrl_yaml_type;

typedef struct agrl_yaml agrl_yaml;
struct agrl_yaml {
  agrl_yaml_type type;
  int line, column;   // 1-based
  const char *file;   // borrowed from the root
  char *text;         // scalar text
  bool quoted;        // scalar was quoted
  size_t n;           // children
  char **keys;        // map only, n of them
  agrl_yaml **items;  // children
};

agrl_rc agrl_yaml_parse(const char *text, size_t len, const char *name, agrl_yaml **out, agrl_error *err);
agrl_rc agrl_yaml_load(const char *path, agrl_yaml **out, agrl_error *err);
void agrl_yaml_free(agrl_yaml *root);
const agrl_yaml *agrl_yaml_get(const agrl_yaml *map, const char *key);  // NULL-safe; NULL when absent or not a map
const char *agrl_yaml_str(const agrl_yaml *scalar);                     // NULL when not a scalar
bool agrl_yaml_f64(const agrl_yaml *scalar, double *out);               // strict
bool agrl_yaml_i64(const agrl_yaml *scalar, long long *out);            // strict
bool agrl_yaml_bool(const agrl_yaml *scalar, bool *out);                // true|false
// err <- "file:line:column: message"; returns AGRL_ECONFIG
agrl_rc agrl_yaml_fail(const agrl_yaml *at, agrl_error *err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
// Refuses keys of map that are not in allowed[] (NULL-terminated), naming the nearest allowed one.
agrl_rc agrl_yaml_only(const agrl_yaml *map, const char *const *allowed, agrl_error *err);

#endif
