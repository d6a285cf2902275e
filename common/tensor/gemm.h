// SPDX-License-Identifier: Apache-2.0
// Private to common/tensor: start-up of the OpenBLAS side.
#ifndef AGRL_TENSOR_GEMM_H
#define AGRL_TENSOR_GEMM_H

#include "common/base/err.h"

// One OpenBLAS thread per caller, and a check of all three product forms against a naive loop.
agrl_rc agrl_gemm_init(agrl_error *err);

#endif
