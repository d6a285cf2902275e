// SPDX-License-Identifier: Apache-2.0
// Counts heap allocations of the whole program, by standing in front of glibc's allocator. Include in one .c file of a
// program. Under a sanitizer, which has an allocator of its own, COUNT_ALLOC is 0 and the count stays 0.
#ifndef AGRL_TESTS_COUNT_ALLOC_H
#define AGRL_TESTS_COUNT_ALLOC_H

#include <stdatomic.h>
#include <stddef.h>

static atomic_size_t count_alloc_calls;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
#define COUNT_ALLOC 0
#else
#define COUNT_ALLOC 1
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *p, size_t size);
void *malloc(size_t size);
void *calloc(size_t count, size_t size);
void *realloc(void *p, size_t size);

void *malloc(size_t size) {
  atomic_fetch_add(&count_alloc_calls, 1);
  return __libc_malloc(size);
}
void *calloc(size_t count, size_t size) {
  atomic_fetch_add(&count_alloc_calls, 1);
  return __libc_calloc(count, size);
}
void *realloc(void *p, size_t size) {
  atomic_fetch_add(&count_alloc_calls, 1);
  return __libc_realloc(p, size);
}
#endif

#endif
