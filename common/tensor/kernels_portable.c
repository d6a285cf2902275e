// SPDX-License-Identifier: Apache-2.0
// The kernel table for any machine: 4-lane vectors that the compiler maps to SSE2, NEON or plain C.
#define AGRL_VEC_PORTABLE
#include "common/tensor/body_table.h"

const agrl_kernels agrl_kernels_portable = AGRL_KERNEL_TABLE;
