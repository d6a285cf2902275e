// SPDX-License-Identifier: Apache-2.0
// Allocation that cannot fail quietly, and large numeric blocks on huge pages. Pages are touched at allocation:
// the cost of a first touch (0.4-14 GB/s, by page size and history of the machine) falls at start, not in a step.
#include "common/base/mem.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/base/bug.h"
#include "common/base/num.h"

static const size_t huge_bytes = (size_t)2 << 20;

static void *checked(void *p, size_t bytes) {
  if (!p) AGRL_BUG("out of memory allocating %zu bytes", bytes);
  return p;
}

static size_t checked_product(size_t count, size_t size) {
  size_t bytes;
  if (!agrl_size_mul(count, size, &bytes)) AGRL_BUG("allocation of %zu x %zu bytes overflows", count, size);
  return bytes ? bytes : 1;
}

void *agrl_xmalloc(size_t size) { return checked(malloc(size ? size : 1), size); }

void *agrl_xcalloc(size_t count, size_t size) {
  size_t bytes = checked_product(count, size);
  return checked(calloc(1, bytes), bytes);
}

void *agrl_xreallocarray(void *p, size_t count, size_t size) {
  size_t bytes = checked_product(count, size);
  return checked(realloc(p, bytes), bytes);
}

char *agrl_xstrdup(const char *s) { return agrl_xstrndup(s, strlen(s)); }

char *agrl_xstrndup(const char *s, size_t n) {
  size_t len = strnlen(s, n);
  char *out = agrl_xmalloc(len + 1);
  memcpy(out, s, len);
  out[len] = '\0';
  return out;
}

char *agrl_xasprintf(const char *fmt, ...) {
  char *out = NULL;
  va_list ap;
  va_start(ap, fmt);
  int n = vasprintf(&out, fmt, ap);
  va_end(ap);
  return checked(n < 0 ? NULL : out, 0);
}

#if defined(__SANITIZE_ADDRESS__)
// From the checked heap instead, so that AddressSanitizer sees a read past a block, or a block never freed.
void *agrl_block_alloc(size_t bytes) {
  void *p = NULL;
  if (bytes >> 40 || posix_memalign(&p, bytes >= huge_bytes ? huge_bytes : 64, bytes ? bytes : 1)) return NULL;
  return memset(p, 0, bytes ? bytes : 1);
}

void agrl_block_free(void *p, size_t bytes) {
  (void)bytes;
  free(p);
}
#else
// Mapping length for a block: whole huge pages when it is at least one, whole pages otherwise; 0 on overflow.
static size_t block_length(size_t bytes) {
  size_t unit = bytes >= huge_bytes ? huge_bytes : (size_t)sysconf(_SC_PAGESIZE);
  size_t padded;
  if (!agrl_size_add(bytes ? bytes : 1, unit - 1, &padded)) return 0;
  return padded / unit * unit;
}

void *agrl_block_alloc(size_t bytes) {
  size_t len = block_length(bytes), padded;
  if (!len) return NULL;
  size_t slack = len >= huge_bytes ? huge_bytes : 0;
  if (!agrl_size_add(len, slack, &padded)) return NULL;
  uint8_t *raw = mmap(NULL, padded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED) return NULL;
  uint8_t *p = raw;
  if (slack) {
    p = (uint8_t *)(((uintptr_t)raw + slack - 1) / slack * slack);
    size_t before = (size_t)(p - raw), after = slack - before;
    if (before) munmap(raw, before);
    if (after) munmap(p + len, after);
    madvise(p, len, MADV_HUGEPAGE);  // advice: without it the block works, slower
  }
  for (size_t i = 0; i < len; i += 4096) *(volatile uint8_t *)(p + i) = 0;
  return p;
}

void agrl_block_free(void *p, size_t bytes) {
  if (p) munmap(p, block_length(bytes));
}
#endif
