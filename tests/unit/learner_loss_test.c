// SPDX-License-Identifier: Apache-2.0
// The GRPO loss against a float64 reference written independently here (min/max of the paper's formula, no branches in
// common with the product), and its d(loss)/d(logp) against central differences of that reference.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/rng.h"
#include "common/conf/config.h"
#include "learner/loss.h"

enum { MAX = 32 };

typedef struct row {
  size_t n;
  double logp[MAX], old[MAX], ref[MAX], a, weight;
  bool guided, has_ref;
} row;

// fixed: the value of logp where a stop-gradient stands in the formula.
static double token_loss(const learner_loss_params *p, const row *r, size_t t, double logp, double fixed) {
  double ratio = exp(fmax(-20, fmin(20, logp - r->old[t]))), objective;
  if (r->guided) {
    if (p->guided_loss == AGRL_GUIDED_GUIDE) objective = ratio / (ratio + p->gamma) * r->a;
    else if (p->guided_loss == AGRL_GUIDED_PLAIN) objective = exp(logp - fixed) * r->a;
    else objective = fmin(exp(fixed - r->old[t]), 2.0) * r->a * logp;
    return -objective;
  }
  double held = fmax(1 - p->clip_low, fmin(1 + p->clip_high, ratio));
  objective = fmin(ratio * r->a, held * r->a);
  if (r->a < 0 && p->dual_clip > 1) objective = fmax(objective, p->dual_clip * r->a);
  double kl = 0;
  if (r->has_ref) {
    double d = fmax(-20, fmin(20, r->ref[t] - logp));
    kl = exp(d) - d - 1;
  }
  return -objective + p->kl_beta * kl;
}

static double reference(const learner_loss_params *p, const row *r) {
  double sum = 0;
  for (size_t t = 0; t < r->n; t++) sum += token_loss(p, r, t, r->logp[t], r->logp[t]);
  return r->weight * sum;
}

static double slope(const learner_loss_params *p, const row *r, size_t t) {
  const double h = 1e-6;
  double up = token_loss(p, r, t, r->logp[t] + h, r->logp[t]), down = token_loss(p, r, t, r->logp[t] - h, r->logp[t]);
    return r->weight * (up - down) / (2 * h);
}

static learner_loss_stats check(const learner_loss_params *p, row *r) {
  float logp[MAX], old[MAX], ref[MAX], dlogp[MAX];
  r->weight = 0.125 / (double)r->n;
  for (size_t t = 0; t < r->n; t++) {
    r->logp[t] = logp[t] = (float)r->logp[t];  // both sides see what fits a float
    r->old[t] = old[t] = (float)r->old[t];
    r->ref[t] = ref[t] = (float)r->ref[t];
    dlogp[t] = NAN;
  }
  learner_loss_row in = {.n = r->n, .logp = logp, .old = old, .ref = r->has_ref ? ref : NULL, .advantage = r->a, .weight = r->weight, .guided = r->guided, .dlogp = dlogp};
  learner_loss_stats st = {0};
  learner_loss_grpo.rows(p, &in, &st);
  double want = reference(p, r);
  assert_true(fabs(st.total - want) <= 1e-9 * (1 + fabs(want)));
  assert_true(fabs(st.policy + st.kl_loss - st.total) <= 1e-9 * (1 + fabs(want)));
  for (size_t t = 0; t < r->n; t++) {
    double s = slope(p, r, t);
    if (!(fabs(dlogp[t] - s) <= 1e-5 * (1 + fabs(s)))) fail_msg("token %zu: dlogp %g, differences give %g", t, (double)dlogp[t], s);
  }
  return st;
}

static learner_loss_params defaults(void) {
  return (learner_loss_params){.clip_low = 0.2, .clip_high = 0.28, .dual_clip = 3, .kl_beta = 0.02, .kl_estimator = AGRL_KL_K3, .gamma = 0.05};
}

static void test_random_rows(void **state) {
  (void)state;
  agrl_rng rng;
  agrl_rng_init(&rng, 7, 1);
  for (int trial = 0; trial < 600; trial++) {
    learner_loss_params p = defaults();
    row r = {.n = 1 + agrl_rng_below(&rng, MAX), .a = 4 * agrl_rng_f64(&rng) - 2, .guided = trial % 3 == 0, .has_ref = trial % 5 != 0};
    p.guided_loss = trial % 4 == 0 ? AGRL_GUIDED_PLAIN : trial % 4 == 1 ? AGRL_GUIDED_TIS : AGRL_GUIDED_GUIDE;
    if (trial % 7 == 0) p.dual_clip = 0;
    if (r.guided) r.has_ref = false;
    for (size_t t = 0; t < r.n; t++) {
      r.logp[t] = -5 * agrl_rng_f64(&rng);
      r.old[t] = r.logp[t] + 0.7 * agrl_rng_normal(&rng);
      r.ref[t] = r.logp[t] + 0.5 * agrl_rng_normal(&rng);
    }
    check(&p, &r);
  }
}

static void test_clip_sides(void **state) {
  (void)state;
  learner_loss_params p = defaults();
  row up = {.n = 4, .a = 1, .logp = {-1, -1, -1, -1}, .old = {-1, -1.5, -0.5, -1.1}};  // r: 1, 1.65, 0.61, 1.11
  learner_loss_stats st = check(&p, &up);
  assert_int_equal(st.clipped_high, 1);
  assert_int_equal(st.clipped_low + st.clipped_dual, 0);
  row down = {.n = 3, .a = -1, .logp = {-1, -1, -1}, .old = {-0.5, -1.5, -3}};  // r: 0.61, 1.65, 7.4
  st = check(&p, &down);
  assert_int_equal(st.clipped_low, 1);
  assert_int_equal(st.clipped_dual, 1);
  assert_int_equal(st.tokens, 3);
}

static void test_extreme_ratios(void **state) {
  (void)state;
  learner_loss_params p = defaults();
  for (int sign = -1; sign <= 1; sign += 2) {
    row r = {.n = 3, .a = sign, .has_ref = true, .logp = {-80, -1e-6, -30}, .old = {-1e-6, -80, -30}, .ref = {-1e-6, -90, -30}};
    learner_loss_stats st = check(&p, &r);
    assert_true(isfinite(st.total) && isfinite(st.ratio_sq));
    r.guided = true;
    r.has_ref = false;
    p.guided_loss = AGRL_GUIDED_GUIDE;
    check(&p, &r);
  }
}

static void test_one_token_and_no_advantage(void **state) {
  (void)state;
  learner_loss_params p = defaults();
  row one = {.n = 1, .a = 1.5, .has_ref = true, .logp = {-0.2}, .old = {-0.2}, .ref = {-0.3}};
  learner_loss_stats st = check(&p, &one);
  assert_float_equal(st.ratio, 1.0, 1e-12);
  row kl_only = {.n = 2, .a = 0, .has_ref = true, .logp = {-0.2, -1}, .old = {-0.2, -1}, .ref = {-0.3, -0.4}};
  st = check(&p, &kl_only);
  assert_float_equal(st.policy, 0, 0);
  assert_true(st.kl_loss > 0);
}

static void test_guided_rows_have_no_kl(void **state) {
  (void)state;
  learner_loss_params p = defaults();
  row r = {.n = 2, .a = 1, .guided = true, .has_ref = false, .logp = {-4, -2}, .old = {-0.1, -0.1}};
  learner_loss_stats without = check(&p, &r);
  float logp[] = {-4, -2}, old[] = {-0.1f, -0.1f}, ref[] = {-1, -1}, d[2];
  learner_loss_row in = {.n = 2, .logp = logp, .old = old, .ref = ref, .advantage = 1, .weight = 0.125 / 2, .guided = true, .dlogp = d};
  learner_loss_stats with = {0};
  learner_loss_grpo.rows(&p, &in, &with);
  assert_float_equal(with.total, without.total, 0);
  assert_int_equal(with.tokens, 0);
  assert_int_equal(with.guided_tokens, 2);
}

static void test_truncated_ratios_are_counted(void **state) {
  (void)state;
  float logp[] = {-30, -0.1f, -0.1f, -1}, old[] = {-0.1f, -30, -2, -1}, d[4];
  learner_loss_row in = {.n = 4, .logp = logp, .old = old, .advantage = 1, .dlogp = d};
  for (int guided = 0; guided < 3; guided++) {
    learner_loss_params p = defaults();
    p.guided_loss = guided == 2 ? AGRL_GUIDED_TIS : AGRL_GUIDED_GUIDE;
    in.guided = guided > 0;
    learner_loss_stats st = {0};
    learner_loss_grpo.rows(&p, &in, &st);
    assert_int_equal(st.truncated_low, 1);                       // e^-29.9, a bound of the exponent
    assert_int_equal(st.truncated_high, guided == 2 ? 2 : 1);    // e^29.9 in any loss; e^1.9 > 2 with tis only
  }
}

static void test_gamma(void **state) {
  (void)state;
  float r[] = {5, 1, 4, 2, 3};
  assert_float_equal(learner_guide_gamma(r, 5, 0.9, 1e-4), 4.6, 1e-6);
  assert_float_equal(learner_guide_gamma(r, 5, 1.0, 1e-4), 5, 0);
  assert_float_equal(learner_guide_gamma(r, 5, 0.0, 1e-4), 1, 0);
  assert_float_equal(learner_guide_gamma((float[]){1e-9f}, 1, 0.9, 1e-4), 1e-4, 0);
  assert_float_equal(learner_guide_gamma(NULL, 0, 0.9, 1e-4), 1e-4, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_random_rows),    cmocka_unit_test(test_clip_sides),
      cmocka_unit_test(test_extreme_ratios), cmocka_unit_test(test_one_token_and_no_advantage),
      cmocka_unit_test(test_truncated_ratios_are_counted),
      cmocka_unit_test(test_gamma),          cmocka_unit_test(test_guided_rows_have_no_kl),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
