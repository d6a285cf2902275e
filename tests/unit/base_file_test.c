// SPDX-License-Identifier: Apache-2.0
// Files, in a fresh directory each run; and the log, whose sink is standard error.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "tests/lib/full_disk.h"

static char dir[] = "/tmp/agrl-file-XXXXXX";

static char *in_dir(const char *name) { return agrl_path_join(dir, name); }

static void atomic_write_replaces_whole_files(void **state) {
  char *path = in_dir("a.txt");
  agrl_error err;
  agrl_buf b = {0};
  assert_int_equal(agrl_file_read(path, 10, &b, &err), AGRL_ENOENT);
  assert_non_null(strstr(err.msg, path));
  assert_int_equal(agrl_file_write_atomic(path, "hello", 5, &err), AGRL_OK);
  assert_int_equal(agrl_file_write_atomic(path, "bye", 3, &err), AGRL_OK);
  assert_int_equal(agrl_file_read(path, 3, &b, &err), AGRL_OK);
  assert_string_equal(b.data, "bye");
  assert_int_equal(agrl_file_read(path, 2, &b, &err), AGRL_ELIMIT);
  assert_int_equal(b.len, 0);
  char *tmp = agrl_xasprintf("%s.tmp.%ld", path, (long)getpid());
  assert_false(agrl_file_exists(tmp));
  char *nowhere = in_dir("no/such/dir/x");
  assert_int_equal(agrl_file_write_atomic(nowhere, "x", 1, &err), AGRL_ENOENT);
  char *full = agrl_xstrdup("/dev/full");
  int fd = open(full, O_WRONLY);
  assert_int_equal(agrl_file_append_sync(fd, "x", 1, &err), AGRL_EFULL);
  close(fd);
  free(full);
  free(nowhere);
  free(tmp);
  free(path);
  agrl_buf_release(&b);
}

// What is no regular file is written to, never replaced; through a link its target is.
static void links_and_devices_stay(void **state) {
  char *target = in_dir("target"), *link = in_dir("link"), *loose = in_dir("loose"), *later = in_dir("later"), *fifo = in_dir("fifo");
  agrl_error err;
  agrl_buf b = {0};
  struct stat st;
  agrl_file_write_atomic(target, "old", 3, NULL);
  assert_int_equal(symlink("target", link), 0);
  assert_int_equal(symlink("later", loose), 0);
  assert_int_equal(agrl_file_write_atomic(link, "new", 3, &err), AGRL_OK);
  assert_int_equal(agrl_file_write_atomic(loose, "new", 3, &err), AGRL_OK);
  assert_true(lstat(link, &st) == 0 && S_ISLNK(st.st_mode) && lstat(loose, &st) == 0 && S_ISLNK(st.st_mode));
  assert_true(lstat(target, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 3);
  assert_int_equal(agrl_file_read(target, 9, &b, &err), AGRL_OK);
  assert_string_equal(b.data, "new");
  assert_int_equal(agrl_file_read(later, 9, &b, &err), AGRL_OK);
  assert_string_equal(b.data, "new");
  assert_int_equal(mkfifo(fifo, 0600), 0);
  int fd = open(fifo, O_RDWR);
  assert_int_equal(agrl_file_write_atomic(fifo, "new", 3, &err), AGRL_OK);
  char got[4] = "";
  assert_int_equal(read(fd, got, 3), 3);
  assert_string_equal(got, "new");
  close(fd);
  assert_true(lstat(fifo, &st) == 0 && S_ISFIFO(st.st_mode));
  assert_int_equal(agrl_file_write_atomic(dir, "new", 3, &err), AGRL_EEXIST);
  free(target), free(link), free(loose), free(later), free(fifo);
  agrl_buf_release(&b);
}

// Errors name the file that was asked for, and what was there is still there.
static void a_failed_write_names_the_file(void **state) {
  char *path = in_dir("whole"), *tmp = agrl_xasprintf("%s.tmp.%ld", path, (long)getpid());
  agrl_error err = {0};
  agrl_replacing r;
  agrl_buf b = {0};
  agrl_file_write_atomic(path, "whole", 5, NULL);
  full_disk_limit(2);
  assert_int_equal(agrl_file_write_atomic(path, "other", 5, &err), AGRL_EFULL);
  full_disk_end();
  assert_non_null(strstr(err.msg, path));
  assert_null(strstr(err.msg, ".tmp."));
  assert_int_equal(agrl_replace_begin(&r, path, &err), AGRL_OK);
  assert_int_equal(write(r.fd, "ha", 2), 2);
  assert_int_equal(agrl_replace_end(&r, AGRL_EIO, &err), AGRL_EIO);
  assert_false(agrl_file_exists(tmp));
  assert_int_equal(agrl_file_read(path, 9, &b, &err), AGRL_OK);
  assert_string_equal(b.data, "whole");
  assert_int_equal(agrl_file_read(dir, 9, &b, &err), AGRL_EPARSE);
  free(path), free(tmp);
  agrl_buf_release(&b);
}

static void maps_show_the_file(void **state) {
  char *path = in_dir("m"), *empty = in_dir("empty");
  agrl_map m;
  agrl_error err;
  agrl_file_write_atomic(path, "12345", 5, NULL);
  agrl_file_write_atomic(empty, "", 0, NULL);
  assert_int_equal(agrl_map_open(&m, path, &err), AGRL_OK);
  assert_int_equal(m.len, 5);
  assert_memory_equal(m.data, "12345", 5);
  agrl_map_close(&m);
  assert_int_equal(agrl_map_open(&m, empty, &err), AGRL_OK);
  assert_int_equal(m.len, 0);
  agrl_map_close(&m);
  assert_int_equal(agrl_map_open(&m, dir, &err), AGRL_EPARSE);
  char *pipe = in_dir("pipe");
  assert_int_equal(mkfifo(pipe, 0600), 0);
  assert_int_equal(agrl_map_open(&m, pipe, &err), AGRL_EPARSE);
  free(pipe);
  free(path);
  free(empty);
}

static void trees_come_and_go(void **state) {
  char *deep = in_dir("t/u//v/"), *file = in_dir("t/u/f"), *top = in_dir("t"), *link = in_dir("t/link"), *kept = in_dir("kept"), *below = in_dir("kept/below");
  agrl_error err;
  assert_int_equal(agrl_file_mkdirs(deep, &err), AGRL_OK);
  assert_int_equal(agrl_file_mkdirs(deep, &err), AGRL_OK);
  agrl_file_write_atomic(file, "x", 1, NULL);
  assert_int_equal(agrl_file_mkdirs(file, &err), AGRL_EEXIST);
  assert_int_equal(agrl_file_mkdirs(below, &err), AGRL_OK);
  assert_int_equal(symlink(kept, link), 0);
  assert_int_equal(agrl_file_remove_tree(top, &err), AGRL_OK);
  assert_false(agrl_file_exists(top));
  assert_true(agrl_file_exists(below));  // links are not followed
  assert_int_equal(agrl_file_remove_tree(top, &err), AGRL_OK);
  free(deep), free(file), free(top), free(link), free(kept), free(below);
}

static void check_dir_of(const char *path, const char *want) {
  char *d = agrl_path_dir(path);
  assert_string_equal(d, want);
  free(d);
}

static void check_join(const char *a, const char *b, const char *want) {
  char *p = agrl_path_join(a, b);
  assert_string_equal(p, want);
  free(p);
}

static void paths_join_and_split(void **state) {
  check_dir_of("a/b/c", "a/b");
  check_dir_of("a", ".");
  check_dir_of("/a", "/");
  check_dir_of("/", "/");
  check_dir_of("a//b/", "a");
  check_join("a", "b", "a/b");
  check_join("a/", "b", "a/b");
  check_join("", "b", "b");
  check_join("a", "/b", "/b");
}

static void log_writes_one_line_an_event(void **state) {
  char *path = in_dir("log");
  int saved = dup(STDERR_FILENO), fd = open(path, O_CREAT | O_RDWR | O_APPEND, 0600);
  dup2(fd, STDERR_FILENO);
  agrl_log_init("replay", AGRL_LOG_INFO);
  agrl_logi("open path=%s", "a\nb");
  agrl_logd("quiet");
  char *wide = agrl_xcalloc(10001, 1);
  memset(wide, 'w', 10000);
  agrl_logw("%s", wide);
  dup2(saved, STDERR_FILENO);
  close(saved), close(fd);
  agrl_buf b = {0};
  assert_int_equal(agrl_file_read(path, 1 << 20, &b, NULL), AGRL_OK);
  assert_string_equal(strchr(b.data, ' ') - 1 - 23 == b.data ? "stamp" : "no stamp", "stamp");
  assert_non_null(strstr(b.data, " info replay open path=a\\x0ab\n"));
  assert_null(strstr(b.data, "quiet"));
  assert_string_equal(b.data + b.len - 4, "...\n");
  agrl_buf_release(&b);
  free(wide);
  free(path);
}

static void log_limit_swallows_and_counts(void **state) {
  agrl_log_limit lim = {0};
  uint64_t n = 99;
  assert_true(agrl_log_allow(&lim, &n) && n == 0);
  for (int i = 0; i < 5; i++) assert_false(agrl_log_allow(&lim, &n));
  lim.last_ns -= 1000000000u;
  assert_true(agrl_log_allow(&lim, &n) && n == 5);
}

static int set_up(void **state) { return mkdtemp(dir) ? 0 : -1; }
static int tear_down(void **state) { return (int)agrl_file_remove_tree(dir, NULL); }

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(atomic_write_replaces_whole_files), cmocka_unit_test(links_and_devices_stay), cmocka_unit_test(a_failed_write_names_the_file),
      cmocka_unit_test(maps_show_the_file),           cmocka_unit_test(trees_come_and_go),
      cmocka_unit_test(paths_join_and_split),              cmocka_unit_test(log_writes_one_line_an_event), cmocka_unit_test(log_limit_swallows_and_counts),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
