// SPDX-License-Identifier: Apache-2.0
// The journal: what was appended is there after reopening, a torn last line is cut off and nothing else is, forks.
#include <fcntl.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/rng.h"
#include "common/model/weights.h"
#include "learner/id_set.h"
#include "learner/journal.h"
#include "tests/lib/full_disk.h"

static char path[128];

static int fresh(void **state) {
  (void)state;
  snprintf(path, sizeof path, "/tmp/agrl-journal-%ld.jsonl", (long)getpid());
  unlink(path);
  return 0;
}

static int clean(void **state) {
  (void)state;
  unlink(path);
  return 0;
}

static learner_journal *reopen(learner_journal *j) {
  agrl_error err = {0};
  learner_journal_close(j);
  j = NULL;
  if (learner_journal_open(path, &j, &err) != AGRL_OK) fail_msg("%s", err.msg);
  return j;
}

static void append(learner_journal *j, uint64_t version, uint64_t first_group, size_t n) {
  uint64_t ids[8];
  agrl_sha256 h;
  memset(h.b, (int)version & 0xff, sizeof h.b);
  for (size_t i = 0; i < n; i++) ids[i] = first_group + i;
  assert_int_equal(learner_journal_append(j, version, ids, n, &h, "trained", NULL), AGRL_OK);
}

static off_t size_of(void) {
  int fd = open(path, O_RDONLY);
  off_t n = lseek(fd, 0, SEEK_END);
  close(fd);
  return n;
}

static void test_survives_reopen(void **state) {
  (void)state;
  learner_journal *j = reopen(NULL);
  append(j, AGRL_VERSION(1, 1), UINT64_MAX - 5, 3);  // ids beyond a signed integer
  append(j, AGRL_VERSION(1, 2), 40, 1);
  append(j, AGRL_VERSION(1, 3), 0, 0);
  j = reopen(j);
  size_t n;
  const learner_entry *e = learner_journal_entries(j, &n);
  assert_int_equal(n, 3);
  assert_true(e[0].step.version == AGRL_VERSION(1, 1) && e[0].step.n_groups == 3 && e[0].step.groups[2] == UINT64_MAX - 3);
  assert_int_equal(e[1].hash.b[31], 2);
  assert_int_equal(e[2].step.n_groups, 0);
  assert_string_equal(e[1].outcome, "trained");
  assert_true(learner_journal_has_group(j, 40));
  assert_true(learner_journal_max_group(j) == UINT64_MAX - 3);
  assert_false(learner_journal_has_group(j, 41));
  agrl_journal_entry *after = learner_journal_after(j, AGRL_VERSION(1, 1), &n);
  assert_int_equal(n, 2);
  assert_true(after[0].version == AGRL_VERSION(1, 2) && after[0].groups[0] == 40);
  free(after);
  learner_journal_close(j);
}

static void test_versions_grow(void **state) {
  (void)state;
  learner_journal *j = reopen(NULL);
  agrl_sha256 h = {{0}};
  append(j, AGRL_VERSION(1, 2), 1, 1);
  off_t before = size_of();
  assert_int_equal(learner_journal_append(j, AGRL_VERSION(1, 2), NULL, 0, &h, "trained", NULL), AGRL_EVERSION);
  assert_int_equal(size_of(), before);
  learner_journal_close(j);
}

// Cuts the file at every byte of its last line: exactly the whole lines must survive, and appending must go on.
static void test_torn_at_every_byte(void **state) {
  (void)state;
  learner_journal *j = reopen(NULL);
  append(j, AGRL_VERSION(1, 1), 10, 2);
  off_t good = size_of();
  append(j, AGRL_VERSION(1, 2), 20, 2);
  off_t whole = size_of();
  learner_journal_close(j);
  for (off_t cut = good; cut < whole; cut++) {
    assert_int_equal(truncate(path, cut), 0);
    j = reopen(NULL);
    size_t n;
    learner_journal_entries(j, &n);
    assert_int_equal(n, 1);
    assert_int_equal(learner_journal_torn_bytes(j), cut - good);
    assert_int_equal(size_of(), good);
    assert_false(learner_journal_has_group(j, 20));
    append(j, AGRL_VERSION(1, 2), 20, 2);
    assert_int_equal(size_of(), whole);
    learner_journal_close(j);
  }
}

// Appending to a full disk: refused by the file's name, nothing of the line stays, and it works once there is room.
static void test_full_disk(void **state) {
  (void)state;
  learner_journal *j = reopen(NULL);
  append(j, AGRL_VERSION(1, 1), 10, 2);
  const off_t good = size_of();
  const uint64_t ids[] = {20, 21};
  const agrl_sha256 h = {{2}};
  for (off_t room = 0; room <= 20; room += 10) {  // not a byte fits; a part of the line does
    agrl_error err = {0};
    assert_int_equal(full_disk_limit((rlim_t)(good + room)), 0);
    const agrl_rc rc = learner_journal_append(j, AGRL_VERSION(1, 2), ids, 2, &h, "trained", &err);
    const agrl_rc forked = learner_journal_fork(j, AGRL_VERSION(1, 0), 2, "test", NULL);
    assert_int_equal(full_disk_end(), 0);
    assert_int_equal(rc, AGRL_EFULL);
    assert_int_equal(forked, AGRL_EFULL);
    assert_non_null(strstr(err.msg, path));
    assert_int_equal(size_of(), good);
    size_t n;
    learner_journal_entries(j, &n);
    assert_int_equal(n, 1);
    assert_int_equal(learner_journal_epoch(j), 1);
    assert_false(learner_journal_has_group(j, 20));
  }
  append(j, AGRL_VERSION(1, 2), 20, 2);
  j = reopen(j);
  size_t n;
  learner_journal_entries(j, &n);
  assert_int_equal(n, 2);
  assert_int_equal(learner_journal_torn_bytes(j), 0);
  assert_true(learner_journal_has_group(j, 21));
  learner_journal_close(j);
}

// Ids of a line that was given up have been used all the same.
static void test_max_group_outlives_forks(void **state) {
  (void)state;
  learner_journal *j = reopen(NULL);
  assert_true(learner_journal_max_group(j) == 0);
  append(j, AGRL_VERSION(1, 1), 1, 2);
  append(j, AGRL_VERSION(1, 2), 90, 2);
  assert_int_equal(learner_journal_fork(j, AGRL_VERSION(1, 1), 2, "test", NULL), AGRL_OK);
  assert_true(learner_journal_max_group(j) == 91);
  append(j, AGRL_VERSION(2, 2), 7, 1);
  j = reopen(j);
  assert_false(learner_journal_has_group(j, 91));
  assert_true(learner_journal_max_group(j) == 91);
  learner_journal_close(j);
}

static void write_text(const char *text) { assert_int_equal(agrl_file_write_atomic(path, text, strlen(text), NULL), AGRL_OK); }

static void test_damage_inside_is_an_error(void **state) {
  (void)state;
  learner_journal *j = reopen(NULL);
  append(j, AGRL_VERSION(1, 1), 1, 1);
  learner_journal_close(j);
  agrl_buf text = {0}, twice = {0};
  assert_int_equal(agrl_file_read(path, 1 << 20, &text, NULL), AGRL_OK);
  agrl_buf_addf(&twice, "{\"version\":1,\"groups\":[],\"outcome\":\"trained\",\"weights\":\"zz\"}\n%s", text.data);
  write_text(twice.data);
  agrl_error err = {0};
  assert_int_equal(learner_journal_open(path, &j, &err), AGRL_EPARSE);
  assert_non_null(strstr(err.msg, ":1:"));
  agrl_buf_clear(&twice);
  agrl_buf_addf(&twice, "%s{\"version\":3}\n", text.data);  // a whole but wrong last line: torn inside a reused block
  write_text(twice.data);
  j = reopen(NULL);
  assert_int_equal(size_of(), text.len);
  learner_journal_close(j);
  agrl_buf_release(&text);
  agrl_buf_release(&twice);
}

static void test_fork(void **state) {
  (void)state;
  learner_journal *j = reopen(NULL);
  for (uint32_t s = 1; s <= 4; s++) append(j, AGRL_VERSION(1, s), 100 * s, 2);
  assert_int_equal(learner_journal_fork(j, AGRL_VERSION(1, 2), 2, "test", NULL), AGRL_OK);
  for (int round = 0; round < 2; round++) {
    size_t n;
    learner_journal_entries(j, &n);
    assert_int_equal(n, 2);
    assert_int_equal(learner_journal_epoch(j), 2);
    assert_true(learner_journal_has_group(j, 201));
    assert_false(learner_journal_has_group(j, 300));
    j = reopen(j);
  }
  append(j, AGRL_VERSION(2, 3), 300, 2);
  j = reopen(j);
  size_t n;
  const learner_entry *e = learner_journal_entries(j, &n);
  assert_int_equal(n, 3);
  assert_true(e[2].step.version == AGRL_VERSION(2, 3));
  assert_true(learner_journal_has_group(j, 301));
  learner_journal_close(j);
}

static void test_many_groups(void **state) {
  (void)state;
  learner_journal *j = reopen(NULL);
  for (uint32_t s = 1; s <= 400; s++) append(j, AGRL_VERSION(1, s), 8 * s, 8);
  for (uint64_t g = 8; g < 8 * 401; g++) assert_true(learner_journal_has_group(j, g));
  assert_false(learner_journal_has_group(j, 7));
  assert_false(learner_journal_has_group(j, 8 * 401));
  learner_journal_close(j);
}

// A checkpoint lets entries leave memory, never the knowledge of what was trained, nor the order of versions, nor the file.
static void test_passed_by_a_checkpoint(void **state) {
  (void)state;
  size_t n;
  learner_journal *j = reopen(NULL);
  for (uint32_t s = 1; s <= 6; s++) append(j, AGRL_VERSION(1, s), 100 * s, 2);
  learner_journal_passed(j, AGRL_VERSION(1, 4));
  const learner_entry *e = learner_journal_entries(j, &n);
  assert_int_equal(n, 2);
  assert_true(e[0].step.version == AGRL_VERSION(1, 5) && e[0].step.groups[1] == 501);
  for (uint32_t s = 1; s <= 6; s++) assert_true(learner_journal_has_group(j, 100 * s + 1));
  assert_int_equal(learner_journal_fork(j, AGRL_VERSION(1, 4), 2, "test", NULL), AGRL_OK);
  assert_true(learner_journal_has_group(j, 400));
  assert_false(learner_journal_has_group(j, 500));
  const agrl_sha256 h = {{0}};
  assert_int_equal(learner_journal_append(j, AGRL_VERSION(1, 4), NULL, 0, &h, "trained", NULL), AGRL_EVERSION);
  append(j, AGRL_VERSION(2, 5), 500, 2);
  learner_journal_passed(j, AGRL_VERSION(2, 5));
  learner_journal_entries(j, &n);
  assert_int_equal(n, 0);
  assert_int_equal(learner_journal_append(j, AGRL_VERSION(2, 5), NULL, 0, &h, "trained", NULL), AGRL_EVERSION);
  assert_true(learner_journal_has_group(j, 501) && learner_journal_max_group(j) == 601);
  j = reopen(j);
  learner_journal_entries(j, &n);
  assert_int_equal(n, 5);
  learner_journal_close(j);
}

static size_t in_use(void) {
  const struct mallinfo2 m = mallinfo2();
  return m.uordblks + m.hblkhd;
}

// What stays in memory of 20,000 versions of 8 groups, of which every second id was trained.
static void test_memory_of_a_long_run(void **state) {
  (void)state;
  enum { VERSIONS = 20000, GROUPS = 8 };
  agrl_buf text = {0};
  char hex[65];
  memset(hex, 'a', 64);
  hex[64] = 0;
  for (uint64_t v = 1; v <= VERSIONS; v++) {
    agrl_buf_addf(&text, "{\"version\":%llu,\"outcome\":\"trained\",\"groups\":[", (unsigned long long)AGRL_VERSION(1, v));
    for (uint64_t g = 0; g < GROUPS; g++) agrl_buf_addf(&text, "%s%llu", g > 0 ? "," : "", (unsigned long long)(2 * (v * GROUPS + g)));
    agrl_buf_addf(&text, "],\"weights\":\"%s\"}\n", hex);
  }
  assert_int_equal(agrl_file_write_atomic(path, text.data, text.len, NULL), AGRL_OK);
  agrl_buf_release(&text);
  const size_t before = in_use();
  learner_journal *j = reopen(NULL);
  const size_t whole = in_use();
  learner_journal_passed(j, AGRL_VERSION(1, VERSIONS - 25));
  const size_t after = in_use();
  for (uint64_t g = 2 * GROUPS; g < 2 * (VERSIONS + 1) * GROUPS; g++) assert_int_equal(learner_journal_has_group(j, g), g % 2 == 0);
  if (whole > before) {  // a sanitizer's allocator does not count there
    print_message("bytes a version: %.1f while no checkpoint has passed, %.1f after\n", (double)(whole - before) / VERSIONS,
                  (double)(after - before) / VERSIONS);
    assert_true(after - before < VERSIONS * GROUPS);  // a byte a group
  }
  learner_journal_close(j);
}

// Against an array that tells the truth: dense ids, far ones, the ends of the range.
static void test_id_set(void **state) {
  (void)state;
  enum { IDS = 4096, FAR = 64 };
  static bool truth[IDS], far[FAR];
  learner_id_set s = {0};
  agrl_rng r;
  agrl_rng_init(&r, 3, 9);
  assert_false(learner_id_set_has(&s, 0));
  learner_id_set_remove(&s, 7);
  for (int i = 0; i < 200000; i++) {
    const uint32_t id = agrl_rng_below(&r, IDS), f = agrl_rng_below(&r, FAR);
    const uint64_t far_id = UINT64_MAX - ((uint64_t)f << 57);
    const bool add = agrl_rng_below(&r, 3) > 0;
    (add ? learner_id_set_add : learner_id_set_remove)(&s, id);
    (add ? learner_id_set_add : learner_id_set_remove)(&s, far_id);
    truth[id] = far[f] = add;
    const uint32_t k = agrl_rng_below(&r, IDS), o = agrl_rng_below(&r, FAR);
    assert_int_equal(learner_id_set_has(&s, k), truth[k]);
    assert_int_equal(learner_id_set_has(&s, UINT64_MAX - ((uint64_t)o << 57)), far[o]);
  }
  assert_int_equal(s.n, IDS / 512 + FAR);
  assert_int_equal(learner_id_set_bytes(&s), 128 * 72);
  learner_id_set_release(&s);
  assert_false(learner_id_set_has(&s, 1));
}

int main(void) {
  agrl_log_init("test", AGRL_LOG_ERROR);  // every cut logs a warning
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_survives_reopen, fresh, clean),
      cmocka_unit_test_setup_teardown(test_versions_grow, fresh, clean),
      cmocka_unit_test_setup_teardown(test_torn_at_every_byte, fresh, clean),
      cmocka_unit_test_setup_teardown(test_full_disk, fresh, clean),
      cmocka_unit_test_setup_teardown(test_damage_inside_is_an_error, fresh, clean),
      cmocka_unit_test_setup_teardown(test_fork, fresh, clean),
      cmocka_unit_test_setup_teardown(test_many_groups, fresh, clean),
      cmocka_unit_test_setup_teardown(test_max_group_outlives_forks, fresh, clean),
      cmocka_unit_test_setup_teardown(test_passed_by_a_checkpoint, fresh, clean),
      cmocka_unit_test_setup_teardown(test_memory_of_a_long_run, fresh, clean),
      cmocka_unit_test(test_id_set),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
