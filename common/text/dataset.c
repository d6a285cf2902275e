// SPDX-License-Identifier: Apache-2.0
// Labelled rows from JSONL: a row is taken whole or named as bad (file:line, what, expected) and skipped. Unknown
// members are ignored, so that data sets may carry more than is used here.
#include "common/text/dataset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/hash.h"
#include "common/base/json.h"
#include "common/base/log.h"
#include "common/base/mem.h"

enum { max_line_bytes = 1 << 20, max_logged = 20, max_product_fields = 64 };

typedef struct ctx {
  const char *where;
  agrl_arena *arena;
  agrl_error *err;
} ctx;

static const char *type_name(const agrl_json *j) {
  static const char *const names[] = {"null",     "a boolean", "an integer", "a real number",
                                      "a string", "an array",  "an object"};
  return j == NULL ? "absent" : names[agrl_json_typeof(j)];
}

// A string without NUL bytes, copied to the arena.
static agrl_rc take_text(const ctx *c, const agrl_json *j, const char *what, bool may_be_empty, const char **out) {
  const char *s = NULL;
  size_t len = 0;
  if (!agrl_json_str(j, &s, &len))
    return agrl_fail(c->err, AGRL_EPARSE, "%s: %s is %s, expected a string", c->where, what, type_name(j));
  if (strlen(s) != len)
    return agrl_fail(c->err, AGRL_EPARSE, "%s: %s holds a NUL character, expected text", c->where, what);
  if (len == 0 && !may_be_empty)
    return agrl_fail(c->err, AGRL_EPARSE, "%s: %s is empty, expected text", c->where, what);
  *out = agrl_arena_strndup(c->arena, s, len);
  return AGRL_OK;
}

static agrl_rc take_list(const ctx *c, const agrl_json *j, const char *what, size_t *n, const char ***out) {
  *n = 0;
  *out = NULL;
  if (j == NULL) return AGRL_OK;
  if (agrl_json_typeof(j) != AGRL_JSON_ARRAY) {
    return agrl_fail(c->err, AGRL_EPARSE, "%s: %s is %s, expected an array of strings", c->where, what, type_name(j));
  }
  size_t len = agrl_json_len(j);
  if (len == 0) return AGRL_OK;
  *out = agrl_arena_alloc(c->arena, len * sizeof **out);
  for (size_t i = 0; i < len; i++) {
    char name[64];
    snprintf(name, sizeof name, "%s[%zu]", what, i);
    agrl_rc rc = take_text(c, agrl_json_at(j, i), name, false, &(*out)[i]);
    if (rc != AGRL_OK) return rc;
  }
  *n = len;
  return AGRL_OK;
}

static agrl_rc take_product(const ctx *c, const agrl_json *j, agrl_row *row) {
  if (agrl_json_typeof(j) != AGRL_JSON_OBJECT || j == NULL) {
    return agrl_fail(c->err, AGRL_EPARSE, "%s: product is %s, expected an object with a title", c->where, type_name(j));
  }
  size_t n = agrl_json_len(j);
  if (n > max_product_fields) {
    return agrl_fail(c->err, AGRL_EPARSE, "%s: product has %zu members, expected at most %d", c->where, n,
                     max_product_fields);
  }
  if (agrl_json_get(j, "title") == NULL)
    return agrl_fail(c->err, AGRL_EPARSE, "%s: product.title is absent, expected a string", c->where);
  row->field_names = agrl_arena_alloc(c->arena, n * sizeof *row->field_names);
  row->field_values = agrl_arena_alloc(c->arena, n * sizeof *row->field_values);
  for (void *it = agrl_json_first(j); it != NULL; it = agrl_json_next(j, it)) {
    const char *key = agrl_json_key(it);
    char what[96];
    snprintf(what, sizeof what, "product.%.64s", key);
    size_t k = row->n_fields;
    agrl_rc rc = take_text(c, agrl_json_value(it), what, strcmp(key, "title") != 0, &row->field_values[k]);
    if (rc != AGRL_OK) return rc;
    row->field_names[k] = agrl_arena_strdup(c->arena, key);
    row->n_fields++;
  }
  return AGRL_OK;
}

static agrl_rc take_gold(const ctx *c, const agrl_json *j, agrl_gold *gold) {
  int64_t tier = 0;
  const agrl_json *t = agrl_json_get(j, "tier");
  if (j == NULL || agrl_json_typeof(j) != AGRL_JSON_OBJECT) {
    return agrl_fail(c->err, AGRL_EPARSE, "%s: gold is %s, expected an object with a tier", c->where, type_name(j));
  }
  if (!agrl_json_i64(t, &tier))
    return agrl_fail(c->err, AGRL_EPARSE, "%s: gold.tier is %s, expected 1..4", c->where, type_name(t));
  if (tier < 1 || tier > 4)
    return agrl_fail(c->err, AGRL_EPARSE, "%s: gold.tier is %lld, expected 1..4", c->where, (long long)tier);
  gold->tier = (int)tier;
  const agrl_json *category = agrl_json_get(j, "category"), *attribute = agrl_json_get(j, "attribute");
  agrl_rc rc = AGRL_OK;
  if (category != NULL) rc = take_text(c, category, "gold.category", false, &gold->category);
  if (rc == AGRL_OK && attribute != NULL) rc = take_text(c, attribute, "gold.attribute", false, &gold->attribute);
  return rc;
}

static agrl_rc take_row(const ctx *c, const agrl_json *j, agrl_row *row) {
  if (agrl_json_typeof(j) != AGRL_JSON_OBJECT)
    return agrl_fail(c->err, AGRL_EPARSE, "%s: the line is %s, expected an object", c->where, type_name(j));
  row->type = "";
  agrl_rc rc = take_text(c, agrl_json_get(j, "id"), "id", false, &row->id);
  if (rc == AGRL_OK) rc = take_text(c, agrl_json_get(j, "query"), "query", false, &row->query);
  if (rc == AGRL_OK) rc = take_product(c, agrl_json_get(j, "product"), row);
  if (rc == AGRL_OK) rc = take_gold(c, agrl_json_get(j, "gold"), &row->gold);
  if (rc == AGRL_OK && agrl_json_get(j, "type") != NULL)
    rc = take_text(c, agrl_json_get(j, "type"), "type", true, &row->type);
  if (rc == AGRL_OK) rc = take_list(c, agrl_json_get(j, "must"), "must", &row->n_must, &row->must);
  if (rc == AGRL_OK) rc = take_list(c, agrl_json_get(j, "not"), "not", &row->n_not, &row->must_not);
  if (rc == AGRL_OK && agrl_json_get(j, "reference") != NULL)
    rc = take_text(c, agrl_json_get(j, "reference"), "reference", false, &row->reference);
  return rc;
}

agrl_rc agrl_row_parse(const char *line, size_t len, const char *where, agrl_arena *arena, agrl_row *out,
                       agrl_error *err) {
  if (len > max_line_bytes)
    return agrl_fail(err, AGRL_EPARSE, "%s: the line has %zu bytes, expected at most %d", where, len, max_line_bytes);
  agrl_json *root = NULL;
  agrl_rc rc = agrl_json_parse(line, len, where, &root, err);
  if (rc != AGRL_OK) return rc;
  *out = (agrl_row){0};
  rc = take_row(&(ctx){.where = where, .arena = arena, .err = err}, root, out);
  agrl_json_free(root);
  return rc;
}

// Ids seen so far: a second row of one id would be mixed up with the first by every store that is keyed by it.
typedef struct id_set {
  size_t *slots;  // row index + 1
  size_t mask, n;
} id_set;

static bool id_set_add(id_set *s, const agrl_row *rows, size_t row) {
  if ((s->n + 1) * 2 > s->mask) {
    size_t *old = s->slots, old_mask = s->mask, slots = old ? (old_mask + 1) * 2 : 1024;
    s->slots = agrl_xcalloc(slots, sizeof *s->slots);
    s->mask = slots - 1;
    for (size_t i = 0; old != NULL && i <= old_mask; i++) {
      if (old[i] == 0) continue;
      size_t k = agrl_hash64(rows[old[i] - 1].id, strlen(rows[old[i] - 1].id)) & s->mask;
      while (s->slots[k] != 0) k = (k + 1) & s->mask;
      s->slots[k] = old[i];
    }
    free(old);
  }
  size_t k = agrl_hash64(rows[row].id, strlen(rows[row].id)) & s->mask;
  for (; s->slots[k] != 0; k = (k + 1) & s->mask) {
    if (strcmp(rows[s->slots[k] - 1].id, rows[row].id) == 0) return false;
  }
  s->slots[k] = row + 1;
  s->n++;
  return true;
}

static void note_bad(agrl_dataset *d, agrl_bad_row_fn on_bad, void *user, const char *message) {
  size_t used = strlen(d->first_bad), need = strlen(message) + 1;
  if (used + need < sizeof d->first_bad) {
    memcpy(d->first_bad + used, message, need - 1);
    memcpy(d->first_bad + used + need - 1, "\n", 2);
  }
  d->n_bad++;
  if (on_bad != NULL) on_bad(user, message);
  else if (d->n_bad <= max_logged) agrl_logw("bad row skipped: %s", message);
}

static bool is_blank(const char *s, size_t n) {
  for (size_t i = 0; i < n; i++) {
    if (strchr(" \t\r", s[i]) == NULL || s[i] == '\0') return false;
  }
  return true;
}

static void load_lines(const char *path, const char *text, size_t len, agrl_bad_row_fn on_bad, void *user,
                       agrl_dataset *d) {
  size_t cap = 0, line = 0, at = len >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
  id_set ids = {0};
  agrl_buf where = {0};
  while (at < len) {
    const char *end = memchr(text + at, '\n', len - at);
    size_t n = end ? (size_t)(end - (text + at)) : len - at;
    const char *s = text + at;
    at += n + 1;
    line++;
    if (is_blank(s, n)) continue;
    agrl_buf_clear(&where);
    agrl_buf_addf(&where, "%s:%zu", path, line);
    if (d->n == cap) {
      cap = cap ? cap * 2 : 1024;
      d->rows = agrl_xreallocarray(d->rows, cap, sizeof *d->rows);
    }
    agrl_error why = {0};
    if (agrl_row_parse(s, n, where.data, &d->arena, &d->rows[d->n], &why) != AGRL_OK) {
      note_bad(d, on_bad, user, why.msg);
    } else if (!id_set_add(&ids, d->rows, d->n)) {
      agrl_fail(&why, AGRL_EPARSE, "%s: id \"%.60s\" is given twice, expected a new one", where.data, d->rows[d->n].id);
      note_bad(d, on_bad, user, why.msg);
    } else {
      d->n++;
    }
  }
  free(ids.slots);
  agrl_buf_release(&where);
}

agrl_rc agrl_dataset_load(const char *path, agrl_bad_row_fn on_bad, void *user, agrl_dataset *out, agrl_error *err) {
  agrl_map map;
  *out = (agrl_dataset){0};
  agrl_rc rc = agrl_map_open(&map, path, err);
  if (rc != AGRL_OK) return rc;
  agrl_arena_init(&out->arena, 0);
  load_lines(path, (const char *)map.data, map.len, on_bad, user, out);
  agrl_map_close(&map);
  if (out->n > 0) return AGRL_OK;
  char *first = strtok(out->first_bad, "\n");
  rc = agrl_fail(err, AGRL_EPARSE, "%s: no good row in %zu bad ones%s%s", path, out->n_bad, first ? "; first: " : "",
                 first ? first : "");
  agrl_dataset_release(out);
  return rc;
}

void agrl_dataset_release(agrl_dataset *d) {
  free(d->rows);
  agrl_arena_release(&d->arena);
  *d = (agrl_dataset){0};
}
