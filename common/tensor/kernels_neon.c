// SPDX-License-Identifier: Apache-2.0
// The kernel table for 64-bit ARM: 4 lanes with fused multiply-adds, 32 registers (tiles of 6 rows by 16 outputs), the vector
// square root and the half-precision conversions of NEON. bf16 inputs are widened to f32: BFDOT rounds otherwise than
// the products' definition (tensor.h), and not every machine has it.
#if defined(__aarch64__)
#include "common/tensor/body_table.h"

const agrl_kernels agrl_kernels_neon = AGRL_KERNEL_TABLE;
#else
typedef int agrl_kernels_neon_absent;
#endif
