// SPDX-License-Identifier: Apache-2.0
// Labelled rows (JSONL), and the prompt a row becomes. One object a line:
//   {"id": "...", "query": "...", "product": {"title": "...", ...string members...},
//    "gold": {"tier": 1..4, "category": "match", "attribute": "none"},          category/attribute optional
//    "type": "negation", "must": ["..."], "not": ["..."], "reference": "..."}    all optional
// Rows are all or nothing: a malformed line is named (file:line, what, expected), counted and skipped.
// Immutable after load, readable from many threads.
#ifndef AGRL_TEXT_DATASET_H
#define AGRL_TEXT_DATASET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/err.h"

typedef struct agrl_gold {
  int tier;                          // 1..4
  const char *category, *attribute;  // NULL: no label
} agrl_gold;

typedef struct agrl_row {
  const char *id, *query, *type;  // type "" when absent
  size_t n_fields;                // product members, in file order
  const char **field_names, **field_values;
  agrl_gold gold;
  size_t n_must, n_not;
  const char **must, **must_not;
  const char *reference;  // NULL when absent
} agrl_row;

typedef struct agrl_dataset {
  agrl_arena arena;
  agrl_row *rows;
  size_t n;
  size_t n_bad;          // malformed lines
  char first_bad[1024];  // the first few messages, newline separated
} agrl_dataset;

typedef void (*agrl_bad_row_fn)(void *user, const char *message);  // "train.jsonl:17: gold.tier is 7, expected 1..4"

// on_bad may be NULL (then each is logged as a warning, at most 20). Fails only if the file cannot be read or has no
// good row.
agrl_rc agrl_dataset_load(const char *path, agrl_bad_row_fn on_bad, void *user, agrl_dataset *out, agrl_error *err);
void agrl_dataset_release(agrl_dataset *d);

// AGRL_ECONFIG when a held-out row has the query and the product (names and values of its members) of a seen one: the
// message counts them and names the first by their ids, "held-out = seen". Case of ASCII and amount of white space do not
// count, nor do id, labels and the order of members.
agrl_rc agrl_dataset_disjoint(const agrl_dataset *seen, const char *seen_path, const agrl_dataset *held_out, const char *held_out_path,
                              agrl_error *err);
// One line (fuzz target): AGRL_EPARSE with "expected ..." on malformed rows.
agrl_rc agrl_row_parse(const char *line, size_t len, const char *where, agrl_arena *arena, agrl_row *out,
                       agrl_error *err);

// Templates: "{query}", "{product.title}", "{gold.tier}", "{gold.category}", "{gold.attribute}", "{must}", "{not}"
// ("; "-free lists joined by ", "; empty list: "none"), "{{" for a brace; "{product.title:200}" truncates to 200 bytes
// at a UTF-8 boundary. A line whose only placeholders are absent fields is left out. check: every name is known.
agrl_rc agrl_template_check(const char *tmpl, agrl_error *err);
// Name of the first field in it that starts so, into out; false when there is none. The template is a checked one.
bool agrl_template_names(const char *tmpl, const char *start, char out[64]);
void agrl_template_render(const char *tmpl, const agrl_row *row, agrl_buf *out);

#endif
