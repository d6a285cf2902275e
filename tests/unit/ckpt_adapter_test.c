// SPDX-License-Identifier: Apache-2.0
// Adapters as files of PEFT: the description and the tensors come back as they were, and what does not fit is refused.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/json.h"
#include "common/ckpt/adapter.h"
#include "common/ckpt/safetensors.h"
#include "tests/lib/model_check.h"

static agrl_layout *layout;
static agrl_lora *lora;

static int setup(void **state) {
  layout = mc_layout(0);
  return agrl_lora_new(layout, 5, 0.7, 0x41, &lora, NULL) != AGRL_OK;  // q and down
}

static int teardown(void **state) {
  agrl_lora_free(lora);
  agrl_layout_free(layout);
  return 0;
}

static void description_comes_back(void **state) {
  agrl_buf text = {0};
  agrl_lora *again;
  agrl_json *j;
  agrl_error err = {0};
  const char *s;
  int64_t r;
  agrl_adapter_write_config(lora, "some/base", &text);
  if (agrl_adapter_parse_config(text.data, text.len, "it", layout, &again, &err) != AGRL_OK) fail_msg("%s", err.msg);
  assert_int_equal(again->rank, 5);
  assert_true(again->alpha == 0.7 && again->scale == lora->scale);  // to the last bit: both sides merge with it
  assert_int_equal(again->targets, 0x41);
  assert_int_equal(again->layout->n_elements, lora->layout->n_elements);
  assert_int_equal(agrl_json_parse(text.data, text.len, "it", &j, NULL), AGRL_OK);  // as PEFT reads it
  assert_true(agrl_json_i64(agrl_json_get(j, "r"), &r) && r == 5);
  assert_true(agrl_json_str(agrl_json_get(j, "base_model_name_or_path"), &s, NULL) && strcmp(s, "some/base") == 0);
  assert_int_equal(agrl_json_len(agrl_json_get(j, "target_modules")), 2);
  assert_true(agrl_json_str(agrl_json_at(agrl_json_get(j, "target_modules"), 1), &s, NULL) && strcmp(s, "down_proj") == 0);
  agrl_json_free(j);
  agrl_lora_free(again);
  agrl_buf_release(&text);
}

static void descriptions_refused(void **state) {
  static const struct {
    const char *text, *want;
    agrl_rc rc;
  } bad[] = {
      {"{", "it", AGRL_EPARSE},
      {"[]", "expected peft_type LORA", AGRL_EPARSE},
      {"{\"peft_type\":\"LOHA\",\"r\":2,\"lora_alpha\":1,\"target_modules\":[\"q_proj\"]}", "expected peft_type LORA", AGRL_EPARSE},
      {"{\"peft_type\":\"LORA\",\"r\":0,\"lora_alpha\":1,\"target_modules\":[\"q_proj\"]}", "expected peft_type LORA", AGRL_EPARSE},
      {"{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":1}", "names no matrix", AGRL_ECONFIG},
      {"{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":1,\"target_modules\":[\"lm_head\"]}", "\"lm_head\" is not one of", AGRL_ECONFIG},
      {"{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":-1,\"target_modules\":[\"q_proj\"]}", "lora.alpha", AGRL_ECONFIG},
      {"{\"peft_type\":\"LORA\",\"r\":1000000000000,\"lora_alpha\":1,\"target_modules\":[\"q_proj\"]}", "is more than 20", AGRL_ECONFIG},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    agrl_lora *x;
    agrl_error err = {0};
    agrl_rc rc = agrl_adapter_parse_config(bad[i].text, strlen(bad[i].text), "it", layout, &x, &err);
    assert_null(x);
    if (rc != bad[i].rc || strstr(err.msg, bad[i].want) == NULL) fail_msg("%s: was %s \"%s\"", bad[i].text, agrl_rc_name(rc), err.msg);
  }
}

static void tensors_come_back(void **state) {
  const size_t n = lora->layout->n_elements;
  float *p = mc_params(lora->layout, 8, false), *again = tc_filled(n, 0);
  agrl_buf file = {0};
  agrl_st st;
  agrl_error err = {0};
  agrl_adapter_write(lora, p, &file);
  if (agrl_adapter_read(lora, file.data, file.len, "it", again, &err) != AGRL_OK) fail_msg("%s", err.msg);
  assert_memory_equal(p, again, n * sizeof *p);
  assert_int_equal(agrl_st_parse((const uint8_t *)file.data, file.len, "it", &st, NULL), AGRL_OK);
  const agrl_st_tensor *t = agrl_st_find(&st, "base_model.model.model.layers.1.mlp.down_proj.lora_A.weight");  // PEFT's name and shape
  assert_non_null(t);
  assert_true(t->n_dims == 2 && t->shape[0] == 5 && t->shape[1] == 28);
  agrl_st_release(&st);
  agrl_lora *other;
  assert_int_equal(agrl_lora_new(layout, 5, 0.7, 0x21, &other, NULL), AGRL_OK);
  assert_int_equal(agrl_adapter_read(other, file.data, file.len, "it", again, &err), AGRL_EPARSE);
  assert_non_null(strstr(err.msg, "no tensor base_model.model.model.layers.0.mlp.up_proj.lora_A.weight of 5 x 20"));
  agrl_lora_free(other);
  assert_int_equal(agrl_lora_new(layout, 5, 0.7, 0x1, &other, NULL), AGRL_OK);
  assert_int_equal(agrl_adapter_read(other, file.data, file.len, "it", again, &err), AGRL_EPARSE);  // more than it should hold
  agrl_lora_free(other);
  assert_int_equal(agrl_adapter_read(lora, file.data, file.len - 1, "it", again, &err), AGRL_EPARSE);
  agrl_buf_release(&file);
  free(p);
  free(again);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(description_comes_back), cmocka_unit_test(descriptions_refused), cmocka_unit_test(tensors_come_back)};
  if (agrl_tensor_init(NULL) != AGRL_OK) return 70;
  return cmocka_run_group_tests(tests, setup, teardown);
}
