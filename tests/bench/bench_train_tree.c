// SPDX-License-Identifier: Apache-2.0
// One training pass (forward and backward, no optimiser) over a GRPO group of 8 rollouts, 128 tokens of prompt and 128 of
// completion each, in every form the trainer has: "plain" is what a batch without any of it does (prompt repeated, LM head
// on every position), "responses" has targets on the completions only, "shared" computes the prompt once, "recompute"
// keeps the layers' inputs only, "fused" runs forward and backward of the head as one where dlogp is known. The forms
// take turns, so that a slow minute of the machine hits all of them; "ratio" is to the plain one of the same round, "cpu_ratio"
// the same of the threads' CPU time, which other processes disturb less. FLOP count what a form must compute (three forwards
// of its tokens, the head on its targets), not what it computes again.
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/model/train.h"
#include "common/tensor/tensor.h"
#include "tests/bench/bench_subject.h"

enum { MEMBERS = 8, PROMPT = 128, NEW = 128, FED = PROMPT + NEW - 1, T_MAX = MEMBERS * FED, ROUNDS = 3, FORMS = 6 };

typedef struct form {
  const char *name;
  bool shared, everywhere, fused;
  agrl_recompute recompute;
} form;

static const form forms[FORMS] = {
    {"plain", false, true, false, AGRL_RECOMPUTE_NONE},
    {"responses", false, false, false, AGRL_RECOMPUTE_NONE},
    {"shared", true, false, false, AGRL_RECOMPUTE_NONE},
    {"shared_recompute", true, false, false, AGRL_RECOMPUTE_LAYER},
    {"responses_fused", false, false, true, AGRL_RECOMPUTE_NONE},
    {"plain_fused", false, true, true, AGRL_RECOMPUTE_NONE},
};

typedef struct batch {
  agrl_batch b;
  size_t start[MEMBERS + 2];
  int32_t parent[MEMBERS + 1], tokens[T_MAX], target[T_MAX];
} batch;

static void feed(batch *p, const form *f, size_t member, size_t from, size_t to, size_t vocab) {
  size_t at = p->start[p->b.n_seqs];
  for (size_t i = from; i < to; i++, at++) {
    const size_t seed = i < PROMPT ? i : i + member * 1000;
    p->tokens[at] = (int32_t)(seed * 7919 % vocab);
    p->target[at] = f->everywhere || i + 1 >= PROMPT ? (int32_t)((seed + 1) * 7919 % vocab) : -1;
  }
  p->parent[p->b.n_seqs++] = f->shared && from > 0 ? 0 : -1;
  p->start[p->b.n_seqs] = at;
}

static void fill(batch *p, const form *f, size_t vocab) {
  memset(p, 0, sizeof *p);
  if (f->shared) feed(p, f, 0, 0, PROMPT - 1, vocab);
  for (size_t m = 0; m < MEMBERS; m++) feed(p, f, m, f->shared ? PROMPT - 1 : 0, FED, vocab);
  p->b = (agrl_batch){p->b.n_seqs, p->start, p->tokens, p->target, p->parent};
}

static double flop_of(const batch *p, const agrl_spec *s, double mults) {
  const double head = (double)s->vocab * s->hidden;
  double sum = 0;
  for (size_t i = 0; i < p->b.n_seqs; i++) {
    const size_t above = p->parent[i] >= 0 ? PROMPT - 1 : 0;
    for (size_t t = p->start[i]; t < p->start[i + 1]; t++)
      sum += mults - head + (p->target[t] >= 0 ? head : 0) + 2.0 * s->n_layers * s->n_heads * s->head_dim * (double)(above + t - p->start[i] + 1);
  }
  return 6 * sum;
}

typedef struct spent {
  double wall, cpu, flop;
} spent;

static double cpu_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static spent run(agrl_trainer *t, const bench_subject *m, const form *f, float *grads) {
  static batch p;
  static float logp[T_MAX], entropy[T_MAX], dlogp[T_MAX];
  fill(&p, f, (size_t)m->spec.vocab);
  for (size_t i = 0; i < T_MAX; i++) dlogp[i] = -1.0f / (MEMBERS * NEW);
  const double cpu = cpu_seconds();
  const uint64_t start = agrl_mono_ns();
  agrl_error err;
  agrl_rc rc;
  if (f->fused) {
    rc = agrl_trainer_forward_backward(t, &m->served, &p.b, dlogp, logp, grads, &err);
  } else {
    rc = agrl_trainer_forward(t, &m->served, &p.b, true, logp, entropy, &err);
    if (rc == AGRL_OK) agrl_trainer_backward(t, &m->served, &p.b, dlogp, grads);
  }
  if (rc != AGRL_OK) bench_die(err.msg);
  const double wall = agrl_since_s(start);
  return (spent){wall, cpu_seconds() - cpu, flop_of(&p, &m->spec, m->mults)};
}

static void subject(bench_env *e, const bench_subject *m) {
  const size_t bytes = m->l->n_elements * sizeof(float);
  float *grads = bench_need(agrl_block_alloc(bytes));
  double seconds[FORMS][ROUNDS], cpu[FORMS][ROUNDS], ratio[FORMS][ROUNDS], cpu_ratio[FORMS][ROUNDS], flop[FORMS];
  size_t state[FORMS];
  agrl_trainer *t[2];
  agrl_error err;
  for (int r = 0; r < 2; r++)
    if (agrl_trainer_new(m->l, e->pool[1], T_MAX, (agrl_recompute)r, &t[r], &err) != AGRL_OK) bench_die(err.msg);
  for (int round = -1; round < ROUNDS; round++) {  // the first warms up
    for (int f = 0; f < FORMS; f++) {
      if (round < 0 && f > 0) continue;
      agrl_trainer *use = t[forms[f].recompute];
      state[f] = agrl_trainer_bytes(use);
      const spent s = run(use, m, &forms[f], grads);
      if (round < 0) continue;
      flop[f] = s.flop;
      seconds[f][round] = s.wall;
      cpu[f][round] = s.cpu;
      ratio[f][round] = s.wall / seconds[0][round];
      cpu_ratio[f][round] = s.cpu / cpu[0][round];
    }
  }
  for (int f = 0; f < FORMS; f++) {
    bench_subject_begin(e, "train_tree", m);
    agrl_jw_kstr(&e->json, "form", forms[f].name);
    agrl_jw_ku64(&e->json, "state_bytes", state[f]);
    bench_rates(e, 1, bench_median(seconds[f], ROUNDS), flop[f], 0);
    bench_number(e, "ratio", bench_median(ratio[f], ROUNDS));
    bench_number(e, "cpu_ratio", bench_median(cpu_ratio[f], ROUNDS));
    bench_end(e);
  }
  for (int r = 0; r < 2; r++) agrl_trainer_free(t[r]);
  agrl_block_free(grads, bytes);
}

void bench_train_tree(bench_env *e) {
  for (int i = 0; i < BENCH_SUBJECTS; i++) {
    bench_subject m;
    bench_subject_open(&m, i);
    subject(e, &m);
    bench_subject_close(&m);
  }
}
