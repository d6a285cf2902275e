// SPDX-License-Identifier: Apache-2.0
// What the two halves of the table binder share: where a field lies, and how a bound of its range is written.
#ifndef AGRL_CONF_BIND_FIELD_H
#define AGRL_CONF_BIND_FIELD_H

#include <stdint.h>

#include "common/conf/bind.h"

static inline void *conf_field(const agrl_conf_key *k, void *base) { return (uint8_t *)base + k->offset; }

static inline const void *conf_field_const(const agrl_conf_key *k, const void *base) { return (const uint8_t *)base + k->offset; }

// A bound of k's range as it would stand in the file: "0.25", "64MiB", "250ms". At most cap bytes.
void conf_field_range_text(const agrl_conf_key *k, double bound, char *out, size_t cap);

#endif
