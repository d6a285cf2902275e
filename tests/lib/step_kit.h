// SPDX-License-Identifier: Apache-2.0
// A tiny training core with made-up groups, on a directory of its own, for the learner's tests.
#ifndef AGRL_TESTS_STEP_KIT_H
#define AGRL_TESTS_STEP_KIT_H

#include "common/ckpt/hf.h"
#include "learner/resume.h"
#include "tests/lib/learner_files.h"

enum { VOCAB = 32, G = 4, GROUPS = 3, N_TOKENS = 5, N_PROMPT = 4 };

static inline void set_config(void) {
  memset(&config, 0, sizeof config);
  config.run.seed = 3;
  config.model.context = 32;
  config.sft.batch_tokens = 40;  // several passes a step
  config.grpo.versions = 20;
  config.grpo.lr = 5e-3;
  config.grpo.min_lr_ratio = 1;
  config.grpo.beta1 = 0.9;
  config.grpo.beta2 = 0.95;
  config.grpo.eps = 1e-8;
  config.grpo.grad_clip = 1;
  config.grpo.clip_low = config.grpo.clip_high = 0.2;
  config.grpo.dual_clip = 3;
  config.grpo.kl_beta = 0.02;
  config.grpo.kl_estimator = AGRL_KL_K3;
  config.dpo.beta = 0.1;
  config.actor.max_new_tokens = 8;
  config.grpo.advantage_clamp = 2;
  config.grpo.guide_quantile = 0.9;
  config.grpo.guide_floor = 1e-4;
}

static inline int setup(void **state) {
  (void)state;
  set_config();
  snprintf(root, sizeof root, "/tmp/agrl-step-%ld", (long)getpid());
  agrl_file_remove_tree(root, NULL);
  return agrl_tensor_init(NULL) != AGRL_OK || agrl_file_mkdirs(root, NULL) != AGRL_OK;
}

static inline int teardown(void **state) {
  (void)state;
  return agrl_file_remove_tree(root, NULL) != AGRL_OK;
}

static inline void make_core(learner_core *c, agrl_pool *pool) {
  agrl_spec s = {.arch = "llama", .n_layers = 1, .hidden = 16, .ffn = 32, .n_heads = 2, .n_kv_heads = 1, .head_dim = 8, .vocab = VOCAB,
                 .context = 32, .rope_theta = 10000, .norm_eps = 1e-5f, .tied = true, .start_id = 0, .end_id = 1};
  agrl_layout *l;
  agrl_error err = {0};
  *c = (learner_core){.config = &config, .pool = pool};
  if (agrl_layout_new(&s, &l, &err) != AGRL_OK) fail_msg("%s", err.msg);
  float *block = agrl_block_alloc(l->n_elements * sizeof *block);
  agrl_params_init(l, block, 11);
  if (learner_core_adopt(c, l, block, &err) != AGRL_OK) fail_msg("%s", err.msg);
  c->reference = agrl_weights_from_f32(c->layout, block, 1);  // released with the core
  agrl_weights_pack(c->reference, NULL);
  agrl_block_free(block, l->n_elements * sizeof *block);
  agrl_buf_adds(&c->tokenizer_json, "{}");
  c->version = AGRL_VERSION(1, 0);
}

// Group g of the made-up store: a pure function of its id, as what replay stores is. Members 0 and 1 succeed.
static inline void make_group(uint64_t id, agrl_arena *a, agrl_group *out) {
  agrl_rng rng;
  agrl_rng_init(&rng, id, 5);
  agrl_msg_scored *m = agrl_arena_alloc(a, G * sizeof *m);
  for (uint32_t i = 0; i < G; i++) {
    int32_t *prompt = agrl_arena_alloc(a, N_PROMPT * sizeof *prompt), *tokens = agrl_arena_alloc(a, N_TOKENS * sizeof *tokens);
    float *logprobs = agrl_arena_alloc(a, N_TOKENS * sizeof *logprobs);
    uint64_t *versions = agrl_arena_alloc(a, N_TOKENS * sizeof *versions);
    for (size_t k = 0; k < N_PROMPT; k++) prompt[k] = (int32_t)agrl_rng_below(&rng, VOCAB);
    for (size_t k = 0; k < N_TOKENS; k++) {
      tokens[k] = (int32_t)agrl_rng_below(&rng, VOCAB);
      logprobs[k] = -3.4f - 0.1f * (float)agrl_rng_f64(&rng);  // about uniform over the vocabulary
      versions[k] = AGRL_VERSION(1, 0);
    }
    m[i].trace = (agrl_msg_trace){.id = {.group = id, .member = i}, .level = id % 2 == 1 && i == 0 ? 2 : 0, .n_prompt = N_PROMPT,
                                  .n_tokens = N_TOKENS, .prompt = prompt, .tokens = tokens, .logprobs = logprobs, .versions = versions};
    m[i].reward = i < 2 ? 1 : 0;
    m[i].g_format = m[i].g_rule = m[i].accurate = i < 2;
  }
  *out = (agrl_group){.id = id, .n = G, .members = m, .plain_accuracy = 0.5, .level = id % 2 == 1 ? 2 : 0};
}

static inline void ids_of(uint32_t step, uint64_t ids[GROUPS]) {
  for (uint32_t i = 0; i < GROUPS; i++) ids[i] = 10 * step + i;
}

static inline agrl_rc fetch(void *user, const agrl_journal_entry *e, agrl_arena *arena, const agrl_group **out, agrl_error *err) {
  const uint64_t *lost = user;
  agrl_group *g = agrl_arena_alloc(arena, (e->n_groups + 1) * sizeof *g);
  for (size_t i = 0; i < e->n_groups; i++) {
    if (lost != NULL && e->groups[i] == *lost) return agrl_fail(err, AGRL_ENOENT, "no group %llu", (unsigned long long)*lost);
    make_group(e->groups[i], arena, &g[i]);
  }
  *out = g;
  return AGRL_OK;
}

static inline void one_step(learner_core *c, learner_journal *j, learner_step_stats *st) {
  agrl_arena arena;
  agrl_error err = {0};
  agrl_arena_init(&arena, 0);
  uint64_t ids[GROUPS];
  ids_of(AGRL_VERSION_STEP(c->version) + 1, ids);
  agrl_group g[GROUPS];
  for (size_t i = 0; i < GROUPS; i++) make_group(ids[i], &arena, &g[i]);
  if (learner_step_run(c, g, GROUPS, st, &err) != AGRL_OK) fail_msg("%s", err.msg);
  agrl_sha256 h = learner_optim_hash(&c->optim);
  if (j != NULL) assert_int_equal(learner_journal_append(j, c->version, ids, GROUPS, &h, learner_step_outcome(st), NULL), AGRL_OK);
  agrl_arena_release(&arena);
}

static inline agrl_sha256 run_steps(learner_core *c, learner_journal *j, int n) {
  for (int i = 0; i < n; i++) {
    learner_step_stats st;
    one_step(c, j, &st);
    assert_true(st.applied);
    learner_step_stats_release(&st);
  }
  return learner_optim_hash(&c->optim);
}

static inline void save(learner_core *c) {
  char name[32], dir[160];
  agrl_error err = {0};
  agrl_ckpt_version_name(c->version, name);
  snprintf(dir, sizeof dir, "%s/%s", root, name);
  if (learner_checkpoint_save(c, dir, &err) != AGRL_OK) fail_msg("%s", err.msg);
}

static inline learner_journal *journal(void) {
  char path[160];
  learner_journal *j;
  agrl_error err = {0};
  snprintf(path, sizeof path, "%s/journal.jsonl", root);
  if (learner_journal_open(path, &j, &err) != AGRL_OK) fail_msg("%s", err.msg);
  return j;
}

#endif
