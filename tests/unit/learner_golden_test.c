// SPDX-License-Identifier: Apache-2.0
// Ten GRPO steps against an independent torch script (tests/golden/make_grpo.py, which wrote tests/golden/grpo): the same
// groups go through learner_step_run, and losses, gradient norm, learning rate, gamma and the final master weights must agree.
// Tolerances hold where products round their operands to bf16 (3 % of the way there in torch itself); leaving out any one
// ingredient (KL, a clip, the clamp, decay, warm-up, ...) moves the weights by 13 % of the way or more (--check of the script).
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/arena.h"
#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/mem.h"
#include "common/ckpt/hf.h"
#include "common/ckpt/safetensors.h"
#include "common/tensor/tensor.h"
#include "learner/learner.h"

#define GOLDEN AGRL_TEST_DIR "/golden/"
static const double LOSS_TOLERANCE = 5e-3;     // absolute; losses are about 0.25
static const double NORM_TOLERANCE = 5e-2;     // relative
static const double WEIGHTS_TOLERANCE = 6e-2;  // of the way from the first weights to the last

static double number(const agrl_json *j, const char *key) {
  double v = NAN;
  if (!agrl_json_f64(agrl_json_get(j, key), &v)) fail_msg("steps.json: %s is missing", key);
  return v;
}

static agrl_config config_of(const agrl_json *j) {
  agrl_config c = {0};
  c.sft.batch_tokens = 64;  // several passes a step
  c.grpo.versions = (int64_t)number(j, "versions");
  c.grpo.lr = number(j, "lr");
  c.grpo.min_lr_ratio = number(j, "min_lr_ratio");
  c.grpo.warmup_steps = (int64_t)number(j, "warmup_steps");
  c.grpo.weight_decay = number(j, "weight_decay");
  c.grpo.beta1 = number(j, "beta1");
  c.grpo.beta2 = number(j, "beta2");
  c.grpo.eps = number(j, "eps");
  c.grpo.grad_clip = number(j, "grad_clip");
  c.grpo.clip_low = number(j, "clip_low");
  c.grpo.clip_high = number(j, "clip_high");
  c.grpo.dual_clip = number(j, "dual_clip");
  c.grpo.kl_beta = number(j, "kl_beta");
  c.grpo.kl_estimator = AGRL_KL_K3;
  c.grpo.advantage_clamp = number(j, "advantage_clamp");
  c.grpo.guide_quantile = number(j, "guide_quantile");
  c.grpo.guide_floor = number(j, "guide_floor");
  c.grpo.guided_loss = AGRL_GUIDED_GUIDE;
  return c;
}

static int32_t *ids_of(const agrl_json *j, agrl_arena *a) {
  int32_t *ids = agrl_arena_alloc(a, agrl_json_len(j) * sizeof *ids);
  for (size_t i = 0; i < agrl_json_len(j); i++) {
    int64_t v;
    assert_true(agrl_json_i64(agrl_json_at(j, i), &v));
    ids[i] = (int32_t)v;
  }
  return ids;
}

static agrl_msg_scored member_of(const agrl_json *j, int32_t *prompt, size_t n_prompt, uint32_t i, agrl_arena *a) {
  const agrl_json *old = agrl_json_get(j, "old");
  const size_t n = agrl_json_len(old);
  float *logprobs = agrl_arena_alloc(a, n * sizeof *logprobs);
  uint64_t *versions = agrl_arena_alloc(a, n * sizeof *versions);
  for (size_t t = 0; t < n; t++) {
    double v;
    assert_true(agrl_json_f64(agrl_json_at(old, t), &v));
    logprobs[t] = (float)v;
    versions[t] = AGRL_VERSION(1, 0);
  }
  bool guided = false, missing = false;
  assert_true(agrl_json_bool(agrl_json_get(j, "guided"), &guided) && agrl_json_bool(agrl_json_get(j, "missing"), &missing));
  agrl_msg_scored m = {.missing = missing, .reward = (float)number(j, "reward")};
  m.trace = (agrl_msg_trace){.id = {.member = i}, .level = guided ? 2 : 0, .n_prompt = n_prompt, .n_tokens = n, .prompt = prompt,
                             .tokens = ids_of(agrl_json_get(j, "tokens"), a), .logprobs = logprobs, .versions = versions};
  return m;
}

static agrl_group *groups_of(const agrl_json *list, size_t *n, agrl_arena *a) {
  *n = agrl_json_len(list);
  agrl_group *out = agrl_arena_alloc(a, *n * sizeof *out);
  for (size_t g = 0; g < *n; g++) {
    const agrl_json *j = agrl_json_at(list, g), *members = agrl_json_get(j, "members"), *ids = agrl_json_get(j, "prompt");
    int32_t *prompt = ids_of(ids, a);
    agrl_msg_scored *m = agrl_arena_alloc(a, agrl_json_len(members) * sizeof *m);
    for (size_t i = 0; i < agrl_json_len(members); i++)
      m[i] = member_of(agrl_json_at(members, i), prompt, agrl_json_len(ids), (uint32_t)i, a);
    out[g] = (agrl_group){.id = g, .n = (uint32_t)agrl_json_len(members), .members = m, .plain_accuracy = 0.5};
  }
  return out;
}

static void near(const char *what, size_t step, double got, double want, double tolerance, double *worst) {
  const double off = fabs(got - want);
  if (!(off <= tolerance)) fail_msg("step %zu: %s is %.9g, want %.9g", step, what, got, want);
  if (off > *worst) *worst = off;
}

static void one_step(learner_core *c, const agrl_json *step, size_t i, double worst[2]) {
  agrl_arena arena;
  agrl_error err = {0};
  agrl_arena_init(&arena, 0);
  size_t n;
  double exact = 0;
  learner_step_stats st;
  agrl_group *groups = groups_of(agrl_json_get(step, "groups"), &n, &arena);
  const agrl_json *want = agrl_json_get(step, "want");
  if (learner_step_run(c, groups, n, &st, &err) != AGRL_OK) fail_msg("%s", err.msg);
  assert_true(st.applied);
  assert_int_equal(st.n_rows, (size_t)number(want, "rows"));
  near("learning rate", i, st.learning_rate, number(want, "lr"), 1e-12, &exact);
  near("loss", i, st.loss.total, number(want, "total"), LOSS_TOLERANCE, &worst[0]);
  near("policy loss", i, st.loss.policy, number(want, "policy"), LOSS_TOLERANCE, &worst[0]);
  near("KL loss", i, st.loss.kl_loss, number(want, "kl"), LOSS_TOLERANCE, &worst[0]);
  near("gamma", i, st.guide_gamma, number(want, "gamma"), 2 * LOSS_TOLERANCE, &worst[0]);
  near("gradient norm", i, st.grad_norm / number(want, "grad_norm"), 1, NORM_TOLERANCE, &worst[1]);
  learner_step_stats_release(&st);
  agrl_arena_release(&arena);
}

// Root of the summed squares of (master - golden) against those of (golden - first).
static double distance(const learner_core *c, const float *first) {
  agrl_map map;
  agrl_st st;
  agrl_error err = {0};
  if (agrl_map_open(&map, GOLDEN "grpo/weights.safetensors", &err) || agrl_st_parse(map.data, map.len, "weights.safetensors", &st, &err))
    fail_msg("%s", err.msg);
  double off = 0, way = 0;
  for (size_t i = 0; i < c->layout->n_tensors; i++) {
    const agrl_tensor_desc *d = &c->layout->tensors[i];
    const agrl_st_tensor *t = agrl_st_find(&st, d->name);
    assert_non_null(t);
    assert_int_equal(t->elements, d->rows * d->cols);
    float *want = agrl_xcalloc(t->elements, sizeof *want);
    agrl_st_to_f32(t, want);
    for (size_t k = 0; k < t->elements; k++) {
      off += pow((double)c->optim.master[d->offset + k] - (double)want[k], 2);
      way += pow((double)want[k] - (double)first[d->offset + k], 2);
    }
    free(want);
  }
  agrl_st_release(&st);
  agrl_map_close(&map);
  return sqrt(off / way);
}

static void ten_steps(void **state) {
  (void)state;
  agrl_error err = {0};
  agrl_json *root;
  agrl_layout *l;
  float *first;
  if (agrl_json_load(GOLDEN "grpo/steps.json", &root, &err) || agrl_ckpt_load(GOLDEN "parity/smollm2", &l, &first, NULL, &err))
    fail_msg("%s", err.msg);
  const agrl_config config = config_of(agrl_json_get(root, "config"));
  const size_t n = l->n_elements;
  learner_core c = {.config = &config};
  if (learner_core_adopt(&c, l, first, &err) != AGRL_OK) fail_msg("%s", err.msg);
  c.reference = agrl_weights_new(l, c.optim.bf16, 1);  // what a checkpoint of the first weights holds
  agrl_weights_pack(c.reference, NULL);
  c.version = AGRL_VERSION(1, 0);
  const agrl_json *steps = agrl_json_get(root, "steps");
  assert_int_equal(agrl_json_len(steps), 10);
  double worst[2] = {0};
  for (size_t i = 0; i < 10; i++) one_step(&c, agrl_json_at(steps, i), i, worst);
  const double off = distance(&c, first);
  print_message("losses within %.1e, gradient norms within %.1e, weights off by %.1e of the way\n", worst[0], worst[1], off);
  assert_true(off <= WEIGHTS_TOLERANCE);
  agrl_block_free(first, n * sizeof(float));
  learner_core_release(&c);
  agrl_json_free(root);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(ten_steps)};
  if (agrl_tensor_init(NULL) != AGRL_OK) return 70;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
