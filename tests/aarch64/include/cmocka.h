// SPDX-License-Identifier: Apache-2.0
// What the kernels' and the model's unit tests use of cmocka, for a machine whose libcmocka is not at hand. A failed assertion
// says where and ends the test; a program exits with how many of its tests failed.
#ifndef AGRL_TESTS_AARCH64_CMOCKA_H
#define AGRL_TESTS_AARCH64_CMOCKA_H

#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct CMUnitTest {
  const char *name;
  void (*fn)(void **state);
};
static jmp_buf agrl_test_end;

#define AGRL_TEST_FAIL(...)                        \
  do {                                             \
    fprintf(stderr, "%s:%d: ", __FILE__, __LINE__); \
    fprintf(stderr, __VA_ARGS__);                  \
    fputc('\n', stderr);                           \
    longjmp(agrl_test_end, 1);                     \
  } while (0)
#define AGRL_TEST_NEED(condition)                         \
  do {                                                    \
    if (!(condition)) AGRL_TEST_FAIL("not: %s", #condition); \
  } while (0)

#define fail_msg(...) AGRL_TEST_FAIL(__VA_ARGS__)
#define skip() longjmp(agrl_test_end, 2)
#define assert_true(c) AGRL_TEST_NEED(c)
#define assert_false(c) AGRL_TEST_NEED(!(c))
#define assert_null(p) AGRL_TEST_NEED((p) == NULL)
#define assert_non_null(p) AGRL_TEST_NEED((p) != NULL)
#define assert_ptr_equal(a, b) AGRL_TEST_NEED((a) == (b))
#define assert_int_equal(a, b) AGRL_TEST_NEED((long long)(a) == (long long)(b))
#define assert_float_equal(a, b, epsilon) AGRL_TEST_NEED(fabs((double)(a) - (double)(b)) <= (double)(epsilon))
#define assert_string_equal(a, b) AGRL_TEST_NEED(strcmp(a, b) == 0)
#define assert_memory_equal(a, b, n) AGRL_TEST_NEED(memcmp(a, b, n) == 0)
#define assert_memory_not_equal(a, b, n) AGRL_TEST_NEED(memcmp(a, b, n) != 0)

#define cmocka_unit_test(f) {#f, f}
#define cmocka_run_group_tests(tests, setup, teardown) agrl_test_run(tests, sizeof(tests) / sizeof *(tests))

static inline int agrl_test_run(const struct CMUnitTest *tests, size_t n) {
  volatile int failed = 0;
  for (volatile size_t i = 0; i < n; i++) {
    void *state = NULL;
    const int end = setjmp(agrl_test_end);
    if (end == 0) tests[i].fn(&state);
    if (end == 1) failed++;
    fprintf(stderr, "%s %s\n", end == 0 ? "ok" : end == 1 ? "FAILED" : "skipped", tests[i].name);
  }
  return failed;
}

#endif
