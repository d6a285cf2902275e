// SPDX-License-Identifier: Apache-2.0
// Table binder: reading. One function per direction: text -> field (with the reason when it cannot be), tree -> fields.
// Writing (dump, reload check) is bind_dump.c.
#include "common/conf/bind.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bug.h"
#include "common/base/mem.h"
#include "common/base/num.h"
#include "common/conf/bind_field.h"

enum { WHY_BYTES = 320, MAX_PATH = 128 };

// --- text -> field -----------------------------------------------------------------------------------------------

static bool in_range(const agrl_conf_key *k, double v, char *why) {
  if (k->min == k->max || (v >= k->min && v <= k->max)) return true;
  char lo[40], hi[40];
  conf_field_range_text(k, k->min, lo, sizeof lo);
  conf_field_range_text(k, k->max, hi, sizeof hi);
  snprintf(why, WHY_BYTES, "out of range, %s to %s", lo, hi);
  return false;
}

static bool set_bool(void *field, const char *text, char *why) {
  bool yes = strcmp(text, "true") == 0;
  if (!yes && strcmp(text, "false") != 0) {
    snprintf(why, WHY_BYTES, "expected true or false");
    return false;
  }
  *(bool *)field = yes;
  return true;
}

static bool set_enum(const agrl_conf_key *k, void *field, const char *text, char *why) {
  size_t n = 0, used;
  for (; k->choices[n]; n++) {
    if (strcmp(k->choices[n], text) == 0) {
      *(int *)field = (int)n;
      return true;
    }
  }
  used = (size_t)snprintf(why, WHY_BYTES, "expected one of");
  for (size_t i = 0; i < n && used < WHY_BYTES; i++) used += (size_t)snprintf(why + used, WHY_BYTES - used, " %s", k->choices[i]);
  const char *near = agrl_conf_nearest(text, k->choices, n);
  if (near && used < WHY_BYTES) snprintf(why + used, WHY_BYTES - used, "; did you mean %s?", near);
  return false;
}

static bool set_number(const agrl_conf_key *k, void *field, const char *text, char *why) {
  int64_t i = 0;
  double d = 0;
  uint64_t u = 0;
  switch (k->type) {
    case AGRL_CONF_INT:
      if (!agrl_parse_i64(text, &i)) return snprintf(why, WHY_BYTES, "expected a whole number"), false;
      if (!in_range(k, (double)i, why)) return false;
      *(int64_t *)field = i;
      return true;
    case AGRL_CONF_REAL:
      if (!agrl_parse_f64(text, &d)) return snprintf(why, WHY_BYTES, "expected a number"), false;
      if (!in_range(k, d, why)) return false;
      *(double *)field = d;
      return true;
    case AGRL_CONF_BYTES:
      if (!agrl_parse_bytes(text, &u)) return snprintf(why, WHY_BYTES, "expected a size such as 64MiB"), false;
      if (!in_range(k, (double)u, why)) return false;
      *(uint64_t *)field = u;
      return true;
    case AGRL_CONF_DURATION:
      if (!agrl_parse_duration_ns(text, &u)) return snprintf(why, WHY_BYTES, "expected a duration such as 250ms, 10s or 5m"), false;
      if (!in_range(k, (double)u * 1e-9, why)) return false;
      *(uint64_t *)field = u;
      return true;
    default: AGRL_BUG("%s: not a number", k->path);
  }
}

// The UTF-8 character at *s, which is moved past it; 0 when it is malformed (or the end). A NUL stops every step.
static uint32_t next_char(const unsigned char **s) {
  const unsigned char *p = *s;
  int more = p[0] < 0x80 ? 0 : p[0] >= 0xC2 && p[0] < 0xE0 ? 1 : p[0] >= 0xE0 && p[0] < 0xF0 ? 2 : p[0] >= 0xF0 && p[0] < 0xF5 ? 3 : -1;
  static const uint32_t mask[] = {0x7F, 0x1F, 0x0F, 0x07}, least_of[] = {0, 0x80, 0x800, 0x10000};
  if (more < 0) return 0;
  uint32_t c = p[0] & mask[more];
  for (int i = 1; i <= more; i++) {
    if ((p[i] & 0xC0) != 0x80) return 0;
    c = c << 6 | (p[i] & 0x3F);
  }
  *s = p + more + 1;
  return c < least_of[more] || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000) ? 0 : c;
}

// Text that can stand in a file and a log line: UTF-8 without control characters, line breaks and byte-order marks.
static bool set_string(void *field, const char *text, char *why) {
  for (const unsigned char *s = (const unsigned char *)text; *s;) {
    uint32_t c = next_char(&s);
    if (c >= 0x20 && !(c >= 0x7F && c < 0xA0) && c != 0x2028 && c != 0x2029 && c != 0xFEFF && (c & 0xFFFE) != 0xFFFE) continue;
    snprintf(why, WHY_BYTES, "has a control character or is not UTF-8");
    return false;
  }
  free(*(char **)field);
  *(char **)field = agrl_xstrdup(text);
  return true;
}

static bool set_field(const agrl_conf_key *k, void *out, const char *text, char *why) {
  void *field = conf_field(k, out);
  switch (k->type) {
    case AGRL_CONF_BOOL: return set_bool(field, text, why);
    case AGRL_CONF_ENUM: return set_enum(k, field, text, why);
    case AGRL_CONF_STRING:
    case AGRL_CONF_LIST: return set_string(field, text, why);
    default: return set_number(k, field, text, why);
  }
}

static bool is_text(const agrl_conf_key *k) { return k->type == AGRL_CONF_STRING || k->type == AGRL_CONF_LIST; }

void agrl_conf_defaults(const agrl_conf_key *table, size_t n, void *out) {
  char why[WHY_BYTES];
  for (size_t i = 0; i < n; i++) {
    if (is_text(&table[i])) *(char **)conf_field(&table[i], out) = NULL;
    if (!set_field(&table[i], out, table[i].def, why)) AGRL_BUG("default of %s: \"%s\": %s", table[i].path, table[i].def, why);
  }
}

void agrl_conf_release(const agrl_conf_key *table, size_t n, void *out) {
  for (size_t i = 0; i < n; i++) {
    if (!is_text(&table[i])) continue;
    char **s = conf_field(&table[i], out);
    free(*s);
    *s = NULL;
  }
}

// --- names -------------------------------------------------------------------------------------------------------

static size_t least(size_t a, size_t b, size_t c) {
  size_t m = a < b ? a : b;
  return m < c ? m : c;
}

// Levenshtein distance of words up to 63 bytes; larger ones are far from everything.
static size_t distance(const char *a, const char *b) {
  enum { MOST = 64 };
  size_t la = strlen(a), lb = strlen(b), row[MOST];
  if (la >= MOST || lb >= MOST) return MOST;
  for (size_t j = 0; j <= lb; j++) row[j] = j;
  for (size_t i = 1; i <= la; i++) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= lb; j++) {
      size_t above = row[j];
      row[j] = least(row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
      diagonal = above;
    }
  }
  return row[lb];
}

const char *agrl_conf_nearest(const char *word, const char *const *candidates, size_t n) {
  const char *best = NULL;
  size_t limit = strlen(word) / 3 + 1, best_distance = limit + 1;
  for (size_t i = 0; i < n; i++) {
    size_t d = distance(word, candidates[i]);
    if (d < best_distance) best_distance = d, best = candidates[i];
  }
  return best;
}

static const agrl_conf_key *find(const agrl_conf_key *table, size_t n, const char *path) {
  for (size_t i = 0; i < n; i++) {
    if (strcmp(table[i].path, path) == 0) return &table[i];
  }
  return NULL;
}

static bool is_section(const agrl_conf_key *table, size_t n, const char *path) {
  size_t len = strlen(path);
  for (size_t i = 0; i < n; i++) {
    if (strncmp(table[i].path, path, len) == 0 && table[i].path[len] == '.') return true;
  }
  return false;
}

// The known paths nearest to an unknown one: the keys of the same last name in other sections, or the key or section that
// is spelled most like it. Into near; false when nothing is near.
static bool nearest_path(const agrl_conf_key *table, size_t n, const char *path, char near[MAX_PATH]) {
  const char **words = agrl_xcalloc(2 * n + 1, sizeof *words);
  char **sections = agrl_xcalloc(n + 1, sizeof *sections);
  for (size_t i = 0; i < n; i++) {
    words[i] = table[i].path;
    words[n + i] = sections[i] = agrl_xstrndup(table[i].path, strcspn(table[i].path, "."));
  }
  const char *dot = strrchr(path, '.'), *last = dot ? dot + 1 : path;
  size_t len = 0;
  for (size_t i = 0; i < n; i++) {
    const char *other = strrchr(table[i].path, '.');
    if (other && strcmp(other + 1, last) == 0 && len < MAX_PATH) len += (size_t)snprintf(near + len, MAX_PATH - len, "%s%s", len ? " or " : "", table[i].path);
  }
  const char *best = len ? NULL : agrl_conf_nearest(path, words, 2 * n);
  if (best) snprintf(near, MAX_PATH, "%s", best);
  for (size_t i = 0; i < n; i++) free(sections[i]);
  free(sections);
  free(words);
  return len > 0 || best != NULL;
}

// --- tree -> fields ----------------------------------------------------------------------------------------------

typedef struct binder {
  const agrl_conf_key *table;
  size_t n;
  void *out;
  const agrl_yaml **from;  // by row: where it was given, or NULL
  agrl_error *err;
} binder;

static bool is_empty(const agrl_yaml *y) { return y->type == AGRL_YAML_SCALAR && !y->quoted && !y->text[0]; }

// A YAML list of words becomes one text with commas between.
static agrl_rc bind_list(const binder *b, const agrl_conf_key *k, const agrl_yaml *list) {
  char why[WHY_BYTES];
  agrl_buf text = {0};
  agrl_rc rc = AGRL_OK;
  for (size_t i = 0; !rc && i < list->n; i++) {
    const agrl_yaml *y = list->items[i];
    if (y->type != AGRL_YAML_SCALAR || !y->text[0] || strchr(y->text, ',')) rc = agrl_yaml_fail(y, b->err, "%s: expected a list of words", k->path);
    else agrl_buf_addf(&text, "%s%s", i ? "," : "", y->text);
  }
  agrl_buf_addc(&text, '\0');
  if (!rc && !set_field(k, b->out, text.data, why)) rc = agrl_yaml_fail(list, b->err, "%s: \"%.80s\": %s", k->path, text.data, why);
  agrl_buf_release(&text);
  return rc;
}

static agrl_rc bind_value(const binder *b, const agrl_conf_key *k, const agrl_yaml *y) {
  char why[WHY_BYTES];
  const agrl_yaml **from = &b->from[k - b->table];
  // "run.seed: 1" beside "run: {seed: 2}" is one key twice, though no map has two of one name.
  if (*from) return agrl_yaml_fail(y, b->err, "key \"%s\" is here twice; it stands at line %d already", k->path, (*from)->line);
  *from = y;
  if (k->type == AGRL_CONF_LIST && y->type == AGRL_YAML_SEQ) return bind_list(b, k, y);
  if (y->type != AGRL_YAML_SCALAR) return agrl_yaml_fail(y, b->err, "%s: expected one value, not a list or map", k->path);
  if (is_empty(y) && !is_text(k)) return agrl_yaml_fail(y, b->err, "%s: has no value; remove the line for the default %s", k->path, k->def);
  bool wants_plain = k->type == AGRL_CONF_INT || k->type == AGRL_CONF_REAL || k->type == AGRL_CONF_BOOL;
  if (y->quoted && wants_plain) return agrl_yaml_fail(y, b->err, "%s: \"%.80s\" is in quotes, which makes it text; remove them", k->path, y->text);
  if (!set_field(k, b->out, y->text, why)) return agrl_yaml_fail(y, b->err, "%s: \"%.80s\": %s", k->path, y->text, why);
  return AGRL_OK;
}

static agrl_rc bind_map(const binder *b, const agrl_yaml *map, const char *prefix) {
  for (size_t i = 0; i < map->n; i++) {
    const agrl_yaml *item = map->items[i];
    char path[MAX_PATH], near[MAX_PATH];
    int len = snprintf(path, sizeof path, "%s%s%s", prefix, *prefix ? "." : "", map->keys[i]);
    bool fits = len > 0 && len < MAX_PATH;
    const agrl_conf_key *key = fits ? find(b->table, b->n, path) : NULL;
    agrl_rc rc = AGRL_OK;
    if (key) rc = bind_value(b, key, item);
    else if (fits && is_section(b->table, b->n, path)) {
      if (item->type == AGRL_YAML_MAP) rc = bind_map(b, item, path);
      else if (!is_empty(item)) rc = agrl_yaml_fail(item, b->err, "%s: is a section; its keys stand indented below it", path);
    } else if (nearest_path(b->table, b->n, path, near)) {
      rc = agrl_yaml_fail(item, b->err, "unknown key %.100s; did you mean %s?", path, near);
    } else {
      rc = agrl_yaml_fail(item, b->err, "unknown key %.100s", path);
    }
    if (rc) return rc;
  }
  return AGRL_OK;
}

agrl_rc agrl_conf_bind(const agrl_conf_key *table, size_t n, const agrl_yaml *root, void *out, agrl_error *err) {
  if (root->type != AGRL_YAML_MAP) return agrl_yaml_fail(root, err, "expected sections with keys, as \"run:\" and below it \"  seed: 1\"");
  binder b = {table, n, out, agrl_xcalloc(n, sizeof *b.from), err};
  agrl_rc rc = bind_map(&b, root, "");
  free(b.from);
  return rc;
}

agrl_rc agrl_conf_set(const agrl_conf_key *table, size_t n, void *out, const char *path, const char *value, agrl_error *err) {
  char why[WHY_BYTES], near[MAX_PATH];
  const agrl_conf_key *k = find(table, n, path);
  if (!k && nearest_path(table, n, path, near)) return agrl_fail(err, AGRL_ECONFIG, "unknown key %.100s; did you mean %s?", path, near);
  if (!k) return agrl_fail(err, AGRL_ECONFIG, "unknown key %.100s", path);
  if (!set_field(k, out, value, why)) return agrl_fail(err, AGRL_ECONFIG, "%s: \"%.80s\": %s", path, value, why);
  return AGRL_OK;
}
