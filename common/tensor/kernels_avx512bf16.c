// SPDX-License-Identifier: Apache-2.0
// The kernel table for AVX-512 with BF16: the bodies of AVX-512, compiled for these CPUs. The bf16 dot product is left
// alone on purpose: it would round activations to bf16, and on the Intel server core measured it multiplies at half the
// rate of f32 FMA (agrl-bench prints both), so widening the weights wins there in accuracy and speed.
#if defined(__AVX512BF16__)
#include "common/tensor/body_table.h"

const agrl_kernels agrl_kernels_avx512bf16 = AGRL_KERNEL_TABLE;
#else
typedef int agrl_kernels_avx512bf16_absent;
#endif
