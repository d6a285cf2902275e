// SPDX-License-Identifier: Apache-2.0
// Criteria, gates and the reward, with provenance. See rules.h for the formula.
#include <string.h>

#include "common/base/clock.h"
#include "reward/rules_impl.h"

int rules_gold_value(const agrl_rules *r, const rule_criterion *c, const agrl_labels *gold, int *out) {
  if (c->gold == RULE_GOLD_TIER) {
    *out = (int)gold->tier;
    return gold->tier >= 1 && gold->tier <= 9 && (r->tier_bits & (1u << gold->tier)) ? 1 : -1;
  }
  const char *s = c->gold == RULE_GOLD_CATEGORY ? gold->category : gold->attribute;
  if (!s || !*s) return 0;
  *out = rules_line_value(&r->lines[c->line], s, strlen(s));
  return *out >= 0 ? 1 : -1;
}

static double similarity(const rule_criterion *c, int value, int gold) {
  if (value < 0) return 0;
  if (value == gold) return 1;
  return (c->adjacent[value] >> gold) & 1 ? 0.5 : 0;
}

static void miss(agrl_reward_result *out, const rule_criterion *c, agrl_score *s, const char *cause) {
  s->missing = true;
  s->cause = cause;
  if (c->missing == RULE_MISSING_REWEIGHT) return;
  out->missing = true;
  if (!*out->cause) out->cause = cause;
  if (c->missing == RULE_MISSING_STOP) out->stop = true;
}

// Fills the scores of the criteria that apply and returns their weighted mean.
static double judge(const agrl_rules *r, int mode, const agrl_parsed *p, const agrl_labels *gold,
                    agrl_reward_result *out) {
  double total = 0, sum = 0;
  for (size_t i = 0; i < r->n_criteria; i++) {
    const rule_criterion *c = &r->criteria[i];
    if (mode == AGRL_REWARD_SPARSE && c->gold != RULE_GOLD_TIER) continue;
    uint64_t t0 = agrl_mono_ns();
    int want = 0, has = rules_gold_value(r, c, gold, &want);
    if (!has) continue;
    agrl_score *s = &out->scores[out->n_scores++];
    *s = (agrl_score){.criterion = c->name, .weight = c->weight, .cause = ""};
    if (has < 0) {
      miss(out, c, s, "gold label unknown to the rule file");
    } else {
      s->value = similarity(c, p->value[c->line], want);
      total += c->weight;
      sum += c->weight * s->value;
    }
    s->latency_us = (uint32_t)((agrl_mono_ns() - t0) / 1000);
  }
  if (!(total > 0)) {  // every criterion that applies is missing under reweight: there is nothing to pay for
    out->missing = true;
    if (!*out->cause) out->cause = "no criterion could be computed";
    return 0;
  }
  for (size_t i = 0; i < out->n_scores; i++)
    out->scores[i].weight = out->scores[i].missing ? 0 : out->scores[i].weight / total;
  return sum / total;
}

void agrl_reward_score(const agrl_rules *r, int mode, int gate, const char *text, size_t len, const agrl_labels *gold,
                       agrl_reward_result *out) {
  *out = (agrl_reward_result){.cause = ""};
  agrl_parsed p;
  agrl_reward_parse(r, text, len, &p);
  out->tier = p.tier;
  out->accurate = p.tier > 0 && (uint32_t)p.tier == gold->tier;
  out->g_format = p.ok;
  out->g_rule = p.ok && (!r->gate_agree || p.agree) && (!r->gate_table || p.implied);
  double value = judge(r, mode, &p, gold, out);
  bool open = out->g_format;
  if (mode != AGRL_REWARD_SPARSE) {
    if (gate == AGRL_GATE_RULE || gate == AGRL_GATE_BOTH) open = open && out->g_rule;
    if (gate == AGRL_GATE_OUTCOME || gate == AGRL_GATE_BOTH) open = open && out->accurate;
  }
  out->reward = open ? value : 0;
}
