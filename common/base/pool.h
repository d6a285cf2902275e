// SPDX-License-Identifier: Apache-2.0
// Compute pool: n-1 worker threads plus the caller run fn(arg, index) for index in [0, n_jobs). Thread i % n does
// job i unless another one was free first: results must not depend on which thread runs a job. Workers spin briefly, then sleep.
// One run at a time per pool; only the owner thread calls run. A pool of 1 runs everything inline.
#ifndef AGRL_BASE_POOL_H
#define AGRL_BASE_POOL_H

#include <stddef.h>

typedef struct agrl_pool agrl_pool;
typedef void (*agrl_pool_fn)(void *arg, size_t index);

agrl_pool *agrl_pool_new(unsigned threads);
void agrl_pool_free(agrl_pool *p);
unsigned agrl_pool_threads(const agrl_pool *p);  // NULL counts as 1
void agrl_pool_run(agrl_pool *p, agrl_pool_fn fn, void *arg, size_t n_jobs);  // p may be NULL: inline

#endif
