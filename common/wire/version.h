// SPDX-License-Identifier: Apache-2.0
// Weight versions as they travel: epoch << 32 | step, strictly increasing along the surviving line of weights. The epoch
// grows only on a fork: when a restarted learner cannot redo its journal to the same weights. The step goes on.
#ifndef AGRL_WIRE_VERSION_H
#define AGRL_WIRE_VERSION_H

#include <stdint.h>

#define AGRL_VERSION(epoch, step) (((uint64_t)(epoch) << 32) | (uint32_t)(step))
#define AGRL_VERSION_STEP(v) ((uint32_t)(v))
#define AGRL_VERSION_EPOCH(v) ((uint32_t)((v) >> 32))

// How many updates v lies behind now. Steps count across epochs. A v of an older epoch with a larger step belongs to weights
// that did not survive: its distance counts as age too. A v of this epoch (or later) ahead of now has age 0.
static inline uint32_t agrl_version_age(uint64_t now, uint64_t v) {
  uint32_t a = AGRL_VERSION_STEP(now), b = AGRL_VERSION_STEP(v);
  if (a >= b) return a - b;
  return AGRL_VERSION_EPOCH(v) < AGRL_VERSION_EPOCH(now) ? b - a : 0;
}

#endif
