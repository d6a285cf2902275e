// SPDX-License-Identifier: Apache-2.0
// Draws queries and products, and judges a pair of them by the rules of world.h.
#include <string.h>

#include "common/base/hash.h"
#include "common/base/bug.h"
#include "deploy/data/world.h"

const char *const data_kind_names[] = {"plain", "negation", "alternatives", "question", "knowledge"};
const char *const data_category_names[] = {"match", "related", "mismatch"};
const char *const data_attribute_names[] = {"match", "partial", "mismatch", "none"};

static bool chance(agrl_rng *r, unsigned percent) { return agrl_rng_below(r, 100) < percent; }

typedef bool (*value_test)(const data_world *w, int value);
static bool is_ingredient(const data_world *w, int v) { return w->types[w->values[v].type].ingredient; }
static bool can_want(const data_world *w, int v) { return !is_ingredient(w, v); }
static bool can_deny(const data_world *w, int v) { return w->types[w->values[v].type].deniable; }
static bool has_need(const data_world *w, int v) { return w->values[v].needs.n > 0; }
static bool any_value(const data_world *w, int v) { return w != NULL && v >= 0; }

// One of set for which test holds: first a type of the leaf, then a value, so that long types do not crowd out short
// ones.
static int draw_value(agrl_rng *r, const data_leaf *leaf, const data_set *set, value_test test) {
  const data_world *w = data_world_get();
  int fits[data_max_types][data_max_values], types[data_max_types];
  size_t n[data_max_types] = {0}, n_types = 0;
  for (size_t t = 0; t < w->n_types; t++) {
    if ((leaf->types >> t & 1) == 0) continue;
    for (int v = 0; v < (int)w->n_values; v++) {
      if (data_set_has(&w->types[t].values, v) && data_set_has(set, v) && test(w, v)) fits[t][n[t]++] = v;
    }
    if (n[t] > 0) types[n_types++] = (int)t;
  }
  if (n_types == 0) return -1;
  int t = types[agrl_rng_below(r, (uint32_t)n_types)];
  return fits[t][agrl_rng_below(r, (uint32_t)n[t])];
}

// Two values of one exclusive type cannot both be true of a product.
static bool clash(int a, int b) {
  const data_world *w = data_world_get();
  if (a == b) return true;
  for (size_t t = 0; t < w->n_types; t++) {
    if (w->types[t].exclusive && data_set_has(&w->types[t].values, a) && data_set_has(&w->types[t].values, b))
      return true;
  }
  return false;
}

static bool fits_query(const data_query *q, int v) {
  if (v < 0 || v == q->not_value) return false;
  for (size_t i = 0; i < q->n_wanted; i++) {
    if (clash(v, q->wanted[i])) return false;
  }
  return q->need < 0 || !clash(v, q->need);
}

static int draw_property(agrl_rng *r, const data_leaf *leaf) {
  const data_world *w = data_world_get();
  int fits[data_max_properties];
  size_t n = 0;
  for (size_t i = 0; i < w->n_properties; i++) {
    const uint64_t *a = w->properties[i].values.w, *b = leaf->values.w;
    int common = __builtin_popcountll(a[0] & b[0]) + __builtin_popcountll(a[1] & b[1]);
    if (common > 0) fits[n++] = (int)i;
  }
  return n == 0 ? -1 : fits[agrl_rng_below(r, (uint32_t)n)];
}

static bool fill_query(agrl_rng *r, data_query *q) {
  const data_world *w = data_world_get();
  const data_leaf *leaf = &w->leaves[q->leaf];
  size_t wanted = agrl_rng_below(r, 2);
  switch (q->kind) {
    case DATA_PLAIN: wanted = chance(r, 15) ? 0 : chance(r, 50) ? 1 : 2; break;
    case DATA_NEGATION: q->not_value = draw_value(r, leaf, &leaf->values, can_deny); break;
    case DATA_ALTERNATIVES: q->not_brand = (int)agrl_rng_below(r, data_n_brands); break;
    case DATA_QUESTION: q->need = draw_value(r, leaf, &leaf->values, has_need); break;
    default: q->property = draw_property(r, leaf); break;
  }
  if (q->kind == DATA_NEGATION && q->not_value < 0) return false;
  if (q->kind == DATA_QUESTION && q->need < 0) return false;
  if (q->kind == DATA_KNOWLEDGE && q->property < 0) return false;
  while (q->n_wanted < wanted) {
    int v = draw_value(r, leaf, &leaf->values, can_want);
    if (!fits_query(q, v)) return false;
    // A wanted value that implies the property as well would make one word count twice.
    if (q->property >= 0 && data_set_has(&w->properties[q->property].values, v)) return false;
    // Nor is it sensible to exclude one colour and ask for another.
    if (q->not_value >= 0 && clash(v, q->not_value)) return false;
    q->wanted[q->n_wanted++] = v;
  }
  return true;
}

// One of the first so many leaves of the first so many departments; each has data_max_leaves / data_max_departments leaves.
static int any_leaf(agrl_rng *r, const agrl_data_options *o) {
  enum { per_department = data_max_leaves / data_max_departments };
  uint32_t department = agrl_rng_below(r, (uint32_t)o->departments);
  return (int)(department * per_department + agrl_rng_below(r, (uint32_t)o->leaves));
}

void data_sample_query(agrl_rng *r, const agrl_data_options *o, data_kind kind, data_split split, data_query *q) {
  bool held_out = split == DATA_EVAL && chance(r, 50);
  do {
    *q = (data_query){.kind = kind, .need = -1, .property = -1, .not_value = -1, .not_brand = -1};
    q->leaf = any_leaf(r, o);
  } while (!fill_query(r, q));
  q->template_at = data_pick_query_template(r, kind, q->n_wanted, held_out);
}

static int draw_leaf(agrl_rng *r, const agrl_data_options *o, int leaf, data_category category) {
  const data_world *w = data_world_get();
  if (category == DATA_CAT_MATCH) return leaf;
  bool same_department = category == DATA_CAT_RELATED;
  for (;;) {
    int k = any_leaf(r, o);
    if (k != leaf && (w->leaves[k].department == w->leaves[leaf].department) == same_department) return k;
  }
}

static void show(data_product *p, int v) {
  const data_world *w = data_world_get();
  if (v < 0 || p->n_values == data_max_shown || !data_set_has(&w->leaves[p->leaf].values, v)) return;
  for (size_t i = 0; i < p->n_values; i++) {
    if (clash(v, p->values[i])) return;
  }
  p->values[p->n_values++] = v;
}

static void fill_product(agrl_rng *r, const data_query *q, data_product *p) {
  const data_world *w = data_world_get();
  const data_leaf *leaf = &w->leaves[p->leaf];
  for (size_t i = 0; i < q->n_wanted; i++) {
    if (chance(r, 55)) show(p, q->wanted[i]);
  }
  if (q->need >= 0 && chance(r, 50)) show(p, q->need);
  if (q->property >= 0 && chance(r, 50)) show(p, draw_value(r, leaf, &w->properties[q->property].values, any_value));
  if (q->not_value >= 0 && chance(r, 45)) show(p, q->not_value);
  size_t shown = 1 + agrl_rng_below(r, data_max_shown);
  for (int tries = 0; p->n_values < shown && tries < 8; tries++) show(p, draw_value(r, leaf, &leaf->values, any_value));
  // "X free" in a title, true of products without it: words that look like a hit and are none.
  int absent = chance(r, 20) ? draw_value(r, leaf, &leaf->values, is_ingredient) : -1;
  if (q->not_value >= 0 && is_ingredient(w, q->not_value) && data_set_has(&leaf->values, q->not_value) && chance(r, 40))
    absent = q->not_value;
  for (size_t i = 0; i < p->n_values; i++) {
    if (p->values[i] == absent) absent = -1;
  }
  p->free_of = absent;
  for (size_t i = p->n_values; i > 1; i--) {  // the order in which the title says them
    size_t k = agrl_rng_below(r, (uint32_t)i);
    int v = p->values[i - 1];
    p->values[i - 1] = p->values[k];
    p->values[k] = v;
  }
}

void data_sample_product(agrl_rng *r, const agrl_data_options *o, const data_query *q, data_category category, data_split split,
                         data_product *p) {
  bool held_out = split == DATA_EVAL && chance(r, 50);
  do {
    *p = (data_product){.free_of = -1};
    p->leaf = draw_leaf(r, o, q->leaf, category);
    p->brand = q->not_brand >= 0 && chance(r, 45) ? q->not_brand : (int)agrl_rng_below(r, data_n_brands);
    fill_product(r, q, p);
  } while (p->n_values == 0 || data_split_of(p) != split);
  p->template_at = data_pick_title_template(r, held_out);
}

// One combination in five belongs to eval, whatever the seed and the order of the values.
data_split data_split_of(const data_product *p) {
  struct {
    int32_t leaf, brand;
    data_set values;
  } key = {.leaf = p->leaf, .brand = p->brand};
  for (size_t i = 0; i < p->n_values; i++) data_set_add(&key.values, p->values[i]);
  return agrl_hash64(&key, sizeof key) % 5 == 0 ? DATA_EVAL : DATA_TRAIN;
}

static bool shows(const data_product *p, int v) {
  for (size_t i = 0; i < p->n_values; i++) {
    if (p->values[i] == v) return true;
  }
  return false;
}

static data_attribute judge_attribute(const data_query *q, const data_product *p) {
  const data_world *w = data_world_get();
  size_t wanted = q->n_wanted, there = 0;
  for (size_t i = 0; i < q->n_wanted; i++) there += shows(p, q->wanted[i]);
  if (q->need >= 0) {
    wanted++;
    there += shows(p, q->need);
  }
  if (q->property >= 0) {
    bool implied = false;
    for (size_t i = 0; i < p->n_values; i++)
      implied = implied || data_set_has(&w->properties[q->property].values, p->values[i]);
    wanted++;
    there += implied;
  }
  bool asks = wanted > 0 || q->not_value >= 0 || q->not_brand >= 0;
  if (!asks) return DATA_ATTR_NONE;
  if (q->not_value >= 0 && shows(p, q->not_value)) return DATA_ATTR_MISMATCH;
  if (q->not_brand >= 0 && q->not_brand == p->brand) return DATA_ATTR_MISMATCH;
  if (there == wanted) return DATA_ATTR_MATCH;
  return there == 0 ? DATA_ATTR_MISMATCH : DATA_ATTR_PARTIAL;
}

data_gold data_judge(const data_query *q, const data_product *p) {
  const data_world *w = data_world_get();
  data_gold g = {.attribute = judge_attribute(q, p)};
  g.category = q->leaf == p->leaf                                               ? DATA_CAT_MATCH
               : w->leaves[q->leaf].department == w->leaves[p->leaf].department ? DATA_CAT_RELATED
                                                                                : DATA_CAT_MISMATCH;
  bool fulfilled = g.attribute == DATA_ATTR_MATCH || g.attribute == DATA_ATTR_NONE;
  if (g.category == DATA_CAT_MISMATCH) g.tier = 1;
  else if (g.attribute == DATA_ATTR_MISMATCH) g.tier = 2;
  else g.tier = g.category == DATA_CAT_MATCH && fulfilled ? 4 : 3;
  return g;
}
