// SPDX-License-Identifier: Apache-2.0
// Strict numbers, checked sizes, errors, clocks and hashes.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/base/num.h"

static void sizes_are_checked(void **state) {
  size_t v = 7;
  assert_true(agrl_size_mul(1u << 20, 3, &v));
  assert_int_equal(v, 3u << 20);
  assert_false(agrl_size_mul(SIZE_MAX / 2 + 1, 2, &v));
  assert_true(agrl_size_add(SIZE_MAX - 1, 1, &v));
  assert_false(agrl_size_add(SIZE_MAX, 1, &v));
}

static void integers_are_whole_strings(void **state) {
  uint64_t u = 5;
  int64_t i = 5;
  assert_true(agrl_parse_u64("18446744073709551615", &u));
  assert_true(u == UINT64_MAX);
  static const char *const not_u64[] = {"", " 1", "1 ", "+1", "-1", "80x", "0x10", "1.0", "18446744073709551616", "٣"};
  for (size_t k = 0; k < sizeof not_u64 / sizeof *not_u64; k++) assert_false(agrl_parse_u64(not_u64[k], &u));
  assert_true(u == UINT64_MAX);  // untouched by failures
  assert_true(agrl_parse_i64("-9223372036854775808", &i) && i == INT64_MIN);
  assert_true(agrl_parse_i64("9223372036854775807", &i) && i == INT64_MAX);
  assert_true(agrl_parse_i64("-0", &i) && i == 0);
  static const char *const not_i64[] = {"", "-", "--1", "- 1", "9223372036854775808", "-9223372036854775809", "1e3"};
  for (size_t k = 0; k < sizeof not_i64 / sizeof *not_i64; k++) assert_false(agrl_parse_i64(not_i64[k], &i));
}

static void reals_are_finite_decimals(void **state) {
  double d = 5;
  assert_true(agrl_parse_f64("3e-4", &d) && d == 3e-4);
  assert_true(agrl_parse_f64("-.5", &d) && d == -0.5);
  assert_true(agrl_parse_f64("2.", &d) && d == 2);
  static const char *const bad[] = {"", ".", "e3", "1e", "1e+", "nan", "inf", "0x1p3", "1e999", " 1", "1,5", "1 ", "--1", "1.2.3"};
  for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) assert_false(agrl_parse_f64(bad[k], &d));
}

static void units_are_exact(void **state) {
  uint64_t v = 0;
  assert_true(agrl_parse_bytes("64MiB", &v) && v == 64ull << 20);
  assert_true(agrl_parse_bytes("4096", &v) && v == 4096);
  assert_true(agrl_parse_bytes("1TiB", &v) && v == 1ull << 40);
  static const char *const not_bytes[] = {"64MB", "64 MiB", "MiB", "1.5GiB", "-1", "17179869184GiB", "64mib"};
  for (size_t k = 0; k < sizeof not_bytes / sizeof *not_bytes; k++) assert_false(agrl_parse_bytes(not_bytes[k], &v));
  assert_true(agrl_parse_duration_ns("250ms", &v) && v == 250000000);
  assert_true(agrl_parse_duration_ns("2h", &v) && v == 7200000000000);
  assert_true(agrl_parse_duration_ns("0s", &v) && v == 0);
  static const char *const not_time[] = {"10", "", "s", "1.5s", "10 s", "-1s", "10sec", "1m30s", "99999999999999h"};
  for (size_t k = 0; k < sizeof not_time / sizeof *not_time; k++) assert_false(agrl_parse_duration_ns(not_time[k], &v));
}

static void errors_carry_code_and_context(void **state) {
  agrl_error err = {0};
  assert_int_equal(agrl_fail(&err, AGRL_EIO, "%s: read", "store"), AGRL_EIO);
  assert_int_equal(agrl_fail_in(&err, "resume step %d", 7), AGRL_EIO);
  assert_string_equal(err.msg, "resume step 7: store: read");
  assert_int_equal(agrl_fail(&err, AGRL_EPARSE, "again: %s", err.msg), AGRL_EPARSE);  // an argument may be the old text
  assert_string_equal(err.msg, "again: resume step 7: store: read");
  assert_int_equal(agrl_fail(NULL, AGRL_ENOENT, "x"), AGRL_ENOENT);
  for (int i = 0; i < 1000; i++) agrl_fail_in(&err, "deeper and deeper");
  assert_int_equal(strlen(err.msg), sizeof err.msg - 1);
  assert_string_equal(agrl_rc_name(AGRL_ECHECKSUM), "ECHECKSUM");
  assert_string_equal(agrl_rc_text(AGRL_OK), "ok");
  assert_int_equal(agrl_rc_exit(AGRL_ECONFIG), 78);
  assert_int_equal(agrl_rc_exit(AGRL_ESELFCHECK), 70);
}

static void clocks_tell_time(void **state) {
  char text[32];
  agrl_wall_text(1767323045678000000u, text, sizeof text);
  assert_string_equal(text, "2026-01-02T03:04:05.678Z");
  uint64_t a = agrl_mono_ns(), b = agrl_mono_ns();
  assert_true(b >= a && agrl_since_s(a) >= 0 && agrl_since_s(a) < 60);
}

static void hashes_match_published_values(void **state) {
  char hex[65], path[] = "/tmp/agrl-hash-XXXXXX";
  agrl_sha256 h = agrl_sha256_of("abc", 3), f;
  agrl_sha256_hex(&h, hex);
  assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  assert_true(agrl_hash64("", 0) == 0x2D06800538D394C2u);
  assert_true(agrl_hash64("a", 1) != agrl_hash64("b", 1));
  FILE *out = fdopen(mkstemp(path), "w");
  for (int i = 0; i < 300000; i++) fputs("abc", out);  // several reads long
  fclose(out);
  char *all = malloc(900000);
  for (int i = 0; i < 300000; i++) memcpy(all + 3 * i, "abc", 3);
  h = agrl_sha256_of(all, 900000);
  agrl_error err;
  assert_int_equal(agrl_sha256_file(path, &f, &err), AGRL_OK);
  assert_memory_equal(&h, &f, sizeof h);
  free(all);
  remove(path);
  assert_int_equal(agrl_sha256_file(path, &f, &err), AGRL_ENOENT);
  assert_non_null(strstr(err.msg, path));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sizes_are_checked),        cmocka_unit_test(integers_are_whole_strings),
      cmocka_unit_test(reals_are_finite_decimals), cmocka_unit_test(units_are_exact),
      cmocka_unit_test(errors_carry_code_and_context), cmocka_unit_test(clocks_tell_time),
      cmocka_unit_test(hashes_match_published_values),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
