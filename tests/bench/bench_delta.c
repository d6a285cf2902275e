// SPDX-License-Identifier: Apache-2.0
// What a published version costs in bytes, against the learning rate. Both models are trained with AdamW on the gradients of
// next-token prediction over sequences drawn from a fixed random bigram table (learnable, so gradients do not vanish at once), from
// the same random weights for every rate. WARMUP steps fill the moments; each of the next STEPS is a version, encoded as
// a learner does and decoded and verified as an actor does. No data set is read; seeds are fixed.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/base/rng.h"
#include "common/ckpt/delta.h"
#include "common/model/train.h"
#include "learner/learner.h"
#include "tests/bench/bench_subject.h"

enum { SEQS = 4, LEN = 64, T = SEQS * LEN, WARMUP = 5, STEPS = 3, FOLLOWERS = 4 };

typedef struct lab {
  const bench_subject *m;
  agrl_pool *pool;
  agrl_trainer *t;
  learner_optim optim;
  agrl_rng rng;
  size_t start[SEQS + 1];
  int32_t tokens[T], target[T];
  float logp[T], entropy[T], dlogp[T];
} lab;

// Each token has FOLLOWERS possible successors, a fixed function of it.
static void draw_batch(lab *a) {
  const uint32_t V = (uint32_t)a->m->spec.vocab;
  for (size_t i = 0; i < T; i++) {
    if (i % LEN == 0) a->tokens[i] = (int32_t)agrl_rng_below(&a->rng, V);
    const uint32_t next = ((uint32_t)a->tokens[i] * 2654435761u + agrl_rng_below(&a->rng, FOLLOWERS) * 40503u) % V;
    a->target[i] = (int32_t)next;
    a->dlogp[i] = -1.0f / T;
    if ((i + 1) % LEN != 0) a->tokens[i + 1] = (int32_t)next;
  }
  for (size_t i = 0; i <= SEQS; i++) a->start[i] = i * LEN;
}

static void train_step(lab *a, double lr) {
  const learner_hyper hyper = {.lr = lr, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.01, .grad_clip = 1};
  double norm;
  bool clipped;
  draw_batch(a);
  const agrl_batch b = {.n_seqs = SEQS, .start = a->start, .tokens = a->tokens, .target = a->target};
  learner_optim_zero_grads(&a->optim);
  if (agrl_trainer_forward(a->t, &a->optim.served, &b, true, a->logp, a->entropy, NULL) != AGRL_OK) bench_die("the forward pass failed");
  agrl_trainer_backward(a->t, &a->optim.served, &b, a->dlogp, a->optim.grads);
  if (!learner_optim_step(&a->optim, a->pool, &hyper, &norm, &clipped)) bench_die("the gradient is not finite");
}

typedef struct sums {
  double bytes, changed, encode, apply;
} sums;

static void version(lab *a, uint16_t *before, uint16_t *copy, sums *s) {
  const size_t n = a->m->l->n_elements, bytes = n * sizeof *before;
  const agrl_delta_id id = {1, 2, agrl_sha256_of(before, bytes), agrl_sha256_of(a->optim.bf16, bytes)};
  agrl_buf out = {0};
  agrl_delta_stats st;
  agrl_error err;
  uint64_t t0 = agrl_mono_ns();
  agrl_delta_encode(a->m->l, before, a->optim.bf16, &id, a->pool, &out, &st);
  s->encode += agrl_since_s(t0);
  memcpy(copy, before, bytes);
  t0 = agrl_mono_ns();
  agrl_delta_reader *r = agrl_delta_reader_new(a->m->l, copy, &id);
  if (agrl_delta_reader_feed(r, out.data, out.len, &err) != AGRL_OK) bench_die(err.msg);
  if (!agrl_delta_reader_done(r)) bench_die("the package ends early");
  agrl_delta_reader_free(r);
  s->apply += agrl_since_s(t0);
  if (memcmp(copy, a->optim.bf16, bytes) != 0) bench_die("decoded weights differ from those encoded");
  memcpy(before, copy, bytes);
  s->bytes += (double)out.len;
  s->changed += (double)st.changed / (double)n;
  agrl_buf_release(&out);
}

static void one_rate(bench_env *e, lab *a, double lr, uint16_t *before, uint16_t *copy) {
  const size_t n = a->m->l->n_elements;
  agrl_error err;
  sums s = {0};
  agrl_rng_init(&a->rng, 11, 0);
  if (learner_optim_init(&a->optim, a->m->l, a->pool, a->m->params, &err) != AGRL_OK) bench_die(err.msg);
  for (int i = 0; i < WARMUP; i++) train_step(a, lr);
  memcpy(before, a->optim.bf16, n * sizeof *before);
  for (int i = 0; i < STEPS; i++) {
    train_step(a, lr);
    version(a, before, copy, &s);
  }
  bench_subject_begin(e, "weights_lr", a->m);
  bench_number(e, "learning_rate", lr);
  bench_number(e, "changed_ratio", s.changed / STEPS);
  agrl_jw_ku64(&e->json, "full_bytes", n * sizeof *before);
  agrl_jw_ku64(&e->json, "delta_bytes", (uint64_t)(s.bytes / STEPS));
  bench_number(e, "delta_to_full_ratio", s.bytes / STEPS / (double)(n * sizeof *before));
  bench_number(e, "bits_per_changed_word", 8 * s.bytes / (s.changed * (double)n));
  bench_moved(e, "encode", s.encode / STEPS, 2.0 * (double)(n * sizeof *before));
  bench_moved(e, "apply", s.apply / STEPS, 2.0 * (double)(n * sizeof *before));
  bench_end(e);
  learner_optim_release(&a->optim);
}

void bench_weights_lr(bench_env *e) {
  static const double rates[] = {1e-6, 3e-6, 1e-5, 3e-5, 1e-4};
  static lab a;
  for (int i = 0; i < BENCH_SUBJECTS; i++) {
    bench_subject m;
    agrl_error err;
    bench_subject_open(&m, i);
    a = (lab){.m = &m, .pool = e->pool[1]};
    if (agrl_trainer_new(m.l, e->pool[1], T, AGRL_RECOMPUTE_NONE, &a.t, &err) != AGRL_OK) bench_die(err.msg);
    const size_t bytes = m.l->n_elements * sizeof(uint16_t);
    uint16_t *before = bench_need(agrl_block_alloc(bytes)), *copy = bench_need(agrl_block_alloc(bytes));
    for (size_t k = 0; k < sizeof rates / sizeof *rates; k++) one_rate(e, &a, rates[k], before, copy);
    agrl_block_free(before, bytes);
    agrl_block_free(copy, bytes);
    agrl_trainer_free(a.t);
    bench_subject_close(&m);
  }
}
