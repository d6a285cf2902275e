// SPDX-License-Identifier: Apache-2.0
// JSON: what the reader refuses, what lookups give, what the writer writes.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/rng.h"

static agrl_json *parse(const char *text) {
  agrl_json *j;
  agrl_error err;
  assert_int_equal(agrl_json_parse(text, strlen(text), "t", &j, &err), AGRL_OK);
  return j;
}

static void malformed_text_is_refused(void **state) {
  static const char *const bad[] = {
      "", " ", "{", "[1,]", "{\"a\":1,}", "[01]", "[+1]", "[.5]", "[1e999]", "[NaN]", "[nul]", "'a'", "{\"a\":1}x", "{a:1}",
      "{\"a\":1,\"a\":1}", "\"\\ud800\"", "\"\x01\"", "\"\xff\"", "\"\xc0\xaf\"", "\"\xed\xa0\x80\"", "[1] [2]", "/*c*/1",
      "[9223372036854775808]", "\"a\\u0000b\"",
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    agrl_json *j = (agrl_json *)&j;
    agrl_error err = {0};
    if (agrl_json_parse(bad[i], strlen(bad[i]), "rows.jsonl:3", &j, &err) != AGRL_EPARSE) fail_msg("accepted: %s", bad[i]);
    assert_null(j);
    assert_int_equal(strncmp(err.msg, "rows.jsonl:3:", 13), 0);
  }
  assert_int_equal(agrl_json_parse("[1\0]", 4, "t", &(agrl_json *){0}, NULL), AGRL_EPARSE);
  assert_int_equal(agrl_json_parse("1\0", 2, "t", &(agrl_json *){0}, NULL), AGRL_EPARSE);
}

static void depth_is_bounded(void **state) {
  char text[400];
  agrl_json *j;
  memset(text, '[', 65), memset(text + 65, ']', 65);
  assert_int_equal(agrl_json_parse(text, 130, "t", &j, NULL), AGRL_ELIMIT);
  assert_int_equal(agrl_json_parse(text + 1, 128, "t", &j, NULL), AGRL_OK);
  agrl_json_free(j);
  agrl_json_free(parse("\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\""));  // brackets in text
  agrl_json_free(parse("[\"\\\"[[[\", 1]"));
}

static void lookups_chain_and_are_typed(void **state) {
  agrl_json *j = parse("{\"z\": [1, 2.5, \"caf\\u00e9\", true, null], \"a\": {\"b\": -3}}");
  const agrl_json *z = agrl_json_get(j, "z");
  int64_t i = 99;
  double d = 99;
  bool b = false;
  const char *s = NULL;
  size_t n;
  assert_int_equal(agrl_json_len(j), 2);
  assert_int_equal(agrl_json_len(z), 5);
  assert_true(agrl_json_i64(agrl_json_get(agrl_json_get(j, "a"), "b"), &i) && i == -3);
  assert_true(agrl_json_f64(agrl_json_at(z, 0), &d) && d == 1);
  assert_false(agrl_json_i64(agrl_json_at(z, 1), &i));
  assert_true(agrl_json_str(agrl_json_at(z, 2), &s, &n) && n == 5);
  assert_string_equal(s, "caf\xc3\xa9");
  assert_true(agrl_json_bool(agrl_json_at(z, 3), &b) && b);
  assert_int_equal(agrl_json_typeof(agrl_json_at(z, 4)), AGRL_JSON_NULL);
  assert_null(agrl_json_at(z, 5));
  assert_null(agrl_json_get(z, "a"));
  assert_null(agrl_json_get(NULL, "a"));
  assert_null(agrl_json_at(j, 0));
  assert_false(agrl_json_str(NULL, &s, NULL) || agrl_json_i64(NULL, &i) || agrl_json_f64(NULL, &d) || agrl_json_bool(NULL, &b));
  assert_int_equal(agrl_json_len(NULL), 0);
  void *it = agrl_json_first(j);  // order of the text, not of the alphabet
  assert_string_equal(agrl_json_key(it), "z");
  assert_ptr_equal(agrl_json_value(it), z);
  it = agrl_json_next(j, it);
  assert_string_equal(agrl_json_key(it), "a");
  assert_null(agrl_json_next(j, it));
  assert_null(agrl_json_first(z));
  agrl_json_free(j);
  agrl_json_free(NULL);
}

static void writer_separates_and_escapes(void **state) {
  agrl_buf b = {0};
  agrl_jw w;
  agrl_jw_init(&w, &b);
  agrl_jw_obj(&w);
  agrl_jw_kstr(&w, "q\"k", "a\\b\n\x01");
  agrl_jw_key(&w, "list");
  agrl_jw_arr(&w);
  agrl_jw_i64(&w, INT64_MIN);
  agrl_jw_u64(&w, UINT64_MAX);
  agrl_jw_arr(&w);
  agrl_jw_end_arr(&w);
  agrl_jw_obj(&w);
  agrl_jw_end_obj(&w);
  agrl_jw_null(&w);
  agrl_jw_end_arr(&w);
  agrl_jw_kbool(&w, "t", true);
  agrl_jw_kf64(&w, "nan", NAN);
  agrl_jw_kf64(&w, "tenth", 0.1);
  agrl_jw_key(&w, "bytes");
  agrl_jw_strn(&w, "x\xff\xc3\xa9\xed\xa0\x80", 7);
  agrl_jw_end_obj(&w);
  assert_string_equal(b.data,
                      "{\"q\\\"k\":\"a\\\\b\\n\\u0001\",\"list\":[-9223372036854775808,18446744073709551615,[],{},null],"
                      "\"t\":true,\"nan\":null,\"tenth\":0.1,\"bytes\":\"x\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"}");
  agrl_buf_release(&b);
}

static void reals_read_back_equal(void **state) {
  agrl_rng r;
  agrl_rng_init(&r, 1, 2);
  agrl_buf b = {0};
  for (int i = 0; i < 20000; i++) {
    uint64_t bits = agrl_rng_u64(&r);
    double v;
    memcpy(&v, &bits, sizeof v);
    if (!isfinite(v)) continue;
    agrl_jw w;
    agrl_buf_clear(&b);
    agrl_jw_init(&w, &b);
    agrl_jw_f64(&w, v);
    agrl_json *j = parse(b.data);
    double back = 0;
    assert_true(agrl_json_f64(j, &back));
    assert_memory_equal(&back, &v, sizeof v);
    agrl_json_free(j);
  }
  agrl_buf_release(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(malformed_text_is_refused),    cmocka_unit_test(depth_is_bounded),      cmocka_unit_test(lookups_chain_and_are_typed),
      cmocka_unit_test(writer_separates_and_escapes), cmocka_unit_test(reals_read_back_equal),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
