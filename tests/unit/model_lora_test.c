// SPDX-License-Identifier: Apache-2.0
// Adapters: the merge against float64 and to the last bit on every instruction set, gradients against finite differences of
// the reference and against the full gradient that they are projections of, and what must not change.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/model/lora.h"
#include "tests/lib/model_check.h"

enum { ALL = 127, RANK = 3 };
static const double ALPHA = 5;  // scale 5/3: not a power of two

static agrl_lora *lora_new(const agrl_layout *l, size_t rank, double alpha, unsigned targets) {
  agrl_lora *x;
  agrl_error err = {0};
  if (agrl_lora_new(l, rank, alpha, targets, &x, &err) != AGRL_OK) fail_msg("%s", err.msg);
  return x;
}

static float *adapters(const agrl_lora *x, uint64_t seed, bool bf16) { return mc_params(x->layout, seed, bf16); }  // A and B random

static uint16_t *halves(const float *p, size_t n) {
  uint16_t *h = agrl_xcalloc(n, sizeof *h);
  agrl_bf16_from_f32(h, p, n);
  return h;
}

// params + scale B A in float64, for the adapted matrices.
static void merge_doubles(const agrl_lora *x, double *out, const double *base, const double *ab) {
  memcpy(out, base, x->model->n_elements * sizeof *out);
  for (size_t t = 0; t < x->model->n_tensors; t++) {
    if (x->a[t] < 0) continue;
    const agrl_tensor_desc *w = &x->model->tensors[t], *a = &x->layout->tensors[x->a[t]], *b = a + 1;
    for (size_t o = 0; o < w->rows; o++)
      for (size_t i = 0; i < w->cols; i++)
        for (size_t k = 0; k < x->rank; k++)
          out[w->offset + o * w->cols + i] += (double)x->scale * ab[b->offset + o * x->rank + k] * ab[a->offset + k * w->cols + i];
  }
}

static void merge_one(const agrl_layout *l, size_t rank, unsigned targets, agrl_pool *pool) {
  agrl_lora *x = lora_new(l, rank, ALPHA, targets);
  float *base = mc_params(l, 3, true), *ab = adapters(x, 4, true);
  double *bd = tc_doubles(base, l->n_elements), *ad = tc_doubles(ab, x->layout->n_elements), *want = agrl_xcalloc(l->n_elements, sizeof *want);
  uint16_t *b16 = halves(base, l->n_elements), *a16 = halves(ab, x->layout->n_elements), *first = NULL;
  merge_doubles(x, want, bd, ad);
  FOR_EACH_CPU(c) {
    uint16_t *got = agrl_xcalloc(l->n_elements, sizeof *got);
    memcpy(got, b16, l->n_elements * sizeof *got);
    agrl_lora_merge(x, c % 2 ? pool : NULL, got, b16, a16);
    float *wide = agrl_xcalloc(l->n_elements, sizeof *wide);
    agrl_f32_from_bf16(wide, got, l->n_elements);
    for (size_t i = 0; i < l->n_elements; i++)  // half a unit of bf16, and the error of the f32 sum
      if (!(fabs((double)wide[i] - want[i]) <= 1.0 / 256 * fabs(want[i]) + 1e-5)) fail_msg("element %zu: %g, want %g", i, (double)wide[i], want[i]);
    for (size_t t = 0; t < l->n_tensors; t++)
      if (x->a[t] < 0) tc_same("frozen", got + l->tensors[t].offset, b16 + l->tensors[t].offset, l->tensors[t].rows * l->tensors[t].cols * 2);
    if (first != NULL) tc_same("merged", got, first, l->n_elements * sizeof *got);
    free(wide);
    if (first == NULL) first = got;
    else free(got);
  }
  free(first);
  free(base), free(ab), free(bd), free(ad), free(want), free(b16), free(a16);
  agrl_lora_free(x);
}

static void merge_is_exact(void **state) {
  agrl_pool *pool = agrl_pool_new(2);
  for (int v = 0; v < MC_VARIANTS; v++) {
    agrl_layout *l = mc_layout(v);
    merge_one(l, 1, ALL, pool);
    merge_one(l, RANK, 1u << (v + 1), pool);
    merge_one(l, 12, ALL, pool);  // full rank of k and v
    agrl_layout_free(l);
  }
  agrl_spec s = {.arch = "llama", .n_layers = 1, .hidden = 130, .ffn = 530, .n_heads = 1, .n_kv_heads = 1, .head_dim = 130, .vocab = 9, .context = 8,
                 .rope_theta = 10000, .norm_eps = 1e-5f, .tied = true, .start_id = -1, .end_id = -1};
  agrl_layout *l;  // wider than a tile, of a rank above what is widened at a time
  assert_int_equal(agrl_layout_new(&s, &l, NULL), AGRL_OK);
  merge_one(l, 70, ALL, pool);
  agrl_layout_free(l);
  agrl_pool_free(pool);
}

// Fresh adapters change no bit, and are a function of the seed.
static void fresh_ones_add_nothing(void **state) {
  agrl_layout *l = mc_layout(2);
  agrl_lora *x = lora_new(l, RANK, ALPHA, ALL);
  const size_t n = x->layout->n_elements;
  float *p = mc_params(l, 3, true), *ab = agrl_xcalloc(n, sizeof *ab), *again = tc_filled(n, 7), *other = agrl_xcalloc(n, sizeof *other);
  agrl_lora_init(x, ab, 11);
  agrl_lora_init(x, again, 11);
  agrl_lora_init(x, other, 12);
  assert_memory_equal(ab, again, n * sizeof *ab);
  assert_memory_not_equal(ab, other, n * sizeof *ab);
  for (size_t t = 0; t < x->layout->n_tensors; t++) {
    const agrl_tensor_desc *d = &x->layout->tensors[t];
    double most = 0;
    for (size_t i = 0; i < d->rows * d->cols; i++)
      if (fabs((double)ab[d->offset + i]) > most) most = fabs((double)ab[d->offset + i]);
    if (t % 2) assert_true(most == 0);
    else assert_true(most <= 1 / sqrt((double)d->cols) && most > 0.8 / sqrt((double)d->cols));
  }
  uint16_t *b16 = halves(p, l->n_elements), *a16 = halves(ab, n), *got = agrl_xcalloc(l->n_elements, sizeof *got);
  memcpy(got, b16, l->n_elements * sizeof *got);
  agrl_lora_merge(x, NULL, got, b16, a16);
  assert_memory_equal(got, b16, l->n_elements * sizeof *got);
  free(p), free(ab), free(again), free(other), free(b16), free(a16), free(got);
  agrl_lora_free(x);
  agrl_layout_free(l);
}

static agrl_trainer *adapted(const agrl_layout *l, const agrl_lora *x, agrl_pool *pool, agrl_recompute policy) {
  agrl_trainer *t;
  agrl_error err = {0};
  if (agrl_trainer_new(l, pool, 128, policy, &t, &err) != AGRL_OK || agrl_trainer_adapt(t, x, &err) != AGRL_OK) fail_msg("%s", err.msg);
  return t;
}

typedef struct probe {
  const agrl_lora *x;
  const double *base;
  double *ab, *merged;
  const agrl_batch *b;
  const float *dlogp;
} probe;

static double reference_loss(const probe *p) {
  double logp[2048], loss = 0;
  merge_doubles(p->x, p->merged, p->base, p->ab);
  mc_reference(p->x->model, p->merged, false, p->b, logp, NULL);
  for (size_t i = 0; i < p->b->start[p->b->n_seqs]; i++) loss += (double)p->dlogp[i] * logp[i];
  return loss;
}

static void check_tensor(const probe *p, const agrl_tensor_desc *d, const float *grads, agrl_rng *r) {
  enum { PROBES = 6 };
  double want[PROBES], scale = 1e-3;
  size_t at[PROBES];
  const double h = 1e-4;
  for (int i = 0; i < PROBES; i++) {
    at[i] = d->offset + agrl_rng_below(r, (uint32_t)(d->rows * d->cols));
    const double keep = p->ab[at[i]];
    p->ab[at[i]] = keep + h;
    const double up = reference_loss(p);
    p->ab[at[i]] = keep - h;
    want[i] = (up - reference_loss(p)) / (2 * h);
    p->ab[at[i]] = keep;
    if (fabs(want[i]) > scale) scale = fabs(want[i]);
  }
  assert_true(scale > 1e-3);
  for (int i = 0; i < PROBES; i++)
    if (!(fabs((double)grads[at[i]] - want[i]) <= 2e-4 * scale))
      fail_msg("%s %s: gradient %zu is %.9g, want %.9g", p->x->model->spec.arch, d->name, at[i] - d->offset, (double)grads[at[i]], want[i]);
}

static void gradients_match_differences(void **state) {
  static const unsigned targets[MC_VARIANTS] = {ALL, ALL, 0x5, ALL, 0x48, 0x32};  // some: q and v; o and down; k, gate and up
  static mc_batch m;
  float logp[2048];
  for (int v = 0; v < MC_VARIANTS; v++) {
    agrl_layout *l = mc_layout(v);
    agrl_lora *x = lora_new(l, v == 1 ? 12 : RANK, ALPHA, targets[v]);
    float *p = mc_params(l, 5, false), *ab = adapters(x, 6, false), *grads = tc_filled(x->layout->n_elements, 0);
    double *base = tc_doubles(p, l->n_elements), *ad = tc_doubles(ab, x->layout->n_elements), *merged = agrl_xcalloc(l->n_elements, sizeof *merged);
    merge_doubles(x, merged, base, ad);
    for (size_t i = 0; i < l->n_elements; i++) p[i] = (float)merged[i];
    agrl_params w = {.f32 = p, .lora_f32 = ab};
    mc_fill(&m, l, 3, 3, 9, (uint64_t)v + 40);
    float *dlogp = tc_floats(m.start[3], 3, 1);
    agrl_trainer *t = adapted(l, x, NULL, AGRL_RECOMPUTE_NONE);
    assert_int_equal(agrl_trainer_forward(t, &w, &m.b, true, logp, NULL, NULL), AGRL_OK);
    agrl_trainer_backward(t, &w, &m.b, dlogp, grads);
    probe pr = {x, base, ad, merged, &m.b, dlogp};
    agrl_rng r;
    agrl_rng_init(&r, 1, (uint64_t)v);
    for (size_t i = 0; i < x->layout->n_tensors; i++) check_tensor(&pr, &x->layout->tensors[i], grads, &r);
    agrl_trainer_free(t);
    free(p), free(ab), free(grads), free(base), free(ad), free(merged), free(dlogp);
    agrl_lora_free(x);
    agrl_layout_free(l);
  }
}

// dB = s dW A^T and dA = s B^T dW, of the gradient that a trainer without adapters has at the same weights.
static void project(const agrl_lora *x, const float *dW, const float *ab, float *out) {
  for (size_t t = 0; t < x->model->n_tensors; t++) {
    if (x->a[t] < 0) continue;
    const agrl_tensor_desc *w = &x->model->tensors[t], *a = &x->layout->tensors[x->a[t]], *b = a + 1;
    for (size_t o = 0; o < w->rows; o++)
      for (size_t i = 0; i < w->cols; i++)
        for (size_t k = 0; k < x->rank; k++) {
          const float g = x->scale * dW[w->offset + o * w->cols + i];
          out[b->offset + o * x->rank + k] += g * ab[a->offset + k * w->cols + i];
          out[a->offset + k * w->cols + i] += g * ab[b->offset + o * x->rank + k];
        }
  }
}

static void gradients_project_the_full_ones(void **state) {
  static mc_batch m;
  float logp[2048], plain_logp[2048];
  agrl_pool *pool = agrl_pool_new(2);
  for (int v = 0; v < MC_VARIANTS; v++) {
    agrl_layout *l = mc_layout(v);
    agrl_lora *x = lora_new(l, RANK, ALPHA, ALL);
    const size_t n = x->layout->n_elements;
    float *p = mc_params(l, 5, true), *ab = adapters(x, 6, true);
    uint16_t *b16 = halves(p, l->n_elements), *a16 = halves(ab, n), *merged = halves(p, l->n_elements);
    agrl_lora_merge(x, NULL, merged, b16, a16);
    agrl_f32_from_bf16(p, merged, l->n_elements);
    agrl_params w = mc_mode(l, p, true), of = mc_mode(x->layout, ab, true);
    w.lora_fwd = of.fwd;
    w.lora_bwd = of.bwd;
    mc_fill(&m, l, 6, 5, 20, (uint64_t)v + 70);
    float *dlogp = tc_floats(m.start[6], 3, 1);
    FOR_EACH_CPU(c) {
      float *full = tc_filled(l->n_elements, 0), *want = tc_filled(n, 0), *got = tc_filled(n, 0), *again = tc_filled(n, 0), *fused = tc_filled(n, 0);
      agrl_trainer *plain = mc_trainer(l, NULL, 128);
      assert_int_equal(agrl_trainer_forward(plain, &w, &m.b, true, plain_logp, NULL, NULL), AGRL_OK);
      agrl_trainer_backward(plain, &w, &m.b, dlogp, full);
      project(x, full, ab, want);
      agrl_trainer *t = adapted(l, x, NULL, AGRL_RECOMPUTE_NONE), *t2 = adapted(l, x, pool, AGRL_RECOMPUTE_LAYER);
      assert_int_equal(agrl_trainer_forward(t, &w, &m.b, true, logp, NULL, NULL), AGRL_OK);
      tc_same("logp", logp, plain_logp, m.start[6] * sizeof *logp);
      agrl_trainer_backward(t, &w, &m.b, dlogp, got);
      for (size_t i = 0; i < x->layout->n_tensors; i++) {
        const agrl_tensor_desc *d = &x->layout->tensors[i];
        tc_close(d->name, got + d->offset, want + d->offset, d->rows * d->cols, 1e-2);
      }
      assert_int_equal(agrl_trainer_forward(t2, &w, &m.b, true, logp, NULL, NULL), AGRL_OK);
      agrl_trainer_backward(t2, &w, &m.b, dlogp, again);
      tc_same("recomputed, on two threads", again, got, n * sizeof *got);
      assert_int_equal(agrl_trainer_forward_backward(t, &w, &m.b, dlogp, logp, fused, NULL), AGRL_OK);
      tc_same("fused", fused, got, n * sizeof *got);
      agrl_trainer_free(plain);
      agrl_trainer_free(t);
      agrl_trainer_free(t2);
      free(full), free(want), free(got), free(again), free(fused);
    }
    mc_mode_free(&w);
    mc_mode_free(&of);
    free(p), free(ab), free(b16), free(a16), free(merged), free(dlogp);
    agrl_lora_free(x);
    agrl_layout_free(l);
  }
  agrl_pool_free(pool);
}

static void refused(const agrl_layout *l, size_t rank, double alpha, unsigned targets, const char *want) {
  agrl_lora *x;
  agrl_error err = {0};
  assert_int_equal(agrl_lora_new(l, rank, alpha, targets, &x, &err), AGRL_ECONFIG);
  assert_null(x);
  if (strstr(err.msg, want) == NULL) fail_msg("\"%s\" does not say \"%s\"", err.msg, want);
}

static void refuses_what_does_not_fit(void **state) {
  agrl_layout *l = mc_layout(0);  // hidden 20, k and v 12
  refused(l, 13, 1, ALL, "lora.rank: 13 is more than 12, the smaller side of model.layers.0.self_attn.k_proj.weight (12 x 20)");
  refused(l, 21, 1, 1, "lora.rank: 21 is more than 20, the smaller side of model.layers.0.self_attn.q_proj.weight");
  refused(l, 0, 1, ALL, "lora.rank");
  refused(l, 2, 0, ALL, "lora.alpha");
  refused(l, 2, NAN, ALL, "lora.alpha");
  refused(l, 2, 1, 0, "lora.targets");
  agrl_lora *x = lora_new(l, 13, 1, 1);  // q alone may have it
  assert_int_equal(x->layout->n_tensors, 4);
  assert_string_equal(x->layout->tensors[1].name, "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight");
  agrl_lora_free(x);
  agrl_layout_free(l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(merge_is_exact),
      cmocka_unit_test(fresh_ones_add_nothing),
      cmocka_unit_test(gradients_match_differences),
      cmocka_unit_test(gradients_project_the_full_ones),
      cmocka_unit_test(refuses_what_does_not_fit),
  };
  if (agrl_tensor_init(NULL) != AGRL_OK) return 70;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
