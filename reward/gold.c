// SPDX-License-Identifier: Apache-2.0
// Gold data against a rule file: do the labels and the reference traces pass the gates, which rule stops those that do not,
// and which tiers, values and rules does the data never meet.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "reward/rules_impl.h"

#define MIN_PASS 0.99

static agrl_rules_use *add_use(agrl_rules_report *rep, const char *kind, int where, char *what) {
  rep->uses = agrl_xreallocarray(rep->uses, rep->n_uses + 1, sizeof *rep->uses);
  rep->uses[rep->n_uses] = (agrl_rules_use){.kind = kind, .where = where, .what = what};
  return &rep->uses[rep->n_uses++];
}

// The uses stand as: the tiers, the values of each choice line, the rules.
static void begin_uses(const agrl_rules *r, agrl_rules_report *rep) {
  for (size_t i = 0; i < r->n_tiers; i++) add_use(rep, "tier", r->tiers_at, agrl_xasprintf("%d %s", r->tiers[i], r->tier_names[i]));
  for (size_t i = 0; i < r->n_lines; i++) {
    for (size_t v = 0; v < r->lines[i].n_values; v++) {
      agrl_rules_use *u = add_use(rep, "value", r->lines[i].at, agrl_xasprintf("%s %s", r->lines[i].name, r->lines[i].values[v]));
      for (size_t k = 0; k < r->n_rows; k++) u->named += r->rows[k].when[i] != UINT32_MAX && ((r->rows[k].when[i] >> v) & 1);
    }
  }
  for (size_t k = 0; k < r->n_rows; k++) {
    agrl_buf what = {0};
    rules_row_text(r, &r->rows[k], &what);
    add_use(rep, "rule", r->rows[k].at, agrl_buf_take(&what));
  }
}

// Counts one set of judgements (-1: unknown) as gold labels or as a trace.
static void count_uses(const agrl_rules *r, agrl_rules_report *rep, int tier, const int *value, bool trace) {
  agrl_rules_use *u = rep->uses;
  bool complete = true;
  for (size_t i = 0; i < r->n_tiers; i++, u++) *(trace ? &u->traces : &u->gold) += r->tiers[i] == tier;
  for (size_t i = 0; i < r->n_lines; i++) {
    for (size_t v = 0; v < r->lines[i].n_values; v++, u++) *(trace ? &u->traces : &u->gold) += value[i] == (int)v;
    if (r->lines[i].kind == RULE_LINE_CHOICE && value[i] < 0) complete = false;
  }
  for (size_t k = 0; k < r->n_rows && complete; k++)
    if (rules_row_matches(r, &r->rows[k], value)) *(trace ? &u[k].traces : &u[k].gold) += 1;
}

static agrl_rules_place *add_place(agrl_rules_report *rep, int where, const char *why) {
  rep->places = agrl_xreallocarray(rep->places, rep->n_places + 1, sizeof *rep->places);
  agrl_rules_place *p = &rep->places[rep->n_places++];
  *p = (agrl_rules_place){.where = where};
  snprintf(p->why, sizeof p->why, "%s", why);
  return p;
}

// Reasons may be as many as the data's labels: of those of one line the first ones have a place each, the others one together.
static agrl_rules_place *place_of(agrl_rules_report *rep, int where, const char *why) {
  size_t reasons = 0;
  agrl_rules_place *last = NULL;
  for (size_t i = 0; i < rep->n_places; i++) {
    if (rep->places[i].where != where) continue;
    last = &rep->places[i];
    if (!strncmp(last->why, why, sizeof last->why - 1)) return last;
    reasons++;
  }
  if (reasons > AGRL_RULES_PLACE_REASONS) return last;
  return add_place(rep, where, reasons < AGRL_RULES_PLACE_REASONS ? why : "other reasons");
}

static void add_failure(agrl_rules_report *rep, int where, const char *id, const char *why) {
  agrl_rules_place *p = place_of(rep, where, why);
  if (p->rows < AGRL_RULES_PLACE_IDS) p->ids[p->rows] = agrl_xstrdup(id);
  p->rows++;
}

// What the gold labels say on each choice line; a label that no line has as its value is the failure of that line.
static bool read_labels(const agrl_rules *r, const agrl_labels *gold, int *value, int *where, agrl_buf *why) {
  for (size_t i = 0; i < AGRL_RULES_MAX_LINES; i++) value[i] = -1;
  for (size_t i = 0; i < r->n_criteria; i++) {
    const rule_criterion *c = &r->criteria[i];
    int v = -1, has = rules_gold_value(r, c, gold, &v);
    if (has > 0 && c->gold != RULE_GOLD_TIER) value[c->line] = v;
    if (has >= 0) continue;
    if (c->gold == RULE_GOLD_TIER) {
      *where = r->tiers_at;
      agrl_buf_addf(why, "gold tier %u is not among the tiers", gold->tier);
    } else {
      *where = r->lines[c->line].at;
      agrl_buf_addf(why, "gold %s '%s' is not a value of line %s", c->gold == RULE_GOLD_CATEGORY ? "category" : "attribute",
                    c->gold == RULE_GOLD_CATEGORY ? gold->category : gold->attribute, r->lines[c->line].name);
    }
    return false;
  }
  return true;
}

static void blame_table(const agrl_rules *r, const agrl_labels *gold, const int *value, int *where, agrl_buf *why) {
  agrl_buf_addf(why, "no rule permits tier %u for category %s, attribute %s", gold->tier, *gold->category ? gold->category : "any",
                *gold->attribute ? gold->attribute : "any");
  for (size_t k = 0; k < r->n_rows; k++) {
    if (!rules_row_matches(r, &r->rows[k], value)) continue;
    *where = r->rows[k].at;
    agrl_buf_adds(why, "; the rule: ");
    rules_row_text(r, &r->rows[k], why);
    return;
  }
}

// A reference with another tier than gold is not gold but a teacher's error: it says nothing about the rule file, as long as it
// is well formed.
static void check_reference(const agrl_rules *r, const agrl_buf *ref, const agrl_labels *gold, agrl_rules_report *rep, int *where, agrl_buf *why) {
  agrl_explained e;
  agrl_parsed p;
  const char *text = ref->data ? ref->data : "";
  agrl_reward_parse(r, text, ref->len, &p);
  if (p.ok) count_uses(r, rep, p.tier, p.value, true);
  agrl_reward_explain(r, AGRL_REWARD_SHAPED, AGRL_GATE_RULE, text, ref->len, gold, &e);
  rep->references++;
  rep->contradicting += p.ok && !e.result.accurate;
  const agrl_explained_gate *closed = agrl_explained_closed(&e);
  if (closed && (!p.ok || e.result.accurate)) {
    *where = closed->where;
    agrl_buf_addf(why, "the reference trace fails gate %s: %s", closed->name, closed->why);
  } else if (e.result.accurate && e.result.missing) {
    for (size_t i = 0; i < e.n_criteria && !*where; i++)
      if (e.criteria[i].judged == AGRL_JUDGED_MISSING) *where = e.criteria[i].where;
    agrl_buf_addf(why, "the reference trace's reward is missing: %s", e.result.cause);
  }
}

static void check_row(const agrl_rules *r, const agrl_task_text *text, const agrl_row *row, agrl_rules_report *rep, agrl_buf *ref, agrl_buf *why) {
  const agrl_labels gold = agrl_task_labels(row);
  int value[AGRL_RULES_MAX_LINES], where = 0;
  agrl_buf_clear(ref);
  agrl_buf_clear(why);
  bool traced = text ? agrl_task_text_reference(text, row, ref) : row->reference != NULL;
  if (!text && traced) agrl_buf_adds(ref, row->reference);
  if (read_labels(r, &gold, value, &where, why)) {
    count_uses(r, rep, row->gold.tier, value, false);
    if (!((rules_permitted(r, value) >> gold.tier) & 1)) blame_table(r, &gold, value, &where, why);
    else if (traced) check_reference(r, ref, &gold, rep, &where, why);
    else if (!r->n_rows) return;  // nothing to check
  }
  rep->checked++;
  if (why->len) add_failure(rep, where, row->id, why->data);
  else rep->passed++;
}

agrl_rc agrl_rules_check_data(const agrl_rules *r, const agrl_task_text *text, const agrl_dataset *data, agrl_rules_report *report,
                              agrl_error *err) {
  *report = (agrl_rules_report){.rows = data ? data->n : 0};
  agrl_buf ref = {0}, why = {0};
  begin_uses(r, report);
  for (size_t i = 0; i < report->rows; i++) check_row(r, text, &data->rows[i], report, &ref, &why);
  agrl_buf_release(&ref);
  agrl_buf_release(&why);
  for (size_t i = 0; i < report->n_places; i++) {
    const agrl_rules_place *p = &report->places[i];
    agrl_buf_addf(&report->failures, "%s%s:%d: %zu row%s (", i ? "\n" : "", r->file, p->where, p->rows, p->rows == 1 ? "" : "s");
    for (size_t k = 0; k < AGRL_RULES_PLACE_IDS && k < p->rows; k++) {
      if (k) agrl_buf_adds(&report->failures, ", ");
      agrl_buf_add_visible(&report->failures, p->ids[k], strlen(p->ids[k]));
    }
    agrl_buf_adds(&report->failures, p->rows > AGRL_RULES_PLACE_IDS ? ", ...): " : "): ");
    agrl_buf_add_visible(&report->failures, p->why, strlen(p->why));
  }
  if ((double)report->passed >= MIN_PASS * (double)report->checked) return AGRL_OK;
  return agrl_fail(err, AGRL_ECONFIG, "rule file '%s': only %zu of %zu gold rows pass its gates, expected 99 %%:\n%s", r->name, report->passed,
                   report->checked, report->failures.data);
}

agrl_rc agrl_rules_check_files(const char *rules_path, const char *data_path, agrl_rules_report *report, agrl_error *err) {
  *report = (agrl_rules_report){0};
  agrl_rules *r = NULL;
  agrl_task_text *text = NULL;
  agrl_dataset data = {0};
  agrl_rc rc = agrl_rules_load(rules_path, &r, err);
  if (!rc) rc = agrl_task_text_load(rules_path, &text, err);
  if (!rc && data_path && *data_path) {
    rc = agrl_dataset_load(data_path, NULL, NULL, &data, err);
    if (!rc) rc = agrl_rules_check_data(r, text, &data, report, err);
    agrl_dataset_release(&data);
  }
  agrl_task_text_free(text);
  agrl_rules_free(r);
  return rc;
}

void agrl_rules_report_release(agrl_rules_report *report) {
  for (size_t i = 0; i < report->n_places; i++)
    for (size_t k = 0; k < AGRL_RULES_PLACE_IDS; k++) free(report->places[i].ids[k]);
  for (size_t i = 0; i < report->n_uses; i++) free(report->uses[i].what);
  free(report->places);
  free(report->uses);
  agrl_buf_release(&report->failures);
}
