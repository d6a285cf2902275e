// SPDX-License-Identifier: Apache-2.0
// Arena: many small objects with one lifetime (a decoded message, a parsed row). Not thread-safe.
// agrl_arena_clear keeps the largest chunk, so a steady loop stops allocating.
#ifndef AGRL_BASE_ARENA_H
#define AGRL_BASE_ARENA_H

#include <stddef.h>

typedef struct agrl_arena {
  struct agrl_arena_chunk *head;  // newest chunk
  size_t limit_bytes;             // 0: no limit; otherwise agrl_arena_try returns NULL beyond it
  size_t used_bytes;
} agrl_arena;

void agrl_arena_init(agrl_arena *a, size_t limit_bytes);
void agrl_arena_release(agrl_arena *a);
void agrl_arena_clear(agrl_arena *a);
void *agrl_arena_alloc(agrl_arena *a, size_t size);  // 16-byte aligned, zeroed; aborts beyond the limit
void *agrl_arena_try(agrl_arena *a, size_t size);    // the same, NULL beyond the limit
void *agrl_arena_dup(agrl_arena *a, const void *p, size_t size);
char *agrl_arena_strndup(agrl_arena *a, const char *s, size_t n);
char *agrl_arena_strdup(agrl_arena *a, const char *s);
char *agrl_arena_printf(agrl_arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
