// SPDX-License-Identifier: Apache-2.0
// agrlctl rules check: the file alone, gold rows against it, what the data never uses, and examples scored line by line.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/task/task.h"
#include "deploy/ctl/explain.h"
#include "deploy/ctl/rules.h"

typedef struct example {
  const char *what;  // static text
  const char *row;   // id of the row it comes from; NULL: made of the rules alone
  agrl_labels gold;  // borrowed from the row or the rules
  agrl_buf text;
  agrl_explained e;
} example;
enum { MAX_EXAMPLES = AGRL_RULES_MAX_TIERS + 3 };

typedef struct checker {
  const char *file, *data_path;
  agrl_rules *rules;
  agrl_task_text *text;
  agrl_dataset data;
  agrl_rules_report report;
  agrl_error err;  // the first thing wrong
  size_t n_examples;
  example *examples;
} checker;

static void score(checker *c, example *x) {
  agrl_reward_explain(c->rules, AGRL_REWARD_SHAPED, AGRL_GATE_RULE, x->text.data, x->text.len, &x->gold, &x->e);
}

// The first row of the tier with a reference trace, else a trace made of the rules.
static void add_tier(checker *c, int tier) {
  example *x = &c->examples[c->n_examples];
  *x = (example){.what = "a trace of the rules"};
  for (size_t i = 0; i < c->data.n && !x->row; i++) {
    const agrl_row *row = &c->data.rows[i];
    if (row->gold.tier != tier || !agrl_task_text_reference(c->text, row, &x->text)) continue;
    x->what = "the reference trace of row";
    x->row = row->id;
    x->gold = agrl_task_labels(row);
  }
  if (!x->row && !agrl_rules_example(c->rules, tier, &x->text, &x->gold)) return;  // load refuses such a file
  if (!x->text.data) agrl_buf_adds(&x->text, "");
  score(c, x);
  c->n_examples++;
}

// The first example again, each line passed through change: 'cut' loses its last line, 'torn' has another tier on its last tier
// line, 'other' on all of them.
static void add_changed(checker *c, const char *what, bool cut, bool torn) {
  const example *from = &c->examples[0];
  const int *tiers;
  size_t n = agrl_rules_tiers(c->rules, &tiers), last_tier = 0;
  int other = tiers[n - 1] == (int)from->gold.tier ? tiers[0] : tiers[n - 1];
  for (size_t i = 0; i < from->e.n_lines; i++)
    if (from->e.lines[i].tier) last_tier = i;
  example *x = &c->examples[c->n_examples++];
  *x = (example){.what = what, .gold = from->gold};
  for (size_t i = 0; i + cut < from->e.n_lines; i++) {
    const agrl_explained_line *l = &from->e.lines[i];
    if (i) agrl_buf_addc(&x->text, '\n');
    if (!l->tier || cut || (torn && i != last_tier)) {
      agrl_buf_add(&x->text, l->text.s, l->text.n);
    } else {
      agrl_buf_add(&x->text, l->text.s, l->text.n - l->value.n);
      agrl_buf_addf(&x->text, "%d", other);
    }
  }
  if (!x->text.data) agrl_buf_adds(&x->text, "");
  score(c, x);
}

static void make_examples(checker *c) {
  const int *tiers;
  size_t n = agrl_rules_tiers(c->rules, &tiers), tier_lines = 0;
  c->examples = agrl_xcalloc(MAX_EXAMPLES, sizeof *c->examples);
  for (size_t i = 0; i < n; i++) add_tier(c, tiers[i]);
  if (!c->n_examples) return;
  for (size_t i = 0; i < c->examples[0].e.n_lines; i++) tier_lines += c->examples[0].e.lines[i].tier;
  add_changed(c, "the first one without its last line", true, false);
  if (tier_lines > 1) add_changed(c, "the first one with another tier on its last tier line", false, true);
  add_changed(c, "the first one with another tier", false, false);
}

static agrl_rc examine(checker *c, agrl_error *err) {
  agrl_rc rc = agrl_rules_load(c->file, &c->rules, err);
  if (!rc) rc = agrl_task_text_load(c->file, &c->text, err);
  if (!rc && c->data_path) rc = agrl_dataset_load(c->data_path, NULL, NULL, &c->data, err);
  if (rc) return rc;
  rc = agrl_rules_check_data(c->rules, c->text, c->data_path ? &c->data : NULL, &c->report, err);
  if (!rc && c->data_path && !c->report.checked)
    rc = agrl_fail(err, AGRL_EPARSE, "%s: none of %zu rows can be checked: a row needs a reference trace (its own, or the rule file's reference:), or "
                   "gold labels and a table of rules", c->data_path, c->report.rows);
  make_examples(c);
  return rc;
}

static double tier_weight(const agrl_rules *r) {  // it outweighs the others, else the file is refused
  double most = 0, weight;
  for (size_t i = 0; i < agrl_rules_criteria(r); i++)
    if (agrl_rules_criterion(r, i, &weight) && weight > most) most = weight;
  return most;
}

// Why a use deserves a line; NULL: it is used. The rules stand last in the report.
static const char *unused(const checker *c, const agrl_rules_use *u) {
  const agrl_rules_report *rep = &c->report;
  bool has_rules = !strcmp(rep->uses[rep->n_uses - 1].kind, "rule");
  if (!strcmp(u->kind, "value") && has_rules && !u->named) return "no rule names it";
  if (!c->data.n || u->gold) return NULL;
  if (!strcmp(u->kind, "tier")) return "no row has it";
  if (u->traces) return NULL;
  return rep->references ? "in no gold label and no reference trace" : "in no gold label";
}

static void text_report(const checker *c, agrl_buf *out) {
  const agrl_rules_report *rep = &c->report;
  if (c->data_path) {
    agrl_buf_addf(out, "%s: %zu rows, %zu checked (%zu with a reference trace), %zu pass\n", c->data_path, rep->rows, rep->checked,
                  rep->references, rep->passed);
    if (rep->contradicting)
      agrl_buf_addf(out, "%zu reference traces say another tier than the gold label (SFT learns them; rewards use gold)\n", rep->contradicting);
    if (rep->failures.len) agrl_buf_addf(out, "failing:\n%s\n", rep->failures.data);
  }
  for (size_t i = 0; i < rep->n_uses; i++) {
    const char *why = unused(c, &rep->uses[i]);
    if (why) agrl_buf_addf(out, "unused: %s:%d: %s %s: %s\n", c->file, rep->uses[i].where, rep->uses[i].kind, rep->uses[i].what, why);
  }
  for (size_t i = 0; i < c->n_examples; i++) {
    const example *x = &c->examples[i];
    explain_context k = {.file = c->file, .mode = AGRL_REWARD_SHAPED, .gate = AGRL_GATE_RULE, .gold = x->gold};
    agrl_buf_addf(out, "\nexample %zu: %s", i + 1, x->what);
    if (x->row) {
      agrl_buf_addc(out, ' ');
      agrl_buf_add_visible(out, x->row, strlen(x->row));
    }
    agrl_buf_addf(out, "; gold tier %u\n", x->gold.tier);
    explain_text(&k, &x->e, out);
  }
}

static void text_rules(const checker *c, agrl_buf *out) {
  const agrl_rules *r = c->rules;
  const int *tiers;
  size_t n = agrl_rules_tiers(r, &tiers);
  agrl_buf_addf(out, "rules %s, hash %.12s\ntiers:", agrl_rules_name(r), agrl_rules_hash(r));
  for (size_t i = 0; i < n; i++) agrl_buf_addf(out, " %d %s%s", tiers[i], agrl_rules_tier_name(r, tiers[i]), i + 1 < n ? "," : ";");
  agrl_buf_adds(out, " each can be reached\ncriteria:");
  for (size_t i = 0; i < agrl_rules_criteria(r); i++) {
    double weight;
    const char *name = agrl_rules_criterion(r, i, &weight);
    agrl_buf_addf(out, " %s %g%s", name, weight, i + 1 < agrl_rules_criteria(r) ? "," : "\n");
  }
  double w = tier_weight(r);
  agrl_buf_addf(out, "dominance: holds; a right tier earns at least %g, a wrong one at most %g\n", w, w < 1 ? 1 - w : 0);
}

static void json_uses(const checker *c, agrl_jw *w) {
  agrl_jw_key(w, "uses");
  agrl_jw_arr(w);
  for (size_t i = 0; i < c->report.n_uses; i++) {
    const agrl_rules_use *u = &c->report.uses[i];
    const char *why = unused(c, u);
    agrl_jw_obj(w);
    agrl_jw_kstr(w, "kind", u->kind);
    agrl_jw_kstr(w, "what", u->what);
    agrl_jw_ki64(w, "line", u->where);
    agrl_jw_ku64(w, "named", u->named);
    agrl_jw_ku64(w, "gold", u->gold);
    agrl_jw_ku64(w, "traces", u->traces);
    agrl_jw_key(w, "unused");
    if (why) agrl_jw_str(w, why);
    else agrl_jw_null(w);
    agrl_jw_end_obj(w);
  }
  agrl_jw_end_arr(w);
}

static void json_report(const checker *c, agrl_jw *w) {
  const agrl_rules_report *rep = &c->report;
  agrl_jw_key(w, "data");
  agrl_jw_obj(w);
  agrl_jw_kstr(w, "file", c->data_path);
  agrl_jw_ku64(w, "rows", rep->rows);
  agrl_jw_ku64(w, "malformed", c->data.n_bad);
  agrl_jw_ku64(w, "checked", rep->checked);
  agrl_jw_ku64(w, "references", rep->references);
  agrl_jw_ku64(w, "contradicting", rep->contradicting);
  agrl_jw_ku64(w, "passed", rep->passed);
  agrl_jw_key(w, "failing");
  agrl_jw_arr(w);
  for (size_t i = 0; i < rep->n_places; i++) {
    const agrl_rules_place *p = &rep->places[i];
    agrl_jw_obj(w);
    agrl_jw_kstr(w, "file", c->file);
    agrl_jw_ki64(w, "line", p->where);
    agrl_jw_ku64(w, "rows", p->rows);
    agrl_jw_key(w, "ids");
    agrl_jw_arr(w);
    for (size_t k = 0; k < AGRL_RULES_PLACE_IDS && k < p->rows; k++) agrl_jw_str(w, p->ids[k]);
    agrl_jw_end_arr(w);
    agrl_jw_kstr(w, "why", p->why);
    agrl_jw_end_obj(w);
  }
  agrl_jw_end_arr(w);
  agrl_jw_end_obj(w);
}

static void json_rules(const checker *c, agrl_jw *w) {
  const agrl_rules *r = c->rules;
  const int *tiers;
  size_t n = agrl_rules_tiers(r, &tiers);
  agrl_jw_kstr(w, "name", agrl_rules_name(r));
  agrl_jw_kstr(w, "hash", agrl_rules_hash(r));
  agrl_jw_key(w, "tiers");
  agrl_jw_arr(w);
  for (size_t i = 0; i < n; i++) agrl_jw_i64(w, tiers[i]);
  agrl_jw_end_arr(w);
  agrl_jw_key(w, "criteria");
  agrl_jw_obj(w);
  for (size_t i = 0; i < agrl_rules_criteria(r); i++) {
    double weight;
    const char *name = agrl_rules_criterion(r, i, &weight);
    agrl_jw_kf64(w, name, weight);
  }
  agrl_jw_end_obj(w);
  agrl_jw_key(w, "dominance");
  agrl_jw_obj(w);
  agrl_jw_kf64(w, "right_at_least", tier_weight(r));
  agrl_jw_kf64(w, "wrong_at_most", 1 - tier_weight(r));
  agrl_jw_end_obj(w);
}

static void print_json(const checker *c, agrl_rc rc) {
  agrl_buf out = {0};
  agrl_jw w;
  agrl_jw_init(&w, &out);
  agrl_jw_obj(&w);
  agrl_jw_kstr(&w, "file", c->file);
  agrl_jw_kbool(&w, "ok", !rc);
  if (rc) agrl_jw_kstr(&w, "error", c->err.msg);
  if (c->rules) json_rules(c, &w);
  if (c->data.n) json_report(c, &w);
  if (c->report.n_uses) json_uses(c, &w);
  agrl_jw_key(&w, "examples");
  agrl_jw_arr(&w);
  for (size_t i = 0; i < c->n_examples; i++) {
    const example *x = &c->examples[i];
    explain_context k = {.file = c->file, .mode = AGRL_REWARD_SHAPED, .gate = AGRL_GATE_RULE, .gold = x->gold};
    agrl_jw_obj(&w);
    agrl_jw_kstr(&w, "what", x->what);
    if (x->row) agrl_jw_kstr(&w, "row", x->row);
    agrl_jw_key(&w, "explanation");
    explain_json(&k, &x->e, &w);
    agrl_jw_end_obj(&w);
  }
  agrl_jw_end_arr(&w);
  agrl_jw_end_obj(&w);
  puts(out.data);
  agrl_buf_release(&out);
}

int rules_check_run(const char *file, const char *data, bool json) {
  checker c = {.file = file, .data_path = data};
  agrl_rc rc = examine(&c, &c.err);
  if (json) {
    print_json(&c, rc);
  } else if (c.rules) {
    agrl_buf out = {0};
    text_rules(&c, &out);
    if (c.report.n_uses) text_report(&c, &out);
    fputs(out.data, stdout);
    agrl_buf_release(&out);
  }
  for (size_t i = 0; i < c.n_examples; i++) agrl_buf_release(&c.examples[i].text);
  free(c.examples);
  agrl_rules_report_release(&c.report);
  agrl_dataset_release(&c.data);
  agrl_task_text_free(c.text);
  agrl_rules_free(c.rules);
  return rc ? ctl_fail(&c.err) : 0;
}
