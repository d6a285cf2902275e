// SPDX-License-Identifier: Apache-2.0
// The safetensors format: 8 bytes little-endian header length, a JSON header {name: {dtype, shape, data_offsets}}, data.
// Reading is strict: header at most 16 MiB, F32/BF16/F16 only, tensors cover the data without gap or overlap, sizes agree
// with shapes. Spec: github.com/huggingface/safetensors. Not thread-safe per object; little-endian hosts.
#ifndef AGRL_CKPT_SAFETENSORS_H
#define AGRL_CKPT_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/ckpt/hf.h"

enum { AGRL_ST_MAX_DIMS = 8, AGRL_ST_MAX_HEADER = 16 << 20 };

typedef struct agrl_st_tensor {
  char *name;
  agrl_dtype dtype;
  size_t n_dims, shape[AGRL_ST_MAX_DIMS];
  size_t elements, bytes;
  const uint8_t *data;  // borrowed from the bytes parsed; not aligned
} agrl_st_tensor;

typedef struct agrl_st {
  agrl_st_tensor *tensors;  // in order of their data
  size_t n;
} agrl_st;

// Parses a whole file's bytes, which must outlive *out. name is used in messages. Release with agrl_st_release.
agrl_rc agrl_st_parse(const uint8_t *data, size_t len, const char *name, agrl_st *out, agrl_error *err);
void agrl_st_release(agrl_st *st);
const agrl_st_tensor *agrl_st_find(const agrl_st *st, const char *name);  // NULL: absent
void agrl_st_to_f32(const agrl_st_tensor *t, float *out);                 // t->elements values

// Writes the layout's tensors from an f32 block to path (created or truncated, fsynced) as F32 or BF16.
agrl_rc agrl_st_write(const char *path, const agrl_layout *l, const float *block, agrl_dtype dtype, agrl_error *err);
void agrl_st_append(const agrl_layout *l, const float *block, agrl_buf *out);  // the same file as F32, in memory

#endif
