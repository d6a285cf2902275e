// SPDX-License-Identifier: Apache-2.0
// The golden models of tests/golden: directories that another program wrote load, and say what that program's float64
// forward pass says: the log-probability of every token of the vocabulary at every position, and its entropy.
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
#include "common/model/weights.h"
#include "tests/lib/model_check.h"

// Largest difference of a natural log-probability; float32 sums of some dozens of terms of size 1.
#define TOLERANCE 2e-5

typedef struct golden {
  size_t n, vocab;  // positions
  int32_t ids[64];
  double *logits;   // n x vocab
} golden;

static char *path_of(const char *model, const char *file) {
  char name[64];
  snprintf(name, sizeof name, "golden/%s/%s", model, file);
  return agrl_path_join(AGRL_TEST_DIR, name);
}

static golden load_golden(const char *model) {
  golden g = {0};
  agrl_buf text = {0}, raw = {0};
  agrl_error err = {0};
  char *input = path_of(model, "input.json"), *logits = path_of(model, "logits.f64");
  agrl_json *root = NULL;
  if (agrl_file_read(input, 1 << 20, &text, &err) || agrl_file_read(logits, 1 << 20, &raw, &err) ||
      agrl_json_parse(text.data, text.len, input, &root, &err))
    fail_msg("%s", err.msg);
  const agrl_json *ids = agrl_json_get(root, "ids"), *shape = agrl_json_get(root, "shape");
  int64_t id, vocab;
  assert_true(agrl_json_i64(agrl_json_at(shape, 1), &vocab));
  g.n = agrl_json_len(ids);
  g.vocab = (size_t)vocab;
  assert_in_range(g.n, 8, 64);
  assert_int_equal(raw.len, g.n * g.vocab * sizeof(double));
  for (size_t i = 0; i < g.n; i++) {
    assert_true(agrl_json_i64(agrl_json_at(ids, i), &id));
    g.ids[i] = (int32_t)id;
  }
  g.logits = agrl_xmalloc(raw.len);
  memcpy(g.logits, raw.data, raw.len);
  agrl_json_free(root);
  agrl_buf_release(&text);
  agrl_buf_release(&raw);
  free(input);
  free(logits);
  return g;
}

// One sequence for each token of the vocabulary, which is then the target at every position: all log-probs in one batch.
static void compare(const agrl_layout *l, const float *params, const golden *g) {
  const size_t T = g->vocab * g->n;
  size_t *start = agrl_xcalloc(g->vocab + 1, sizeof *start);
  int32_t *tokens = agrl_xcalloc(T, sizeof *tokens), *target = agrl_xcalloc(T, sizeof *target);
  double *want = agrl_xcalloc(T, sizeof *want), *want_entropy = agrl_xcalloc(T, sizeof *want_entropy);
  float *logp = agrl_xcalloc(T, sizeof *logp), *entropy = agrl_xcalloc(T, sizeof *entropy);
  for (size_t v = 0; v < g->vocab; v++) {
    start[v + 1] = (v + 1) * g->n;
    for (size_t i = 0; i < g->n; i++) {
      const double *row = g->logits + i * g->vocab;
      tokens[v * g->n + i] = g->ids[i];
      target[v * g->n + i] = (int32_t)v;
      want[v * g->n + i] = ref_llama_logp(row, g->vocab, v);
      want_entropy[v * g->n + i] = v == 0 ? ref_llama_entropy(row, g->vocab) : want_entropy[i];
    }
  }
  const agrl_batch b = {g->vocab, start, tokens, target, NULL};
  FOR_EACH_CPU(c) {
    agrl_trainer *t = mc_trainer(l, NULL, T);
    agrl_error err = {0};
    if (agrl_trainer_forward(t, &(agrl_params){.f32 = params}, &b, false, logp, entropy, &err)) fail_msg("%s", err.msg);
    tc_near("log-probabilities", logp, want, T, TOLERANCE);
    tc_near("entropies", entropy, want_entropy, T, TOLERANCE);
    agrl_trainer_free(t);
  }
  free(start);
  free(tokens);
  free(target);
  free(want);
  free(want_entropy);
  free(logp);
  free(entropy);
}

static void check_model(const char *model, bool tied, bool qkv_bias, bool qk_norm) {
  golden g = load_golden(model);
  agrl_layout *l;
  float *block;
  uint64_t version = 1;
  agrl_error err = {0};
  char *dir = path_of(model, "");
  if (agrl_ckpt_load(dir, &l, &block, &version, &err)) fail_msg("%s", err.msg);
  assert_int_equal(version, 0);  // no manifest
  assert_string_equal(l->spec.arch, model);
  assert_true(l->spec.tied == tied && l->spec.qkv_bias == qkv_bias && l->spec.qk_norm == qk_norm);
  assert_int_equal(l->spec.vocab, g.vocab);
  compare(l, block, &g);
  agrl_block_free(block, l->n_elements * sizeof *block);
  agrl_layout_free(l);
  free(g.logits);
  free(dir);
}

static void llama(void **state) { check_model("llama", false, false, false); }
static void qwen2(void **state) { check_model("qwen2", true, true, false); }
static void qwen3(void **state) { check_model("qwen3", true, false, true); }

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(llama), cmocka_unit_test(qwen2), cmocka_unit_test(qwen3)};
  if (agrl_tensor_init(NULL) != AGRL_OK) return 70;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
