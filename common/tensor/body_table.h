// SPDX-License-Identifier: Apache-2.0
// All kernel bodies and the initialiser of a table with them. Included once by each kernels_<isa>.c, which may replace
// single entries.
#ifndef AGRL_TENSOR_BODY_TABLE_H
#define AGRL_TENSOR_BODY_TABLE_H

#include "common/tensor/body_attn.h"
#include "common/tensor/body_elem.h"
#include "common/tensor/body_linear.h"
#include "common/tensor/body_pack.h"
#include "common/tensor/body_rows.h"

#define AGRL_KERNEL_TABLE                                                                                              \
  {                                                                                                                    \
    .bf16_from_f32 = k_bf16_from_f32, .f32_from_bf16 = k_f32_from_bf16, .f32_from_f16 = k_f32_from_f16,                \
    .f16_from_f32 = k_f16_from_f32, .expf = k_expf, .add = k_add, .scale = k_scale, .sumsq = k_sumsq,                  \
    .swiglu = k_swiglu, .swiglu_bwd = k_swiglu_bwd, .adamw = k_adamw, .rmsnorm = k_rmsnorm,                            \
    .rmsnorm_dx = k_rmsnorm_dx, .rmsnorm_dw = k_rmsnorm_dw, .rope = k_rope, .logsumexp = k_logsumexp,                  \
    .softmax_blocks = k_softmax_blocks, .logp_bwd = k_logp_bwd, .entropy = k_entropy,                                  \
    .linear = k_linear, .weight_grad = k_weight_grad,                                                                  \
    .pack_fwd = k_pack_fwd, .pack_bwd = k_pack_bwd, .round_rows = k_round_rows, .attn = k_attn,                        \
    .attn_bwd = k_attn_bwd, .attn_decode = k_attn_decode                                                               \
  }

#endif
