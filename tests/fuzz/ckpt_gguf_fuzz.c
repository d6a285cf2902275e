// SPDX-License-Identifier: Apache-2.0
// GGUF files. Of any bytes: what is accepted has its tensors inside the data, apart from each other, and every value readable;
// a model that loads has finite sizes and every parameter written, and a tokenizer that is given parses or is refused.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bug.h"
#include "common/base/mem.h"
#include "common/ckpt/gguf.h"
#include "common/text/bpe.h"

int agrl_fuzz_ckpt_gguf(const uint8_t *data, size_t size);

static void check_values(const agrl_gguf *g, const uint8_t *data, size_t size) {
  for (size_t i = 0; i < g->n_values; i++) {
    const agrl_gguf_value *v = &g->values[i];
    agrl_gguf_str s;
    AGRL_ASSERT(v->data >= data && v->data <= data + size);
    if (agrl_gguf_read_str(v, &s)) AGRL_ASSERT((const uint8_t *)s.s + s.len <= data + size);
    if (v->kind != AGRL_GGUF_ARRAY || v->element != AGRL_GGUF_STRING) continue;
    const uint8_t *at = v->data;
    for (size_t k = 0; k < v->count; k++) {
      s = agrl_gguf_next_str(&at);
      AGRL_ASSERT(at <= data + size && s.len <= size);
    }
  }
}

static void check_tensors(const agrl_gguf *g, const uint8_t *data, size_t size) {
  for (size_t i = 0; i < g->n_tensors; i++) {
    const agrl_gguf_tensor *t = &g->tensors[i];
    AGRL_ASSERT(t->data >= data && t->bytes <= size && t->data + t->bytes <= data + size);
    AGRL_ASSERT(t->elements % t->type->block == 0 && t->bytes == t->elements / t->type->block * t->type->bytes);
    AGRL_ASSERT(agrl_gguf_find(g, t->name) == t);
    for (size_t k = 0; k < i && k < 64; k++) AGRL_ASSERT(g->tensors[k].data + g->tensors[k].bytes <= t->data || t->data + t->bytes <= g->tensors[k].data);
    float *out = agrl_xcalloc(t->elements + 1, sizeof *out);
    agrl_gguf_to_f32(t, out);
    AGRL_ASSERT(!(fabsf(out[t->elements]) > 0));  // nothing is written past the last
    free(out);
  }
}

static void check_model(const agrl_gguf *g) {
  agrl_layout *l;
  float *block;
  agrl_error err = {0};
  const agrl_rc rc = agrl_gguf_load(g, &l, &block, NULL, NULL, &err);
  AGRL_ASSERT(rc == AGRL_OK ? l != NULL && block != NULL : l == NULL && block == NULL && err.code == rc && err.msg[0] != 0);
  if (rc != AGRL_OK) return;
  agrl_block_free(block, l->n_elements * sizeof *block);
  agrl_layout_free(l);
}

int agrl_fuzz_ckpt_gguf(const uint8_t *data, size_t size) {
  agrl_gguf g;
  agrl_error err = {0};
  agrl_buf json = {0};
  agrl_bpe *t = NULL;
  const agrl_rc rc = agrl_gguf_parse(data, size, "fuzz", &g, &err);
  if (rc != AGRL_OK) {
    AGRL_ASSERT(err.code == rc && err.msg[0] != 0 && g.tensors == NULL && g.values == NULL);
    return 0;
  }
  check_values(&g, data, size);
  check_tensors(&g, data, size);
  check_model(&g);
  if (agrl_gguf_tokenizer_json(&g, &json, &err) == AGRL_OK && agrl_bpe_parse(json.data, json.len, "fuzz", &t, &err) == AGRL_OK) {
    AGRL_ASSERT(agrl_bpe_vocab(t) <= agrl_gguf_find(&g, "token_embd.weight")->shape[1]);
    agrl_bpe_free(t);
  }
  agrl_buf_release(&json);
  agrl_gguf_release(&g);
  return 0;
}
