// SPDX-License-Identifier: Apache-2.0
// The training core in one process with a tiny model and made-up groups: a step makes successes likelier, the same run
// gives the same hash, kill and resume from checkpoint + journal gives the hash of the unfailed run, what cannot be
// redone forks the line, and a step that is not finite changes nothing.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/base/rng.h"
#include "common/ckpt/hf.h"
#include "common/tensor/tensor.h"
#include "learner/resume.h"
#include "tests/lib/step_kit.h"

// A new process: nothing but what is on disk. The reference is given again, as the SFT directory would.
static void restart(learner_core *c, agrl_weights *reference) {
  char *dir;
  uint64_t version;
  agrl_error err = {0};
  *c = (learner_core){.config = &config};
  if (agrl_ckpt_find_latest(root, &dir, &version, &err) != AGRL_OK) fail_msg("%s", err.msg);
  if (learner_checkpoint_load(c, dir, &err) != AGRL_OK) fail_msg("%s", err.msg);
  c->reference = agrl_weights_new(c->layout, agrl_weights_block(reference), 1);  // of its own layout, which goes with the core
  agrl_weights_pack(c->reference, NULL);
  agrl_buf_adds(&c->tokenizer_json, "{}");
  free(dir);
}

static void test_lowers_the_loss(void **state) {
  (void)state;
  learner_core c;
  make_core(&c, NULL);
  config.grpo.clip_low = config.grpo.clip_high = 0.9;  // let several steps on the same groups move
  double first = 0, last = 0;
  for (int i = 0; i < 6; i++) {
    learner_step_stats st;
    c.version = AGRL_VERSION(1, 0);  // the same groups each time
    one_step(&c, NULL, &st);
    if (i == 0) first = st.loss.policy;
    last = st.loss.policy;
    if (i == 0) {
      assert_int_equal(st.groups, GROUPS);
      assert_int_equal(st.sequences, GROUPS * G);
      assert_true(st.guided_groups >= 1 && st.loss.guided_tokens >= N_TOKENS);
      assert_true(st.logprob_diff_max < 0.5);  // sampled "at this version", near uniform
      assert_float_equal(st.staleness_max, 0, 0);
      assert_float_equal(st.reward_mean, 0.5, 1e-12);
    }
    learner_step_stats_release(&st);
  }
  if (!(last < first - 0.05)) fail_msg("policy loss went from %g to %g", first, last);
  learner_core_release(&c);
  set_config();
}

static void test_deterministic(void **state) {
  (void)state;
  agrl_pool *pool = agrl_pool_new(2);
  learner_core a, b;
  make_core(&a, NULL);
  make_core(&b, pool);  // and independent of the thread count
  agrl_sha256 start = learner_optim_hash(&a.optim), x = run_steps(&a, NULL, 4), y = run_steps(&b, NULL, 4);
  assert_memory_equal(&x, &y, sizeof x);
  assert_memory_not_equal(&x, &start, sizeof x);
  learner_core_release(&a);
  learner_core_release(&b);
  agrl_pool_free(pool);
}

static void test_resume_is_exact(void **state) {
  (void)state;
  learner_core c, again;
  make_core(&c, NULL);
  learner_journal *j = journal();
  run_steps(&c, j, 3);
  save(&c);
  agrl_sha256 want = run_steps(&c, j, 3);
  learner_journal_close(j);
  restart(&again, c.reference);
  assert_true(again.version == AGRL_VERSION(1, 3));
  j = journal();
  learner_redo redo;
  assert_int_equal(learner_resume_redo(&again, j, fetch, NULL, &redo, NULL), AGRL_OK);
  agrl_sha256 got = learner_optim_hash(&again.optim);
  assert_true(redo.exact);
  assert_int_equal(redo.redone, 3);
  assert_true(again.version == AGRL_VERSION(1, 6));
  assert_memory_equal(&got, &want, sizeof want);
  want = run_steps(&c, NULL, 2);  // and both go on alike: moments and step counts came along
  got = run_steps(&again, j, 2);
  assert_memory_equal(&got, &want, sizeof want);
  learner_journal_close(j);
  learner_core_release(&c);
  learner_core_release(&again);
}

static void test_mismatch_forks(void **state) {
  (void)state;
  learner_core c, again;
  make_core(&c, NULL);
  learner_journal *j = journal();
  save(&c);
  run_steps(&c, j, 3);
  learner_journal_close(j);
  restart(&again, c.reference);
  config.grpo.lr *= 2;  // not the run that was journaled
  j = journal();
  learner_redo redo;
  assert_int_equal(learner_resume_redo(&again, j, fetch, NULL, &redo, NULL), AGRL_OK);
  assert_false(redo.exact);
  assert_true(redo.mismatch_version == AGRL_VERSION(1, 1));
  assert_true(again.version == AGRL_VERSION(2, 3));
  size_t n;
  const learner_entry *e = learner_journal_entries(j, &n);
  agrl_sha256 h = learner_optim_hash(&again.optim);
  assert_int_equal(n, 3);  // the same groups, once each, in the new line
  assert_true(e[0].step.version == AGRL_VERSION(2, 1) && e[0].step.groups[0] == 10);
  assert_memory_equal(&e[2].hash, &h, sizeof h);
  learner_journal_close(j);
  learner_core_release(&again);
  restart(&again, c.reference);  // the new line is exact
  j = journal();
  assert_int_equal(learner_resume_redo(&again, j, fetch, NULL, &redo, NULL), AGRL_OK);
  assert_true(redo.exact && redo.redone == 3 && again.version == AGRL_VERSION(2, 3));
  learner_journal_close(j);
  learner_core_release(&c);
  learner_core_release(&again);
  set_config();
}

static void test_lost_groups_fork(void **state) {
  (void)state;
  learner_core c, again;
  make_core(&c, NULL);
  learner_journal *j = journal();
  save(&c);
  run_steps(&c, j, 3);
  learner_journal_close(j);
  uint64_t lost = 21;
  for (int round = 0; round < 2; round++) {  // twice: a fork with nothing after it must not be forgotten
    restart(&again, c.reference);
    j = journal();
    learner_redo redo;
    assert_int_equal(learner_resume_redo(&again, j, fetch, &lost, &redo, NULL), AGRL_OK);
    assert_int_equal(redo.lost, round == 0 ? 2 : 0);
    assert_true(again.version == AGRL_VERSION(2, 1));
    size_t n;
    learner_journal_entries(j, &n);
    assert_int_equal(n, 1);
    assert_false(learner_journal_has_group(j, 20));
    learner_journal_close(j);
    learner_core_release(&again);
  }
  learner_core_release(&c);
}

static void test_not_finite_changes_nothing(void **state) {
  (void)state;
  learner_core c;
  make_core(&c, NULL);
  float *bad = agrl_block_alloc(c.layout->n_elements * sizeof *bad);  // the KL term becomes NaN
  for (size_t i = 0; i < c.layout->n_elements; i++) bad[i] = NAN;
  agrl_weights_unref(c.reference);
  c.reference = agrl_weights_from_f32(c.layout, bad, 1);
  agrl_weights_pack(c.reference, NULL);
  agrl_block_free(bad, c.layout->n_elements * sizeof *bad);
  agrl_sha256 before = learner_optim_hash(&c.optim);
  learner_step_stats st;
  one_step(&c, NULL, &st);
  assert_true(st.nonfinite && !st.applied);
  assert_string_equal(learner_step_outcome(&st), "error");
  assert_int_equal(c.bad_steps, 1);
  assert_true(c.version == AGRL_VERSION(1, 1));
  agrl_sha256 after = learner_optim_hash(&c.optim);
  assert_memory_equal(&before, &after, sizeof after);
  assert_int_equal(c.optim.updates, 0);
  learner_step_stats_release(&st);
  learner_core_release(&c);
}

static void test_exclusions(void **state) {
  (void)state;
  learner_core c;
  make_core(&c, NULL);
  agrl_arena arena;
  agrl_arena_init(&arena, 0);
  agrl_group g[2];
  make_group(1, &arena, &g[0]);
  make_group(2, &arena, &g[1]);
  agrl_msg_scored *m = (agrl_msg_scored *)g[0].members, *z = (agrl_msg_scored *)g[1].members;
  m[0].reward = 0;         // guided and failed: dropped
  m[2].missing = true;     // no reward
  ((int32_t *)m[3].trace.tokens)[0] = VOCAB;  // an id the model does not have
  for (int i = 0; i < G; i++) z[i].reward = 0.5;  // no spread
  g[0].plain_accuracy = 0.5;
  g[1].plain_accuracy = 1;
  agrl_sha256 before = learner_optim_hash(&c.optim);
  learner_step_stats st;
  assert_int_equal(learner_step_run(&c, g, 2, &st, NULL), AGRL_OK);
  assert_int_equal(st.zero_groups, 1);
  assert_int_equal(st.solved_all, 1);
  assert_int_equal(st.solved_none, 0);
  assert_int_equal(st.solved_some, 1);
  assert_int_equal(st.dropped_guided, 1);
  assert_int_equal(st.missing_members, 1);
  assert_int_equal(st.dropped_bad, 1);
  assert_int_equal(st.sequences, 1);
  agrl_sha256 after = learner_optim_hash(&c.optim);
  assert_memory_not_equal(&before, &after, sizeof after);
  learner_step_stats_release(&st);
  agrl_arena_release(&arena);
  learner_core_release(&c);
}

// Groups without spread, or without a single token: nothing changes but the version, not even moments or the count of bad steps.
static void test_nothing_to_train_on(void **state) {
  (void)state;
  learner_core c;
  make_core(&c, NULL);
  run_steps(&c, NULL, 1);  // moments that are not zero
  c.bad_steps = 2;
  const size_t bytes = c.optim.trained->n_elements * sizeof(float);
  float *const blocks[] = {c.optim.master, c.optim.m, c.optim.v};
  float *kept[3];
  for (size_t k = 0; k < 3; k++) kept[k] = memcpy(agrl_xcalloc(1, bytes), blocks[k], bytes);
  const agrl_sha256 before = learner_optim_hash(&c.optim);
  for (uint32_t tokens = 0; tokens < 2; tokens++) {
    agrl_arena arena;
    agrl_group g;
    agrl_arena_init(&arena, 0);
    make_group(5, &arena, &g);
    for (size_t i = 0; i < G; i++) {
      agrl_msg_scored *m = (agrl_msg_scored *)&g.members[i];
      if (tokens == 0) m->trace.n_tokens = 0;
      else m->reward = 0.5;
    }
    learner_step_stats st;
    assert_int_equal(learner_step_run(&c, &g, 1, &st, NULL), AGRL_OK);
    assert_true(st.empty && !st.applied && !st.nonfinite && st.trained_groups == 0 && st.sequences == 0 && st.n_rows == 0);
    assert_int_equal(st.zero_groups, tokens);
    assert_int_equal(st.dropped_bad, tokens == 0 ? G : 0);
    assert_int_equal(st.filtered_groups, tokens == 0);
    assert_string_equal(learner_step_outcome(&st), "empty");
    assert_true(isnan(st.loss.total) && isnan(st.loss.policy) && isnan(st.loss.kl_loss));  // no loss is not a loss of 0
    assert_true(isnan(st.grad_norm) && isnan(st.entropy) && isnan(st.guide_gamma) && isnan(st.staleness_mean));
    assert_true(c.version == AGRL_VERSION(1, 2 + tokens) && c.optim.updates == 1 && c.bad_steps == 2);
    const agrl_sha256 after = learner_optim_hash(&c.optim);
    assert_memory_equal(&before, &after, sizeof after);
    for (size_t k = 0; k < 3; k++) assert_memory_equal(blocks[k], kept[k], bytes);
    learner_step_stats_release(&st);
    agrl_arena_release(&arena);
  }
  for (size_t k = 0; k < 3; k++) free(kept[k]);
  learner_core_release(&c);
}

// However rows are packed, gamma is that of the same ratios, and the step does the same up to rounding.
static void test_packing_does_not_matter(void **state) {
  (void)state;
  double gamma[2], loss[2], norm[2];
  for (int i = 0; i < 2; i++) {
    config.sft.batch_tokens = config.model.context = i == 0 ? N_PROMPT + N_TOKENS - 1 : 500;  // one sequence a pass; all in one
    learner_core c;
    make_core(&c, NULL);
    agrl_arena arena;
    agrl_arena_init(&arena, 0);
    agrl_group g[4];
    for (uint64_t k = 0; k < 4; k++) {
      make_group(2 * k + 1, &arena, &g[k]);
      agrl_msg_scored *m = (agrl_msg_scored *)g[k].members;
      m[1].trace.level = 1;  // members 0 and 1 succeeded under guidance
      for (size_t t = 0; t < N_TOKENS; t++) ((float *)m[1].trace.logprobs)[t] = -0.1f - (float)k;
    }
    learner_step_stats st;
    assert_int_equal(learner_step_run(&c, g, 4, &st, NULL), AGRL_OK);
    assert_int_equal(st.loss.guided_tokens, 8 * N_TOKENS);
    gamma[i] = st.guide_gamma;
    loss[i] = st.loss.total;
    norm[i] = st.grad_norm;
    learner_step_stats_release(&st);
    learner_core_release(&c);
    agrl_arena_release(&arena);
  }
  set_config();
  assert_true(gamma[0] > 1e-4);
  assert_float_equal(gamma[0], gamma[1], 1e-5 * gamma[0]);
  assert_float_equal(loss[0], loss[1], 1e-5);
  assert_float_equal(norm[0], norm[1], 1e-4 * norm[0]);
}

static char *line_of(const learner_step_stats *st) {
  agrl_buf b = {0};
  learner_line_step(st, &b);
  return agrl_buf_take(&b);
}

// No plain token: there is no KL and no entropy to tell, the loss is that of the guided rows, and gamma is of them all, whatever
// pass they are in.
static void test_all_rows_guided(void **state) {
  (void)state;
  config.sft.batch_tokens = config.model.context = N_PROMPT + N_TOKENS - 1;  // a row a pass
  config.grpo.lr = 0;
  learner_core c;
  make_core(&c, NULL);
  agrl_arena arena;
  agrl_group g;
  agrl_arena_init(&arena, 0);
  make_group(1, &arena, &g);
  double r[2 * N_TOKENS], bounds[2];  // of members 0 and 1, which succeed
  size_t at[2] = {0};                 // of the smallest and the largest
  for (size_t i = 0; i < G; i++) {
    agrl_msg_trace *t = &((agrl_msg_scored *)g.members)[i].trace;
    t->level = 1;
    const learner_seq q = seq_of(t);
    const float *logp = logps_of(&c, NULL, &q);
    for (size_t k = 0; i < 2 && k < N_TOKENS; k++) {
      ((float *)t->logprobs)[k] += i == 0 ? 1 : -1;
      r[i * N_TOKENS + k] = exp((double)logp[k] - (double)t->logprobs[k]);
    }
  }
  for (size_t k = 0; k < 2 * N_TOKENS; k++) at[0] = r[k] < r[at[0]] ? k : at[0], at[1] = r[k] > r[at[1]] ? k : at[1];
  assert_true(at[0] < N_TOKENS && at[1] >= N_TOKENS);
  bounds[0] = r[at[0]], bounds[1] = r[at[1]];
  for (int largest = 0; largest < 2; largest++) {
    config.grpo.guide_quantile = largest;
    learner_step_stats st;
    assert_int_equal(learner_step_run(&c, &g, 1, &st, NULL), AGRL_OK);
    double want = 0;
    for (size_t k = 0; k < 2 * N_TOKENS; k++) want -= 0.5 / (0.5 + 1e-6) * r[k] / (r[k] + bounds[largest]) / (2 * N_TOKENS);
    assert_float_equal(st.guide_gamma, bounds[largest], 1e-6 * bounds[largest]);
    assert_float_equal(st.loss.total, want, 1e-6);
    assert_true(st.applied && st.sequences == 2 && st.dropped_guided == 2 && st.loss.guided_tokens == 2 * N_TOKENS && st.grad_norm > 0);
    assert_true(st.loss.tokens == 0 && st.loss.reference_tokens == 0 && st.loss.total == st.loss.policy);
    assert_true(isnan(st.loss.kl_loss) && isnan(st.entropy) && isnan(st.logprob_diff_mean) && isnan(st.logprob_diff_max));
    char *line = line_of(&st);
    assert_true(strstr(line, "\"kl\":null") && strstr(line, "\"kl_sampler\":null") && strstr(line, "\"entropy\":null"));
    free(line);
    learner_step_stats_release(&st);
  }
  agrl_arena_release(&arena);
  learner_core_release(&c);
}

// Without a KL term the KL to the reference is measured every tenth version, and changes nothing.
static void test_kl_is_measured_without_a_term(void **state) {
  (void)state;
  const struct { double beta; uint32_t step; bool reference, measured; } cases[] = {
      {0.02, 3, true, true}, {0, 3, true, false}, {0, 8, true, false}, {0, 9, true, true}, {0, 9, false, false}, {0, 19, true, true}};
  agrl_sha256 hash[6];
  for (size_t i = 0; i < 6; i++) {
    config.grpo.kl_beta = cases[i].beta;
    learner_core c;
    make_core(&c, NULL);
    if (!cases[i].reference) agrl_weights_unref(c.reference), c.reference = NULL;
    learner_step_stats st;
    c.version = AGRL_VERSION(1, cases[i].step - 1);
    one_step(&c, NULL, &st);  // the policy leaves the reference
    learner_step_stats_release(&st);
    one_step(&c, NULL, &st);
    char *line = line_of(&st);
    assert_int_equal(st.loss.reference_tokens, cases[i].measured ? st.loss.tokens : 0);
    assert_int_equal(strstr(line, "\"kl\":null") == NULL, cases[i].measured);
    if (cases[i].measured) assert_true(st.loss.kl_reference[2] > 0);
    assert_int_equal(isnan(st.loss.kl_loss), cases[i].beta == 0);
    assert_null(strstr(line, "\"kl_sampler\":null"));
    hash[i] = learner_optim_hash(&c.optim);
    free(line);
    learner_step_stats_release(&st);
    learner_core_release(&c);
  }
  assert_memory_equal(&hash[3], &hash[4], sizeof *hash);
  set_config();
}

// Versions: a row begun before the last swap says nothing about trainer against sampler, and age goes on across epochs.
static void test_rows_over_versions(void **state) {
  (void)state;
  learner_core c;
  make_core(&c, NULL);
  c.version = AGRL_VERSION(2, 3);
  agrl_arena arena;
  agrl_arena_init(&arena, 0);
  agrl_group g;
  make_group(2, &arena, &g);  // no guided member
  for (uint32_t i = 0; i < G; i++) {
    uint64_t *v = (uint64_t *)g.members[i].trace.versions;
    for (size_t t = 0; t < N_TOKENS; t++) v[t] = c.version;
    v[0] = AGRL_VERSION(1, 5);  // of weights two steps ahead that did not survive
  }
  learner_step_stats st;
  assert_int_equal(learner_step_run(&c, &g, 1, &st, NULL), AGRL_OK);
  assert_int_equal(st.n_rows, G);
  assert_true(isnan(st.logprob_diff_mean) && isnan(st.logprob_diff_max) && isnan(st.rows[0].logprob_diff));
  assert_float_equal(st.staleness_max, 2, 0);
  assert_float_equal(st.staleness_mean, 2.0 / N_TOKENS, 1e-12);
  assert_float_equal(st.rows[0].version_span, 2, 0);
  learner_step_stats_release(&st);
  agrl_arena_release(&arena);
  learner_core_release(&c);
}

int main(void) {
  agrl_log_init("test", AGRL_LOG_ERROR);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_lowers_the_loss, setup, teardown),
      cmocka_unit_test_setup_teardown(test_deterministic, setup, teardown),
      cmocka_unit_test_setup_teardown(test_packing_does_not_matter, setup, teardown),
      cmocka_unit_test_setup_teardown(test_resume_is_exact, setup, teardown),
      cmocka_unit_test_setup_teardown(test_mismatch_forks, setup, teardown),
      cmocka_unit_test_setup_teardown(test_lost_groups_fork, setup, teardown),
      cmocka_unit_test_setup_teardown(test_not_finite_changes_nothing, setup, teardown),
      cmocka_unit_test_setup_teardown(test_exclusions, setup, teardown),
      cmocka_unit_test_setup_teardown(test_nothing_to_train_on, setup, teardown),
      cmocka_unit_test_setup_teardown(test_all_rows_guided, setup, teardown),
      cmocka_unit_test_setup_teardown(test_kl_is_measured_without_a_term, setup, teardown),
      cmocka_unit_test_setup_teardown(test_rows_over_versions, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
