// SPDX-License-Identifier: Apache-2.0
// A whole step of the learner, every parameter trained or adapters only: "sft" is 8 sequences of 256 tokens, all of them targets,
// forward and backward as one; "grpo" is 2 groups of 8 rollouts over a shared prompt (128 tokens and 128 each), a pass a group. Both
// with gradients cleared, AdamW, and what is served merged and packed again. The forms take turns; "ratio" is to every parameter
// trained in the same round, "cpu_ratio" the same of the threads' CPU time. "resident_bytes" is what weights, optimiser and trainer
// of a form, and nothing else, hold of memory after a step; "package_bytes" what an actor is sent for the version after.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/ckpt/delta.h"
#include "learner/learner.h"
#include "tests/bench/bench_subject.h"

enum { MEMBERS = 8, PROMPT = 128, NEW = 128, GROUPS = 2, SFT_SEQS = 8, SFT_LEN = 256, T_MAX = SFT_SEQS * SFT_LEN, ROUNDS = 3, FORMS = 3, STEPS = 2 };

typedef struct form {
  const char *name;
  size_t rank;
  unsigned targets;
} form;

static const form forms[FORMS] = {{"full", 0, 0}, {"lora_r16_all", 16, 0x7f}, {"lora_r8_qv", 8, 0x05}};

typedef struct batch {
  agrl_batch b;
  size_t start[MEMBERS + 2];
  int32_t parent[MEMBERS + 1], tokens[T_MAX], target[T_MAX];
  float logp[T_MAX], entropy[T_MAX], dlogp[T_MAX];
} batch;

static void put(batch *p, size_t n, size_t from_target, int32_t parent, size_t seed, size_t vocab) {
  size_t at = p->start[p->b.n_seqs];
  for (size_t i = 0; i < n; i++, at++) {
    p->tokens[at] = (int32_t)((seed + i) * 7919 % vocab);
    p->target[at] = i >= from_target ? (int32_t)((seed + i + 1) * 7919 % vocab) : -1;
    p->dlogp[at] = i >= from_target ? -1e-3f : 0;
  }
  p->parent[p->b.n_seqs++] = parent;
  p->start[p->b.n_seqs] = at;
}

static void fill(batch *p, bool sft, size_t seed, size_t vocab) {
  memset(p, 0, sizeof *p);
  if (!sft) put(p, PROMPT - 1, PROMPT, -1, seed, vocab);
  for (size_t m = 0; m < (sft ? (size_t)SFT_SEQS : (size_t)MEMBERS); m++)
    put(p, sft ? SFT_LEN : NEW, 0, sft ? -1 : 0, seed + 1000 * (m + 1), vocab);
  p->b = (agrl_batch){p->b.n_seqs, p->start, p->tokens, p->target, p->parent};
}

typedef struct learner {
  agrl_lora *lora;
  agrl_trainer *t;
  learner_optim o;
  size_t resident;
} learner;

static size_t resident(void) {
  FILE *f = fopen("/proc/self/statm", "re");
  size_t size = 0, pages = 0;
  if (f == NULL || fscanf(f, "%zu %zu", &size, &pages) != 2) bench_die("/proc/self/statm");
  fclose(f);
  return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void open_learner(learner *l, bench_env *e, const bench_subject *m, const form *f) {
  agrl_error err;
  *l = (learner){0};
  if (agrl_trainer_new(m->l, e->pool[1], T_MAX, AGRL_RECOMPUTE_NONE, &l->t, &err) != AGRL_OK) bench_die(err.msg);
  if (f->rank == 0) {
    if (learner_optim_init(&l->o, m->l, e->pool[1], m->params, &err) != AGRL_OK) bench_die(err.msg);
    return;
  }
  if (agrl_lora_new(m->l, f->rank, 2.0 * (double)f->rank, f->targets, &l->lora, &err) != AGRL_OK) bench_die(err.msg);
  if (agrl_trainer_adapt(l->t, l->lora, &err) != AGRL_OK) bench_die(err.msg);
  if (learner_optim_init_lora(&l->o, l->lora, e->pool[1], m->params, 1, &err) != AGRL_OK) bench_die(err.msg);
}

static void close_learner(learner *l) {
  learner_optim_release(&l->o);
  agrl_trainer_free(l->t);
  agrl_lora_free(l->lora);
}

typedef struct spent {
  double wall, cpu;
} spent;

static double cpu_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static spent step(learner *l, bench_env *e, const bench_subject *m, bool sft) {
  static const learner_hyper hyper = {.lr = 1e-4, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.01, .grad_clip = 1};
  static batch p;
  agrl_error err;
  double norm;
  bool clipped;
  const double cpu = cpu_seconds();
  const uint64_t start = agrl_mono_ns();
  learner_optim_zero_grads(&l->o);
  for (size_t g = 0; g < (sft ? (size_t)1 : (size_t)GROUPS); g++) {
    fill(&p, sft, g * 131, (size_t)m->spec.vocab);
    agrl_rc rc = sft ? agrl_trainer_forward_backward(l->t, &l->o.served, &p.b, p.dlogp, p.logp, l->o.grads, &err)
                     : agrl_trainer_forward(l->t, &l->o.served, &p.b, true, p.logp, p.entropy, &err);
    if (rc != AGRL_OK) bench_die(err.msg);
    if (!sft) agrl_trainer_backward(l->t, &l->o.served, &p.b, p.dlogp, l->o.grads);
  }
  if (!learner_optim_step(&l->o, e->pool[1], &hyper, &norm, &clipped)) bench_die("the gradient is not finite");
  return (spent){agrl_since_s(start), cpu_seconds() - cpu};
}

// Of the version after one more step.
static size_t package_bytes(learner *l, bench_env *e, const bench_subject *m) {
  const size_t n = l->o.trained->n_elements * sizeof(uint16_t);
  uint16_t *before = bench_need(agrl_block_alloc(n));
  agrl_buf out = {0};
  const agrl_delta_id id = {.base_version = 1, .version = 2};
  memcpy(before, l->o.rounded, n);
  step(l, e, m, true);
  agrl_delta_encode(l->o.trained, before, l->o.rounded, &id, e->pool[1], &out, NULL);
  const size_t bytes = out.len;
  agrl_buf_release(&out);
  agrl_block_free(before, n);
  return bytes;
}

static int by_value(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *x) {
  qsort(x, ROUNDS, sizeof *x, by_value);
  return x[ROUNDS / 2];
}

static void subject(bench_env *e, const bench_subject *m) {
  static const char *const steps[STEPS] = {"sft", "grpo"};
  static learner l[FORMS];
  static double seconds[FORMS][STEPS][ROUNDS], ratio[FORMS][STEPS][ROUNDS], cpu[FORMS][STEPS][ROUNDS], cpu_ratio[FORMS][STEPS][ROUNDS];
  for (int f = 0; f < FORMS; f++) {
    const size_t before = resident();
    open_learner(&l[f], e, m, &forms[f]);
    for (int s = 0; s < STEPS; s++) step(&l[f], e, m, s == 0);
    l[f].resident = resident() - before;
  }
  for (int round = 0; round < ROUNDS; round++)
    for (int s = 0; s < STEPS; s++)
      for (int f = 0; f < FORMS; f++) {
        const spent x = step(&l[f], e, m, s == 0);
        seconds[f][s][round] = x.wall;
        cpu[f][s][round] = x.cpu;
        ratio[f][s][round] = x.wall / seconds[0][s][round];
        cpu_ratio[f][s][round] = x.cpu / cpu[0][s][round];
      }
  for (int f = 0; f < FORMS; f++) {
    const size_t package = package_bytes(&l[f], e, m);
    for (int s = 0; s < STEPS; s++) {
      bench_subject_begin(e, "lora", m);
      agrl_jw_kstr(&e->json, "form", forms[f].name);
      agrl_jw_kstr(&e->json, "step", steps[s]);
      agrl_jw_ku64(&e->json, "trained", agrl_layout_params(l[f].o.trained));
      agrl_jw_ku64(&e->json, "tokens", s == 0 ? T_MAX : GROUPS * (PROMPT - 1 + MEMBERS * NEW));
      bench_number(e, "seconds", median(seconds[f][s]));
      bench_number(e, "ratio", median(ratio[f][s]));
      bench_number(e, "cpu_ratio", median(cpu_ratio[f][s]));
      agrl_jw_ku64(&e->json, "resident_bytes", l[f].resident);
      agrl_jw_ku64(&e->json, "trainer_bytes", agrl_trainer_bytes(l[f].t));
      agrl_jw_ku64(&e->json, "block_bytes", l[f].o.trained->n_elements * sizeof(uint16_t));
      agrl_jw_ku64(&e->json, "package_bytes", package);
      bench_end(e);
    }
  }
  for (int f = 0; f < FORMS; f++) close_learner(&l[f]);
}

void bench_lora(bench_env *e) {
  for (int i = 0; i < BENCH_SUBJECTS; i++) {
    bench_subject m;
    bench_subject_open(&m, i);
    subject(e, &m);
    bench_subject_close(&m);
  }
}
