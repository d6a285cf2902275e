// SPDX-License-Identifier: Apache-2.0
// Arena: a list of chunks, newest first, each at least twice the one before up to a megabyte; objects are carved off
// the newest. Clearing keeps the largest chunk only. Under AddressSanitizer what is not handed out is poisoned, so a read
// past an object or after a clear is seen although the chunk is one allocation.
#include "common/base/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bug.h"
#include "common/base/mem.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define HIDE(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define SHOW(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define HIDE(p, n) ((void)(p), (void)(n))
#define SHOW(p, n) ((void)(p), (void)(n))
#endif

enum { ALIGN = 16, FIRST_CHUNK = 4096, LARGEST_STEP = 1 << 20 };

struct agrl_arena_chunk {
  struct agrl_arena_chunk *next;
  size_t size, used;  // of bytes
  _Alignas(ALIGN) uint8_t bytes[];
};

void agrl_arena_init(agrl_arena *a, size_t limit_bytes) { *a = (agrl_arena){.limit_bytes = limit_bytes}; }

static struct agrl_arena_chunk *free_chunk(struct agrl_arena_chunk *c) {
  struct agrl_arena_chunk *next = c->next;
  SHOW(c->bytes, c->size);
  free(c);
  return next;
}

void agrl_arena_release(agrl_arena *a) {
  for (struct agrl_arena_chunk *c = a->head; c;) c = free_chunk(c);
  a->head = NULL;
  a->used_bytes = 0;
}

void agrl_arena_clear(agrl_arena *a) {
  struct agrl_arena_chunk *largest = a->head;
  for (struct agrl_arena_chunk *c = a->head; c; c = c->next) {
    if (c->size > largest->size) largest = c;
  }
  for (struct agrl_arena_chunk *c = a->head; c;) c = c == largest ? c->next : free_chunk(c);
  if (largest) {
    HIDE(largest->bytes, largest->size);
    largest->next = NULL;
    largest->used = 0;
  }
  a->head = largest;
  a->used_bytes = 0;
}

static struct agrl_arena_chunk *chunk_with(agrl_arena *a, size_t bytes) {
  if (a->head && a->head->size - a->head->used >= bytes) return a->head;
  size_t size = a->head ? a->head->size * 2 : FIRST_CHUNK;
  if (size > LARGEST_STEP) size = LARGEST_STEP;
  if (size < bytes) size = bytes;
  struct agrl_arena_chunk *c = agrl_xmalloc(sizeof *c + size);
  c->next = a->head;
  c->size = size;
  c->used = 0;
  HIDE(c->bytes, c->size);
  a->head = c;
  return c;
}

void *agrl_arena_try(agrl_arena *a, size_t size) {
  if (size > SIZE_MAX / 4) return NULL;
  size_t bytes = (size + ALIGN - 1) / ALIGN * ALIGN;
  if (!bytes) bytes = ALIGN;
  if (a->limit_bytes && (a->used_bytes > a->limit_bytes || bytes > a->limit_bytes - a->used_bytes)) return NULL;
  struct agrl_arena_chunk *c = chunk_with(a, bytes);
  void *p = c->bytes + c->used;
  c->used += bytes;
  a->used_bytes += bytes;
  SHOW(p, size);
  if (size) memset(p, 0, size);
  return p;
}

void *agrl_arena_alloc(agrl_arena *a, size_t size) {
  void *p = agrl_arena_try(a, size);
  if (!p) AGRL_BUG("arena limit of %zu bytes passed by an object of %zu", a->limit_bytes, size);
  return p;
}

void *agrl_arena_dup(agrl_arena *a, const void *p, size_t size) {
  void *out = agrl_arena_alloc(a, size);
  if (size) memcpy(out, p, size);
  return out;
}

char *agrl_arena_strndup(agrl_arena *a, const char *s, size_t n) {
  size_t len = strnlen(s, n);
  char *out = agrl_arena_alloc(a, len + 1);
  memcpy(out, s, len);
  return out;
}

char *agrl_arena_strdup(agrl_arena *a, const char *s) { return agrl_arena_dup(a, s, strlen(s) + 1); }

char *agrl_arena_printf(agrl_arena *a, const char *fmt, ...) {
  va_list ap, again;
  va_start(ap, fmt);
  va_copy(again, ap);
  int n = vsnprintf(NULL, 0, fmt, ap);
  va_end(ap);
  AGRL_ASSERT(n >= 0);
  char *out = agrl_arena_alloc(a, (size_t)n + 1);
  vsnprintf(out, (size_t)n + 1, fmt, again);
  va_end(again);
  return out;
}
