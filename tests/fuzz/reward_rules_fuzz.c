// SPDX-License-Identifier: Apache-2.0
// Rule files: a refusal names the file; what is accepted keeps the promises of rules.h, for any trace.
#include <math.h>
#include <string.h>

#include "common/base/bug.h"
#include "reward/explain.h"

int agrl_fuzz_reward_rules(const uint8_t *data, size_t size);

static void check_tiers(const agrl_rules *r) {
  const int *tiers;
  size_t n = agrl_rules_tiers(r, &tiers);
  AGRL_ASSERT(n >= 1 && n <= AGRL_RULES_MAX_TIERS);
  for (size_t i = 0; i < n; i++) {
    AGRL_ASSERT(tiers[i] >= 1 && tiers[i] <= 9 && agrl_rules_tier_name(r, tiers[i]));
    AGRL_ASSERT(agrl_rules_permits(r, tiers[i], NULL, NULL));  // every tier is permitted somewhere
    for (size_t k = 0; k < i; k++) AGRL_ASSERT(tiers[k] != tiers[i]);
  }
  AGRL_ASSERT(!agrl_rules_tier_name(r, 0) && !agrl_rules_tier_name(r, 10));
}

static void check_criteria(const agrl_rules *r) {
  size_t n = agrl_rules_criteria(r);
  double sum = 0, greatest = 0, weight;
  AGRL_ASSERT(n >= 1 && n <= AGRL_RULES_MAX_CRITERIA);
  for (size_t i = 0; i < n; i++) {
    const char *name = agrl_rules_criterion(r, i, &weight);
    AGRL_ASSERT(name && isfinite(weight) && weight > 0);
    sum += weight;
    if (weight > greatest) greatest = weight;
  }
  AGRL_ASSERT(fabs(sum - 1) <= 1.1e-6 && greatest > sum - greatest);  // one outweighs the others: the tier's
}

// The explanation tells what the reward was, in every mode: its points are the value, and the reward is 0 just when a gate that
// counts is closed.
static void check_explanation(const agrl_rules *r, const char *text, size_t size, const agrl_labels *gold) {
  for (int gate = AGRL_GATE_NONE; gate <= AGRL_GATE_BOTH; gate++) {
    for (int mode = AGRL_REWARD_SHAPED; mode <= AGRL_REWARD_SPARSE; mode++) {
      agrl_explained e;
      agrl_reward_result res;
      agrl_reward_explain(r, mode, gate, text, size, gold, &e);
      agrl_reward_score(r, mode, gate, text, size, gold, &res);
      double points = 0;
      for (size_t i = 0; i < e.n_criteria; i++) points += e.criteria[i].points;
      AGRL_ASSERT(e.result.reward == res.reward && e.result.missing == res.missing && e.n_lines <= AGRL_EXPLAIN_MAX_LINES);
      if (!res.missing) AGRL_ASSERT(fabs(res.reward - (agrl_explained_closed(&e) ? 0 : points)) < 1e-9);
      AGRL_ASSERT(e.gates[AGRL_GATE_AT_FORMAT].open == res.g_format && e.gates[AGRL_GATE_AT_OUTCOME].open == res.accurate);
    }
  }
}

static void check_trace(const agrl_rules *r, const char *text, size_t size, int gold_tier) {
  agrl_parsed p;
  agrl_reward_parse(r, text, size, &p);
  AGRL_ASSERT(p.ok == (p.why[0] == '\0'));
  AGRL_ASSERT(p.tier == 0 || agrl_rules_tier_name(r, p.tier));
  agrl_labels gold = {.tier = gold_tier, .category = "match", .attribute = ""};
  agrl_reward_result res;
  agrl_reward_score(r, AGRL_REWARD_SHAPED, AGRL_GATE_RULE, text, size, &gold, &res);
  AGRL_ASSERT(res.missing || (res.reward >= 0 && res.reward <= 1 + 1e-5));
  AGRL_ASSERT(res.missing || res.reward == 0 || p.ok);
  check_explanation(r, text, size, &gold);
}

int agrl_fuzz_reward_rules(const uint8_t *data, size_t size) {
  agrl_rules *r = NULL;
  agrl_error err = {0};
  if (agrl_rules_parse((const char *)data, size, "fuzz.yaml", &r, &err) != AGRL_OK) {
    AGRL_ASSERT(!r && err.code == AGRL_ECONFIG && strncmp(err.msg, "fuzz.yaml", 9) == 0);
    return 0;
  }
  AGRL_ASSERT(strspn(agrl_rules_hash(r), "0123456789abcdef") == 64 && agrl_rules_name(r));
  check_tiers(r);
  check_criteria(r);
  const int *tiers;
  agrl_rules_tiers(r, &tiers);
  check_trace(r, (const char *)data, size, tiers[0]);  // the file itself is a trace, mostly of the wrong form
  for (size_t i = 0, n = agrl_rules_tiers(r, &tiers); i < n; i++) {
    agrl_buf example = {0};
    agrl_labels gold;
    AGRL_ASSERT(agrl_rules_example(r, tiers[i], &example, &gold));
    check_explanation(r, example.data ? example.data : "", example.len, &gold);
    agrl_buf_release(&example);
  }
  char line[] = "0";
  line[0] = (char)('0' + tiers[0]);
  check_trace(r, line, 1, tiers[0]);
  agrl_rules_free(r);
  return 0;
}
