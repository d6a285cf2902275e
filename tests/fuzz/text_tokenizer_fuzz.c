// SPDX-License-Identifier: Apache-2.0
// tokenizer.json: what is accepted encodes any bytes and decodes them back (when the file asks for no normalisation).
#include <string.h>

#include "common/base/bug.h"
#include "common/text/bpe.h"

int agrl_fuzz_text_tokenizer(const uint8_t *data, size_t size);

int agrl_fuzz_text_tokenizer(const uint8_t *data, size_t size) {
  agrl_bpe *t = NULL;
  agrl_error err;
  if (agrl_bpe_parse((const char *)data, size, "fuzz", &t, &err) != AGRL_OK) {
    AGRL_ASSERT(err.msg[0] != '\0');
    return 0;
  }
  int32_t ids[512];
  size_t len = size < sizeof ids / sizeof ids[0] ? size : sizeof ids / sizeof ids[0];
  size_t n = agrl_bpe_encode(t, (const char *)data, len, true, ids, sizeof ids / sizeof ids[0]);
  bool normalises = memmem(data, size, "NFC", 3) != NULL;
  AGRL_ASSERT(n <= len || normalises);
  if (!normalises) {
    agrl_buf back = {0};
    agrl_bpe_decode(t, ids, n, true, &back);
    AGRL_ASSERT(back.len == len && (len == 0 || memcmp(back.data, data, len) == 0));
    agrl_buf_release(&back);
  }
  for (size_t i = 0; i < n && i < 512; i++) AGRL_ASSERT(ids[i] >= 0 && (size_t)ids[i] < agrl_bpe_vocab(t));
  agrl_bpe_free(t);
  return 0;
}
