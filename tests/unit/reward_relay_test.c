// SPDX-License-Identifier: Apache-2.0
// The relay map against a list that always tells the truth: put, take, overflow of the oldest, expiry.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "common/base/rng.h"
#include "reward/relay.h"

enum { CAP = 37 };

typedef struct truth {
  agrl_trace_id id;
  uint8_t peer;
  uint64_t at;
} truth;

static void behaves_like_a_list(void **state) {
  reward_relay *r = reward_relay_new(CAP);
  truth list[CAP + 1];  // oldest first
  size_t n = 0;
  agrl_rng rng;
  agrl_rng_init(&rng, 7, 1);
  for (uint64_t step = 1; step < 20000; step++) {
    agrl_trace_id id = {.run = 1, .group = agrl_rng_below(&rng, 30), .member = agrl_rng_below(&rng, 3),
        .attempt = agrl_rng_below(&rng, 2)};
    size_t at = 0;
    while (at < n && memcmp(&list[at].id, &id, sizeof id)) at++;
    uint32_t what = agrl_rng_below(&rng, 100);
    agrl_peer peer = {.len = 1, .id = {(uint8_t)step}};
    if (what < 60) {
      bool dropped = false;
      if (at < n) memmove(&list[at], &list[at + 1], (--n - at) * sizeof *list);
      if (n == CAP) memmove(list, list + 1, --n * sizeof *list), dropped = true;
      list[n++] = (truth){.id = id, .peer = (uint8_t)step, .at = step};
      assert_int_equal(reward_relay_put(r, &id, &peer, step), dropped);
    } else if (what < 98) {
      bool found = reward_relay_take(r, &id, &peer);
      assert_int_equal(found, at < n);
      if (found) assert_int_equal(peer.id[0], list[at].peer);
      if (found) memmove(&list[at], &list[at + 1], (--n - at) * sizeof *list);
    } else {
      size_t old = 0;
      while (old < n && list[old].at + 40 < step) old++;
      assert_int_equal(reward_relay_expire(r, step > 40 ? step - 40 : 0), old);
      memmove(list, list + old, (n - old) * sizeof *list);
      n -= old;
    }
    assert_int_equal(reward_relay_len(r), n);
  }
  reward_relay_free(r);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(behaves_like_a_list)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
