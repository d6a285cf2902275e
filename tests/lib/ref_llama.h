// SPDX-License-Identifier: Apache-2.0
// The tests' own Llama-family transformer: double precision, one position after another, nothing fused, no code shared
// with common/model or common/tensor. Tensors are found by their Hugging Face names.
#ifndef AGRL_TESTS_REF_LLAMA_H
#define AGRL_TESTS_REF_LLAMA_H

#include "common/model/spec.h"

// Logits (n,V) of one sequence. params: the layout's block as doubles. bf16: the input of every product is rounded to bf16.
void ref_llama_logits(const agrl_layout *l, const double *params, bool bf16, const int32_t *tokens, size_t n, double *logits);
double ref_llama_logp(const double *row, size_t vocab, size_t target);
double ref_llama_entropy(const double *row, size_t vocab);

#endif
