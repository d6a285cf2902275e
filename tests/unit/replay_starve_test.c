// SPDX-License-Identifier: Apache-2.0
// Starvation: due after 30 s and 100 retired groups without a ready one, said again every 30 s, over with the next ready one.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "replay/starve.h"

#define SECOND UINT64_C(1000000000)

static replay_starve watch;
static replay_counts counts;
static const replay_limits limits = {.per_step = 16, .bound = 4, .samples_per_insert = 1};
static replay_flow flow;
static agrl_buf text;

static int fresh(void **state) {
  (void)state;
  watch = (replay_starve){0};
  counts = (replay_counts){.ready = 5};
  counts.removals[REPLAY_CAUSE_ZERO_SPREAD] = 1000;  // of before
  flow = (replay_flow){.in_progress = 8, .ready_total = 500, .served_total = 480};
  return replay_starve_watch(&watch, &counts, &limits, &flow, 100 * SECOND, &text);
}

static int clean(void **state) {
  (void)state;
  agrl_buf_release(&text);
  return 0;
}

static bool at(uint64_t second) {
  agrl_buf_clear(&text);
  return replay_starve_watch(&watch, &counts, &limits, &flow, second * SECOND, &text);
}

static void both_time_and_groups_are_needed(void **state) {
  (void)state;
  counts.removals[REPLAY_CAUSE_ZERO_SPREAD] += 100;
  assert_false(at(129));
  assert_true(at(130));
  assert_true(watch.starved && watch.retired == 100);
  fresh(NULL);
  counts.removals[REPLAY_CAUSE_ZERO_SPREAD] += 99;
  counts.removals[REPLAY_CAUSE_LEASE] += 50;  // handed out once: says nothing of the policy
  assert_false(at(1000));
  assert_false(watch.starved);
}

static void it_is_said_again_until_a_group_is_ready(void **state) {
  (void)state;
  counts.removals[REPLAY_CAUSE_WINDOW] += 500;
  assert_true(at(130));
  assert_false(at(159));
  assert_true(at(160));
  counts.ready++;
  assert_false(at(190));
  assert_false(watch.starved);
  assert_false(at(300));  // what was retired before counts no more
  counts.removals[REPLAY_CAUSE_WINDOW] += 100;
  assert_true(at(301));
}

static void it_names_causes_and_remedy(void **state) {
  (void)state;
  counts.removals[REPLAY_CAUSE_ZERO_SPREAD] += 412;
  counts.removals[REPLAY_CAUSE_MISSING] += 3;
  assert_true(at(140));
  assert_string_equal(text.data, "no group became trainable for 40 s: 3 retired for missing, 412 retired for zero_spread since the last ready one; "
                                 "the policy never succeeds (more SFT steps, an easier rule file) or always does (harder prompts)");
  counts.removals[REPLAY_CAUSE_MISSING] += 600;
  assert_true(at(170));
  assert_non_null(strstr(text.data, "reward service"));
}

// A learner that is away or slow lets ready groups grow old: it does not starve. A rest that makes no batch is named.
static void a_ready_batch_is_no_starvation(void **state) {
  (void)state;
  flow.ready = 16;
  counts.removals[REPLAY_CAUSE_STALE] += 150;
  assert_false(at(140));
  assert_false(watch.starved);
  flow.ready = 15;
  assert_false(at(169));  // counted from when the last batch was seen
  counts.removals[REPLAY_CAUSE_ZERO_SPREAD] += 100;
  assert_true(at(170));
  assert_non_null(strstr(text.data, "no group became trainable for 30 s and the 15 that are ready make no batch of 16: 100 retired for zero_spread"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(both_time_and_groups_are_needed, fresh, clean),
      cmocka_unit_test_setup_teardown(it_is_said_again_until_a_group_is_ready, fresh, clean),
      cmocka_unit_test_setup_teardown(it_names_causes_and_remedy, fresh, clean),
      cmocka_unit_test_setup_teardown(a_ready_batch_is_no_starvation, fresh, clean),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
