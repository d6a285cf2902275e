// SPDX-License-Identifier: Apache-2.0
// The parsed rule file, seen by reward/ only.
#ifndef AGRL_REWARD_RULES_IMPL_H
#define AGRL_REWARD_RULES_IMPL_H

#include <stdint.h>

#include "reward/rules.h"

typedef enum { RULE_LINE_TIER, RULE_LINE_FREE, RULE_LINE_CHOICE } rule_line_kind;
typedef enum { RULE_MISSING_DROP_GROUP, RULE_MISSING_REWEIGHT, RULE_MISSING_STOP } rule_missing;
typedef enum { RULE_GOLD_TIER, RULE_GOLD_CATEGORY, RULE_GOLD_ATTRIBUTE, RULE_GOLD_N } rule_gold;

typedef struct rule_line {
  char *name;
  char *prefix;  // "" for none
  size_t prefix_len;
  rule_line_kind kind;
  size_t n_values;
  char *values[AGRL_RULES_MAX_VALUES];
} rule_line;

typedef struct rule_criterion {
  char *name;
  size_t line;      // whose value is judged
  rule_gold gold;   // against which label
  double weight;
  rule_missing missing;
  // adjacent[a] has bit b set when choice a earns half for gold b; never for tiers
  uint32_t adjacent[AGRL_RULES_MAX_VALUES];
} rule_criterion;

// One row of the table: a set of values (bits) per choice line, all bits for `any`, and the tiers it permits (bit = digit).
typedef struct rule_row {
  uint32_t when[AGRL_RULES_MAX_LINES];
  uint32_t permit;
} rule_row;

struct agrl_rules {
  char *name;
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
};

int rules_line_value(const rule_line *l, const char *text, size_t len);  // index of a choice value, -1
int rules_line_of_gold(const agrl_rules *r, rule_gold g);                // choice line judged against g, -1
uint32_t rules_permitted(const agrl_rules *r, const int *value);         // tiers; value -1 on a line: any value

#endif
