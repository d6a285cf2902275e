// SPDX-License-Identifier: Apache-2.0
// The warm start on a handful of rows: it learns them, its sequences are laid out as the actors lay theirs out, and stopping
// in the middle and going on from the checkpoint in a fresh core gives the weights of the uninterrupted run. Its loss and the
// gradient of that are those of a model in double precision that shares no code with the product.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/log.h"
#include "common/tensor/tensor.h"
#include "learner/resume.h"
#include "tests/lib/learner_files.h"
#include "tests/lib/ref_llama.c"  // which the build gives to tests of models only

static const char RULES[] =
    "prompt: |\n  Query: {query}\n  Product: {product.title}\n"
    "guidance:\n  - \"Category: {gold.category}.\\n\"\n  - \"Tier: {gold.tier}.\\n\"\n"
    "answer: |\n  Answer:\n"
    "reference: |\n  {gold.tier}\n  [Category] {gold.category}\n";

static int setup(void **state) {
  (void)state;
  files_make("sft", 24, (const char *const[]){",\"category\":\"mismatch\"}}", ",\"category\":\"match\"}}"}, RULES);
  memset(&config, 0, sizeof config);
  config.run.seed = 5;
  config.data.train = data_path;
  config.data.rules = rules_path;
  config.model.layers = 1;
  config.model.hidden = 16;
  config.model.ffn = 32;
  config.model.heads = 2;
  config.model.kv_heads = 1;
  config.model.vocab = 320;
  config.model.context = 64;
  config.model.rope_theta = 10000;
  config.model.tied = true;
  config.sft.steps = 14;
  config.sft.warmup_steps = 2;
  config.sft.batch_tokens = 200;
  config.sft.lr = 2e-2;
  config.sft.min_lr_ratio = 0.1;
  config.sft.guided_share = 0.3;
  config.grpo.beta1 = 0.9;
  config.grpo.beta2 = 0.95;
  config.grpo.eps = 1e-8;
  config.grpo.grad_clip = 1;
  return agrl_tensor_init(NULL) != AGRL_OK;
}

static int teardown(void **state) {
  (void)state;
  return agrl_file_remove_tree(root, NULL) != AGRL_OK;
}

typedef struct hooks {
  learner_core *core;
  int64_t stop_at;
  double first, last;
  int saves;
} hooks;

static bool stopping(void *user) {
  hooks *h = user;
  return h->core->cursor.step == h->stop_at;
}

static void progress(void *user, const learner_sft_stats *st) {
  hooks *h = user;
  if (st->step == 1) h->first = st->loss;
  h->last = st->loss;
  assert_true(st->tokens <= 200 && st->sequences > 1);
}

static agrl_rc save(void *user, agrl_error *err) {
  hooks *h = user;
  char dir[192];
  snprintf(dir, sizeof dir, "%s/sft-progress/v00000000-%08d", checkpoints, (int)h->core->cursor.step);
  h->saves++;
  h->core->version = (uint64_t)h->core->cursor.step;
  return learner_checkpoint_save(h->core, dir, err);
}

static agrl_sha256 run(learner_core *c, hooks *h, bool *finished) {
  learner_origin origin;
  agrl_error err = {0};
  *c = (learner_core){.config = &config};
  h->core = c;
  if (learner_resume_open(c, checkpoints, &origin, &err) != AGRL_OK) fail_msg("%s", err.msg);
  assert_int_equal(origin.stage, LEARNER_STAGE_SFT);
  learner_sft_hooks vtable = {h, stopping, progress, save};
  if (learner_sft_run(c, &vtable, finished, &err) != AGRL_OK) fail_msg("%s", err.msg);
  return learner_optim_hash(&c->optim);
}

static void test_learns_and_resumes_exactly(void **state) {
  (void)state;
  learner_core c;
  bool finished;
  hooks whole = {.stop_at = -1}, part = {.stop_at = 5}, rest = {.stop_at = -1};
  agrl_sha256 want = run(&c, &whole, &finished);
  assert_true(finished && whole.last < 0.6 * whole.first);
  assert_true(c.cursor.epoch >= 2);  // the resume below crosses epochs
  learner_core_release(&c);
  agrl_file_remove_tree(checkpoints, NULL);
  run(&c, &part, &finished);
  assert_false(finished);
  assert_int_equal(part.saves, 1);
  learner_core_release(&c);
  agrl_sha256 got = run(&c, &rest, &finished);
  assert_true(finished && c.cursor.step == 14);
  assert_memory_equal(&got, &want, sizeof want);
  learner_core_release(&c);
}

static void test_sequences(void **state) {
  (void)state;
  learner_core c = {.config = &config};
  learner_origin origin;
  assert_int_equal(learner_resume_open(&c, checkpoints, &origin, NULL), AGRL_OK);
  assert_true(origin.created);
  assert_int_equal(c.layout->spec.vocab % 32, 0);
  assert_int_equal(c.start_id, agrl_bpe_special(c.bpe, AGRL_TOK_START));
  const char *plain = "Query: thing 3\nProduct: lamp 3\nAnswer:\n", *answer = "4\n[Category] match\n";
  const char *guided = "Query: thing 3\nProduct: lamp 3\nCategory: match.\nTier: 4.\nAnswer:\n";
  for (size_t level = 0; level <= 2; level += 2) {
    learner_seq s = learner_sft_set_get(c.sft, 3, level);
    assert_int_equal(s.prompt[0], c.start_id);
    assert_int_equal(s.tokens[s.n_tokens - 1], c.end_id);
    agrl_buf p = {0}, t = {0};
    agrl_bpe_decode(c.bpe, s.prompt + 1, s.n_prompt - 1, true, &p);
    agrl_bpe_decode(c.bpe, s.tokens, s.n_tokens - 1, true, &t);
    assert_string_equal(p.data, level == 0 ? plain : guided);
    if (strncmp(t.data, answer, strlen("4\n[Category] match")) != 0) fail_msg("reference is '%s'", t.data);
    agrl_buf_release(&p);
    agrl_buf_release(&t);
  }
  learner_core_release(&c);
}

static void every_row_once(void *user, const learner_sft_stats *st) {
  (void)user;
  assert_int_equal(st->sequences, 24);
}

static void test_a_set_smaller_than_a_batch(void **state) {
  (void)state;
  const agrl_config before = config;
  config.sft.batch_tokens = 4096;
  config.sft.steps = 3;
  learner_core c = {.config = &config};
  learner_origin origin;
  bool finished;
  hooks h = {.core = &c, .stop_at = -1};
  learner_sft_hooks vtable = {&h, stopping, every_row_once, save};
  assert_int_equal(learner_resume_open(&c, checkpoints, &origin, NULL), AGRL_OK);
  assert_int_equal(learner_sft_run(&c, &vtable, &finished, NULL), AGRL_OK);
  assert_true(finished);
  learner_core_release(&c);
  config = before;
}

static void test_rows_beyond_the_context(void **state) {
  (void)state;
  config.model.context = 16;  // no row fits
  learner_core c = {.config = &config};
  learner_origin origin;
  agrl_error err = {0};
  bool finished;
  hooks h = {.core = &c, .stop_at = -1};
  learner_sft_hooks vtable = {&h, stopping, progress, save};
  assert_int_equal(learner_resume_open(&c, checkpoints, &origin, &err), AGRL_OK);
  assert_int_equal(learner_sft_run(&c, &vtable, &finished, &err), AGRL_ECONFIG);
  assert_non_null(strstr(err.msg, "model.context"));
  learner_core_release(&c);
}

// Mean over all completion tokens, not over sequences.
static double cross_entropy(const agrl_layout *l, const double *params, bool bf16, const learner_seq *q, size_t n) {
  const size_t V = (size_t)l->spec.vocab;
  double sum = 0, count = 0;
  for (size_t s = 0; s < n; s++) {
    const size_t fed = q[s].n_prompt + q[s].n_tokens - 1;
    int32_t *ids = agrl_xcalloc(fed + 1, sizeof *ids);
    double *logits = agrl_xcalloc(fed * V, sizeof *logits);
    memcpy(ids, q[s].prompt, q[s].n_prompt * sizeof *ids);
    memcpy(ids + q[s].n_prompt, q[s].tokens, q[s].n_tokens * sizeof *ids);
    ref_llama_logits(l, params, bf16, ids, fed, logits);
    for (size_t i = q[s].n_prompt; i <= fed; i++) sum -= ref_llama_logp(logits + (i - 1) * V, V, (size_t)ids[i]);
    count += (double)q[s].n_tokens;
    free(ids);
    free(logits);
  }
  return sum / count;
}

// Elements of one tensor, the steepest by the product and some at random: weight times central differences.
static void check_gradient(const learner_core *c, double *params, const agrl_tensor_desc *t, double weight, const learner_seq *q, size_t n) {
  enum { STEEP = 4, PICKED = 8 };
  const size_t size = t->rows * t->cols;
  float got[PICKED], want[PICKED];
  size_t picked[PICKED];
  agrl_rng rng;
  agrl_rng_init(&rng, size, 3);
  for (size_t k = 0; k < PICKED; k++) {
    picked[k] = t->offset + agrl_rng_below(&rng, (uint32_t)size);
    for (size_t i = t->offset; k < STEEP && i < t->offset + size; i++) {
      bool taken = false;
      for (size_t j = 0; j < k; j++) taken |= picked[j] == i;
      if (!taken && fabsf(c->optim.grads[i]) > fabsf(c->optim.grads[picked[k]])) picked[k] = i;
    }
    const double x = params[picked[k]], h = 1e-5;
    params[picked[k]] = x + h;
    const double up = cross_entropy(c->layout, params, false, q, n);
    params[picked[k]] = x - h;
    want[k] = (float)(weight * (up - cross_entropy(c->layout, params, false, q, n)) / (2 * h));
    got[k] = c->optim.grads[picked[k]];
    params[picked[k]] = x;
  }
  tc_close(t->name, got, want, PICKED, 0.03);  // the product rounds activations to bf16
}

static void test_loss_and_gradient(void **state) {
  (void)state;
  learner_core c = {.config = &config};
  learner_origin origin;
  assert_int_equal(learner_resume_open(&c, checkpoints, &origin, NULL), AGRL_OK);
  const agrl_layout *l = c.layout;
  float *noise = tc_floats(l->n_elements, 8, 0.25), *served = agrl_xcalloc(l->n_elements, sizeof *served);
  for (size_t i = 0; i < l->n_elements; i++) c.optim.master[i] += noise[i];  // fresh weights are nearly uniform whatever is asked
  learner_optim_reserve(&c.optim, NULL);
  agrl_f32_from_bf16(served, c.optim.bf16, l->n_elements);
  double *params = tc_doubles(served, l->n_elements);
  const int32_t prompt[] = {3, 70, 11, 200, 5}, tokens[] = {9, 41, 41, 300, 77, 2};
  const learner_seq q[] = {{prompt, tokens, 5, 1}, {prompt + 1, tokens, 3, 6}, {prompt, tokens + 3, 1, 2}};  // the first: of one token
  for (size_t n = 1; n <= 3; n += 2) {
    double loss;
    learner_pack_clear(&c.pack);
    for (size_t i = 0; i < n; i++) assert_true(learner_pack_add(&c.pack, &q[i]));
    learner_optim_zero_grads(&c.optim);
    assert_int_equal(learner_pack_cross_entropy(&c, 1, &loss, NULL), AGRL_OK);
    assert_int_equal(learner_pack_cross_entropy(&c, 0.5, &loss, NULL), AGRL_OK);  // is added; the loss told is without the weight
    assert_float_equal(loss, cross_entropy(l, params, true, q, n), 1e-4);
    for (size_t i = 0; i < l->n_tensors; i++) check_gradient(&c, params, &l->tensors[i], 1.5, q, n);
  }
  free(noise);
  free(served);
  free(params);
  learner_core_release(&c);
}

int main(void) {
  agrl_log_init("test", AGRL_LOG_ERROR);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_learns_and_resumes_exactly, setup, teardown),
      cmocka_unit_test_setup_teardown(test_sequences, setup, teardown),
      cmocka_unit_test_setup_teardown(test_loss_and_gradient, setup, teardown),
      cmocka_unit_test_setup_teardown(test_a_set_smaller_than_a_batch, setup, teardown),
      cmocka_unit_test_setup_teardown(test_rows_beyond_the_context, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
