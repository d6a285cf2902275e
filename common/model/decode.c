// SPDX-License-Identifier: Apache-2.0
// The decoder's memory: one block holds max_batch prefix slots, max_batch sequence slots and the scratch of a pass, so
// opening and closing allocates nothing. Slots are found by a scan: there are at most a few hundred.
// Keys and values are f32: with 32 sequences in groups of 8 over 128-token prompts at the 135M shape (30 layers, 3 heads of
// 64) attention of a step took 10.5 ms of CPU at 192 keys (118 MB of cache), of which 5.4 ms remain when the cache is
// in L3, and 84 ms at 1024 keys (1,345 MB; memory-bound). bf16 would halve the bytes, but widening costs an operation per
// vector of keys against 3 products (the heads of a group), which at 192 keys takes back what it saves; and the learner
// would have to round keys and values to agree with actors. It pays from some 500 keys on.
#include "common/model/decode.h"

#include <stdlib.h>

#include "common/base/bug.h"
#include "common/base/mem.h"
#include "common/model/carve.h"
#include "common/model/decode_int.h"

static void carve_all(agrl_decoder *d, agrl_carver *c) {
  const size_t rows = d->max_batch > d->max_prompt ? d->max_batch : d->max_prompt;
  const size_t B = d->max_batch, per_prefix = decode_slot_floats(d, decode_prefix_groups(d), d->max_prompt);
  const size_t per_seq = decode_slot_floats(d, decode_seq_groups(d), d->max_new);
  float *prefix_kv = agrl_carve_rows(c, B, per_prefix);
  float *seq_kv = agrl_carve_rows(c, B, per_seq);
  d->prefixes = agrl_carve(c, B, sizeof *d->prefixes);
  d->seqs = agrl_carve(c, B, sizeof *d->seqs);
  d->order = agrl_carve(c, B, sizeof *d->order);
  d->order_seq = agrl_carve(c, B, sizeof *d->order_seq);
  d->parts = agrl_carve(c, B * d->H, sizeof *d->parts);
  d->pos = agrl_carve(c, rows, sizeof *d->pos);
  d->rope = agrl_carve_rows(c, d->max_prompt + d->max_new, d->D);
  d->x = agrl_carve_rows(c, rows, d->C);
  d->xn = agrl_carve_rows(c, rows, d->C);
  d->q = agrl_carve_rows(c, rows, d->H * d->D);
  d->k = agrl_carve_rows(c, rows, d->KV * d->D);
  d->v = agrl_carve_rows(c, rows, d->KV * d->D);
  d->o = agrl_carve_rows(c, rows, d->H * d->D);
  d->gate = agrl_carve_rows(c, rows, d->F);
  d->up = agrl_carve_rows(c, rows, d->F);
  d->act = agrl_carve_rows(c, rows, d->F);
  size_t widest = d->C > d->H * d->D ? d->C : d->H * d->D;
  if (d->F > widest) widest = d->F;
  d->x16 = agrl_carve(c, rows, agrl_bf16_stride(widest) * sizeof *d->x16);
  if (c->base == NULL) return;
  for (size_t i = 0; i < B; i++) {
    d->prefixes[i].kv = prefix_kv + i * per_prefix;
    d->seqs[i].kv = seq_kv + i * per_seq;
  }
}

agrl_rc agrl_decoder_new(const agrl_layout *l, agrl_pool *pool, size_t max_batch, size_t max_prompt, size_t max_new,
                         agrl_decoder **out, agrl_error *err) {
  const agrl_spec *s = &l->spec;
  *out = NULL;
  if (max_batch == 0 || max_prompt == 0 || max_new == 0)
    return agrl_fail(err, AGRL_EINVAL, "decoder: batch, prompt and new tokens must be at least 1");
  if (max_batch > 65536 || max_new > (size_t)s->context || max_prompt > (size_t)s->context - max_new)
    return agrl_fail(err, AGRL_ELIMIT, "decoder: %zu prompt and %zu new tokens do not fit the model's context of %d", max_prompt,
                     max_new, s->context);
  agrl_decoder *d = agrl_xcalloc(1, sizeof *d);
  *d = (agrl_decoder){.layout = l, .pool = pool, .max_batch = max_batch, .max_prompt = max_prompt, .max_new = max_new};
  d->C = (size_t)s->hidden;
  d->F = (size_t)s->ffn;
  d->H = (size_t)s->n_heads;
  d->KV = (size_t)s->n_kv_heads;
  d->D = (size_t)s->head_dim;
  d->L = (size_t)s->n_layers;
  d->V = (size_t)s->vocab;
  agrl_carver c = {0};
  carve_all(d, &c);
  d->block_bytes = c.used;
  d->block = c.overflow ? NULL : agrl_block_alloc(c.used);
  if (d->block == NULL) {
    size_t need = c.used;
    free(d);
    return agrl_fail(err, AGRL_ENOMEM, "decoder: cannot reserve %zu bytes for %zu sequences of %zu + %zu tokens; lower the slots",
                     need, max_batch, max_prompt, max_new);
  }
  c = (agrl_carver){.base = d->block};
  carve_all(d, &c);
  agrl_rope_table(d->rope, max_prompt + max_new, d->D, s->rope_theta, &s->rope);
  *out = d;
  return AGRL_OK;
}

void agrl_decoder_free(agrl_decoder *d) {
  if (d == NULL) return;
  agrl_block_free(d->block, d->block_bytes);
  free(d);
}

void agrl_prefix_unref(agrl_decoder *d, agrl_prefix *p) {
  if (p == NULL) return;
  AGRL_ASSERT(p >= d->prefixes && p < d->prefixes + d->max_batch && p->refs > 0);
  p->refs--;
}

agrl_seq *agrl_seq_open(agrl_decoder *d, agrl_prefix *p) {
  AGRL_ASSERT(p->refs > 0);
  for (size_t i = 0; i < d->max_batch; i++) {
    agrl_seq *s = &d->seqs[i];
    if (s->prefix != NULL) continue;
    s->prefix = p;
    s->len = 0;
    p->refs++;
    for (size_t l = 0; l < d->L; l++) {
      const agrl_attn_cache own = decode_seq_cache(d, s, l), shared = decode_prefix_cache(d, p, l);
      agrl_attn_fork(&own, &shared, p->len, d->KV, d->D);
    }
    return s;
  }
  return NULL;
}

void agrl_seq_close(agrl_decoder *d, agrl_seq *s) {
  if (s == NULL) return;
  AGRL_ASSERT(s >= d->seqs && s < d->seqs + d->max_batch && s->prefix != NULL);
  agrl_prefix_unref(d, s->prefix);
  s->prefix = NULL;
}

size_t agrl_seq_len(const agrl_seq *s) { return s->len; }

double agrl_decoder_kv_used_ratio(const agrl_decoder *d) {
  size_t used = 0;
  for (size_t i = 0; i < d->max_batch; i++) {
    if (d->prefixes[i].refs > 0) used += d->prefixes[i].len;
    if (d->seqs[i].prefix != NULL) used += d->seqs[i].len;
  }
  return (double)used / (double)(d->max_batch * (d->max_prompt + d->max_new));
}
