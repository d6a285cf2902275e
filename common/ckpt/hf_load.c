// SPDX-License-Identifier: Apache-2.0
// Reading a checkpoint. Each file read is checked against the manifest, where there is one, from the very bytes that are
// then used.
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/ckpt/hf_int.h"

enum { MAX_CONFIG = 4 << 20 };

agrl_rc ckpt_read_checked(const char *dir, const char *name, const ckpt_manifest *m, size_t max, agrl_buf *out, agrl_error *err) {
  char *path = agrl_path_join(dir, name);
  agrl_rc rc = agrl_file_read(path, max, out, err);
  if (rc == AGRL_OK) rc = ckpt_manifest_check(m, dir, name, out->data, out->len, err);
  free(path);
  return rc;
}

static agrl_rc load_spec(const char *dir, const ckpt_manifest *m, agrl_spec *spec, agrl_error *err) {
  agrl_buf text = {0};
  char *path = agrl_path_join(dir, CKPT_CONFIG);
  agrl_rc rc = ckpt_read_checked(dir, CKPT_CONFIG, m, MAX_CONFIG, &text, err);
  if (rc == AGRL_OK) rc = agrl_ckpt_parse_config(text.data, text.len, path, spec, err);
  if (rc == AGRL_OK) rc = ckpt_read_tokens(dir, m, spec, err);
  free(path);
  agrl_buf_release(&text);
  return rc;
}

agrl_rc agrl_ckpt_load_spec(const char *dir, agrl_spec *spec, agrl_error *err) {
  ckpt_manifest m;
  agrl_rc rc = ckpt_manifest_load(dir, &m, err);
  if (rc == AGRL_OK) rc = load_spec(dir, &m, spec, err);
  ckpt_manifest_release(&m);
  return rc;
}

agrl_rc agrl_ckpt_load(const char *dir, agrl_layout **layout, float **block, uint64_t *version, agrl_error *err) {
  ckpt_manifest m;
  agrl_spec spec;
  agrl_layout *l = NULL;
  *layout = NULL;
  *block = NULL;
  agrl_rc rc = ckpt_manifest_load(dir, &m, err);
  if (rc == AGRL_OK) rc = load_spec(dir, &m, &spec, err);
  if (rc == AGRL_OK) rc = agrl_layout_new(&spec, &l, err);
  if (rc == AGRL_OK) rc = ckpt_load_block(dir, &m, l, block, err);
  if (rc == AGRL_OK) {
    *layout = l;
    if (version != NULL) *version = m.version;
  } else {
    agrl_layout_free(l);
  }
  ckpt_manifest_release(&m);
  return rc;
}

agrl_rc agrl_ckpt_read_extra(const char *dir, const char *name, agrl_buf *out, agrl_error *err) {
  ckpt_manifest m;
  if (!ckpt_name_ok(name)) return agrl_fail(err, AGRL_EINVAL, "checkpoint: '%.100s' is not a plain file name", name);
  agrl_rc rc = ckpt_manifest_load(dir, &m, err);
  if (rc == AGRL_OK) rc = ckpt_read_checked(dir, name, &m, SIZE_MAX / 4, out, err);
  ckpt_manifest_release(&m);
  return rc;
}
