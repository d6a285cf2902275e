// SPDX-License-Identifier: Apache-2.0
// Texts in the order met, each once (C strings). Zero-initialise; release. Not thread-safe.
#ifndef AGRL_CTL_TRACES_TABLE_H
#define AGRL_CTL_TRACES_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"

typedef struct traces_table {
  agrl_buf bytes;   // all of them, each with its NUL
  size_t n, cap;
  size_t *at;       // n: where each begins
  uint32_t *slots;  // hash table of index + 1, 0: free
  size_t n_slots;   // a power of two
} traces_table;

size_t traces_table_add(traces_table *t, const char *s, size_t len);  // its index; what follows a NUL is left out
bool traces_table_find(const traces_table *t, const char *s, size_t *index);
const char *traces_table_get(const traces_table *t, size_t i);  // valid until the next add
void traces_table_release(traces_table *t);

#endif
