// SPDX-License-Identifier: Apache-2.0
// Attention at the shape of a 135M Llama: 9 heads of 64, 3 key/value heads. Packed forward and backward; decode of one
// layer by 32 sequences in groups of 8 that share a prefix, and without sharing ("members" 1). FLOP count the causal half
// of forward and backward, and all keys of decode; bytes of decode count every key and value once a step.
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/tensor/attn.h"
#include "common/tensor/tensor.h"
#include "tests/bench/bench_cases.h"
#include "tests/bench/bench_subject.h"

enum { H = 9, KV = 3, D = 64, SEQS = 32, LEN = 256 };

typedef struct packed_arg {
  agrl_pool *pool;
  float *o, *lse, *dq, *dk, *dv, *delta;
  const float *q, *k, *v;
  agrl_attn_segs segs;
} packed_arg;

static void forward_once(void *arg) {
  packed_arg *a = arg;
  agrl_attn(a->pool, a->o, a->lse, a->q, a->k, a->v, &a->segs, H, KV, D);
}
static void backward_once(void *arg) {
  packed_arg *a = arg;
  agrl_attn_bwd(a->pool, a->dq, a->dk, a->dv, a->delta, a->q, a->q, a->k, a->v, a->o, a->lse, &a->segs, H, KV, D);
}

static void packed(bench_env *e) {
  enum { T = SEQS * LEN, NQ = T * H * D, NK = T * KV * D };
  size_t start[SEQS + 1];
  for (size_t s = 0; s <= SEQS; s++) start[s] = s * LEN;
  float *q = bench_floats(NQ, 1), *k = bench_floats(NK, 2), *v = bench_floats(NK, 3), *lse = bench_floats(T * H, 4);
  float *o = bench_floats(NQ, 5), *dq = bench_floats(NQ, 6), *dk = bench_floats(NK, 7), *dv = bench_floats(NK, 8);
  float *delta = bench_floats(T * H, 9);
  packed_arg a = {.o = o, .lse = lse, .dq = dq, .dk = dk, .dv = dv, .delta = delta, .q = q, .k = k, .v = v,
                  .segs = {SEQS, start, NULL}};
  const double pairs = (double)SEQS * LEN * (LEN + 1) / 2 * H;
  for (int form = 0; form < 2; form++) {
    for (int t = 0; t < 2; t++) {
      a.pool = e->pool[t];
      const double s = bench_time(e, form ? backward_once : forward_once, &a);
      bench_begin(e, "attention", t);
      agrl_jw_kstr(&e->json, "pass", form ? "backward" : "forward");
      agrl_jw_ku64(&e->json, "seqs", SEQS);
      agrl_jw_ku64(&e->json, "len", LEN);
      bench_time_rates(e, t, s, pairs * (form ? 10 : 4) * D, 0);
      bench_end(e);
    }
  }
  agrl_block_free(q, NQ * 4), agrl_block_free(k, NK * 4), agrl_block_free(v, NK * 4), agrl_block_free(lse, T * H * 4);
  agrl_block_free(o, NQ * 4), agrl_block_free(dq, NQ * 4), agrl_block_free(dk, NK * 4), agrl_block_free(dv, NK * 4);
  agrl_block_free(delta, T * H * 4);
}

typedef struct decode_arg {
  agrl_pool *pool;
  agrl_attn_seq seqs[SEQS];
  agrl_attn_part parts[SEQS * H];
  float *q, *o;
  size_t n_parts;
} decode_arg;

static void decode_once(void *arg) {
  decode_arg *a = arg;
  agrl_attn_decode(a->pool, a->o, a->q, a->seqs, a->parts, a->n_parts, H, KV, D);
}

// SEQS sequences of `keys` keys, members of them over one prefix of half the keys.
static void decode(bench_env *e, size_t keys, size_t members) {
  static decode_arg a;
  const size_t half = keys / 2, slot = KV * (half + AGRL_ATTN_GROUP) * D, n = 2 * SEQS * slot;
  float *k = bench_floats(n, 1), *v = bench_floats(n, 2);
  a.q = bench_floats(SEQS * H * D, 3);
  a.o = bench_floats(SEQS * H * D, 4);
  for (size_t s = 0; s < SEQS; s++) {
    const size_t up = s / members * slot, own = (SEQS + s) * slot, groups = half / AGRL_ATTN_GROUP + 1;
    a.seqs[s] = (agrl_attn_seq){.shared = {k + up, v + up, groups, half}, .own = {k + own, v + own, groups, half},
                                .n_shared = half, .n = keys, .row = s};
  }
  const double read = (double)(SEQS / members + SEQS) * (double)half * KV * D * 8;
  for (int t = 0; t < 2; t++) {
    a.pool = e->pool[t];
    a.n_parts = agrl_attn_plan(a.parts, a.seqs, SEQS, H, KV, e->n_threads[t]);
    const double s = bench_time(e, decode_once, &a);
    bench_begin(e, "attention", t);
    agrl_jw_kstr(&e->json, "pass", "decode");
    agrl_jw_ku64(&e->json, "seqs", SEQS);
    agrl_jw_ku64(&e->json, "len", keys);
    agrl_jw_ku64(&e->json, "members", members);
    bench_time_rates(e, t, s, 4.0 * (double)keys * SEQS * H * D, read);
    bench_end(e);
  }
  agrl_block_free(k, n * 4), agrl_block_free(v, n * 4);
  agrl_block_free(a.q, SEQS * H * D * 4), agrl_block_free(a.o, SEQS * H * D * 4);
}

void bench_attention(bench_env *e) {
  packed(e);
  for (size_t keys = 192; keys <= 1024; keys += 832) {
    decode(e, keys, 8);
    decode(e, keys, 1);
  }
}
