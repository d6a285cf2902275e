// SPDX-License-Identifier: Apache-2.0
// Resolves the text tables into a data_world, once. A name that is not in its table is a bug of the tables.
#include "deploy/data/world.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/base/bug.h"
#include "deploy/data/tables.h"

bool data_set_has(const data_set *s, int value) { return (s->w[value / 64] >> (value % 64) & 1) != 0; }
void data_set_add(data_set *s, int value) { s->w[value / 64] |= UINT64_C(1) << (value % 64); }

static void split_forms(const char *text, data_forms *f) {
  for (const char *s = text; *s != '\0';) {
    size_t n = strcspn(s, "|");
    AGRL_ASSERT(f->n < data_max_forms && n < sizeof f->text[0]);
    memcpy(f->text[f->n], s, n);
    f->text[f->n++][n] = '\0';
    s += n + (s[n] == '|');
  }
}

static int find_value(const data_world *w, const char *name, size_t len) {
  for (size_t i = 0; i < w->n_values; i++) {
    const char *canon = w->values[i].forms.text[0];
    if (strlen(canon) == len && memcmp(canon, name, len) == 0) return (int)i;
  }
  AGRL_BUG("tables.c: value \"%.*s\" is not in data_value_rows", (int)len, name);
}

static data_set parse_set(const data_world *w, const char *list) {
  data_set set = {{0}};
  for (const char *s = list; *s != '\0';) {
    size_t n = strcspn(s, ",");
    data_set_add(&set, find_value(w, s, n));
    s += n + (s[n] == ',');
  }
  return set;
}

static void build_types(data_world *w) {
  for (size_t i = 0; i < w->n_values; i++) w->values[i].type = -1;
  w->n_types = data_n_type_rows;
  AGRL_ASSERT(w->n_types <= data_max_types);
  for (size_t t = 0; t < w->n_types; t++) {
    const data_type_row *row = &data_type_rows[t];
    w->types[t] = (data_type){.name = row->name,
                              .exclusive = strchr(row->flags, 'e') != NULL,
                              .deniable = strchr(row->flags, 'd') != NULL,
                              .ingredient = strchr(row->flags, 'i') != NULL,
                              .values = parse_set(w, row->values)};
    for (size_t v = 0; v < w->n_values; v++) {
      if (w->values[v].type < 0 && data_set_has(&w->types[t].values, (int)v)) w->values[v].type = (int)t;
    }
  }
}

static void build_leaves(data_world *w) {
  w->n_leaves = data_n_leaf_rows;
  AGRL_ASSERT(w->n_leaves <= data_max_leaves);
  for (size_t i = 0; i < w->n_leaves; i++) {
    const data_leaf_row *row = &data_leaf_rows[i];
    data_leaf *leaf = &w->leaves[i];
    if (w->n_departments == 0 || strcmp(w->departments[w->n_departments - 1], row->department) != 0) {
      AGRL_ASSERT(w->n_departments < data_max_departments);
      w->departments[w->n_departments++] = row->department;
    }
    leaf->department = (int)w->n_departments - 1;
    split_forms(row->forms, &leaf->forms);
    for (const char *s = row->types; *s != '\0';) {
      size_t n = strcspn(s, ","), t = 0;
      while (t < w->n_types && (strlen(w->types[t].name) != n || memcmp(w->types[t].name, s, n) != 0)) t++;
      AGRL_ASSERT(t < w->n_types);
      leaf->types |= 1u << t;
      for (int k = 0; k < 2; k++) leaf->values.w[k] |= w->types[t].values.w[k];
      s += n + (s[n] == ',');
    }
  }
}

static data_world the_world;

static void build(void) {
  data_world *w = &the_world;
  w->n_values = data_n_value_rows;
  AGRL_ASSERT(w->n_values <= data_max_values);
  for (size_t i = 0; i < w->n_values; i++) {
    split_forms(data_value_rows[i].forms, &w->values[i].forms);
    split_forms(data_value_rows[i].needs, &w->values[i].needs);
  }
  build_types(w);
  build_leaves(w);
  AGRL_ASSERT(w->n_leaves == data_max_leaves && w->n_departments == data_max_departments);
  for (size_t i = 0; i < w->n_leaves; i++) {  // sample.c counts on this order
    AGRL_ASSERT(w->leaves[i].department == (int)(i / (data_max_leaves / data_max_departments)));
  }
  w->n_properties = data_n_property_rows;
  AGRL_ASSERT(w->n_properties <= data_max_properties);
  for (size_t i = 0; i < w->n_properties; i++) {
    w->properties[i].name = data_property_rows[i].name;
    split_forms(data_property_rows[i].phrases, &w->properties[i].phrases);
    w->properties[i].values = parse_set(w, data_property_rows[i].values);
  }
  for (size_t i = 0; i < data_n_brands; i++) {
    snprintf(w->brands[i], sizeof w->brands[i], "%s%s", data_brand_heads[i / 12], data_brand_tails[i % 12]);
  }
}

const data_world *data_world_get(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, build);
  return &the_world;
}
