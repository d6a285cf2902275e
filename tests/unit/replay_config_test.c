// SPDX-License-Identifier: Apache-2.0
// Keys of the configuration and what replay does by them, with values that are nobody's default.
#include "tests/lib/replay_kit.h"

static void configuration_decides(void **state) {
  (void)state;
  static const char *const sets[][2] = {{"grpo.group_size", "6"}, {"replay.tau", "0.4"}, {"replay.guide_warmup", "7"}, {"replay.guide_replace", "3"},
                                        {"replay.guide_rollouts", "5"}, {"replay.accuracy_low", "0.05"}, {"replay.accuracy_high", "0.8"},
                                        {"grpo.zero_spread", "keep"}, {"replay.guided", "true"}};
  for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) KIT_OK(agrl_config_set(&kit.conf, sets[i][0], sets[i][1], err));
  kit_restart(&kit);
  replay_rules r = replay_core_rules(&kit.core);
  assert_true(r.guided && r.tau == 0.4 && r.warmup == 7 && r.replace == 3 && r.accuracy_low == 0.05 && r.accuracy_high == 0.8 && r.keep_zero_spread && !r.pairs);
  agrl_msg_task_grant g = kit_ask(&kit, "a", "x", 6, 0);
  assert_int_equal(g.tasks[0].n_members, 6);
  assert_int_equal(kit.core.groups[0]->rec.n_guided, 5);
  KIT_OK(agrl_config_set(&kit.conf, "replay.guide_rollouts", "0", err));  // half of the group
  KIT_OK(agrl_config_set(&kit.conf, "replay.guide_replace", "0", err));   // a quarter, but one
  KIT_OK(agrl_config_set(&kit.conf, "run.method", "dpo", err));
  assert_int_equal(replay_core_guided_per_level(&kit.conf), 3);
  r = replay_core_rules(&kit.core);
  assert_true(r.replace == 1 && r.pairs);
}

// Which of two prompts that the walk reaches last is sampled first: 1, failed long ago, or 2, nearly always solved, just now. 0: neither, all
// are the walk's.
static int first_revisited(const char *selector, const char *half_life) {
  kit_release(&kit);
  kit_init(&kit, 400);
  kit.conf.replay.staleness_bound = 100;
  KIT_OK(agrl_config_set(&kit.conf, "replay.selector", selector, err));
  KIT_OK(agrl_config_set(&kit.conf, "replay.freshness_half_life", half_life, err));
  kit_open(&kit);
  kit.core.meta.version = 64;
  kit_ask(&kit, "a", "x", 4, 64);
  const replay_prompts *p = &kit.core.prompts;
  const uint32_t failed = p->order[399], solved = p->order[398];
  replay_prompts_observe(&p->v[failed], 0.25, 0);
  replay_prompts_observe(&p->v[solved], 0.999, 63);
  kit_ask(&kit, "a", "x", 400, 64);
  assert_true(kit.core.n_groups >= 50);
  for (size_t i = 0; i < kit.core.n_groups; i++) {
    const char *id = kit.core.groups[i]->rec.prompt_id;
    if (strcmp(id, p->v[failed].row->id) == 0) return 1;
    if (strcmp(id, p->v[solved].row->id) == 0) return 2;
  }
  return 0;
}

static void selector_and_half_life_choose_prompts(void **state) {
  (void)state;
  assert_int_equal(first_revisited("uniform", "4"), 0);
  assert_int_equal(first_revisited("priority", "4"), 1);
  assert_int_equal(first_revisited("fresh", "4"), 2);
  assert_int_equal(first_revisited("fresh", "1000"), 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {WITH_KIT(configuration_decides), WITH_KIT(selector_and_half_life_choose_prompts)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
