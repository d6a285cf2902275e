// SPDX-License-Identifier: Apache-2.0
// Counter-based random numbers (Philox4x32-10, Salmon et al. 2011): a value depends on its key and counter only, never
// on call order, so a rollout does not depend on what it was batched with. Pure functions, thread-safe.
#ifndef AGRL_BASE_RNG_H
#define AGRL_BASE_RNG_H

#include <stdint.h>

typedef struct agrl_rng_key {
  uint64_t run;    // run seed
  uint64_t group;  // group id
  uint32_t member;
} agrl_rng_key;

void agrl_philox(const uint32_t key[2], const uint32_t ctr[4], uint32_t out[4]);
double agrl_rng_uniform(const agrl_rng_key *key, uint32_t position);  // [0,1), 53 bits

// A sequential stream over the same generator, for data generation, initialisation and shuffles.
typedef struct agrl_rng {
  uint32_t key[2], ctr[4], out[4];
  int left;
} agrl_rng;
void agrl_rng_init(agrl_rng *r, uint64_t seed, uint64_t stream);
uint32_t agrl_rng_u32(agrl_rng *r);
uint64_t agrl_rng_u64(agrl_rng *r);
uint32_t agrl_rng_below(agrl_rng *r, uint32_t n);  // unbiased, n > 0
double agrl_rng_f64(agrl_rng *r);                  // [0,1)
double agrl_rng_normal(agrl_rng *r);

#endif
