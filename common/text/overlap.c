// SPDX-License-Identifier: Apache-2.0
// Rows that two data sets share: the same query and the same product, whatever their ids and labels.
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/text/dataset.h"

enum { max_named = 4 };

// Upper and lower case (of ASCII) and the amount of white space make no difference: they would not to a model that has seen
// the row.
static void add_text(agrl_buf *key, const char *s) {
  bool gap = false;
  size_t start = key->len;
  for (; *s; s++) {
    if (strchr(" \t\r\n\f\v", *s)) {
      gap = true;
      continue;
    }
    if (gap && key->len > start) agrl_buf_addc(key, ' ');
    gap = false;
    agrl_buf_addc(key, (char)(*s >= 'A' && *s <= 'Z' ? *s + 32 : *s));
  }
  agrl_buf_addc(key, 0);
}

static int by_name(const void *a, const void *b) { return strcmp(**(const char *const *const *)a, **(const char *const *const *)b); }

static void make_key(const agrl_row *row, agrl_buf *key) {
  const char **names[64];  // product members by name: their order is not part of the product
  size_t n = 0;
  for (size_t i = 0; i < row->n_fields && n < 64; i++) names[n++] = &row->field_names[i];
  qsort(names, n, sizeof *names, by_name);
  agrl_buf_clear(key);
  add_text(key, row->query);
  for (size_t i = 0; i < n; i++) {
    add_text(key, *names[i]);
    add_text(key, row->field_values[names[i] - row->field_names]);
  }
}

typedef struct table {
  char **keys;  // NULL: free
  size_t *lengths, *rows, mask;
} table;

static size_t find(const table *t, const agrl_buf *key) {
  size_t k = agrl_hash64(key->data, key->len) & t->mask;
  while (t->keys[k] && (t->lengths[k] != key->len || memcmp(t->keys[k], key->data, key->len) != 0)) k = (k + 1) & t->mask;
  return k;
}

static void fill(table *t, const agrl_dataset *d) {
  agrl_buf key = {0};
  t->mask = 1;
  while (t->mask < 2 * d->n) t->mask *= 2;
  t->keys = agrl_xcalloc(t->mask, sizeof *t->keys);
  t->lengths = agrl_xcalloc(t->mask, sizeof *t->lengths);
  t->rows = agrl_xcalloc(t->mask, sizeof *t->rows);
  t->mask--;
  for (size_t i = 0; i < d->n; i++) {
    make_key(&d->rows[i], &key);
    size_t k = find(t, &key);
    if (t->keys[k]) continue;
    t->lengths[k] = key.len;
    t->rows[k] = i;
    t->keys[k] = agrl_buf_take(&key);
  }
  agrl_buf_release(&key);
}

static void release(table *t) {
  for (size_t i = 0; i <= t->mask; i++) free(t->keys[i]);
  free(t->keys);
  free(t->lengths);
  free(t->rows);
}

agrl_rc agrl_dataset_disjoint(const agrl_dataset *seen, const char *seen_path, const agrl_dataset *held_out, const char *held_out_path,
                              agrl_error *err) {
  table t = {0};
  agrl_buf key = {0}, named = {0};
  size_t shared = 0;
  agrl_buf_adds(&named, "");
  fill(&t, seen);
  for (size_t i = 0; i < held_out->n; i++) {
    make_key(&held_out->rows[i], &key);
    size_t k = find(&t, &key);
    if (!t.keys[k]) continue;
    if (shared++ < max_named)
      agrl_buf_addf(&named, "%s%.40s = %.40s", shared > 1 ? ", " : "", held_out->rows[i].id, seen->rows[t.rows[k]].id);
  }
  agrl_rc rc = AGRL_OK;
  if (shared)
    rc = agrl_fail(err, AGRL_ECONFIG, "%zu of %zu rows have the query and the product of a row of the other file (%s%s); remove them from %s or from %s",
                   shared, held_out->n, named.data, shared > max_named ? ", ..." : "", held_out_path, seen_path);
  agrl_buf_release(&key);
  agrl_buf_release(&named);
  release(&t);
  return rc;
}
