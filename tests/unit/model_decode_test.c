// SPDX-License-Identifier: Apache-2.0
// Decoding against the float64 reference and, bit by bit, against the trainer's forward: prefill and steps, shared
// prefixes, mixed lengths, any batch composition. Slots, and no allocation in a step.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/model/decode.h"
#include "tests/lib/count_alloc.h"
#include "tests/lib/model_check.h"

enum { MAX_PROMPT = 24, MAX_NEW = 20, SEQS = 7, V_MAX = 64 };

static agrl_decoder *decoder(const agrl_layout *l, agrl_pool *pool, size_t batch) {
  agrl_decoder *d;
  agrl_error err = {0};
  if (agrl_decoder_new(l, pool, batch, MAX_PROMPT, MAX_NEW, &d, &err) != AGRL_OK) fail_msg("%s", err.msg);
  return d;
}

static void random_tokens(int32_t *out, size_t n, uint64_t seed) {
  agrl_rng r;
  agrl_rng_init(&r, seed, 3);
  for (size_t i = 0; i < n; i++) out[i] = (int32_t)agrl_rng_below(&r, 37);
}

typedef struct story {  // one sequence: a prompt (shared by groups of sequences) and what follows
  int32_t tokens[MAX_PROMPT + MAX_NEW];
  size_t prompt, total;
  float logits[MAX_PROMPT + MAX_NEW][V_MAX];  // of position i, from prompt - 1 on
} story;

// Sequences of two prompts; the members of a group share a prompt but not what follows; lengths differ.
static void write_stories(story *s, size_t n) {
  for (size_t i = 0; i < n; i++) {
    s[i].prompt = i % 2 ? 1 : MAX_PROMPT - 3;
    s[i].total = s[i].prompt + MAX_NEW - i;
    random_tokens(s[i].tokens, s[i].prompt, i % 2);
    random_tokens(s[i].tokens + s[i].prompt, s[i].total - s[i].prompt, 100 + i);
  }
}

// Decodes all stories together; those that end leave the batch, so its composition changes from step to step.
static void decode_together(agrl_decoder *d, const agrl_weights *w, story *s, size_t n) {
  const size_t V = (size_t)agrl_weights_layout(w)->spec.vocab;
  agrl_prefix *prefix[2] = {0};
  agrl_seq *seq[SEQS], *batch[SEQS];
  for (size_t i = 0; i < n; i++) {
    const size_t g = i % 2;
    if (prefix[g] == NULL) prefix[g] = agrl_decoder_prefill(d, w, s[i].tokens, s[i].prompt, s[i].logits[s[i].prompt - 1]);
    else memcpy(s[i].logits[s[i].prompt - 1], s[g].logits[s[g].prompt - 1], sizeof *s[i].logits);
    assert_non_null(prefix[g]);
    assert_non_null(seq[i] = agrl_seq_open(d, prefix[g]));
  }
  for (int g = 0; g < 2; g++) agrl_prefix_unref(d, prefix[g]);  // the sequences hold them
  for (size_t step = 0; step < MAX_NEW; step++) {
    int32_t tokens[SEQS];
    size_t who[SEQS], m = 0;
    float logits[SEQS * V_MAX];
    for (size_t i = 0; i < n; i++) {
      if (s[i].prompt + step >= s[i].total) continue;
      who[m] = i;
      batch[m] = seq[i];
      tokens[m++] = s[i].tokens[s[i].prompt + step];
    }
    agrl_decoder_step(d, w, batch, tokens, m, logits);
    for (size_t j = 0; j < m; j++) memcpy(s[who[j]].logits[s[who[j]].prompt + step], logits + j * V, V * sizeof *logits);
  }
  for (size_t i = 0; i < n; i++) {
    assert_int_equal(agrl_seq_len(seq[i]), s[i].total - s[i].prompt);
    agrl_seq_close(d, seq[i]);
  }
  assert_float_equal(agrl_decoder_kv_used_ratio(d), 0, 0);
}

static void check_story(const agrl_layout *l, const double *params, agrl_trainer *t, const agrl_params *served, const story *s) {
  const size_t V = (size_t)l->spec.vocab, start[2] = {0, s->total};
  double *want = agrl_xcalloc(s->total * V, sizeof *want);
  int32_t target[MAX_PROMPT + MAX_NEW];
  float trained[MAX_PROMPT + MAX_NEW];
  ref_llama_logits(l, params, true, s->tokens, s->total, want);
  for (size_t i = 0; i < s->total; i++) target[i] = i + 1 < s->total ? s->tokens[i + 1] : -1;
  const agrl_batch b = {1, start, s->tokens, target, NULL};
  assert_int_equal(agrl_trainer_forward(t, served, &b, false, trained, NULL, NULL), AGRL_OK);
  for (size_t i = s->prompt - 1; i < s->total; i++) {
    tc_near("logits", s->logits[i], want + i * V, V, 5e-3);  // a tie may round the other way: see model_train_test
    if (target[i] < 0) continue;
    float lse;
    agrl_logsumexp(NULL, &lse, s->logits[i], 1, V);
    const float got = s->logits[i][target[i]] - lse;
    if (got != trained[i]) fail_msg("log-prob %zu: decode %.9g, training forward %.9g: must be equal", i, (double)got,
                                    (double)trained[i]);
  }
  free(want);
}

static void decode_equals_full_forward(void **state) {
  static story together[SEQS], alone[1];
  for (int v = 0; v < MC_VARIANTS; v++) {
    agrl_layout *l = mc_layout(v);
    float *p = mc_params(l, 21, true);
    double *pd = tc_doubles(p, l->n_elements);
    agrl_params served = mc_mode(l, p, true);
    FOR_EACH_CPU(c) {
      agrl_pool *pool = agrl_pool_new(2);
      agrl_decoder *d = decoder(l, pool, SEQS), *single = decoder(l, NULL, 1);
      agrl_trainer *t = mc_trainer(l, pool, MAX_PROMPT + MAX_NEW);
      agrl_weights *w = mc_weights(l, p, 1);
      write_stories(together, SEQS);
      decode_together(d, w, together, SEQS);
      for (size_t i = 0; i < SEQS; i++) check_story(l, pd, t, &served, &together[i]);
      memcpy(alone, &together[0], sizeof *alone);
      memset(alone->logits, 0, sizeof alone->logits);
      decode_together(single, w, alone, 1);
      tc_same("a sequence alone and in a batch", alone->logits[alone->prompt - 1], together[0].logits[alone->prompt - 1],
              (alone->total - alone->prompt + 1) * sizeof *alone->logits);
      agrl_weights_unref(w);
      agrl_trainer_free(t);
      agrl_decoder_free(d);
      agrl_decoder_free(single);
      agrl_pool_free(pool);
    }
    mc_mode_free(&served);
    free(p);
    free(pd);
    agrl_layout_free(l);
  }
}

// Samples a rollout of every member with its own random stream; returns in tokens and log-probs (n, MAX_NEW).
static void roll(agrl_decoder *d, const agrl_weights *w, const uint32_t *members, size_t n, int32_t *tokens, float *logprobs) {
  int32_t prompt[5], feed[SEQS];
  float first[V_MAX], logits[SEQS * V_MAX], scratch[V_MAX];
  agrl_seq *seqs[SEQS];
  random_tokens(prompt, 5, 9);
  const size_t V = (size_t)agrl_weights_layout(w)->spec.vocab;
  agrl_prefix *p = agrl_decoder_prefill(d, w, prompt, 5, first);
  for (size_t i = 0; i < n; i++) {
    seqs[i] = agrl_seq_open(d, p);
    memcpy(logits + i * V, first, V * sizeof *first);
  }
  for (uint32_t step = 0; step < MAX_NEW; step++) {
    for (size_t i = 0; i < n; i++) {
      const agrl_rng_key key = {1, 2, members[i]};
      feed[i] = agrl_sample(logits + i * V, V, 1, 0, 1, agrl_rng_uniform(&key, step), scratch, &logprobs[i * MAX_NEW + step]);
      tokens[i * MAX_NEW + step] = feed[i];
    }
    agrl_decoder_step(d, w, seqs, feed, n, logits);
  }
  for (size_t i = 0; i < n; i++) agrl_seq_close(d, seqs[i]);
  agrl_prefix_unref(d, p);
}

static void rollout_does_not_depend_on_its_batch(void **state) {
  agrl_layout *l = mc_layout(5);
  float *p = mc_params(l, 21, true);
  agrl_weights *w = mc_weights(l, p, 1);
  agrl_decoder *d = decoder(l, NULL, SEQS);
  const uint32_t members[SEQS] = {6, 5, 4, 3, 2, 1, 0};
  int32_t tokens[SEQS * MAX_NEW], one[MAX_NEW];
  float logprobs[SEQS * MAX_NEW], one_logprobs[MAX_NEW];
  roll(d, w, members, SEQS, tokens, logprobs);
  assert_memory_not_equal(tokens, tokens + MAX_NEW, sizeof one);  // members differ
  for (size_t i = 0; i < SEQS; i++) {
    roll(d, w, &members[i], 1, one, one_logprobs);
    tc_same("tokens", one, tokens + i * MAX_NEW, sizeof one);
    tc_same("log-probs", one_logprobs, logprobs + i * MAX_NEW, sizeof one_logprobs);
  }
  agrl_decoder_free(d);
  agrl_weights_unref(w);
  free(p);
  agrl_layout_free(l);
}

// New weights between two steps: the next step uses them over the old keys and values.
static void weights_swap_between_steps(void **state) {
  agrl_layout *l = mc_layout(0);
  float *p = mc_params(l, 21, true), *p2 = mc_params(l, 22, true);
  agrl_weights *a = mc_weights(l, p, 1), *b = mc_weights(l, p2, 2);
  agrl_decoder *d = decoder(l, NULL, 2);
  const int32_t prompt[] = {1, 2, 3};
  float first[V_MAX], x[V_MAX], y[V_MAX], z[V_MAX];
  agrl_prefix *pre = agrl_decoder_prefill(d, a, prompt, 3, first);
  agrl_seq *s = agrl_seq_open(d, pre), *t = agrl_seq_open(d, pre);
  agrl_decoder_step(d, a, &s, (int32_t[]){4}, 1, x);
  agrl_decoder_step(d, b, &t, (int32_t[]){4}, 1, y);
  assert_memory_not_equal(x, y, 37 * sizeof *x);
  agrl_decoder_step(d, b, &s, (int32_t[]){5}, 1, x);  // same weights and token, but a history under other weights
  agrl_decoder_step(d, b, &t, (int32_t[]){5}, 1, z);
  assert_memory_not_equal(x, z, 37 * sizeof *x);
  agrl_seq_close(d, s);
  agrl_seq_close(d, t);
  agrl_prefix_unref(d, pre);
  agrl_decoder_free(d);
  agrl_weights_unref(a);
  agrl_weights_unref(b);
  free(p);
  free(p2);
  agrl_layout_free(l);
}

static void slots_run_out_and_come_back(void **state) {
  agrl_layout *l = mc_layout(0);
  float *p = mc_params(l, 21, true), logits[V_MAX];
  agrl_weights *w = mc_weights(l, p, 1);
  agrl_decoder *d, *none;
  agrl_error err = {0};
  assert_int_equal(agrl_decoder_new(l, NULL, 2, 60, 5, &none, &err), AGRL_ELIMIT);  // the context is 64
  assert_null(none);
  assert_int_equal(agrl_decoder_new(l, NULL, 0, 6, 5, &none, &err), AGRL_EINVAL);
  d = decoder(l, NULL, 2);
  const int32_t prompt[] = {1, 2, 3, 4};
  for (int round = 0; round < 3; round++) {
    agrl_prefix *a = agrl_decoder_prefill(d, w, prompt, 4, logits), *b = agrl_decoder_prefill(d, w, prompt, 2, logits);
    assert_non_null(a);
    assert_non_null(b);
    assert_null(agrl_decoder_prefill(d, w, prompt, 1, logits));
    agrl_seq *s = agrl_seq_open(d, a), *t = agrl_seq_open(d, a);
    assert_null(agrl_seq_open(d, b));
    agrl_decoder_step(d, w, &s, (int32_t[]){7}, 1, logits);
    assert_float_equal(agrl_decoder_kv_used_ratio(d), (4 + 2 + 1) / (2.0 * (MAX_PROMPT + MAX_NEW)), 1e-12);
    agrl_prefix_unref(d, a);
    agrl_prefix_unref(d, b);
    assert_non_null(b = agrl_decoder_prefill(d, w, prompt, 2, logits));   // b's slot is free
    assert_null(agrl_decoder_prefill(d, w, prompt, 2, logits));           // a is still held by its sequences
    agrl_prefix_unref(d, b);
    agrl_seq_close(d, s);
    agrl_seq_close(d, t);
  }
  agrl_decoder_step(d, w, NULL, NULL, 0, NULL);  // an empty step is fine
  agrl_decoder_free(d);
  agrl_weights_unref(w);
  free(p);
  agrl_layout_free(l);
}

static void steps_do_not_allocate(void **state) {
  if (!COUNT_ALLOC) skip();
  agrl_layout *l = mc_layout(4);
  float *p = mc_params(l, 21, true);
  agrl_weights *w = mc_weights(l, p, 1);
  agrl_pool *pool = agrl_pool_new(2);
  agrl_decoder *d = decoder(l, pool, SEQS);
  const uint32_t members[SEQS] = {0, 1, 2, 3, 4, 5, 6};
  int32_t tokens[SEQS * MAX_NEW];
  float logprobs[SEQS * MAX_NEW];
  size_t before = atomic_load(&count_alloc_calls);
  void *volatile one = malloc(10);
  free(one);
  assert_int_equal(atomic_load(&count_alloc_calls), before + 1);  // the counter counts
  roll(d, w, members, SEQS, tokens, logprobs);
  before = atomic_load(&count_alloc_calls);
  roll(d, w, members, SEQS, tokens, logprobs);  // prefill, steps, sampling, closing
  assert_int_equal(atomic_load(&count_alloc_calls), before);
  agrl_decoder_free(d);
  agrl_pool_free(pool);
  agrl_weights_unref(w);
  free(p);
  agrl_layout_free(l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(decode_equals_full_forward),  cmocka_unit_test(rollout_does_not_depend_on_its_batch),
      cmocka_unit_test(weights_swap_between_steps),  cmocka_unit_test(slots_run_out_and_come_back),
      cmocka_unit_test(steps_do_not_allocate),
  };
  if (agrl_tensor_init(NULL) != AGRL_OK) return 70;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
