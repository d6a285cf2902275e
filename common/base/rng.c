// SPDX-License-Identifier: Apache-2.0
// Philox4x32-10 as in "Parallel random numbers: as easy as 1, 2, 3" (Salmon, Moraes, Dror, Shaw, SC 2011), checked in
// the tests against the paper's published vectors.
#include "common/base/rng.h"

#include <math.h>

#include "common/base/bug.h"

void agrl_philox(const uint32_t key[2], const uint32_t ctr[4], uint32_t out[4]) {
  uint32_t k0 = key[0], k1 = key[1], c0 = ctr[0], c1 = ctr[1], c2 = ctr[2], c3 = ctr[3];
  for (int round = 0; round < 10; round++) {
    uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
    uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
    c1 = (uint32_t)p1;
    c3 = (uint32_t)p0;
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

static double to_unit(uint32_t hi, uint32_t lo) {
  uint64_t bits = ((uint64_t)hi << 32 | lo) >> 11;
  return (double)bits * 0x1p-53;
}

double agrl_rng_uniform(const agrl_rng_key *key, uint32_t position) {
  uint32_t k[2] = {(uint32_t)key->run, (uint32_t)(key->run >> 32)};
  uint32_t c[4] = {(uint32_t)key->group, (uint32_t)(key->group >> 32), key->member, position}, out[4];
  agrl_philox(k, c, out);
  return to_unit(out[0], out[1]);
}

void agrl_rng_init(agrl_rng *r, uint64_t seed, uint64_t stream) {
  *r = (agrl_rng){.key = {(uint32_t)seed, (uint32_t)(seed >> 32)}, .ctr = {0, 0, (uint32_t)stream, (uint32_t)(stream >> 32)}};
}

uint32_t agrl_rng_u32(agrl_rng *r) {
  if (r->left == 0) {
    agrl_philox(r->key, r->ctr, r->out);
    if (++r->ctr[0] == 0) r->ctr[1]++;
    r->left = 4;
  }
  return r->out[4 - r->left--];
}

uint64_t agrl_rng_u64(agrl_rng *r) {
  uint64_t hi = agrl_rng_u32(r);
  return hi << 32 | agrl_rng_u32(r);
}

// Lemire's multiply method: reject the few low products that would favour some values.
uint32_t agrl_rng_below(agrl_rng *r, uint32_t n) {
  AGRL_ASSERT(n > 0);
  uint32_t threshold = (0u - n) % n;
  for (;;) {
    uint64_t product = (uint64_t)agrl_rng_u32(r) * n;
    if ((uint32_t)product >= threshold) return (uint32_t)(product >> 32);
  }
}

double agrl_rng_f64(agrl_rng *r) {
  uint32_t hi = agrl_rng_u32(r);
  return to_unit(hi, agrl_rng_u32(r));
}

double agrl_rng_normal(agrl_rng *r) {
  double u = 1.0 - agrl_rng_f64(r);  // (0,1]
  double v = agrl_rng_f64(r);
  return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}
