// SPDX-License-Identifier: Apache-2.0
// What a rule file is refused for, and the check of gold data against it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "reward/rules.h"

#define HEAD "name: t\ntiers: {2: good, 1: bad}\nprompt: \"{query}\\n\"\n"
#define TRACE                                                \
  "trace:\n"                                                 \
  "  - {name: tier, kind: tier}\n"                           \
  "  - {name: category, prefix: \"C \", kind: choice, values: [yes, no]}\n" \
  "  - {name: verdict, prefix: \"V \", kind: tier}\n"
#define CRITERIA "criteria:\n  - {name: tier, weight: 0.6}\n  - {name: category, weight: 0.4}\n"
#define RULES "rules:\n  - {category: yes, permit: 2}\n  - {category: no, permit: [1]}\n"

static void refused(const char *text, const char *expected) {
  agrl_rules *r = NULL;
  agrl_error err = {0};
  agrl_rc rc = agrl_rules_parse(text, strlen(text), "t.yaml", &r, &err);
  if (!rc) {
    agrl_rules_free(r);
    fail_msg("accepted, expected '%s'", expected);
  }
  assert_int_equal(rc, AGRL_ECONFIG);
  if (!strstr(err.msg, expected)) fail_msg("'%s' does not contain '%s'", err.msg, expected);
  if (!strstr(err.msg, "t.yaml:")) fail_msg("'%s' does not name the position", err.msg);
}

static agrl_rules *accepted(const char *text) {
  agrl_rules *r = NULL;
  agrl_error err = {0};
  if (agrl_rules_parse(text, strlen(text), "t.yaml", &r, &err)) fail_msg("%s", err.msg);
  return r;
}

static void accepts_and_hashes(void **state) {
  agrl_rules *r = accepted(HEAD TRACE CRITERIA RULES), *s = accepted(HEAD TRACE CRITERIA RULES "gates: [format]\n");
  assert_int_equal(strlen(agrl_rules_hash(r)), 64);
  assert_string_not_equal(agrl_rules_hash(r), agrl_rules_hash(s));
  assert_string_equal(agrl_rules_tier_name(r, 2), "good");
  assert_null(agrl_rules_tier_name(r, 3));
  agrl_rules_free(r);
  agrl_rules_free(s);
}

static void refuses_bad_files(void **state) {
  refused(HEAD TRACE CRITERIA RULES "criterea: []\n", "criteria");  // the nearest key is named
  refused(HEAD CRITERIA, "trace is missing");
  refused("tiers: {9: a, 10: b}\n" TRACE CRITERIA, "tier '10'");
  refused(HEAD "trace: [{name: a, kind: tier, values: [x, y]}]\n" CRITERIA, "values belong to lines of kind choice");
  refused(HEAD "trace: [{name: a, kind: number}]\n", "kind 'number' does not exist");
  refused(HEAD "trace: [{name: a, prefix: \"x\", kind: free}]\n", "no line of kind tier");
  refused(HEAD "trace: [{name: a, kind: tier}, {name: a, prefix: \"x\", kind: free}]\n", "stands twice");
  refused(HEAD "trace: [{name: a, kind: tier}, {name: b, kind: free}]\n", "prefix");
  refused(HEAD TRACE "criteria: [{name: tier, weight: 0.6}, {name: categoy, weight: 0.4}]\n", "nearest: category");
  refused(HEAD TRACE "criteria: [{name: tier, weight: 0.6}, {name: category, line: verdict, weight: 0.4}]\n",
          "kind choice");
  refused(HEAD TRACE "criteria: [{name: tier, weight: 0.6x}]\n", "weight");
  refused(HEAD TRACE "criteria: [{name: tier, weight: 0.6}]\n", "sum to 0.6");
  refused(HEAD TRACE "criteria: [{name: category, weight: 1}]\n", "none judges the gold label tier");
  refused(HEAD TRACE "criteria: [{name: tier, weight: 1, adjacent: [[1, 2]]}]\n", "earns nothing");
  refused(HEAD TRACE "criteria: [{name: tier, weight: 0.6, missing: reweight}, {name: category, weight: 0.4}]\n", "pay for any tier");
  refused(HEAD TRACE CRITERIA "rules: [{category: maybe, permit: 1}]\n", "'maybe' does not exist");
  refused(HEAD TRACE CRITERIA "rules: [{category: yes, permit: 3}]\n", "tier '3'");
  refused(HEAD TRACE CRITERIA "rules: [{category: yes, permit: 2}]\n", "no rule for category=no");
  refused(HEAD TRACE CRITERIA "rules: [{category: any, permit: 2}]\n", "tier 1 is never permitted");
  refused(HEAD TRACE CRITERIA "rules: [{verdict: 1, permit: 2}]\n", "verdict");
  refused(HEAD TRACE CRITERIA "gates: [format, table]\n", "needs the section rules");
  refused(HEAD TRACE CRITERIA "gates: [agree]\n", "must be listed");
}

static void refuses_without_dominance(void **state) {
  refused(HEAD TRACE "criteria: [{name: tier, weight: 0.5}, {name: category, weight: 0.5}]\n",
          "greater than the sum of the others");
  refused(HEAD TRACE "criteria: [{name: tier, weight: 0.3}, {name: category, weight: 0.7}]\n",
          "greater than the sum of the others");
}

static char *write_rows(char path[64], size_t good, size_t bad) {
  agrl_buf b = {0};
  for (size_t i = 0; i < good + bad; i++)
    agrl_buf_addf(&b, "{\"id\": \"row-%zu\", \"query\": \"q\", \"product\": {\"title\": \"p\"}, \"gold\": {\"tier\": 2, \"category\": \"%s\"}}\n", i,
                  i < bad ? "no" : "yes");
  strcpy(path, "/tmp/reward-rules-XXXXXX");
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, b.data, b.len), b.len);
  close(fd);
  agrl_buf_release(&b);
  return path;
}

static agrl_rc check(const agrl_rules *r, size_t good, size_t bad, agrl_rules_report *rep, agrl_error *err) {
  char path[64];
  agrl_dataset d = {0};
  agrl_error load = {0};
  if (agrl_dataset_load(write_rows(path, good, bad), NULL, NULL, &d, &load)) fail_msg("%s", load.msg);
  unlink(path);
  agrl_rc rc = agrl_rules_check_data(r, NULL, &d, rep, err);
  agrl_dataset_release(&d);
  return rc;
}

static void gold_must_pass(void **state) {
  agrl_rules *r = accepted(HEAD TRACE CRITERIA RULES);
  agrl_rules_report rep;
  agrl_error err = {0};
  assert_int_equal(check(r, 198, 2, &rep, &err), AGRL_OK);  // 99 % exactly
  assert_int_equal(rep.checked, 200);
  assert_int_equal(rep.passed, 198);
  assert_string_equal(rep.failures.data, "t.yaml:13: 2 rows (row-0, row-1): no rule permits tier 2 for category no, attribute any; "
                                         "the rule: category no permits 1");
  agrl_rules_report_release(&rep);
  assert_int_equal(check(r, 197, 3, &rep, &err), AGRL_ECONFIG);
  assert_non_null(strstr(err.msg, "197 of 200"));
  assert_non_null(strstr(err.msg, "t.yaml:13: 3 rows (row-0, row-1, row-2): "));
  agrl_rules_report_release(&rep);
  agrl_rules_free(r);
}

// Two references fail at two lines of the file, a label is no value, and what nothing uses is told with and without data.
static void names_rules_and_rows(void **state) {
  static const char rows[] =
      "{\"id\": \"a\", \"query\": \"q\", \"product\": {\"title\": \"p\"}, \"gold\": {\"tier\": 2, \"category\": \"yes\"}, \"reference\": \"2\\nC yes\\nV 1\"}\n"
      "{\"id\": \"b\\u001b[2J\", \"query\": \"q\", \"product\": {\"title\": \"p\"}, \"gold\": {\"tier\": 2, \"category\": \"yes\"}, \"reference\": \"2\\nC yess\\nV 2\"}\n"
      "{\"id\": \"c\", \"query\": \"q\", \"product\": {\"title\": \"p\"}, \"gold\": {\"tier\": 2, \"category\": \"perhaps\"}}\n"
      "{\"id\": \"d\", \"query\": \"q\", \"product\": {\"title\": \"p\"}, \"gold\": {\"tier\": 2, \"category\": \"yes\"}, \"reference\": \"2\\nC yes\\nV 2\\n\"}\n"
      "{\"id\": \"e\", \"query\": \"q\", \"product\": {\"title\": \"p\"}, \"gold\": {\"tier\": 2, \"category\": \"yes\"}, \"reference\": \"1\\nC yes\\nV 1\"}\n";
  agrl_rules *r = accepted(HEAD TRACE CRITERIA RULES);
  agrl_rules_report rep;
  agrl_error err = {0};
  char path[64];
  agrl_dataset d = {0};
  assert_int_equal(agrl_file_write_atomic(write_rows(path, 0, 1), rows, sizeof rows - 1, &err), AGRL_OK);
  if (agrl_dataset_load(path, NULL, NULL, &d, &err)) fail_msg("%s", err.msg);
  unlink(path);
  assert_int_equal(agrl_rules_check_data(r, NULL, &d, &rep, &err), AGRL_ECONFIG);
  agrl_dataset_release(&d);
  assert_string_equal(rep.failures.data, "t.yaml:7: 1 row (a): the reference trace fails gate agree: tier says 2, verdict says 1\n"
                                         "t.yaml:6: 1 row (b\\x1b[2J): the reference trace fails gate format: category has no allowed value\n"
                                         "t.yaml:6: 1 row (c): gold category 'perhaps' is not a value of line category");
  assert_int_equal(rep.checked, 5);
  assert_int_equal(rep.passed, 2);
  assert_int_equal(rep.contradicting, 1);
  // uses: tier 2, tier 1, value yes, value no, rule yes, rule no; the traces of a, d and e are well formed
  static const size_t gold[] = {4, 0, 4, 0, 4, 0}, traces[] = {2, 1, 3, 0, 3, 0};
  assert_int_equal(rep.n_uses, 6);
  for (size_t i = 0; i < 6; i++) {
    assert_int_equal(rep.uses[i].gold, gold[i]);
    assert_int_equal(rep.uses[i].traces, traces[i]);
  }
  assert_string_equal(rep.uses[5].what, "category no permits 1");
  assert_int_equal(rep.uses[5].where, 13);
  agrl_rules_report_release(&rep);
  agrl_rules_free(r);
  r = accepted(HEAD "trace: [{name: tier, kind: tier}, {name: category, prefix: \"C \", kind: choice, values: [yes, no]}]\n" CRITERIA
               "rules: [{category: yes, permit: 2}, {category: any, permit: [1]}]\n");
  assert_int_equal(agrl_rules_check_data(r, NULL, NULL, &rep, &err), AGRL_OK);
  assert_int_equal(rep.n_uses, 6);
  assert_int_equal(rep.uses[2].named, 1);
  assert_int_equal(rep.uses[3].named, 0);
  agrl_rules_report_release(&rep);
  agrl_rules_free(r);
}

// A line of the rule file has a few reasons of its own; what comes after them, one a label, is counted together. Other lines have theirs.
static void reasons_of_a_line_are_few(void **state) {
  agrl_rules *r = accepted(HEAD TRACE CRITERIA RULES);
  agrl_rules_report rep;
  agrl_error err = {0};
  agrl_buf rows = {0};
  char path[64];
  agrl_dataset d = {0};
  for (int i = 0; i < 20; i++) {
    char label[16];
    snprintf(label, sizeof label, "x%d", i == 19 ? 0 : i);
    agrl_buf_addf(&rows, "{\"id\": \"%d\", \"query\": \"q\", \"product\": {\"title\": \"p\"}, \"gold\": {\"tier\": 2, \"category\": \"%s\"}}\n", i, i == 18 ? "no" : label);
  }
  assert_int_equal(agrl_file_write_atomic(write_rows(path, 0, 1), rows.data, rows.len, &err), AGRL_OK);
  agrl_buf_release(&rows);
  if (agrl_dataset_load(path, NULL, NULL, &d, &err)) fail_msg("%s", err.msg);
  unlink(path);
  assert_int_equal(agrl_rules_check_data(r, NULL, &d, &rep, &err), AGRL_ECONFIG);
  agrl_dataset_release(&d);
  assert_string_equal(rep.failures.data, "t.yaml:6: 2 rows (0, 19): gold category 'x0' is not a value of line category\n"
                                         "t.yaml:6: 1 row (1): gold category 'x1' is not a value of line category\n"
                                         "t.yaml:6: 1 row (2): gold category 'x2' is not a value of line category\n"
                                         "t.yaml:6: 1 row (3): gold category 'x3' is not a value of line category\n"
                                         "t.yaml:6: 1 row (4): gold category 'x4' is not a value of line category\n"
                                         "t.yaml:6: 13 rows (5, 6, 7, 8, 9, ...): other reasons\n"
                                         "t.yaml:13: 1 row (18): no rule permits tier 2 for category no, attribute any; the rule: category no permits 1");
  agrl_rules_report_release(&rep);
  agrl_rules_free(r);
}

static void shipped_files_hold(void **state) {
  agrl_rules_report rep;
  agrl_error err = {0};
  if (agrl_rules_check_files(AGRL_TEST_DIR "/../deploy/etc/rules.yaml", NULL, &rep, &err)) fail_msg("%s", err.msg);
  agrl_rules_report_release(&rep);
  const char *data = AGRL_TEST_DIR "/../../shared/data/esci/train.jsonl";
  bool there = agrl_file_exists(data);
  if (agrl_rules_check_files(AGRL_TEST_DIR "/../deploy/etc/rules-esci.yaml", there ? data : NULL, &rep,
                             &err)) fail_msg("%s", err.msg);
  if (there) {
    assert_int_equal(rep.references, rep.rows);
    assert_int_equal(rep.passed, rep.rows);
  }
  agrl_rules_report_release(&rep);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(accepts_and_hashes), cmocka_unit_test(refuses_bad_files),
          cmocka_unit_test(refuses_without_dominance),
      cmocka_unit_test(gold_must_pass),     cmocka_unit_test(names_rules_and_rows),
      cmocka_unit_test(reasons_of_a_line_are_few), cmocka_unit_test(shipped_files_hold),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
