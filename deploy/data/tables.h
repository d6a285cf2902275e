// SPDX-License-Identifier: Apache-2.0
// The world as written down: text tables, resolved into a data_world by world.c. Ways to say one thing are separated
// by '|', the canonical one first; lists by ','.
#ifndef AGRL_DEPLOY_DATA_TABLES_H
#define AGRL_DEPLOY_DATA_TABLES_H

#include <stddef.h>

typedef struct data_value_row {
  const char *forms, *needs;
} data_value_row;
typedef struct data_type_row {
  const char *name, *flags, *values;  // flags: e exclusive, d deniable, i ingredient
} data_type_row;
typedef struct data_property_row {
  const char *name, *phrases, *values;
} data_property_row;
typedef struct data_leaf_row {
  const char *department, *forms, *types;
} data_leaf_row;

extern const data_value_row data_value_rows[];
extern const data_type_row data_type_rows[];
extern const data_property_row data_property_rows[];
extern const data_leaf_row data_leaf_rows[];
extern const size_t data_n_value_rows, data_n_type_rows, data_n_property_rows, data_n_leaf_rows;
extern const char *const data_brand_heads[14], *const data_brand_tails[12];

#endif
