// SPDX-License-Identifier: Apache-2.0
// Every branch of Adaptive Guided Replay's decisions, on results made by hand.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "common/base/rng.h"
#include "replay/assemble.h"
#include "replay/limiter.h"

#define ALL 0xfu  // four useful levels

static const replay_rules usual = {.guided = true, .tau = 0.25, .warmup = 50, .replace = 2, .accuracy_low = 0.01, .accuracy_high = 0.9};

static replay_result good(double r) { return (replay_result){.have = true, .accurate = true, .gates = true, .reward = r, .min_version = 7}; }
static replay_result bad(double r) { return (replay_result){.have = true, .reward = r, .min_version = 7}; }
static replay_result lost(void) { return (replay_result){.have = true, .missing = true, .min_version = 7}; }

// G 8, K 4; the plain members: n_good successes of reward 1, then failures 0.0, 0.01, ...
static replay_group_rec group_of(replay_result *r, uint32_t n_good) {
  memset(r, 0, 64 * sizeof *r);
  for (uint32_t i = 0; i < 8; i++) r[i] = i < n_good ? good(1) : bad(0.01 * (i - n_good));
  return (replay_group_rec){.id = 1, .state = REPLAY_OPEN, .n_plain = 8, .n_guided = 4, .accuracy = NAN};
}

static replay_decision decide(const replay_group_rec *g, const replay_result *r, uint32_t levels, uint32_t step, bool last_call) {
  replay_decision d;
  replay_assemble(&usual, g, r, (replay_task_facts){.levels = levels}, step, last_call, &d);
  return d;
}

static void climb_to(replay_group_rec *g, uint32_t level) {
  g->state = REPLAY_CLIMB;
  g->level = (uint8_t)level;
}

static void waits_for_all_plain_members(void **state) {
  (void)state;
  replay_result r[64];
  replay_group_rec g = group_of(r, 4);
  r[5].have = false;
  replay_decision d = decide(&g, r, ALL, 100, false);
  assert_int_equal(d.action, REPLAY_DO_WAIT);
  assert_true(isnan(d.accuracy));
  assert_int_equal(d.min_version, 7);
  d = decide(&g, r, ALL, 100, true);  // not even on last call: rollouts that are not in cannot be judged
  assert_int_equal(d.action, REPLAY_DO_WAIT);
}

static void accurate_group_is_ready_as_it_is(void **state) {
  (void)state;
  replay_result r[64];
  replay_group_rec g = group_of(r, 3);
  r[4].min_version = 5;
  replay_decision d = decide(&g, r, ALL, 100, false);
  assert_int_equal(d.action, REPLAY_DO_READY);
  assert_float_equal(d.accuracy, 3.0 / 8, 1e-12);
  assert_int_equal(d.n_chosen, 8);
  assert_int_equal(d.n_guided, 0);
  assert_int_equal(d.level, 0);
  assert_int_equal(d.min_version, 5);
  for (uint16_t i = 0; i < 8; i++) assert_int_equal(d.chosen[i], i);
}

static void tau_is_inclusive_and_starts_the_ladder(void **state) {
  (void)state;
  replay_result r[64];
  replay_group_rec g = group_of(r, 2);  // 0.25
  replay_decision d = decide(&g, r, ALL, 50, false);
  assert_int_equal(d.action, REPLAY_DO_CLIMB);
  assert_int_equal(d.level, 1);
  assert_int_equal(decide(&g, r, 0xcu, 50, false).level, 3);  // levels without text of their own are skipped
}

static void no_ladder_in_warmup_without_levels_or_switched_off(void **state) {
  (void)state;
  replay_result r[64];
  replay_group_rec g = group_of(r, 1);
  assert_int_equal(decide(&g, r, ALL, 49, false).action, REPLAY_DO_READY);
  assert_int_equal(decide(&g, r, 0, 100, false).action, REPLAY_DO_READY);
  assert_int_equal(decide(&g, r, ALL, 100, true).action, REPLAY_DO_READY);  // last call: no time to climb
  replay_rules off = usual;
  off.guided = false;
  replay_decision d;
  replay_assemble(&off, &g, r, (replay_task_facts){.levels = ALL}, 100, false, &d);
  assert_int_equal(d.action, REPLAY_DO_READY);
}

static void missing_plain_reward_retires_at_once(void **state) {
  (void)state;
  replay_result r[64];
  replay_group_rec g = group_of(r, 4);
  r[7].have = false;
  r[2] = lost();
  replay_decision d = decide(&g, r, ALL, 100, false);
  assert_int_equal(d.action, REPLAY_DO_RETIRE);
  assert_int_equal(d.cause, REPLAY_CAUSE_MISSING);
  assert_true(isnan(d.accuracy));  // no accuracy is made up for the prompt's history
}

static void groups_without_spread(void **state) {
  (void)state;
  replay_result r[64];
  replay_group_rec g = group_of(r, 8);
  assert_int_equal(decide(&g, r, ALL, 100, false).cause, REPLAY_CAUSE_WINDOW);
  replay_rules keep = usual;
  keep.keep_zero_spread = true;
  replay_decision d;
  replay_assemble(&keep, &g, r, (replay_task_facts){.levels = ALL}, 100, false, &d);
  assert_int_equal(d.action, REPLAY_DO_READY);  // all right, outside the window: kept on request, too
  r[3].reward = 0.8;
  assert_int_equal(decide(&g, r, ALL, 100, false).action, REPLAY_DO_READY);  // outside the window, but shaped reward has spread
  for (int i = 0; i < 8; i++) r[i] = i < 4 ? good(0.5) : bad(0.5);
  replay_assemble(&keep, &g, r, (replay_task_facts){.levels = ALL}, 100, false, &d);
  assert_int_equal(d.action, REPLAY_DO_READY);  // inside the window, kept on request
  assert_int_equal(decide(&g, r, ALL, 100, false).cause, REPLAY_CAUSE_ZERO_SPREAD);
}

static void success_replaces_the_lowest_failures(void **state) {
  (void)state;
  replay_result r[64];
  replay_group_rec g = group_of(r, 1);
  climb_to(&g, 2);
  r[4].reward = -0.5;  // the lowest, then member 1 (0.0)
  for (int i = 0; i < 4; i++) r[12 + i] = bad(0.3);
  r[13] = good(0.9);
  r[14] = good(0.95);
  r[15] = good(0.9);
  r[14].min_version = 3;
  replay_decision d = decide(&g, r, ALL, 100, false);
  assert_int_equal(d.action, REPLAY_DO_READY);
  assert_int_equal(d.level, 2);
  assert_int_equal(d.n_guided, 2);
  const uint16_t want[8] = {0, 2, 3, 5, 6, 7, 14, 13};  // by falling reward, ties by number
  assert_int_equal(d.n_chosen, 8);
  assert_memory_equal(d.chosen, want, sizeof want);
  assert_int_equal(d.min_version, 3);
  assert_float_equal(d.accuracy, 1.0 / 8, 1e-12);  // of the plain rollouts
}

static void a_success_is_accurate_and_through_both_gates(void **state) {
  (void)state;
  replay_result r[64];
  replay_group_rec g = group_of(r, 0);
  climb_to(&g, 1);
  for (int i = 0; i < 4; i++) r[8 + i] = good(1);
  r[8].gates = false;
  r[9].accurate = false;
  r[10] = lost();  // no success, and no reason to retire
  r[11] = bad(0);
  replay_decision d = decide(&g, r, ALL, 100, false);
  assert_int_equal(d.action, REPLAY_DO_CLIMB);
  assert_int_equal(d.level, 2);
  // An accurate plain member that fails a gate counts for the accuracy and is still a failure to be replaced.
  r[0] = good(0.0);
  r[0].gates = false;
  r[0].reward = -1;
  r[11] = good(1);
  d = decide(&g, r, ALL, 100, false);
  assert_int_equal(d.action, REPLAY_DO_READY);
  assert_int_equal(d.n_guided, 1);
  assert_int_equal(d.chosen[0], 1);
  assert_int_equal(d.chosen[7], 11);
}

static void a_level_waits_for_all_its_rollouts(void **state) {
  (void)state;
  replay_result r[64];
  replay_group_rec g = group_of(r, 0);
  climb_to(&g, 1);
  r[8] = good(1);
  r[9] = r[10] = bad(0);
  assert_int_equal(decide(&g, r, ALL, 100, false).action, REPLAY_DO_WAIT);
  replay_decision d = decide(&g, r, ALL, 100, true);  // last call takes the success that is in
  assert_int_equal(d.action, REPLAY_DO_READY);
  assert_int_equal(d.n_guided, 1);
}

static void never_the_whole_group(void **state) {
  (void)state;
  replay_result r[64];
  replay_group_rec g = group_of(r, 0);
  climb_to(&g, 4);
  g.n_guided = 12;
  for (int i = 0; i < 12; i++) r[8 + 3 * 12 + i] = good(1);
  replay_rules all = usual;
  all.replace = 100;
  replay_decision d;
  replay_assemble(&all, &g, r, (replay_task_facts){.levels = ALL}, 100, false, &d);
  assert_int_equal(d.action, REPLAY_DO_READY);
  assert_int_equal(d.n_guided, 7);
  assert_int_equal(d.n_chosen, 8);
  assert_int_equal(d.chosen[0], 7);  // the best failure stays
}

static void unsolved_groups(void **state) {
  (void)state;
  replay_result r[64];
  replay_group_rec g = group_of(r, 0);
  climb_to(&g, 4);
  for (int i = 0; i < 4; i++) r[20 + i] = bad(0);
  replay_decision d = decide(&g, r, ALL, 100, false);
  assert_int_equal(d.action, REPLAY_DO_READY);  // the shaped reward has spread
  assert_int_equal(d.n_guided, 0);
  assert_int_equal(d.level, 0);
  for (int i = 0; i < 8; i++) r[i].reward = 0;
  assert_int_equal(decide(&g, r, ALL, 100, false).cause, REPLAY_CAUSE_UNSOLVED);
  replay_rules keep = usual;
  keep.keep_zero_spread = true;
  replay_assemble(&keep, &g, r, (replay_task_facts){.levels = ALL}, 100, false, &d);
  assert_int_equal(d.action, REPLAY_DO_READY);
  g.level = 2;
  for (int i = 0; i < 4; i++) r[12 + i] = bad(0);
  assert_int_equal(decide(&g, r, ALL, 100, false).level, 3);
  d = decide(&g, r, ALL, 100, true);
  assert_int_equal(d.action, REPLAY_DO_RETIRE);
  assert_int_equal(d.cause, REPLAY_CAUSE_STALE);  // there was no time for level 3
}

static void member_numbers(void **state) {
  (void)state;
  replay_group_rec g = {.n_plain = 8, .n_guided = 4};
  assert_int_equal(replay_member_level(&g, 7), 0);
  assert_int_equal(replay_member_level(&g, 8), 1);
  assert_int_equal(replay_member_level(&g, 11), 1);
  assert_int_equal(replay_member_level(&g, 12), 2);
  for (uint32_t l = 1; l <= 8; l++) assert_int_equal(replay_member_level(&g, replay_level_first(&g, l)), l);
}

// Whatever is in: chosen members are distinct, have a reward, number G, and at most k are guided.
static void random_groups_keep_the_rules(void **state) {
  (void)state;
  agrl_rng rng;
  agrl_rng_init(&rng, 1, 0);
  for (int round = 0; round < 20000; round++) {
    replay_result r[64] = {0};
    replay_group_rec g = {.id = 1, .state = REPLAY_OPEN, .n_plain = 8, .n_guided = (uint16_t)(1 + agrl_rng_below(&rng, 6)), .accuracy = NAN};
    if (agrl_rng_below(&rng, 2)) climb_to(&g, 1 + agrl_rng_below(&rng, 4));
    for (int i = 0; i < 64; i++) {
      r[i] = (replay_result){.have = agrl_rng_below(&rng, 40) > 0,
                             .missing = agrl_rng_below(&rng, 60) == 0,
                             .accurate = agrl_rng_below(&rng, 4) == 0,
                             .gates = agrl_rng_below(&rng, 2),
                             .reward = agrl_rng_below(&rng, 4) * 0.25};
    }
    replay_decision d;
    replay_assemble(&usual, &g, r, (replay_task_facts){.levels = ALL}, 100, agrl_rng_below(&rng, 2), &d);
    if (d.action == REPLAY_DO_CLIMB) assert_true(d.level > (g.state == REPLAY_CLIMB ? g.level : 0u) && d.level <= 4);
    if (d.action != REPLAY_DO_READY) continue;
    assert_int_equal(d.n_chosen, 8);
    bool seen[64] = {false};
    uint32_t guided = 0;
    for (int i = 0; i < 8; i++) {
      uint16_t m = d.chosen[i];
      assert_false(seen[m]);
      seen[m] = true;
      assert_true(r[m].have && !r[m].missing);
      if (m >= 8) {
        guided++;
        assert_true(r[m].accurate && r[m].gates);
        assert_int_equal(replay_member_level(&g, m), d.level);
      }
    }
    assert_int_equal(guided, d.n_guided);
    assert_true(guided <= usual.replace);
  }
}

static void limiter_paces_and_yields_to_liveness(void **state) {
  (void)state;
  replay_limits l = {.per_step = 8, .bound = 2, .samples_per_insert = 1, .min_groups = 16};
  replay_flow f = {.in_progress = 10, .ready = 8, .leased = 4, .ready_total = 12, .served_total = 4};
  assert_int_equal(replay_limit_room(&l, &f, 0), 2);   // 3 * 8 - 22
  assert_int_equal(replay_limit_room(&l, &f, 1), 0);   // an actor one version behind has one version less
  assert_int_equal(replay_limit_room(&l, &f, 3), 0);
  assert_int_equal(replay_limit_serve(&l, &f, 8), 8);
  assert_int_equal(replay_limit_serve(&l, &f, 9), 0);  // not enough ready
  f = (replay_flow){.in_progress = 4, .ready = 8, .ready_total = 8};
  assert_int_equal(replay_limit_serve(&l, &f, 8), 0);  // the first batch waits for min_groups
  f.ready = f.ready_total = 16;
  assert_int_equal(replay_limit_serve(&l, &f, 8), 8);
  l.samples_per_insert = 0.25;
  assert_int_equal(replay_limit_serve(&l, &f, 8), 0);
  f = (replay_flow){.ready = 24, .ready_total = 24};
  assert_int_equal(replay_limit_serve(&l, &f, 8), 8);  // nothing under way and no room: waiting would not help
  f.in_progress = 1;
  assert_int_equal(replay_limit_serve(&l, &f, 8), 0);
}

static replay_decision pair_by(replay_rules rules, const replay_group_rec *g, const replay_result *r, bool reference) {
  rules.pairs = true;
  replay_decision d;
  replay_assemble(&rules, g, r, (replay_task_facts){.levels = ALL, .reference = reference}, 100, false, &d);
  return d;
}

static replay_decision pair(const replay_group_rec *g, const replay_result *r, bool reference) { return pair_by(usual, g, r, reference); }

static void dpo_pairs_of_own_and_of_reference_traces(void **state) {
  (void)state;
  replay_result r[64];
  replay_group_rec g = group_of(r, 0);  // none right
  r[2] = good(0.1), r[5] = good(1);
  r[0].min_version = 3, r[2].min_version = 5, r[7].min_version = 1;
  replay_decision d = pair(&g, r, true);
  assert_int_equal(d.action, REPLAY_DO_READY);
  assert_int_equal(d.n_chosen, 2);
  assert_int_equal(d.chosen[0], 2);  // the first right one, whatever its reward, then the first wrong one
  assert_int_equal(d.chosen[1], 0);
  assert_int_equal(d.min_version, 3);  // of the pair: the others are not trained on
  assert_int_equal(d.level, 0);
  assert_float_equal(d.accuracy, 0.25, 1e-12);
  r[0] = good(1);
  r[1].accurate = true;  // right tier, gates not passed: wrong
  d = pair(&g, r, false);
  assert_int_equal(d.chosen[0], 0);
  assert_int_equal(d.chosen[1], 1);
  g = group_of(r, 0);
  d = pair(&g, r, true);  // none right: a wrong one alone, for the reference trace
  assert_int_equal(d.action, REPLAY_DO_READY);
  assert_int_equal(d.n_chosen, 1);
  assert_int_equal(d.chosen[0], 0);
  assert_int_equal(pair(&g, r, false).cause, REPLAY_CAUSE_NO_PAIR);
  g = group_of(r, 8);
  assert_int_equal(pair(&g, r, true).cause, REPLAY_CAUSE_NO_PAIR);  // none wrong
  replay_rules keep = usual;
  keep.keep_zero_spread = true;
  d = pair_by(keep, &g, r, true);  // kept whole, as no pair
  assert_int_equal(d.action, REPLAY_DO_READY);
  assert_int_equal(d.n_chosen, 8);
  assert_true(d.min_version < UINT64_MAX);
  g = group_of(r, 4);
  r[6].have = false;
  assert_int_equal(pair(&g, r, true).action, REPLAY_DO_WAIT);  // pass@N asks for all N
  r[6] = lost();
  assert_int_equal(pair(&g, r, true).cause, REPLAY_CAUSE_MISSING);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(dpo_pairs_of_own_and_of_reference_traces),
      cmocka_unit_test(waits_for_all_plain_members),
      cmocka_unit_test(accurate_group_is_ready_as_it_is),
      cmocka_unit_test(tau_is_inclusive_and_starts_the_ladder),
      cmocka_unit_test(no_ladder_in_warmup_without_levels_or_switched_off),
      cmocka_unit_test(missing_plain_reward_retires_at_once),
      cmocka_unit_test(groups_without_spread),
      cmocka_unit_test(success_replaces_the_lowest_failures),
      cmocka_unit_test(a_success_is_accurate_and_through_both_gates),
      cmocka_unit_test(a_level_waits_for_all_its_rollouts),
      cmocka_unit_test(never_the_whole_group),
      cmocka_unit_test(unsolved_groups),
      cmocka_unit_test(member_numbers),
      cmocka_unit_test(random_groups_keep_the_rules),
      cmocka_unit_test(limiter_paces_and_yields_to_liveness),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
