// SPDX-License-Identifier: Apache-2.0
// The kernel table for AVX-512 with BF16: the bodies of AVX-512; the bf16 products use the dot product vdpbf16ps, twice the
// multiply-adds of an f32 FMA of the same width (agrl-bench prints both rates of the machine it runs on).
#if defined(__AVX512BF16__)
#include "common/tensor/body_table.h"

const agrl_kernels agrl_kernels_avx512bf16 = AGRL_KERNEL_TABLE;
#else
typedef int agrl_kernels_avx512bf16_absent;
#endif
