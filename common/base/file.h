// SPDX-License-Identifier: Apache-2.0
// Files. Errors name the path and errno's text. Thread-safe.
#ifndef AGRL_BASE_FILE_H
#define AGRL_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"

agrl_rc agrl_file_read(const char *path, size_t max_bytes, agrl_buf *out, agrl_error *err);  // AGRL_EPARSE: a directory
// Writes path.tmp.PID, fsyncs, renames over path, fsyncs the directory: readers see the old or the new file, whole. A link stays
// and its target is replaced; what is there and is no regular file (a device, a pipe) is written to as it is.
agrl_rc agrl_file_write_atomic(const char *path, const void *data, size_t len, agrl_error *err);
// The same for a file that is written in parts, to fd.
typedef struct agrl_replacing {
  int fd;
  char *path, *place, *tmp;  // as given; links followed; NULL: fd is what stands at path
} agrl_replacing;
agrl_rc agrl_replace_begin(agrl_replacing *r, const char *path, agrl_error *err);
// rc: of the writing. Where it is not AGRL_OK, path stays as it was. Returns rc, or what failed here. Frees r either way.
agrl_rc agrl_replace_end(agrl_replacing *r, agrl_rc rc, agrl_error *err);
// Opens /dev/null where a standard stream is closed: else the next file would have its number, and what is printed would go into
// that file. First thing in main.
void agrl_hold_standard_streams(void);
// At a program's end: its exit code, or 74 with a message when the code is 0 and standard output was lost (a full disk, a closed pipe).
int agrl_stdout_end(const char *program, int code);
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
agrl_rc agrl_map_open(agrl_map *m, const char *path, agrl_error *err);  // AGRL_EPARSE: no regular file
void agrl_map_close(agrl_map *m);

#endif
