// SPDX-License-Identifier: Apache-2.0
// The trail of one reward, and example traces made of the rules alone.
#include "reward/explain.h"

#include <stdio.h>
#include <string.h>

#include "reward/rules_impl.h"

const char *agrl_judged_text(agrl_judged j) {
  static const char *const texts[] = {"equal", "adjacent", "different", "not readable", "missing", "no gold label"};
  return texts[j];
}

// name separated by commas, without the bit sets' order mattering
static void add_set(agrl_buf *out, const rule_line *l, uint32_t bits) {
  bool first = true;
  for (size_t v = 0; v < l->n_values; v++) {
    if (!((bits >> v) & 1)) continue;
    agrl_buf_addf(out, "%s%s", first ? "" : "|", l->values[v]);
    first = false;
  }
}

static void add_tiers(agrl_buf *out, const agrl_rules *r, uint32_t bits) {
  bool first = true;
  for (size_t i = 0; i < r->n_tiers; i++) {
    if (!((bits >> r->tiers[i]) & 1)) continue;
    agrl_buf_addf(out, "%s%d", first ? "" : "|", r->tiers[i]);
    first = false;
  }
}

void rules_row_text(const agrl_rules *r, const rule_row *row, agrl_buf *out) {
  bool first = true;
  for (size_t i = 0; i < r->n_lines; i++) {
    if (r->lines[i].kind != RULE_LINE_CHOICE || row->when[i] == UINT32_MAX) continue;
    agrl_buf_addf(out, "%s%s ", first ? "" : ", ", r->lines[i].name);
    add_set(out, &r->lines[i], row->when[i]);
    first = false;
  }
  agrl_buf_adds(out, first ? "anything permits " : " permits ");
  add_tiers(out, r, row->permit);
}

static void explain_lines(const agrl_rules *r, const char *text, const rule_read *reads, size_t n, agrl_explained *out) {
  bool seen[AGRL_RULES_MAX_LINES] = {false};
  for (size_t i = 0; i < n; i++) {
    agrl_explained_line *l = &out->lines[out->n_lines++];
    *l = (agrl_explained_line){.text = {text + reads[i].at, reads[i].len}, .value = {"", 0}, .problem = reads[i].problem};
    if (reads[i].line < 0) continue;
    const rule_line *part = &r->lines[reads[i].line];
    seen[reads[i].line] = true;
    l->part = part->name;
    l->where = part->at;
    l->tier = part->kind == RULE_LINE_TIER;
    l->value = (agrl_slice){l->text.s + part->prefix_len, l->text.n - part->prefix_len};
  }
  for (size_t i = 0; i < r->n_lines; i++)
    if (!seen[i]) out->absent[out->n_absent++] = (struct agrl_explained_part){r->lines[i].name, r->lines[i].at};
}

static void value_text(const rule_line *l, int value, char out[64]) {
  if (value < 0) return;
  if (l->kind == RULE_LINE_TIER) snprintf(out, 64, "%d", value);
  else snprintf(out, 64, "%s", l->values[value]);
}

static void explain_criteria(const agrl_rules *r, const agrl_parsed *p, const agrl_labels *gold, agrl_explained *out) {
  const agrl_reward_result *res = &out->result;
  for (size_t i = 0, s = 0; i < r->n_criteria; i++) {
    const rule_criterion *c = &r->criteria[i];
    const rule_line *l = &r->lines[c->line];
    agrl_explained_criterion *e = &out->criteria[out->n_criteria++];
    *e = (agrl_explained_criterion){.name = c->name, .part = l->name, .where = c->at, .judged = AGRL_JUDGED_SKIPPED};
    int want = -1, has = rules_gold_value(r, c, gold, &want);
    value_text(l, p->value[c->line], e->value);
    if (has > 0) value_text(l, want, e->gold);
    if (has < 0 && c->gold == RULE_GOLD_TIER) snprintf(e->gold, sizeof e->gold, "%u", gold->tier);
    else if (has < 0) snprintf(e->gold, sizeof e->gold, "%s", c->gold == RULE_GOLD_CATEGORY ? gold->category : gold->attribute);
    if (s == res->n_scores || strcmp(res->scores[s].criterion, c->name) != 0) continue;  // the scores are in the criteria's order
    const agrl_score *score = &res->scores[s++];
    e->weight = score->weight;
    e->points = score->missing ? 0 : score->weight * score->value;
    e->judged = score->missing ? AGRL_JUDGED_MISSING : p->value[c->line] < 0 ? AGRL_JUDGED_UNREAD : score->value >= 1 ? AGRL_JUDGED_EQUAL
        : score->value > 0 ? AGRL_JUDGED_ADJACENT : AGRL_JUDGED_DIFFERENT;
  }
}

static void explain_format(const agrl_rules *r, const agrl_parsed *p, agrl_explained *out) {
  agrl_explained_gate *g = &out->gates[AGRL_GATE_AT_FORMAT];
  g->listed = g->counts = true;
  g->open = p->ok;
  if (p->ok) return;
  snprintf(g->why, sizeof g->why, "%s", p->why);
  for (size_t i = 0; i < out->n_lines; i++)
    if (out->lines[i].problem) {
      if (out->lines[i].where) g->where = out->lines[i].where;
      return;
    }
  if (out->n_absent) g->where = out->absent[0].where;
}

static void explain_agree(const agrl_rules *r, const agrl_parsed *p, agrl_explained *out) {
  agrl_explained_gate *g = &out->gates[AGRL_GATE_AT_AGREE];
  g->listed = r->gate_agree;
  g->open = p->agree && p->tier;
  if (g->open) return;
  agrl_buf why = {0};
  for (size_t i = 0; i < r->n_lines; i++) {
    if (r->lines[i].kind != RULE_LINE_TIER) continue;
    if (p->value[i] != p->tier && p->tier) g->where = r->lines[i].at;
    if (p->value[i] < 0) agrl_buf_addf(&why, "%s%s says no tier", why.len ? ", " : "", r->lines[i].name);
    else agrl_buf_addf(&why, "%s%s says %d", why.len ? ", " : "", r->lines[i].name, p->value[i]);
  }
  snprintf(g->why, sizeof g->why, "%s", why.data);
  agrl_buf_release(&why);
}

static void explain_table(const agrl_rules *r, const agrl_parsed *p, agrl_explained *out) {
  agrl_explained_gate *g = &out->gates[AGRL_GATE_AT_TABLE];
  g->listed = r->gate_table;
  g->open = p->ok && p->implied;
  if (!p->ok) {
    snprintf(g->why, sizeof g->why, "the judgements cannot be read: the format does not hold");
    return;
  }
  agrl_buf why = {0};
  for (size_t i = 0; i < r->n_rows; i++) {
    if (!rules_row_matches(r, &r->rows[i], p->value)) continue;
    out->rules[out->n_rules++] = r->rows[i].at;
    if (g->open) continue;
    if (out->n_rules == 1) g->where = r->rows[i].at;
    agrl_buf_addf(&why, "%s%s:%d: ", why.len ? ", " : "", r->file, r->rows[i].at);
    rules_row_text(r, &r->rows[i], &why);
  }
  if (!g->open) snprintf(g->why, sizeof g->why, "tier %d is not permitted: %s", p->tier, why.data ? why.data : "");
  agrl_buf_release(&why);
}

void agrl_reward_explain(const agrl_rules *r, int mode, int gate, const char *text, size_t len, const agrl_labels *gold, agrl_explained *out) {
  static const char *const names[AGRL_GATES] = {"format", "agree", "table", "outcome"};
  rule_read reads[RULES_MAX_READS];
  size_t n = 0;
  agrl_parsed p;
  *out = (agrl_explained){0};
  agrl_reward_score(r, mode, gate, text, len, gold, &out->result);
  rules_parse(r, text, len, &p, reads, &n);
  for (size_t i = 0; i < AGRL_GATES; i++) out->gates[i] = (agrl_explained_gate){.name = names[i], .where = r->gates_at};
  explain_lines(r, text, reads, n, out);
  explain_criteria(r, &p, gold, out);
  explain_format(r, &p, out);
  explain_agree(r, &p, out);
  explain_table(r, &p, out);
  agrl_explained_gate *outcome = &out->gates[AGRL_GATE_AT_OUTCOME];
  outcome->listed = true;
  outcome->open = out->result.accurate;
  if (!outcome->open) snprintf(outcome->why, sizeof outcome->why, "the trace says tier %d, gold is %u", p.tier, gold->tier);
  if (mode == AGRL_REWARD_SPARSE) return;
  bool rule = gate == AGRL_GATE_RULE || gate == AGRL_GATE_BOTH;
  out->gates[AGRL_GATE_AT_AGREE].counts = rule && r->gate_agree;
  out->gates[AGRL_GATE_AT_TABLE].counts = rule && r->gate_table;
  outcome->counts = gate == AGRL_GATE_OUTCOME || gate == AGRL_GATE_BOTH;
}

const agrl_explained_gate *agrl_explained_closed(const agrl_explained *e) {
  for (size_t i = 0; i < AGRL_GATES; i++)
    if (e->gates[i].counts && !e->gates[i].open) return &e->gates[i];
  return NULL;
}

bool agrl_rules_example(const agrl_rules *r, int tier, agrl_buf *out, agrl_labels *gold) {
  int value[AGRL_RULES_MAX_LINES];
  for (size_t c = 0, more = 1; more; c++) {
    size_t rest = c;
    for (size_t i = 0; i < r->n_lines; i++) {
      value[i] = -1;
      if (r->lines[i].kind != RULE_LINE_CHOICE) continue;
      value[i] = (int)(rest % r->lines[i].n_values);
      rest /= r->lines[i].n_values;
    }
    if (rest) return false;  // every combination was tried
    if ((rules_permitted(r, value) >> tier) & 1) more = 0;
  }
  *gold = (agrl_labels){.tier = (uint32_t)tier, .category = "", .attribute = ""};
  for (size_t i = 0; i < r->n_lines; i++) {
    const rule_line *l = &r->lines[i];
    if (i) agrl_buf_addc(out, '\n');
    agrl_buf_adds(out, l->prefix);
    if (l->kind == RULE_LINE_TIER) agrl_buf_addf(out, "%d", tier);
    else agrl_buf_adds(out, l->kind == RULE_LINE_FREE ? "..." : l->values[value[i]]);
  }
  int category = rules_line_of_gold(r, RULE_GOLD_CATEGORY), attribute = rules_line_of_gold(r, RULE_GOLD_ATTRIBUTE);
  if (category >= 0) gold->category = r->lines[category].values[value[category]];
  if (attribute >= 0) gold->attribute = r->lines[attribute].values[value[attribute]];
  return true;
}
