// SPDX-License-Identifier: Apache-2.0
// agrl_manifest.json: {"format":1,"version":N,"files":[{"name":..,"bytes":..,"sha256":..}]}. It is written last into the
// directory, so it names exactly what was written.
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/mem.h"
#include "common/ckpt/hf_int.h"

enum { FORMAT = 1, MAX_MANIFEST = 1 << 20 };

bool ckpt_name_ok(const char *name) {
  static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  size_t n = strlen(name);
  return n > 0 && n <= 200 && name[0] != '.' && strspn(name, allowed) == n;
}

static bool read_entry(const agrl_json *j, ckpt_file *f) {
  const char *name, *hash;
  size_t name_len, hash_len;
  int64_t bytes;
  if (!agrl_json_str(agrl_json_get(j, "name"), &name, &name_len) || strlen(name) != name_len || !ckpt_name_ok(name)) return false;
  if (!agrl_json_i64(agrl_json_get(j, "bytes"), &bytes) || bytes < 0) return false;
  if (!agrl_json_str(agrl_json_get(j, "sha256"), &hash, &hash_len) || hash_len != 64) return false;
  f->name = agrl_xstrdup(name);
  f->bytes = (uint64_t)bytes;
  memcpy(f->sha256, hash, 64);
  f->sha256[64] = 0;
  return true;
}

static agrl_rc read_manifest(const agrl_json *root, const char *path, ckpt_manifest *m, agrl_error *err) {
  int64_t format = 0, version = 0;
  const agrl_json *files = agrl_json_get(root, "files");
  if (!agrl_json_i64(agrl_json_get(root, "format"), &format) || format != FORMAT)
    return agrl_fail(err, AGRL_EVERSION, "%s: format %" PRId64 ", this program reads %d", path, format, FORMAT);
  if (!agrl_json_i64(agrl_json_get(root, "version"), &version) || version < 0)
    return agrl_fail(err, AGRL_EPARSE, "%s: version is missing or negative", path);
  m->version = (uint64_t)version;
  m->files = agrl_xcalloc(agrl_json_len(files), sizeof *m->files);
  for (size_t i = 0; i < agrl_json_len(files); i++) {
    if (!read_entry(agrl_json_at(files, i), &m->files[m->n]))
      return agrl_fail(err, AGRL_EPARSE, "%s: file entry %zu is malformed", path, i);
    m->n++;
  }
  return AGRL_OK;
}

agrl_rc ckpt_manifest_load(const char *dir, ckpt_manifest *out, agrl_error *err) {
  *out = (ckpt_manifest){0};
  char *path = agrl_path_join(dir, CKPT_MANIFEST);
  agrl_buf text = {0};
  agrl_json *root = NULL;
  agrl_rc rc = agrl_file_read(path, MAX_MANIFEST, &text, err);
  if (rc == AGRL_OK) {
    rc = agrl_json_parse(text.data, text.len, path, &root, err);
    if (rc == AGRL_OK) rc = read_manifest(root, path, out, err);
    out->present = rc == AGRL_OK;
    if (rc != AGRL_OK) ckpt_manifest_release(out);
  } else if (rc == AGRL_ENOENT) {
    rc = AGRL_OK;
    if (err != NULL) *err = (agrl_error){0};
  }
  if (root != NULL) agrl_json_free(root);
  agrl_buf_release(&text);
  free(path);
  return rc;
}

void ckpt_manifest_release(ckpt_manifest *m) {
  for (size_t i = 0; i < m->n; i++) free(m->files[i].name);
  free(m->files);
  *m = (ckpt_manifest){0};
}

static agrl_rc compare(const ckpt_file *f, const char *dir, uint64_t bytes, const agrl_sha256 *sum, agrl_error *err) {
  char hex[65];
  if (bytes != f->bytes)
    return agrl_fail(err, AGRL_ECHECKSUM, "%s/%s: %" PRIu64 " bytes, the manifest says %" PRIu64, dir, f->name, bytes, f->bytes);
  agrl_sha256_hex(sum, hex);
  if (strcmp(hex, f->sha256) != 0)
    return agrl_fail(err, AGRL_ECHECKSUM, "%s/%s: sha256 is %s, the manifest says %s", dir, f->name, hex, f->sha256);
  return AGRL_OK;
}

agrl_rc ckpt_manifest_check(const ckpt_manifest *m, const char *dir, const char *name, const void *data, size_t len,
                            agrl_error *err) {
  if (!m->present) return AGRL_OK;
  for (size_t i = 0; i < m->n; i++) {
    if (strcmp(m->files[i].name, name) != 0) continue;
    agrl_sha256 sum = agrl_sha256_of(data, len);
    return compare(&m->files[i], dir, len, &sum, err);
  }
  return agrl_fail(err, AGRL_ECHECKSUM, "%s/%s: not listed in the manifest", dir, name);
}

agrl_rc ckpt_manifest_write(const char *dir, const char *const *names, size_t n, uint64_t version, agrl_error *err) {
  agrl_buf out = {0};
  agrl_jw w;
  agrl_jw_init(&w, &out);
  agrl_jw_obj(&w);
  agrl_jw_ki64(&w, "format", FORMAT);
  agrl_jw_ku64(&w, "version", version);
  agrl_jw_key(&w, "files");
  agrl_jw_arr(&w);
  agrl_rc rc = AGRL_OK;
  for (size_t i = 0; rc == AGRL_OK && i < n; i++) {
    char *path = agrl_path_join(dir, names[i]), hex[65];
    agrl_sha256 sum;
    struct stat st = {0};
    rc = agrl_sha256_file(path, &sum, err);
    if (rc == AGRL_OK && stat(path, &st) != 0) rc = agrl_fail(err, AGRL_EIO, "%s: %s", path, strerror(errno));
    if (rc == AGRL_OK) {
      agrl_sha256_hex(&sum, hex);
      agrl_jw_obj(&w);
      agrl_jw_kstr(&w, "name", names[i]);
      agrl_jw_ku64(&w, "bytes", (uint64_t)st.st_size);
      agrl_jw_kstr(&w, "sha256", hex);
      agrl_jw_end_obj(&w);
    }
    free(path);
  }
  if (rc == AGRL_OK) {
    agrl_jw_end_arr(&w);
    agrl_jw_end_obj(&w);
    agrl_buf_addc(&out, '\n');
    char *path = agrl_path_join(dir, CKPT_MANIFEST);
    rc = agrl_file_write_atomic(path, out.data, out.len, err);
    free(path);
  }
  agrl_buf_release(&out);
  return rc;
}

agrl_rc agrl_ckpt_verify(const char *dir, agrl_error *err) {
  ckpt_manifest m;
  agrl_rc rc = ckpt_manifest_load(dir, &m, err);
  if (rc != AGRL_OK) return rc;
  if (!m.present) return agrl_fail(err, AGRL_ENOENT, "%s: no " CKPT_MANIFEST ": nothing to verify against", dir);
  for (size_t i = 0; rc == AGRL_OK && i < m.n; i++) {
    char *path = agrl_path_join(dir, m.files[i].name);
    struct stat st;
    agrl_sha256 sum;
    if (stat(path, &st) != 0) rc = agrl_fail(err, AGRL_ECHECKSUM, "%s: listed in the manifest, but: %s", path, strerror(errno));
    else rc = agrl_sha256_file(path, &sum, err);
    if (rc == AGRL_OK) rc = compare(&m.files[i], dir, (uint64_t)st.st_size, &sum, err);
    free(path);
  }
  ckpt_manifest_release(&m);
  return rc;
}
