// SPDX-License-Identifier: Apache-2.0
// Hashes: thin over libsodium's SHA-256 and XXH3. The only file that sees either header.
#include "common/base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium/crypto_hash_sha256.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/base/mem.h"

agrl_sha256 agrl_sha256_of(const void *p, size_t n) {
  agrl_sha256 h;
  crypto_hash_sha256(h.b, p, n);
  return h;
}

static agrl_rc hash_fd(int fd, const char *path, agrl_sha256 *out, agrl_error *err) {
  enum { CHUNK = 1 << 18 };
  uint8_t *chunk = agrl_xmalloc(CHUNK);
  crypto_hash_sha256_state st;
  crypto_hash_sha256_init(&st);
  ssize_t n;
  while ((n = read(fd, chunk, CHUNK)) != 0) {
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) break;
    crypto_hash_sha256_update(&st, chunk, (size_t)n);
  }
  free(chunk);
  if (n < 0) return agrl_fail(err, AGRL_EIO, "%s: read: %s", path, strerror(errno));
  crypto_hash_sha256_final(&st, out->b);
  return AGRL_OK;
}

agrl_rc agrl_sha256_file(const char *path, agrl_sha256 *out, agrl_error *err) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return agrl_fail(err, errno == ENOENT ? AGRL_ENOENT : AGRL_EIO, "%s: open: %s", path, strerror(errno));
  agrl_rc rc = hash_fd(fd, path, out, err);
  close(fd);
  return rc;
}

void agrl_sha256_hex(const agrl_sha256 *h, char out[65]) {
  static const char digits[] = "0123456789abcdef";
  for (int i = 0; i < 32; i++) {
    out[2 * i] = digits[h->b[i] >> 4];
    out[2 * i + 1] = digits[h->b[i] & 15];
  }
  out[64] = '\0';
}

uint64_t agrl_hash64(const void *p, size_t n) { return XXH3_64bits(p, n); }
