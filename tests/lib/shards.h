// SPDX-License-Identifier: Apache-2.0
// A parameter block as safetensors files with an index, in memory, as transformers would split it. Written apart from
// common/ckpt on purpose.
#ifndef AGRL_TESTS_SHARDS_H
#define AGRL_TESTS_SHARDS_H

#include <stdio.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/ckpt/hf.h"

enum { SHARDS_MAX = 8 };

typedef struct shard_set {
  size_t n;
  char names[SHARDS_MAX][64];
  agrl_buf files[SHARDS_MAX], index;
} shard_set;

typedef struct shard_part {  // one file being put together
  agrl_buf header, data;
} shard_part;

static inline void shards_put(shard_set *s, shard_part *parts, size_t file, const char *name, const agrl_tensor_desc *t,
                              const float *values, agrl_dtype dtype) {
  shard_part *part = &parts[file];
  const size_t at = part->data.len, n = t->rows * t->cols;
  for (size_t i = 0; i < n; i++) {
    uint32_t bits;
    memcpy(&bits, values + i, sizeof bits);
    if (dtype == AGRL_DTYPE_F32) {
      agrl_buf_add(&part->data, &bits, 4);
    } else {  // values are bf16 already
      const uint16_t high = (uint16_t)(bits >> 16);
      agrl_buf_add(&part->data, &high, 2);
    }
  }
  agrl_buf_addf(&part->header, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", part->header.len > 0 ? "," : "", name,
                dtype == AGRL_DTYPE_F32 ? "F32" : "BF16");
  if (t->decay) agrl_buf_addf(&part->header, "%zu,", t->rows);
  agrl_buf_addf(&part->header, "%zu],\"data_offsets\":[%zu,%zu]}", t->cols, at, part->data.len);
  agrl_buf_addf(&s->index, "%s\"%s\":\"%s\"", s->index.data[s->index.len - 1] == '{' ? "" : ",", name, s->names[file]);
}

// head: a tied model's embedding is stored as lm_head.weight too, in the last file. Release with shards_release.
static inline shard_set shards_make(const agrl_layout *l, const float *block, agrl_dtype dtype, size_t files, bool head) {
  shard_set s = {.n = files};
  shard_part parts[SHARDS_MAX] = {0};
  for (size_t i = 0; i < files; i++) snprintf(s.names[i], sizeof s.names[i], "model-%05zu-of-%05zu.safetensors", i + 1, files);
  agrl_buf_adds(&s.index, "{\"weight_map\":{");
  for (size_t i = 0; i < l->n_tensors; i++)
    shards_put(&s, parts, i * files / l->n_tensors, l->tensors[i].name, &l->tensors[i], block + l->tensors[i].offset, dtype);
  const agrl_tensor_desc *embed = &l->tensors[l->embed];
  if (head) shards_put(&s, parts, files - 1, "lm_head.weight", embed, block + embed->offset, dtype);
  agrl_buf_adds(&s.index, "},\"metadata\":{\"total_size\":1}}");
  for (size_t i = 0; i < files; i++) {
    const uint64_t len = parts[i].header.len + 2;
    for (unsigned k = 0; k < 8; k++) agrl_buf_addc(&s.files[i], (char)(len >> (8 * k)));
    agrl_buf_addf(&s.files[i], "{%s}", parts[i].header.data);
    agrl_buf_add(&s.files[i], parts[i].data.data, parts[i].data.len);
    agrl_buf_release(&parts[i].header);
    agrl_buf_release(&parts[i].data);
  }
  return s;
}

static inline void shards_release(shard_set *s) {
  for (size_t i = 0; i < s->n; i++) agrl_buf_release(&s->files[i]);
  agrl_buf_release(&s->index);
}

#endif
