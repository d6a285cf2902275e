// SPDX-License-Identifier: Apache-2.0
// Memory. The x-functions never return NULL: running out of memory for ordinary objects aborts through bug.h
// (daemons are restarted by their supervisor and lose nothing). Sizes are count*size with overflow checked.
#ifndef AGRL_BASE_MEM_H
#define AGRL_BASE_MEM_H

#include <stddef.h>

void *agrl_xmalloc(size_t size);
void *agrl_xcalloc(size_t count, size_t size);
void *agrl_xreallocarray(void *p, size_t count, size_t size);
char *agrl_xstrdup(const char *s);
char *agrl_xstrndup(const char *s, size_t n);
char *agrl_xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

// One large block for numeric data: zeroed, 64-byte aligned (2 MiB where huge pages are), MADV_HUGEPAGE, touched once.
// Returns NULL when the system refuses; release with agrl_block_free(p, size) and the same size.
void *agrl_block_alloc(size_t bytes);
void agrl_block_free(void *p, size_t bytes);

#endif
