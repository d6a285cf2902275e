// SPDX-License-Identifier: Apache-2.0
// Append-only JSON lines. One write(2) per line with O_APPEND, so several processes can share a file. A line torn by a
// crash or a full disk is closed with a newline before the next one, so at most that line is lost to a reader.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/obs/http.h"

static _Atomic uint64_t lost;

struct agrl_jsonl {
  int fd;
  bool torn;  // the file ends inside a line
  char *path;
  agrl_buf line;
};

static bool ends_inside_line(int fd) {
  char last;
  off_t size = lseek(fd, 0, SEEK_END);
  return size > 0 && pread(fd, &last, 1, size - 1) == 1 && last != '\n';
}

agrl_rc agrl_jsonl_open(agrl_jsonl **out, const char *path, agrl_error *err) {
  int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0) return agrl_fail(err, AGRL_EIO, "%s: %s", path, strerror(errno));
  agrl_jsonl *j = agrl_xcalloc(1, sizeof *j);
  j->fd = fd;
  j->torn = ends_inside_line(fd);
  j->path = agrl_xstrdup(path);
  *out = j;
  return AGRL_OK;
}

void agrl_jsonl_write(agrl_jsonl *j, const char *line, size_t len) {
  static agrl_log_limit limit;
  uint64_t suppressed;
  if (j == NULL) return;
  agrl_buf_clear(&j->line);
  if (j->torn) agrl_buf_addc(&j->line, '\n');
  agrl_buf_add(&j->line, line, len);
  agrl_buf_addc(&j->line, '\n');
  ssize_t n;
  do n = write(j->fd, j->line.data, j->line.len);
  while (n < 0 && errno == EINTR);
  if (n == (ssize_t)j->line.len) {
    j->torn = false;
    return;
  }
  const uint64_t lines = atomic_fetch_add(&lost, 1) + 1;
  if (n > 0) j->torn = true;
  if (agrl_log_allow(&limit, &suppressed))
    agrl_loge("line not written file=%s error=\"%s\" lost=%" PRIu64, j->path, n < 0 ? strerror(errno) : "short write", lines);
}

uint64_t agrl_jsonl_lost(void) { return atomic_load(&lost); }

void agrl_jsonl_close(agrl_jsonl *j) {
  if (j == NULL) return;
  close(j->fd);
  agrl_buf_release(&j->line);
  free(j->path);
  free(j);
}
