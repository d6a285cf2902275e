// SPDX-License-Identifier: Apache-2.0
// Whole-model cases with random weights, on all threads: decode (groups of 8 share a 128-token prompt; a token is drawn
// and its log-prob kept, as an actor does), prefill, a training pass without the optimiser ("train") and with it ("train_step":
// gradients cleared, their norm, AdamW over every tensor with the bf16 copies that are served). FLOP count the products of
// the model and attention; a training pass counts three forwards and nothing
// for the optimiser. Bytes of a decode step: every weight once, and the keys
// and values read.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/base/rng.h"
#include "common/model/decode.h"
#include "common/model/train.h"
#include "common/tensor/tensor.h"
#include "learner/learner.h"
#include "tests/bench/bench_subject.h"

enum { TRAIN_SAMPLES = 4096, PROMPT = 128, NEW = 64, GROUP = 8, BATCH_MAX = 64, PREFILL = 512, TRAIN_SEQS = 8, TRAIN_LEN = 256 };

static double attn_mults(const agrl_spec *s, double keys) {  // scores and values of one query over so many keys
  return 2.0 * s->n_layers * s->n_heads * s->head_dim * keys;
}

static agrl_decoder *decoder(bench_env *e, const bench_subject *m, size_t batch, size_t prompt, size_t new_tokens) {
  agrl_decoder *d = NULL;
  agrl_error err;
  if (agrl_decoder_new(m->l, e->pool[1], batch, prompt, new_tokens, &d, &err) != AGRL_OK) bench_die(err.msg);
  return d;
}

static void tokens_rate(bench_env *e, double tokens, double seconds) {
  agrl_jw_ku64(&e->json, "tokens_per_s", (uint64_t)(tokens / seconds + 0.5));
}

typedef struct decode_arg {
  agrl_pool *pool;
  const bench_subject *m;
  agrl_decoder *d;
  agrl_prefix *prefix[BATCH_MAX];
  agrl_seq *seqs[BATCH_MAX];
  int32_t tokens[BATCH_MAX];
  float logprobs[BATCH_MAX], *logits, *scratch;
  size_t n;
  agrl_rng rng;
  double u[BATCH_MAX];
} decode_arg;

static void reopen(decode_arg *a) {
  for (size_t i = 0; i < a->n; i++) {
    if (a->seqs[i] != NULL) agrl_seq_close(a->d, a->seqs[i]);
    a->seqs[i] = NULL;
  }
  for (size_t i = 0; i < a->n; i++) a->seqs[i] = agrl_seq_open(a->d, a->prefix[i / GROUP]);
}

static void draw(void *arg, size_t i) {
  decode_arg *a = arg;
  const size_t V = (size_t)a->m->spec.vocab;
  a->tokens[i] = agrl_sample(a->logits + i * V, V, 1, 0, 1, a->u[i], a->scratch + i * V, &a->logprobs[i]);
}

static void decode_once(void *arg) {
  decode_arg *a = arg;
  if (agrl_seq_len(a->seqs[0]) == NEW) reopen(a);
  agrl_decoder_step(a->d, a->m->w, a->seqs, a->tokens, a->n, a->logits);
  for (size_t i = 0; i < a->n; i++) a->u[i] = agrl_rng_f64(&a->rng);
  agrl_pool_run(a->pool, draw, a, a->n);
}

static void decode_batch(bench_env *e, const bench_subject *m, size_t n) {
  const size_t V = (size_t)m->spec.vocab;
  int32_t prompt[PROMPT];
  decode_arg a = {.pool = e->pool[1], .m = m, .d = decoder(e, m, n, PROMPT, NEW), .n = n};
  agrl_rng_init(&a.rng, 5, n);
  a.logits = bench_need(agrl_block_alloc(n * V * sizeof(float)));
  a.scratch = bench_need(agrl_block_alloc(n * V * sizeof(float)));
  const size_t groups = (n + GROUP - 1) / GROUP;
  for (size_t g = 0; g < groups; g++) {
    for (size_t i = 0; i < PROMPT; i++) prompt[i] = (int32_t)agrl_rng_below(&a.rng, (uint32_t)V);
    a.prefix[g] = agrl_decoder_prefill(a.d, m->w, prompt, PROMPT, a.logits);
  }
  reopen(&a);
  // One sequence is bound by the bandwidth, which other guests of the machine move from minute to minute: it is measured right
  // before and after, and the larger counts.
  const double before = n == 1 ? bench_read_measure(e->pool[1], e->n_threads[1]) : 0, at_start = e->peak[1].read_gbps;
  const double s = bench_time(e, decode_once, &a);
  const double after = n == 1 ? bench_read_measure(e->pool[1], e->n_threads[1]) : 0;
  if (n == 1) e->peak[1].read_gbps = before > after ? before : after;
  const double keys = PROMPT + NEW / 2.0, kv_bytes = 8.0 * m->spec.n_layers * m->spec.n_kv_heads * m->spec.head_dim;
  bench_subject_begin(e, "decode", m);
  agrl_jw_ku64(&e->json, "batch", n);
  tokens_rate(e, (double)n, s);
  bench_time_rates(e, 1, s, 2.0 * (double)n * (m->mults + attn_mults(&m->spec, keys)),
              2.0 * m->mults + kv_bytes * ((double)groups * PROMPT + (double)n * NEW / 2.0));
  if (n == 1) bench_number(e, "read_gb_per_s", e->peak[1].read_gbps);
  bench_end(e);
  e->peak[1].read_gbps = at_start;
  agrl_decoder_free(a.d);
  agrl_block_free(a.logits, n * V * sizeof(float));
  agrl_block_free(a.scratch, n * V * sizeof(float));
}

typedef struct prefill_arg {
  const bench_subject *m;
  agrl_decoder *d;
  int32_t tokens[PREFILL];
  float *logits;
} prefill_arg;

static void prefill_once(void *arg) {
  prefill_arg *a = arg;
  agrl_prefix_unref(a->d, agrl_decoder_prefill(a->d, a->m->w, a->tokens, PREFILL, a->logits));
}

static void prefill(bench_env *e, const bench_subject *m) {
  const size_t V = (size_t)m->spec.vocab;
  prefill_arg a = {.m = m, .d = decoder(e, m, 1, PREFILL, 1), .logits = bench_need(agrl_block_alloc(V * sizeof(float)))};
  for (size_t i = 0; i < PREFILL; i++) a.tokens[i] = (int32_t)(i * 7919 % V);
  const double s = bench_time(e, prefill_once, &a);
  const double head = (double)m->spec.vocab * m->spec.hidden;  // on the last position only
  bench_subject_begin(e, "prefill", m);
  agrl_jw_ku64(&e->json, "prompt", PREFILL);
  tokens_rate(e, PREFILL, s);
  bench_time_rates(e, 1, s, 2.0 * (PREFILL * (m->mults - head + attn_mults(&m->spec, PREFILL / 2.0)) + head), 0);
  bench_end(e);
  agrl_decoder_free(a.d);
  agrl_block_free(a.logits, V * sizeof(float));
}

typedef struct train_arg {
  agrl_pool *pool;
  agrl_trainer *t;
  agrl_batch b;
  learner_optim optim;
  size_t start[TRAIN_SEQS + 1];
  int32_t tokens[TRAIN_SEQS * TRAIN_LEN], target[TRAIN_SEQS * TRAIN_LEN];
  float logp[TRAIN_SEQS * TRAIN_LEN], entropy[TRAIN_SEQS * TRAIN_LEN], dlogp[TRAIN_SEQS * TRAIN_LEN];
  double passes[TRAIN_SAMPLES];  // seconds of forward and backward alone, of each step; the first one warms up
  size_t n_passes;
} train_arg;

static void train_once(void *arg) {
  train_arg *a = arg;
  if (agrl_trainer_forward(a->t, &a->optim.served, &a->b, true, a->logp, a->entropy, NULL) != AGRL_OK) exit(70);
  agrl_trainer_backward(a->t, &a->optim.served, &a->b, a->dlogp, a->optim.grads);
}

static void train_step_once(void *arg) {
  static const learner_hyper hyper = {.lr = 1e-6, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.01, .grad_clip = 1};
  train_arg *a = arg;
  double norm;
  bool clipped;
  learner_optim_zero_grads(&a->optim);
  const uint64_t pass = agrl_mono_ns();
  train_once(a);
  if (a->n_passes < TRAIN_SAMPLES) a->passes[a->n_passes++] = agrl_since_s(pass);
  if (!learner_optim_step(&a->optim, a->pool, &hyper, &norm, &clipped)) bench_die("the gradient is not finite");
}

static void train_line(bench_env *e, const bench_subject *m, const char *name, double s, const train_arg *a) {
  enum { T = TRAIN_SEQS * TRAIN_LEN };
  bench_subject_begin(e, name, m);
  agrl_jw_ku64(&e->json, "sequences", TRAIN_SEQS);
  agrl_jw_ku64(&e->json, "length", TRAIN_LEN);
  agrl_jw_ku64(&e->json, "state_bytes", agrl_trainer_bytes(a->t));
  tokens_rate(e, T, s);
  bench_time_rates(e, 1, s, 6.0 * T * (m->mults + attn_mults(&m->spec, TRAIN_LEN / 2.0)), 0);
  bench_end(e);
}

static void train(bench_env *e, const bench_subject *m) {
  enum { T = TRAIN_SEQS * TRAIN_LEN };
  static train_arg a;
  agrl_error err;
  a = (train_arg){.pool = e->pool[1]};
  if (agrl_trainer_new(m->l, e->pool[1], T, AGRL_RECOMPUTE_NONE, &a.t, &err) != AGRL_OK) bench_die(err.msg);
  if (learner_optim_init(&a.optim, m->l, e->pool[1], m->params, &err) != AGRL_OK) bench_die(err.msg);
  for (size_t i = 0; i < T; i++) {
    a.tokens[i] = (int32_t)(i * 7919 % (size_t)m->spec.vocab);
    a.target[i] = (i + 1) % TRAIN_LEN != 0 ? (int32_t)((i + 1) * 7919 % (size_t)m->spec.vocab) : -1;
    a.dlogp[i] = -1.0f / T;
  }
  for (size_t i = 0; i <= TRAIN_SEQS; i++) a.start[i] = i * TRAIN_LEN;
  a.b = (agrl_batch){TRAIN_SEQS, a.start, a.tokens, a.target, NULL};
  const double step = bench_time(e, train_step_once, &a);  // both of the same steps: what moves between two cases moves both
  train_line(e, m, "train", bench_median(a.passes + 1, a.n_passes - 1), &a);
  train_line(e, m, "train_step", step, &a);
  agrl_trainer_free(a.t);
  learner_optim_release(&a.optim);
}

void bench_model(bench_env *e) {
  static const size_t batches[] = {1, 8, 32, 64};
  for (int i = 0; i < BENCH_SUBJECTS; i++) {
    bench_subject m;
    bench_subject_open(&m, i);
    for (size_t b = 0; b < sizeof batches / sizeof *batches; b++) decode_batch(e, &m, batches[b]);
    prefill(e, &m);
    train(e, &m);
    bench_subject_close(&m);
  }
}
