// SPDX-License-Identifier: Apache-2.0
// Training forward against the float64 reference, gradients against finite differences of the reference in every tensor
// of every variant, and the promises of train.h: chunking, packing, accumulation, determinism, refusals.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/lib/model_check.h"

static void forward(agrl_trainer *t, const agrl_params *p, const agrl_batch *b, bool save, float *logp, float *entropy) {
  agrl_error err = {0};
  if (agrl_trainer_forward(t, p, b, save, logp, entropy, &err) != AGRL_OK) fail_msg("%s", err.msg);
}

static void forward_matches_reference(void **state) {
  static mc_batch m;
  double want[2048], want_entropy[2048];
  float logp[2048], entropy[2048], again[2048];
  for (int v = 0; v < MC_VARIANTS * 2; v++) {
    agrl_layout *l = mc_layout(v % MC_VARIANTS);
    const bool bf16 = v >= MC_VARIANTS;
    float *p = mc_params(l, 11, bf16);
    agrl_params w = mc_mode(l, p, bf16);
    double *pd = tc_doubles(p, l->n_elements);
    mc_fill(&m, l, 5, 1, 20, (uint64_t)v + 1);
    const size_t T = m.start[5];
    mc_reference(l, pd, bf16, &m.b, want, want_entropy);
    FOR_EACH_CPU(c) {
      agrl_trainer *t = mc_trainer(l, NULL, 128);
      forward(t, &w, &m.b, true, logp, entropy);
      // bf16: where an input lies within f32 error of a tie, the reference rounds it the other way, by 2^-8 of its value.
      tc_near("logp", logp, want, T, bf16 ? 5e-3 : 2e-5);
      tc_near("entropy", entropy, want_entropy, T, bf16 ? 5e-3 : 2e-5);
      forward(t, &w, &m.b, false, again, NULL);
      tc_same("forward without save", again, logp, T * sizeof *logp);
      agrl_trainer_free(t);
    }
    mc_mode_free(&w);
    free(p);
    free(pd);
    agrl_layout_free(l);
  }
}

typedef struct probe {
  const agrl_layout *l;
  double *params;
  const agrl_batch *b;
  const float *dlogp;
} probe;

static double reference_loss(const probe *x) {
  double logp[2048], loss = 0;
  mc_reference(x->l, x->params, false, x->b, logp, NULL);
  for (size_t i = 0; i < x->b->start[x->b->n_seqs]; i++) loss += (double)x->dlogp[i] * logp[i];
  return loss;
}

// Central differences at some elements of one tensor; the tolerance is relative to the tensor's largest probed gradient.
static void check_tensor(const probe *x, const agrl_tensor_desc *d, const float *grads, agrl_rng *r) {
  enum { PROBES = 8 };
  double want[PROBES], scale = 1e-3;
  size_t at[PROBES];
  const double h = 1e-4;
  for (int i = 0; i < PROBES; i++) {
    size_t e = agrl_rng_below(r, (uint32_t)(d->rows * d->cols));
    if (strcmp(d->name, "model.embed_tokens.weight") == 0)  // half of them in rows that are fed
      e = i % 2 ? e : (size_t)x->b->tokens[i] * d->cols + e % d->cols;
    at[i] = d->offset + e;
    const double keep = x->params[at[i]];
    x->params[at[i]] = keep + h;
    const double up = reference_loss(x);
    x->params[at[i]] = keep - h;
    want[i] = (up - reference_loss(x)) / (2 * h);
    x->params[at[i]] = keep;
    if (fabs(want[i]) > scale) scale = fabs(want[i]);
  }
  assert_true(scale > 1e-3);  // a tensor without influence would test nothing
  for (int i = 0; i < PROBES; i++)
    if (!(fabs((double)grads[at[i]] - want[i]) <= 1e-4 * scale))
      fail_msg("%s %s: gradient %zu is %.9g, want %.9g", x->l->spec.arch, d->name, at[i] - d->offset, (double)grads[at[i]],
               want[i]);
}

static void gradients_match_differences(void **state) {
  static mc_batch m;
  float logp[2048];
  for (int v = 0; v < MC_VARIANTS; v++) {
    agrl_layout *l = mc_layout(v);
    float *p = mc_params(l, 5, v % 3 == 0), *grads = tc_filled(l->n_elements, 0);
    agrl_params w = mc_mode(l, p, false);
    mc_fill(&m, l, 3, 3, 9, (uint64_t)v + 40);
    float *dlogp = tc_floats(m.start[3], 3, 1);
    agrl_trainer *t = mc_trainer(l, NULL, 64);
    forward(t, &w, &m.b, true, logp, NULL);
    agrl_trainer_backward(t, &w, &m.b, dlogp, grads);
    probe x = {l, tc_doubles(p, l->n_elements), &m.b, dlogp};
    agrl_rng r;
    agrl_rng_init(&r, 1, (uint64_t)v);
    for (size_t i = 0; i < l->n_tensors; i++) check_tensor(&x, &l->tensors[i], grads, &r);
    agrl_trainer_free(t);
    free(x.params);
    free(p);
    free(grads);
    free(dlogp);
    agrl_layout_free(l);
  }
}

// A batch of more targets than a chunk holds gives the sum of what its sequences give one by one.
static void chunks_and_packing_add_up(void **state) {
  enum { SEQS = 60 };
  static mc_batch m;
  float logp[2048], one[2048];
  agrl_layout *l = mc_layout(4);
  float *p = mc_params(l, 5, true), *packed = tc_filled(l->n_elements, 0), *summed = tc_filled(l->n_elements, 0);
  agrl_params w = mc_mode(l, p, true);
  mc_fill(&m, l, SEQS, 15, 30, 77);
  const size_t T = m.start[SEQS];
  size_t targets = 0;
  for (size_t i = 0; i < T; i++) targets += m.target[i] >= 0;
  assert_true(targets > 600 && T <= 2048);
  float *dlogp = tc_floats(T, 3, 1);
  agrl_trainer *t = mc_trainer(l, NULL, T);
  forward(t, &w, &m.b, true, logp, NULL);
  agrl_trainer_backward(t, &w, &m.b, dlogp, packed);
  for (size_t s = 0; s < SEQS; s++) {
    const size_t at = m.start[s], start[2] = {0, m.start[s + 1] - at};
    const agrl_batch b = {1, start, m.tokens + at, m.target + at, NULL};
    forward(t, &w, &b, true, one, NULL);
    tc_same("log-probs of a sequence alone", one, logp + at, start[1] * sizeof *one);
    agrl_trainer_backward(t, &w, &b, dlogp + at, summed);
  }
  double *want = tc_doubles(summed, l->n_elements);
  tc_near("gradient", packed, want, l->n_elements, 3e-4);
  agrl_trainer_free(t);
  mc_mode_free(&w);
  free(want);
  free(dlogp);
  free(p);
  free(packed);
  free(summed);
  agrl_layout_free(l);
}

static void threads_change_nothing(void **state) {
  static mc_batch m;
  agrl_layout *l = mc_layout(3);
  mc_fill(&m, l, 20, 3, 40, 5);
  const size_t T = m.start[20];
  float *p = mc_params(l, 5, false), *dlogp = tc_floats(T, 3, 1), first_logp[2048], logp[2048];
  for (int mode = 0; mode < 2; mode++) {
    agrl_params w = mc_mode(l, p, mode);
    float *first = NULL;
    for (unsigned threads = 1; threads <= 3; threads++) {
      agrl_pool *pool = agrl_pool_new(threads);
      agrl_trainer *t = mc_trainer(l, pool, T);
      float *grads = tc_filled(l->n_elements, 0);
      forward(t, &w, &m.b, true, first == NULL ? first_logp : logp, NULL);
      agrl_trainer_backward(t, &w, &m.b, dlogp, grads);
      if (first == NULL) {
        first = grads;
      } else {
        tc_same("log-probs with other threads", logp, first_logp, T * sizeof *logp);
        tc_same("gradients with other threads", grads, first, l->n_elements * sizeof *grads);
        free(grads);
      }
      agrl_trainer_free(t);
      agrl_pool_free(pool);
    }
    free(first);
    mc_mode_free(&w);
  }
  free(dlogp);
  free(p);
  agrl_layout_free(l);
}

// bf16 mode against f32 mode at the same (bf16) weights. Everything that enters a product is rounded with a relative
// error of at most 2^-9; what that adds up to over two layers is stated here: per tensor, the difference is below 4 % of
// the gradient in the 2-norm. (The largest is that of the keys' bias, a small difference of large terms.)
static void bf16_gradients_are_close(void **state) {
  static mc_batch m;
  float logp[2048];
  for (int v = 0; v < MC_VARIANTS; v++) {
    agrl_layout *l = mc_layout(v);
    float *p = mc_params(l, 5, true), *grads[2];
    mc_fill(&m, l, 12, 3, 30, 9);
    float *dlogp = tc_floats(m.start[12], 3, 1);
    FOR_EACH_CPU(c) {
      for (int mode = 0; mode < 2; mode++) {
        agrl_params w = mc_mode(l, p, mode);
        agrl_trainer *t = mc_trainer(l, NULL, 512);
        grads[mode] = tc_filled(l->n_elements, 0);
        forward(t, &w, &m.b, true, logp, NULL);
        agrl_trainer_backward(t, &w, &m.b, dlogp, grads[mode]);
        agrl_trainer_free(t);
        mc_mode_free(&w);
      }
      for (size_t i = 0; i < l->n_tensors; i++) {
        const agrl_tensor_desc *d = &l->tensors[i];
        tc_close(d->name, grads[1] + d->offset, grads[0] + d->offset, d->rows * d->cols, 0.04);
      }
      free(grads[0]), free(grads[1]);
    }
    free(p), free(dlogp);
    agrl_layout_free(l);
  }
}

static void no_targets_no_gradient(void **state) {
  static mc_batch m;
  float logp[64], entropy[64];
  agrl_layout *l = mc_layout(0);
  float *p = mc_params(l, 5, true), *grads = tc_filled(l->n_elements, 0), *zero = tc_filled(l->n_elements, 0);
  agrl_params w = mc_mode(l, p, true);
  mc_fill(&m, l, 2, 5, 9, 1);
  for (size_t i = 0; i < m.start[2]; i++) m.target[i] = -1;
  agrl_trainer *t = mc_trainer(l, NULL, 64);
  memset(logp, 1, sizeof logp);
  forward(t, &w, &m.b, true, logp, entropy);
  tc_same("log-probs without targets", logp, zero, m.start[2] * sizeof *logp);
  agrl_trainer_backward(t, &w, &m.b, zero, grads);
  tc_same("gradients without targets", grads, zero, l->n_elements * sizeof *grads);
  agrl_trainer_free(t);
  mc_mode_free(&w);
  free(p);
  free(grads);
  free(zero);
  agrl_layout_free(l);
}

static void bad_batches_are_refused(void **state) {
  static mc_batch m;
  float logp[256];
  agrl_error err;
  agrl_layout *l = mc_layout(0);
  float *p = mc_params(l, 5, true);
  agrl_params w = mc_mode(l, p, true);
  agrl_trainer *t = mc_trainer(l, NULL, 70);
  assert_true(agrl_trainer_bytes(t) > 70 * 2 * (2 * 20 + 2 * 24 + 2 * 12 + 4 + 2 * 28) * sizeof(float));
  mc_fill(&m, l, 2, 36, 36, 1);
  assert_int_equal(agrl_trainer_forward(t, &w, &m.b, true, logp, NULL, &err), AGRL_ELIMIT);
  mc_fill(&m, l, 1, 65, 65, 1);  // the context is 64
  assert_int_equal(agrl_trainer_forward(t, &w, &m.b, true, logp, NULL, &err), AGRL_ELIMIT);
  mc_fill(&m, l, 2, 10, 10, 1);
  m.tokens[3] = 37;
  assert_int_equal(agrl_trainer_forward(t, &w, &m.b, true, logp, NULL, &err), AGRL_EINVAL);
  m.tokens[3] = 3;
  m.target[4] = -2;
  assert_int_equal(agrl_trainer_forward(t, &w, &m.b, true, logp, NULL, &err), AGRL_EINVAL);
  m.target[4] = 37;
  assert_int_equal(agrl_trainer_forward(t, &w, &m.b, true, logp, NULL, &err), AGRL_EINVAL);
  m.target[4] = 36;
  assert_int_equal(agrl_trainer_forward(t, &w, &m.b, true, logp, NULL, &err), AGRL_OK);
  agrl_trainer *none;
  assert_int_equal(agrl_trainer_new(l, NULL, 0, AGRL_RECOMPUTE_NONE, &none, &err), AGRL_EINVAL);
  agrl_trainer_free(t);
  mc_mode_free(&w);
  free(p);
  agrl_layout_free(l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(forward_matches_reference), cmocka_unit_test(gradients_match_differences),
      cmocka_unit_test(chunks_and_packing_add_up), cmocka_unit_test(threads_change_nothing),
      cmocka_unit_test(bf16_gradients_are_close),
      cmocka_unit_test(no_targets_no_gradient),    cmocka_unit_test(bad_batches_are_refused),
  };
  if (agrl_tensor_init(NULL) != AGRL_OK) return 70;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
