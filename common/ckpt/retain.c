// SPDX-License-Identifier: Apache-2.0
// Version directories under a root: naming, symlinks to them, finding the newest whole one, and removal of the old.
// A directory is renamed to NAME.tmp before it is removed, so one that has its final name is whole at any time.
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/base/num.h"
#include "common/ckpt/hf_int.h"

typedef struct versions {
  uint64_t *v;  // descending
  size_t n;
} versions;

void agrl_ckpt_version_name(uint64_t version, char out[32]) {
  snprintf(out, 32, "v%08u-%08u", (unsigned)(version >> 32), (unsigned)(version & 0xffffffffu));
}

static bool parse_name(const char *name, uint64_t *version) {
  char copy[32], again[32], *dash;
  uint64_t epoch, step;
  if (name[0] != 'v' || strlen(name) >= sizeof copy) return false;
  strcpy(copy, name + 1);
  if ((dash = strchr(copy, '-')) == NULL) return false;
  *dash = 0;
  if (!agrl_parse_u64(copy, &epoch) || !agrl_parse_u64(dash + 1, &step) || epoch > UINT32_MAX || step > UINT32_MAX) return false;
  *version = epoch << 32 | step;
  agrl_ckpt_version_name(*version, again);
  return strcmp(again, name) == 0;
}

static int descending(const void *a, const void *b) {
  const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? 1 : x > y ? -1 : 0;
}

static agrl_rc list_versions(const char *root, versions *out, agrl_error *err) {
  *out = (versions){0};
  DIR *d = opendir(root);
  if (d == NULL) return agrl_fail(err, errno == ENOENT ? AGRL_ENOENT : AGRL_EIO, "%s: open directory: %s", root, strerror(errno));
  size_t cap = 0;
  for (struct dirent *e; (e = readdir(d)) != NULL;) {
    uint64_t v;
    if (!parse_name(e->d_name, &v)) continue;
    if (out->n == cap) out->v = agrl_xreallocarray(out->v, cap = cap > 0 ? cap * 2 : 16, sizeof *out->v);
    out->v[out->n++] = v;
  }
  closedir(d);
  if (out->n > 1) qsort(out->v, out->n, sizeof *out->v, descending);
  return AGRL_OK;
}

agrl_rc agrl_ckpt_set_link(const char *root, const char *link_name, const char *name, agrl_error *err) {
  if (!ckpt_name_ok(name)) return agrl_fail(err, AGRL_EINVAL, "checkpoint: '%.100s' is not a plain directory name", name);
  char *link = agrl_path_join(root, link_name), *tmp = agrl_xasprintf("%s/%s.tmp", root, link_name);
  agrl_rc rc = AGRL_OK;
  if (unlink(tmp) != 0 && errno != ENOENT) rc = agrl_fail(err, AGRL_EIO, "%s: unlink: %s", tmp, strerror(errno));
  if (rc == AGRL_OK && symlink(name, tmp) != 0) rc = agrl_fail(err, AGRL_EIO, "%s: symlink: %s", tmp, strerror(errno));
  if (rc == AGRL_OK && rename(tmp, link) != 0) rc = agrl_fail(err, AGRL_EIO, "%s: rename: %s", link, strerror(errno));
  if (rc == AGRL_OK) rc = agrl_file_sync_dir(root, err);
  free(link);
  free(tmp);
  return rc;
}

agrl_rc agrl_ckpt_set_latest(const char *root, const char *name, agrl_error *err) { return agrl_ckpt_set_link(root, "latest", name, err); }

agrl_rc agrl_ckpt_find_latest(const char *root, char **dir, uint64_t *version, agrl_error *err) {
  versions all;
  *dir = NULL;
  agrl_rc rc = list_versions(root, &all, err);
  if (rc != AGRL_OK) return rc;
  for (size_t i = 0; *dir == NULL && i < all.n; i++) {
    char name[32];
    agrl_error why = {0};
    agrl_ckpt_version_name(all.v[i], name);
    char *path = agrl_path_join(root, name);
    if (agrl_ckpt_verify(path, &why) == AGRL_OK) {
      *dir = path;
      if (version != NULL) *version = all.v[i];
      break;
    }
    agrl_logw("ckpt broken dir=%s reason=\"%s\" action=use_older", path, why.msg);
    free(path);
  }
  free(all.v);
  return *dir != NULL ? AGRL_OK : agrl_fail(err, AGRL_ENOENT, "%s: no whole checkpoint", root);
}

static agrl_rc remove_version(const char *root, const char *name, agrl_error *err) {
  char *path = agrl_path_join(root, name), *tmp = agrl_xasprintf("%s.tmp", path);
  agrl_rc rc = agrl_file_remove_tree(tmp, err);
  if (rc == AGRL_OK && rename(path, tmp) != 0 && errno != ENOENT)
    rc = agrl_fail(err, AGRL_EIO, "%s: rename: %s", path, strerror(errno));
  if (rc == AGRL_OK) rc = agrl_file_remove_tree(tmp, err);
  free(path);
  free(tmp);
  return rc;
}

// Does a symlink in root point to it? "latest" does, and those by which others keep a version: "best", "evaluating".
static bool is_linked(const char *root, const char *name) {
  bool linked = false;
  DIR *d = opendir(root);
  for (struct dirent *e; d != NULL && !linked && (e = readdir(d)) != NULL;) {
    char target[256];
    ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof target - 1);
    if (n < 0) continue;
    target[n] = 0;
    linked = strcmp(target, name) == 0;
  }
  if (d != NULL) closedir(d);
  return linked;
}

// Keeps the newest `keep` and whatever a symlink in root points to; also clears what an interrupted save or removal left.
agrl_rc agrl_ckpt_retain(const char *root, size_t keep, agrl_error *err) {
  versions all;
  agrl_rc rc = list_versions(root, &all, err);
  for (size_t i = 0; rc == AGRL_OK && i < all.n; i++) {
    char name[32];
    agrl_ckpt_version_name(all.v[i], name);
    if (i >= keep && !is_linked(root, name)) rc = remove_version(root, name, err);
  }
  free(all.v);
  DIR *d = rc == AGRL_OK ? opendir(root) : NULL;
  for (struct dirent *e; d != NULL && rc == AGRL_OK && (e = readdir(d)) != NULL;) {
    char base[32];
    uint64_t v;
    size_t n = strlen(e->d_name);
    if (n <= 4 || n - 4 >= sizeof base || strcmp(e->d_name + n - 4, ".tmp") != 0) continue;
    memcpy(base, e->d_name, n - 4);
    base[n - 4] = 0;
    if (!parse_name(base, &v)) continue;
    char *path = agrl_path_join(root, e->d_name);
    rc = agrl_file_remove_tree(path, err);
    free(path);
  }
  if (d != NULL) closedir(d);
  return rc;
}
