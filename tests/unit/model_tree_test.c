// SPDX-License-Identifier: Apache-2.0
// Training on shared prompts: log-probs and gradients against the float64 reference and its differences; log-probs equal,
// bit by bit, to those of the sequences unshared and to the actor's; what recomputation, threads and the fused forward and
// backward must not change; page faults of a steady state.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "common/model/decode.h"
#include "tests/lib/model_check.h"

enum { GROUPS = 3, CAP = 512 };

typedef struct tree {  // the same rollouts shared and unshared
  mc_batch shared, plain;
  int32_t parent[64];
  size_t plain_at[CAP];  // of a shared position with a target, where it is in the plain batch
} tree;

// Groups of prompts of 1 to 30 tokens with 1 to 5 completions of 1 to 25; a prompt of one token has nothing to share.
static void fill(tree *t, const agrl_layout *l, uint64_t seed) {
  static const size_t prompts[GROUPS] = {30, 1, 17}, members[GROUPS] = {5, 2, 3};
  agrl_rng r;
  agrl_rng_init(&r, seed, 1);
  size_t ns = 0, np = 0, at = 0, pat = 0;
  for (size_t g = 0; g < GROUPS; g++) {
    int32_t p[32];
    const size_t n = prompts[g];
    for (size_t i = 0; i < n; i++) p[i] = (int32_t)agrl_rng_below(&r, (uint32_t)l->spec.vocab);
    const int32_t up = n > 1 ? (int32_t)ns : -1;
    if (n > 1) {
      t->shared.start[ns] = at;
      t->parent[ns++] = -1;
      for (size_t i = 0; i + 1 < n; i++, at++) t->shared.tokens[at] = p[i], t->shared.target[at] = -1;
    }
    for (size_t m = 0; m < members[g]; m++) {
      int32_t c[26];
      const size_t len = 1 + agrl_rng_below(&r, 25);
      for (size_t i = 0; i < len; i++) c[i] = (int32_t)agrl_rng_below(&r, (uint32_t)l->spec.vocab);
      t->shared.start[ns] = at;
      t->parent[ns++] = up;
      t->plain.start[np++] = pat;
      for (size_t i = 0; i + 1 < n; i++, pat++) t->plain.tokens[pat] = p[i], t->plain.target[pat] = -1;
      for (size_t i = 0; i < len; i++, at++, pat++) {
        t->shared.tokens[at] = t->plain.tokens[pat] = i == 0 ? p[n - 1] : c[i - 1];
        t->shared.target[at] = t->plain.target[pat] = c[i];
        t->plain_at[at] = pat;
      }
    }
  }
  t->shared.start[ns] = at;
  t->plain.start[np] = pat;
  assert_true(at < CAP && pat < CAP);
  t->shared.b = (agrl_batch){ns, t->shared.start, t->shared.tokens, t->shared.target, t->parent};
  t->plain.b = (agrl_batch){np, t->plain.start, t->plain.tokens, t->plain.target, NULL};
}

static size_t size_of(const agrl_batch *b) { return b->start[b->n_seqs]; }

static void forward(agrl_trainer *t, const agrl_params *p, const agrl_batch *b, bool save, float *logp, float *entropy) {
  agrl_error err = {0};
  if (agrl_trainer_forward(t, p, b, save, logp, entropy, &err) != AGRL_OK) fail_msg("%s", err.msg);
}

static void shared_equals_plain(void **state) {
  static tree t;
  static double want[CAP];
  float logp[CAP], plain[CAP], entropy[CAP], plain_entropy[CAP], dlogp_plain[CAP] = {0};
  for (int v = 0; v < MC_VARIANTS; v++) {
    agrl_layout *l = mc_layout(v);
    float *p = mc_params(l, 11, v % 2 == 0);
    agrl_params w = mc_mode(l, p, v % 2 == 0);
    double *pd = tc_doubles(p, l->n_elements);
    fill(&t, l, (uint64_t)v + 3);
    const size_t T = size_of(&t.shared.b), P = size_of(&t.plain.b);
    assert_true(T * 3 < P * 2);
    mc_reference(l, pd, v % 2 == 0, &t.shared.b, want, NULL);
    float *dlogp = tc_floats(T, 3, 1), *grads = tc_filled(l->n_elements, 0), *plain_grads = tc_filled(l->n_elements, 0);
    FOR_EACH_CPU(c) {
      agrl_trainer *a = mc_trainer(l, NULL, CAP);
      forward(a, &w, &t.plain.b, true, plain, plain_entropy);
      for (size_t i = 0; i < T; i++)
        if (t.shared.target[i] >= 0) dlogp_plain[t.plain_at[i]] = dlogp[i];
      memset(plain_grads, 0, l->n_elements * sizeof *plain_grads);
      agrl_trainer_backward(a, &w, &t.plain.b, dlogp_plain, plain_grads);
      forward(a, &w, &t.shared.b, true, logp, entropy);
      memset(grads, 0, l->n_elements * sizeof *grads);
      agrl_trainer_backward(a, &w, &t.shared.b, dlogp, grads);
      tc_near("shared log-probs", logp, want, T, v % 2 == 0 ? 5e-3 : 2e-5);
      for (size_t i = 0; i < T; i++) {
        if (t.shared.target[i] < 0) continue;
        if (logp[i] != plain[t.plain_at[i]] || entropy[i] != plain_entropy[t.plain_at[i]])
          fail_msg("position %zu: shared %.9g, alone %.9g: must be equal", i, (double)logp[i], (double)plain[t.plain_at[i]]);
      }
      // bf16: the prompt's gradients enter products as one rounded sum, or rounded one by one.
      tc_close("gradients, shared and not", grads, plain_grads, l->n_elements, v % 2 == 0 ? 0.01 : 1e-5);
      agrl_trainer_free(a);
    }
    mc_mode_free(&w);
    free(p), free(pd), free(dlogp), free(grads), free(plain_grads);
    agrl_layout_free(l);
  }
}

static double reference_loss(const agrl_layout *l, const double *params, const agrl_batch *b, const float *dlogp) {
  static double logp[CAP];
  double loss = 0;
  mc_reference(l, params, false, b, logp, NULL);
  for (size_t i = 0; i < size_of(b); i++) loss += (double)dlogp[i] * logp[i];
  return loss;
}

// Central differences of the float64 reference at some elements of every tensor.
static void gradients_match_differences(void **state) {
  enum { PROBES = 3 };
  static tree t;
  float logp[CAP];
  for (int v = 0; v < MC_VARIANTS; v++) {
    agrl_layout *l = mc_layout(v);
    float *p = mc_params(l, 5, v % 3 == 0), *grads = tc_filled(l->n_elements, 0);
    agrl_params w = mc_mode(l, p, false);
    double *pd = tc_doubles(p, l->n_elements);
    fill(&t, l, (uint64_t)v + 40);
    float *dlogp = tc_floats(size_of(&t.shared.b), 3, 1);
    agrl_trainer *a = mc_trainer(l, NULL, CAP);
    forward(a, &w, &t.shared.b, true, logp, NULL);
    agrl_trainer_backward(a, &w, &t.shared.b, dlogp, grads);
    agrl_rng r;
    agrl_rng_init(&r, 2, (uint64_t)v);
    for (size_t i = 0; i < l->n_tensors; i++) {
      const agrl_tensor_desc *d = &l->tensors[i];
      double want[PROBES], got[PROBES], scale = 1e-3;
      for (int k = 0; k < PROBES; k++) {
        const size_t at = d->offset + agrl_rng_below(&r, (uint32_t)(d->rows * d->cols));
        const double keep = pd[at], h = 1e-4;
        pd[at] = keep + h;
        const double up = reference_loss(l, pd, &t.shared.b, dlogp);
        pd[at] = keep - h;
        want[k] = (up - reference_loss(l, pd, &t.shared.b, dlogp)) / (2 * h);
        pd[at] = keep;
        got[k] = (double)grads[at];
        scale = fmax(scale, fabs(want[k]));
      }
      for (int k = 0; k < PROBES; k++)
        if (!(fabs(got[k] - want[k]) <= 2e-4 * scale)) fail_msg("%s: gradient is %.9g, want %.9g", d->name, got[k], want[k]);
    }
    agrl_trainer_free(a);
    free(p), free(pd), free(grads), free(dlogp);
    agrl_layout_free(l);
  }
}

// The actor's log-probs of every member, from one shared prefix, equal the learner's on the tree.
static void actor_equals_learner(void **state) {
  static tree t;
  float logp[CAP], logits[8 * 64];
  agrl_layout *l = mc_layout(5);
  float *p = mc_params(l, 21, true);
  agrl_params w = mc_mode(l, p, true);
  const size_t V = (size_t)l->spec.vocab;
  FOR_EACH_CPU(c) {
    agrl_pool *pool = agrl_pool_new(2);
    agrl_weights *weights = mc_weights(l, p, 1);
    agrl_trainer *a = mc_trainer(l, pool, CAP);
    agrl_decoder *d = NULL;
    assert_int_equal(agrl_decoder_new(l, pool, 8, 32, 26, &d, NULL), AGRL_OK);
    fill(&t, l, 8);
    forward(a, &w, &t.shared.b, false, logp, NULL);
    const agrl_batch *b = &t.shared.b;
    for (size_t s = 0; s < b->n_seqs; s++) {
      if (b->parent[s] >= 0 || s + 1 == b->n_seqs || b->parent[s + 1] != (int32_t)s) continue;
      const size_t n = b->start[s + 1] - b->start[s], first = s + 1;
      size_t members = 0;
      int32_t prompt[32], feed[8];
      memcpy(prompt, b->tokens + b->start[s], n * sizeof *prompt);
      prompt[n] = b->tokens[b->start[first]];
      agrl_prefix *prefix = agrl_decoder_prefill(d, weights, prompt, n + 1, logits);
      agrl_seq *seqs[8], *open[8];
      while (first + members < b->n_seqs && b->parent[first + members] == (int32_t)s) members++;
      for (size_t m = 0; m < members; m++) {
        open[m] = agrl_seq_open(d, prefix);
        if (m > 0) memcpy(logits + m * V, logits, V * sizeof *logits);
      }
      for (size_t i = 0, live = members; live > 0; i++) {  // row r of logits: the r-th member still going
        size_t next = 0, r = 0;
        for (size_t m = 0; m < members; m++) {
          const size_t at = b->start[first + m] + i, end = b->start[first + m + 1];
          if (at >= end) continue;
          float lse;
          agrl_logsumexp(NULL, &lse, logits + r * V, 1, V);
          assert_true(logits[r * V + (size_t)b->target[at]] - lse == logp[at]);
          r++;
          if (at + 1 == end) continue;
          feed[next] = b->tokens[at + 1];
          seqs[next++] = open[m];
        }
        assert_int_equal(r, live);
        live = next;
        agrl_decoder_step(d, weights, seqs, feed, next, logits);
      }
      for (size_t m = 0; m < members; m++) agrl_seq_close(d, open[m]);
      agrl_prefix_unref(d, prefix);
    }
    agrl_decoder_free(d);
    agrl_trainer_free(a);
    agrl_weights_unref(weights);
    agrl_pool_free(pool);
  }
  mc_mode_free(&w);
  free(p);
  agrl_layout_free(l);
}

typedef struct result {
  float logp[CAP], *grads;
} result;

static result run(const agrl_layout *l, const agrl_params *w, const tree *t, const float *dlogp, unsigned threads, agrl_recompute policy,
                  bool fused, size_t *bytes) {
  result r = {.grads = tc_filled(l->n_elements, 0)};
  agrl_pool *pool = agrl_pool_new(threads);
  agrl_trainer *a = NULL;
  assert_int_equal(agrl_trainer_new(l, pool, CAP, policy, &a, NULL), AGRL_OK);
  for (int i = 0; i < 2; i++) {  // twice: what the first leaves behind must not matter
    memset(r.grads, 0, l->n_elements * sizeof *r.grads);
    if (fused) {
      assert_int_equal(agrl_trainer_forward_backward(a, w, &t->shared.b, dlogp, r.logp, r.grads, NULL), AGRL_OK);
    } else {
      forward(a, w, &t->shared.b, true, r.logp, NULL);
      agrl_trainer_backward(a, w, &t->shared.b, dlogp, r.grads);
    }
  }
  if (bytes != NULL) *bytes = agrl_trainer_bytes(a);
  agrl_trainer_free(a);
  agrl_pool_free(pool);
  return r;
}

static void threads_and_policies_change_nothing(void **state) {
  static tree t;
  for (int v = 0; v < MC_VARIANTS; v++) {
    agrl_layout *l = mc_layout(v);
    float *p = mc_params(l, 5, v % 2 == 0);
    agrl_params w = mc_mode(l, p, v % 2 == 0);
    fill(&t, l, 6);
    const size_t T = size_of(&t.shared.b);
    float *dlogp = tc_floats(T, 3, 1);
    size_t kept, few;
    result first = run(l, &w, &t, dlogp, 1, AGRL_RECOMPUTE_NONE, false, &kept);
    for (unsigned i = 1; i < 12; i++) {
      result other = run(l, &w, &t, dlogp, 1 + i % 3, i / 3 % 2 ? AGRL_RECOMPUTE_LAYER : AGRL_RECOMPUTE_NONE, i / 6, &few);
      tc_same("log-probs", other.logp, first.logp, T * sizeof *first.logp);
      tc_same("gradients", other.grads, first.grads, l->n_elements * sizeof *first.grads);
      if (i / 3 % 2) assert_true(few < kept);
      free(other.grads);
    }
    mc_mode_free(&w);
    free(first.grads), free(p), free(dlogp);
    agrl_layout_free(l);
  }
}

static void bad_parents_are_refused(void **state) {
  static tree t;
  float logp[CAP];
  agrl_error err;
  agrl_layout *l = mc_layout(0);
  float *p = mc_params(l, 5, true);
  agrl_params w = mc_mode(l, p, true);
  agrl_trainer *a = mc_trainer(l, NULL, CAP);
  static const struct {
    size_t at;
    int32_t parent;
  } bad[] = {{0, 0}, {1, 1}, {2, 1}, {3, 99}, {10, 0}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    fill(&t, l, 1);
    t.parent[bad[i].at] = bad[i].parent;
    assert_int_equal(agrl_trainer_forward(a, &w, &t.shared.b, true, logp, NULL, &err), AGRL_EINVAL);
  }
  fill(&t, l, 1);
  forward(a, &w, &t.shared.b, true, logp, NULL);
  for (size_t s = 2; s <= t.shared.b.n_seqs; s++) t.shared.start[s] += 40;  // 29 of the parent, 40 or more of its own: over 64
  assert_int_equal(agrl_trainer_forward(a, &w, &t.shared.b, true, logp, NULL, &err), AGRL_ELIMIT);
  agrl_trainer_free(a);
  mc_mode_free(&w);
  free(p);
  agrl_layout_free(l);
}

static void steady_state_has_no_page_faults(void **state) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  skip();
#endif
  static tree t;
  static float logp[CAP];
  agrl_layout *l = mc_layout(4);
  float *p = mc_params(l, 5, true), *grads = tc_filled(l->n_elements, 0);
  agrl_params w = mc_mode(l, p, true);
  agrl_trainer *a = mc_trainer(l, NULL, CAP);
  fill(&t, l, 6);
  float *dlogp = tc_floats(size_of(&t.shared.b), 3, 1);
  struct rusage before, after;
  for (int i = 0; i < 12; i++) {
    if (i == 2) getrusage(RUSAGE_THREAD, &before);
    forward(a, &w, &t.shared.b, true, logp, NULL);
    agrl_trainer_backward(a, &w, &t.shared.b, dlogp, grads);
  }
  getrusage(RUSAGE_THREAD, &after);
  assert_true(after.ru_minflt - before.ru_minflt <= 5);  // a few may come from the kernel's own doing; one a step is 10
  agrl_trainer_free(a);
  mc_mode_free(&w);
  free(p), free(grads), free(dlogp);
  agrl_layout_free(l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(shared_equals_plain),     cmocka_unit_test(gradients_match_differences),
      cmocka_unit_test(actor_equals_learner),    cmocka_unit_test(threads_and_policies_change_nothing),
      cmocka_unit_test(bad_parents_are_refused), cmocka_unit_test(steady_state_has_no_page_faults),
  };
  if (agrl_tensor_init(NULL) != AGRL_OK) return 70;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
