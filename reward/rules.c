// SPDX-License-Identifier: Apache-2.0
// The life of a rule file: loading, the accessors others use, and the rule table T(judgements) -> permitted tiers.
// Reading the sections is in rules_read.c.
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/hash.h"
#include "common/base/mem.h"
#include "reward/rules_impl.h"
#include "reward/rules_read.h"

#define MAX_FILE_BYTES (1u << 20)

agrl_rc agrl_rules_parse(const char *text, size_t len, const char *name, agrl_rules **out, agrl_error *err) {
  agrl_yaml *root = NULL;
  agrl_rc rc = agrl_yaml_parse(text, len, name, &root, err);
  if (rc) return rc;
  agrl_rules *r = agrl_xcalloc(1, sizeof *r);
  agrl_sha256 h = agrl_sha256_of(text, len);
  agrl_sha256_hex(&h, r->hash);
  r->file = agrl_xstrdup(name);
  rc = rules_read(r, root, err);
  agrl_yaml_free(root);
  if (rc) agrl_rules_free(r);
  else *out = r;
  return rc;
}

agrl_rc agrl_rules_load(const char *path, agrl_rules **out, agrl_error *err) {
  agrl_buf text = {0};
  agrl_rc rc = agrl_file_read(path, MAX_FILE_BYTES, &text, err);
  if (!rc) rc = agrl_rules_parse(text.data ? text.data : "", text.len, path, out, err);
  agrl_buf_release(&text);
  return rc;
}

void agrl_rules_free(agrl_rules *r) {
  if (!r) return;
  free(r->name);
  free(r->file);
  for (size_t i = 0; i < r->n_tiers; i++) free(r->tier_names[i]);
  for (size_t i = 0; i < r->n_lines; i++) {
    free(r->lines[i].name);
    free(r->lines[i].prefix);
    for (size_t v = 0; v < r->lines[i].n_values; v++) free(r->lines[i].values[v]);
  }
  for (size_t i = 0; i < r->n_criteria; i++) free(r->criteria[i].name);
  free(r->rows);
  free(r);
}

const char *agrl_rules_hash(const agrl_rules *r) { return r->hash; }
const char *agrl_rules_name(const agrl_rules *r) { return r->name; }
const char *agrl_rules_file(const agrl_rules *r) { return r->file; }
size_t agrl_rules_criteria(const agrl_rules *r) { return r->n_criteria; }

size_t agrl_rules_tiers(const agrl_rules *r, const int **tiers) {
  *tiers = r->tiers;
  return r->n_tiers;
}

const char *agrl_rules_tier_name(const agrl_rules *r, int tier) {
  for (size_t i = 0; i < r->n_tiers; i++)
    if (r->tiers[i] == tier) return r->tier_names[i];
  return NULL;
}

const char *agrl_rules_criterion(const agrl_rules *r, size_t i, double *weight) {
  if (i >= r->n_criteria) return NULL;
  if (weight) *weight = r->criteria[i].weight;
  return r->criteria[i].name;
}

int rules_line_value(const rule_line *l, const char *text, size_t len) {
  for (size_t v = 0; v < l->n_values; v++)
    if (strlen(l->values[v]) == len && !memcmp(l->values[v], text, len)) return (int)v;
  return -1;
}

int rules_line_of_gold(const agrl_rules *r, rule_gold g) {
  for (size_t i = 0; i < r->n_criteria; i++)
    if (r->criteria[i].gold == g) return (int)r->criteria[i].line;
  return -1;
}

bool rules_row_matches(const agrl_rules *r, const rule_row *row, const int *value) {
  for (size_t i = 0; i < r->n_lines; i++)
    if (r->lines[i].kind == RULE_LINE_CHOICE && value[i] >= 0 && !(row->when[i] & (1u << value[i]))) return false;
  return true;
}

uint32_t rules_permitted(const agrl_rules *r, const int *value) {
  if (!r->n_rows) return r->tier_bits;
  uint32_t permit = 0;
  for (size_t i = 0; i < r->n_rows; i++)
    if (rules_row_matches(r, &r->rows[i], value)) permit |= r->rows[i].permit;
  return permit;
}

bool agrl_rules_permits(const agrl_rules *r, int tier, const char *category, const char *attribute) {
  if (tier < 1 || tier > 9) return false;
  int value[AGRL_RULES_MAX_LINES];
  for (size_t i = 0; i < AGRL_RULES_MAX_LINES; i++) value[i] = -1;
  const char *label[RULE_GOLD_N] = {[RULE_GOLD_CATEGORY] = category, [RULE_GOLD_ATTRIBUTE] = attribute};
  for (int g = RULE_GOLD_CATEGORY; g < RULE_GOLD_N; g++) {
    int line = rules_line_of_gold(r, (rule_gold)g);
    if (!label[g] || !*label[g] || line < 0) continue;
    value[line] = rules_line_value(&r->lines[line], label[g], strlen(label[g]));
    if (value[line] < 0) return false;  // a judgement the file does not know permits nothing
  }
  return (rules_permitted(r, value) >> tier) & 1;
}
