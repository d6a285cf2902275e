// SPDX-License-Identifier: Apache-2.0
// The golden tokenizer of tests/golden/llama: a tokenizer.json that another program wrote, and the ids of a text, merged by
// hand there.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/file.h"
#include "common/base/json.h"
#include "common/text/bpe.h"

static void encodes_and_decodes(void **state) {
  agrl_error err = {0};
  agrl_bpe *t = NULL;
  agrl_buf input = {0}, back = {0};
  agrl_json *root = NULL;
  if (agrl_bpe_load(AGRL_TEST_DIR "/golden/llama/tokenizer.json", &t, &err) ||
      agrl_file_read(AGRL_TEST_DIR "/golden/llama/input.json", 1 << 20, &input, &err) ||
      agrl_json_parse(input.data, input.len, "input.json", &root, &err))
    fail_msg("%s", err.msg);
  const agrl_json *want = agrl_json_get(root, "ids");
  const char *text;
  size_t len, n = agrl_json_len(want);
  assert_true(agrl_json_str(agrl_json_get(root, "text"), &text, &len));
  int32_t ids[64] = {agrl_bpe_special(t, AGRL_TOK_START)};
  assert_int_equal(1 + agrl_bpe_encode(t, text, len, false, ids + 1, 63), n);
  for (size_t i = 0; i < n; i++) {
    int64_t id;
    assert_true(agrl_json_i64(agrl_json_at(want, i), &id));
    assert_int_equal(ids[i], id);
  }
  agrl_bpe_decode(t, ids, n, false, &back);
  assert_string_equal(back.data, text);
  agrl_json_free(root);
  agrl_buf_release(&input);
  agrl_buf_release(&back);
  agrl_bpe_free(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(encodes_and_decodes)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
