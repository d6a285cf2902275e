// SPDX-License-Identifier: Apache-2.0
// The shape of a Llama-family decoder, and the layout of its parameters: one block with a name table, so that the
// optimiser, checkpoints and all-reduce are flat loops. Names are Hugging Face's.
#ifndef AGRL_MODEL_SPEC_H
#define AGRL_MODEL_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/tensor/tensor.h"

enum { AGRL_SPEC_MAX_STOPS = 8 };

typedef struct agrl_spec {
  char arch[32];  // "llama", "qwen2", "qwen3"
  int32_t n_layers, hidden, ffn, n_heads, n_kv_heads, head_dim, vocab, context;
  float rope_theta, norm_eps;
  agrl_rope_scaling rope;  // factor 0: none
  bool qkv_bias, qk_norm, tied;
  int32_t start_id, end_id;  // the token put before every sequence, the token that ends a completion; -1: none
  int32_t n_stops, stop_ids[AGRL_SPEC_MAX_STOPS];  // more tokens that stop a rollout; none twice, none is end_id
} agrl_spec;

typedef struct agrl_tensor_desc {
  char name[96];         // "model.layers.3.self_attn.q_proj.weight"
  size_t rows, cols;     // (out, in) row-major; vectors: rows = 1
  size_t offset;         // in elements from the block's start; every tensor 64-byte aligned in f32 AND bf16 (offset % 32 == 0)
  bool decay;            // weight decay applies (matrices)
} agrl_tensor_desc;

typedef struct agrl_layer_index {  // indexes into the tensor table; -1 where absent
  int in_norm, q, k, v, o, q_bias, k_bias, v_bias, q_norm, k_norm, post_norm, gate, up, down;
} agrl_layer_index;

typedef struct agrl_layout {
  agrl_spec spec;
  agrl_tensor_desc *tensors;
  size_t n_tensors;
  size_t n_elements;  // of the block, padding included
  int embed, final_norm, head;  // head == embed when tied
  agrl_layer_index *layers;
} agrl_layout;

agrl_rc agrl_spec_check(const agrl_spec *s, agrl_error *err);  // sizes positive, divisible, within limits
bool agrl_spec_stops(const agrl_spec *s, int32_t id);         // a rollout is over with this token
agrl_rc agrl_layout_new(const agrl_spec *s, agrl_layout **out, agrl_error *err);
void agrl_layout_free(agrl_layout *l);
int agrl_layout_find(const agrl_layout *l, const char *name);  // index or -1
size_t agrl_layout_params(const agrl_layout *l);               // without padding
// Fresh parameters (f32 block of n_elements): normal(0, 0.02), residual projections scaled by 1/sqrt(2 layers), norms 1.
void agrl_params_init(const agrl_layout *l, float *block, uint64_t seed);

#endif
