// SPDX-License-Identifier: Apache-2.0
// Ring: bounds, order, and two threads passing plain memory through it (ThreadSanitizer watches this one).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "common/base/mem.h"
#include "common/base/ring.h"

static void ring_keeps_order_and_bound(void **state) {
  agrl_ring *r = agrl_ring_new(3);  // becomes 4
  int items[9];
  assert_null(agrl_ring_take(r));
  for (int round = 0; round < 50; round++) {
    for (int i = 0; i < 4; i++) assert_true(agrl_ring_put(r, &items[i]));
    assert_false(agrl_ring_put(r, &items[4]));
    assert_int_equal(agrl_ring_len(r), 4);
    assert_ptr_equal(agrl_ring_take(r), &items[0]);
    assert_true(agrl_ring_put(r, &items[4]));
    for (int i = 1; i < 5; i++) assert_ptr_equal(agrl_ring_take(r), &items[i]);
    assert_null(agrl_ring_take(r));
    assert_int_equal(agrl_ring_len(r), 0);
  }
  agrl_ring_free(r);
  agrl_ring_free(NULL);
}

enum { MESSAGES = 50000 };

static void *produce(void *arg) {
  for (size_t i = 0; i < MESSAGES; i++) {
    size_t *m = agrl_xmalloc(sizeof *m);
    *m = i;
    while (!agrl_ring_put(arg, m)) sched_yield();
  }
  return NULL;
}

static void ring_passes_messages_between_threads(void **state) {
  agrl_ring *r = agrl_ring_new(64);
  pthread_t t;
  assert_int_equal(pthread_create(&t, NULL, produce, r), 0);
  for (size_t want = 0; want < MESSAGES;) {
    size_t *m = agrl_ring_take(r);
    assert_true(agrl_ring_len(r) <= 64);
    if (!m) {
      sched_yield();
      continue;
    }
    assert_int_equal(*m, want++);
    free(m);
  }
  pthread_join(t, NULL);
  assert_null(agrl_ring_take(r));
  agrl_ring_free(r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ring_keeps_order_and_bound),
      cmocka_unit_test(ring_passes_messages_between_threads),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
