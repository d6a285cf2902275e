// SPDX-License-Identifier: Apache-2.0
// config.json. What is accepted passes agrl_spec_check, and is written and read back equal.
#include <string.h>

#include "common/base/bug.h"
#include "common/ckpt/hf.h"

int agrl_fuzz_ckpt_config(const uint8_t *data, size_t size);

int agrl_fuzz_ckpt_config(const uint8_t *data, size_t size) {
  agrl_spec a, b;
  agrl_error err = {0};
  if (agrl_ckpt_parse_config((const char *)data, size, "fuzz", &a, &err) != AGRL_OK) return 0;
  AGRL_ASSERT(agrl_spec_check(&a, NULL) == AGRL_OK);
  agrl_buf text = {0};
  agrl_ckpt_write_config(&a, AGRL_DTYPE_BF16, &text);
  AGRL_ASSERT(agrl_ckpt_parse_config(text.data, text.len, "again", &b, &err) == AGRL_OK);
  AGRL_ASSERT(memcmp(&a, &b, sizeof a) == 0);
  agrl_buf_release(&text);
  return 0;
}
