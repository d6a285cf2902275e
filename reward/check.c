// SPDX-License-Identifier: Apache-2.0
// What must hold of a rule file by itself before it may reward anything: the tier dominates the shaping, the table is total and
// reaches every tier. Gold data against it: gold.c.
#include <math.h>

#include "reward/rules_read.h"

#define MAX_COMBINATIONS 65536

agrl_rc rules_check_dominance(const agrl_rules *r, const agrl_yaml *at, agrl_error *err) {
  double tier = 0, others = 0;
  const agrl_yaml *tier_at = at;
  for (size_t i = 0; i < r->n_criteria; i++) {
    if (r->criteria[i].gold != RULE_GOLD_TIER) others += r->criteria[i].weight;
    else tier = r->criteria[i].weight, tier_at = at->items[i];
  }
  if (!(tier > 0)) return agrl_yaml_fail(at, err, "criteria: none judges the gold label tier");
  if (fabs(tier + others - 1) > 1e-6)
    return agrl_yaml_fail(at, err, "criteria: the weights sum to %g, expected 1", tier + others);
  if (tier <= others + 1e-9)
    return agrl_yaml_fail(tier_at, err,
                          "criteria: the tier's weight %g must be greater than the sum of the others (%g), or shaping would "
                          "pay for a wrong tier", tier, others);
  return AGRL_OK;
}

agrl_rc rules_check_table(const agrl_rules *r, const agrl_yaml *at, agrl_error *err) {
  int value[AGRL_RULES_MAX_LINES];
  size_t combinations = 1;
  uint32_t reached = 0;
  for (size_t i = 0; i < r->n_lines; i++) {
    value[i] = -1;
    if (r->lines[i].kind == RULE_LINE_CHOICE) combinations *= r->lines[i].n_values;
    if (combinations > MAX_COMBINATIONS)
      return agrl_yaml_fail(at, err, "rules: more than %d combinations of judgements", MAX_COMBINATIONS);
  }
  for (size_t c = 0; c < combinations; c++) {
    size_t rest = c;
    agrl_buf text = {0};
    for (size_t i = 0; i < r->n_lines; i++) {
      if (r->lines[i].kind != RULE_LINE_CHOICE) continue;
      value[i] = (int)(rest % r->lines[i].n_values);
      rest /= r->lines[i].n_values;
    }
    uint32_t permit = rules_permitted(r, value);
    reached |= permit;
    if (permit) continue;
    for (size_t i = 0; i < r->n_lines; i++)
      if (value[i] >= 0)
        agrl_buf_addf(&text, "%s%s=%s", text.len ? ", " : "", r->lines[i].name, r->lines[i].values[value[i]]);
    agrl_rc rc = agrl_yaml_fail(at, err, "rules: no rule for %s", text.len ? text.data : "a trace");
    agrl_buf_release(&text);
    return rc;
  }
  for (size_t i = 0; i < r->n_tiers; i++)
    if (!(reached & (1u << r->tiers[i])))
      return agrl_yaml_fail(at, err, "rules: tier %d is never permitted", r->tiers[i]);
  return AGRL_OK;
}
