// SPDX-License-Identifier: Apache-2.0
// The training core with adapters: they learn, everything else keeps its bits, what is served is what base and adapters merge
// to, kill and resume give the unfailed run's hash, and a checkpoint that does not belong to the configuration is refused.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/lib/step_kit.h"

static void set_lora(void) {
  static char targets[] = "q_proj,v_proj,down_proj";
  config.lora.rank = 2;
  config.lora.alpha = 8;
  config.lora.targets = targets;
  config.grpo.lr = 5e-2;
}

static void make_lora_core(learner_core *c, agrl_pool *pool) {
  char dir[160];
  agrl_error err = {0};
  set_lora();
  make_core(c, pool);
  snprintf(dir, sizeof dir, "%s/base", root);
  c->base_dir = agrl_xstrdup(dir);
  if (learner_base_save(c, &err) != AGRL_OK) fail_msg("%s", err.msg);
}

// What is served: adapted matrices have moved, everything else has the base's bits.
static void check_frozen(const learner_optim *o) {
  for (size_t t = 0; t < o->layout->n_tensors; t++) {
    const agrl_tensor_desc *d = &o->layout->tensors[t];
    const uint16_t *base = agrl_weights_tensor(o->base, (int)t);
    if (o->lora->a[t] >= 0) assert_memory_not_equal(o->bf16 + d->offset, base, d->rows * d->cols * sizeof *base);
    else assert_memory_equal(o->bf16 + d->offset, base, d->rows * d->cols * sizeof *base);
  }
}

static void test_adapters_learn(void **state) {
  (void)state;
  agrl_pool *pool = agrl_pool_new(2);
  learner_core c, other;
  make_lora_core(&c, NULL);
  assert_memory_equal(c.optim.bf16, agrl_weights_block(c.optim.base), c.layout->n_elements * sizeof *c.optim.bf16);  // they add nothing yet
  config.grpo.clip_low = config.grpo.clip_high = 0.9;
  double first = 0, last = 0;
  for (int i = 0; i < 12; i++) {
    learner_step_stats st;
    c.version = AGRL_VERSION(1, 0);
    one_step(&c, NULL, &st);
    if (i == 0) first = st.loss.policy;
    last = st.loss.policy;
    learner_step_stats_release(&st);
  }
  if (!(last < first - 0.05)) fail_msg("policy loss went from %g to %g", first, last);
  check_frozen(&c.optim);
  uint16_t *want = agrl_xcalloc(c.layout->n_elements, sizeof *want);  // what is served is what base and adapters merge to
  memcpy(want, agrl_weights_block(c.optim.base), c.layout->n_elements * sizeof *want);
  agrl_lora_merge(c.lora, NULL, want, agrl_weights_block(c.optim.base), c.optim.rounded);
  assert_memory_equal(want, c.optim.bf16, c.layout->n_elements * sizeof *want);
  for (int form = 0; form < 2; form++) {  // packed too, though only what moved is packed again
    agrl_packed *all = agrl_packed_new(c.layout, (agrl_pack_form)form);
    agrl_packed_fill(all, NULL, want);
    for (int t = 0; t < (int)c.layout->n_tensors; t++)
      if (c.layout->tensors[t].decay)
        assert_memory_equal(agrl_packed_tensor(all, t), agrl_packed_tensor(form ? c.optim.bwd : c.optim.fwd, t),
                            agrl_packed_words(form ? c.layout->tensors[t].cols : c.layout->tensors[t].rows,
                                              form ? c.layout->tensors[t].rows : c.layout->tensors[t].cols) * 4);
    agrl_packed_free(all);
  }
  free(want);
  learner_core_release(&c);
  make_lora_core(&c, NULL);
  make_lora_core(&other, pool);
  agrl_sha256 x = run_steps(&c, NULL, 4), y = run_steps(&other, NULL, 4);
  assert_memory_equal(&x, &y, sizeof x);
  assert_memory_equal(c.optim.bf16, other.optim.bf16, c.layout->n_elements * sizeof *c.optim.bf16);
  learner_core_release(&c);
  learner_core_release(&other);
  agrl_pool_free(pool);
  set_config();
}

static agrl_rc reload(learner_core *c, agrl_error *err) {
  char *dir, base[160];
  uint64_t version;
  *c = (learner_core){.config = &config};
  snprintf(base, sizeof base, "%s/base", root);
  c->base_dir = agrl_xstrdup(base);
  if (agrl_ckpt_find_latest(root, &dir, &version, err) != AGRL_OK) fail_msg("%s", err->msg);
  agrl_rc rc = learner_checkpoint_load(c, dir, err);
  free(dir);
  return rc;
}

static void cannot_reload(agrl_rc want, const char *text) {
  learner_core c;
  agrl_error err = {0};
  agrl_rc rc = reload(&c, &err);
  if (rc != want || strstr(err.msg, text) == NULL) fail_msg("was %s \"%s\", expected %s \"%s\"", agrl_rc_name(rc), err.msg, agrl_rc_name(want), text);
  learner_core_release(&c);
}

static void test_adapters_resume_exactly(void **state) {
  (void)state;
  learner_core c, again;
  agrl_error err = {0};
  make_lora_core(&c, NULL);
  learner_journal *j = journal();
  run_steps(&c, j, 3);
  save(&c);
  agrl_sha256 want = run_steps(&c, j, 3);
  learner_journal_close(j);
  if (reload(&again, &err) != AGRL_OK) fail_msg("%s", err.msg);
  again.reference = agrl_weights_new(again.layout, agrl_weights_block(c.reference), 1);
  agrl_weights_pack(again.reference, NULL);
  agrl_buf_adds(&again.tokenizer_json, "{}");
  j = journal();
  learner_redo redo;
  assert_int_equal(learner_resume_redo(&again, j, fetch, NULL, &redo, NULL), AGRL_OK);
  assert_true(redo.exact && redo.redone == 3);
  agrl_sha256 got = learner_optim_hash(&again.optim);
  assert_memory_equal(&got, &want, sizeof want);
  want = run_steps(&c, NULL, 2);
  got = run_steps(&again, j, 2);
  assert_memory_equal(&got, &want, sizeof want);
  assert_memory_equal(c.optim.bf16, again.optim.bf16, c.layout->n_elements * sizeof *c.optim.bf16);
  learner_journal_close(j);
  // The checkpoint's own weights are the merged ones: any reader of Hugging Face directories gets what is served.
  agrl_layout *l;
  float *block;
  char *dir;
  uint64_t version;
  save(&c);
  assert_int_equal(agrl_ckpt_find_latest(root, &dir, &version, NULL), AGRL_OK);
  assert_int_equal(agrl_ckpt_load(dir, &l, &block, NULL, NULL), AGRL_OK);
  uint16_t *half = agrl_xcalloc(l->n_elements, sizeof *half);
  agrl_bf16_from_f32(half, block, l->n_elements);
  assert_memory_equal(half, c.optim.bf16, l->n_elements * sizeof *half);
  free(half);
  free(dir);
  agrl_block_free(block, l->n_elements * sizeof *block);
  agrl_layout_free(l);
  learner_core_release(&again);
  // What does not belong together is refused by name.
  config.lora.rank = 3;
  cannot_reload(AGRL_ECONFIG, "rank 2, alpha 8 or the targets differ from lora.rank");
  config.lora.rank = 0;
  cannot_reload(AGRL_ECONFIG, "was trained with adapters, and lora.rank is 0");
  set_lora();
  float *zeros = agrl_xcalloc(c.layout->n_elements, sizeof *zeros);
  agrl_weights_unref(c.optim.base);
  c.optim.base = agrl_weights_from_f32(c.layout, zeros, 0);  // another base
  if (learner_base_save(&c, &err) != AGRL_OK) fail_msg("%s", err.msg);
  cannot_reload(AGRL_ECHECKSUM, "holds other weights than those that the adapters of");
  free(zeros);
  learner_core_release(&c);
  set_config();
  make_core(&c, NULL);
  c.version = AGRL_VERSION(1, 9);
  save(&c);
  learner_core_release(&c);
  set_lora();
  cannot_reload(AGRL_ECONFIG, "was trained without adapters, and lora.rank is 2");
  set_config();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_adapters_learn, setup, teardown),
      cmocka_unit_test_setup_teardown(test_adapters_resume_exactly, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
