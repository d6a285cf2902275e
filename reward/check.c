// SPDX-License-Identifier: Apache-2.0
// What must hold before a rule file may reward anything: the tier dominates the shaping, the table is total and reaches
// every tier, and gold data passes its own gates.
#include <math.h>
#include <string.h>

#include "common/text/dataset.h"
#include "reward/rules_read.h"

#define MIN_PASS 0.99
#define MAX_FAILURES 5
#define MAX_COMBINATIONS 65536

agrl_rc rules_check_dominance(const agrl_rules *r, const agrl_yaml *at, agrl_error *err) {
  double tier = 0, others = 0;
  for (size_t i = 0; i < r->n_criteria; i++) {
    if (r->criteria[i].gold == RULE_GOLD_TIER) tier = r->criteria[i].weight;
    else others += r->criteria[i].weight;
  }
  if (!(tier > 0)) return agrl_yaml_fail(at, err, "criteria: none judges the gold label tier");
  if (fabs(tier + others - 1) > 1e-6)
    return agrl_yaml_fail(at, err, "criteria: the weights sum to %g, expected 1", tier + others);
  if (tier <= others + 1e-9)
    return agrl_yaml_fail(at, err,
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

// Why a row's gold does not pass, or false. Rows without anything to check leave *applies false.
static bool row_fails(const agrl_rules *r, const agrl_task_text *text, const agrl_row *row, agrl_rules_report *rep,
                      bool *applies,
                      agrl_buf *why) {
  const agrl_gold *g = &row->gold;
  agrl_buf ref = {0};
  bool traced = text ? agrl_task_text_reference(text, row, &ref) : row->reference != NULL;
  if (!text && traced) agrl_buf_adds(&ref, row->reference);
  *applies = traced || r->n_rows > 0;
  if (!agrl_rules_tier_name(r, g->tier)) {
    *applies = true;
    agrl_buf_addf(why, "gold tier %d is not among the rule file's tiers", g->tier);
  } else if (!agrl_rules_permits(r, g->tier, g->category, g->attribute)) {
    agrl_buf_addf(why, "no rule permits tier %d for category %s, attribute %s", g->tier,
                  g->category ? g->category : "any",
                  g->attribute ? g->attribute : "any");
  } else if (traced) {
    agrl_labels labels = {.tier = (uint32_t)g->tier, .category = g->category ? g->category : "",
                          .attribute = g->attribute ? g->attribute : ""};
    agrl_reward_result res;
    agrl_parsed p;
    agrl_reward_score(r, AGRL_REWARD_SHAPED, AGRL_GATE_RULE, ref.data ? ref.data : "", ref.len, &labels, &res);
    agrl_reward_parse(r, ref.data ? ref.data : "", ref.len, &p);
    rep->contradicting += p.ok && !res.accurate;
    if (!p.ok) agrl_buf_addf(why, "its reference trace: %s", p.why);
    // A reference with another tier than gold is not gold but a teacher's error: it says nothing about the rule file.
    else if (res.accurate && !res.g_rule) agrl_buf_adds(why, "its reference trace breaks the rules");
    else if (res.accurate && res.missing) agrl_buf_addf(why, "its reward is missing: %s", res.cause);
  }
  if (traced && *applies) rep->references++;
  agrl_buf_release(&ref);
  return why->len > 0;
}

agrl_rc agrl_rules_check_data(const agrl_rules *r, const agrl_task_text *text, const agrl_dataset *data,
                              agrl_rules_report *report,
                              agrl_error *err) {
  *report = (agrl_rules_report){.rows = data->n};
  agrl_buf why = {0};
  for (size_t i = 0, failed = 0; i < data->n; i++) {
    bool applies = false;
    agrl_buf_clear(&why);
    bool fails = row_fails(r, text, &data->rows[i], report, &applies, &why);
    if (!applies) continue;
    report->checked++;
    if (!fails) report->passed++;
    else if (failed++ < MAX_FAILURES) agrl_buf_addf(&report->failures, "%s: %s\n", data->rows[i].id, why.data);
  }
  agrl_buf_release(&why);
  if ((double)report->passed >= MIN_PASS * (double)report->checked) return AGRL_OK;
  return agrl_fail(err, AGRL_ECONFIG,
                   "rule file '%s': only %zu of %zu gold rows pass its gates, expected 99 %%; first failing: %s",
                   r->name,
                   report->passed, report->checked, report->failures.data ? report->failures.data : "");
}

agrl_rc agrl_rules_check_files(const char *rules_path, const char *data_path, agrl_rules_report *report,
                               agrl_error *err) {
  *report = (agrl_rules_report){0};
  agrl_rules *r = NULL;
  agrl_task_text *text = NULL;
  agrl_dataset data = {0};
  agrl_rc rc = agrl_rules_load(rules_path, &r, err);
  if (!rc) rc = agrl_task_text_load(rules_path, &text, err);
  if (!rc && data_path && *data_path) {
    rc = agrl_dataset_load(data_path, NULL, NULL, &data, err);
    if (!rc) {
      rc = agrl_rules_check_data(r, text, &data, report, err);
      agrl_dataset_release(&data);
    }
  }
  agrl_task_text_free(text);
  agrl_rules_free(r);
  return rc;
}

void agrl_rules_report_release(agrl_rules_report *report) { agrl_buf_release(&report->failures); }
