// SPDX-License-Identifier: Apache-2.0
// Checked size arithmetic and strict number parsing: no leading blanks or '+', no trailing bytes, no overflow.
#include "common/base/num.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool agrl_size_mul(size_t a, size_t b, size_t *out) { return !__builtin_mul_overflow(a, b, out); }

bool agrl_size_add(size_t a, size_t b, size_t *out) { return !__builtin_add_overflow(a, b, out); }

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Reads digits from *s; false when there is none or the value overflows. Leaves *s at the first other byte.
static bool read_digits(const char **s, uint64_t *out) {
  uint64_t v = 0;
  const char *p = *s;
  if (!is_digit(*p)) return false;
  for (; is_digit(*p); p++) {
    if (__builtin_mul_overflow(v, (uint64_t)10, &v) || __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v)) return false;
  }
  *s = p;
  *out = v;
  return true;
}

bool agrl_parse_u64(const char *s, uint64_t *out) {
  uint64_t v;
  if (!read_digits(&s, &v) || *s) return false;
  *out = v;
  return true;
}

bool agrl_parse_i64(const char *s, int64_t *out) {
  bool negative = *s == '-';
  uint64_t v, most = negative ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX;
  if (!agrl_parse_u64(s + negative, &v) || v > most) return false;
  *out = negative ? (int64_t)(0 - v) : (int64_t)v;
  return true;
}

// [-] digits [. digits] [e [+-] digits], at least one digit before or after the point.
static bool looks_real(const char *s) {
  bool digits = false;
  if (*s == '-') s++;
  for (; is_digit(*s); s++) digits = true;
  if (*s == '.') {
    for (s++; is_digit(*s); s++) digits = true;
  }
  if (!digits) return false;
  if (*s == 'e' || *s == 'E') {
    s++;
    if (*s == '+' || *s == '-') s++;
    if (!is_digit(*s)) return false;
    while (is_digit(*s)) s++;
  }
  return *s == '\0';
}

bool agrl_parse_f64(const char *s, double *out) {
  if (!looks_real(s)) return false;
  double v = strtod(s, NULL);
  if (!isfinite(v)) return false;
  *out = v;
  return true;
}

typedef struct unit {
  const char *name;
  uint64_t factor;
} unit;

// digits followed by exactly one unit of the table (ended by a NULL name).
static bool parse_scaled(const char *s, const unit *units, uint64_t *out) {
  uint64_t v;
  if (!read_digits(&s, &v)) return false;
  for (; units->name; units++) {
    if (strcmp(s, units->name) == 0) return !__builtin_mul_overflow(v, units->factor, out);
  }
  return false;
}

bool agrl_parse_bytes(const char *s, uint64_t *out) {
  static const unit units[] = {{"", 1}, {"B", 1}, {"KiB", 1ull << 10}, {"MiB", 1ull << 20}, {"GiB", 1ull << 30}, {"TiB", 1ull << 40}, {NULL, 0}};
  uint64_t v;
  if (!parse_scaled(s, units, &v)) return false;
  *out = v;
  return true;
}

bool agrl_parse_duration_ns(const char *s, uint64_t *out) {
  static const unit units[] = {{"ns", 1},           {"us", 1000},          {"ms", 1000000},        {"s", 1000000000},
                               {"m", 60000000000},  {"h", 3600000000000},  {"d", 86400000000000},  {NULL, 0}};
  uint64_t v;
  if (!parse_scaled(s, units, &v)) return false;
  *out = v;
  return true;
}
