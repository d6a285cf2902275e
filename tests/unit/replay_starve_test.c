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
static agrl_buf text;

static int fresh(void **state) {
  (void)state;
  watch = (replay_starve){0};
  counts = (replay_counts){.ready = 5};
  counts.removals[REPLAY_CAUSE_ZERO_SPREAD] = 1000;  // of before
  return replay_starve_watch(&watch, &counts, 100 * SECOND, &text);
}

static int clean(void **state) {
  (void)state;
  agrl_buf_release(&text);
  return 0;
}

static bool at(uint64_t second) {
  agrl_buf_clear(&text);
  return replay_starve_watch(&watch, &counts, second * SECOND, &text);
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
  assert_string_equal(text.data, "no group is trainable for 40 s: 3 retired for missing, 412 retired for zero_spread since the last ready one; "
                                 "the policy never succeeds (more SFT steps, an easier rule file) or always does (harder prompts)");
  counts.removals[REPLAY_CAUSE_MISSING] += 600;
  assert_true(at(170));
  assert_non_null(strstr(text.data, "reward service"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(both_time_and_groups_are_needed, fresh, clean),
      cmocka_unit_test_setup_teardown(it_is_said_again_until_a_group_is_ready, fresh, clean),
      cmocka_unit_test_setup_teardown(it_names_causes_and_remedy, fresh, clean),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
