// SPDX-License-Identifier: Apache-2.0
// DPO and the switches of a step, through learner_step_run on a tiny model with data of its own: pairs of own traces and of reference
// traces lower the loss, raise the margin and resume to the same hash; advantage, aggregation, overlong completions and the
// refreshed reference do what they say; adapters and recomputed activations change none of it.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/base/rng.h"
#include "common/ckpt/hf.h"
#include "common/tensor/tensor.h"
#include "learner/resume.h"
#include "tests/lib/learner_files.h"

enum { GROUPS = 4, N_PROMPT = 6, MAX_NEW = 12 };

static const char RULES[] =
    "prompt: |\n  Query: {query}\n  Product: {product.title}\n"
    "answer: |\n  Answer:\n";

static int setup(void **state) {
  (void)state;
  // Rows r0, r2, .. have a reference trace, the others none.
  files_make("method", 12, (const char *const[]){"},\"reference\":\"1\\nno\"}", "}}"}, RULES);
  agrl_error err = {0};
  if (agrl_config_load(NULL, &config, &err) != AGRL_OK) fail_msg("%s", err.msg);
  const char *const sets[][2] = {{"data.train", data_path}, {"data.rules", rules_path}, {"model.layers", "1"}, {"model.hidden", "16"},
                                 {"model.ffn", "32"}, {"model.heads", "2"}, {"model.kv_heads", "1"}, {"model.vocab", "320"},
                                 {"model.context", "21"}, {"actor.max_new_tokens", "12"}, {"sft.batch_tokens", "16"}, {"grpo.versions", "40"},
                                 {"grpo.lr", "5e-3"}, {"grpo.warmup_steps", "0"}, {"grpo.weight_decay", "0"}};
  for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) set(sets[i][0], sets[i][1]);
  return agrl_tensor_init(NULL) != AGRL_OK;
}

static int teardown(void **state) {
  (void)state;
  agrl_config_release(&config);
  return agrl_file_remove_tree(root, NULL) != AGRL_OK;
}

// As after a warm start of no steps: version 1:0 in checkpoints/sft, which is the reference, too.
static void begin(learner_core *c) {
  learner_origin origin;
  agrl_error err = {0};
  char *sft = agrl_path_join(checkpoints, "sft");
  *c = (learner_core){.config = &config};
  if (learner_resume_open(c, checkpoints, &origin, &err) != AGRL_OK) fail_msg("%s", err.msg);
  assert_true(origin.created);
  assert_int_equal(c->lora != NULL, config.lora.rank > 0);
  c->version = AGRL_VERSION(1, 0);
  if (learner_checkpoint_save(c, sft, &err) != AGRL_OK || learner_reference_load(c, sft, &err) != AGRL_OK) fail_msg("%s", err.msg);
  if (learner_core_need_sft(c, &err) != AGRL_OK) fail_msg("%s", err.msg);
  free(sft);
}

static void save(const learner_core *c) {
  char name[32];
  agrl_error err = {0};
  agrl_ckpt_version_name(c->version, name);
  char *dir = agrl_path_join(checkpoints, name);
  if (learner_checkpoint_save(c, dir, &err) != AGRL_OK) fail_msg("%s", err.msg);
  free(dir);
}

static void resume(learner_core *c) {
  learner_origin origin;
  agrl_error err = {0};
  *c = (learner_core){.config = &config};
  if (learner_resume_open(c, checkpoints, &origin, &err) != AGRL_OK) fail_msg("%s", err.msg);
  assert_int_equal(origin.stage, LEARNER_STAGE_RL);
}

// Members of one prompt with made-up tokens, a function of id; lengths differ. right: how many of the first.
static agrl_group group_of(uint64_t id, size_t n, size_t right, agrl_arena *a) {
  agrl_rng rng;
  agrl_rng_init(&rng, id, 9);
  agrl_msg_scored *m = agrl_arena_alloc(a, n * sizeof *m);
  int32_t *prompt = agrl_arena_alloc(a, N_PROMPT * sizeof *prompt);
  for (size_t k = 0; k < N_PROMPT; k++) prompt[k] = (int32_t)agrl_rng_below(&rng, 256);
  for (size_t i = 0; i < n; i++) {
    size_t len = 2 + 2 * i;
    int32_t *tokens = agrl_arena_alloc(a, len * sizeof *tokens);
    float *logprobs = agrl_arena_alloc(a, len * sizeof *logprobs);
    uint64_t *versions = agrl_arena_alloc(a, len * sizeof *versions);
    for (size_t k = 0; k < len; k++) {
      tokens[k] = (int32_t)agrl_rng_below(&rng, 256);
      logprobs[k] = -5.7f;
      versions[k] = AGRL_VERSION(1, 0);
    }
    m[i].trace = (agrl_msg_trace){.id = {.group = id, .member = (uint32_t)i}, .n_prompt = N_PROMPT, .n_tokens = len, .prompt = prompt,
                                  .tokens = tokens, .logprobs = logprobs, .versions = versions, .stop = AGRL_STOP_EOS};
    m[i].accurate = m[i].g_format = m[i].g_rule = i < right;
    m[i].reward = i < right ? 1 : 0;
  }
  char *prompt_id = agrl_arena_printf(a, "r%d", (int)(id % 12));
  return (agrl_group){.id = id, .prompt_id = prompt_id, .n = n, .members = m, .plain_accuracy = 0.5};
}

// Four pairs take more than a pass of 42 tokens, and the last one's chosen row would still fit: a pair is never split.
// Even groups: a right and a wrong trace; odd ones (of even prompts, which have a reference): a wrong trace only.
static void pairs_of(agrl_group g[GROUPS], agrl_arena *a) {
  for (size_t i = 0; i < GROUPS; i++) g[i] = i % 2 ? group_of(100 + 2 * i, 1, 0, a) : group_of(201 + i, 2, 1, a);
}

static agrl_sha256 dpo_steps(learner_core *c, int n, learner_step_stats *first, learner_step_stats *last) {
  agrl_arena a;
  agrl_error err = {0};
  agrl_arena_init(&a, 0);
  agrl_group g[GROUPS];
  pairs_of(g, &a);
  for (int i = 0; i < n; i++) {
    learner_step_stats st;
    if (learner_step_run(c, g, GROUPS, &st, &err) != AGRL_OK) fail_msg("%s", err.msg);
    assert_true(st.applied);
    assert_int_equal(st.loss.pairs, GROUPS);
    assert_int_equal(st.reference_pairs, GROUPS / 2);
    assert_int_equal(st.sequences, 2 * GROUPS);
    assert_int_equal(st.trained_groups, GROUPS);
    assert_int_equal(st.n_rows, 2 * GROUPS - GROUPS / 2);  // reference traces were sampled by nobody
    learner_step_stats_release(&st);
    if (i == 0 && first != NULL) *first = st;
    if (last != NULL) *last = st;
  }
  agrl_arena_release(&a);
  return learner_optim_hash(&c->optim);
}

// In ten steps the loss must fall to this share of the first, and the mean margin must rise above this.
static void dpo_learns_and_resumes(double share, double margin) {
  set("run.method", "dpo");
  learner_core c, again;
  learner_step_stats first, last;
  begin(&c);
  dpo_steps(&c, 5, &first, NULL);
  save(&c);
  agrl_sha256 want = dpo_steps(&c, 5, NULL, &last);
  assert_true(fabs(first.loss.total - log(2)) < 1e-6);  // policy and reference are the same
  assert_true(fabs(first.loss.pair_margin) < 1e-5);
  if (!(last.loss.total < share * first.loss.total)) fail_msg("loss %g, then %g", first.loss.total, last.loss.total);
  assert_true(last.loss.pair_margin / GROUPS > margin && last.loss.pairs_won == GROUPS);
  assert_true(last.loss.pair_chosen > last.loss.pair_rejected);
  assert_true(isnan(last.loss.kl_loss) && last.loss.reference_tokens > 0);  // no KL term, but how far it is from the reference is known
  resume(&again);
  assert_true(again.version == AGRL_VERSION(1, 5));
  agrl_sha256 got = dpo_steps(&again, 5, NULL, NULL);
  assert_memory_equal(&got, &want, sizeof want);
  learner_core_release(&c);
  learner_core_release(&again);
}

static void test_dpo_learns_and_resumes(void **state) {
  (void)state;
  dpo_learns_and_resumes(0.8, 0.3);
}

static void near(double got, double want) {
  if (!(fabs(got - want) < 1e-5)) fail_msg("%.9g, want %.9g", got, want);
}

// The first loss of DPO, and its gradient, against what log-probs of separate forward passes give, at beta 1 and weights that have moved.
static double sum_logp(learner_core *c, const agrl_weights *w, const learner_seq *q) {
  const float *logp = logps_of(c, w, q);
  double sum = 0;
  for (size_t i = 0; i < q->n_tokens; i++) sum += (double)logp[i];
  return sum;
}

static void test_dpo_loss_is_that_of_its_log_probs(void **state) {
  (void)state;
  set("run.method", "dpo");
  set("dpo.beta", "1");
  set("sft.batch_tokens", "1000");  // one pass holds all pairs
  learner_core c;
  begin(&c);
  dpo_steps(&c, 2, NULL, NULL);
  agrl_arena a;
  agrl_arena_init(&a, 0);
  agrl_group g[GROUPS];
  pairs_of(g, &a);
  double want = 0, margin = 0, slope[GROUPS];  // of the loss by each log-prob of a right trace; of a wrong one's the opposite
  size_t n_right[GROUPS];
  for (size_t i = 0; i < GROUPS; i++) {
    const agrl_msg_trace *wrong = &g[i].members[g[i].n - 1].trace, *right = &g[i].members[0].trace;
    learner_seq ref = seq_of(right), bad = seq_of(wrong);
    if (g[i].n == 1) {
      assert_true(learner_sft_set_find(c.sft, g[i].prompt_id, &ref));
      agrl_buf text = {0};
      agrl_bpe_decode(c.bpe, ref.tokens, ref.n_tokens - 1, false, &text);
      assert_true(text.len == 4 && memcmp(text.data, "1\nno", 4) == 0 && ref.tokens[ref.n_tokens - 1] == c.end_id);
      agrl_buf_release(&text);
    }
    ref.prompt = bad.prompt, ref.n_prompt = bad.n_prompt;
    double m = sum_logp(&c, NULL, &ref) - sum_logp(&c, c.reference, &ref);
    m -= sum_logp(&c, NULL, &bad) - sum_logp(&c, c.reference, &bad);
    margin += m;
    want += log(1 + exp(-m)) / GROUPS;
    slope[i] = -1 / (1 + exp(m)) / GROUPS;
    n_right[i] = ref.n_tokens;
  }
  learner_step_stats st;
  assert_int_equal(learner_step_run(&c, g, GROUPS, &st, NULL), AGRL_OK);
  assert_true(fabs(st.loss.total - want) < 1e-6 && fabs(st.loss.pair_margin - margin) < 1e-5 && fabs(margin) > 0.1);
  for (size_t i = 0; i < GROUPS; i++) {  // the pack's rows: right, wrong, right, wrong, ...
    const size_t right = c.pack.first[2 * i], wrong = c.pack.first[2 * i + 1];
    for (size_t t = 0; t < n_right[i]; t++) near(c.pack.dlogp[right + t], slope[i]);
    for (size_t t = 0; t < g[i].members[g[i].n - 1].trace.n_tokens; t++) near(c.pack.dlogp[wrong + t], -slope[i]);
  }
  learner_step_stats_release(&st);
  agrl_arena_release(&a);
  learner_core_release(&c);
}

static void test_what_is_no_pair(void **state) {
  (void)state;
  set("run.method", "dpo");
  learner_core c;
  begin(&c);
  agrl_arena a;
  agrl_arena_init(&a, 0);
  agrl_group g[7] = {group_of(1, 4, 2, &a),   // a group of another method
                     group_of(2, 2, 0, &a),   // two wrong ones
                     group_of(3, 2, 2, &a),   // two right ones
                     group_of(4, 1, 1, &a),   // a right one alone
                     group_of(5, 1, 0, &a),   // wrong, and the row has no reference trace
                     group_of(6, 2, 1, &a),   // an id beyond the vocabulary
                     group_of(8, 1, 0, &a)};  // of a row that is not in the data
  ((int32_t *)(uintptr_t)g[5].members[0].trace.tokens)[1] = 1 << 20;
  g[6].prompt_id = "r99";
  learner_step_stats st;
  agrl_sha256 before = learner_optim_hash(&c.optim);
  assert_int_equal(learner_step_run(&c, g, 7, &st, NULL), AGRL_OK);
  assert_true(st.empty && st.groups == 7 && st.trained_groups == 0 && st.zero_groups == 6 && st.dropped_bad == 1);
  agrl_sha256 after = learner_optim_hash(&c.optim);
  assert_memory_equal(&before, &after, sizeof after);
  learner_step_stats_release(&st);
  agrl_arena_release(&a);
  learner_core_release(&c);
}

// sft.max_rows bounds what DPO takes of the reference traces, too; what was chosen as right and wrong has no mean reward.
static void test_dpo_takes_no_more_references_than_sft(void **state) {
  (void)state;
  set("run.method", "dpo");
  set("sft.max_rows", "2");  // r0 and r2
  learner_core c;
  begin(&c);
  learner_seq q;
  assert_true(learner_sft_set_find(c.sft, "r0", &q) && learner_sft_set_find(c.sft, "r2", &q));
  assert_false(learner_sft_set_find(c.sft, "r4", &q) || learner_sft_set_find(c.sft, "r10", &q) || learner_sft_set_find(c.sft, "r1", &q));
  agrl_arena a;
  agrl_arena_init(&a, 0);
  agrl_group g[2] = {group_of(4, 1, 0, &a), group_of(6, 2, 1, &a)};
  learner_step_stats st;
  assert_int_equal(learner_step_run(&c, g, 2, &st, NULL), AGRL_OK);
  assert_true(st.loss.pairs == 1 && st.reference_pairs == 0);
  assert_true(isnan(st.reward_mean) && isnan(st.reward_plain_mean) && isnan(st.reward_std) && isnan(st.format_rate) && isnan(st.completion_mean));
  assert_true(st.accuracy == 0.5);
  learner_step_stats_release(&st);
  agrl_arena_release(&a);
  learner_core_release(&c);
}

// A pair that no pass can hold is left out and counted, whether its chosen trace is an own one or the reference: an imported model
// may take sequences that are longer than a pass.
static void test_pairs_longer_than_a_pass(void **state) {
  (void)state;
  set("run.method", "dpo");
  learner_core c;
  begin(&c);
  agrl_arena a;
  agrl_arena_init(&a, 0);
  agrl_group own = group_of(6, 2, 1, &a), reference = group_of(8, 1, 0, &a);
  learner_seq q;
  assert_true(learner_sft_set_find(c.sft, reference.prompt_id, &q));
  const size_t shared = N_PROMPT - 1, pair = shared + 2 + 4, with_reference = shared + 2 + q.n_tokens;
  const struct {
    const agrl_group *group;
    size_t cap;
    bool fits;
  } rows[] = {{&own, pair, true}, {&own, pair - 1, false}, {&reference, with_reference, true}, {&reference, with_reference - 1, false}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    learner_step_stats st;
    c.pack.cap = rows[i].cap;
    assert_int_equal(learner_step_run(&c, rows[i].group, 1, &st, NULL), AGRL_OK);
    assert_int_equal(st.loss.pairs, rows[i].fits);
    assert_int_equal(st.dropped_bad, !rows[i].fits);
    learner_step_stats_release(&st);
  }
  c.layout->spec.context = (int32_t)(N_PROMPT + q.n_tokens - 2);  // the reference trace is too long for the model
  c.pack.cap = with_reference;
  learner_step_stats st;
  assert_int_equal(learner_step_run(&c, &reference, 1, &st, NULL), AGRL_OK);
  assert_true(st.empty && st.dropped_bad == 1 && st.reference_pairs == 0);
  learner_step_stats_release(&st);
  agrl_arena_release(&a);
  learner_core_release(&c);
}

// The auxiliary pass goes on after a row that no pass can hold, and counts it.
static void test_auxiliary_rows_longer_than_a_pass(void **state) {
  (void)state;
  set("grpo.sft_weight", "0.5");
  learner_core c;
  begin(&c);
  agrl_arena a;
  agrl_arena_init(&a, 0);
  size_t shortest = SIZE_MAX, longest = 0, dropped = 0;
  for (size_t i = 0; i < c.sft->n; i++) {
    const learner_seq q = learner_sft_set_get(c.sft, i, 0);
    const size_t fed = learner_seq_fed(&q);
    if (fed < shortest) shortest = fed;
    if (fed > longest) longest = fed;
  }
  assert_true(shortest < longest && longest > N_PROMPT + 4);
  c.pack.cap = longest - 1;
  agrl_group g[12];
  for (size_t i = 0; i < 12; i++) g[i] = group_of(11, 2, 1, &a);
  for (int step = 0; step < 20; step++) {
    learner_step_stats st;
    assert_int_equal(learner_step_run(&c, g, 12, &st, NULL), AGRL_OK);
    assert_true(st.applied && isfinite(st.sft_loss));
    dropped += st.dropped_bad;
    learner_step_stats_release(&st);
  }
  assert_true(dropped > 0);
  agrl_arena_release(&a);
  learner_core_release(&c);
}

// Which rows of the set are in the pack.
static void rows_in_pack(learner_core *c, size_t rows[GROUPS]) {
  const learner_pack *p = &c->pack;
  assert_int_equal(p->n_seqs, GROUPS);
  for (size_t s = 0; s < GROUPS; s++) {
    const size_t at = p->first[s], fed = p->start[s + 1] - p->start[s];
    for (rows[s] = 0; rows[s] < c->sft->n; rows[s]++) {
      const learner_seq q = learner_sft_set_get(c->sft, rows[s], 0);
      if (fed == learner_seq_fed(&q) && memcmp(p->tokens + p->start[s], q.prompt, q.n_prompt * sizeof *q.prompt) == 0 &&
          memcmp(p->target + at, q.tokens, q.n_tokens * sizeof *q.tokens) == 0) break;
    }
    assert_true(rows[s] < c->sft->n);
  }
}

// One step at that version on groups that weigh little beside what is added; rows: what the auxiliary pass drew, if it ran.
static learner_step_stats auxiliary_step(learner_core *c, const char *weight, uint32_t version, size_t right, size_t rows[GROUPS]) {
  agrl_arena a;
  agrl_arena_init(&a, 0);
  agrl_group g[GROUPS];
  for (size_t i = 0; i < GROUPS; i++) g[i] = group_of(20 + i, 2, right, &a);
  learner_step_stats st;
  set("grpo.sft_weight", weight);
  c->version = AGRL_VERSION(1, version);
  assert_int_equal(learner_step_run(c, g, GROUPS, &st, NULL), AGRL_OK);
  if (rows != NULL) rows_in_pack(c, rows);
  learner_step_stats_release(&st);
  agrl_arena_release(&a);
  return st;
}

// grpo.sft_weight adds that much of the cross-entropy of as many reference rows as there are groups, and of its gradient; which
// rows, the seed and the step decide.
static void test_auxiliary_loss_and_gradient(void **state) {
  (void)state;
  set("sft.batch_tokens", "200");  // a row for every group
  set("grpo.lr", "0");             // the weights stay what they are
  learner_core c;
  begin(&c);
  const size_t n = c.optim.trained->n_elements, bytes = n * sizeof(float);
  size_t rows[GROUPS], again[GROUPS];
  learner_step_stats alone = auxiliary_step(&c, "0", 4, 1, NULL);
  assert_true(isnan(alone.sft_loss));
  float *policy = agrl_xcalloc(n, sizeof *policy), *added = agrl_xcalloc(n, sizeof *added);
  memcpy(policy, c.optim.grads, bytes);
  learner_step_stats st = auxiliary_step(&c, "0.5", 4, 1, rows);
  for (size_t i = 0; i < n; i++) added[i] = c.optim.grads[i] - policy[i];

  double sum = 0, tokens = 0, loss;
  for (size_t s = 0; s < GROUPS; s++) {
    const learner_seq q = learner_sft_set_get(c.sft, rows[s], 0);
    sum -= sum_logp(&c, NULL, &q);
    tokens += (double)q.n_tokens;
  }
  assert_float_equal(st.sft_loss, sum / tokens, 1e-9);
  assert_true(st.loss.policy == alone.loss.policy && st.loss.kl_loss == alone.loss.kl_loss && st.applied);
  assert_float_equal(st.loss.total - alone.loss.total, 0.5 * sum / tokens, 1e-9);
  learner_pack_clear(&c.pack);
  for (size_t s = 0; s < GROUPS; s++) {
    const learner_seq q = learner_sft_set_get(c.sft, rows[s], 0);
    assert_true(learner_pack_add(&c.pack, &q));
  }
  learner_optim_zero_grads(&c.optim);
  assert_int_equal(learner_pack_cross_entropy(&c, 1, &loss, NULL), AGRL_OK);
  for (size_t i = 0; i < n; i++) c.optim.grads[i] *= 0.5f;  // a power of two: gradients are rounded to bf16 on their way
  tc_close("what grpo.sft_weight adds", added, c.optim.grads, n, 1e-5);

  auxiliary_step(&c, "0.125", 4, 1, again);
  assert_memory_equal(again, rows, sizeof rows);
  auxiliary_step(&c, "0.5", 5, 1, again);
  assert_memory_not_equal(again, rows, sizeof rows);
  set("run.seed", "77");
  auxiliary_step(&c, "0.5", 4, 1, again);
  assert_memory_not_equal(again, rows, sizeof rows);
  st = auxiliary_step(&c, "0.5", 4, 0, NULL);  // nothing to train on: nothing is added to it
  assert_true(st.empty && isnan(st.sft_loss) && isnan(st.loss.total));
  free(policy);
  free(added);
  learner_core_release(&c);
}

// What the sampler recorded becomes what the policy says, so that every ratio is 1 and a token's loss is -A.
static void sample_now(learner_core *c, agrl_group *g) {
  for (size_t i = 0; i < g->n; i++) {
    const learner_seq q = seq_of(&g->members[i].trace);
    memcpy((float *)(uintptr_t)g->members[i].trace.logprobs, logps_of(c, NULL, &q), q.n_tokens * sizeof(float));
  }
}

static double policy_loss(const char *key, const char *value, learner_step_stats *out) {
  learner_core c;
  agrl_arena a;
  agrl_error err = {0};
  agrl_arena_init(&a, 0);
  set("grpo.kl_beta", "0");
  set("grpo.advantage_clamp", "0");
  if (key != NULL) set(key, value);
  begin(&c);
  agrl_group g = group_of(7, 4, 1, &a);  // lengths 2, 4, 6, 8; rewards 1, 0, 0, 0
  ((agrl_msg_scored *)(uintptr_t)g.members)[3].trace.stop = AGRL_STOP_LENGTH;
  sample_now(&c, &g);
  if (learner_step_run(&c, &g, 1, out, &err) != AGRL_OK) fail_msg("%s", err.msg);
  learner_step_stats_release(out);
  learner_core_release(&c);
  agrl_arena_release(&a);
  agrl_file_remove_tree(checkpoints, NULL);
  return out->loss.total;
}

static void test_advantage_and_aggregation(void **state) {
  (void)state;
  const double std = sqrt(3.0) / 4 + 1e-6, up = 0.75 / std, down = -0.25 / std;
  learner_step_stats st;
  near(policy_loss(NULL, NULL, &st), 0);  // seq-mean: advantages sum to 0
  near(policy_loss("grpo.aggregation", "token-mean", &st), -(2 * up + 18 * down) / 20);
  near(policy_loss("grpo.aggregation", "constant-length", &st), -(2 * up + 18 * down) / (4 * MAX_NEW));
  near(policy_loss("grpo.advantage", "mean", &st), -(2 * 0.75 - 18 * 0.25) / (4 * MAX_NEW));
  near(policy_loss("grpo.tis_cap", "0.5", &st), 0.5 * -(2 * 0.75 - 18 * 0.25) / (4 * MAX_NEW));
  assert_int_equal(st.loss.truncated_high, 20);
}

static void test_overlong_completions(void **state) {
  (void)state;
  const double std = sqrt(3.0) / 4 + 1e-6, up = 0.75 / std, down = -0.25 / std;
  learner_step_stats st;
  near(policy_loss("grpo.overlong", "mask", &st), -(up + 2 * down) / 3);  // its reward still counts
  assert_int_equal(st.dropped_overlong, 1);
  set("grpo.overlong_buffer", "8");  // lengths 2, 4, 6, 8 of 12: penalties 0, 0, 1/4, 1/2
  const double r[] = {1, 0, -0.25, -0.5}, mean = 0.0625, s = sqrt((0.9375 * 0.9375 + 0.0625 * 0.0625 + 0.3125 * 0.3125 + 0.5625 * 0.5625) / 4) + 1e-6;
  set("grpo.aggregation", "token-mean");
  near(policy_loss("grpo.overlong", "soft", &st), -(2 * (r[0] - mean) + 4 * (r[1] - mean) + 6 * (r[2] - mean) + 8 * (r[3] - mean)) / s / 20);
  near(st.reward_mean, 0.25);  // as it was given
}

static agrl_sha256 grpo_steps(learner_core *c, int n, double kl[]) {
  agrl_arena a;
  agrl_error err = {0};
  agrl_arena_init(&a, 0);
  agrl_group g[2] = {group_of(11, 4, 2, &a), group_of(12, 4, 1, &a)};
  for (int i = 0; i < n; i++) {
    learner_step_stats st;
    if (learner_step_run(c, g, 2, &st, &err) != AGRL_OK) fail_msg("%s", err.msg);
    if (kl != NULL) kl[i] = st.loss.kl_reference[2];
    learner_step_stats_release(&st);
  }
  agrl_arena_release(&a);
  return learner_optim_hash(&c->optim);
}

static void test_reference_refresh(void **state) {
  (void)state;
  set("grpo.reference_every", "3");
  set("grpo.clip_low", "0.9");
  set("grpo.clip_high", "9");
  learner_core c, again;
  double kl[7];
  begin(&c);
  grpo_steps(&c, 7, kl);  // step i trains from version i: the reference is that of version 0, 3 and 6
  for (int i = 0; i < 7; i++) assert_int_equal(kl[i] < 1e-9, i % 3 == 0);
  grpo_steps(&c, 1, NULL);
  save(&c);  // version 8: the reference of version 6 is nowhere but in this checkpoint
  agrl_sha256 want = grpo_steps(&c, 4, NULL);
  resume(&again);
  assert_true(again.version == AGRL_VERSION(1, 8));
  agrl_sha256 got = grpo_steps(&again, 4, NULL);
  assert_memory_equal(&got, &want, sizeof want);
  learner_core_release(&again);
  // Not refreshed any more, it stays what it was, also through the next checkpoint; and it is never another in silence.
  set("grpo.reference_every", "0");
  double from[1], later[1];
  resume(&again);
  assert_int_equal(AGRL_VERSION_STEP(agrl_weights_version(again.reference)), 8);
  grpo_steps(&again, 1, NULL);
  save(&again);
  grpo_steps(&again, 1, from);
  learner_core_release(&again);
  resume(&again);
  assert_true(again.version == AGRL_VERSION(1, 9));
  grpo_steps(&again, 1, later);
  assert_true(from[0] == later[0]);
  learner_core_release(&again);
  char name[32];
  agrl_ckpt_version_name(AGRL_VERSION(1, 9), name);
  char *dir = agrl_path_join(checkpoints, name), *path = agrl_path_join(dir, "reference.bf16"), *sft = agrl_path_join(checkpoints, "sft");
  assert_int_equal(unlink(path), 0);
  agrl_error err = {0};
  assert_int_equal(learner_reference_resume(&c, dir, sft, &err), AGRL_ENOENT);
  if (strstr(err.msg, path) == NULL) fail_msg("'%s' names no file", err.msg);
  free(path);
  free(dir);
  free(sft);
  learner_core_release(&c);
}

// The same with adapters in place of the parameters, and with activations computed again: nothing above knows of either.
static void set_adapters(void) {
  set("lora.rank", "4");
  set("lora.alpha", "16");
  set("grpo.lr", "2e-2");
}

static void test_dpo_with_adapters(void **state) {
  (void)state;
  set_adapters();
  dpo_learns_and_resumes(0.95, 0.05);  // the embeddings of this model are random, small, and stay
}

static void test_reference_refresh_with_adapters(void **state) {
  set_adapters();
  test_reference_refresh(state);
}

static void test_recomputed_activations_give_the_same_weights(void **state) {
  (void)state;
  static const char *const methods[] = {"dpo", "agrl"};
  for (int adapters = 0; adapters < 2; adapters++) {
    if (adapters) set_adapters();
    for (size_t m = 0; m < 2; m++) {
      agrl_sha256 hash[2];
      set("run.method", methods[m]);
      for (int again = 0; again < 2; again++) {
        learner_core c;
        set("learner.recompute", again ? "layer" : "none");
        agrl_file_remove_tree(checkpoints, NULL);
        assert_int_equal(agrl_file_mkdirs(checkpoints, NULL), AGRL_OK);
        begin(&c);
        hash[again] = m ? grpo_steps(&c, 3, NULL) : dpo_steps(&c, 3, NULL, NULL);
        learner_core_release(&c);
      }
      assert_memory_equal(&hash[0], &hash[1], sizeof *hash);
    }
  }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  agrl_log_init("test", AGRL_LOG_ERROR);
  const struct CMUnitTest tests[] = {
      TEST(test_dpo_learns_and_resumes), TEST(test_dpo_loss_is_that_of_its_log_probs), TEST(test_what_is_no_pair),
      TEST(test_dpo_takes_no_more_references_than_sft), TEST(test_pairs_longer_than_a_pass), TEST(test_auxiliary_rows_longer_than_a_pass),
      TEST(test_auxiliary_loss_and_gradient),
      TEST(test_advantage_and_aggregation), TEST(test_overlong_completions), TEST(test_reference_refresh),
      TEST(test_dpo_with_adapters), TEST(test_reference_refresh_with_adapters), TEST(test_recomputed_activations_give_the_same_weights),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
