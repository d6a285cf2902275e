// SPDX-License-Identifier: Apache-2.0
// The gap between actor and learner is zero: log-probs of more than 10,000 sampled tokens, recorded by the sampler under random
// batching (groups of several sizes, any subset of the open sequences in a step, slots and prefixes reused), equal the
// trainer's to the last bit under random packing (prompts shared or not, groups cut anywhere). On every instruction set, each
// with all that a model may have: bias, QK-norm, a tied head, Llama 3's scaled angles.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/model/decode.h"
#include "common/model/lora.h"
#include "tests/lib/model_check.h"

enum { TOKENS = 10000, SHARE = 5000, SLOTS = 12, PROMPT = 150, NEW = 100, V_MAX = 64, CAP = 1200, ROLLOUTS = 1024, GROUPS = 512 };
_Static_assert(4 * SHARE >= TOKENS, "four models' shares are what is promised");

typedef struct rollout {
  size_t group, n, max;
  int32_t tokens[NEW];
  float logp[NEW];
  agrl_seq *seq;
} rollout;

typedef struct world {
  agrl_layout *l;
  float *params;      // of the actor
  float *learner;     // NULL: the same; else of a learner that trains lora, merged on its own
  agrl_lora *lora;
  agrl_rng rng;
  size_t quota;       // tokens to sample, at least
  int32_t prompt[GROUPS][PROMPT];
  size_t n_prompt[GROUPS], n_groups, n;
  rollout r[ROLLOUTS];
} world;

// scaled: Llama 3's rope, so that of the three frequencies of a head one is kept, one mixed and one divided by the factor.
static agrl_layout *layout(int variant, bool scaled) {
  agrl_layout *small = mc_layout(variant), *l = NULL;
  agrl_spec s = small->spec;
  s.context = PROMPT + NEW;
  if (scaled) s.rope = (agrl_rope_scaling){.factor = 8, .low_freq_factor = 1, .high_freq_factor = 4, .original_context = PROMPT + NEW};
  agrl_layout_free(small);
  assert_int_equal(agrl_layout_new(&s, &l, NULL), AGRL_OK);
  return l;
}

static size_t draw(world *w, size_t below) { return agrl_rng_below(&w->rng, (uint32_t)below); }

// Samples the rollout's next token from its logits; true when it goes on.
static bool sample(world *w, rollout *r, const float *logits) {
  float scratch[V_MAX];
  const double u = agrl_rng_f64(&w->rng);
  r->tokens[r->n] = agrl_sample(logits, (size_t)w->l->spec.vocab, 1, 0, 1, u, scratch, &r->logp[r->n]);
  return ++r->n < r->max;
}

// A group's prompt and its first tokens; returns how many rollouts are open.
static size_t open_group(world *w, agrl_decoder *d, const agrl_weights *weights, rollout **open, size_t n_open) {
  float logits[V_MAX];
  const size_t g = w->n_groups++, members = 1 + draw(w, 5), n = draw(w, 4) == 0 ? 1 + draw(w, 3) : 1 + draw(w, PROMPT);
  assert_true(g < GROUPS);
  w->n_prompt[g] = n;
  for (size_t i = 0; i < n; i++) w->prompt[g][i] = (int32_t)draw(w, (size_t)w->l->spec.vocab);
  agrl_prefix *p = agrl_decoder_prefill(d, weights, w->prompt[g], n, logits);
  assert_non_null(p);
  for (size_t m = 0; m < members && n_open < SLOTS; m++) {
    assert_true(w->n < ROLLOUTS);
    rollout *r = &w->r[w->n++];
    *r = (rollout){.group = g, .max = 1 + draw(w, NEW), .seq = agrl_seq_open(d, p)};
    assert_non_null(r->seq);
    if (sample(w, r, logits)) open[n_open++] = r;
    else agrl_seq_close(d, r->seq);
  }
  agrl_prefix_unref(d, p);
  return n_open;
}

static void act(world *w, agrl_pool *pool) {
  static float logits[SLOTS * V_MAX];
  agrl_weights *weights = mc_weights(w->l, w->params, 1);
  agrl_decoder *d = NULL;
  assert_int_equal(agrl_decoder_new(w->l, pool, SLOTS, PROMPT, NEW, &d, NULL), AGRL_OK);
  rollout *open[SLOTS];
  size_t n_open = 0, made = 0;
  while (made < w->quota || n_open > 0) {
    while (made < w->quota && n_open + 3 < SLOTS) n_open = open_group(w, d, weights, open, n_open);
    agrl_seq *seqs[SLOTS];
    int32_t feed[SLOTS];
    rollout *who[SLOTS];
    size_t n = 0, left = 0;
    for (size_t i = n_open; i > 1; i--) {
      const size_t j = draw(w, i);
      rollout *keep = open[i - 1];
      open[i - 1] = open[j];
      open[j] = keep;
    }
    const size_t take = n_open == 0 ? 0 : 1 + draw(w, n_open);
    for (; n < take; n++) {
      who[n] = open[n];
      seqs[n] = open[n]->seq;
      feed[n] = open[n]->tokens[open[n]->n - 1];
    }
    agrl_decoder_step(d, weights, seqs, feed, n, logits);
    for (size_t i = 0; i < n; i++, made++) {
      if (sample(w, who[i], logits + i * (size_t)w->l->spec.vocab)) open[left++] = who[i];
      else agrl_seq_close(d, who[i]->seq);
    }
    for (size_t i = take; i < n_open; i++) open[left++] = open[i];
    n_open = left;
  }
  agrl_decoder_free(d);
  agrl_weights_unref(weights);
}

typedef struct pack {
  size_t start[CAP + 1], n_seqs, n;
  int32_t parent[CAP], tokens[CAP], target[CAP];
  size_t first[ROLLOUTS];
} pack;

static void end_sequence(pack *p, int32_t parent) {
  p->parent[p->n_seqs++] = parent;
  p->start[p->n_seqs] = p->n;
}

static void put(pack *p, const int32_t *tokens, size_t n) {
  for (size_t i = 0; i < n; i++, p->n++) p->tokens[p->n] = tokens[i], p->target[p->n] = -1;
}

// Rollouts from `from` on into one pack; returns the first left out.
static size_t fill(world *w, pack *p, size_t from) {
  const bool share = draw(w, 4) > 0;
  const size_t cap = PROMPT + NEW + draw(w, CAP - PROMPT - NEW);
  int32_t up = -1;
  size_t i = from, group = SIZE_MAX;
  p->n = p->n_seqs = p->start[0] = 0;
  for (; i < w->n; i++) {
    const rollout *r = &w->r[i];
    const size_t n = w->n_prompt[r->group];
    if (p->n + n + r->n > cap) break;
    if (!share || n == 1 || r->group != group) {
      put(p, w->prompt[r->group], n - 1);
      up = -1;
      if (share && n > 1) {
        up = (int32_t)p->n_seqs;
        end_sequence(p, -1);
      }
    }
    group = r->group;
    p->first[i] = p->n;
    put(p, w->prompt[r->group] + n - 1, 1);
    put(p, r->tokens, r->n - 1);
    memcpy(p->target + p->first[i], r->tokens, r->n * sizeof *r->tokens);
    end_sequence(p, up);
  }
  return i;
}

static size_t learn(world *w, agrl_pool *pool) {
  static pack p;
  static float logp[CAP];
  agrl_trainer *t = mc_trainer(w->l, pool, CAP);
  agrl_params params = mc_mode(w->l, w->learner ? w->learner : w->params, true);
  if (w->lora != NULL) assert_int_equal(agrl_trainer_adapt(t, w->lora, NULL), AGRL_OK);
  size_t compared = 0;
  for (size_t from = 0, end; from < w->n; from = end) {
    end = fill(w, &p, from);
    assert_true(end > from);
    const agrl_batch b = {p.n_seqs, p.start, p.tokens, p.target, p.parent};
    agrl_error err = {0};
    if (agrl_trainer_forward(t, &params, &b, false, logp, NULL, &err) != AGRL_OK) fail_msg("%s", err.msg);
    for (size_t i = from; i < end; i++) {
      for (size_t k = 0; k < w->r[i].n; k++, compared++) {
        const float got = logp[p.first[i] + k], want = w->r[i].logp[k];
        if (got != want)
          fail_msg("%s%s on %s: token %zu of rollout %zu: learner %.9g, actor %.9g", w->l->spec.arch, w->l->spec.rope.factor > 0 ? ", scaled" : "",
                   agrl_cpu_name(agrl_tensor_cpu()), k, i, (double)got, (double)want);
      }
    }
  }
  agrl_trainer_free(t);
  mc_mode_free(&params);
  return compared;
}

// base and adapters, merged over pool.
static float *merged(const agrl_lora *lora, const float *base, const float *ab, agrl_pool *pool) {
  const size_t n = lora->model->n_elements, m = lora->layout->n_elements;
  uint16_t *b16 = agrl_xcalloc(n, sizeof *b16), *a16 = agrl_xcalloc(m, sizeof *a16), *out = agrl_xcalloc(n, sizeof *out);
  float *wide = agrl_xcalloc(n, sizeof *wide);
  agrl_bf16_from_f32(b16, base, n);
  agrl_bf16_from_f32(a16, ab, m);
  memcpy(out, b16, n * sizeof *out);
  agrl_lora_merge(lora, pool, out, b16, a16);
  agrl_f32_from_bf16(wide, out, n);
  free(b16);
  free(a16);
  free(out);
  return wide;
}

// Adapters: the actor merges on the first instruction set there is, the learner on each in turn.
static void gap_is_zero_with_adapters(void **state) {
  static world w;
  agrl_pool *two = agrl_pool_new(2);
  FOR_EACH_CPU(c) {
    memset(&w, 0, sizeof w);
    w.l = layout(0, false);
    w.quota = TOKENS;
    assert_int_equal(agrl_lora_new(w.l, 3, 7, 127, &w.lora, NULL), AGRL_OK);
    float *base = mc_params(w.l, 7, true), *ab = mc_params(w.lora->layout, 8, true);
    w.learner = merged(w.lora, base, ab, two);
    agrl_tensor_use(AGRL_CPU_PORTABLE);
    w.params = merged(w.lora, base, ab, NULL);
    agrl_tensor_use(c);
    assert_memory_not_equal(w.params, base, w.l->n_elements * sizeof *base);
    agrl_rng_init(&w.rng, (uint64_t)c, 99);
    act(&w, two);
    assert_true(learn(&w, NULL) >= TOKENS);
    free(w.params), free(w.learner), free(base), free(ab);
    agrl_lora_free(w.lora);
    agrl_layout_free(w.l);
  }
  agrl_pool_free(two);
}

static void gap_is_zero(void **state) {
  static const struct {
    int variant;
    bool scaled;
  } models[] = {{0, false}, {1, true}, {3, false}, {4, false}};  // llama untied, llama tied and scaled, qwen2 tied, qwen3 untied
  static world w;
  agrl_pool *one = agrl_pool_new(1), *two = agrl_pool_new(2);
  FOR_EACH_CPU(c) {
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
      memset(&w, 0, sizeof w);
      w.l = layout(models[i].variant, models[i].scaled);
      w.quota = SHARE;
      w.params = mc_params(w.l, 7, true);
      agrl_rng_init(&w.rng, (uint64_t)c, i);
      act(&w, two);
      assert_true(learn(&w, i % 2 ? one : two) >= SHARE);
      free(w.params);
      agrl_layout_free(w.l);
    }
  }
  agrl_pool_free(one);
  agrl_pool_free(two);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(gap_is_zero), cmocka_unit_test(gap_is_zero_with_adapters)};
  if (agrl_tensor_init(NULL) != AGRL_OK) return 70;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
