// SPDX-License-Identifier: Apache-2.0
// The built-in benchmark: a synthetic product-search world. Nothing in it is real: categories, brands and titles are
// made from the tables of tables.c by a seeded generator, and the same seed gives the same bytes. What it holds:
//   12 departments of 8 leaf categories, values (materials, colours, features, sizes ...) with synonyms and units, needs
//   ("keeps water out" -> waterproof), properties ("withstands heat" -> steel, ceramic, ...), 168 brands.
// Judgements, from the texts alone (no hidden attribute decides a label):
//   category   match: same leaf; related: same department; mismatch: another department
//   attribute  none: the query asks nothing; mismatch: something unwanted is there, or nothing wanted is;
//              match: all that is wanted is there; partial: some of it is
//   tier       mismatch -> 1; attribute mismatch -> 2; match with match|none -> 4; everything else -> 3
// Train and eval never share a product (brand, leaf, values), and some query and title templates occur in eval only.
#ifndef AGRL_DEPLOY_DATA_WORLD_H
#define AGRL_DEPLOY_DATA_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/rng.h"

typedef struct agrl_data_options {
  uint64_t seed;
  size_t train, eval, natural;  // rows
  size_t reference;             // the first so many train rows carry a reference trace
  size_t departments, leaves;   // departments used, 2..12, and categories of each, 2..8: fewer make an easier world
  size_t synonyms;              // percent of mentions that use another word than the canonical one, 0..100
} agrl_data_options;

#define AGRL_DATA_DEFAULTS \
  {.seed = 1, .train = 12000, .eval = 800, .natural = 800, .reference = 2500, .departments = 12, .leaves = 8, .synonyms = 30}

// Writes train.jsonl (balanced tiers), eval.jsonl (balanced) and eval_natural.jsonl (tiers about 50/20/10/20 from 4 to
// 1, five candidates a query) into dir, which is made if absent. Each file is written atomically;
// AGRL_EEXIST when one of them is there already.
agrl_rc agrl_data_make(const char *dir, const agrl_data_options *options, agrl_error *err);

// ---- inside, open to tests ----
enum {
  data_max_values = 128,
  data_max_leaves = 96,
  data_max_departments = 12,
  data_max_properties = 24,
  data_max_types = 24,
  data_max_forms = 4,
  data_n_brands = 168,
  data_max_wanted = 2,
  data_max_shown = 3,
};
typedef struct data_set {
  uint64_t w[2];  // bit per value
} data_set;

typedef enum { DATA_PLAIN, DATA_NEGATION, DATA_ALTERNATIVES, DATA_QUESTION, DATA_KNOWLEDGE, DATA_N_KINDS } data_kind;
typedef enum { DATA_CAT_MATCH, DATA_CAT_RELATED, DATA_CAT_MISMATCH } data_category;
typedef enum { DATA_ATTR_MATCH, DATA_ATTR_PARTIAL, DATA_ATTR_MISMATCH, DATA_ATTR_NONE } data_attribute;
typedef enum { DATA_TRAIN, DATA_EVAL } data_split;

typedef struct data_forms {  // ways to say one thing; the first is canonical
  size_t n;
  char text[data_max_forms][40];
} data_forms;

typedef struct data_value {
  data_forms forms, needs;
  int type;  // the first type that lists it
} data_value;

typedef struct data_type {
  const char *name;
  bool exclusive;   // a product shows at most one
  bool deniable;    // queries may exclude it
  bool ingredient;  // shown as "with X", or "X free"; only ever excluded
  data_set values;
} data_type;

typedef struct data_property {
  const char *name;  // as the must list calls it
  data_forms phrases;
  data_set values;  // each implies it
} data_property;

typedef struct data_leaf {
  int department;
  data_forms forms;
  uint32_t types;   // bit per type
  data_set values;  // of these types
} data_leaf;

typedef struct data_world {
  size_t n_values, n_types, n_properties, n_leaves, n_departments;
  data_value values[data_max_values];
  data_type types[data_max_types];
  data_property properties[data_max_properties];
  data_leaf leaves[data_max_leaves];
  const char *departments[data_max_departments];
  char brands[data_n_brands][16];
} data_world;

typedef struct data_query {
  data_kind kind;
  int leaf;
  size_t n_wanted;
  int wanted[data_max_wanted];  // values said as attributes
  int need, property;           // a value said by what it does; a property; or -1
  int not_value, not_brand;     // or -1
  size_t template_at;
} data_query;

typedef struct data_product {
  int leaf, brand;
  size_t n_values;
  int values[data_max_shown];  // in the order the title says them
  int free_of;                 // an ingredient the title says is absent, or -1
  size_t template_at;
} data_product;

typedef struct data_gold {
  int tier;
  data_category category;
  data_attribute attribute;
} data_gold;

const data_world *data_world_get(void);  // built once from the tables, constant
bool data_set_has(const data_set *s, int value);
void data_set_add(data_set *s, int value);

void data_sample_query(agrl_rng *r, const agrl_data_options *o, data_kind kind, data_split split, data_query *q);
// A product that stands to q's leaf as category says, leaning towards what q names; its combination belongs to split.
void data_sample_product(agrl_rng *r, const agrl_data_options *o, const data_query *q, data_category category, data_split split,
                         data_product *p);
data_split data_split_of(const data_product *p);
data_gold data_judge(const data_query *q, const data_product *p);

size_t data_wanted_names(const data_query *q, const char *out[data_max_wanted + 2]);    // the row's must list
size_t data_unwanted_names(const data_query *q, const char *out[data_max_wanted + 2]);  // the row's not list
size_t data_pick_query_template(agrl_rng *r, data_kind kind, size_t n_wanted, bool held_out);
size_t data_pick_title_template(agrl_rng *r, bool held_out);
bool data_query_template_held(size_t at);
bool data_title_template_held(size_t at);
void data_render_query(agrl_rng *r, size_t synonyms, const data_query *q, agrl_buf *out);
void data_render_title(agrl_rng *r, size_t synonyms, const data_product *p, agrl_buf *out);
void data_render_reference(const data_query *q, const data_product *p, const data_gold *g, agrl_buf *out);

extern const char *const data_kind_names[], *const data_category_names[], *const data_attribute_names[];

#endif
