// SPDX-License-Identifier: Apache-2.0
// Data cannot become markup or script, and what is no text is shown as such.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/json.h"
#include "deploy/ctl/html.h"

static void check_text(const char *in, size_t len, const char *want) {
  agrl_buf out = {0};
  agrl_buf_adds(&out, "");
  html_textn(&out, in, len);
  assert_string_equal(out.data, want);
  agrl_buf_release(&out);
}

static void test_text(void **state) {
  check_text("a<b>&\"'\n\t", 9, "a&lt;b&gt;&amp;&quot;&#39;\n\t");
  check_text("\xc3\xa9\xe2\x82\xac\xf0\x9f\x99\x82", 9, "\xc3\xa9\xe2\x82\xac\xf0\x9f\x99\x82");
  check_text("a\0b\x1b" "c", 5, "a\xef\xbf\xbd" "b\xef\xbf\xbd" "c");
  check_text("\xff", 1, "\xef\xbf\xbd");
  check_text("\xc0\xaf", 2, "\xef\xbf\xbd\xef\xbf\xbd");              // overlong '/'
  check_text("\xed\xa0\x80", 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");  // a surrogate
  check_text("\xe2\x82", 2, "\xef\xbf\xbd\xef\xbf\xbd");              // cut short
  check_text("", 0, "");
}

static void test_json_cannot_end_its_element(void **state) {
  static const char evil[] = "</script><script>alert(1)</script><!--";
  agrl_buf json = {0}, page = {0};
  agrl_jw w;
  agrl_jw_init(&w, &json);
  agrl_jw_str(&w, evil);
  html_json(&page, "d", json.data, json.len);
  static const char open[] = "<script type=\"application/json\" id=\"d\">", close[] = "</script>\n";
  size_t head = strlen(open), tail = strlen(close);
  assert_memory_equal(page.data, open, head);
  assert_string_equal(page.data + page.len - tail, close);
  agrl_buf inside = {0};
  agrl_buf_add(&inside, page.data + head, page.len - head - tail);
  assert_null(strchr(inside.data, '<'));
  agrl_json *back = NULL;
  const char *s = NULL;
  assert_int_equal(agrl_json_parse(inside.data, inside.len, "page", &back, NULL), 0);
  assert_true(agrl_json_str(back, &s, NULL));
  assert_string_equal(s, evil);
  agrl_json_free(back);
  agrl_buf_release(&inside);
  agrl_buf_release(&json);
  agrl_buf_release(&page);
}

static void test_page(void **state) {
  agrl_buf page = {0};
  html_begin(&page, "A & <B>", "p{color:red}\n");
  html_end(&page);
  assert_non_null(strstr(page.data, "<title>A &amp; &lt;B&gt;</title>"));
  assert_non_null(strstr(page.data, "p{color:red}\n</style>"));
  assert_non_null(strstr(page.data, "default-src 'none'"));
  assert_string_equal(page.data + page.len - strlen("</body>\n</html>\n"), "</body>\n</html>\n");
  agrl_buf_release(&page);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_text),
      cmocka_unit_test(test_json_cannot_end_its_element),
      cmocka_unit_test(test_page),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
