// SPDX-License-Identifier: Apache-2.0
// What is told of a reward: lines, criteria and gates with their places in the rule file, and examples made of the rules.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "reward/explain.h"

static const char file[] =
    "tiers: {2: good, 1: bad}\n"
    "prompt: \"{query}\"\n"
    "trace:\n"
    "  - {name: tier, kind: tier}\n"                                          // line 4
    "  - {name: why, prefix: \"W \", kind: free}\n"
    "  - {name: fit, prefix: \"F \", kind: choice, values: [yes, near, no]}\n"  // 6
    "  - {name: verdict, prefix: \"V \", kind: tier}\n"                       // 7
    "criteria:\n"
    "  - {name: tier, weight: 0.6}\n"                                         // 9
    "  - {name: fit, gold: category, weight: 0.4, adjacent: [[yes, near]], missing: reweight}\n"
    "rules:\n"
    "  - {fit: [yes, near], permit: 2}\n"                                     // 12
    "  - {fit: [near, no], permit: 1}\n";                                     // 13

static agrl_rules *rules;
static agrl_explained e;

static int setup(void **state) {
  agrl_error err = {0};
  if (agrl_rules_parse(file, sizeof file - 1, "f.yaml", &rules, &err)) fail_msg("%s", err.msg);
  return 0;
}

static int teardown(void **state) {
  agrl_rules_free(rules);
  return 0;
}

static void explain(int mode, int gate, const char *text, uint32_t tier, const char *category) {
  agrl_labels gold = {.tier = tier, .category = category, .attribute = ""};
  agrl_reward_explain(rules, mode, gate, text, strlen(text), &gold, &e);
}

static void is_line(size_t i, const char *part, int where, const char *value, const char *problem) {
  const agrl_explained_line *l = &e.lines[i];
  if (part) assert_string_equal(l->part, part);
  else assert_null(l->part);
  assert_int_equal(l->where, where);
  assert_int_equal(l->value.n, strlen(value));
  assert_memory_equal(l->value.s, value, l->value.n);
  if (problem) assert_string_equal(l->problem, problem);
  else assert_null(l->problem);
}

static void is_closed(const char *name, int where, const char *why) {
  const agrl_explained_gate *g = agrl_explained_closed(&e);
  assert_non_null(g);
  assert_string_equal(g->name, name);
  assert_int_equal(g->where, where);
  assert_string_equal(g->why, why);
  assert_true(e.result.reward == 0);
}

static void tells_what_was_earned(void **state) {
  explain(AGRL_REWARD_SHAPED, AGRL_GATE_RULE, "2\nW x\nF near\nV 2", 2, "yes");
  assert_int_equal(e.n_lines, 4);
  is_line(0, "tier", 4, "2", NULL);
  is_line(1, "why", 5, "x", NULL);
  is_line(2, "fit", 6, "near", NULL);
  is_line(3, "verdict", 7, "2", NULL);
  assert_true(e.lines[0].tier && e.lines[3].tier && !e.lines[1].tier && !e.lines[2].tier);
  assert_int_equal(e.n_absent, 0);
  assert_null(agrl_explained_closed(&e));
  assert_int_equal(e.n_criteria, 2);
  assert_int_equal(e.criteria[0].judged, AGRL_JUDGED_EQUAL);
  assert_int_equal(e.criteria[1].judged, AGRL_JUDGED_ADJACENT);
  assert_int_equal(e.criteria[1].where, 10);
  assert_string_equal(e.criteria[1].value, "near");
  assert_string_equal(e.criteria[1].gold, "yes");
  assert_true(e.criteria[0].points == 0.6 && e.criteria[1].points == 0.2);
  assert_int_equal(e.n_rules, 2);  // both rules match near
  assert_int_equal(e.rules[0], 12);
  assert_int_equal(e.rules[1], 13);
  explain(AGRL_REWARD_SHAPED, AGRL_GATE_RULE, "2\nW x\nF no\nV 2", 2, "");
  assert_int_equal(e.criteria[1].judged, AGRL_JUDGED_SKIPPED);
  assert_true(e.criteria[0].weight == 1 && e.criteria[1].weight == 0);
  explain(AGRL_REWARD_SHAPED, AGRL_GATE_NONE, "2\nW x\nF no\nV 2", 2, "unheard-of");
  assert_int_equal(e.criteria[1].judged, AGRL_JUDGED_MISSING);
  assert_string_equal(e.criteria[1].gold, "unheard-of");
  explain(AGRL_REWARD_SPARSE, AGRL_GATE_RULE, "2\nW x\nF no\nV 1", 2, "yes");
  assert_null(agrl_explained_closed(&e));
  assert_int_equal(e.criteria[1].judged, AGRL_JUDGED_SKIPPED);
  assert_true(e.criteria[0].points == 1 && e.result.reward == 1);
}

static void tells_which_gate_is_closed(void **state) {
  explain(AGRL_REWARD_SHAPED, AGRL_GATE_RULE, "2\nW x\nF maybe\nV 2\nbye", 2, "yes");
  is_closed("format", 6, "fit has no allowed value");
  is_line(2, "fit", 6, "maybe", "has no allowed value");
  is_line(4, NULL, 0, "", "is none of the parts");
  assert_int_equal(e.criteria[1].judged, AGRL_JUDGED_UNREAD);
  explain(AGRL_REWARD_SHAPED, AGRL_GATE_NONE, "2\nF yes\nV 2", 2, "yes");
  is_closed("format", 5, "why is missing");
  assert_int_equal(e.n_absent, 1);
  assert_string_equal(e.absent[0].part, "why");
  explain(AGRL_REWARD_SHAPED, AGRL_GATE_RULE, "2\nW x\nF yes\nV 1", 2, "yes");
  is_closed("agree", 7, "tier says 2, verdict says 1");
  explain(AGRL_REWARD_SHAPED, AGRL_GATE_RULE, "1\nW x\nF yes\nV 1", 2, "yes");
  is_closed("table", 12, "tier 1 is not permitted: f.yaml:12: fit yes|near permits 2");
  explain(AGRL_REWARD_SHAPED, AGRL_GATE_OUTCOME, "1\nW x\nF yes\nV 1", 2, "yes");
  is_closed("outcome", 1, "the trace says tier 1, gold is 2");
  explain(AGRL_REWARD_SHAPED, AGRL_GATE_NONE, "1\nW x\nF yes\nV 1", 2, "yes");
  assert_null(agrl_explained_closed(&e));
  assert_true(e.result.reward == 0.4);
}

static void reads_at_most_so_many_lines(void **state) {
  char text[4 * AGRL_EXPLAIN_MAX_LINES];
  memset(text, '\n', sizeof text);
  text[sizeof text - 1] = 0;
  explain(AGRL_REWARD_SHAPED, AGRL_GATE_RULE, text, 2, "yes");
  assert_int_equal(e.n_lines, AGRL_EXPLAIN_MAX_LINES);
  is_closed("format", 1, "line 1 is none of the parts");
}

static void examples_earn_everything(void **state) {
  for (int tier = 1; tier <= 2; tier++) {
    agrl_buf text = {0};
    agrl_labels gold;
    assert_true(agrl_rules_example(rules, tier, &text, &gold));
    assert_string_equal(text.data, tier == 2 ? "2\nW ...\nF yes\nV 2" : "1\nW ...\nF near\nV 1");
    assert_string_equal(gold.category, tier == 2 ? "yes" : "near");
    explain(AGRL_REWARD_SHAPED, AGRL_GATE_BOTH, text.data, gold.tier, gold.category);
    assert_true(e.result.reward == 1);
    agrl_buf_release(&text);
  }
  agrl_buf none = {0};
  agrl_labels gold;
  assert_false(agrl_rules_example(rules, 3, &none, &gold));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(tells_what_was_earned), cmocka_unit_test(tells_which_gate_is_closed),
      cmocka_unit_test(reads_at_most_so_many_lines), cmocka_unit_test(examples_earn_everything),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
