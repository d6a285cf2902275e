// SPDX-License-Identifier: Apache-2.0
// Low-rank adapters (Hu et al. 2021, arXiv 2106.09685): an adapted matrix W(out,in) of the model, the base, stays as it is, and
// what is trained is A(rank,in) and B(out,rank). Served is W + scale B A, rounded to bf16: one matrix, merged, that trainer and decoder
// use like any other, so adapters cost a forward nothing. Adapters have a layout of their own, so that optimiser, checkpoint
// and packages of weights handle them as they handle a model's parameters.
#ifndef AGRL_MODEL_LORA_H
#define AGRL_MODEL_LORA_H

#include "common/base/pool.h"
#include "common/model/spec.h"

typedef struct agrl_lora {
  const agrl_layout *model;  // borrowed
  agrl_layout *layout;       // A and B of each adapted matrix, one after the other, named as PEFT names them; no layers, no embed
  size_t rank;
  double alpha;
  float scale;               // alpha / rank
  unsigned targets;          // bits of common/conf/targets.h
  int *a;                    // per tensor of model: index of its A in layout, B is the next one; -1: not adapted
} agrl_lora;

// AGRL_ECONFIG: a rank below 1, or above the smaller side of an adapted matrix, or an alpha that is not positive.
agrl_rc agrl_lora_new(const agrl_layout *model, size_t rank, double alpha, unsigned targets, agrl_lora **out, agrl_error *err);
void agrl_lora_free(agrl_lora *l);  // NULL is fine
// Fresh adapters (f32 block of l->layout): A uniform in +-1/sqrt(in), as PEFT draws it, B zero, so that they add nothing yet. A
// function of (seed, shape, targets).
void agrl_lora_init(const agrl_lora *l, float *block, uint64_t seed);
// block and base: bf16 blocks of l->model; adapters: bf16 block of l->layout. Writes every adapted matrix of block:
//   bf16(w + (((0 + (scale b_0) a_0) + (scale b_1) a_1) + ...)), each product and each sum rounded to f32, in this order.
// No fused operation and no sum over lanes: the bits do not depend on CPU, kernel variant or threads, so learner and actors
// that agree on base and adapters agree on the merged weights.
void agrl_lora_merge(const agrl_lora *l, agrl_pool *pool, uint16_t *block, const uint16_t *base, const uint16_t *adapters);

#endif
