// SPDX-License-Identifier: Apache-2.0
// YAML: the tree and its places, and every refusal with its message.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/conf/yaml.h"

static agrl_yaml *parse(const char *text) {
  agrl_yaml *y;
  agrl_error err = {0};
  if (agrl_yaml_parse(text, strlen(text), "f.yaml", &y, &err)) fail_msg("%s", err.msg);
  return y;
}

static void refused(const char *text, const char *want) {
  agrl_yaml *y = (agrl_yaml *)&y;
  agrl_error err = {0};
  assert_int_equal(agrl_yaml_parse(text, strlen(text), "f.yaml", &y, &err), AGRL_ECONFIG);
  assert_null(y);
  if (!strstr(err.msg, want)) fail_msg("\"%s\" does not hold \"%s\"", err.msg, want);
}

static void trees_know_their_places(void **state) {
  agrl_yaml *y = parse("# head\nrun:\n  name: x\n  list: [1, 'two', \"3\"]\nempty:\n");
  const agrl_yaml *run = agrl_yaml_get(y, "run"), *list = agrl_yaml_get(run, "list");
  assert_int_equal(y->n, 2);
  assert_string_equal(y->keys[0], "run");
  assert_int_equal(agrl_yaml_get(run, "name")->line, 3);
  assert_int_equal(agrl_yaml_get(run, "name")->column, 9);
  assert_int_equal(list->type, AGRL_YAML_SEQ);
  assert_int_equal(list->n, 3);
  assert_false(list->items[0]->quoted);
  assert_true(list->items[1]->quoted && list->items[2]->quoted);
  assert_string_equal(agrl_yaml_str(list->items[1]), "two");
  assert_string_equal(agrl_yaml_str(agrl_yaml_get(y, "empty")), "");
  assert_null(agrl_yaml_str(list));
  assert_null(agrl_yaml_get(list, "x"));
  assert_null(agrl_yaml_get(NULL, "x"));
  assert_string_equal(list->items[2]->file, "f.yaml");
  agrl_yaml_free(y);
  agrl_yaml_free(NULL);
}

static void empty_documents_are_empty_maps(void **state) {
  static const char *const texts[] = {"", "\n", "# only a comment\n", "---\n", "--- # x\n...\n"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    agrl_yaml *y = parse(texts[i]);
    assert_int_equal(y->type, AGRL_YAML_MAP);
    assert_int_equal(y->n, 0);
    agrl_yaml_free(y);
  }
}

static void surprises_are_refused_with_their_place(void **state) {
  refused("a: 1\nb: 2\na: 3\n", "f.yaml:3:1: key \"a\" is here twice; it stands at line 1");
  refused("a: &x 1\n", "f.yaml:1:4: anchors");
  refused("a: &x {}\n", "anchors");
  refused("a: *x\n", "f.yaml:1:4: aliases");
  refused("a: !!str 1\n", "f.yaml:1:4: tags");
  refused("a: !t [1]\n", "tags");
  refused("%YAML 1.1\n---\na: 1\n", "directives");
  refused("%TAG ! tag:x,2000:\n---\na: 1\n", "directives");
  refused("a: 1\n---\nb: 2\n", "f.yaml:2:1: a second document");
  refused("? [k]\n: v\n", "a key must be plain text");
  refused("&k a: 1\n", "anchors");
  refused("a: \"x\\0y\"\n", "NUL");
  refused("a:\n\tb: 1\n", "f.yaml:2:1: ");
  refused("a: [1, 2\n", "f.yaml:");
  refused("a: \"\xff\"\n", "f.yaml:");
  refused("a: b: c\n", "f.yaml:1:5: ");
}

static void size_and_depth_are_bounded(void **state) {
  agrl_buf b = {0};
  for (int i = 0; i < 40; i++) agrl_buf_addc(&b, '[');
  for (int i = 0; i < 40; i++) agrl_buf_addc(&b, ']');
  refused(b.data, "nested too deep");
  agrl_buf_clear(&b);
  agrl_buf_addc(&b, '[');
  for (int i = 0; i < 70000; i++) agrl_buf_adds(&b, "1,");
  agrl_buf_addc(&b, ']');
  refused(b.data, "too many values");
  agrl_buf_clear(&b);
  for (int i = 0; i < 5000; i++) agrl_buf_addf(&b, "k%d: 1\n", i);
  refused(b.data, "f.yaml:4097:1: too many keys");
  agrl_buf_reserve(&b, 2 << 20);
  agrl_yaml *y;
  assert_int_equal(agrl_yaml_parse(b.data, (1 << 20) + 1, "f", &y, NULL), AGRL_ELIMIT);
  agrl_buf_release(&b);
}

static void scalars_are_strict(void **state) {
  agrl_yaml *y = parse("[80x, '5', 5, 1e-3, true, yes, True, -7]");
  double d = 0;
  long long i = 0;
  bool b = false;
  assert_false(agrl_yaml_i64(y->items[0], &i) || agrl_yaml_f64(y->items[0], &d));
  assert_false(agrl_yaml_i64(y->items[1], &i));
  assert_true(agrl_yaml_i64(y->items[2], &i) && i == 5);
  assert_true(agrl_yaml_f64(y->items[3], &d) && d == 1e-3);
  assert_false(agrl_yaml_i64(y->items[3], &i));
  assert_true(agrl_yaml_bool(y->items[4], &b) && b);
  assert_false(agrl_yaml_bool(y->items[5], &b) || agrl_yaml_bool(y->items[6], &b) || agrl_yaml_bool(NULL, &b));
  assert_true(agrl_yaml_i64(y->items[7], &i) && i == -7);
  agrl_yaml_free(y);
}

static void unknown_keys_name_the_nearest(void **state) {
  static const char *const allowed[] = {"weight", "values", "name", NULL};
  agrl_error err = {0};
  agrl_yaml *y = parse("name: x\nwieght: 1\n");
  assert_int_equal(agrl_yaml_only(y, allowed, &err), AGRL_ECONFIG);
  assert_string_equal(err.msg, "f.yaml:2:9: unknown key \"wieght\"; did you mean \"weight\"?");
  agrl_yaml_free(y);
  y = parse("completely: 1\n");
  assert_int_equal(agrl_yaml_only(y, allowed, &err), AGRL_ECONFIG);
  assert_string_equal(err.msg, "f.yaml:1:13: unknown key \"completely\"; expected one of weight, values, name");
  agrl_yaml_free(y);
  y = parse("name: 1\nweight: 2\n");
  assert_int_equal(agrl_yaml_only(y, allowed, &err), AGRL_OK);
  assert_int_equal(agrl_yaml_only(y->items[0], allowed, &err), AGRL_ECONFIG);
  agrl_yaml_free(y);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(trees_know_their_places),    cmocka_unit_test(empty_documents_are_empty_maps), cmocka_unit_test(surprises_are_refused_with_their_place),
      cmocka_unit_test(size_and_depth_are_bounded), cmocka_unit_test(scalars_are_strict),             cmocka_unit_test(unknown_keys_name_the_nearest),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
