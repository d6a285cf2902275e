// SPDX-License-Identifier: Apache-2.0
// See lora.h. This file is compiled without contraction of a product and a sum into one operation (CMakeLists.txt).
#include "common/model/lora.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bug.h"
#include "common/base/mem.h"
#include "common/base/rng.h"
#include "common/conf/targets.h"
#include "common/tensor/tensor.h"

enum { ALIGN_ELEMENTS = 32, STREAM = 0x10a, COLS = 512, ROWS = 16 };  // COLS, ROWS: of the tile a job of a merge works on

static int target_of(const agrl_layer_index *n, int target) {
  const int at[AGRL_TARGETS] = {n->q, n->k, n->v, n->o, n->gate, n->up, n->down};
  return at[target];
}

static void add_tensor(agrl_layout *l, const char *of, char which, size_t rows, size_t cols) {
  agrl_tensor_desc *t = &l->tensors[l->n_tensors++];
  const size_t stem = strlen(of) - strlen(".weight");
  const int n = snprintf(t->name, sizeof t->name, "base_model.model.%.*s.lora_%c.weight", (int)stem, of, which);
  AGRL_ASSERT(n > 0 && (size_t)n < sizeof t->name);
  t->rows = rows;
  t->cols = cols;
  t->offset = l->n_elements;
  t->decay = true;
  l->n_elements += (rows * cols + ALIGN_ELEMENTS - 1) / ALIGN_ELEMENTS * ALIGN_ELEMENTS;
}

static agrl_rc adapt(agrl_lora *l, int tensor, agrl_error *err) {
  const agrl_tensor_desc *t = &l->model->tensors[tensor];
  const size_t least = t->rows < t->cols ? t->rows : t->cols;
  if (l->rank > least)
    return agrl_fail(err, AGRL_ECONFIG, "lora.rank: %zu is more than %zu, the smaller side of %s (%zu x %zu)", l->rank, least, t->name, t->rows,
                     t->cols);
  l->a[tensor] = (int)l->layout->n_tensors;
  add_tensor(l->layout, t->name, 'A', l->rank, t->cols);
  add_tensor(l->layout, t->name, 'B', t->rows, l->rank);
  return AGRL_OK;
}

agrl_rc agrl_lora_new(const agrl_layout *model, size_t rank, double alpha, unsigned targets, agrl_lora **out, agrl_error *err) {
  *out = NULL;
  if (rank < 1) return agrl_fail(err, AGRL_ECONFIG, "lora.rank: must be at least 1");
  if (!(alpha > 0 && isfinite((float)alpha))) return agrl_fail(err, AGRL_ECONFIG, "lora.alpha: %g must be above 0", alpha);
  agrl_lora *l = agrl_xcalloc(1, sizeof *l);
  const size_t layers = (size_t)model->spec.n_layers;
  *l = (agrl_lora){.model = model, .rank = rank, .alpha = alpha, .scale = (float)(alpha / (double)rank), .targets = targets};
  l->a = agrl_xcalloc(model->n_tensors, sizeof *l->a);
  for (size_t i = 0; i < model->n_tensors; i++) l->a[i] = -1;
  l->layout = agrl_xcalloc(1, sizeof *l->layout);
  *l->layout = (agrl_layout){.spec = model->spec, .embed = -1, .final_norm = -1, .head = -1};
  l->layout->tensors = agrl_xcalloc(layers * AGRL_TARGETS * 2, sizeof *l->layout->tensors);
  agrl_rc rc = AGRL_OK;
  for (size_t n = 0; n < layers; n++)
    for (int t = 0; rc == AGRL_OK && t < AGRL_TARGETS; t++)
      if (targets >> t & 1) rc = adapt(l, target_of(&model->layers[n], t), err);
  if (rc == AGRL_OK && l->layout->n_tensors == 0) rc = agrl_fail(err, AGRL_ECONFIG, "lora.targets: names no matrix");
  if (rc == AGRL_OK) *out = l;
  else agrl_lora_free(l);
  return rc;
}

void agrl_lora_free(agrl_lora *l) {
  if (l == NULL) return;
  agrl_layout_free(l->layout);
  free(l->a);
  free(l);
}

void agrl_lora_init(const agrl_lora *l, float *block, uint64_t seed) {
  memset(block, 0, l->layout->n_elements * sizeof *block);
  for (size_t i = 0; i < l->layout->n_tensors; i += 2) {  // every A
    const agrl_tensor_desc *t = &l->layout->tensors[i];
    const double bound = 1.0 / sqrt((double)t->cols);
    agrl_rng rng;
    agrl_rng_init(&rng, seed, (uint64_t)STREAM << 32 | i);
    for (size_t j = 0; j < t->rows * t->cols; j++) block[t->offset + j] = (float)(bound * (2.0 * agrl_rng_f64(&rng) - 1.0));
  }
}

// ---- merge

typedef struct merge {
  const agrl_lora *l;
  const agrl_tensor_desc *w;
  float *a;               // (rank,in), widened; shared by all jobs
  const uint16_t *b, *base;
  uint16_t *out;
} merge;

// sum += b a over n outputs: elements are independent, so vectors of any width give the same bits.
static void add_product(float *restrict sum, float b, const float *restrict a, size_t n) {
  for (size_t i = 0; i < n; i++) sum[i] += b * a[i];
}

static void merge_rows(void *arg, size_t index) {
  const merge *m = arg;
  const size_t in = m->w->cols, rank = m->l->rank, o0 = index * ROWS, o1 = o0 + ROWS < m->w->rows ? o0 + ROWS : m->w->rows;
  float sum[COLS], w[COLS], b[64];
  for (size_t i = 0, n; i < in; i += n) {
    n = in - i < COLS ? in - i : COLS;
    for (size_t o = o0; o < o1; o++) {
      memset(sum, 0, n * sizeof *sum);
      for (size_t k = 0, part; k < rank; k += part) {
        part = rank - k < 64 ? rank - k : 64;
        agrl_f32_from_bf16(b, m->b + o * rank + k, part);
        for (size_t j = 0; j < part; j++) add_product(sum, m->l->scale * b[j], m->a + (k + j) * in + i, n);
      }
      agrl_f32_from_bf16(w, m->base + o * in + i, n);
      for (size_t j = 0; j < n; j++) w[j] += sum[j];
      agrl_bf16_from_f32(m->out + o * in + i, w, n);
    }
  }
}

void agrl_lora_merge(const agrl_lora *l, agrl_pool *pool, uint16_t *block, const uint16_t *base, const uint16_t *adapters) {
  size_t widest = 0;
  for (size_t i = 0; i < l->layout->n_tensors; i += 2)
    if (l->layout->tensors[i].cols > widest) widest = l->layout->tensors[i].cols;
  float *wide = agrl_xcalloc(widest * l->rank, sizeof *wide);
  for (size_t i = 0; i < l->model->n_tensors; i++) {
    if (l->a[i] < 0) continue;
    const agrl_tensor_desc *w = &l->model->tensors[i], *a = &l->layout->tensors[l->a[i]];
    agrl_f32_from_bf16(wide, adapters + a->offset, a->rows * a->cols);
    merge m = {l, w, wide, adapters + a[1].offset, base + w->offset, block + w->offset};
    agrl_pool_run(pool, merge_rows, &m, (w->rows + ROWS - 1) / ROWS);
  }
  free(wide);
}
