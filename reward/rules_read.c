// SPDX-License-Identifier: Apache-2.0
// Sections of the rule file: tiers, trace, criteria, rules, gates. The text sections (prompt, answer, reference,
// guidance) are common/task's business and only allowed here.
#include "reward/rules_read.h"

#include <string.h>

#include "common/base/mem.h"
#include "common/base/num.h"
#include "common/conf/bind.h"

static const char *const top_keys[] = {"name", "tiers", "trace", "criteria", "rules", "gates",
                                       "prompt", "answer", "reference", "guidance", NULL};

// Position of word in names; on failure the message names what exists and the nearest.
static agrl_rc choose(const agrl_yaml *at, const char *what, const char *const *names, size_t n, size_t *out,
                      agrl_error *err) {
  const char *s = agrl_yaml_str(at);
  for (size_t i = 0; s && i < n; i++)
    if (!strcmp(s, names[i])) return *out = i, AGRL_OK;
  const char *near = s ? agrl_conf_nearest(s, names, n) : NULL;
  return agrl_yaml_fail(at, err, "%s %s%s%s; %s%s", what, s ? "'" : "", s ? s : "is not a plain value",
                        s ? "' does not exist" : "",
                        near ? "nearest: " : "expected one of those the file declares", near ? near : "");
}

static agrl_rc need(const agrl_yaml *map, const char *key, agrl_yaml_type type, const agrl_yaml **out,
                    agrl_error *err) {
  static const char *const kinds[] = {"text", "a list", "a mapping"};
  *out = agrl_yaml_get(map, key);
  if (!*out) return agrl_yaml_fail(map, err, "%s is missing", key);
  if ((*out)->type != type) return agrl_yaml_fail(*out, err, "%s: expected %s", key, kinds[type]);
  return AGRL_OK;
}

static bool tier_digit(const char *s, int *out) {
  if (!s || s[0] < '1' || s[0] > '9' || s[1]) return false;
  *out = s[0] - '0';
  return true;
}

static agrl_rc read_tiers(agrl_rules *r, const agrl_yaml *root, agrl_error *err) {
  const agrl_yaml *t;
  agrl_rc rc = need(root, "tiers", AGRL_YAML_MAP, &t, err);
  if (rc) return rc;
  if (t->n < 2 || t->n > AGRL_RULES_MAX_TIERS)
    return agrl_yaml_fail(t, err, "tiers: expected 2 to %d of them", AGRL_RULES_MAX_TIERS);
  r->tiers_at = t->line;
  for (size_t i = 0; i < t->n; i++) {
    const char *name = agrl_yaml_str(t->items[i]);
    int digit;
    if (!tier_digit(t->keys[i], &digit))
      return agrl_yaml_fail(t->items[i], err, "tier '%s': expected a digit 1..9", t->keys[i]);
    if (!name || !*name) return agrl_yaml_fail(t->items[i], err, "tier %d: expected its name", digit);
    r->tiers[i] = digit;
    r->tier_names[i] = agrl_xstrdup(name);
    r->tier_bits |= 1u << digit;
    r->n_tiers++;
  }
  return AGRL_OK;
}

static agrl_rc read_values(rule_line *l, const agrl_yaml *item, agrl_error *err) {
  const agrl_yaml *vals;
  agrl_rc rc = need(item, "values", AGRL_YAML_SEQ, &vals, err);
  if (rc) return rc;
  if (vals->n < 2 || vals->n > AGRL_RULES_MAX_VALUES)
    return agrl_yaml_fail(vals, err, "values: expected 2 to %d of them", AGRL_RULES_MAX_VALUES);
  for (size_t i = 0; i < vals->n; i++) {
    const char *s = agrl_yaml_str(vals->items[i]);
    if (!s || !*s || strchr(s, '\n')) return agrl_yaml_fail(vals->items[i], err, "values: expected one line of text");
    if (rules_line_value(l, s, strlen(s)) >= 0)
      return agrl_yaml_fail(vals->items[i], err, "value '%s' stands twice", s);
    l->values[l->n_values++] = agrl_xstrdup(s);
  }
  return AGRL_OK;
}

static agrl_rc read_line(agrl_rules *r, const agrl_yaml *item, agrl_error *err) {
  static const char *const keys[] = {"name", "prefix", "kind", "values", NULL};
  static const char *const kinds[] = {"tier", "free", "choice"};
  if (item->type != AGRL_YAML_MAP)
    return agrl_yaml_fail(item, err, "trace: expected {name, prefix, kind} for each line");
  const agrl_yaml *name, *kind;
  agrl_rc rc = agrl_yaml_only(item, keys, err);
  if (!rc) rc = need(item, "name", AGRL_YAML_SCALAR, &name, err);
  if (!rc) rc = need(item, "kind", AGRL_YAML_SCALAR, &kind, err);
  size_t k = 0;
  if (!rc) rc = choose(kind, "kind", kinds, 3, &k, err);
  if (rc) return rc;
  const agrl_yaml *prefix = agrl_yaml_get(item, "prefix");
  const char *p = prefix ? agrl_yaml_str(prefix) : "";
  if (!p || strchr(p, '\n')) return agrl_yaml_fail(prefix, err, "prefix: expected one line of text");
  for (size_t i = 0; i < r->n_lines; i++) {
    if (!strcmp(r->lines[i].name, agrl_yaml_str(name)))
      return agrl_yaml_fail(name, err, "line '%s' stands twice", r->lines[i].name);
    if (!strcmp(r->lines[i].prefix, p)) return agrl_yaml_fail(item, err, "two lines have the prefix '%s'", p);
  }
  if (!*p && k == RULE_LINE_FREE)
    return agrl_yaml_fail(item, err, "a free line needs a prefix to be told from the others");
  rule_line *l = &r->lines[r->n_lines++];
  l->name = agrl_xstrdup(agrl_yaml_str(name));
  l->at = item->line;
  l->prefix = agrl_xstrdup(p);
  l->prefix_len = strlen(p);
  l->kind = (rule_line_kind)k;
  if (k == RULE_LINE_CHOICE) return read_values(l, item, err);
  if (agrl_yaml_get(item, "values"))
    return agrl_yaml_fail(agrl_yaml_get(item, "values"), err, "values belong to lines of kind choice");
  return AGRL_OK;
}

static agrl_rc read_trace(agrl_rules *r, const agrl_yaml *root, agrl_error *err) {
  const agrl_yaml *t;
  agrl_rc rc = need(root, "trace", AGRL_YAML_SEQ, &t, err);
  if (rc) return rc;
  if (!t->n || t->n > AGRL_RULES_MAX_LINES)
    return agrl_yaml_fail(t, err, "trace: expected 1 to %d lines", AGRL_RULES_MAX_LINES);
  for (size_t i = 0; i < t->n && !rc; i++) rc = read_line(r, t->items[i], err);
  if (rc) return rc;
  for (r->first_tier_line = 0; r->first_tier_line < r->n_lines; r->first_tier_line++)
    if (r->lines[r->first_tier_line].kind == RULE_LINE_TIER) return AGRL_OK;
  return agrl_yaml_fail(t, err, "trace: no line of kind tier");
}

// Index of a value on a line: the digit of a tier, the position of a choice.
static agrl_rc read_value(const agrl_rules *r, const rule_line *l, const agrl_yaml *at, int *out, agrl_error *err) {
  const char *s = agrl_yaml_str(at);
  if (l->kind == RULE_LINE_CHOICE) {
    size_t v = 0;
    agrl_rc rc = choose(at, "value", (const char *const *)l->values, l->n_values, &v, err);
    *out = (int)v;
    return rc;
  }
  if (!tier_digit(s, out) || !(r->tier_bits & (1u << *out)))
    return agrl_yaml_fail(at, err, "tier '%s' is not among tiers", s ? s : "?");
  return AGRL_OK;
}

static agrl_rc read_adjacent(const agrl_rules *r, rule_criterion *c, const agrl_yaml *list, agrl_error *err) {
  if (!list) return AGRL_OK;
  if (list->type != AGRL_YAML_SEQ) return agrl_yaml_fail(list, err, "adjacent: expected a list of pairs");
  if (c->gold == RULE_GOLD_TIER)
    return agrl_yaml_fail(list, err, "adjacent: a tier that is not the gold one earns nothing");
  for (size_t i = 0; i < list->n; i++) {
    const agrl_yaml *pair = list->items[i];
    int a, b;
    if (pair->type != AGRL_YAML_SEQ || pair->n != 2)
      return agrl_yaml_fail(pair, err, "adjacent: expected [value, value]");
    agrl_rc rc = read_value(r, &r->lines[c->line], pair->items[0], &a, err);
    if (!rc) rc = read_value(r, &r->lines[c->line], pair->items[1], &b, err);
    if (rc) return rc;
    if (a == b) return agrl_yaml_fail(pair, err, "adjacent: a value is not adjacent to itself");
    c->adjacent[a] |= 1u << b;
    c->adjacent[b] |= 1u << a;
  }
  return AGRL_OK;
}

static agrl_rc read_criterion(agrl_rules *r, const agrl_yaml *item, agrl_error *err) {
  static const char *const keys[] = {"name", "line", "gold", "weight", "adjacent", "missing", NULL};
  static const char *const golds[] = {"tier", "category", "attribute"};
  static const char *const policies[] = {"drop_group", "reweight", "stop"};
  if (item->type != AGRL_YAML_MAP)
    return agrl_yaml_fail(item, err, "criteria: expected {name, line, gold, weight} for each");
  const agrl_yaml *name, *weight, *line = agrl_yaml_get(item, "line"), *gold = agrl_yaml_get(item, "gold");
  const agrl_yaml *missing = agrl_yaml_get(item, "missing");
  agrl_rc rc = agrl_yaml_only(item, keys, err);
  if (!rc) rc = need(item, "name", AGRL_YAML_SCALAR, &name, err);
  if (!rc) rc = need(item, "weight", AGRL_YAML_SCALAR, &weight, err);
  if (rc) return rc;
  const char *names[AGRL_RULES_MAX_LINES];
  for (size_t i = 0; i < r->n_lines; i++) names[i] = r->lines[i].name;
  rule_criterion c = {0};
  size_t g = 0, policy = 0;
  rc = choose(line ? line : name, "line", names, r->n_lines, &c.line, err);
  if (!rc) rc = choose(gold ? gold : name, "gold label", golds, RULE_GOLD_N, &g, err);
  if (!rc && missing) rc = choose(missing, "policy", policies, 3, &policy, err);
  if (rc) return rc;
  c.gold = (rule_gold)g;
  c.missing = (rule_missing)policy;
  if (c.gold == RULE_GOLD_TIER && c.missing == RULE_MISSING_REWEIGHT)
    return agrl_yaml_fail(missing, err, "missing: reweight would let the others pay for any tier; say drop_group or stop");
  rule_line_kind wanted = g == RULE_GOLD_TIER ? RULE_LINE_TIER : RULE_LINE_CHOICE;
  if (r->lines[c.line].kind != wanted)
    return agrl_yaml_fail(item, err, "gold label %s is judged on a line of kind %s", golds[g],
                          wanted == RULE_LINE_TIER ? "tier" : "choice");
  if (!agrl_yaml_f64(weight, &c.weight) || !(c.weight > 0) || c.weight > 1)
    return agrl_yaml_fail(weight, err, "weight: expected a number in (0, 1]");
  for (size_t i = 0; i < r->n_criteria; i++)
    if (r->criteria[i].gold == c.gold) return agrl_yaml_fail(item, err, "gold label %s is judged twice", golds[g]);
  rc = read_adjacent(r, &c, agrl_yaml_get(item, "adjacent"), err);
  if (rc) return rc;
  c.name = agrl_xstrdup(agrl_yaml_str(name));
  c.at = item->line;
  r->criteria[r->n_criteria++] = c;
  return AGRL_OK;
}

static agrl_rc read_criteria(agrl_rules *r, const agrl_yaml *root, agrl_error *err) {
  const agrl_yaml *list;
  agrl_rc rc = need(root, "criteria", AGRL_YAML_SEQ, &list, err);
  if (rc) return rc;
  if (!list->n || list->n > AGRL_RULES_MAX_CRITERIA)
    return agrl_yaml_fail(list, err, "criteria: expected 1 to %d", AGRL_RULES_MAX_CRITERIA);
  for (size_t i = 0; i < list->n && !rc; i++) rc = read_criterion(r, list->items[i], err);
  return rc ? rc : rules_check_dominance(r, list, err);
}

// A set of a line's values: `any`, one of them, or a list.
static agrl_rc read_set(const agrl_rules *r, const rule_line *l, const agrl_yaml *at, uint32_t *bits, agrl_error *err) {
  const char *s = agrl_yaml_str(at);
  if (s && !strcmp(s, "any")) return *bits = UINT32_MAX, AGRL_OK;
  bool list = at->type == AGRL_YAML_SEQ;
  if (list && !at->n) return agrl_yaml_fail(at, err, "expected at least one value, or any");
  *bits = 0;
  for (size_t i = 0; i < (list ? at->n : 1); i++) {
    int v = 0;
    agrl_rc rc = read_value(r, l, list ? at->items[i] : at, &v, err);
    if (rc) return rc;
    *bits |= 1u << v;
  }
  return AGRL_OK;
}

static agrl_rc read_rule(agrl_rules *r, const agrl_yaml *item, agrl_error *err) {
  if (item->type != AGRL_YAML_MAP)
    return agrl_yaml_fail(item, err, "rules: expected {LINE: value, ..., permit: tiers} for each");
  const char *keys[AGRL_RULES_MAX_LINES + 2];
  size_t n = 0;
  for (size_t i = 0; i < r->n_lines; i++)
    if (r->lines[i].kind == RULE_LINE_CHOICE) keys[n++] = r->lines[i].name;
  keys[n++] = "permit";
  keys[n] = NULL;
  agrl_rc rc = agrl_yaml_only(item, keys, err);
  const agrl_yaml *permit = agrl_yaml_get(item, "permit");
  if (!rc && !permit) rc = agrl_yaml_fail(item, err, "permit is missing: the tiers this rule allows");
  rule_row *row = &r->rows[r->n_rows];
  row->at = item->line;
  if (!rc) rc = read_set(r, &r->lines[r->first_tier_line], permit, &row->permit, err);
  row->permit &= r->tier_bits;
  for (size_t i = 0; i < r->n_lines && !rc; i++) {
    const agrl_yaml *set = r->lines[i].kind == RULE_LINE_CHOICE ? agrl_yaml_get(item, r->lines[i].name) : NULL;
    row->when[i] = UINT32_MAX;
    if (set) rc = read_set(r, &r->lines[i], set, &row->when[i], err);
  }
  if (!rc) r->n_rows++;
  return rc;
}

static agrl_rc read_rules(agrl_rules *r, const agrl_yaml *root, agrl_error *err) {
  const agrl_yaml *list = agrl_yaml_get(root, "rules");
  if (!list) return AGRL_OK;
  if (list->type != AGRL_YAML_SEQ || !list->n || list->n > AGRL_RULES_MAX_ROWS)
    return agrl_yaml_fail(list, err, "rules: expected a list of 1 to %d rules", AGRL_RULES_MAX_ROWS);
  r->rows = agrl_xcalloc(list->n, sizeof *r->rows);
  for (size_t i = 0; i < list->n; i++) {
    agrl_rc rc = read_rule(r, list->items[i], err);
    if (rc) return rc;
  }
  return rules_check_table(r, list, err);
}

static agrl_rc read_gates(agrl_rules *r, const agrl_yaml *root, agrl_error *err) {
  static const char *const names[] = {"format", "agree", "table"};
  const agrl_yaml *list = agrl_yaml_get(root, "gates");
  r->gates_at = list ? list->line : root->line;
  if (!list) {  // all that apply
    r->gate_agree = true;
    r->gate_table = r->n_rows > 0;
    return AGRL_OK;
  }
  if (list->type != AGRL_YAML_SEQ) return agrl_yaml_fail(list, err, "gates: expected a list of format, agree, table");
  bool on[3] = {false};
  for (size_t i = 0; i < list->n; i++) {
    size_t g = 0;
    agrl_rc rc = choose(list->items[i], "gate", names, 3, &g, err);
    if (rc) return rc;
    on[g] = true;
  }
  if (!on[0]) return agrl_yaml_fail(list, err, "gates: format always holds and must be listed");
  if (on[2] && !r->n_rows) return agrl_yaml_fail(list, err, "gates: table needs the section rules");
  r->gate_agree = on[1];
  r->gate_table = on[2];
  return AGRL_OK;
}

agrl_rc rules_read(agrl_rules *r, const agrl_yaml *root, agrl_error *err) {
  if (root->type != AGRL_YAML_MAP)
    return agrl_yaml_fail(root, err, "expected a mapping with tiers, trace, criteria, rules");
  agrl_rc rc = agrl_yaml_only(root, top_keys, err);
  const agrl_yaml *name = agrl_yaml_get(root, "name");
  if (!rc && name && !agrl_yaml_str(name)) rc = agrl_yaml_fail(name, err, "name: expected text");
  if (rc) return rc;
  r->name = agrl_xstrdup(name ? agrl_yaml_str(name) : "unnamed");
  rc = read_tiers(r, root, err);
  if (!rc) rc = read_trace(r, root, err);
  if (!rc) rc = read_criteria(r, root, err);
  if (!rc) rc = read_rules(r, root, err);
  if (!rc) rc = read_gates(r, root, err);
  return rc;
}
