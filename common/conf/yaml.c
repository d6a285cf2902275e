// SPDX-License-Identifier: Apache-2.0
// YAML tree from libyaml's events. What makes YAML surprising is refused with its place: anchors, aliases, tags,
// directives, a second document, duplicate keys, keys that are not scalars. An empty document is an empty map.
#include "common/conf/yaml.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "common/base/buf.h"
#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/base/num.h"
#include "common/conf/bind.h"

enum { MAX_BYTES = 1 << 20, MAX_DEPTH = 32, MAX_NODES = 1 << 16, MAX_KEYS = 4096 };

typedef struct reader {
  yaml_parser_t parser;
  const char *file;
  size_t nodes;
  agrl_error *err;
} reader;

static agrl_rc fail_at(reader *r, yaml_mark_t at, const char *what) {
  return agrl_fail(r->err, AGRL_ECONFIG, "%s:%zu:%zu: %s", r->file, at.line + 1, at.column + 1, what);
}

static agrl_rc next_event(reader *r, yaml_event_t *ev) {
  if (yaml_parser_parse(&r->parser, ev)) return AGRL_OK;
  const yaml_parser_t *p = &r->parser;
  char what[200];
  snprintf(what, sizeof what, "%s%s%s", p->problem ? p->problem : "not YAML", p->context ? ", " : "", p->context ? p->context : "");
  yaml_mark_t at = p->problem_mark;
  if (p->error == YAML_READER_ERROR) at = p->mark;
  return fail_at(r, at, what);
}

static agrl_rc refuse_decoration(reader *r, const yaml_event_t *ev) {
  const yaml_char_t *anchor = NULL, *tag = NULL;
  if (ev->type == YAML_SCALAR_EVENT) anchor = ev->data.scalar.anchor, tag = ev->data.scalar.tag;
  if (ev->type == YAML_SEQUENCE_START_EVENT) anchor = ev->data.sequence_start.anchor, tag = ev->data.sequence_start.tag;
  if (ev->type == YAML_MAPPING_START_EVENT) anchor = ev->data.mapping_start.anchor, tag = ev->data.mapping_start.tag;
  if (ev->type == YAML_ALIAS_EVENT) return fail_at(r, ev->start_mark, "aliases (*name) are not supported; write the value out");
  if (anchor) return fail_at(r, ev->start_mark, "anchors (&name) are not supported; write the value out");
  if (tag) return fail_at(r, ev->start_mark, "tags (!name) are not supported; remove it");
  return AGRL_OK;
}

static agrl_yaml *new_node(reader *r, agrl_yaml_type type, yaml_mark_t at) {
  agrl_yaml *y = agrl_xcalloc(1, sizeof *y);
  *y = (agrl_yaml){.type = type, .line = (int)at.line + 1, .column = (int)at.column + 1, .file = r->file};
  return y;
}

static void free_node(agrl_yaml *y) {
  if (!y) return;
  for (size_t i = 0; i < y->n; i++) {
    if (y->keys) free(y->keys[i]);
    free_node(y->items[i]);
  }
  free(y->keys);
  free(y->items);
  free(y->text);
  free(y);
}

static agrl_rc read_node(reader *r, yaml_event_t *ev, int depth, agrl_yaml **out);

static agrl_rc read_scalar(reader *r, const yaml_event_t *ev, agrl_yaml **out) {
  const char *text = (const char *)ev->data.scalar.value;
  size_t len = ev->data.scalar.length;
  if (memchr(text, 0, len)) return fail_at(r, ev->start_mark, "text may not contain a NUL");
  agrl_yaml *y = new_node(r, AGRL_YAML_SCALAR, ev->start_mark);
  y->text = agrl_xstrndup(text, len);
  y->quoted = ev->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
  *out = y;
  return AGRL_OK;
}

// Makes room for one more child (capacities are powers of two, so n tells when to grow).
static void grow(agrl_yaml *y) {
  if (y->n & (y->n - 1)) return;
  size_t cap = y->n ? y->n * 2 : 1;
  y->items = agrl_xreallocarray(y->items, cap, sizeof *y->items);
  if (y->type == AGRL_YAML_MAP) y->keys = agrl_xreallocarray(y->keys, cap, sizeof *y->keys);
}

static agrl_rc read_seq(reader *r, agrl_yaml *y, int depth) {
  for (;;) {
    yaml_event_t ev;
    agrl_rc rc = next_event(r, &ev);
    if (rc) return rc;
    bool end = ev.type == YAML_SEQUENCE_END_EVENT;
    agrl_yaml *item = NULL;
    if (!end) rc = read_node(r, &ev, depth + 1, &item);
    yaml_event_delete(&ev);
    if (rc || end) return rc;
    grow(y);
    y->items[y->n++] = item;
  }
}

static agrl_rc check_key(reader *r, const agrl_yaml *map, const yaml_event_t *ev) {
  if (ev->type != YAML_SCALAR_EVENT) return fail_at(r, ev->start_mark, "a key must be plain text");
  const char *key = (const char *)ev->data.scalar.value;
  if (memchr(key, 0, ev->data.scalar.length)) return fail_at(r, ev->start_mark, "a key may not contain a NUL");
  if (map->n == MAX_KEYS) return fail_at(r, ev->start_mark, "too many keys in one map");
  for (size_t i = 0; i < map->n; i++) {
    if (strcmp(map->keys[i], key) != 0) continue;
    char what[200];
    snprintf(what, sizeof what, "key \"%.100s\" is here twice; it stands at line %d already", key, map->items[i]->line);
    return fail_at(r, ev->start_mark, what);
  }
  return AGRL_OK;
}

static agrl_rc read_pair(reader *r, agrl_yaml *map, const yaml_event_t *key, int depth) {
  agrl_rc rc = refuse_decoration(r, key);
  if (!rc) rc = check_key(r, map, key);
  if (rc) return rc;
  yaml_event_t ev;
  if ((rc = next_event(r, &ev))) return rc;
  agrl_yaml *item = NULL;
  rc = read_node(r, &ev, depth + 1, &item);
  yaml_event_delete(&ev);
  if (rc) return rc;
  grow(map);
  map->keys[map->n] = agrl_xstrdup((const char *)key->data.scalar.value);
  map->items[map->n++] = item;
  return AGRL_OK;
}

static agrl_rc read_map(reader *r, agrl_yaml *y, int depth) {
  for (;;) {
    yaml_event_t ev;
    agrl_rc rc = next_event(r, &ev);
    if (rc) return rc;
    bool end = ev.type == YAML_MAPPING_END_EVENT;
    if (!end) rc = read_pair(r, y, &ev, depth);
    yaml_event_delete(&ev);
    if (rc || end) return rc;
  }
}

static agrl_rc read_node(reader *r, yaml_event_t *ev, int depth, agrl_yaml **out) {
  agrl_rc rc = refuse_decoration(r, ev);
  if (rc) return rc;
  if (depth > MAX_DEPTH) return fail_at(r, ev->start_mark, "nested too deep");
  if (++r->nodes > MAX_NODES) return fail_at(r, ev->start_mark, "too many values");
  if (ev->type == YAML_SCALAR_EVENT) return read_scalar(r, ev, out);
  bool map = ev->type == YAML_MAPPING_START_EVENT;
  agrl_yaml *y = new_node(r, map ? AGRL_YAML_MAP : AGRL_YAML_SEQ, ev->start_mark);
  rc = map ? read_map(r, y, depth) : read_seq(r, y, depth);
  if (rc) free_node(y);
  else *out = y;
  return rc;
}

// Reads the whole stream: the root node, and around it only the events that carry nothing.
static agrl_rc read_root(reader *r, agrl_yaml **out) {
  for (;;) {
    yaml_event_t ev;
    agrl_rc rc = next_event(r, &ev);
    if (rc) return rc;
    yaml_event_type_t type = ev.type;
    if (type == YAML_DOCUMENT_START_EVENT) {
      const yaml_tag_directive_t *tags = ev.data.document_start.tag_directives.start;
      if (ev.data.document_start.version_directive || (tags && tags != ev.data.document_start.tag_directives.end)) {
        rc = fail_at(r, ev.start_mark, "directives (%YAML, %TAG) are not supported");
      } else if (*out) {
        rc = fail_at(r, ev.start_mark, "a second document is not supported");
      }
    } else if (type != YAML_STREAM_START_EVENT && type != YAML_DOCUMENT_END_EVENT && type != YAML_STREAM_END_EVENT) {
      rc = read_node(r, &ev, 0, out);
    }
    yaml_event_delete(&ev);
    if (rc || type == YAML_STREAM_END_EVENT) return rc;
  }
}

agrl_rc agrl_yaml_parse(const char *text, size_t len, const char *name, agrl_yaml **out, agrl_error *err) {
  *out = NULL;
  if (len > MAX_BYTES) return agrl_fail(err, AGRL_ELIMIT, "%s: larger than %d bytes", name, MAX_BYTES);
  char *file = agrl_xstrdup(name);
  reader r = {.file = file, .err = err};
  if (!yaml_parser_initialize(&r.parser)) {
    free(file);
    return agrl_fail(err, AGRL_ENOMEM, "%s: cannot start the YAML parser", name);
  }
  yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
  yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, len);
  agrl_yaml *root = NULL;
  agrl_rc rc = read_root(&r, &root);
  yaml_parser_delete(&r.parser);
  if (!rc && (!root || (root->type == AGRL_YAML_SCALAR && !root->quoted && !root->text[0]))) {
    free_node(root);
    root = new_node(&r, AGRL_YAML_MAP, (yaml_mark_t){0});
  }
  if (rc) {
    free_node(root);
    free(file);
    return rc;
  }
  *out = root;
  return AGRL_OK;
}

agrl_rc agrl_yaml_load(const char *path, agrl_yaml **out, agrl_error *err) {
  *out = NULL;
  agrl_buf text = {0};
  agrl_rc rc = agrl_file_read(path, MAX_BYTES, &text, err);
  if (!rc) rc = agrl_yaml_parse(text.data ? text.data : "", text.len, path, out, err);
  agrl_buf_release(&text);
  return rc;
}

void agrl_yaml_free(agrl_yaml *root) {
  if (!root) return;
  char *file = (char *)(uintptr_t)root->file;  // the one copy all nodes borrow
  free_node(root);
  free(file);
}

const agrl_yaml *agrl_yaml_get(const agrl_yaml *map, const char *key) {
  if (!map || map->type != AGRL_YAML_MAP) return NULL;
  for (size_t i = 0; i < map->n; i++) {
    if (strcmp(map->keys[i], key) == 0) return map->items[i];
  }
  return NULL;
}

const char *agrl_yaml_str(const agrl_yaml *scalar) { return scalar && scalar->type == AGRL_YAML_SCALAR ? scalar->text : NULL; }

// The text of an unquoted scalar: "5" in quotes is text, not a number.
static const char *plain(const agrl_yaml *y) { return y && y->type == AGRL_YAML_SCALAR && !y->quoted ? y->text : NULL; }

bool agrl_yaml_f64(const agrl_yaml *scalar, double *out) { return plain(scalar) && agrl_parse_f64(scalar->text, out); }

bool agrl_yaml_i64(const agrl_yaml *scalar, long long *out) {
  int64_t v;
  if (!plain(scalar) || !agrl_parse_i64(scalar->text, &v)) return false;
  *out = v;
  return true;
}

bool agrl_yaml_bool(const agrl_yaml *scalar, bool *out) {
  const char *s = plain(scalar);
  if (!s || (strcmp(s, "true") != 0 && strcmp(s, "false") != 0)) return false;
  *out = s[0] == 't';
  return true;
}

agrl_rc agrl_yaml_fail(const agrl_yaml *at, agrl_error *err, const char *fmt, ...) {
  char what[400];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(what, sizeof what, fmt, ap);
  va_end(ap);
  if (!at) return agrl_fail(err, AGRL_ECONFIG, "%s", what);
  return agrl_fail(err, AGRL_ECONFIG, "%s:%d:%d: %s", at->file, at->line, at->column, what);
}

agrl_rc agrl_yaml_only(const agrl_yaml *map, const char *const *allowed, agrl_error *err) {
  if (!map || map->type != AGRL_YAML_MAP) return agrl_yaml_fail(map, err, "expected a map of keys and values");
  size_t n = 0;
  while (allowed[n]) n++;
  for (size_t i = 0; i < map->n; i++) {
    bool found = false;
    for (size_t k = 0; k < n && !found; k++) found = strcmp(map->keys[i], allowed[k]) == 0;
    if (found) continue;
    const char *near = agrl_conf_nearest(map->keys[i], allowed, n);
    if (near) return agrl_yaml_fail(map->items[i], err, "unknown key \"%.80s\"; did you mean \"%s\"?", map->keys[i], near);
    agrl_buf known = {0};
    for (size_t k = 0; k < n; k++) agrl_buf_addf(&known, "%s%s", k ? ", " : "", allowed[k]);
    agrl_rc rc = agrl_yaml_fail(map->items[i], err, "unknown key \"%.80s\"; expected one of %s", map->keys[i], known.data ? known.data : "none");
    agrl_buf_release(&known);
    return rc;
  }
  return AGRL_OK;
}
