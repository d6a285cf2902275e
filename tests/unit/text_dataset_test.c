// SPDX-License-Identifier: Apache-2.0
// Data rows and prompt templates.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
// cmocka wants the headers above first
#include <cmocka.h>

#include "common/text/dataset.h"
#include "common/text/utf8.h"

#define GOOD                                                                                                  \
  "{\"id\":\"a1\",\"query\":\"red shoes\",\"product\":{\"title\":\"Shoe "                                     \
  "caf\xc3\xa9\",\"brand\":\"Zed\"},\"gold\":{\"tier\":3,\"category\":\"match\"},\"must\":[\"red\",\"big\"]," \
  "\"extra\":7}"

static void test_row(void **state) {
  agrl_arena arena;
  agrl_arena_init(&arena, 0);
  agrl_row row;
  agrl_error err = {0};
  assert_int_equal(agrl_row_parse(GOOD, strlen(GOOD), "x:1", &arena, &row, &err), AGRL_OK);
  assert_string_equal(row.id, "a1");
  assert_string_equal(row.query, "red shoes");
  assert_string_equal(row.type, "");
  assert_int_equal(row.n_fields, 2);
  assert_string_equal(row.field_names[1], "brand");
  assert_string_equal(row.field_values[1], "Zed");
  assert_int_equal(row.gold.tier, 3);
  assert_string_equal(row.gold.category, "match");
  assert_null(row.gold.attribute);
  assert_int_equal(row.n_must, 2);
  assert_int_equal(row.n_not, 0);
  assert_null(row.reference);
  agrl_arena_release(&arena);
}

static void test_bad_rows(void **state) {
  const char *const cases[][2] = {
      {"[]", "expected an object"},
      {"{\"id\":1,\"query\":\"q\",\"product\":{\"title\":\"t\"},\"gold\":{\"tier\":1}}",
       "id is an integer, expected a string"},
      {"{\"query\":\"q\",\"product\":{\"title\":\"t\"},\"gold\":{\"tier\":1}}", "id is absent"},
      {"{\"id\":\"1\",\"query\":\"\",\"product\":{\"title\":\"t\"},\"gold\":{\"tier\":1}}", "query is empty"},
      {"{\"id\":\"1\",\"query\":\"q\",\"product\":{},\"gold\":{\"tier\":1}}", "product.title is absent"},
      {"{\"id\":\"1\",\"query\":\"q\",\"product\":{\"title\":\"t\",\"n\":3},\"gold\":{\"tier\":1}}",
       "product.n is an integer"},
      {"{\"id\":\"1\",\"query\":\"q\",\"product\":{\"title\":\"t\"}}", "gold is absent"},
      {"{\"id\":\"1\",\"query\":\"q\",\"product\":{\"title\":\"t\"},\"gold\":{\"tier\":7}}",
       "gold.tier is 7, expected 1..4"},
      {"{\"id\":\"1\",\"query\":\"q\",\"product\":{\"title\":\"t\"},\"gold\":{\"tier\":\"4\"}}",
       "gold.tier is a string, expected 1..4"},
      {"{\"id\":\"1\",\"query\":\"q\",\"product\":{\"title\":\"t\"},\"gold\":{\"tier\":1},\"must\":\"a\"}",
       "must is a string"},
      {"{\"id\":\"1\",\"query\":\"q\",\"product\":{\"title\":\"t\"},\"gold\":{\"tier\":1},\"not\":[2]}",
       "not[0] is an integer"},
      {"{\"id\":\"1\",\"query\":\"q\",\"product\":{\"title\":\"t\"},\"gold\":{\"tier\":1}", "x:1"}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    agrl_arena arena;
    agrl_arena_init(&arena, 0);
    agrl_row row;
    agrl_error err = {0};
    assert_int_equal(agrl_row_parse(cases[i][0], strlen(cases[i][0]), "x:1", &arena, &row, &err), AGRL_EPARSE);
    if (strstr(err.msg, cases[i][1]) == NULL || strncmp(err.msg, "x:1", 3) != 0) fail_msg("case %zu: %s", i, err.msg);
    agrl_arena_release(&arena);
  }
}

static void collect(void *user, const char *message) {
  strcat(user, message);
  strcat(user, "\n");
}

static void test_load(void **state) {
  char path[] = "/tmp/agrl_rows_XXXXXX", bad[2048] = "";
  int fd = mkstemp(path);
  const char *text = "\xEF\xBB\xBF" GOOD "\n\n  \r\n{\"id\":\"b\"}\n" GOOD
                     "\r\n{\"id\":\"c\",\"query\":\"q\",\"product\":{\"title\":\"t\"},\"gold\":{\"tier\":1}}";
  assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
  agrl_dataset d;
  agrl_error err = {0};
  assert_int_equal(agrl_dataset_load(path, collect, bad, &d, &err), AGRL_OK);
  assert_int_equal(d.n, 2);
  assert_string_equal(d.rows[1].id, "c");
  assert_int_equal(d.n_bad, 2);
  char expected[256];
  snprintf(expected, sizeof expected, "%s:4: query is absent, expected a string\n%s:5: id \"a1\" is given twice", path,
           path);
  if (strncmp(bad, expected, strlen(expected)) != 0) fail_msg("got %s", bad);
  assert_string_equal(d.first_bad, bad);
  agrl_dataset_release(&d);
  assert_int_equal(ftruncate(fd, 0), 0);
  assert_int_equal(pwrite(fd, "{}\n{]\n", 6, 0), 6);
  assert_int_equal(agrl_dataset_load(path, collect, bad, &d, &err), AGRL_EPARSE);
  assert_non_null(strstr(err.msg, "no good row"));
  close(fd);
  unlink(path);
  assert_int_equal(agrl_dataset_load(path, collect, bad, &d, &err), AGRL_ENOENT);
}

static void test_templates(void **state) {
  agrl_arena arena;
  agrl_arena_init(&arena, 0);
  agrl_row row;
  assert_int_equal(agrl_row_parse(GOOD, strlen(GOOD), "x:1", &arena, &row, NULL), AGRL_OK);
  const char *const cases[][2] = {
      {"Query: {query}\nProduct: {product.title}\n", "Query: red shoes\nProduct: Shoe caf\xc3\xa9\n"},
      {"{product.title:9}|{product.title:10}|{product.title:3}", "Shoe caf|Shoe caf\xc3\xa9|Sho"},
      {"a\nColor: {product.color}\nb", "a\nb"},
      {"Color: {product.color}", ""},
      {"{product.color}{product.brand}\n", "Zed\n"},
      {"must: {must}; not: {not}", "must: red, big; not: none"},
      {"{{x}} {gold.tier} {gold.category}\n{gold.attribute}\n.", "{x}} 3 match\n."}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    agrl_buf out = {0};
    agrl_error err = {0};
    if (agrl_template_check(cases[i][0], &err) != AGRL_OK) fail_msg("%s", err.msg);
    agrl_buf_adds(&out, "");
    agrl_template_render(cases[i][0], &row, &out);
    assert_string_equal(out.data, cases[i][1]);
    agrl_buf_release(&out);
  }
  const char *const bad[] = {"{quer}", "{query", "{query\n}", "{product.}", "{query:x}", "{query:0}", "{}"};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
    assert_int_equal(agrl_template_check(bad[i], NULL), AGRL_EPARSE);
  agrl_arena_release(&arena);
}

static void test_utf8(void **state) {
  uint32_t cp;
  const char *const bad[] = {"\x80", "\xC0\x80", "\xE0\x80\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80",
                             "\xF8", "\xE2\x82"};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
    assert_int_equal(agrl_utf8_decode(bad[i], strlen(bad[i]), &cp), 0);
  for (uint32_t c = 0; c < 0x110000; c += c < 0x900 ? 1 : 61) {
    if (c >= 0xD800 && c < 0xE000) continue;
    char b[4];
    size_t n = agrl_utf8_encode(c, b);
    assert_int_equal(agrl_utf8_decode(b, n, &cp), n);
    assert_int_equal(cp, c);
    assert_int_equal(agrl_utf8_decode(b, n - 1, &cp), 0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_row), cmocka_unit_test(test_bad_rows),
                                     cmocka_unit_test(test_load), cmocka_unit_test(test_templates),
                                     cmocka_unit_test(test_utf8)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
