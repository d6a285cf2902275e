// SPDX-License-Identifier: Apache-2.0
// Optimiser state as flat blocks in the layout of what is trained (the parameters, or adapters): master, moments, gradients, and
// what is served, merged and packed again after every update.
#include <math.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/tensor/tensor.h"
#include "learner/learner.h"

static bool reserve(learner_optim *o) {
  const size_t n = o->trained->n_elements;
  float **blocks[] = {&o->master, &o->m, &o->v, &o->grads};
  for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
    *blocks[i] = agrl_block_alloc(n * sizeof(float));
    if (*blocks[i] == NULL) return false;
  }
  o->rounded = agrl_block_alloc(n * sizeof *o->rounded);
  o->bf16 = o->lora == NULL ? o->rounded : agrl_block_alloc(o->layout->n_elements * sizeof *o->bf16);
  o->fwd = agrl_packed_new(o->layout, AGRL_PACK_FWD);
  o->bwd = agrl_packed_new(o->layout, AGRL_PACK_BWD);
  o->served = (agrl_params){.bf16 = o->bf16, .fwd = o->fwd, .bwd = o->bwd};
  if (o->rounded == NULL || o->bf16 == NULL || o->fwd == NULL || o->bwd == NULL) return false;
  if (o->lora == NULL) return true;
  o->served.lora_fwd = o->lora_fwd = agrl_packed_new(o->trained, AGRL_PACK_FWD);
  o->served.lora_bwd = o->lora_bwd = agrl_packed_new(o->trained, AGRL_PACK_BWD);
  return o->lora_fwd != NULL && o->lora_bwd != NULL;
}

static agrl_rc init(learner_optim *o, agrl_error *err) {
  if (reserve(o)) return AGRL_OK;
  const size_t frozen = o->lora != NULL ? o->layout->n_elements * 4 * sizeof(uint16_t) : 0;
  const size_t bytes = frozen + o->trained->n_elements * (4 * sizeof(float) + 3 * sizeof(uint16_t));
  learner_optim_release(o);
  return agrl_fail(err, AGRL_ENOMEM, "weights and optimiser state need %zu MiB", bytes >> 20);
}

agrl_rc learner_optim_init(learner_optim *o, const agrl_layout *l, agrl_pool *pool, const float *block, agrl_error *err) {
  *o = (learner_optim){.layout = l, .trained = l};
  agrl_rc rc = init(o, err);
  if (rc != AGRL_OK) return rc;
  memcpy(o->master, block, l->n_elements * sizeof(float));
  learner_optim_reserve(o, pool);
  return AGRL_OK;
}

agrl_rc learner_optim_init_lora(learner_optim *o, const agrl_lora *lora, agrl_pool *pool, const float *base, uint64_t seed, agrl_error *err) {
  *o = (learner_optim){.layout = lora->model, .lora = lora, .trained = lora->layout};
  agrl_rc rc = init(o, err);
  if (rc != AGRL_OK) return rc;
  o->base = agrl_weights_from_f32(o->layout, base, 0);
  agrl_lora_init(lora, o->master, seed);
  learner_optim_reserve(o, pool);
  return AGRL_OK;
}

void learner_optim_release(learner_optim *o) {
  if (o->layout == NULL) return;
  const size_t n = o->trained->n_elements;
  float *blocks[] = {o->master, o->m, o->v, o->grads};
  for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
    if (blocks[i] != NULL) agrl_block_free(blocks[i], n * sizeof(float));
  if (o->lora != NULL && o->bf16 != NULL) agrl_block_free(o->bf16, o->layout->n_elements * sizeof *o->bf16);
  if (o->rounded != NULL) agrl_block_free(o->rounded, n * sizeof *o->rounded);
  agrl_packed_free(o->fwd);
  agrl_packed_free(o->bwd);
  agrl_packed_free(o->lora_fwd);
  agrl_packed_free(o->lora_bwd);
  agrl_weights_unref(o->base);
  memset(o, 0, sizeof *o);
}

void learner_optim_zero_grads(learner_optim *o) { memset(o->grads, 0, o->trained->n_elements * sizeof(float)); }

// rounded -> bf16 -> packed. all: what is frozen too.
static void serve(learner_optim *o, agrl_pool *pool, bool all) {
  if (o->lora != NULL) {
    if (all) memcpy(o->bf16, agrl_weights_block(o->base), o->layout->n_elements * sizeof *o->bf16);
    agrl_lora_merge(o->lora, pool, o->bf16, agrl_weights_block(o->base), o->rounded);
    agrl_packed_fill(o->lora_fwd, pool, o->rounded);
    agrl_packed_fill(o->lora_bwd, pool, o->rounded);
  }
  if (all || o->lora == NULL) {
    agrl_packed_fill(o->fwd, pool, o->bf16);
    agrl_packed_fill(o->bwd, pool, o->bf16);
    return;
  }
  for (size_t i = 0; i < o->layout->n_tensors; i++) {
    if (o->lora->a[i] < 0) continue;
    agrl_packed_fill_tensor(o->fwd, pool, o->bf16, (int)i);
    agrl_packed_fill_tensor(o->bwd, pool, o->bf16, (int)i);
  }
}

void learner_optim_reserve(learner_optim *o, agrl_pool *pool) {
  agrl_bf16_from_f32(o->rounded, o->master, o->trained->n_elements);
  serve(o, pool, true);
}

bool learner_optim_step(learner_optim *o, agrl_pool *pool, const learner_hyper *h, double *grad_norm, bool *clipped) {
  const agrl_layout *l = o->trained;
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
    agrl_adamw_step(pool, o->master + at, o->m + at, o->v + at, o->grads + at, o->rounded + at, t->rows * t->cols, &a);
  }
  serve(o, pool, false);
  return true;
}

agrl_sha256 learner_optim_hash(const learner_optim *o) {
  return agrl_sha256_of(o->rounded, o->trained->n_elements * sizeof *o->rounded);
}
