// SPDX-License-Identifier: Apache-2.0
// Prompt templates: text with {name} and {name:bytes}. Rendering goes line by line, because a line whose every
// field is absent is left out with its newline.
#include <string.h>

#include "common/base/num.h"
#include "common/text/dataset.h"
#include "common/text/utf8.h"

typedef struct hole {  // a hole in the text: {name} or {name:max_bytes}
  char name[64];
  size_t max_bytes;  // 0: whole
  size_t len;        // bytes of the template it takes, braces counted
} hole;

// s is at '{', not followed by '{'.
static agrl_rc parse_hole(const char *s, hole *h, agrl_error *err) {
  const char *end = strpbrk(s + 1, "}\n");
  if (end == NULL || *end != '}')
    return agrl_fail(err, AGRL_EPARSE, "template: '{' without '}' at \"%.24s\"; write {{ for a brace", s);
  h->len = (size_t)(end - s) + 1;
  size_t n = h->len - 2;
  const char *colon = memchr(s + 1, ':', n);
  size_t name_len = colon ? (size_t)(colon - s) - 1 : n;
  if (name_len >= sizeof h->name || n - name_len >= 16)
    return agrl_fail(err, AGRL_EPARSE, "template: name \"%.24s\" is too long", s);
  memcpy(h->name, s + 1, name_len);
  h->name[name_len] = '\0';
  h->max_bytes = 0;
  if (colon == NULL) return AGRL_OK;
  char digits[16] = "";
  memcpy(digits, colon + 1, n - name_len - 1);
  uint64_t max = 0;
  if (!agrl_parse_u64(digits, &max) || max == 0)
    return agrl_fail(err, AGRL_EPARSE, "template: \"%.24s\": expected {name:bytes}, bytes > 0", s);
  h->max_bytes = (size_t)max;
  return AGRL_OK;
}

static bool is_known(const char *name) {
  static const char *const names[] = {"query", "gold.tier", "gold.category", "gold.attribute", "must", "not"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    if (strcmp(name, names[i]) == 0) return true;
  }
  return strncmp(name, "product.", 8) == 0 && name[8] != '\0';
}

agrl_rc agrl_template_check(const char *tmpl, agrl_error *err) {
  for (const char *s = strchr(tmpl, '{'); s != NULL; s = strchr(s, '{')) {
    if (s[1] == '{') {
      s += 2;
      continue;
    }
    hole h;
    agrl_rc rc = parse_hole(s, &h, err);
    if (rc != AGRL_OK) return rc;
    if (!is_known(h.name)) {
      return agrl_fail(err, AGRL_EPARSE,
                       "template: unknown name {%s}; known: query, product.<member>, gold.tier, gold.category, "
                       "gold.attribute, must, not",
                       h.name);
    }
    s += h.len;
  }
  return AGRL_OK;
}

bool agrl_template_names(const char *tmpl, const char *start, char out[64]) {
  hole h = {.len = 2};
  for (const char *s = strchr(tmpl, '{'); s != NULL; s = strchr(s + h.len, '{')) {
    h = (hole){.len = 2};  // "{{"
    if (s[1] == '{' || parse_hole(s, &h, NULL) != AGRL_OK || strncmp(h.name, start, strlen(start)) != 0) continue;
    memcpy(out, h.name, sizeof h.name);
    return true;
  }
  return false;
}

static void add_list(agrl_buf *out, const char *const *items, size_t n) {
  if (n == 0) agrl_buf_adds(out, "none");
  for (size_t i = 0; i < n; i++) {
    if (i > 0) agrl_buf_adds(out, ", ");
    agrl_buf_adds(out, items[i]);
  }
}

// False: the row has no such member.
static bool add_value(const char *name, const agrl_row *row, agrl_buf *out) {
  const char *text = NULL;
  if (strcmp(name, "query") == 0) text = row->query;
  if (strcmp(name, "gold.category") == 0) text = row->gold.category;
  if (strcmp(name, "gold.attribute") == 0) text = row->gold.attribute;
  if (strcmp(name, "gold.tier") == 0) {
    agrl_buf_addf(out, "%d", row->gold.tier);
    return true;
  }
  if (strcmp(name, "must") == 0 || strcmp(name, "not") == 0) {
    bool must = name[0] == 'm';
    add_list(out, must ? row->must : row->must_not, must ? row->n_must : row->n_not);
    return true;
  }
  for (size_t i = 0; strncmp(name, "product.", 8) == 0 && i < row->n_fields; i++) {
    if (strcmp(row->field_names[i], name + 8) == 0) text = row->field_values[i];
  }
  if (text == NULL || text[0] == '\0') return false;
  agrl_buf_adds(out, text);
  return true;
}

// One line, newline included. Returns false when it had placeholders and none was present.
static bool render_line(const char *s, const char *end, const agrl_row *row, agrl_buf *out) {
  size_t holes = 0, present = 0;
  while (s < end) {
    hole h;
    if (*s != '{' || s[1] == '{' || parse_hole(s, &h, NULL) != AGRL_OK) {
      agrl_buf_addc(out, *s);
      s += *s == '{' && s[1] == '{' ? 2 : 1;
      continue;
    }
    size_t start = out->len;
    holes++;
    present += add_value(h.name, row, out);
    if (h.max_bytes > 0 && out->len > start) {
      size_t len = agrl_utf8_cut(out->data + start, out->len - start, h.max_bytes);
      out->len = start + len;
      out->data[out->len] = '\0';
    }
    s += h.len;
  }
  return holes == 0 || present > 0;
}

void agrl_template_render(const char *tmpl, const agrl_row *row, agrl_buf *out) {
  while (*tmpl != '\0') {
    const char *nl = strchr(tmpl, '\n'), *end = nl ? nl + 1 : tmpl + strlen(tmpl);
    size_t start = out->len;
    if (!render_line(tmpl, end, row, out)) {
      out->len = start;
      if (out->data != NULL) out->data[start] = '\0';
    }
    tmpl = end;
  }
}
