// SPDX-License-Identifier: Apache-2.0
// A whole JSONL file through the loader, against a plain reading of the same bytes: every line that is not blank is
// either a row, in order, or counted as bad and named by its number; no id is there twice.
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/base/bug.h"
#include "common/text/dataset.h"

int agrl_fuzz_text_dataset(const uint8_t *data, size_t size);

typedef struct bad_lines {
  const char *path;
  size_t n, last;  // how many messages, and the line of the last
} bad_lines;

static void on_bad(void *user, const char *message) {
  bad_lines *b = user;
  size_t len = strlen(b->path);
  AGRL_ASSERT(strncmp(message, b->path, len) == 0 && message[len] == ':');
  size_t line = strtoul(message + len + 1, NULL, 10);
  AGRL_ASSERT(line > b->last);  // one message a line, in order
  b->last = line;
  b->n++;
}

static bool has_id(const agrl_dataset *d, size_t n, const char *id) {
  for (size_t i = 0; i < n; i++) {
    if (strcmp(d->rows[i].id, id) == 0) return true;
  }
  return false;
}

// Walks the lines once more; d holds what was loaded (no rows when the loader refused the file).
static void compare(const uint8_t *data, size_t size, const agrl_dataset *d, const bad_lines *bad) {
  size_t rows = 0, refused = 0;
  const char *text = (const char *)data, *end = text + size;
  if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) text += 3;
  while (text < end) {
    const char *stop = text;
    size_t ink = 0;
    for (; stop < end && *stop != '\n'; stop++) ink += *stop != ' ' && *stop != '\t' && *stop != '\r';
    agrl_arena arena;
    agrl_arena_init(&arena, 0);
    agrl_row row;
    if (ink > 0) {
      if (agrl_row_parse(text, (size_t)(stop - text), "line", &arena, &row, NULL) != AGRL_OK || has_id(d, rows, row.id)) {
        refused++;
      } else {
        AGRL_ASSERT(rows < d->n && strcmp(d->rows[rows].id, row.id) == 0 && strcmp(d->rows[rows].query, row.query) == 0);
        AGRL_ASSERT(d->rows[rows].gold.tier == row.gold.tier && d->rows[rows].n_fields == row.n_fields);
        rows++;
      }
    }
    agrl_arena_release(&arena);
    text = stop + (stop < end);
  }
  AGRL_ASSERT(rows == d->n && refused == bad->n);
}

int agrl_fuzz_text_dataset(const uint8_t *data, size_t size) {
  int fd = memfd_create("rows", MFD_CLOEXEC);
  AGRL_ASSERT(fd >= 0 && write(fd, data, size) == (ssize_t)size);
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  bad_lines bad = {.path = path};
  agrl_dataset d;
  agrl_error err = {0};
  if (agrl_dataset_load(path, on_bad, &bad, &d, &err) == AGRL_OK) {
    AGRL_ASSERT(d.n > 0 && d.n_bad == bad.n && (d.n_bad > 0) == (d.first_bad[0] != '\0'));
    compare(data, size, &d, &bad);
  } else {
    AGRL_ASSERT(err.code == AGRL_EPARSE && strncmp(err.msg, path, strlen(path)) == 0 && !d.rows && d.n == 0);
    compare(data, size, &d, &bad);
  }
  agrl_dataset_release(&d);
  close(fd);
  return 0;
}
