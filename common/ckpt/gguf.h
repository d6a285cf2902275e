// SPDX-License-Identifier: Apache-2.0
// GGUF files, versions 2 and 3, little-endian: metadata (key, typed value), a table of tensors, data. Reading is strict: counts
// and lengths are believed only as far as the file's own bytes reach, keys and tensor names are unique, tensors lie one after
// another with nothing but padding between them, none beyond the end. Memory used is bounded by the file's size. Spec:
// github.com/ggml-org/ggml, docs/gguf.md; block formats: ggml-quants. Immutable after parsing; little-endian hosts.
#ifndef AGRL_CKPT_GGUF_H
#define AGRL_CKPT_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/file.h"
#include "common/model/spec.h"

enum { AGRL_GGUF_MAX_DIMS = 4, AGRL_GGUF_NAME_BYTES = 96 };

typedef struct agrl_gguf_str {  // borrowed from the file's bytes, not NUL-terminated
  const char *s;
  size_t len;
} agrl_gguf_str;

typedef enum agrl_gguf_kind {  // numbers as in the file
  AGRL_GGUF_U8, AGRL_GGUF_I8, AGRL_GGUF_U16, AGRL_GGUF_I16, AGRL_GGUF_U32, AGRL_GGUF_I32, AGRL_GGUF_F32, AGRL_GGUF_BOOL,
  AGRL_GGUF_STRING, AGRL_GGUF_ARRAY, AGRL_GGUF_U64, AGRL_GGUF_I64, AGRL_GGUF_F64, AGRL_GGUF_KINDS
} agrl_gguf_kind;

typedef struct agrl_gguf_value {
  agrl_gguf_str key;
  agrl_gguf_kind kind, element;  // element: of an array, never an array itself
  size_t count;                  // of an array's elements; else 1
  const uint8_t *data;           // the value, or the first element; a string is 8 bytes of length and its bytes
} agrl_gguf_value;

typedef struct agrl_gguf_type {  // how a tensor's elements are stored: blocks of `block` elements in `bytes` bytes
  uint32_t id;                   // ggml's number
  const char *name;              // "Q4_K"
  uint32_t block, bytes;
  void (*to_f32)(const uint8_t *blocks, float *out, size_t n_blocks);
} agrl_gguf_type;

typedef struct agrl_gguf_tensor {
  char name[AGRL_GGUF_NAME_BYTES];
  const agrl_gguf_type *type;
  size_t n_dims, shape[AGRL_GGUF_MAX_DIMS];  // the file's order: shape[0] is the row length
  size_t elements, bytes;
  const uint8_t *data;
} agrl_gguf_tensor;

typedef struct agrl_gguf {
  const char *name;  // borrowed: for messages
  uint32_t version;
  size_t alignment;
  agrl_gguf_value *values;  // sorted by key
  size_t n_values;
  agrl_gguf_tensor *tensors;  // sorted by name
  size_t n_tensors;
} agrl_gguf;

// Parses a whole file's bytes, which must outlive *out, as must name. Release with agrl_gguf_release, also after a failure.
agrl_rc agrl_gguf_parse(const uint8_t *data, size_t len, const char *name, agrl_gguf *out, agrl_error *err);
void agrl_gguf_release(agrl_gguf *g);
const agrl_gguf_tensor *agrl_gguf_find(const agrl_gguf *g, const char *name);  // NULL: absent
void agrl_gguf_to_f32(const agrl_gguf_tensor *t, float *out);                 // t->elements values, exact products in f32
const agrl_gguf_type *agrl_gguf_type_of(uint32_t id);                         // NULL: not supported
const char *agrl_gguf_type_name(uint32_t id);                                 // also of types that are not supported

// Metadata. Lookups return NULL when absent; reads return false (out untouched) when v is NULL or of another kind.
const agrl_gguf_value *agrl_gguf_get(const agrl_gguf *g, const char *key);
bool agrl_gguf_read_str(const agrl_gguf_value *v, agrl_gguf_str *out);
bool agrl_gguf_read_int(const agrl_gguf_value *v, int64_t *out);  // any integer that fits
bool agrl_gguf_read_real(const agrl_gguf_value *v, double *out);  // f32 or f64
bool agrl_gguf_read_bool(const agrl_gguf_value *v, bool *out);
// Steps through an array of strings: start with *at = v->data; call at most v->count times.
agrl_gguf_str agrl_gguf_next_str(const uint8_t **at);
int64_t agrl_gguf_int_at(const agrl_gguf_value *v, size_t i);  // of an array of 32-bit integers

// gguf_model.c: the llama, qwen2 and qwen3 architectures. What the model here cannot compute is refused by its name.
// start_id is set where the tokenizer puts a start token before a text (tokenizer.ggml.add_bos_token); an eot_token_id other
// than the eos_token_id stops a rollout too.
agrl_rc agrl_gguf_spec(const agrl_gguf *g, agrl_spec *out, agrl_error *err);
// Every tensor of a model of that shape is there, as large, and no other. AGRL_EPARSE, AGRL_EUNSUPPORTED.
agrl_rc agrl_gguf_fits(const agrl_gguf *g, const agrl_spec *spec, agrl_error *err);
typedef void (*agrl_gguf_progress)(void *user, size_t done, size_t total);  // tensors; may be NULL
// A fresh layout and f32 block as of agrl_ckpt_load, every value rounded to bf16, query and key rows in Hugging Face's order.
// Every tensor of the file must be one of the layout's.
agrl_rc agrl_gguf_load(const agrl_gguf *g, agrl_layout **layout, float **block, agrl_gguf_progress progress, void *user,
                       agrl_error *err);

// gguf_tokenizer.c: byte-level BPE only. Appends the equivalent tokenizer.json, which agrl_bpe_parse reads.
agrl_rc agrl_gguf_tokenizer_json(const agrl_gguf *g, agrl_buf *out, agrl_error *err);

#endif
