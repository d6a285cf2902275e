// SPDX-License-Identifier: Apache-2.0
// Hashes: SHA-256 for contents that are verified or named by hash (libsodium), XXH3-64 for message checksums and
// hash tables (xxhash). Thread-safe.
#ifndef AGRL_BASE_HASH_H
#define AGRL_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

typedef struct agrl_sha256 {
  uint8_t b[32];
} agrl_sha256;

agrl_sha256 agrl_sha256_of(const void *p, size_t n);
agrl_rc agrl_sha256_file(const char *path, agrl_sha256 *out, agrl_error *err);
void agrl_sha256_hex(const agrl_sha256 *h, char out[65]);
uint64_t agrl_hash64(const void *p, size_t n);

#endif
