// SPDX-License-Identifier: Apache-2.0
// Writing a safetensors file from a parameter block, tensor by tensor, through one conversion buffer.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/json.h"
#include "common/base/mem.h"
#include "common/ckpt/safetensors.h"
#include "common/tensor/tensor.h"

static void write_header(const agrl_layout *l, agrl_dtype dtype, agrl_buf *out) {
  const size_t size = dtype == AGRL_DTYPE_F32 ? 4 : 2;
  size_t at = 0;
  agrl_jw w;
  agrl_jw_init(&w, out);
  agrl_jw_obj(&w);
  agrl_jw_key(&w, "__metadata__");
  agrl_jw_obj(&w);
  agrl_jw_kstr(&w, "format", "pt");  // what transformers expects of a PyTorch-shaped checkpoint
  agrl_jw_end_obj(&w);
  for (size_t i = 0; i < l->n_tensors; i++) {
    const agrl_tensor_desc *t = &l->tensors[i];
    const size_t bytes = t->rows * t->cols * size;
    agrl_jw_key(&w, t->name);
    agrl_jw_obj(&w);
    agrl_jw_kstr(&w, "dtype", dtype == AGRL_DTYPE_F32 ? "F32" : "BF16");
    agrl_jw_key(&w, "shape");
    agrl_jw_arr(&w);
    if (t->decay) agrl_jw_u64(&w, t->rows);  // a vector has one dimension
    agrl_jw_u64(&w, t->cols);
    agrl_jw_end_arr(&w);
    agrl_jw_key(&w, "data_offsets");
    agrl_jw_arr(&w);
    agrl_jw_u64(&w, at);
    agrl_jw_u64(&w, at + bytes);
    agrl_jw_end_arr(&w);
    agrl_jw_end_obj(&w);
    at += bytes;
  }
  agrl_jw_end_obj(&w);
  while (out->len % 8 != 0) agrl_buf_addc(out, ' ');  // data begins aligned
}

static bool write_tensor(FILE *f, const float *src, size_t n, agrl_dtype dtype, uint16_t *half, size_t step) {
  if (dtype == AGRL_DTYPE_F32) return fwrite(src, sizeof *src, n, f) == n;
  for (size_t at = 0, m; at < n; at += m) {
    m = n - at < step ? n - at : step;
    agrl_bf16_from_f32(half, src + at, m);
    if (fwrite(half, sizeof *half, m, f) != m) return false;
  }
  return true;
}

static void put_length(size_t n, uint8_t out[8]) {
  for (unsigned i = 0; i < 8; i++) out[i] = (uint8_t)((uint64_t)n >> (8 * i));
}

void agrl_st_append(const agrl_layout *l, const float *block, agrl_buf *out) {
  agrl_buf header = {0};
  uint8_t len[8];
  write_header(l, AGRL_DTYPE_F32, &header);
  put_length(header.len, len);
  agrl_buf_add(out, len, sizeof len);
  agrl_buf_add(out, header.data, header.len);
  for (size_t i = 0; i < l->n_tensors; i++)
    agrl_buf_add(out, block + l->tensors[i].offset, l->tensors[i].rows * l->tensors[i].cols * sizeof *block);
  agrl_buf_release(&header);
}

agrl_rc agrl_st_write(const char *path, const agrl_layout *l, const float *block, agrl_dtype dtype, agrl_error *err) {
  enum { STEP = 1 << 16 };
  if (dtype != AGRL_DTYPE_F32 && dtype != AGRL_DTYPE_BF16)
    return agrl_fail(err, AGRL_EUNSUPPORTED, "%s: checkpoints are written as F32 or BF16", path);
  FILE *f = fopen(path, "we");
  if (f == NULL) return agrl_fail(err, errno == ENOSPC ? AGRL_EFULL : AGRL_EIO, "%s: create: %s", path, strerror(errno));
  agrl_buf header = {0};
  write_header(l, dtype, &header);
  uint8_t len[8];
  put_length(header.len, len);
  uint16_t *half = agrl_xcalloc(STEP, sizeof *half);
  bool ok = fwrite(len, 1, 8, f) == 8 && fwrite(header.data, 1, header.len, f) == header.len;
  for (size_t i = 0; ok && i < l->n_tensors; i++)
    ok = write_tensor(f, block + l->tensors[i].offset, l->tensors[i].rows * l->tensors[i].cols, dtype, half, STEP);
  ok = ok && fflush(f) == 0 && fsync(fileno(f)) == 0;
  int e = errno;
  if (fclose(f) != 0 && ok) {
    ok = false;
    e = errno;
  }
  free(half);
  agrl_buf_release(&header);
  const bool full = e == ENOSPC || e == EDQUOT || e == EFBIG;
  if (!ok) return agrl_fail(err, full ? AGRL_EFULL : AGRL_EIO, "%s: write: %s", path, strerror(e));
  return AGRL_OK;
}
