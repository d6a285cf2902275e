// SPDX-License-Identifier: Apache-2.0
// Optimiser state as flat blocks in the parameters' layout: master, moments, gradients, and what is served, packed again
// after every update.
#include <math.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/tensor/tensor.h"
#include "learner/learner.h"

agrl_rc learner_optim_init(learner_optim *o, const agrl_layout *l, agrl_pool *pool, const float *block, agrl_error *err) {
  memset(o, 0, sizeof *o);
  o->layout = l;
  float **blocks[] = {&o->master, &o->m, &o->v, &o->grads};
  for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
    *blocks[i] = agrl_block_alloc(l->n_elements * sizeof(float));
    if (*blocks[i] == NULL) goto no_memory;
  }
  o->bf16 = agrl_block_alloc(l->n_elements * sizeof *o->bf16);
  o->fwd = agrl_packed_new(l, AGRL_PACK_FWD);
  o->bwd = agrl_packed_new(l, AGRL_PACK_BWD);
  if (o->bf16 == NULL || o->fwd == NULL || o->bwd == NULL) goto no_memory;
  o->served = (agrl_params){.bf16 = o->bf16, .fwd = o->fwd, .bwd = o->bwd};
  memcpy(o->master, block, l->n_elements * sizeof(float));
  learner_optim_reserve(o, pool);
  return AGRL_OK;

no_memory:
  learner_optim_release(o);
  return agrl_fail(err, AGRL_ENOMEM, "optimiser state of %zu parameters needs %zu MiB", l->n_elements,
                   l->n_elements * (4 * sizeof(float) + 3 * sizeof(uint16_t)) >> 20);
}

void learner_optim_release(learner_optim *o) {
  if (o->layout == NULL) return;
  size_t bytes = o->layout->n_elements * sizeof(float);
  float *blocks[] = {o->master, o->m, o->v, o->grads};
  for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
    if (blocks[i] != NULL) agrl_block_free(blocks[i], bytes);
  if (o->bf16 != NULL) agrl_block_free(o->bf16, bytes / 2);
  agrl_packed_free(o->fwd);
  agrl_packed_free(o->bwd);
  memset(o, 0, sizeof *o);
}

void learner_optim_zero_grads(learner_optim *o) { memset(o->grads, 0, o->layout->n_elements * sizeof(float)); }

static void pack(learner_optim *o, agrl_pool *pool) {
  agrl_packed_fill(o->fwd, pool, o->bf16);
  agrl_packed_fill(o->bwd, pool, o->bf16);
}

void learner_optim_reserve(learner_optim *o, agrl_pool *pool) {
  agrl_bf16_from_f32(o->bf16, o->master, o->layout->n_elements);
  pack(o, pool);
}

bool learner_optim_step(learner_optim *o, agrl_pool *pool, const learner_hyper *h, double *grad_norm, bool *clipped) {
  const agrl_layout *l = o->layout;
  double norm = sqrt(agrl_sumsq(pool, o->grads, l->n_elements));
  *grad_norm = norm;
  *clipped = false;
  if (!isfinite(norm)) return false;
  *clipped = h->grad_clip > 0.0 && norm > h->grad_clip;
  o->updates++;
  agrl_adamw a = {.lr = (float)h->lr,
                  .beta1 = (float)h->beta1,
                  .beta2 = (float)h->beta2,
                  .eps = (float)h->eps,
                  .bc1 = (float)(1.0 - pow(h->beta1, (double)o->updates)),
                  .bc2 = (float)(1.0 - pow(h->beta2, (double)o->updates)),
                  .gscale = *clipped ? (float)(h->grad_clip / norm) : 1.0f};
  for (size_t i = 0; i < l->n_tensors; i++) {
    const agrl_tensor_desc *t = &l->tensors[i];
    size_t at = t->offset;
    a.wd = t->decay ? (float)h->weight_decay : 0.0f;
    agrl_adamw_step(pool, o->master + at, o->m + at, o->v + at, o->grads + at, o->bf16 + at, t->rows * t->cols, &a);
  }
  pack(o, pool);
  return true;
}

agrl_sha256 learner_optim_hash(const learner_optim *o) {
  return agrl_sha256_of(o->bf16, o->layout->n_elements * sizeof *o->bf16);
}
