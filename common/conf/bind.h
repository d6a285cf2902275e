// SPDX-License-Identifier: Apache-2.0
// Table binder: one row per configuration key. Fills a struct from a YAML tree, checks types, ranges and names, dumps
// the effective configuration, and prints the reference that the man page and the default file are made of.
#ifndef AGRL_CONF_BIND_H
#define AGRL_CONF_BIND_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/conf/yaml.h"

typedef enum {
  AGRL_CONF_BOOL,      // bool
  AGRL_CONF_INT,       // int64_t
  AGRL_CONF_REAL,      // double
  AGRL_CONF_BYTES,     // uint64_t, "64MiB"
  AGRL_CONF_DURATION,  // uint64_t nanoseconds, "250ms"
  AGRL_CONF_STRING,    // char * (owned by the struct, free via agrl_conf_release)
  AGRL_CONF_LIST,      // like STRING: words with commas between; the file may have a YAML list
  AGRL_CONF_ENUM,      // int, index into choices
} agrl_conf_type;

typedef struct agrl_conf_key {
  const char *path;  // "replay.tau"
  agrl_conf_type type;
  size_t offset;                // of the field in the struct
  const char *def;              // default, as it would stand in the file
  double min, max;              // INT, REAL, BYTES (bytes), DURATION (seconds); min==max: unchecked
  const char *const *choices;   // ENUM: NULL-terminated
  bool reload;                  // may change on SIGHUP
  const char *help;             // one sentence, with unit
} agrl_conf_key;

void agrl_conf_defaults(const agrl_conf_key *table, size_t n, void *out);
// out must hold values already (agrl_conf_defaults); keys absent from the tree keep theirs.
agrl_rc agrl_conf_bind(const agrl_conf_key *table, size_t n, const agrl_yaml *root, void *out, agrl_error *err);
// One "path=value" override, as from a command line.
agrl_rc agrl_conf_set(const agrl_conf_key *table, size_t n, void *out, const char *path, const char *value, agrl_error *err);
void agrl_conf_release(const agrl_conf_key *table, size_t n, void *out);
// commented: by row, keys that stand behind a '#'; NULL: none.
void agrl_conf_dump(const agrl_conf_key *table, size_t n, const void *in, bool with_help, const bool *commented, agrl_buf *yaml);
// Compares two structs: the first changed key that is not reloadable is named in err (AGRL_EPERM).
agrl_rc agrl_conf_reloadable(const agrl_conf_key *table, size_t n, const void *before, const void *after, agrl_error *err);
// Exchanges the reloadable fields of two structs and touches no other: other threads may be reading those.
void agrl_conf_swap_reloadable(const agrl_conf_key *table, size_t n, void *a, void *b);
const char *agrl_conf_nearest(const char *word, const char *const *candidates, size_t n);  // by edit distance, or NULL

#endif
