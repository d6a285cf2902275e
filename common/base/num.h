// SPDX-License-Identifier: Apache-2.0
// Numbers: checked size arithmetic and strict parsing (the whole string must be the number: "80x" and "" are errors).
#ifndef AGRL_BASE_NUM_H
#define AGRL_BASE_NUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool agrl_size_mul(size_t a, size_t b, size_t *out);  // false on overflow
bool agrl_size_add(size_t a, size_t b, size_t *out);
bool agrl_parse_u64(const char *s, uint64_t *out);
bool agrl_parse_i64(const char *s, int64_t *out);
bool agrl_parse_f64(const char *s, double *out);      // finite only
bool agrl_parse_bytes(const char *s, uint64_t *out);  // "64MiB", "1GiB", "4096"
bool agrl_parse_duration_ns(const char *s, uint64_t *out);  // "250ms", "10s", "5m", "2h"

#endif
