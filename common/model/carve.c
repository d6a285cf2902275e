// SPDX-License-Identifier: Apache-2.0
// Checked sizes for the one block behind a decoder or a trainer.
#include "common/model/carve.h"

#include "common/base/num.h"

void *agrl_carve(agrl_carver *c, size_t count, size_t size) {
  size_t bytes, at = c->used;
  if (!agrl_size_mul(count, size, &bytes) || !agrl_size_add(bytes, 63, &bytes) || !agrl_size_add(at, bytes / 64 * 64, &c->used))
    c->overflow = true;
  return c->base != NULL ? c->base + at : NULL;
}

float *agrl_carve_rows(agrl_carver *c, size_t rows, size_t cols) {
  size_t n;
  if (!agrl_size_mul(rows, cols, &n)) {
    c->overflow = true;
    return NULL;
  }
  return agrl_carve(c, n, sizeof(float));
}
