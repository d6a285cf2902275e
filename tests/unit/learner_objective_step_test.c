// SPDX-License-Identifier: Apache-2.0
// Whole steps against the float64 references of objective_formula.h: what the configuration's keys are set to gives the loss, and
// the gradient by the log-probs, that the formulas give.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "tests/lib/objective_formula.h"

static void set_real(const char *key, double value) {
  char text[32];
  snprintf(text, sizeof text, "%g", value);
  set(key, text);
}

// A core whose policy is not its reference, and has tokens that are likely and tokens that are not.
static void moved_core(learner_core *c) {
  make_core(c, NULL);
  float *noise = tc_floats(c->layout->n_elements, 5, 0.25);
  for (size_t i = 0; i < c->layout->n_elements; i++) c->optim.master[i] += noise[i];
  learner_optim_reserve(&c->optim, NULL);
  free(noise);
}

// Rewards of 0 and 1 in halves, then a group without spread. Among the first: a token alone, an empty completion, guided successes
// (two) and a guided failure. What was sampled is off the policy by far more than a clip, so that every bound is met.
static void corner_groups(agrl_group g[GROUPS], agrl_arena *a) {
  for (size_t i = 0; i < GROUPS; i++) make_group(i + 2, a, &g[i]);
  agrl_msg_scored *m[GROUPS] = {(agrl_msg_scored *)g[0].members, (agrl_msg_scored *)g[1].members, (agrl_msg_scored *)g[2].members};
  m[0][0].trace.n_tokens = 0, m[0][1].trace.n_tokens = 3, m[0][2].trace.n_tokens = 1;
  m[1][1].trace.level = 1, m[1][1].trace.n_tokens = 2, m[1][3].trace.level = 1;  // make_group guided member 0, of odd ids
  for (size_t i = 0; i < G; i++) m[2][i].reward = 0.5f;
}

static void sample_off_policy(learner_core *c, const agrl_group *g, agrl_rng *rng) {
  for (size_t i = 0; i < g->n; i++) {
    const learner_seq q = seq_of(&g->members[i].trace);
    const double shift = 0.5 * agrl_rng_normal(rng);
    const float *x = q.n_tokens > 0 ? logps_of(c, NULL, &q) : NULL;
    for (size_t t = 0; t < q.n_tokens; t++)
      ((float *)g->members[i].trace.logprobs)[t] = (float)fmin(0, (double)x[t] + shift + 0.6 * agrl_rng_normal(rng));
  }
}

// How a group's rewards become advantages, and which of its members are trained.
typedef struct choice {
  bool keep, mean_only, mask;  // zero_spread, advantage, overlong
  double soft, clamp;          // tokens over which the penalty grows to 1 at MAX_TOKENS; largest advantage
} choice;

static void advantages_formula(const agrl_group *g, const choice *how, double a[]) {
  double mean = 0, squares = 0;
  for (size_t i = 0; i < g->n; i++) {
    const double over = how->soft > 0 ? ((double)g->members[i].trace.n_tokens - MAX_TOKENS + how->soft) / how->soft : 0;
    a[i] = g->members[i].reward - bound(over, 0, 1);
    mean += a[i] / (double)g->n;
  }
  for (size_t i = 0; i < g->n; i++) squares += (a[i] - mean) * (a[i] - mean) / (double)g->n;
  for (size_t i = 0; i < g->n; i++) a[i] = bound((a[i] - mean) / (how->mean_only ? 1 : sqrt(squares) + 1e-6), -how->clamp, how->clamp);
}

// Adds the rows of a group that should be trained: none empty, none guided without success, none without spread but by zero_spread
// keep, none cut off but by another overlong than mask.
static void expect_rows(batch *b, learner_core *c, const agrl_group *g, const choice *how) {
  double a[G];
  advantages_formula(g, how, a);
  for (size_t i = 0; i < g->n; i++) {
    const agrl_msg_scored *m = &g->members[i];
    const learner_seq q = seq_of(&m->trace);
    row r = {.n = q.n_tokens, .a = a[i], .guided = m->trace.level > 0, .has_ref = true};
    if (r.n == 0 || (r.guided && r.a <= 0) || (r.a == 0 && !how->keep) || (how->mask && m->trace.stop == AGRL_STOP_LENGTH)) continue;
    const float *x = logps_of(c, NULL, &q);
    for (size_t t = 0; t < r.n; t++) r.x[t] = (double)x[t], r.old[t] = (double)m->trace.logprobs[t];
    x = logps_of(c, c->reference, &q);
    for (size_t t = 0; t < r.n; t++) r.ref[t] = (double)x[t];
    b->rows[b->n++] = r;
  }
}

// The smallest or the largest of the batch's guided ratios: quantile 0 or 1.
static double guided_bound(const batch *b, bool largest, double floor) {
  double bound = NAN;
  for (size_t i = 0; i < b->n; i++)
    for (size_t t = 0; b->rows[i].guided && t < b->rows[i].n; t++) {
      const double r = exp(b->rows[i].x[t] - b->rows[i].old[t]);
      bound = largest ? fmax(bound, r) : fmin(bound, r);
    }
  return fmax(bound, floor);
}

// Runs a step on groups whose trained rows, in their order, are those of b; a pass holds them all.
static learner_step_stats step_gives(learner_core *c, const agrl_group *g, size_t n, const batch *b, const learner_loss_params *p, const char *what) {
  learner_step_stats st;
  assert_int_equal(learner_step_run(c, g, n, &st, NULL), AGRL_OK);
  learner_step_stats_release(&st);
  const double want = batch_formula(b, p, b);
  if (!(fabs(st.loss.total - want) <= 1e-6 * (1 + fabs(want)))) fail_msg("%s: loss %.9g, formula %.9g", what, st.loss.total, want);
  assert_int_equal(st.sequences, b->n);
  batch up = *b, down = *b;
  for (size_t i = 0; i < b->n; i++)
    for (size_t t = 0; t < b->rows[i].n; t++) {
      up.rows[i].x[t] += 1e-6, down.rows[i].x[t] -= 1e-6;
      const double slope = (batch_formula(&up, p, b) - batch_formula(&down, p, b)) / 2e-6, got = c->pack.dlogp[c->pack.first[i] + t];
      if (!(fabs(got - slope) <= 1e-6)) fail_msg("%s: row %zu token %zu: gradient %.9g, formula %.9g", what, i, t, got, slope);
      up.rows[i].x[t] = down.rows[i].x[t] = b->rows[i].x[t];
    }
  return st;
}

static const struct {
  const char *ratio, *kl, *guided, *mean;
  formula f;
  int estimator, guided_loss, aggregation;
} choices[] = {{"token", "k1", "guide", "seq-mean", grpo_formula, AGRL_KL_K1, AGRL_GUIDED_GUIDE, AGRL_AGGREGATE_SEQ_MEAN},
               {"sequence", "k2", "plain", "token-mean", gspo_formula, AGRL_KL_K2, AGRL_GUIDED_PLAIN, AGRL_AGGREGATE_TOKEN_MEAN},
               {"cispo", "k3", "tis", "constant-length", cispo_formula, AGRL_KL_K3, AGRL_GUIDED_TIS, AGRL_AGGREGATE_CONSTANT}};

typedef struct scene {
  learner_core c;
  agrl_arena a;
  agrl_rng rng;
  agrl_group g[GROUPS];
} scene;

static void open_scene(scene *s) {
  agrl_rng_init(&s->rng, 25, 1);
  agrl_arena_init(&s->a, 0);
  assert_int_equal(agrl_config_load(NULL, &config, NULL), AGRL_OK);
  set_real("actor.max_new_tokens", MAX_TOKENS);
  set("grpo.lr", "0");  // the weights stay what they are
  moved_core(&s->c);
  corner_groups(s->g, &s->a);
}

static void close_scene(scene *s) {
  learner_core_release(&s->c);
  agrl_arena_release(&s->a);
  agrl_config_release(&config);
}

// Every combination of the named choices and, by turns, of the numbers: each is set as a run's file would.
static void steps_do_what_their_config_says(void **state) {
  (void)state;
  scene s;
  open_scene(&s);
  for (int trial = 0; trial < 324; trial++) {
    const int ratio = trial % 3, kl = trial / 3 % 3, guided = trial / 9 % 3, mean = trial / 27 % 3;
    const bool keep = trial / 81 % 2, largest = trial % 2;
    const double floor = trial % 4 == 0 ? 0.9 : 1e-4;
    learner_loss_params p = {.clip_low = trial % 2 ? 0.1 : 0.4, .clip_high = trial % 5 ? 0.28 : 0.05, .dual_clip = trial % 7 ? 1.5 : 0,
                             .tis_cap = trial / 162 ? 0.8 : 0, .kl_beta = trial % 11 ? 0.3 : 0, .kl_estimator = choices[kl].estimator,
                             .guided_loss = choices[guided].guided_loss};
    set("grpo.ratio", choices[ratio].ratio), set("grpo.kl_estimator", choices[kl].kl), set("grpo.guided_loss", choices[guided].guided);
    set("grpo.aggregation", choices[mean].mean), set("grpo.zero_spread", keep ? "keep" : "drop");
    set_real("grpo.clip_low", p.clip_low), set_real("grpo.clip_high", p.clip_high), set_real("grpo.dual_clip", p.dual_clip);
    set_real("grpo.tis_cap", p.tis_cap), set_real("grpo.kl_beta", p.kl_beta);
    set_real("grpo.guide_quantile", largest), set_real("grpo.guide_floor", floor);
    batch b = {.f = choices[ratio].f, .aggregation = choices[mean].aggregation};
    for (size_t i = 0; i < GROUPS; i++)
      sample_off_policy(&s.c, &s.g[i], &s.rng), expect_rows(&b, &s.c, &s.g[i], &(choice){.keep = keep, .clamp = 2});
    p.gamma = guided_bound(&b, largest, floor);
    char what[96];
    snprintf(what, sizeof what, "trial %d: %s %s %s %s", trial, choices[ratio].ratio, choices[kl].kl, choices[guided].guided, choices[mean].mean);
    const learner_step_stats st = step_gives(&s.c, s.g, GROUPS, &b, &p, what);
    assert_true(st.applied && st.dropped_bad == 1 && st.dropped_guided == 1 && b.n == (keep ? 10 : 6));
  }
  set("grpo.zero_spread", "keep"), set("grpo.kl_estimator", "k3"), set_real("grpo.kl_beta", 0.02);
  batch b = {.f = grpo_formula, .aggregation = AGRL_AGGREGATE_CONSTANT};
  const learner_loss_params p = defaults();
  expect_rows(&b, &s.c, &s.g[2], &(choice){.keep = true, .clamp = 2});  // a group without spread, kept, is its KL term
  const learner_step_stats st = step_gives(&s.c, &s.g[2], 1, &b, &p, "no spread");
  assert_true(st.loss.policy == 0 && st.loss.kl_loss > 1e-5 && st.loss.total == st.loss.kl_loss && st.zero_groups == 1 && st.grad_norm > 0);
  close_scene(&s);
}

// Nothing but guided members: successes are trained, failures are not, and without a failure there is nothing to learn from.
static void steps_of_guided_members_alone(void **state) {
  (void)state;
  scene s;
  open_scene(&s);
  agrl_msg_scored *m = (agrl_msg_scored *)s.g[0].members;
  for (size_t i = 0; i < G; i++) m[i].trace.level = 1 + i, m[i].trace.n_tokens = 2 + i;
  for (int trial = 0; trial < 18; trial++) {
    const int ratio = trial % 3, guided = trial / 3 % 3;
    learner_loss_params p = defaults();
    p.guided_loss = choices[guided].guided_loss;
    set("grpo.ratio", choices[ratio].ratio), set("grpo.guided_loss", choices[guided].guided);
    set_real("grpo.guide_quantile", trial / 9);
    batch b = {.f = choices[ratio].f, .aggregation = AGRL_AGGREGATE_SEQ_MEAN};
    sample_off_policy(&s.c, &s.g[0], &s.rng);
    expect_rows(&b, &s.c, &s.g[0], &(choice){.clamp = 2});
    p.gamma = guided_bound(&b, trial / 9, 1e-4);
    const learner_step_stats st = step_gives(&s.c, s.g, 1, &b, &p, "all guided");
    assert_true(st.applied && b.n == 2 && st.dropped_guided == 2 && isnan(st.loss.kl_loss));
  }
  set("grpo.zero_spread", "keep");
  for (size_t i = 0; i < G; i++) m[i].reward = 1;
  learner_step_stats st;
  assert_int_equal(learner_step_run(&s.c, s.g, 1, &st, NULL), AGRL_OK);
  assert_true(st.empty && !st.applied && st.dropped_guided == G);
  learner_step_stats_release(&st);
  close_scene(&s);
}

// Rewards of every size, lengths of 2 to 5, one completion cut off.
static void steps_with_every_advantage(void **state) {
  (void)state;
  static const float rewards[G] = {1, 0.4f, 0, 0.1f};
  scene s;
  open_scene(&s);
  agrl_msg_scored *m = (agrl_msg_scored *)s.g[0].members;
  for (size_t i = 0; i < G; i++) m[i].reward = rewards[i], m[i].trace.level = 0, m[i].trace.n_tokens = 2 + i;
  m[1].trace.stop = AGRL_STOP_LENGTH;
  set_real("grpo.overlong_buffer", MAX_TOKENS - 2);
  const learner_loss_params p = defaults();
  for (int trial = 0; trial < 12; trial++) {
    const char *const overlong[] = {"keep", "mask", "soft"};
    const choice how = {.mean_only = trial % 2, .mask = trial / 2 % 3 == 1, .soft = trial / 2 % 3 == 2 ? MAX_TOKENS - 2 : 0, .clamp = trial / 6 ? 0.3 : 2};
    set("grpo.advantage", how.mean_only ? "mean" : "std"), set("grpo.overlong", overlong[trial / 2 % 3]);
    set_real("grpo.advantage_clamp", how.clamp);
    batch b = {.f = grpo_formula, .aggregation = AGRL_AGGREGATE_SEQ_MEAN};
    sample_off_policy(&s.c, &s.g[0], &s.rng);
    expect_rows(&b, &s.c, &s.g[0], &how);
    const learner_step_stats st = step_gives(&s.c, s.g, 1, &b, &p, overlong[trial / 2 % 3]);
    assert_true(st.applied && b.n == (how.mask ? G - 1 : G) && st.dropped_overlong == how.mask);
  }
  close_scene(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(steps_do_what_their_config_says), cmocka_unit_test(steps_of_guided_members_alone),
                                     cmocka_unit_test(steps_with_every_advantage)};
  if (agrl_tensor_init(NULL) != AGRL_OK) return 70;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
