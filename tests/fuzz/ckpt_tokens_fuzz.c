// SPDX-License-Identifier: Apache-2.0
// generation_config.json, tokenizer.json and tokenizer_config.json, one after the other with a zero byte between. Of any bytes:
// a generation_config.json that is accepted leaves a sound model, and the tokenizer files change nothing but which of its end
// tokens comes first, and the start token.
#include <stdlib.h>
#include <string.h>

#include "common/base/bug.h"
#include "common/ckpt/hf_int.h"

int agrl_fuzz_ckpt_tokens(const uint8_t *data, size_t size);

static size_t stops(const agrl_spec *s) {
  size_t n = 0;
  for (int32_t id = 0; id < s->vocab; id++) n += agrl_spec_stops(s, id);
  return n;
}

int agrl_fuzz_ckpt_tokens(const uint8_t *data, size_t size) {
  agrl_spec s = {.arch = "llama", .n_layers = 1, .hidden = 4, .ffn = 2, .n_heads = 2, .n_kv_heads = 1, .head_dim = 2, .vocab = 300,
                 .context = 8, .rope_theta = 10000, .norm_eps = 1e-5f, .start_id = 1, .end_id = 2};
  const char *text[3] = {(const char *)data};
  size_t len[3] = {0};
  const char *end = (const char *)data + size;
  for (size_t i = 0; i < 3; i++) {
    const char *zero = size > 0 ? memchr(text[i], 0, (size_t)(end - text[i])) : NULL;
    len[i] = (size_t)((zero != NULL ? zero : end) - text[i]);
    if (i < 2) text[i + 1] = zero != NULL ? zero + 1 : end;
  }
  agrl_error err = {0};
  agrl_spec with = s;
  const agrl_rc rc = ckpt_parse_generation(text[0], len[0], "fuzz", &with, &err);
  if (rc == AGRL_OK) {
    AGRL_ASSERT(agrl_spec_check(&with, NULL) == AGRL_OK);
    s = with;
  } else {
    AGRL_ASSERT(err.code == rc && err.msg[0] != 0);
  }
  agrl_json *json[2] = {NULL, NULL};
  for (size_t i = 0; i < 2; i++)
    if (agrl_json_parse(text[i + 1], len[i + 1], "fuzz", &json[i], NULL) != AGRL_OK) json[i] = NULL;
  with = s;
  ckpt_apply_tokenizer(json[0], json[1], &with);
  AGRL_ASSERT(with.n_stops == s.n_stops && with.start_id >= -1 && stops(&with) == stops(&s));
  for (int32_t id = 0; id < s.vocab; id++) AGRL_ASSERT(agrl_spec_stops(&with, id) == agrl_spec_stops(&s, id));
  for (size_t i = 0; i < 2; i++) agrl_json_free(json[i]);
  return 0;
}
