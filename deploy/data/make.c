// SPDX-License-Identifier: Apache-2.0
// Fills the three files. A row is drawn for a wanted (category, attribute) until one comes out; the mix of these is
// what makes a file balanced or natural. Rows carry a "world" member that says what they were made of; readers ignore
// it.
#include <stdlib.h>

#include "common/base/file.h"
#include "common/base/json.h"
#include "deploy/data/world.h"

enum { max_tries = 400, candidates = 5 };

typedef struct aim {
  data_category category;
  data_attribute attribute;
  unsigned weight;
} aim;

// Which judgements make up a tier. Index: tier - 1.
static const aim aims[4][4] = {
    {{DATA_CAT_MISMATCH, DATA_ATTR_MISMATCH, 45},
     {DATA_CAT_MISMATCH, DATA_ATTR_MATCH, 30},
     {DATA_CAT_MISMATCH, DATA_ATTR_PARTIAL, 10},
     {DATA_CAT_MISMATCH, DATA_ATTR_NONE, 15}},
    {{DATA_CAT_MATCH, DATA_ATTR_MISMATCH, 70}, {DATA_CAT_RELATED, DATA_ATTR_MISMATCH, 30}},
    {{DATA_CAT_RELATED, DATA_ATTR_MATCH, 40},
     {DATA_CAT_MATCH, DATA_ATTR_PARTIAL, 40},
     {DATA_CAT_RELATED, DATA_ATTR_PARTIAL, 10},
     {DATA_CAT_RELATED, DATA_ATTR_NONE, 10}},
    {{DATA_CAT_MATCH, DATA_ATTR_MATCH, 85}, {DATA_CAT_MATCH, DATA_ATTR_NONE, 15}},
};

typedef struct maker {
  agrl_rng rng;
  const agrl_data_options *options;
  data_split split;
  const char *prefix;  // of row ids
  size_t n;            // rows written
  agrl_buf out;
} maker;

static size_t draw(agrl_rng *r, const unsigned *weights, size_t n) {
  unsigned total = 0;
  for (size_t i = 0; i < n; i++) total += weights[i];
  unsigned at = agrl_rng_below(r, total);
  size_t i = 0;
  for (; at >= weights[i]; i++) at -= weights[i];
  return i;
}

static const aim *draw_aim(agrl_rng *r, int tier) {
  unsigned weights[4];
  for (size_t i = 0; i < 4; i++) weights[i] = aims[tier - 1][i].weight;
  return &aims[tier - 1][draw(r, weights, 4)];
}

static void write_names(agrl_jw *w, const char *key, const char *const *names, size_t n) {
  agrl_jw_key(w, key);
  agrl_jw_arr(w);
  for (size_t i = 0; i < n; i++) agrl_jw_str(w, names[i]);
  agrl_jw_end_arr(w);
}

static void write_made_of(agrl_jw *w, const data_query *q, const data_product *p) {
  const data_world *world = data_world_get();
  agrl_buf key = {0};
  agrl_buf_addf(&key, "%s/%s", world->brands[p->brand], world->leaves[p->leaf].forms.text[0]);
  for (int v = 0; v < (int)world->n_values; v++) {  // in table order: one key a combination
    for (size_t i = 0; i < p->n_values; i++) {
      if (p->values[i] == v) agrl_buf_addf(&key, "/%s", world->values[v].forms.text[0]);
    }
  }
  agrl_jw_key(w, "world");
  agrl_jw_obj(w);
  agrl_jw_ku64(w, "query_template", q->template_at);
  agrl_jw_ku64(w, "title_template", p->template_at);
  agrl_jw_kstr(w, "product", key.data);
  agrl_jw_end_obj(w);
  agrl_buf_release(&key);
}

static void write_row(maker *m, const char *query_text, const data_query *q, const data_product *p, const data_gold *g,
                      bool reference) {
  const data_world *world = data_world_get();
  const char *names[data_max_wanted + 2];
  agrl_buf text = {0};
  agrl_jw w;
  agrl_jw_init(&w, &m->out);
  agrl_jw_obj(&w);
  agrl_buf_addf(&text, "%s-%06zu", m->prefix, m->n++);
  agrl_jw_kstr(&w, "id", text.data);
  agrl_jw_kstr(&w, "query", query_text);
  agrl_buf_clear(&text);
  data_render_title(&m->rng, m->options->synonyms, p, &text);
  agrl_jw_key(&w, "product");
  agrl_jw_obj(&w);
  agrl_jw_kstr(&w, "title", text.data);
  agrl_jw_kstr(&w, "brand", world->brands[p->brand]);
  agrl_jw_end_obj(&w);
  agrl_jw_key(&w, "gold");
  agrl_jw_obj(&w);
  agrl_jw_ki64(&w, "tier", g->tier);
  agrl_jw_kstr(&w, "category", data_category_names[g->category]);
  agrl_jw_kstr(&w, "attribute", data_attribute_names[g->attribute]);
  agrl_jw_end_obj(&w);
  agrl_jw_kstr(&w, "type", data_kind_names[q->kind]);
  write_names(&w, "must", names, data_wanted_names(q, names));
  write_names(&w, "not", names, data_unwanted_names(q, names));
  if (reference) {
    agrl_buf_clear(&text);
    data_render_reference(q, p, g, &text);
    agrl_jw_kstr(&w, "reference", text.data);
  }
  write_made_of(&w, q, p);
  agrl_jw_end_obj(&w);
  agrl_buf_addc(&m->out, '\n');
  agrl_buf_release(&text);
}

static bool find_product(maker *m, const data_query *q, const aim *a, data_product *p, data_gold *g) {
  for (int i = 0; i < max_tries; i++) {
    data_sample_product(&m->rng, m->options, q, a->category, m->split, p);
    *g = data_judge(q, p);
    if (g->attribute == a->attribute) return true;
  }
  return false;
}

// Whether a query of this shape can come out so at all: saves the tries.
static bool can_be(const data_query *q, data_attribute a) {
  size_t wanted = q->n_wanted + (q->need >= 0) + (q->property >= 0);
  bool asks = wanted > 0 || q->not_value >= 0 || q->not_brand >= 0;
  if (a == DATA_ATTR_NONE) return !asks;
  if (a == DATA_ATTR_PARTIAL) return wanted >= 2;
  return asks;
}

static void shuffle_tiers(agrl_rng *r, int tiers[4]) {
  for (uint32_t i = 4; i > 1; i--) {
    uint32_t k = agrl_rng_below(r, i);
    int t = tiers[i - 1];
    tiers[i - 1] = tiers[k];
    tiers[k] = t;
  }
}

// Every four rows hold each tier once, in any order.
static void make_balanced(maker *m, size_t rows, size_t reference) {
  agrl_buf text = {0};
  int tiers[4] = {1, 2, 3, 4};
  while (m->n < rows) {
    data_query q;
    data_product p;
    data_gold g;
    if (m->n % 4 == 0) shuffle_tiers(&m->rng, tiers);
    const aim *a = draw_aim(&m->rng, tiers[m->n % 4]);
    do {
      data_kind kind = a->attribute == DATA_ATTR_NONE ? DATA_PLAIN : (data_kind)agrl_rng_below(&m->rng, DATA_N_KINDS);
      data_sample_query(&m->rng, m->options, kind, m->split, &q);
    } while (!can_be(&q, a->attribute) || !find_product(m, &q, a, &p, &g));
    agrl_buf_clear(&text);
    data_render_query(&m->rng, m->options->synonyms, &q, &text);
    write_row(m, text.data, &q, &p, &g, m->n < reference);
  }
  agrl_buf_release(&text);
}

static void make_natural(maker *m, size_t rows) {
  static const unsigned tiers[4] = {20, 10, 20, 50}, kinds[DATA_N_KINDS] = {50, 14, 10, 14, 12};
  agrl_buf text = {0};
  while (m->n < rows) {
    data_query q;
    data_sample_query(&m->rng, m->options, (data_kind)draw(&m->rng, kinds, DATA_N_KINDS), m->split, &q);
    agrl_buf_clear(&text);
    data_render_query(&m->rng, m->options->synonyms, &q, &text);
    for (int c = 0; c < candidates && m->n < rows;) {
      data_product p;
      data_gold g;
      int tier = 1 + (int)draw(&m->rng, tiers, 4);
      if (!can_be(&q, DATA_ATTR_MISMATCH) && tier == 2) continue;
      const aim *a = draw_aim(&m->rng, tier);
      while (!can_be(&q, a->attribute)) a = draw_aim(&m->rng, tier);
      if (!find_product(m, &q, a, &p, &g)) continue;
      write_row(m, text.data, &q, &p, &g, false);
      c++;
    }
  }
  agrl_buf_release(&text);
}

static agrl_rc save(maker *m, const char *dir, const char *name, agrl_error *err) {
  char *path = agrl_path_join(dir, name);
  agrl_rc rc = agrl_file_write_atomic(path, m->out.data ? m->out.data : "", m->out.len, err);
  free(path);
  agrl_buf_release(&m->out);
  return rc;
}

// Data that somebody made, changed or trains on is not replaced.
static agrl_rc refuse_existing(const char *dir, agrl_error *err) {
  static const char *const files[] = {"train.jsonl", "eval.jsonl", "eval_natural.jsonl"};
  agrl_rc rc = AGRL_OK;
  for (size_t i = 0; !rc && i < sizeof files / sizeof *files; i++) {
    char *path = agrl_path_join(dir, files[i]);
    if (agrl_file_exists(path)) rc = agrl_fail(err, AGRL_EEXIST, "%s: exists already; remove it or choose another place", path);
    free(path);
  }
  return rc;
}

agrl_rc agrl_data_make(const char *dir, const agrl_data_options *o, agrl_error *err) {
  const size_t per_department = data_max_leaves / data_max_departments;
  if (o->departments < 2 || o->departments > data_max_departments || o->leaves < 2 || o->leaves > per_department)
    return agrl_fail(err, AGRL_EINVAL, "data: departments %zu, leaves %zu; expected 2..%d and 2..%zu", o->departments, o->leaves,
                     data_max_departments, per_department);
  if (o->synonyms > 100) return agrl_fail(err, AGRL_EINVAL, "data: synonyms %zu; expected 0..100 percent", o->synonyms);
  agrl_rc rc = refuse_existing(dir, err);
  if (rc == AGRL_OK) rc = agrl_file_mkdirs(dir, err);
  if (rc != AGRL_OK) return rc;
  maker m = {.options = o, .split = DATA_TRAIN, .prefix = "train"};
  agrl_rng_init(&m.rng, o->seed, 1);
  make_balanced(&m, o->train, o->reference);
  rc = save(&m, dir, "train.jsonl", err);
  if (rc != AGRL_OK) return rc;
  m = (maker){.options = o, .split = DATA_EVAL, .prefix = "eval"};
  agrl_rng_init(&m.rng, o->seed, 2);
  make_balanced(&m, o->eval, 0);
  rc = save(&m, dir, "eval.jsonl", err);
  if (rc != AGRL_OK) return rc;
  m = (maker){.options = o, .split = DATA_EVAL, .prefix = "natural"};
  agrl_rng_init(&m.rng, o->seed, 3);
  make_natural(&m, o->natural);
  return save(&m, dir, "eval_natural.jsonl", err);
}
