// SPDX-License-Identifier: Apache-2.0
// Foreign text on its way to a terminal: what could steer it is shown, columns are counted in characters.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "common/base/err.h"

static void is(agrl_buf *b, const char *wanted) {
  assert_string_equal(b->data, wanted);
  assert_int_equal(b->len, strlen(wanted));
  agrl_buf_clear(b);
}

static void control_characters_are_shown(void **state) {
  agrl_buf b = {0};
  agrl_buf_add_visible(&b, "a\x1b[31m\r\n\t\x7f\0z", 12);
  is(&b, "a\\x1b[31m\\x0d\\x0a\\x09\\x7f\\x00z");
  agrl_buf_add_visible(&b, "\xc2\x9b" "31m \xc2\xa0 \xc3\xa9 \xe2\x82\xac", 15);  // a C1 CSI; what begins alike is text
  is(&b, "\\xc2\\x9b31m \xc2\xa0 \xc3\xa9 \xe2\x82\xac");
  agrl_buf_add_visible(&b, "\xc2", 1);  // cut off
  is(&b, "\xc2");
  agrl_buf_release(&b);
}

static void cells_count_characters(void **state) {
  agrl_buf b = {0};
  agrl_buf_add_cell(&b, "", 0);
  is(&b, "");
  agrl_buf_add_cell(&b, "\xc3\xa9t\xc3\xa9", 5);
  is(&b, "\xc3\xa9t\xc3\xa9  ");
  agrl_buf_add_cell(&b, "\xc3\xa9t\xc3\xa9", 3);
  is(&b, "\xc3\xa9t\xc3\xa9");
  agrl_buf_add_cell(&b, "\xc3\xa9t\xc3\xa9", 2);
  is(&b, "\xc3\xa9t");
  agrl_buf_adds(&b, "|");
  agrl_buf_add_cell(&b, "\n", 5);
  is(&b, "|\\x0a ");
  agrl_buf_release(&b);
}

static void errors_keep_their_lines_only(void **state) {
  agrl_error err = {.msg = "row 'a\x1b]0;owned\x07' is bad:\nt.yaml:3: because"};
  char got[200] = "";
  FILE *file = tmpfile();
  int kept = dup(2);
  assert_true(file && kept >= 0 && dup2(fileno(file), 2) == 2);
  agrl_error_print(&err, "agrlctl");
  dup2(kept, 2);
  close(kept);
  rewind(file);
  got[fread(got, 1, sizeof got - 1, file)] = 0;
  fclose(file);
  assert_string_equal(got, "agrlctl: row 'a\\x1b]0;owned\\x07' is bad:\nt.yaml:3: because\n");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(control_characters_are_shown), cmocka_unit_test(cells_count_characters),
                                     cmocka_unit_test(errors_keep_their_lines_only)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
