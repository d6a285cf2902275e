// SPDX-License-Identifier: Apache-2.0
// The kernel table for AVX-512 (F, BW, VL, DQ): 16 lanes.
#if defined(__AVX512F__)
#include "common/tensor/body_table.h"

const agrl_kernels agrl_kernels_avx512 = AGRL_KERNEL_TABLE;
#else
typedef int agrl_kernels_avx512_absent;
#endif
