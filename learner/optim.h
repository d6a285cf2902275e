// SPDX-License-Identifier: Apache-2.0
// What is trained and what is served: 22 bytes a parameter: f32 master weight, two moments and gradient, and what is served in bf16: the block
// in the layout (hash, checkpoint, wire, embedding rows) and the matrices packed for forward and backward. With adapters:
// 8 bytes a parameter of the model (base, what is served, packed twice) and 22 to 30 a parameter of the adapters.
// Compute thread only.
#ifndef AGRL_LEARNER_OPTIM_H
#define AGRL_LEARNER_OPTIM_H

#include "common/base/hash.h"
#include "common/base/pool.h"
#include "common/model/train.h"
#include "common/model/weights.h"

typedef struct learner_optim {
  const agrl_layout *layout;      // of the model
  const agrl_lora *lora;          // NULL: every parameter is trained
  const agrl_layout *trained;     // layout, or that of the adapters: what master, m, v, grads and rounded hold
  float *master, *m, *v, *grads;  // n_elements each
  uint16_t *rounded;              // master rounded, always: what is hashed and travels
  uint16_t *bf16;                 // what is served: rounded itself, or base and adapters merged
  agrl_packed *fwd, *bwd;         // of bf16
  agrl_packed *lora_fwd, *lora_bwd;  // of rounded; NULL without adapters
  agrl_weights *base;             // frozen, version 0, not packed; NULL without adapters
  agrl_params served;             // of bf16, fwd and bwd, for the trainer
  uint64_t updates;  // AdamW steps applied (a skipped step does not count)
} learner_optim;

typedef struct learner_hyper {
  double lr, weight_decay, beta1, beta2, eps, grad_clip;
} learner_hyper;

// Zero moments. AGRL_ENOMEM.
agrl_rc learner_optim_init(learner_optim *o, const agrl_layout *l, agrl_pool *pool, const float *block, agrl_error *err);
// Fresh adapters, a function of seed, on the base block (rounded to bf16). lora is borrowed.
agrl_rc learner_optim_init_lora(learner_optim *o, const agrl_lora *lora, agrl_pool *pool, const float *base, uint64_t seed, agrl_error *err);
void learner_optim_release(learner_optim *o);
void learner_optim_zero_grads(learner_optim *o);
// Clips by global norm and updates. False, and nothing changed, when the norm is not finite. *grad_norm: before clipping.
bool learner_optim_step(learner_optim *o, agrl_pool *pool, const learner_hyper *h, double *grad_norm, bool *clipped);
void learner_optim_reserve(learner_optim *o, agrl_pool *pool);  // what is served, again from master
agrl_sha256 learner_optim_hash(const learner_optim *o);

#endif
