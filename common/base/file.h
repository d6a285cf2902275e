// SPDX-License-Identifier: Apache-2.0
// Files. Errors name the path and errno's text. Thread-safe.
#ifndef AGRL_BASE_FILE_H
#define AGRL_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"

agrl_rc agrl_file_read(const char *path, size_t max_bytes, agrl_buf *out, agrl_error *err);
// Writes path.tmp.PID, fsyncs, renames over path, fsyncs the directory: readers see the old or the new file, whole.
agrl_rc agrl_file_write_atomic(const char *path, const void *data, size_t len, agrl_error *err);
agrl_rc agrl_file_append_sync(int fd, const void *data, size_t len, agrl_error *err);  // full write + fdatasync
agrl_rc agrl_file_mkdirs(const char *path, agrl_error *err);  // like mkdir -p, mode 0755
agrl_rc agrl_file_sync_dir(const char *path, agrl_error *err);
agrl_rc agrl_file_remove_tree(const char *path, agrl_error *err);  // like rm -rf; absent is fine
bool agrl_file_exists(const char *path);
char *agrl_path_join(const char *a, const char *b);  // caller frees
char *agrl_path_dir(const char *path);               // caller frees

// Read-only mapping.
typedef struct agrl_map {
  const uint8_t *data;
  size_t len;
} agrl_map;
agrl_rc agrl_map_open(agrl_map *m, const char *path, agrl_error *err);
void agrl_map_close(agrl_map *m);

#endif
