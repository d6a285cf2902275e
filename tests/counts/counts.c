// SPDX-License-Identifier: Apache-2.0
// Fixed pieces of work whose instructions counts.sh counts under callgrind, each in a function counted_<case> of its own: all
// that is made ready beforehand, and all that is checked afterwards, is outside of them. One thread, fixed inputs. Run alone
// it does the work and checks that it was done; under callgrind nothing else changes.
// usage: counts --key | --build | counts (prints what each case did)
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/base/rng.h"
#include "common/ckpt/delta.h"
#include "common/model/decode.h"
#include "common/text/bpe.h"
#include "learner/learner.h"
#include "reward/rules.h"

// Not inlined, cloned or merged: callgrind starts and stops counting at its entry and its end.
#define COUNTED static __attribute__((noipa)) void

static void need(bool ok, const char *what) {
  if (ok) return;
  fprintf(stderr, "counts: %s\n", what);
  exit(70);
}

// ---- a model of 2 layers, 64/192, 4 heads over 2, and its batches

enum { PROMPT = 96, SEQS = 8, NEW = 4, TRAIN_SEQS = 2, TRAIN_LEN = 64, VOCAB = 512, WIDE = 49152 };

static agrl_layout *layout(void) {
  agrl_layout *l = NULL;
  agrl_spec s = {.arch = "llama", .n_layers = 2, .hidden = 64, .ffn = 192, .n_heads = 4, .n_kv_heads = 2, .head_dim = 16, .vocab = VOCAB,
                 .context = PROMPT + NEW, .rope_theta = 10000, .norm_eps = 1e-5f, .tied = true, .start_id = -1, .end_id = -1};
  need(agrl_layout_new(&s, &l, NULL) == AGRL_OK, "no layout");
  return l;
}

typedef struct decode_work {
  agrl_decoder *d;
  agrl_weights *w;
  agrl_prefix *p;
  agrl_seq *seqs[SEQS];
  int32_t prompt[PROMPT], feed[SEQS];
  float logits[SEQS * VOCAB];
} decode_work;

COUNTED counted_prefill(decode_work *a) { a->p = agrl_decoder_prefill(a->d, a->w, a->prompt, PROMPT, a->logits); }

COUNTED counted_decode(decode_work *a) { agrl_decoder_step(a->d, a->w, a->seqs, a->feed, SEQS, a->logits); }

static void decode(const agrl_layout *l, const float *block) {
  static decode_work a;
  a.w = agrl_weights_from_f32(l, block, 1);
  agrl_weights_pack(a.w, NULL);
  need(agrl_decoder_new(l, NULL, SEQS, PROMPT, NEW, &a.d, NULL) == AGRL_OK, "no decoder");
  for (int32_t i = 0; i < PROMPT; i++) a.prompt[i] = i * 37 % VOCAB;
  counted_prefill(&a);
  for (size_t i = 0; i < SEQS; i++) {
    a.seqs[i] = agrl_seq_open(a.d, a.p);
    a.feed[i] = (int32_t)i;
  }
  counted_decode(&a);
  for (size_t i = 0; i < SEQS * VOCAB; i++) need(isfinite(a.logits[i]), "decode: a logit is not finite");
  agrl_decoder_free(a.d);
  agrl_weights_unref(a.w);
}

typedef struct train_work {
  agrl_trainer *t;
  learner_optim o;
  agrl_batch b;
  size_t start[TRAIN_SEQS + 1];
  int32_t tokens[TRAIN_SEQS * TRAIN_LEN], target[TRAIN_SEQS * TRAIN_LEN];
  float logp[TRAIN_SEQS * TRAIN_LEN], dlogp[TRAIN_SEQS * TRAIN_LEN];
  bool done;
} train_work;

COUNTED counted_train(train_work *a) {
  static const learner_hyper h = {.lr = 1e-3, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.01, .grad_clip = 1};
  double norm;
  bool clipped;
  learner_optim_zero_grads(&a->o);
  a->done = agrl_trainer_forward(a->t, &a->o.served, &a->b, true, a->logp, NULL, NULL) == AGRL_OK;
  agrl_trainer_backward(a->t, &a->o.served, &a->b, a->dlogp, a->o.grads);
  a->done = a->done && learner_optim_step(&a->o, NULL, &h, &norm, &clipped);
}

typedef struct delta_work {
  const agrl_layout *l;
  const uint16_t *base, *now;
  agrl_delta_id id;
  agrl_buf out;
} delta_work;

COUNTED counted_delta(delta_work *a) { agrl_delta_encode(a->l, a->base, a->now, &a->id, NULL, &a->out, NULL); }

static void train(const agrl_layout *l, const float *block) {
  enum { T = TRAIN_SEQS * TRAIN_LEN };
  static train_work a;
  need(agrl_trainer_new(l, NULL, T, AGRL_RECOMPUTE_NONE, &a.t, NULL) == AGRL_OK, "no trainer");
  need(learner_optim_init(&a.o, l, NULL, block, NULL) == AGRL_OK, "no optimiser");
  for (int32_t i = 0; i < T; i++) {
    a.tokens[i] = i * 37 % VOCAB;
    a.target[i] = (i + 1) % TRAIN_LEN ? (i + 1) * 37 % VOCAB : -1;
    a.dlogp[i] = -1.0f / T;
  }
  for (size_t i = 0; i <= TRAIN_SEQS; i++) a.start[i] = i * TRAIN_LEN;
  a.b = (agrl_batch){TRAIN_SEQS, a.start, a.tokens, a.target, NULL};
  uint16_t *before = agrl_xcalloc(l->n_elements, sizeof *before);
  memcpy(before, a.o.bf16, l->n_elements * sizeof *before);
  counted_train(&a);
  need(a.done, "train: the step was not done");
  delta_work d = {.l = l, .base = before, .now = a.o.bf16, .id = {.base_version = 1, .version = 2}};
  counted_delta(&d);
  need(d.out.len > 1000, "delta: the step changed nothing");
  agrl_buf_release(&d.out);
  free(before);
  agrl_trainer_free(a.t);
  learner_optim_release(&a.o);
}

// ---- drawing tokens over a vocabulary of 49,152

typedef struct sample_work {
  float row[WIDE], scratch[WIDE], logprob;
  int32_t token;
} sample_work;

COUNTED counted_sample(sample_work *a) { a->token = agrl_sample(a->row, WIDE, 1, 0, 1, 0.5, a->scratch, &a->logprob); }

COUNTED counted_sample_top_p(sample_work *a) { a->token = agrl_sample(a->row, WIDE, 0.8, 0, 0.9, 0.5, a->scratch, &a->logprob); }

static void sample(void) {
  static sample_work a;
  agrl_rng r;
  agrl_rng_init(&r, 3, 3);
  for (size_t i = 0; i < WIDE; i++) a.row[i] = (float)(agrl_rng_u32(&r) % 65536) / 8192.0f;
  counted_sample(&a);
  need(a.token >= 0 && a.logprob < 0, "sample: no token");
  counted_sample_top_p(&a);
  need(a.token >= 0 && a.logprob < 0, "sample_top_p: no token");
}

// ---- text

typedef struct text_work {
  const agrl_bpe *t;
  const char *text;
  int32_t ids[2048];
  size_t n;
} text_work;

COUNTED counted_encode(text_work *a) { a->n = agrl_bpe_encode(a->t, a->text, strlen(a->text), false, a->ids, 2048); }

static void encode(void) {
  static const char *const words[] = {"Velora day cream, unscented", "running shoes for wide feet", "4K monitor 27\" (2026)", "naïve café",
                                      "не парфюм", "防水のバッグ", "    indented code();", "without fragrance"};
  const char *corpus[256];
  agrl_buf text = {0};
  agrl_bpe *t = NULL;
  for (size_t i = 0; i < 256; i++) corpus[i] = words[i % 8];
  need(agrl_bpe_train(corpus, 256, 400, NULL, 0, &t, NULL) == AGRL_OK, "no tokenizer");
  for (size_t i = 0; i < 40; i++) agrl_buf_addf(&text, "%s %zu; ", words[i * 5 % 8], i * i);
  text_work a = {.t = t, .text = text.data};
  counted_encode(&a);
  need(a.n > 100 && a.n < 2048, "encode: no ids");
  agrl_bpe_free(t);
  agrl_buf_release(&text);
}

typedef struct reward_work {
  const agrl_rules *rules;
  const char *trace;
  agrl_labels gold;
  agrl_reward_result result;
} reward_work;

COUNTED counted_reward(reward_work *a) {
  agrl_reward_score(a->rules, AGRL_REWARD_SHAPED, AGRL_GATE_RULE, a->trace, strlen(a->trace), &a->gold, &a->result);
}

static void reward(void) {
  agrl_rules *rules = NULL;
  agrl_error err = {0};
  need(agrl_rules_load(AGRL_COUNTS_RULES, &rules, &err) == AGRL_OK, err.msg);
  reward_work a = {.rules = rules,
                   .trace = "4\n[Query] running shoes\n[Product] shoes\n[Category] match\n[Attribute] match\n[Verdict] 4",
                   .gold = {.tier = 4, .category = "match", .attribute = "match"}};
  counted_reward(&a);
  need(a.result.g_rule && a.result.reward > 0.99, "reward: a right trace does not earn all");
  agrl_rules_free(rules);
}

// ---- what counts depend on

#if defined(__x86_64__)
#define MACHINE "x86_64"
#elif defined(__aarch64__)
#define MACHINE "aarch64"
#else
#define MACHINE "other"
#endif
#if defined(__clang__)
#define COMPILER "clang"
#define COMPILER_MAJOR __clang_major__
#else
#define COMPILER "gcc"
#define COMPILER_MAJOR __GNUC__
#endif

int main(int argc, char **argv) {
  agrl_error err = {0};
  if (argc == 2 && !strcmp(argv[1], "--build")) return puts(AGRL_COUNTS_BUILD) < 0;
  if (agrl_tensor_init(&err) != AGRL_OK) {
    fprintf(stderr, "counts: %s\n", err.msg);
    return agrl_rc_exit(err.code);
  }
  if (argc == 2 && !strcmp(argv[1], "--key"))
    return printf("%s-%s-%s%d\n", MACHINE, agrl_cpu_name(agrl_tensor_cpu()), COMPILER, COMPILER_MAJOR) < 0;
  agrl_layout *l = layout();
  float *block = agrl_xcalloc(l->n_elements, sizeof *block);
  agrl_params_init(l, block, 1);
  decode(l, block);
  train(l, block);
  sample();
  encode();
  reward();
  free(block);
  agrl_layout_free(l);
  return 0;
}
