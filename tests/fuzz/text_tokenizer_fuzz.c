// SPDX-License-Identifier: Apache-2.0
// tokenizer.json: what is accepted encodes any bytes and decodes them back (when the file asks for no normalisation),
// but for bytes that the vocabulary has no token for.
#include <string.h>

#include "common/base/bug.h"
#include "common/text/bpe.h"

int agrl_fuzz_text_tokenizer(const uint8_t *data, size_t size);

// back is data without some of the bytes that have no token.
static bool same_but_missing(const agrl_bpe *t, const char *data, size_t len, const agrl_buf *back) {
  size_t at = 0;
  for (size_t i = 0; i < len; i++) {
    if (at < back->len && back->data[at] == data[i]) at++;
    else if (agrl_bpe_encode(t, data + i, 1, false, NULL, 0) > 0) return false;
  }
  return at == back->len;
}

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
    AGRL_ASSERT(same_but_missing(t, (const char *)data, len, &back));
    agrl_buf_release(&back);
  }
  for (size_t i = 0; i < n && i < 512; i++) AGRL_ASSERT(ids[i] >= 0 && (size_t)ids[i] < agrl_bpe_vocab(t));
  agrl_bpe_free(t);
  return 0;
}
