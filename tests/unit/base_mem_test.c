// SPDX-License-Identifier: Apache-2.0
// Memory: blocks, arenas, buffers, and that bugs abort.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/bug.h"
#include "common/base/mem.h"

static bool all_zero(const uint8_t *p, size_t n) {
  for (size_t i = 0; i < n; i++) {
    if (p[i]) return false;
  }
  return true;
}

static void blocks_are_zeroed_and_aligned(void **state) {
  static const size_t sizes[] = {0, 1, 4096, 4097, (2u << 20) - 1, 2u << 20, (6u << 20) + 12345};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    uint8_t *p = agrl_block_alloc(sizes[i]);
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % (sizes[i] >= 2u << 20 ? 2u << 20 : 64), 0);
    assert_true(all_zero(p, sizes[i]));
    memset(p, 0xA5, sizes[i]);
    agrl_block_free(p, sizes[i]);
  }
  assert_null(agrl_block_alloc(SIZE_MAX));
  assert_null(agrl_block_alloc((size_t)1 << 60));
  agrl_block_free(NULL, 1);
}

static void arena_objects_are_zeroed_and_apart(void **state) {
  agrl_arena a;
  agrl_arena_init(&a, 0);
  uint8_t *kept[200];
  for (int round = 0; round < 3; round++) {
    for (size_t i = 0; i < 200; i++) {
      size_t n = i * 37 % 500;
      kept[i] = agrl_arena_alloc(&a, n);
      assert_int_equal((uintptr_t)kept[i] % 16, 0);
      assert_true(all_zero(kept[i], n));
      memset(kept[i], (int)i + 1, n);
    }
    for (size_t i = 0; i < 200; i++) {
      for (size_t k = 0; k < i * 37 % 500; k++) assert_int_equal(kept[i][k], (uint8_t)(i + 1));
    }
    agrl_arena_clear(&a);
    assert_int_equal(a.used_bytes, 0);
  }
  assert_string_equal(agrl_arena_printf(&a, "%d-%s", 42, "x"), "42-x");
  assert_string_equal(agrl_arena_strndup(&a, "abcdef", 3), "abc");
  assert_string_equal(agrl_arena_strdup(&a, ""), "");
  assert_memory_equal(agrl_arena_dup(&a, "\0\1\2", 3), "\0\1\2", 3);
  agrl_arena_release(&a);
}

static void arena_settles_in_one_chunk(void **state) {
  agrl_arena a;
  agrl_arena_init(&a, 0);
  for (int i = 0; i < 64; i++) agrl_arena_alloc(&a, 1000);
  agrl_arena_clear(&a);
  void *chunk = a.head;
  for (int i = 0; i < 30; i++) agrl_arena_alloc(&a, 1000);
  assert_ptr_equal(a.head, chunk);
  agrl_arena_release(&a);
}

static void arena_limit_holds(void **state) {
  agrl_arena a;
  agrl_arena_init(&a, 1000);
  assert_non_null(agrl_arena_try(&a, 900));
  assert_null(agrl_arena_try(&a, 200));
  assert_non_null(agrl_arena_try(&a, 80));
  assert_null(agrl_arena_try(&a, SIZE_MAX));
  assert_true(a.used_bytes <= 1000);
  agrl_arena_release(&a);
}

static void buffers_grow_and_stay_strings(void **state) {
  agrl_buf b = {0};
  for (int i = 0; i < 1000; i++) agrl_buf_addf(&b, "%d,", i);
  assert_int_equal(b.len, 3890);
  assert_int_equal(strlen(b.data), b.len);
  agrl_buf_clear(&b);
  assert_string_equal(b.data, "");
  agrl_buf_add(&b, "a\0b", 3);
  agrl_buf_addc(&b, 'c');
  agrl_buf_adds(&b, "d");
  agrl_buf_add(&b, NULL, 0);
  assert_memory_equal(b.data, "a\0bcd", 6);
  char *taken = agrl_buf_take(&b);
  assert_null(b.data);
  free(taken);
  taken = agrl_buf_take(&b);
  assert_string_equal(taken, "");
  free(taken);
  char *long_text = agrl_xcalloc(5000, 1);
  memset(long_text, 'x', 4999);
  agrl_buf_addf(&b, "[%s]", long_text);
  assert_int_equal(b.len, 5001);
  free(long_text);
  agrl_buf_release(&b);
}

static bool aborts(void (*fn)(void)) {
  pid_t pid = fork();
  if (pid == 0) {
    close(STDERR_FILENO);
    signal(SIGABRT, SIG_DFL);
    fn();
    _exit(0);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void overflow(void) { agrl_xcalloc(SIZE_MAX / 2, 3); }
static void failed_assert(void) { AGRL_ASSERT(1 + 1 == 3); }
static void arena_overrun(void) {
  agrl_arena a;
  agrl_arena_init(&a, 16);
  agrl_arena_alloc(&a, 17);
}
#if defined(__SANITIZE_ADDRESS__)
static bool dies_of_access(void (*fn)(void)) {
  pid_t pid = fork();
  if (pid == 0) {
    close(STDERR_FILENO);
    fn();
    _exit(0);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  return !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static volatile char sink;
static void read_past_object(void) {
  agrl_arena a;
  agrl_arena_init(&a, 0);
  char *p = agrl_arena_alloc(&a, 5);
  sink = p[5];
}
static void read_after_clear(void) {
  agrl_arena a;
  agrl_arena_init(&a, 0);
  char *p = agrl_arena_alloc(&a, 5);
  agrl_arena_clear(&a);
  sink = p[0];
}
static void read_past_block(void) {
  char *p = agrl_block_alloc(100);
  sink = p[100];
}

// The sanitizer build sees what arenas and blocks would otherwise hide from it.
static void sanitizer_sees_inside(void **state) {
  assert_true(dies_of_access(read_past_object));
  assert_true(dies_of_access(read_after_clear));
  assert_true(dies_of_access(read_past_block));
}
#endif

static void nothing(void) { AGRL_ASSERT(1 + 1 == 2); }

static void bugs_abort(void **state) {
  assert_true(aborts(overflow));
  assert_true(aborts(failed_assert));
  assert_true(aborts(arena_overrun));
  assert_false(aborts(nothing));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(blocks_are_zeroed_and_aligned), cmocka_unit_test(arena_objects_are_zeroed_and_apart),
      cmocka_unit_test(arena_settles_in_one_chunk),    cmocka_unit_test(arena_limit_holds),
      cmocka_unit_test(buffers_grow_and_stay_strings), cmocka_unit_test(bugs_abort),
#if defined(__SANITIZE_ADDRESS__)
      cmocka_unit_test(sanitizer_sees_inside),
#endif
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
