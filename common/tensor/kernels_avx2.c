// SPDX-License-Identifier: Apache-2.0
// The kernel table for AVX2 with FMA and F16C: 8 lanes.
#if defined(__AVX2__)
#include "common/tensor/body_table.h"

const agrl_kernels agrl_kernels_avx2 = AGRL_KERNEL_TABLE;
#else
typedef int agrl_kernels_avx2_absent;
#endif
