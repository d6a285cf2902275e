// SPDX-License-Identifier: Apache-2.0
// The matrices of a layout in the form that bf16 products read (tensor.h), in one block. Forward form for y = x W^T,
// backward form for dx = dy W. Packed are the matrices that are multiplied: all but an untied embedding table.
// A packed block takes 2 bytes a weight, and each matrix's outputs are padded to 64.
#ifndef AGRL_MODEL_PACKED_H
#define AGRL_MODEL_PACKED_H

#include "common/base/pool.h"
#include "common/model/spec.h"

typedef enum { AGRL_PACK_FWD, AGRL_PACK_BWD } agrl_pack_form;
typedef struct agrl_packed agrl_packed;

// All zeros; NULL when the system refuses the memory. layout is borrowed.
agrl_packed *agrl_packed_new(const agrl_layout *layout, agrl_pack_form form);
void agrl_packed_free(agrl_packed *p);  // NULL is fine
// Packs again from a bf16 block of the layout. Parallel over the pool; no reader meanwhile.
void agrl_packed_fill(agrl_packed *p, agrl_pool *pool, const uint16_t *block);
void agrl_packed_fill_tensor(agrl_packed *p, agrl_pool *pool, const uint16_t *block, int index);  // one of them
const uint32_t *agrl_packed_tensor(const agrl_packed *p, int index);  // of a matrix that is multiplied

#endif
