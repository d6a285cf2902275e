// SPDX-License-Identifier: Apache-2.0
// Files: bounded reads, atomic and synced writes, directory trees, read-only maps.
#include "common/base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/mem.h"

static agrl_rc fail_errno(agrl_error *err, const char *path, const char *what) {
  int e = errno;
  agrl_rc rc = AGRL_EIO;
  if (e == ENOENT || e == ENOTDIR) rc = AGRL_ENOENT;
  else if (e == EACCES || e == EPERM || e == EROFS) rc = AGRL_EPERM;
  else if (e == ENOSPC || e == EDQUOT || e == EFBIG) rc = AGRL_EFULL;
  else if (e == EEXIST) rc = AGRL_EEXIST;
  else if (e == EISDIR) rc = AGRL_EPARSE;
  return agrl_fail(err, rc, "%s: %s: %s", path, what, strerror(e));
}

// Reads fd to its end into out; sees at most max_bytes + 1 bytes.
static agrl_rc read_all(int fd, const char *path, size_t max_bytes, agrl_buf *out, agrl_error *err) {
  enum { STEP = 1 << 16 };
  struct stat st;
  if (fstat(fd, &st) == 0 && st.st_size > 0 && (uint64_t)st.st_size <= max_bytes) agrl_buf_reserve(out, (size_t)st.st_size + STEP);
  for (;;) {
    agrl_buf_reserve(out, STEP);
    ssize_t n = read(fd, out->data + out->len, STEP);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno(err, path, "read");
    if (n == 0) break;
    if ((size_t)n > max_bytes - out->len) return agrl_fail(err, AGRL_ELIMIT, "%s: larger than the limit of %zu bytes", path, max_bytes);
    out->len += (size_t)n;
  }
  out->data[out->len] = '\0';
  return AGRL_OK;
}

agrl_rc agrl_file_read(const char *path, size_t max_bytes, agrl_buf *out, agrl_error *err) {
  agrl_buf_clear(out);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return fail_errno(err, path, "open");
  agrl_rc rc = read_all(fd, path, max_bytes, out, err);
  close(fd);
  if (rc) agrl_buf_clear(out);
  return rc;
}

static bool write_all(int fd, const void *data, size_t len) {
  const uint8_t *p = data;
  while (len) {
    ssize_t n = write(fd, p, len);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    p += n;
    len -= (size_t)n;
  }
  return true;
}

agrl_rc agrl_replace_begin(agrl_replacing *r, const char *path, agrl_error *err) {
  struct stat st;
  *r = (agrl_replacing){.fd = -1, .path = agrl_xstrdup(path), .place = realpath(path, NULL)};
  const bool there = r->place && stat(r->place, &st) == 0;
  if (there && S_ISDIR(st.st_mode)) return agrl_replace_end(r, agrl_fail(err, AGRL_EEXIST, "%s: is a directory; name a file", path), err);
  struct stat out;
  if (there && S_ISREG(st.st_mode) && !fstat(STDOUT_FILENO, &out) && st.st_dev == out.st_dev && st.st_ino == out.st_ino) {
    r->fd = dup(STDOUT_FILENO);  // /dev/stdout, sent to a file: that is written on, as by printf
    return r->fd < 0 ? agrl_replace_end(r, fail_errno(err, path, "open"), err) : AGRL_OK;
  }
  // A link to nothing has no contents to be kept whole, and realpath does not see through links to pipes (/dev/stdout).
  const bool as_it_is = there ? !S_ISREG(st.st_mode) : lstat(path, &st) == 0 && S_ISLNK(st.st_mode);
  if (!r->place) r->place = agrl_xstrdup(path);
  if (!as_it_is) r->tmp = agrl_xasprintf("%s.tmp.%ld", r->place, (long)getpid());
  r->fd = open(r->tmp ? r->tmp : path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  return r->fd < 0 ? agrl_replace_end(r, fail_errno(err, path, "create"), err) : AGRL_OK;
}

agrl_rc agrl_replace_end(agrl_replacing *r, agrl_rc rc, agrl_error *err) {
  if (!rc && fsync(r->fd) && r->tmp) rc = fail_errno(err, r->path, "fsync");
  if (r->fd >= 0 && close(r->fd) && !rc) rc = fail_errno(err, r->path, "close");
  if (!rc && r->tmp && rename(r->tmp, r->place)) rc = fail_errno(err, r->path, "rename");
  char *dir = agrl_path_dir(r->place ? r->place : r->path);
  if (r->tmp && rc) unlink(r->tmp);
  else if (r->tmp) rc = agrl_file_sync_dir(dir, err);
  free(dir);
  free(r->path);
  free(r->place);
  free(r->tmp);
  *r = (agrl_replacing){.fd = -1};
  return rc;
}

agrl_rc agrl_file_write_atomic(const char *path, const void *data, size_t len, agrl_error *err) {
  agrl_replacing r;
  agrl_rc rc = agrl_replace_begin(&r, path, err);
  if (rc) return rc;
  return agrl_replace_end(&r, write_all(r.fd, data, len) ? AGRL_OK : fail_errno(err, path, "write"), err);
}

void agrl_hold_standard_streams(void) {
  int fd = open("/dev/null", O_RDONLY);
  while (fd >= 0 && fd <= STDERR_FILENO) fd = open("/dev/null", O_RDONLY);
  if (fd > STDERR_FILENO) close(fd);
}

int agrl_stdout_end(const char *program, int code) {
  errno = 0;
  if (fflush(stdout) == 0 && !ferror(stdout)) return code;
  fprintf(stderr, "%s: standard output: %s\n", program, errno ? strerror(errno) : "could not be written");
  return code ? code : agrl_rc_exit(AGRL_EIO);
}

agrl_rc agrl_file_append_sync(int fd, const void *data, size_t len, agrl_error *err) {
  char name[32];
  snprintf(name, sizeof name, "fd %d", fd);
  if (!write_all(fd, data, len)) return fail_errno(err, name, "append");
  if (fdatasync(fd)) return fail_errno(err, name, "fdatasync");
  return AGRL_OK;
}

agrl_rc agrl_file_mkdirs(const char *path, agrl_error *err) {
  char *p = agrl_xstrdup(path);
  agrl_rc rc = AGRL_OK;
  for (char *s = p + (p[0] == '/'); !rc; s++) {
    if (*s != '/' && *s != '\0') continue;
    char end = *s;
    *s = '\0';
    struct stat st;
    if (*p && mkdir(p, 0755) && (errno != EEXIST || stat(p, &st) || !S_ISDIR(st.st_mode))) {
      rc = fail_errno(err, p, "mkdir");
    }
    *s = end;
    if (!end) break;
  }
  free(p);
  return rc;
}

agrl_rc agrl_file_sync_dir(const char *path, agrl_error *err) {
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return fail_errno(err, path, "open directory");
  agrl_rc rc = fsync(fd) ? fail_errno(err, path, "fsync directory") : AGRL_OK;
  close(fd);
  return rc;
}

agrl_rc agrl_file_remove_tree(const char *path, agrl_error *err) {
  if (unlink(path) == 0 || errno == ENOENT) return AGRL_OK;
  if (errno != EISDIR && errno != EPERM) return fail_errno(err, path, "unlink");
  // O_NOFOLLOW: a link to a directory was already unlinked above.
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  DIR *d = fd < 0 ? NULL : fdopendir(fd);
  if (!d) {
    agrl_rc rc = fail_errno(err, path, "open directory");
    if (fd >= 0) close(fd);
    return rc;
  }
  agrl_rc rc = AGRL_OK;
  for (struct dirent *e; !rc && (e = readdir(d));) {
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    char *child = agrl_path_join(path, e->d_name);
    rc = agrl_file_remove_tree(child, err);
    free(child);
  }
  closedir(d);
  if (!rc && rmdir(path) && errno != ENOENT) rc = fail_errno(err, path, "rmdir");
  return rc;
}

bool agrl_file_exists(const char *path) {
  struct stat st;
  return stat(path, &st) == 0;
}

char *agrl_path_join(const char *a, const char *b) {
  size_t n = strlen(a);
  if (b[0] == '/' || n == 0) return agrl_xstrdup(b);
  return agrl_xasprintf(a[n - 1] == '/' ? "%s%s" : "%s/%s", a, b);
}

char *agrl_path_dir(const char *path) {
  size_t n = strlen(path);
  while (n > 1 && path[n - 1] == '/') n--;
  while (n > 0 && path[n - 1] != '/') n--;
  if (n == 0) return agrl_xstrdup(".");
  while (n > 1 && path[n - 1] == '/') n--;
  return agrl_xstrndup(path, n);
}

agrl_rc agrl_map_open(agrl_map *m, const char *path, agrl_error *err) {
  *m = (agrl_map){0};
  int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);  // a pipe nobody writes to is refused, not waited for
  if (fd < 0) return fail_errno(err, path, "open");
  struct stat st;
  agrl_rc rc = AGRL_OK;
  if (fstat(fd, &st)) rc = fail_errno(err, path, "stat");
  else if (!S_ISREG(st.st_mode)) rc = agrl_fail(err, AGRL_EPARSE, "%s: not a regular file", path);
  if (!rc && st.st_size > 0) {
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) rc = fail_errno(err, path, "map");
    else *m = (agrl_map){.data = p, .len = (size_t)st.st_size};
  }
  close(fd);
  return rc;
}

void agrl_map_close(agrl_map *m) {
  if (m->data) munmap((void *)(uintptr_t)m->data, m->len);
  *m = (agrl_map){0};
}
