// SPDX-License-Identifier: Apache-2.0
// A held-out row that was trained on is found whatever its id, labels, case and spacing; one that shares only the query or
// only the product is none.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/text/dataset.h"

static void load(const char *text, agrl_dataset *d) {
  char path[] = "/tmp/agrl-overlap-XXXXXX";
  int fd = mkstemp(path);
  assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
  close(fd);
  assert_int_equal(agrl_dataset_load(path, NULL, NULL, d, NULL), AGRL_OK);
  unlink(path);
}

#define ROW(id, query, product) "{\"id\":\"" id "\",\"query\":\"" query "\",\"product\":{" product "},\"gold\":{\"tier\":1}}\n"

static void check(const char *held_out, const char *names) {  // names NULL: disjoint
  agrl_dataset seen, out;
  agrl_error err = {0};
  load(ROW("t1", "Red shoes", "\"title\":\"Shoe, red\",\"brand\":\"Zed\"") ROW("t2", "q", "\"title\":\"ab\",\"brand\":\"c\"")
       ROW("t3", "q", "\"title\":\"x\""), &seen);
  load(held_out, &out);
  agrl_rc rc = agrl_dataset_disjoint(&seen, "train.jsonl", &out, "eval.jsonl", &err);
  assert_int_equal(rc, names ? AGRL_ECONFIG : AGRL_OK);
  if (names && !strstr(err.msg, names)) fail_msg("no \"%s\" in \"%s\"", names, err.msg);
  if (names) assert_non_null(strstr(err.msg, "remove them from eval.jsonl or from train.jsonl"));
  agrl_dataset_release(&seen);
  agrl_dataset_release(&out);
}

static void test_overlap(void **state) {
  check(ROW("e1", "red  SHOES ", "\"brand\":\"zed\",\"title\":\"Shoe, red\""), "1 of 1 rows have the query and the product of a row of the other file (e1 = t1)");
  check(ROW("t1", "q", "\"title\":\"other\"") ROW("e2", "q", "\"title\":\" x\""), "1 of 2 rows have the query and the product of a row of the other file (e2 = t3)");
  check(ROW("e1", "q", "\"title\":\"x\"") ROW("e2", "q", "\"title\":\"x\"") ROW("e3", "q", "\"title\":\"x\"") ROW("e4", "q", "\"title\":\"x\"")
        ROW("e5", "q", "\"title\":\"x\""), "5 of 5 rows have the query and the product of a row of the other file (e1 = t3, e2 = t3, e3 = t3, e4 = t3, ...)");
}

static void test_no_overlap(void **state) {
  check(ROW("t1", "red shoes", "\"title\":\"Shoe, red\",\"brand\":\"Zod\""), NULL);
  check(ROW("t1", "red shoe", "\"title\":\"Shoe, red\",\"brand\":\"Zed\""), NULL);
  check(ROW("t1", "Red shoes", "\"title\":\"Shoe, red\""), NULL);               // a member less
  check(ROW("t1", "redshoes", "\"title\":\"Shoe, red\",\"brand\":\"Zed\""), NULL);  // white space parts words
  check(ROW("t1", "q", "\"title\":\"a\",\"brand\":\"bc\""), NULL);               // a boundary elsewhere
  check(ROW("t1", "q", "\"title\":\"c\",\"brand\":\"ab\""), NULL);               // values of other members
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_overlap), cmocka_unit_test(test_no_overlap)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
