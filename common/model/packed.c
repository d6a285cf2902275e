// SPDX-License-Identifier: Apache-2.0
// See packed.h.
#include "common/model/packed.h"

#include <stdlib.h>

#include "common/base/bug.h"
#include "common/base/mem.h"
#include "common/tensor/tensor.h"

struct agrl_packed {
  const agrl_layout *layout;
  agrl_pack_form form;
  uint32_t *words;
  size_t n_words;
  size_t *at;  // per tensor: offset in words; SIZE_MAX for what is not packed
};

static bool multiplied(const agrl_layout *l, size_t i) {
  return l->tensors[i].decay && ((int)i != l->embed || l->embed == l->head);
}

agrl_packed *agrl_packed_new(const agrl_layout *l, agrl_pack_form form) {
  agrl_packed *p = agrl_xcalloc(1, sizeof *p);
  *p = (agrl_packed){.layout = l, .form = form, .at = agrl_xcalloc(l->n_tensors, sizeof *p->at)};
  for (size_t i = 0; i < l->n_tensors; i++) {
    const agrl_tensor_desc *t = &l->tensors[i];
    p->at[i] = multiplied(l, i) ? p->n_words : SIZE_MAX;
    if (p->at[i] == SIZE_MAX) continue;
    p->n_words += form == AGRL_PACK_FWD ? agrl_packed_words(t->rows, t->cols) : agrl_packed_words(t->cols, t->rows);
  }
  p->words = agrl_block_alloc(p->n_words * sizeof *p->words);
  if (p->words != NULL) return p;
  agrl_packed_free(p);
  return NULL;
}

void agrl_packed_free(agrl_packed *p) {
  if (p == NULL) return;
  agrl_block_free(p->words, p->n_words * sizeof *p->words);
  free(p->at);
  free(p);
}

void agrl_packed_fill(agrl_packed *p, agrl_pool *pool, const uint16_t *block) {
  for (size_t i = 0; i < p->layout->n_tensors; i++)
    if (p->at[i] != SIZE_MAX) agrl_packed_fill_tensor(p, pool, block, (int)i);
}

void agrl_packed_fill_tensor(agrl_packed *p, agrl_pool *pool, const uint16_t *block, int index) {
  AGRL_ASSERT(index >= 0 && (size_t)index < p->layout->n_tensors && p->at[index] != SIZE_MAX);
  const agrl_tensor_desc *t = &p->layout->tensors[index];
  if (p->form == AGRL_PACK_FWD) agrl_pack_fwd(pool, p->words + p->at[index], block + t->offset, t->rows, t->cols);
  else agrl_pack_bwd(pool, p->words + p->at[index], block + t->offset, t->rows, t->cols);
}

const uint32_t *agrl_packed_tensor(const agrl_packed *p, int index) {
  AGRL_ASSERT(index >= 0 && (size_t)index < p->layout->n_tensors && p->at[index] != SIZE_MAX);
  return p->words + p->at[index];
}
