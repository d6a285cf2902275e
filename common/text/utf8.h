// SPDX-License-Identifier: Apache-2.0
// UTF-8, strict (RFC 3629: no overlong forms, no surrogates, nothing past U+10FFFF). Pure functions, thread-safe.
#ifndef AGRL_TEXT_UTF8_H
#define AGRL_TEXT_UTF8_H

#include <stddef.h>
#include <stdint.h>

size_t agrl_utf8_decode(const char *s, size_t n, uint32_t *cp);  // bytes taken (1..4); 0: invalid, cut short or n is 0
size_t agrl_utf8_encode(uint32_t cp, char out[4]);               // bytes written; cp must be a scalar value
size_t agrl_utf8_valid_prefix(const char *s, size_t n);          // length of the longest valid prefix
size_t agrl_utf8_cut(const char *s, size_t n, size_t max);       // largest length <= max that splits no character

#endif
