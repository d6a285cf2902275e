// SPDX-License-Identifier: Apache-2.0
// The continuous batching engine on a tiny random model: rollouts do not depend on their batch, every token knows its
// version, lengths and stops are right, nothing is lost when jobs outnumber slots, a warm engine does not allocate, and its
// slots stay busy when lengths have a long tail.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "actor/engine.h"
#include "common/base/mem.h"
#include "common/tensor/tensor.h"
#include "tests/lib/count_alloc.h"

enum { JOBS = 12, MEMBERS = 4, MAX_NEW = 24 };

typedef struct seen {
  size_t n;
  int32_t tokens[MAX_NEW];
  float logprobs[MAX_NEW];
  uint64_t versions[MAX_NEW];
  agrl_stop stop;
  int times;
} seen;

typedef struct log_of {
  seen r[JOBS][MEMBERS];
  int jobs_done, first_logits;
} log_of;

static void on_first(void *user, const actor_job *job, const float *logits) {
  ((log_of *)user)->first_logits++;
  assert_true(isfinite(logits[0]));
}

static void on_finished(void *user, const actor_job *job, const actor_rollout *o) {
  seen *s = &((log_of *)user)->r[job->group][o->member];
  s->n = o->n;
  s->stop = o->stop;
  s->times++;
  memcpy(s->tokens, o->tokens, o->n * sizeof *o->tokens);
  memcpy(s->logprobs, o->logprobs, o->n * sizeof *o->logprobs);
  memcpy(s->versions, o->versions, o->n * sizeof *o->versions);
}

static void on_done(void *user, const actor_job *job) { ((log_of *)user)->jobs_done++; }

static agrl_layout *tiny(void) {
  agrl_spec spec = {.arch = "llama", .n_layers = 2, .hidden = 32, .ffn = 64, .n_heads = 4, .n_kv_heads = 2, .head_dim = 8, .vocab = 64,
                    .context = 48, .rope_theta = 10000, .norm_eps = 1e-5f, .tied = true, .start_id = 0, .end_id = 1};
  agrl_layout *l = NULL;
  agrl_error err = {0};
  assert_int_equal(agrl_layout_new(&spec, &l, &err), AGRL_OK);
  return l;
}

static agrl_weights *random_weights(const agrl_layout *l, uint64_t seed, uint64_t version) {
  float *block = agrl_block_alloc(l->n_elements * sizeof *block);
  agrl_params_init(l, block, seed);
  for (size_t i = 0; i < l->n_elements; i++) block[i] *= 3;  // sharper distributions than a fresh model's
  agrl_weights *w = agrl_weights_from_f32(l, block, version);
  agrl_weights_pack(w, NULL);
  agrl_block_free(block, l->n_elements * sizeof *block);
  return w;
}

static int32_t prompts[JOBS][8];

static actor_job job_of(size_t g) {
  for (int i = 0; i < 8; i++) prompts[g][i] = (int32_t)((g * 7 + (size_t)i * 5) % 60) + 2;
  return (actor_job){.run_seed = 9, .group = g, .n_members = MEMBERS, .prompt = prompts[g], .n_prompt = 3 + g % 5,
                     .max_new = MAX_NEW, .temperature = 1, .top_p = 1};
}

static actor_engine *engine(const agrl_layout *l, agrl_pool *pool, size_t slots, log_of *log) {
  actor_engine_hooks hooks = {on_first, on_finished, on_done, log};
  actor_engine *e = NULL;
  agrl_error err = {0};
  if (actor_engine_new(l, pool, slots, 48, MAX_NEW, &hooks, &e, &err)) fail_msg("%s", err.msg);
  return e;
}

static void run_all(actor_engine *e) {
  int guard = 0;
  while (actor_engine_step(e)) assert_true(++guard < 10000);
  assert_int_equal(actor_engine_load(e), 0);
}

static void rollouts_do_not_depend_on_their_batch(void **state) {
  agrl_layout *l = tiny();
  agrl_weights *w = random_weights(l, 3, AGRL_VERSION(1, 4));
  agrl_pool *pool = agrl_pool_new(2);
  static log_of alone, together;
  memset(&alone, 0, sizeof alone);
  memset(&together, 0, sizeof together);
  actor_engine *one = engine(l, NULL, 1, &alone), *many = engine(l, pool, 10, &together);
  actor_engine_set_weights(one, w);
  actor_engine_set_weights(many, w);
  for (size_t g = 0; g < JOBS; g++) {
    actor_job job = job_of(g);
    assert_int_equal(actor_engine_submit(many, &job, NULL), AGRL_OK);
    assert_int_equal(actor_engine_submit(one, &job, NULL), AGRL_OK);
  }
  run_all(many);
  run_all(one);
  size_t eos = 0;
  for (size_t g = 0; g < JOBS; g++)
    for (size_t m = 0; m < MEMBERS; m++) {
      const seen *a = &alone.r[g][m], *b = &together.r[g][m];
      assert_int_equal(a->times, 1);
      assert_int_equal(b->times, 1);
      assert_int_equal(a->n, b->n);
      assert_memory_equal(a->tokens, b->tokens, a->n * sizeof *a->tokens);
      for (size_t t = 0; t < a->n; t++) {
        assert_true(fabsf(a->logprobs[t] - b->logprobs[t]) < 1e-5f);
        assert_true(a->logprobs[t] <= 0);
        assert_int_equal(a->versions[t], AGRL_VERSION(1, 4));
      }
      assert_true(a->stop == AGRL_STOP_EOS ? a->tokens[a->n - 1] == 1 : a->n == MAX_NEW);
      eos += a->stop == AGRL_STOP_EOS;
    }
  assert_int_equal(together.jobs_done, JOBS);
  assert_int_equal(together.first_logits, JOBS);  // the group's prompt is prefilled once
  assert_int_equal(actor_engine_get_stats(one).opened, JOBS * MEMBERS);
  assert_int_equal(actor_engine_get_stats(one).shared, JOBS * (MEMBERS - 1));
  assert_int_equal(actor_engine_get_stats(many).prompt_tokens, actor_engine_get_stats(one).prompt_tokens);
  assert_true(memcmp(alone.r[0][0].tokens, alone.r[0][1].tokens, 8) != 0 || alone.r[0][0].n != alone.r[0][1].n);  // members differ
  (void)eos;
  actor_engine_free(one);
  actor_engine_free(many);
  agrl_weights_unref(w);
  agrl_pool_free(pool);
  agrl_layout_free(l);
}

// Every stop token of the model ends a rollout, not only its end token; with the same draws nothing else changes.
static void any_stop_token_ends_a_rollout(void **state) {
  agrl_layout *l = tiny();
  agrl_weights *w = random_weights(l, 3, 1);
  static log_of before, after;
  memset(&before, 0, sizeof before);
  memset(&after, 0, sizeof after);
  for (int pass = 0; pass < 2; pass++) {
    if (pass == 1) {
      l->spec.n_stops = 2;
      l->spec.stop_ids[0] = before.r[0][0].tokens[2];
      l->spec.stop_ids[1] = 63;
    }
    actor_engine *e = engine(l, NULL, 4, pass == 0 ? &before : &after);
    actor_engine_set_weights(e, w);
    actor_job job = job_of(0);
    assert_int_equal(actor_engine_submit(e, &job, NULL), AGRL_OK);
    run_all(e);
    actor_engine_free(e);
  }
  for (size_t m = 0; m < MEMBERS; m++) {
    const seen *b = &before.r[0][m], *a = &after.r[0][m];
    size_t n = 0;
    while (n < b->n && !agrl_spec_stops(&l->spec, b->tokens[n])) n++;
    assert_int_equal(a->n, n < b->n ? n + 1 : b->n);
    assert_int_equal(a->stop, n < b->n ? AGRL_STOP_EOS : AGRL_STOP_LENGTH);
    assert_memory_equal(a->tokens, b->tokens, a->n * sizeof *a->tokens);
  }
  assert_true(before.r[0][0].n > 3 && after.r[0][0].n <= 3);
  agrl_weights_unref(w);
  agrl_layout_free(l);
}

static void swap_in_flight_marks_tokens(void **state) {
  agrl_layout *l = tiny();
  agrl_weights *a = random_weights(l, 3, AGRL_VERSION(1, 1)), *b = random_weights(l, 4, AGRL_VERSION(1, 2));
  static log_of log;
  memset(&log, 0, sizeof log);
  actor_engine *e = engine(l, NULL, 8, &log);
  actor_engine_set_weights(e, a);
  actor_job job = job_of(2);
  assert_int_equal(actor_engine_submit(e, &job, NULL), AGRL_OK);
  for (int i = 0; i < 3; i++) actor_engine_step(e);
  actor_engine_set_weights(e, b);
  agrl_weights_unref(a);
  agrl_weights_unref(b);
  run_all(e);
  size_t mixed = 0;
  for (size_t m = 0; m < MEMBERS; m++) {
    const seen *s = &log.r[2][m];
    for (size_t t = 0; t < s->n; t++) {
      assert_int_equal(s->versions[t], t < 4 ? AGRL_VERSION(1, 1) : AGRL_VERSION(1, 2));
      mixed += t >= 4;
    }
  }
  assert_true(mixed > 0);
  actor_engine_free(e);
  agrl_layout_free(l);
}

static void limits_and_leftovers(void **state) {
  agrl_layout *l = tiny();
  agrl_weights *w = random_weights(l, 3, 1);
  static log_of log;
  memset(&log, 0, sizeof log);
  actor_engine *e = engine(l, NULL, 3, &log);
  actor_engine_set_weights(e, w);
  agrl_weights_unref(w);
  actor_job job = job_of(1);
  agrl_error err = {0};
  int32_t *full = agrl_xcalloc(48, sizeof *full);
  job.prompt = full;
  job.n_prompt = 48 - MAX_NEW + 1;
  assert_int_equal(actor_engine_submit(e, &job, &err), AGRL_ELIMIT);
  assert_non_null(strstr(err.msg, "context"));
  job.n_prompt = 48 - MAX_NEW;
  job.max_new = 3;
  assert_int_equal(actor_engine_submit(e, &job, &err), AGRL_OK);
  run_all(e);
  for (size_t m = 0; m < MEMBERS; m++) assert_true(log.r[1][m].n <= 3 && log.r[1][m].times == 1);
  for (size_t g = 4; g < 8; g++) {
    job = job_of(g);
    assert_int_equal(actor_engine_submit(e, &job, NULL), AGRL_OK);
  }
  actor_engine_step(e);
  int done = log.jobs_done;
  actor_engine_free(e);  // gives back every open and queued job
  assert_int_equal(log.jobs_done - done, 4);
  free(full);
  agrl_layout_free(l);
}

// All jobs, at most two queued or open at a time, as a runner does; the weights are swapped every third step.
static void stream_jobs(actor_engine *e, agrl_weights *const w[2], int *swaps, int *prefills, const log_of *log) {
  size_t next = 0;
  int steps = 0;
  const int before = log->first_logits;
  while (next < JOBS || actor_engine_load(e) > 0) {
    while (next < JOBS && actor_engine_load(e) <= MEMBERS) {
      const actor_job job = job_of(next++);
      assert_int_equal(actor_engine_submit(e, &job, NULL), AGRL_OK);
    }
    actor_engine_step(e);
    assert_true(++steps < 10000);
    if (steps % 3 == 0) actor_engine_set_weights(e, w[++*swaps % 2]);
  }
  *prefills = log->first_logits - before;
}

static void warm_steps_do_not_allocate(void **state) {
  if (!COUNT_ALLOC) skip();
  agrl_layout *l = tiny();
  agrl_weights *w[2] = {random_weights(l, 3, AGRL_VERSION(1, 1)), random_weights(l, 4, AGRL_VERSION(1, 2))};
  agrl_pool *pool = agrl_pool_new(2);
  static log_of log;
  memset(&log, 0, sizeof log);
  actor_engine *e = engine(l, pool, 6, &log);
  actor_engine_set_weights(e, w[0]);
  size_t before = atomic_load(&count_alloc_calls);
  int swaps = 0, prefills = 0;
  stream_jobs(e, w, &swaps, &prefills, &log);
  assert_true(atomic_load(&count_alloc_calls) > before);  // the first jobs make what later ones recycle: the counter counts
  swaps = 0;
  before = atomic_load(&count_alloc_calls);
  stream_jobs(e, w, &swaps, &prefills, &log);
  assert_int_equal(atomic_load(&count_alloc_calls) - before, 0);
  assert_int_equal(prefills, JOBS);
  assert_true(swaps > 3);
  for (size_t g = 0; g < JOBS; g++)
    for (size_t m = 0; m < MEMBERS; m++) assert_int_equal(log.r[g][m].times, 2);
  actor_engine_free(e);
  for (int i = 0; i < 2; i++) agrl_weights_unref(w[i]);
  agrl_pool_free(pool);
  agrl_layout_free(l);
}

static void on_length(void *user, const actor_job *job, const actor_rollout *o) {
  size_t *longest = user;
  if (o->n > *longest) *longest = o->n;
}
static void no_job(void *user, const actor_job *job) {}

// The actor's loop in small: tasks are asked for by the engine's load and arrive some steps later, in parts of groups, with
// lengths from a long tail (most end early, a few run to the limit). Returns the share of slots that decoded.
static double busy_share(size_t slots, size_t delay, size_t (*want)(size_t slots, size_t load), size_t *longest) {
  enum { STEPS = 1500, LIMIT = 200 };
  agrl_spec spec = {.arch = "llama", .n_layers = 1, .hidden = 16, .ffn = 16, .n_heads = 2, .n_kv_heads = 1, .head_dim = 8, .vocab = 64,
                    .context = 256, .rope_theta = 10000, .norm_eps = 1e-5f, .tied = true, .start_id = 0, .end_id = 1};
  agrl_layout *l = NULL;
  assert_int_equal(agrl_layout_new(&spec, &l, NULL), AGRL_OK);
  agrl_weights *w = random_weights(l, 3, 1);
  const actor_engine_hooks hooks = {.finished = on_length, .job_done = no_job, .user = longest};
  actor_engine *e = NULL;
  assert_int_equal(actor_engine_new(l, NULL, slots, 256, LIMIT, &hooks, &e, NULL), AGRL_OK);
  actor_engine_set_weights(e, w);
  agrl_rng r;
  agrl_rng_init(&r, 4, slots);
  static const int32_t prompt[] = {0, 5, 9};
  size_t asked = want(slots, 0), answer_at = 0;
  uint64_t group = 0;
  *longest = 0;
  for (size_t step = 0; step < STEPS; step++) {
    if (asked > 0 && step >= answer_at) {
      for (size_t n; asked > 0; asked -= n, group++) {
        n = asked < 8 ? asked : 8;
        const double tail = 6 / (1.0 - agrl_rng_f64(&r));  // Pareto: half end by 12, a thirtieth reach the limit
        const actor_job job = {.run_seed = 9, .group = group, .n_members = (uint32_t)n, .prompt = prompt, .n_prompt = 3,
                               .max_new = tail < LIMIT ? (size_t)tail : LIMIT, .temperature = 1, .top_p = 1};
        assert_int_equal(actor_engine_submit(e, &job, NULL), AGRL_OK);
      }
    }
    actor_engine_step(e);
    if (asked == 0 && (asked = want(slots, actor_engine_load(e))) > 0) answer_at = step + delay;
  }
  const actor_engine_stats s = actor_engine_get_stats(e);
  actor_engine_free(e);
  agrl_weights_unref(w);
  agrl_layout_free(l);
  return (double)s.slot_steps / (double)(s.steps * slots);
}

static size_t want_when_idle(size_t slots, size_t load) { return load < slots ? slots - load : 0; }

static void slots_stay_busy_on_long_tails(void **state) {
  size_t longest;
  for (size_t slots = 16; slots <= 64; slots *= 2) {
    const double share = busy_share(slots, 2, actor_engine_want, &longest);
    print_message("%zu slots: %.3f of them busy\n", slots, share);
    if (share < 0.95) fail_msg("%zu slots: %.3f of them busy, want 0.95", slots, share);
    assert_true(longest > 100);
    assert_true(busy_share(slots, 2, want_when_idle, &longest) < 0.95);  // asking only when slots are free is not enough
  }
}

int main(void) {
  agrl_error err = {0};
  if (agrl_tensor_init(&err)) return 70;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rollouts_do_not_depend_on_their_batch),
      cmocka_unit_test(any_stop_token_ends_a_rollout),
      cmocka_unit_test(swap_in_flight_marks_tokens),
      cmocka_unit_test(limits_and_leftovers),
      cmocka_unit_test(warm_steps_do_not_allocate),
      cmocka_unit_test(slots_stay_busy_on_long_tails),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
