// SPDX-License-Identifier: Apache-2.0
// Writes small GGUF files into a buffer, right ones and wrong ones.
#ifndef AGRL_TESTS_GGUF_KIT_H
#define AGRL_TESTS_GGUF_KIT_H

#include <string.h>

#include "common/base/buf.h"
#include "common/ckpt/gguf.h"

static inline void gk_u32(agrl_buf *b, uint32_t v) { agrl_buf_add(b, &v, 4); }
static inline void gk_u64(agrl_buf *b, uint64_t v) { agrl_buf_add(b, &v, 8); }
static inline void gk_text(agrl_buf *b, const char *s) {
  gk_u64(b, strlen(s));
  agrl_buf_adds(b, s);
}
static inline void gk_head(agrl_buf *b, uint32_t version, uint64_t tensors, uint64_t values) {
  agrl_buf_adds(b, "GGUF");
  gk_u32(b, version);
  gk_u64(b, tensors);
  gk_u64(b, values);
}
static inline void gk_int(agrl_buf *b, const char *key, uint32_t v) {
  gk_text(b, key);
  gk_u32(b, AGRL_GGUF_U32);
  gk_u32(b, v);
}
static inline void gk_real(agrl_buf *b, const char *key, float v) {
  gk_text(b, key);
  gk_u32(b, AGRL_GGUF_F32);
  agrl_buf_add(b, &v, 4);
}
static inline void gk_str(agrl_buf *b, const char *key, const char *s) {
  gk_text(b, key);
  gk_u32(b, AGRL_GGUF_STRING);
  gk_text(b, s);
}
static inline void gk_array(agrl_buf *b, const char *key, agrl_gguf_kind element, uint64_t count) {  // elements follow
  gk_text(b, key);
  gk_u32(b, AGRL_GGUF_ARRAY);
  gk_u32(b, element);
  gk_u64(b, count);
}
// dim1 0: a vector.
static inline void gk_tensor(agrl_buf *b, const char *name, uint64_t dim0, uint64_t dim1, uint32_t type, uint64_t offset) {
  gk_text(b, name);
  gk_u32(b, dim1 > 0 ? 2 : 1);
  gk_u64(b, dim0);
  if (dim1 > 0) gk_u64(b, dim1);
  gk_u32(b, type);
  gk_u64(b, offset);
}
static inline void gk_pad(agrl_buf *b) {
  while (b->len % 32 != 0) agrl_buf_addc(b, 0);
}

#endif
