// SPDX-License-Identifier: Apache-2.0
// Pool: every job runs once on its own thread, runs may follow each other at once or after the workers fell asleep.
// Jobs write plain memory that the owner reads after the run: ThreadSanitizer checks the hand-over.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "common/base/pool.h"

enum { JOBS = 37 };

typedef struct ledger {
  unsigned runs[JOBS];
  pthread_t thread[JOBS];
} ledger;

static void note(void *arg, size_t i) {
  ledger *l = arg;
  l->runs[i]++;
  l->thread[i] = pthread_self();
}

static void check(unsigned threads, size_t jobs) {
  agrl_pool *p = agrl_pool_new(threads);
  ledger l = {0};
  enum { ROUNDS = 300 };
  for (int round = 0; round < ROUNDS; round++) {
    agrl_pool_run(p, note, &l, jobs);
    if (round % 100 == 99) usleep(2000);  // long enough for the workers to fall asleep
  }
  unsigned n = agrl_pool_threads(p);
  for (size_t i = 0; i < JOBS; i++) assert_int_equal(l.runs[i], i < jobs ? ROUNDS : 0);
  for (size_t i = 0; i + n < jobs; i++) assert_true(pthread_equal(l.thread[i], l.thread[i + n]));
  if (jobs > 1 && n > 1) assert_false(pthread_equal(l.thread[0], l.thread[1]));
  if (jobs) assert_true(pthread_equal(l.thread[0], pthread_self()));
  agrl_pool_free(p);
}

static void every_job_runs_once_on_its_thread(void **state) {
  static const size_t jobs[] = {0, 1, 2, 3, JOBS};
  for (unsigned threads = 0; threads < 5; threads++) {
    for (size_t i = 0; i < sizeof jobs / sizeof *jobs; i++) check(threads, jobs[i]);
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
      cmocka_unit_test(every_job_runs_once_on_its_thread),
      cmocka_unit_test(no_pool_runs_inline),
      cmocka_unit_test(owner_waits_for_slow_workers),
      cmocka_unit_test(pools_stop_at_once_when_unused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
