// SPDX-License-Identifier: Apache-2.0
// A set of texts with open addressing; it doubles before it is half full.
#include "deploy/ctl/traces_table.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/hash.h"
#include "common/base/mem.h"

const char *traces_table_get(const traces_table *t, size_t i) { return t->bytes.data + t->at[i]; }

static size_t slot_of(const traces_table *t, const char *s, size_t len) {
  size_t k = agrl_hash64(s, len) & (t->n_slots - 1);
  for (; t->slots[k]; k = (k + 1) & (t->n_slots - 1)) {
    const char *other = traces_table_get(t, t->slots[k] - 1);
    if (!strncmp(other, s, len) && !other[len]) break;
  }
  return k;
}

size_t traces_table_add(traces_table *t, const char *s, size_t len) {
  len = strnlen(s, len);
  if (2 * (t->n + 1) > t->n_slots) {
    traces_table old = *t;
    t->n_slots = old.n_slots ? 2 * old.n_slots : 64;
    t->slots = agrl_xcalloc(t->n_slots, sizeof *t->slots);
    for (size_t i = 0; i < t->n; i++) {
      const char *text = traces_table_get(t, i);
      t->slots[slot_of(t, text, strlen(text))] = (uint32_t)i + 1;
    }
    free(old.slots);
  }
  size_t k = slot_of(t, s, len);
  if (t->slots[k]) return t->slots[k] - 1;
  if (t->n == t->cap) {
    t->cap = t->cap ? 2 * t->cap : 64;
    t->at = agrl_xreallocarray(t->at, t->cap, sizeof *t->at);
  }
  t->at[t->n] = t->bytes.len;
  agrl_buf_add(&t->bytes, s, len);
  agrl_buf_addc(&t->bytes, 0);
  t->slots[k] = (uint32_t)++t->n;
  return t->n - 1;
}

bool traces_table_find(const traces_table *t, const char *s, size_t *index) {
  size_t k = t->n_slots ? slot_of(t, s, strlen(s)) : 0;
  if (!t->n_slots || !t->slots[k]) return false;
  *index = t->slots[k] - 1;
  return true;
}

void traces_table_release(traces_table *t) {
  agrl_buf_release(&t->bytes);
  free(t->at);
  free(t->slots);
  *t = (traces_table){0};
}
