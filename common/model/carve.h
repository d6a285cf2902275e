// SPDX-License-Identifier: Apache-2.0
// Carves one block into arrays. The same carving code runs twice: with base NULL it counts, then it gives addresses.
// Every array starts on 64 bytes. overflow is set, and stays, when a size does not fit.
#ifndef AGRL_MODEL_CARVE_H
#define AGRL_MODEL_CARVE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct agrl_carver {
  char *base;
  size_t used;
  bool overflow;
} agrl_carver;

void *agrl_carve(agrl_carver *c, size_t count, size_t size);         // NULL while counting
float *agrl_carve_rows(agrl_carver *c, size_t rows, size_t cols);

#endif
