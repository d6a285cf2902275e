// SPDX-License-Identifier: Apache-2.0
// The parameter table against published parameter counts, the refusals of agrl_spec_check, initial values, and the
// reference counting and hashing of weight snapshots.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/model/weights.h"
#include "tests/lib/model_check.h"

static agrl_spec shape(const char *arch, int layers, int hidden, int ffn, int heads, int kv, int dim, int vocab, bool tied) {
  agrl_spec s = {.n_layers = layers, .hidden = hidden, .ffn = ffn, .n_heads = heads, .n_kv_heads = kv, .head_dim = dim,
                 .vocab = vocab,
                 .context = 2048, .rope_theta = 10000, .norm_eps = 1e-5f, .tied = tied, .start_id = -1, .end_id = -1};
  snprintf(s.arch, sizeof s.arch, "%s", arch);
  s.qkv_bias = strcmp(arch, "qwen2") == 0;
  s.qk_norm = strcmp(arch, "qwen3") == 0;
  return s;
}

static void published_counts(void **state) {
  const struct {
    agrl_spec spec;
    size_t params;
  } known[] = {
      {shape("llama", 30, 576, 1536, 9, 3, 64, 49152, true), 134515008},       // SmolLM2-135M
      {shape("qwen2", 24, 896, 4864, 14, 2, 64, 151936, true), 494032768},     // Qwen2.5-0.5B
      {shape("qwen3", 28, 1024, 3072, 16, 8, 128, 151936, true), 596049920},   // Qwen3-0.6B
      {shape("llama", 22, 2048, 5632, 32, 4, 64, 32000, false), 1100048384},   // TinyLlama-1.1B
  };
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    agrl_layout *l;
    assert_int_equal(agrl_layout_new(&known[i].spec, &l, NULL), AGRL_OK);
    assert_int_equal(agrl_layout_params(l), known[i].params);
    agrl_layout_free(l);
  }
}

static void table_is_sound(void **state) {
  for (int v = 0; v < MC_VARIANTS; v++) {
    agrl_layout *l = mc_layout(v);
    size_t end = 0;
    for (size_t i = 0; i < l->n_tensors; i++) {
      const agrl_tensor_desc *t = &l->tensors[i];
      assert_int_equal(t->offset % 32, 0);
      assert_true(t->offset >= end);
      end = t->offset + t->rows * t->cols;
      assert_int_equal(agrl_layout_find(l, t->name), i);
      assert_int_equal(t->decay, strstr(t->name, "norm") == NULL && strstr(t->name, "bias") == NULL);
    }
    assert_true(end <= l->n_elements);
    assert_int_equal(l->head == l->embed, l->spec.tied);
    assert_int_equal(agrl_layout_find(l, "lm_head.weight") >= 0, !l->spec.tied);
    assert_int_equal(l->layers[1].q_bias >= 0, l->spec.qkv_bias);
    assert_int_equal(l->layers[1].k_norm >= 0, l->spec.qk_norm);
    assert_string_equal(l->tensors[l->layers[1].down].name, "model.layers.1.mlp.down_proj.weight");
    assert_int_equal(agrl_layout_find(l, "model.layers.2.mlp.down_proj.weight"), -1);
    agrl_layout_free(l);
  }
}

static void bad_shapes_are_named(void **state) {
  const agrl_spec good = shape("llama", 2, 32, 64, 4, 2, 8, 100, true);
  agrl_error err;
  assert_int_equal(agrl_spec_check(&good, &err), AGRL_OK);
#define REFUSED(change, code, word)                        \
  do {                                                     \
    agrl_spec s = good;                                    \
    change;                                                \
    assert_int_equal(agrl_spec_check(&s, &err), code);     \
    assert_non_null(strstr(err.msg, word));                \
  } while (0)
  REFUSED(s.n_layers = 0, AGRL_EINVAL, "layers");
  REFUSED(s.n_kv_heads = 3, AGRL_EINVAL, "kv_heads");
  REFUSED(s.head_dim = 7, AGRL_EINVAL, "head_dim");
  REFUSED(s.vocab = -5, AGRL_EINVAL, "vocab");
  REFUSED(s.end_id = 100, AGRL_EINVAL, "end token");
  REFUSED(s.n_stops = AGRL_SPEC_MAX_STOPS + 1, AGRL_EINVAL, "stop tokens");
  REFUSED((s.n_stops = 1, s.stop_ids[0] = 100), AGRL_EINVAL, "stop token 100 is outside");
  REFUSED((s.n_stops = 1, s.stop_ids[0] = -2), AGRL_EINVAL, "stop token -2 is outside");
  REFUSED((s.n_stops = 2, s.stop_ids[0] = s.stop_ids[1] = 9), AGRL_EINVAL, "stop token 9 is given twice");
  REFUSED((s.n_stops = 1, s.end_id = s.stop_ids[0] = 9), AGRL_EINVAL, "stop token 9 is given twice");
  REFUSED((s.rope = (agrl_rope_scaling){0.5f, 1, 4, 8}), AGRL_EINVAL, "factor 0.5");
  REFUSED((s.rope = (agrl_rope_scaling){8, 4, 4, 8}), AGRL_EINVAL, "high_freq_factor 4");
  REFUSED((s.rope = (agrl_rope_scaling){8, NAN, 4, 8}), AGRL_EINVAL, "low_freq_factor");
  REFUSED((s.rope = (agrl_rope_scaling){8, 1, 4, 0}), AGRL_EINVAL, "original_max_position_embeddings 0");
  REFUSED(s.rope_theta = NAN, AGRL_EINVAL, "rope_theta");
  REFUSED(s.norm_eps = -1, AGRL_EINVAL, "norm_eps");
  REFUSED(s.qkv_bias = true, AGRL_EUNSUPPORTED, "biases");
  REFUSED(s.qk_norm = true, AGRL_EUNSUPPORTED, "norms");
  REFUSED(strcpy(s.arch, "gpt2"), AGRL_EUNSUPPORTED, "gpt2");
  REFUSED(memset(s.arch, 'x', sizeof s.arch), AGRL_EINVAL, "name");
#undef REFUSED
}

static void initial_values(void **state) {
  agrl_layout *l = mc_layout(2);
  float *a = agrl_xcalloc(l->n_elements, sizeof *a), *b = agrl_xcalloc(l->n_elements, sizeof *b);
  agrl_params_init(l, a, 1);
  agrl_params_init(l, b, 1);
  tc_same("init", a, b, l->n_elements * sizeof *a);
  agrl_params_init(l, b, 2);
  assert_memory_not_equal(a, b, l->n_elements * sizeof *a);
  const float *norm = a + l->tensors[l->final_norm].offset, *bias = a + l->tensors[l->layers[0].q_bias].offset;
  assert_float_equal(norm[3], 1.0f, 0);
  assert_float_equal(bias[3], 0.0f, 0);
  for (int pass = 0; pass < 2; pass++) {  // embeddings at 0.02, residual projections at 0.02 / sqrt(4)
    const agrl_tensor_desc *t = &l->tensors[pass == 0 ? l->embed : l->layers[1].down];
    double sum = 0;
    for (size_t i = 0; i < t->rows * t->cols; i++) sum += (double)a[t->offset + i] * (double)a[t->offset + i];
    assert_float_equal(sqrt(sum / (double)(t->rows * t->cols)), pass == 0 ? 0.02 : 0.01, pass == 0 ? 0.002 : 0.001);
  }
  free(a);
  free(b);
  agrl_layout_free(l);
}

static void weight_snapshots(void **state) {
  agrl_layout *l = mc_layout(2);
  float *p = mc_params(l, 1, false);
  uint16_t *h = agrl_xcalloc(l->n_elements, sizeof *h);
  agrl_bf16_from_f32(h, p, l->n_elements);
  agrl_weights *a = agrl_weights_from_f32(l, p, AGRL_VERSION(3, 9)), *b = agrl_weights_new(l, h, AGRL_VERSION(3, 10));
  assert_int_equal(AGRL_VERSION_EPOCH(agrl_weights_version(a)), 3);
  assert_int_equal(AGRL_VERSION_STEP(agrl_weights_version(b)), 10);
  agrl_sha256 ha = agrl_weights_hash(a), hb = agrl_weights_hash(b);
  tc_same("hash", &ha, &hb, sizeof ha);
  h[l->tensors[l->layers[1].up].offset] ^= 1;
  assert_memory_equal(agrl_weights_block(b), agrl_weights_block(a), l->n_elements * sizeof *h);  // a copy was taken
  agrl_weights *c = agrl_weights_new(l, h, 1);
  hb = agrl_weights_hash(c);
  assert_memory_not_equal(&ha, &hb, sizeof ha);
  const int bias = l->layers[0].k_bias;
  float want;
  agrl_f32_from_bf16(&want, h + l->tensors[bias].offset + 2, 1);
  assert_float_equal(agrl_weights_vector(a, bias)[2], want, 0);
  assert_ptr_equal(agrl_weights_tensor(a, l->head), agrl_weights_block(a) + l->tensors[l->head].offset);
  assert_ptr_equal(agrl_weights_ref(a), a);
  agrl_weights_unref(a);
  assert_int_equal(agrl_weights_layout(a)->n_elements, l->n_elements);  // still there
  agrl_weights_unref(a);
  agrl_weights_unref(b);
  agrl_weights_unref(c);
  agrl_weights_unref(NULL);
  free(p);
  free(h);
  agrl_layout_free(l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(published_counts), cmocka_unit_test(table_is_sound),   cmocka_unit_test(bad_shapes_are_named),
      cmocka_unit_test(initial_values),   cmocka_unit_test(weight_snapshots),
  };
  if (agrl_tensor_init(NULL) != AGRL_OK) return 70;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
