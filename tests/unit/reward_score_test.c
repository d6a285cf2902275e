// SPDX-License-Identifier: Apache-2.0
// What a trace earns: parsing, gates, modes, adjacency, redistribution of missing labels, missing is never 0.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "reward/attempt.h"

#define GOOD "4\n[Query] running shoes\n[Product] shoes\n[Category] match\n[Attribute] match\n[Verdict] 4"

static agrl_rules *rules;

static int setup(void **state) {
  agrl_error err = {0};
  if (agrl_rules_load(AGRL_TEST_DIR "/../deploy/etc/rules.yaml", &rules, &err)) fail_msg("%s", err.msg);
  return 0;
}

static int teardown(void **state) {
  agrl_rules_free(rules);
  return 0;
}

static agrl_parsed parse(const char *text) {
  agrl_parsed p;
  agrl_reward_parse(rules, text, strlen(text), &p);
  return p;
}

static agrl_reward_result score(int mode, int gate, const char *text, uint32_t tier, const char *category,
                                const char *attribute) {
  agrl_labels gold = {.tier = tier, .category = category, .attribute = attribute};
  agrl_reward_result r;
  agrl_reward_score(rules, mode, gate, text, strlen(text), &gold, &r);
  return r;
}

static double shaped(const char *text, uint32_t tier, const char *category, const char *attribute) {
  agrl_reward_result r = score(AGRL_REWARD_SHAPED, AGRL_GATE_RULE, text, tier, category, attribute);
  assert_false(r.missing);
  return r.reward;
}

static void near(double a, double b) {
  if (a < b - 1e-12 || a > b + 1e-12) fail_msg("%.17g is not %.17g", a, b);
}

static void parses_well_formed(void **state) {
  agrl_parsed p = parse(GOOD);
  assert_true(p.ok);
  assert_int_equal(p.tier, 4);
  assert_int_equal(p.verdict, 4);
  assert_true(p.agree);
  assert_string_equal(agrl_parsed_label(rules, &p, "category"), "match");
  assert_string_equal(agrl_parsed_label(rules, &p, "attribute"), "match");
  assert_true(parse(GOOD "\n").ok);
}

// A trace's chain: what its judgements lead to, as far as they can be read, against its first token.
static void judgements_imply_a_tier(void **state) {
  (void)state;
  assert_true(parse(GOOD).implied);
  agrl_parsed p = parse("3\n[Query] a\n[Product] b\n[Category] match\n[Attribute] match\n[Verdict] 3");
  assert_true(p.ok && p.agree && !p.implied);
  assert_true(parse("3\n[Query] a\n[Product] b\n[Category] match\n[Attribute] mat").implied);    // match and partial
  assert_false(parse("1\n[Query] a\n[Product] b\n[Category] match\n[Attribute] mat").implied);  // never with a match
  assert_true(parse("[Category] match\n").implied);                                             // no tier
}

static void names_what_is_wrong(void **state) {
  static const struct {
    const char *text, *why;
    int tier;
  } cases[] = {
      {"", "tier is missing", 0},
      {"5\n[Query] a\n[Product] b\n[Category] match\n[Attribute] match\n[Verdict] 4", "line 1 is none of the parts", 0},
      {"44\n", "line 1 is none of the parts", 0},
      {"4\n[Product] b\n[Category] match\n[Attribute] match\n[Verdict] 4", "query is missing", 4},
      {"4\n[Query] a\n[Query] a\n[Product] b\n[Category] match\n[Attribute] match\n[Verdict] 4", "query stands twice",
          4},
      {"4\n4\n[Query] a\n[Product] b\n[Category] match\n[Attribute] match\n[Verdict] 4", "tier stands twice", 4},
      {"4\n[Product] b\n[Query] a\n[Category] match\n[Attribute] match\n[Verdict] 4", "query is out of order", 4},
      {"[Query] a\n4\n[Product] b\n[Category] match\n[Attribute] match\n[Verdict] 4", "tier is out of order", 4},
      {"4\n[Query] a\n[Product] b\n[Category] perfect\n[Attribute] match\n[Verdict] 4",
          "category has no allowed value", 4},
      {"4\n[Query] a\n[Product] b\n[Category] match \n[Attribute] match\n[Verdict] 4", "category has no allowed value",
          4},
      {"4\n[Query] a\n[Product] b\n[Category] match\n[Attribute] match\n[Verdict] 7", "verdict has no allowed value",
          4},
      {"4\n[Query] \n[Product] b\n[Category] match\n[Attribute] match\n[Verdict] 4", "query has no allowed value", 4},
      {GOOD "\nThanks!", "line 7 is none of the parts", 4},
      {GOOD "\n\n", "line 7 is none of the parts", 4},
      {"4\n\n[Query] a\n[Product] b\n[Category] match\n[Attribute] match\n[Verdict] 4", "line 2 is none of the parts",
          4},
      {" 4\n[Query] a\n[Product] b\n[Category] match\n[Attribute] match\n[Verdict] 4", "line 1 is none of the parts",
          0},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    agrl_parsed p = parse(cases[i].text);
    assert_false(p.ok);
    assert_string_equal(p.why, cases[i].why);
    assert_int_equal(p.tier, cases[i].tier);
  }
  agrl_parsed p;
  agrl_reward_parse(rules, GOOD "\0", sizeof GOOD, &p);
  assert_false(p.ok);
}

static void pays_by_the_formula(void **state) {
  near(shaped(GOOD, 4, "match", "match"), 1.0);
  near(shaped(GOOD, 4, "match", "none"), 0.6 + 0.2 + 0.5 * 0.2);       // match ~ none
  near(shaped(GOOD, 3, "match", "partial"), 0.2 + 0.5 * 0.2);          // wrong tier, right category, adjacent attribute
  near(shaped(GOOD, 1, "mismatch", "mismatch"), 0.0);                  // nothing is close
  near(shaped(GOOD, 3, "related", "mismatch"), 0.5 * 0.2);
}

static void redistributes_absent_labels(void **state) {
  near(shaped(GOOD, 4, "", ""), 1.0);
  near(shaped(GOOD, 3, "match", ""), 0.2 / 0.8);
  near(shaped(GOOD, 3, "", "partial"), 0.5 * 0.2 / 0.8);
  near(shaped(GOOD, 3, NULL, NULL), 0.0);
  agrl_reward_result r = score(AGRL_REWARD_SHAPED, AGRL_GATE_RULE, GOOD, 4, "match", "");
  assert_int_equal(r.n_scores, 2);
  near(r.scores[0].weight, 0.75);
  near(r.scores[1].weight, 0.25);
  assert_string_equal(r.scores[1].criterion, "category");
}

static void gates_hold(void **state) {
  // Verdict contradicts the tier; then the tier contradicts the table.
  const char *torn = "4\n[Query] a\n[Product] b\n[Category] match\n[Attribute] match\n[Verdict] 3";
  const char *broken = "4\n[Query] a\n[Product] b\n[Category] mismatch\n[Attribute] none\n[Verdict] 4";
  const char *texts[] = {torn, broken};
  for (size_t i = 0; i < 2; i++) {
    agrl_reward_result r = score(AGRL_REWARD_SHAPED, AGRL_GATE_RULE, texts[i], 4, "match", "match");
    assert_true(r.g_format && r.accurate);
    assert_false(r.g_rule);
    near(r.reward, 0);
    assert_true(score(AGRL_REWARD_SHAPED, AGRL_GATE_NONE, texts[i], 4, "match", "match").reward > 0.6);
    assert_true(score(AGRL_REWARD_SHAPED, AGRL_GATE_OUTCOME, texts[i], 4, "match", "match").reward > 0.6);
    near(score(AGRL_REWARD_SHAPED, AGRL_GATE_BOTH, texts[i], 4, "match", "match").reward, 0);
  }
  // Rules hold, the tier is wrong: the outcome gate closes, the rule gate pays for the judgements.
  near(score(AGRL_REWARD_SHAPED, AGRL_GATE_OUTCOME, GOOD, 3, "match", "partial").reward, 0);
  near(score(AGRL_REWARD_SHAPED, AGRL_GATE_BOTH, GOOD, 3, "match", "partial").reward, 0);
  near(score(AGRL_REWARD_SHAPED, AGRL_GATE_RULE, GOOD, 3, "match", "partial").reward, 0.3);
  near(score(AGRL_REWARD_SHAPED, AGRL_GATE_BOTH, GOOD, 4, "match", "match").reward, 1);
  // A malformed trace earns nothing in any mode, though its tier is right.
  for (int g = AGRL_GATE_NONE; g <= AGRL_GATE_BOTH; g++) {
    agrl_reward_result r = score(AGRL_REWARD_SHAPED, g, "4\n[Verdict] 4", 4, "match", "match");
    assert_true(r.accurate && !r.g_format && !r.g_rule && !r.missing);
    near(r.reward, 0);
  }
}

static void sparse_pays_for_the_tier_only(void **state) {
  const char *torn = "4\n[Query] a\n[Product] b\n[Category] mismatch\n[Attribute] none\n[Verdict] 3";
  near(score(AGRL_REWARD_SPARSE, AGRL_GATE_RULE, torn, 4, "match", "match").reward, 1);
  near(score(AGRL_REWARD_SPARSE, AGRL_GATE_RULE, GOOD, 3, "match", "match").reward, 0);
  near(score(AGRL_REWARD_SPARSE, AGRL_GATE_RULE, "4\nfree text", 4, "match", "match").reward, 0);
  assert_int_equal(score(AGRL_REWARD_SPARSE, AGRL_GATE_RULE, GOOD, 4, "match", "match").n_scores, 1);
}

static void missing_is_not_zero(void **state) {
  agrl_reward_result r = score(AGRL_REWARD_SHAPED, AGRL_GATE_RULE, GOOD, 0, "match", "match");  // drop_group
  assert_true(r.missing);
  assert_false(r.stop);
  assert_string_equal(r.cause, "gold label unknown to the rule file");
  r = score(AGRL_REWARD_SHAPED, AGRL_GATE_RULE, GOOD, 4, "nearly", "match");  // reweight
  assert_false(r.missing);
  near(r.reward, 1);
  assert_true(r.scores[1].missing);
  near(r.scores[1].weight, 0);
  near(r.scores[0].weight, 0.75);
}

// What the service makes of one trace: mode, gate and deadline are those of the configuration.
static void an_attempt_may_fail(void **state) {
  (void)state;
  agrl_config c = {0};
  agrl_error err = {0};
  agrl_reward_result r;
  agrl_msg_trace t = {.text = GOOD, .gold = {.tier = 3, .category = "match", .attribute = "match"}};
  if (agrl_config_load(NULL, &c, &err)) fail_msg("%s", err.msg);
  const struct { const char *mode, *gate; double reward; } cases[] = {
      {"shaped", "none", 0.4}, {"shaped", "rule", 0.4}, {"shaped", "outcome", 0}, {"shaped", "both", 0}, {"sparse", "rule", 0}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    if (agrl_config_set(&c, "reward.mode", cases[i].mode, &err) || agrl_config_set(&c, "reward.gate", cases[i].gate, &err)) fail_msg("%s", err.msg);
    assert_true(reward_attempt(rules, &c, &t, &r) >= 0);
    assert_false(r.missing);
    near(r.reward, cases[i].reward);
  }
  t.text = "4\n[Query] a\n[Product] b\n[Category] mismatch\n[Attribute] match\n[Verdict] 4";  // 4 is not what that leads to
  t.gold = (agrl_labels){.tier = 4, .category = "match", .attribute = "match"};
  const struct { const char *gate; double reward; } gates[] = {{"none", 0.8}, {"rule", 0}, {"outcome", 0.8}, {"both", 0}};
  agrl_config_set(&c, "reward.mode", "shaped", &err);
  for (size_t i = 0; i < sizeof gates / sizeof *gates; i++) {
    agrl_config_set(&c, "reward.gate", gates[i].gate, &err);
    reward_attempt(rules, &c, &t, &r);
    near(r.reward, gates[i].reward);
  }
  t.text = GOOD;
  c.reward.timeout_ns = 1;
  reward_attempt(rules, &c, &t, &r);
  assert_true(r.missing && !r.stop);
  assert_string_equal(r.cause, "scoring deadline passed");
  c.reward.timeout_ns = 0;  // none
  reward_attempt(rules, &c, &t, &r);
  assert_false(r.missing);
  t.stop = AGRL_STOP_ERROR;
  reward_attempt(rules, &c, &t, &r);
  assert_true(r.missing);
  assert_string_equal(r.cause, "the actor failed to generate it");
  t.gold.tier = 9;
  reward_attempt(rules, &c, &t, &r);
  assert_string_equal(r.cause, "gold label unknown to the rule file");  // may stop the job, and then is why
  agrl_config_release(&c);
}

// Policy stop: the service ends with it (tests/integration/bad_data_test.sh).
static void a_criterion_may_stop_the_job(void **state) {
  (void)state;
  static const char file[] = "tiers: {1: a, 2: b}\ntrace: [{name: tier, kind: tier}, {name: fit, prefix: \"F \", kind: choice, values: [no, yes]}]\n"
                             "criteria: [{name: tier, weight: 0.6}, {name: fit, gold: category, weight: 0.4, missing: stop}]\n";
  agrl_rules *own;
  agrl_error err = {0};
  agrl_reward_result r;
  if (agrl_rules_parse(file, sizeof file - 1, "stop.yaml", &own, &err)) fail_msg("%s", err.msg);
  agrl_reward_score(own, AGRL_REWARD_SHAPED, AGRL_GATE_NONE, "2\nF yes", 7, &(agrl_labels){.tier = 2, .category = "perhaps"}, &r);
  assert_true(r.missing && r.stop);
  agrl_reward_score(own, AGRL_REWARD_SHAPED, AGRL_GATE_NONE, "2\nF yes", 7, &(agrl_labels){.tier = 2, .category = "yes"}, &r);
  assert_true(!r.missing && !r.stop && r.reward == 1);
  agrl_rules_free(own);
}

static void permits_by_name(void **state) {
  assert_true(agrl_rules_permits(rules, 4, "match", "none"));
  assert_false(agrl_rules_permits(rules, 4, "match", "partial"));
  assert_true(agrl_rules_permits(rules, 1, "mismatch", "match"));
  assert_false(agrl_rules_permits(rules, 2, "mismatch", NULL));
  assert_true(agrl_rules_permits(rules, 2, "related", NULL));
  assert_false(agrl_rules_permits(rules, 2, "unheard-of", NULL));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(parses_well_formed),            cmocka_unit_test(judgements_imply_a_tier),
      cmocka_unit_test(an_attempt_may_fail),           cmocka_unit_test(a_criterion_may_stop_the_job),
      cmocka_unit_test(names_what_is_wrong),           cmocka_unit_test(pays_by_the_formula),
      cmocka_unit_test(redistributes_absent_labels),   cmocka_unit_test(gates_hold),
      cmocka_unit_test(sparse_pays_for_the_tier_only), cmocka_unit_test(missing_is_not_zero),
      cmocka_unit_test(permits_by_name),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
