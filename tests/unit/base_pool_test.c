// SPDX-License-Identifier: Apache-2.0
// Pool: every job runs once, whoever is held up, runs may follow each other at once or after the workers fell asleep.
// Jobs write plain memory that the owner reads after the run: ThreadSanitizer checks the hand-over.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>

#include "common/base/pool.h"

enum { JOBS = 37 };

typedef struct ledger {
  unsigned runs[JOBS];
} ledger;

static void note(void *arg, size_t i) {
  ledger *l = arg;
  l->runs[i]++;
}

static void check(unsigned threads, size_t jobs) {
  agrl_pool *p = agrl_pool_new(threads);
  ledger l = {0};
  enum { ROUNDS = 300 };
  for (int round = 0; round < ROUNDS; round++) {
    agrl_pool_run(p, note, &l, jobs);
    if (round % 100 == 99) usleep(2000);  // long enough for the workers to fall asleep
  }
  for (size_t i = 0; i < JOBS; i++) assert_int_equal(l.runs[i], i < jobs ? ROUNDS : 0);
  agrl_pool_free(p);
}

static void every_job_runs_once(void **state) {
  static const size_t jobs[] = {0, 1, 2, 3, JOBS};
  for (unsigned threads = 0; threads < 5; threads++) {
    for (size_t i = 0; i < sizeof jobs / sizeof *jobs; i++) check(threads, jobs[i]);
  }
}

typedef struct hold {
  atomic_uint done;
  atomic_bool in_time;
  unsigned n;
} hold;

// Job 1, the first of the worker's share, ends when all the others are done.
static void wait_for_the_others(void *arg, size_t i) {
  hold *h = arg;
  if (i != 1) {
    atomic_fetch_add(&h->done, 1);
    return;
  }
  for (int ms = 0; atomic_load(&h->done) < JOBS - 1 && ms < 10000; ms++) usleep(1000);
  h->in_time = atomic_load(&h->done) == JOBS - 1;
}

static void a_held_up_thread_holds_up_its_job_alone(void **state) {
  agrl_pool *p = agrl_pool_new(2);
  for (int i = 0; i < 20; i++) {
    hold h = {0};
    agrl_pool_run(p, wait_for_the_others, &h, JOBS);
    assert_true(h.in_time);
  }
  agrl_pool_free(p);
}

// Every job waits for all of them to have begun: that takes as many threads.
static void wait_for_all(void *arg, size_t i) {
  hold *h = arg;
  atomic_fetch_add(&h->done, 1);
  for (int ms = 0; atomic_load(&h->done) % h->n && ms < 10000; ms++) usleep(1000);
  if (atomic_load(&h->done) % h->n) h->in_time = false;
}

static void jobs_run_side_by_side(void **state) {
  for (unsigned n = 2; n <= 4; n++) {
    agrl_pool *p = agrl_pool_new(n);
    hold h = {.in_time = true, .n = n};
    for (int i = 0; i < 20; i++) agrl_pool_run(p, wait_for_all, &h, n);
    assert_true(h.in_time);
    agrl_pool_free(p);
  }
}

static void no_pool_runs_inline(void **state) {
  ledger l = {0};
  agrl_pool_run(NULL, note, &l, JOBS);
  for (size_t i = 0; i < JOBS; i++) assert_int_equal(l.runs[i], 1);
  assert_int_equal(agrl_pool_threads(NULL), 1);
  agrl_pool_free(NULL);
}

static void slow(void *arg, size_t i) {
  if (i == 1) usleep(3000);  // the owner sleeps on it
  ((unsigned *)arg)[i]++;
}

static void owner_waits_for_slow_workers(void **state) {
  agrl_pool *p = agrl_pool_new(3);
  unsigned done[3] = {0};
  for (unsigned i = 1; i <= 20; i++) {
    agrl_pool_run(p, slow, done, 3);
    assert_true(done[0] == i && done[1] == i && done[2] == i);
  }
  agrl_pool_free(p);
}

static void pools_stop_at_once_when_unused(void **state) {
  for (int i = 0; i < 50; i++) agrl_pool_free(agrl_pool_new(4));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_job_runs_once),
      cmocka_unit_test(a_held_up_thread_holds_up_its_job_alone),
      cmocka_unit_test(jobs_run_side_by_side),
      cmocka_unit_test(no_pool_runs_inline),
      cmocka_unit_test(owner_waits_for_slow_workers),
      cmocka_unit_test(pools_stop_at_once_when_unused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
