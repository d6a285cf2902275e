// SPDX-License-Identifier: Apache-2.0
// Compute pool. Every thread has a share of a run's jobs and takes from it first, so that a job meets the caches of its
// last run; who has none left takes from the others. A thread that the system does not let run then holds up the jobs that it
// has begun, and no others.
// A share is one word, the run's number and the jobs left: who takes one by compare-and-swap knows that this run is under
// way, and only then reads what to do. The owner waits for the count of unfinished jobs to reach zero, not for threads: a
// worker that wakes too late finds nothing and sleeps again. All sides spin for about 20 us, which covers the gaps between
// kernels of one step, and then sleep, because several processes share the cores.
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

static const uint64_t spin_ns = 20000;

typedef struct worker {
  agrl_pool *pool;
  unsigned id;  // 1..n-1; the owner is 0
  pthread_t thread;
  _Alignas(64) _Atomic uint64_t share;  // generation << 32 | jobs left of id, id + n, id + 2n, ...; taken in this order
} worker;

struct agrl_pool {
  unsigned n;
  agrl_pool_fn fn;
  void *arg;
  size_t n_jobs;
  atomic_bool stop;
  worker *workers;
  _Alignas(64) _Atomic uint32_t generation;
  _Alignas(64) _Atomic uint32_t pending;  // jobs of the run under way that are not done
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

static void wait_for_jobs(agrl_pool *p) {
  if (spin_while(&p->pending, false, 0)) return;
  pthread_mutex_lock(&p->lock);
  atomic_store(&p->owner_sleeps, true);
  while (atomic_load(&p->pending) != 0) pthread_cond_wait(&p->done, &p->lock);
  atomic_store(&p->owner_sleeps, false);
  pthread_mutex_unlock(&p->lock);
}

static size_t share_size(size_t n_jobs, unsigned n, unsigned id) { return id < n_jobs ? (n_jobs - id - 1) / n + 1 : 0; }

// Takes and does jobs of one share until it is empty. How many.
static uint32_t run_share(agrl_pool *p, unsigned id, uint32_t generation) {
  _Atomic uint64_t *share = &p->workers[id].share;
  uint32_t done = 0;
  for (uint64_t seen = atomic_load_explicit(share, memory_order_acquire); seen >> 32 == generation && (uint32_t)seen;) {
    if (!atomic_compare_exchange_weak_explicit(share, &seen, seen - 1, memory_order_acquire, memory_order_acquire)) continue;
    const size_t taken = share_size(p->n_jobs, p->n, id) - (uint32_t)seen;
    p->fn(p->arg, id + taken * p->n);
    done++;
    seen--;
  }
  return done;
}

// The thread's own share, then what others left.
static void run_jobs(agrl_pool *p, unsigned id, uint32_t generation) {
  uint32_t done = 0;
  for (unsigned i = 0; i < p->n; i++) done += run_share(p, (id + i) % p->n, generation);
  if (!done || atomic_fetch_sub(&p->pending, done) != done || !atomic_load(&p->owner_sleeps)) return;
  pthread_mutex_lock(&p->lock);
  pthread_cond_signal(&p->done);
  pthread_mutex_unlock(&p->lock);
}

static void *worker_main(void *arg) {
  worker *w = arg;
  agrl_pool *p = w->pool;
  for (uint32_t seen = 0;;) {
    wait_for_work(p, seen);
    if (atomic_load(&p->stop)) return NULL;
    seen = atomic_load(&p->generation);
    run_jobs(p, w->id, seen);
  }
}

agrl_pool *agrl_pool_new(unsigned threads) {
  agrl_pool *p = aligned_alloc(64, sizeof *p);
  if (!p) AGRL_BUG("out of memory allocating a pool");
  *p = (agrl_pool){.n = threads ? threads : 1};
  pthread_mutex_init(&p->lock, NULL);
  pthread_cond_init(&p->wake, NULL);
  pthread_cond_init(&p->done, NULL);
  p->workers = aligned_alloc(64, p->n * sizeof *p->workers);
  if (!p->workers) AGRL_BUG("out of memory allocating a pool");
  // Signals belong to the thread that runs the loop.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  for (unsigned i = 0; i < p->n; i++) p->workers[i] = (worker){.pool = p, .id = i};
  for (unsigned i = 1; i < p->n; i++) {
    int rc = pthread_create(&p->workers[i].thread, NULL, worker_main, &p->workers[i]);
    if (rc) AGRL_BUG("cannot start thread %u of a pool: error %d", i, rc);
    pthread_setname_np(p->workers[i].thread, "agrl-pool");
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return p;
}

void agrl_pool_free(agrl_pool *p) {
  if (!p) return;
  atomic_store(&p->stop, true);
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
    for (size_t i = 0; i < n_jobs; i++) fn(arg, i);
    return;
  }
  AGRL_ASSERT(atomic_load(&p->pending) == 0 && n_jobs <= UINT32_MAX);
  p->fn = fn;
  p->arg = arg;
  p->n_jobs = n_jobs;
  atomic_store_explicit(&p->pending, (uint32_t)n_jobs, memory_order_relaxed);
  const uint32_t next = atomic_load_explicit(&p->generation, memory_order_relaxed) + 1;
  for (unsigned i = 0; i < p->n; i++)
    atomic_store_explicit(&p->workers[i].share, (uint64_t)next << 32 | share_size(n_jobs, p->n, i), memory_order_release);
  publish(p);
  run_jobs(p, 0, next);
  wait_for_jobs(p);
}
