// SPDX-License-Identifier: Apache-2.0
// tests/golden/parity: directories that transformers wrote, of each family, and what transformers says of them in float32:
// logits, log-probs and the gradient of every parameter. Errors are relative to a tensor's largest value. With the weights as
// stored, f32 products: at most 1e-4 everywhere. With weights rounded to bf16, the actors' kernels: the bounds below, which
// hold where the operands of every linear layer are rounded to bf16 too, forward and backward (torch itself, rounding so, comes
// to 2.7e-3, 2.1e-2 and 3.9e-2 on these models: make_parity.py --check). The largest errors found are printed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/base/file.h"
#include "common/base/json.h"
#include "common/ckpt/hf.h"
#include "common/ckpt/safetensors.h"
#include "common/model/decode.h"
#include "tests/lib/model_check.h"

typedef struct bounds {
  double logp, logits, grad;  // of the log-probs asked for, of all logits, of gradients
} bounds;
static const bounds f32_bounds = {1e-4, 1e-4, 1e-4}, bf16_bounds = {1e-2, 4e-2, 8e-2};

enum { MAX_SEQS = 8, MAX_T = 256 };

typedef struct golden {
  agrl_layout *layout;
  float *block;
  size_t n_seqs, T, V;
  size_t start[MAX_SEQS + 1];
  int32_t tokens[MAX_T], target[MAX_T];
  float dlogp[MAX_T];
  agrl_map map;
  agrl_st expect;
} golden;

static char *path_of(const char *model, const char *file) {
  char name[96];
  snprintf(name, sizeof name, "golden/parity/%s/%s", model, file);
  return agrl_path_join(AGRL_TEST_DIR, name);
}

static void read_input(golden *g, const agrl_json *root) {
  const agrl_json *seqs = agrl_json_get(root, "sequences");
  g->n_seqs = agrl_json_len(seqs);
  assert_in_range(g->n_seqs, 1, MAX_SEQS);
  for (size_t s = 0; s < g->n_seqs; s++) {
    const agrl_json *ids = agrl_json_at(seqs, s), *target = agrl_json_at(agrl_json_get(root, "target"), s),
                    *dlogp = agrl_json_at(agrl_json_get(root, "dlogp"), s);
    for (size_t t = 0; t < agrl_json_len(ids); t++, g->T++) {
      int64_t id, want;
      double weight;
      assert_in_range(g->T, 0, MAX_T - 1);
      assert_true(agrl_json_i64(agrl_json_at(ids, t), &id) && agrl_json_i64(agrl_json_at(target, t), &want) &&
                  agrl_json_f64(agrl_json_at(dlogp, t), &weight));
      g->tokens[g->T] = (int32_t)id;
      g->target[g->T] = (int32_t)want;
      g->dlogp[g->T] = (float)weight;
    }
    g->start[s + 1] = g->T;
  }
}

static golden load(const char *model) {
  golden g = {0};
  agrl_error err = {0};
  agrl_json *root;
  char *dir = path_of(model, ""), *input = path_of(model, "input.json"), *expect = path_of(model, "expect.safetensors");
  if (agrl_ckpt_load(dir, &g.layout, &g.block, NULL, &err) || agrl_json_load(input, &root, &err) ||
      agrl_map_open(&g.map, expect, &err) || agrl_st_parse(g.map.data, g.map.len, expect, &g.expect, &err))
    fail_msg("%s", err.msg);
  g.V = (size_t)g.layout->spec.vocab;
  read_input(&g, root);
  agrl_json_free(root);
  free(dir);
  free(input);
  free(expect);
  return g;
}

static void release(golden *g) {
  agrl_st_release(&g->expect);
  agrl_map_close(&g->map);
  agrl_block_free(g->block, g->layout->n_elements * sizeof *g->block);
  agrl_layout_free(g->layout);
}

static float *want_of(const golden *g, const char *prefix, const char *name, size_t n) {
  char full[160];
  snprintf(full, sizeof full, "%s%s", prefix, name);
  const agrl_st_tensor *t = agrl_st_find(&g->expect, full);
  if (t == NULL || t->elements != n) fail_msg("%s: not in expect.safetensors with %zu values", full, n);
  float *out = agrl_xcalloc(n, sizeof *out);
  agrl_st_to_f32(t, out);
  return out;
}

static double worst;  // of the model and mode at hand

static void near(const char *what, const float *got, const float *want, size_t n, double bound) {
  double top = 0, off = 0;
  size_t at = 0;
  for (size_t i = 0; i < n; i++) {
    top = fmax(top, fabs((double)want[i]));
    const double d = fabs((double)got[i] - (double)want[i]);
    if (!(d <= off)) {
      off = d;
      at = i;
    }
  }
  assert_true(top > 1e-3);  // a tensor without influence would test nothing
  if (!(off / top <= bound)) fail_msg("%s: [%zu] is %.9g, want %.9g, %.3g of the largest", what, at, (double)got[at], (double)want[at], off / top);
  if (off / top > worst) worst = off / top;
}

static void check_gradients(const golden *g, agrl_trainer *t, const agrl_params *params, const char *prefix, const bounds *bound) {
  const agrl_batch b = {.n_seqs = g->n_seqs, .start = g->start, .tokens = g->tokens, .target = g->target};
  float *logp = agrl_xcalloc(g->T, sizeof *logp), *grads = agrl_xcalloc(g->layout->n_elements, sizeof *grads);
  agrl_error err = {0};
  if (agrl_trainer_forward(t, params, &b, true, logp, NULL, &err)) fail_msg("%s", err.msg);
  agrl_trainer_backward(t, params, &b, g->dlogp, grads);
  float *want = want_of(g, prefix, "logp", g->T);
  near("log-probs", logp, want, g->T, bound->logp);
  free(want);
  for (size_t i = 0; i < g->layout->n_tensors; i++) {
    const agrl_tensor_desc *d = &g->layout->tensors[i];
    char name[128];
    snprintf(name, sizeof name, "grad.%s", d->name);
    want = want_of(g, prefix, name, d->rows * d->cols);
    near(name, grads + d->offset, want, d->rows * d->cols, bound->grad);
    free(want);
  }
  free(logp);
  free(grads);
}

// All logits, seen as the log-probs of every token of the vocabulary: the batch once for each, with that one asked for everywhere.
static void check_all_logps(const golden *g, agrl_trainer *t, const agrl_params *params, const char *prefix, const bounds *bound) {
  float *logits = want_of(g, prefix, "logits", g->T * g->V), *logp = agrl_xcalloc(g->T, sizeof *logp),
        *got = agrl_xcalloc(g->T * g->V, sizeof *got), *want = agrl_xcalloc(g->T * g->V, sizeof *want);
  int32_t target[MAX_T];
  const agrl_batch b = {.n_seqs = g->n_seqs, .start = g->start, .tokens = g->tokens, .target = target};
  agrl_error err = {0};
  for (size_t v = 0; v < g->V; v++) {
    for (size_t i = 0; i < g->T; i++) target[i] = (int32_t)v;
    if (agrl_trainer_forward(t, params, &b, false, logp, NULL, &err)) fail_msg("%s", err.msg);
    for (size_t i = 0; i < g->T; i++) got[i * g->V + v] = logp[i];
  }
  for (size_t i = 0; i < g->T; i++) {
    double sum = 0;
    for (size_t v = 0; v < g->V; v++) sum += exp((double)logits[i * g->V + v]);
    for (size_t v = 0; v < g->V; v++) want[i * g->V + v] = (float)((double)logits[i * g->V + v] - log(sum));
  }
  near("log-probs of the whole vocabulary", got, want, g->T * g->V, bound->logits);
  free(logits);
  free(logp);
  free(got);
  free(want);
}

// What actors compute: the logits after every prefix.
static void check_decoder(const golden *g, const float *params, const char *prefix, const bounds *bound) {
  float *want = want_of(g, prefix, "logits", g->T * g->V), *got = agrl_xcalloc(g->T * g->V, sizeof *got);
  agrl_decoder *d;
  agrl_error err = {0};
  if (agrl_decoder_new(g->layout, NULL, 1, 64, 1, &d, &err)) fail_msg("%s", err.msg);
  agrl_weights *w = agrl_weights_from_f32(g->layout, params, 1);
  agrl_weights_pack(w, NULL);
  for (size_t s = 0; s < g->n_seqs; s++)
    for (size_t i = g->start[s]; i < g->start[s + 1]; i++) {
      agrl_prefix *p = agrl_decoder_prefill(d, w, g->tokens + g->start[s], i + 1 - g->start[s], got + i * g->V);
      assert_non_null(p);
      agrl_prefix_unref(d, p);
    }
  near("the decoder's logits", got, want, g->T * g->V, bound->logits);
  agrl_weights_unref(w);
  agrl_decoder_free(d);
  free(want);
  free(got);
}

static void check_model(const char *model, bool scaled, bool stops) {
  golden g = load(model);
  assert_int_equal(g.layout->spec.rope.factor > 0, scaled);
  assert_int_equal(g.layout->spec.n_stops > 0, stops);
  const size_t n = g.layout->n_elements;
  uint16_t *half = agrl_xcalloc(n, sizeof *half);
  agrl_bf16_from_f32(half, g.block, n);
  agrl_packed *fwd = agrl_packed_new(g.layout, AGRL_PACK_FWD), *bwd = agrl_packed_new(g.layout, AGRL_PACK_BWD);
  agrl_packed_fill(fwd, NULL, half);
  agrl_packed_fill(bwd, NULL, half);
  const agrl_params f32 = {.f32 = g.block}, bf16 = {.bf16 = half, .fwd = fwd, .bwd = bwd};
  FOR_EACH_CPU(c) {
    agrl_trainer *t = mc_trainer(g.layout, NULL, MAX_T);
    worst = 0;
    check_gradients(&g, t, &f32, "", &f32_bounds);
    check_all_logps(&g, t, &f32, "", &f32_bounds);
    print_message("%s on %s, f32: within %.1e; ", model, agrl_cpu_name(c), worst);
    worst = 0;
    check_gradients(&g, t, &bf16, "bf16.", &bf16_bounds);
    check_all_logps(&g, t, &bf16, "bf16.", &bf16_bounds);
    check_decoder(&g, g.block, "bf16.", &bf16_bounds);
    print_message("bf16: within %.1e\n", worst);
    agrl_trainer_free(t);
  }
  agrl_packed_free(fwd);
  agrl_packed_free(bwd);
  free(half);
  release(&g);
}

static void llama(void **state) { check_model("llama", false, false); }
static void llama3(void **state) { check_model("llama3", true, true); }
static void smollm2(void **state) { check_model("smollm2", false, false); }
static void qwen2(void **state) { check_model("qwen2", false, false); }
static void qwen3(void **state) { check_model("qwen3", false, false); }

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(llama), cmocka_unit_test(llama3), cmocka_unit_test(smollm2), cmocka_unit_test(qwen2),
                                     cmocka_unit_test(qwen3)};
  if (agrl_tensor_init(NULL) != AGRL_OK) return 70;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
