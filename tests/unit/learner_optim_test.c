// SPDX-License-Identifier: Apache-2.0
// The optimiser over a whole layout against AdamW in float64: bias correction, decay of matrices only, clipping by the
// global norm, what is served, and a gradient that is not finite.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/mem.h"
#include "common/base/rng.h"
#include "common/tensor/tensor.h"
#include "learner/learner.h"

static agrl_layout *layout;
static learner_optim optim;

static int setup(void **state) {
  (void)state;
  agrl_spec s = {.arch = "llama", .n_layers = 1, .hidden = 8, .ffn = 16, .n_heads = 2, .n_kv_heads = 1, .head_dim = 4, .vocab = 32,
                 .context = 8, .rope_theta = 10000, .norm_eps = 1e-5f, .tied = true, .start_id = 0, .end_id = 1};
  if (agrl_tensor_init(NULL) != AGRL_OK || agrl_layout_new(&s, &layout, NULL) != AGRL_OK) return 1;
  float *block = agrl_xcalloc(layout->n_elements, sizeof *block);
  agrl_params_init(layout, block, 3);
  agrl_rc rc = learner_optim_init(&optim, layout, NULL, block, NULL);
  free(block);
  return rc != AGRL_OK;
}

static int teardown(void **state) {
  (void)state;
  learner_optim_release(&optim);
  agrl_layout_free(layout);
  return 0;
}

static void test_against_float64(void **state) {
  (void)state;
  size_t n = layout->n_elements;
  double *p = agrl_xcalloc(n, sizeof *p), *m = agrl_xcalloc(n, sizeof *m), *v = agrl_xcalloc(n, sizeof *v);
  learner_hyper h = {.lr = 1e-2, .weight_decay = 0.1, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .grad_clip = 1.0};
  agrl_rng rng;
  agrl_rng_init(&rng, 1, 2);
  for (size_t i = 0; i < n; i++) p[i] = optim.master[i];
  for (int step = 1; step <= 5; step++) {
    double sq = 0, norm, size = step % 2 ? 1e-3 : 1.0;  // odd steps stay under the clip
    bool clipped;
    learner_optim_zero_grads(&optim);
    for (size_t t = 0; t < layout->n_tensors; t++)
      for (size_t i = 0; i < layout->tensors[t].rows * layout->tensors[t].cols; i++) {
        float g = (float)(size * agrl_rng_normal(&rng));
        optim.grads[layout->tensors[t].offset + i] = g;
        sq += (double)g * g;
      }
    assert_true(learner_optim_step(&optim, NULL, &h, &norm, &clipped));
    assert_float_equal(norm, sqrt(sq), 1e-5 * sqrt(sq));
    assert_int_equal(clipped, sqrt(sq) > 1.0);
    double scale = sqrt(sq) > 1.0 ? 1.0 / sqrt(sq) : 1.0;
    for (size_t t = 0; t < layout->n_tensors; t++)
      for (size_t k = 0; k < layout->tensors[t].rows * layout->tensors[t].cols; k++) {
        size_t i = layout->tensors[t].offset + k;
        double g = scale * optim.grads[i];
        m[i] = 0.9 * m[i] + 0.1 * g;
        v[i] = 0.95 * v[i] + 0.05 * g * g;
        double mh = m[i] / (1 - pow(0.9, step)), vh = v[i] / (1 - pow(0.95, step));
        p[i] -= 1e-2 * (mh / (sqrt(vh) + 1e-8) + (layout->tensors[t].rows > 1 ? 0.1 * p[i] : 0.0));
        if (!(fabs(optim.master[i] - p[i]) < 2e-5)) fail_msg("%s step %d: %g, expected %g", layout->tensors[t].name, step, (double)optim.master[i], p[i]);
      }
  }
  assert_int_equal(optim.updates, 5);
  uint16_t *bf16 = agrl_xcalloc(n, sizeof *bf16);
  agrl_bf16_from_f32(bf16, optim.master, n);
  assert_memory_equal(bf16, optim.bf16, n * sizeof *bf16);  // what the fused step wrote is what a resume computes
  for (int form = 0; form < 2; form++) {  // and packed
    agrl_packed *want = agrl_packed_new(layout, (agrl_pack_form)form);
    const agrl_packed *got = form == AGRL_PACK_FWD ? optim.served.fwd : optim.served.bwd;
    agrl_packed_fill(want, NULL, bf16);
    for (int t = 0; t < (int)layout->n_tensors; t++) {
      const size_t rows = layout->tensors[t].rows, cols = layout->tensors[t].cols;
      const size_t words = form == AGRL_PACK_FWD ? agrl_packed_words(rows, cols) : agrl_packed_words(cols, rows);
      if (layout->tensors[t].decay && (t != layout->embed || t == layout->head))
        assert_memory_equal(agrl_packed_tensor(got, t), agrl_packed_tensor(want, t), words * 4);
    }
    agrl_packed_free(want);
  }
  free(bf16);
  free(p);
  free(m);
  free(v);
}

static void test_not_finite(void **state) {
  (void)state;
  learner_hyper h = {.lr = 1e-2, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8};
  agrl_sha256 before = learner_optim_hash(&optim);
  double norm;
  bool clipped;
  const float bad[] = {NAN, INFINITY};
  for (size_t i = 0; i < 2; i++) {
    learner_optim_zero_grads(&optim);
    optim.grads[5] = bad[i];
    uint64_t updates = optim.updates;
    assert_false(learner_optim_step(&optim, NULL, &h, &norm, &clipped));
    assert_int_equal(optim.updates, updates);
  }
  agrl_sha256 after = learner_optim_hash(&optim);
  assert_memory_equal(&before, &after, sizeof after);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_float64), cmocka_unit_test(test_not_finite)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
