// SPDX-License-Identifier: Apache-2.0
// The list of unacknowledged traces: order, late ones, acknowledgements in any order.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "actor/unacked.h"

static actor_trace *trace(uint64_t group, uint32_t member) {
  actor_trace *t = actor_trace_new();
  t->msg.id = (agrl_trace_id){.run = 1, .group = group, .member = member};
  return t;
}

static void acks_remove_once_in_any_order(void **state) {
  actor_unacked u;
  actor_unacked_init(&u);
  for (uint32_t m = 0; m < 5; m++) actor_unacked_give(&u, trace(7, m));
  const uint32_t order[] = {4, 0, 2};
  for (size_t i = 0; i < 3; i++) {
    agrl_trace_id id = {.run = 1, .group = 7, .member = order[i], .attempt = 3};  // the attempt is not part of the identity
    assert_true(actor_unacked_ack(&u, &id));
    assert_false(actor_unacked_ack(&u, &id));
  }
  agrl_trace_id other_run = {.run = 2, .group = 7, .member = 1};
  assert_false(actor_unacked_ack(&u, &other_run));
  assert_int_equal(u.n, 2);
  actor_unacked_give(&u, trace(8, 0));  // the tail is right after its last element went
  assert_int_equal(u.head->next->next->msg.id.group, 8);
  actor_unacked_release(&u);
  assert_int_equal(u.n, 0);
}

static void late_ones_are_due(void **state) {
  actor_unacked u;
  actor_unacked_init(&u);
  actor_unacked_give(&u, trace(1, 0));
  actor_unacked_give(&u, trace(1, 1));
  assert_int_equal(actor_unacked_due(&u, 10, 100)->msg.id.member, 0);
  u.head->sent_ns = 1000;
  assert_int_equal(actor_unacked_due(&u, 1050, 100)->msg.id.member, 1);
  u.head->next->sent_ns = 1040;
  assert_null(actor_unacked_due(&u, 1050, 100));
  assert_int_equal(actor_unacked_due(&u, 1100, 100)->msg.id.member, 0);
  actor_unacked_release(&u);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(acks_remove_once_in_any_order), cmocka_unit_test(late_ones_are_due)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
