// SPDX-License-Identifier: Apache-2.0
// Compute pool. A run publishes its job (plain fields), then a new generation number; every worker does its share and
// counts down `pending`; the owner does its own share and waits for zero. Both sides spin for about 20 us, which covers
// the gaps between kernels of one step, and then sleep, because several processes share the cores.
//
// Sleep and wake follow the same pattern twice: the sleeper announces itself (sequentially consistent) and looks at the
// condition again under the lock; the waker changes the condition first and looks for sleepers after. One of them sees
// the other, and the lock keeps the signal from falling between the look and the wait.
#include "common/base/pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/base/bug.h"
#include "common/base/clock.h"
#include "common/base/mem.h"

static const uint64_t spin_ns = 20000;

typedef struct worker {
  agrl_pool *pool;
  unsigned id;  // 1..n-1; the owner is 0
  pthread_t thread;
} worker;

struct agrl_pool {
  unsigned n;
  agrl_pool_fn fn;
  void *arg;
  size_t n_jobs;
  bool stop;  // published with the generation, like the job
  worker *workers;
  _Alignas(64) _Atomic uint32_t generation;
  _Alignas(64) _Atomic uint32_t pending;
  _Alignas(64) _Atomic uint32_t sleepers;
  _Atomic bool owner_sleeps;
  pthread_mutex_t lock;
  pthread_cond_t wake, done;
};

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// Spins while *word is (equal) or is not (!equal) value; false when the time is up first.
static bool spin_while(_Atomic uint32_t *word, bool equal, uint32_t value) {
  for (uint64_t start = agrl_mono_ns(); agrl_mono_ns() - start < spin_ns;) {
    for (int i = 0; i < 64; i++) {
      if ((atomic_load_explicit(word, memory_order_acquire) == value) != equal) return true;
      relax();
    }
  }
  return false;
}

static void wait_for_work(agrl_pool *p, uint32_t seen) {
  if (spin_while(&p->generation, true, seen)) return;
  pthread_mutex_lock(&p->lock);
  atomic_fetch_add(&p->sleepers, 1);
  while (atomic_load(&p->generation) == seen) pthread_cond_wait(&p->wake, &p->lock);
  atomic_fetch_sub(&p->sleepers, 1);
  pthread_mutex_unlock(&p->lock);
}

static void publish(agrl_pool *p) {
  atomic_fetch_add(&p->generation, 1);
  if (atomic_load(&p->sleepers) == 0) return;
  pthread_mutex_lock(&p->lock);
  pthread_cond_broadcast(&p->wake);
  pthread_mutex_unlock(&p->lock);
}

static void finish_share(agrl_pool *p) {
  if (atomic_fetch_sub(&p->pending, 1) != 1 || !atomic_load(&p->owner_sleeps)) return;
  pthread_mutex_lock(&p->lock);
  pthread_cond_signal(&p->done);
  pthread_mutex_unlock(&p->lock);
}

static void wait_for_shares(agrl_pool *p) {
  if (spin_while(&p->pending, false, 0)) return;
  pthread_mutex_lock(&p->lock);
  atomic_store(&p->owner_sleeps, true);
  while (atomic_load(&p->pending) != 0) pthread_cond_wait(&p->done, &p->lock);
  atomic_store(&p->owner_sleeps, false);
  pthread_mutex_unlock(&p->lock);
}

static void run_share(agrl_pool_fn fn, void *arg, size_t n_jobs, size_t first, size_t stride) {
  for (size_t i = first; i < n_jobs; i += stride) fn(arg, i);
}

static void *worker_main(void *arg) {
  worker *w = arg;
  agrl_pool *p = w->pool;
  for (uint32_t seen = 0;; seen++) {
    wait_for_work(p, seen);
    if (p->stop) return NULL;
    run_share(p->fn, p->arg, p->n_jobs, w->id, p->n);
    finish_share(p);
  }
}

agrl_pool *agrl_pool_new(unsigned threads) {
  agrl_pool *p = aligned_alloc(64, sizeof *p);
  if (!p) AGRL_BUG("out of memory allocating a pool");
  *p = (agrl_pool){.n = threads ? threads : 1};
  pthread_mutex_init(&p->lock, NULL);
  pthread_cond_init(&p->wake, NULL);
  pthread_cond_init(&p->done, NULL);
  p->workers = agrl_xcalloc(p->n, sizeof *p->workers);
  // Signals belong to the thread that runs the loop.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  for (unsigned i = 1; i < p->n; i++) {
    p->workers[i] = (worker){.pool = p, .id = i};
    int rc = pthread_create(&p->workers[i].thread, NULL, worker_main, &p->workers[i]);
    if (rc) AGRL_BUG("cannot start thread %u of a pool: error %d", i, rc);
    pthread_setname_np(p->workers[i].thread, "agrl-pool");
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return p;
}

void agrl_pool_free(agrl_pool *p) {
  if (!p) return;
  p->stop = true;
  publish(p);
  for (unsigned i = 1; i < p->n; i++) pthread_join(p->workers[i].thread, NULL);
  pthread_cond_destroy(&p->wake);
  pthread_cond_destroy(&p->done);
  pthread_mutex_destroy(&p->lock);
  free(p->workers);
  free(p);
}

unsigned agrl_pool_threads(const agrl_pool *p) { return p ? p->n : 1; }

void agrl_pool_run(agrl_pool *p, agrl_pool_fn fn, void *arg, size_t n_jobs) {
  if (!p || p->n == 1 || n_jobs <= 1) {
    run_share(fn, arg, n_jobs, 0, 1);
    return;
  }
  AGRL_ASSERT(atomic_load(&p->pending) == 0);
  p->fn = fn;
  p->arg = arg;
  p->n_jobs = n_jobs;
  atomic_store(&p->pending, p->n - 1);
  publish(p);
  run_share(fn, arg, n_jobs, 0, p->n);
  wait_for_shares(p);
}
