// SPDX-License-Identifier: Apache-2.0
// JSON: whatever the reader accepts, the writer writes, and that reads back as the same tree.
#include "common/base/bug.h"
#include "common/base/json.h"

#include <string.h>

int agrl_fuzz_base_json(const uint8_t *data, size_t size);

static void write_node(agrl_jw *w, const agrl_json *j) {
  const char *s;
  size_t n;
  int64_t i;
  double d;
  bool b;
  switch (agrl_json_typeof(j)) {
    case AGRL_JSON_NULL: agrl_jw_null(w); return;
    case AGRL_JSON_BOOL: AGRL_ASSERT(agrl_json_bool(j, &b)), agrl_jw_bool(w, b); return;
    case AGRL_JSON_INT: AGRL_ASSERT(agrl_json_i64(j, &i)), agrl_jw_i64(w, i); return;
    case AGRL_JSON_REAL: AGRL_ASSERT(agrl_json_f64(j, &d)), agrl_jw_f64(w, d); return;
    case AGRL_JSON_STRING: AGRL_ASSERT(agrl_json_str(j, &s, &n)), agrl_jw_strn(w, s, n); return;
    case AGRL_JSON_ARRAY:
      agrl_jw_arr(w);
      for (size_t k = 0; k < agrl_json_len(j); k++) write_node(w, agrl_json_at(j, k));
      agrl_jw_end_arr(w);
      return;
    case AGRL_JSON_OBJECT:
      agrl_jw_obj(w);
      for (void *it = agrl_json_first(j); it; it = agrl_json_next(j, it)) {
        agrl_jw_key(w, agrl_json_key(it));
        write_node(w, agrl_json_value(it));
      }
      agrl_jw_end_obj(w);
      return;
  }
}

static bool same(const agrl_json *a, const agrl_json *b);

static bool same_members(const agrl_json *a, const agrl_json *b) {
  void *ia = agrl_json_first(a), *ib = agrl_json_first(b);
  for (; ia && ib; ia = agrl_json_next(a, ia), ib = agrl_json_next(b, ib)) {
    if (strcmp(agrl_json_key(ia), agrl_json_key(ib)) != 0 || !same(agrl_json_value(ia), agrl_json_value(ib))) return false;
  }
  return !ia && !ib;
}

// Numbers compare by value: 3.0 is written as 3.
static bool same(const agrl_json *a, const agrl_json *b) {
  double x, y;
  if (agrl_json_f64(a, &x)) return agrl_json_f64(b, &y) && x == y;
  if (agrl_json_typeof(a) != agrl_json_typeof(b) || agrl_json_len(a) != agrl_json_len(b)) return false;
  const char *s, *t;
  size_t n, m;
  bool p, q;
  if (agrl_json_str(a, &s, &n)) return agrl_json_str(b, &t, &m) && n == m && memcmp(s, t, n) == 0;
  if (agrl_json_bool(a, &p)) return agrl_json_bool(b, &q) && p == q;
  if (agrl_json_typeof(a) == AGRL_JSON_OBJECT) return same_members(a, b);
  for (size_t k = 0; k < agrl_json_len(a); k++) {
    if (!same(agrl_json_at(a, k), agrl_json_at(b, k))) return false;
  }
  return true;
}

static int depth_of(const agrl_json *j) {
  int deepest = 0;
  for (size_t k = 0; agrl_json_typeof(j) == AGRL_JSON_ARRAY && k < agrl_json_len(j); k++) {
    int d = depth_of(agrl_json_at(j, k));
    if (d > deepest) deepest = d;
  }
  for (void *it = agrl_json_first(j); it; it = agrl_json_next(j, it)) {
    int d = depth_of(agrl_json_value(it));
    if (d > deepest) deepest = d;
  }
  return deepest + 1;
}

// The writer takes any bytes as text and makes valid JSON of it.
static void write_as_text(const uint8_t *data, size_t size) {
  agrl_buf out = {0};
  agrl_jw w;
  agrl_jw_init(&w, &out);
  agrl_jw_strn(&w, (const char *)data, size);
  agrl_json *back;
  // A NUL inside is written as \u0000, which the strict reader refuses.
  agrl_rc rc = agrl_json_parse(out.data, out.len, "text", &back, NULL);
  AGRL_ASSERT((rc == AGRL_OK) == (size == 0 || !memchr(data, 0, size)));
  agrl_json_free(back);
  agrl_buf_release(&out);
}

int agrl_fuzz_base_json(const uint8_t *data, size_t size) {
  write_as_text(data, size);
  agrl_json *tree, *back;
  agrl_error err;
  if (agrl_json_parse((const char *)data, size, "fuzz", &tree, &err) != AGRL_OK) {
    AGRL_ASSERT(!tree && err.msg[0]);
    return 0;
  }
  if (depth_of(tree) <= 32) {  // the writer's own bound
    agrl_buf out = {0};
    agrl_jw w;
    agrl_jw_init(&w, &out);
    write_node(&w, tree);
    AGRL_ASSERT(agrl_json_parse(out.data, out.len, "again", &back, &err) == AGRL_OK);
    AGRL_ASSERT(same(tree, back));
    agrl_json_free(back);
    agrl_buf_release(&out);
  }
  agrl_json_free(tree);
  return 0;
}
