// SPDX-License-Identifier: Apache-2.0
// The parsed rule file, seen by reward/ only.
#ifndef AGRL_REWARD_RULES_IMPL_H
#define AGRL_REWARD_RULES_IMPL_H

#include <stdint.h>

#include "reward/explain.h"

typedef enum { RULE_LINE_TIER, RULE_LINE_FREE, RULE_LINE_CHOICE } rule_line_kind;
typedef enum { RULE_MISSING_DROP_GROUP, RULE_MISSING_REWEIGHT, RULE_MISSING_STOP } rule_missing;
typedef enum { RULE_GOLD_TIER, RULE_GOLD_CATEGORY, RULE_GOLD_ATTRIBUTE, RULE_GOLD_N } rule_gold;

typedef struct rule_line {
  char *name;
  int at;        // line of the rule file, here and below
  char *prefix;  // "" for none
  size_t prefix_len;
  rule_line_kind kind;
  size_t n_values;
  char *values[AGRL_RULES_MAX_VALUES];
} rule_line;

typedef struct rule_criterion {
  char *name;
  int at;
  size_t line;      // whose value is judged
  rule_gold gold;   // against which label
  double weight;
  rule_missing missing;
  // adjacent[a] has bit b set when choice a earns half for gold b; never for tiers
  uint32_t adjacent[AGRL_RULES_MAX_VALUES];
} rule_criterion;

// One row of the table: a set of values (bits) per choice line, all bits for `any`, and the tiers it permits (bit = digit).
typedef struct rule_row {
  int at;
  uint32_t when[AGRL_RULES_MAX_LINES];
  uint32_t permit;
} rule_row;

struct agrl_rules {
  char *name;
  char *file;  // as messages name it
  char hash[65];
  size_t n_tiers;
  int tiers[AGRL_RULES_MAX_TIERS];
  char *tier_names[AGRL_RULES_MAX_TIERS];
  uint32_t tier_bits;
  size_t n_lines;
  rule_line lines[AGRL_RULES_MAX_LINES];
  size_t first_tier_line;
  size_t n_criteria;
  rule_criterion criteria[AGRL_RULES_MAX_CRITERIA];
  size_t n_rows;
  rule_row *rows;
  bool gate_agree, gate_table;
  int tiers_at, gates_at;  // gates_at is that of the whole file without the section
};

// How one line of a trace was read.
typedef struct rule_read {
  size_t at, len;       // bytes of the text
  int line;             // the rule file's line it looks like; -1: none
  const char *problem;  // static text; NULL: none
} rule_read;
#define RULES_MAX_READS AGRL_EXPLAIN_MAX_LINES

// agrl_reward_parse, which also tells how each line was read; reads has room for RULES_MAX_READS, *n is how many.
void rules_parse(const agrl_rules *r, const char *text, size_t len, agrl_parsed *out, rule_read *reads, size_t *n);

int rules_line_value(const rule_line *l, const char *text, size_t len);  // index of a choice value, -1
int rules_line_of_gold(const agrl_rules *r, rule_gold g);                // choice line judged against g, -1
uint32_t rules_permitted(const agrl_rules *r, const int *value);         // tiers; value -1 on a line: any value
void rules_row_text(const agrl_rules *r, const rule_row *row, agrl_buf *out);  // "category match, attribute match|none permits 4"
bool rules_row_matches(const agrl_rules *r, const rule_row *row, const int *value);
// A criterion's gold label as a value of its line: 1 there, 0 the row has no such label, -1 not a value of the rule file.
int rules_gold_value(const agrl_rules *r, const rule_criterion *c, const agrl_labels *gold, int *out);

#endif
