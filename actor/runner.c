// SPDX-License-Identifier: Apache-2.0
// Engine thread: see runner.h. One loop: swap weights if there are newer ones, take tasks, step, sleep when idle.
#include "actor/runner.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "actor/engine.h"
#include "common/base/bug.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/base/ring.h"

#define RING 1024
#define IDLE_WAIT_NS 50000000L

typedef struct work {  // a task on its way to the engine and while it runs there
  agrl_arena arena;
  agrl_task task;
  int32_t *plain, *sampled;  // tokens of the plain prompt and of the text sampled from
  size_t n_plain, n_sampled;
} work;

struct actor_runner {
  actor_runner_config config;
  char *name;
  agrl_pool *pool;
  actor_engine *engine;
  agrl_ring *tasks, *finished;
  _Atomic(agrl_weights *) fresh;
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t wake;
  _Atomic bool stop;
  uv_async_t async;
  void (*done)(void *user, actor_trace *t);
  void *user;
  size_t load;        // loop thread
  bool have_weights;  // engine thread
  _Atomic uint64_t prompt_tokens, completion_tokens, steps, slot_steps, opened, shared, busy_ns;
  _Atomic double kv_used;
};

static void work_free(work *w) {
  agrl_arena_release(&w->arena);
  free(w);
}

// --- engine thread ---

static void on_finished(void *user, const actor_job *job, const actor_rollout *o) {
  actor_runner *r = user;
  const work *w = job->user;
  actor_trace *t = actor_trace_new();
  agrl_arena *a = &t->arena;
  agrl_buf text = {0};
  size_t n_text = o->n - (o->stop == AGRL_STOP_EOS ? 1 : 0);
  agrl_bpe_decode(r->config.bpe, o->tokens, n_text, false, &text);
  for (size_t i = 0; i < text.len; i++)  // text travels NUL-terminated: a zero byte must not hide what follows it
    if (!text.data[i]) text.data[i] = 1;
  t->msg = (agrl_msg_trace){
      .id = {.run = w->task.run, .group = w->task.group, .member = o->member, .attempt = w->task.attempt},
      .actor = agrl_arena_strdup(a, r->name),
      .prompt_id = agrl_arena_strdup(a, w->task.prompt_id),
      .level = w->task.level,
      .gold = {.tier = w->task.gold.tier, .category = agrl_arena_strdup(a, w->task.gold.category),
               .attribute = agrl_arena_strdup(a, w->task.gold.attribute)},
      .text = agrl_arena_strdup(a, text.data ? text.data : ""),
      .stop = (uint32_t)o->stop,
      .created_ms = agrl_wall_ns() / 1000000,
      .generation_ms = (uint32_t)(o->generation_ns / 1000000),
      .n_prompt = w->n_plain,
      .n_tokens = o->n,
      .prompt = agrl_arena_dup(a, w->plain, w->n_plain * sizeof(int32_t)),
      .tokens = agrl_arena_dup(a, o->tokens, o->n * sizeof(int32_t)),
      .logprobs = agrl_arena_dup(a, o->logprobs, o->n * sizeof(float)),
      .versions = agrl_arena_dup(a, o->versions, o->n * sizeof(uint64_t)),
  };
  agrl_buf_release(&text);
  while (!agrl_ring_put(r->finished, t)) {  // the loop is behind: it must not lose a trace, so wait for it
    if (atomic_load(&r->stop)) {
      actor_trace_free(t);
      return;
    }
    uv_async_send(&r->async);
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
  }
}

static void on_job_done(void *user, const actor_job *job) {
  (void)user;
  work_free(job->user);
}

static void take_weights(actor_runner *r) {
  agrl_weights *w = atomic_exchange(&r->fresh, NULL);
  if (!w) return;
  uint64_t start = agrl_mono_ns();
  actor_engine_set_weights(r->engine, w);
  agrl_weights_unref(w);
  r->have_weights = true;
  r->config.swapped(agrl_since_s(start));
}

static void take_tasks(actor_runner *r) {
  for (work *w; (w = agrl_ring_take(r->tasks));) {
    actor_job job = {.run_seed = w->task.run, .group = w->task.group, .first_member = w->task.first_member,
                     .n_members = w->task.n_members, .prompt = w->sampled, .n_prompt = w->n_sampled,
                     .max_new = w->task.max_new_tokens, .temperature = r->config.temperature, .top_p = r->config.top_p,
                     .top_k = r->config.top_k, .user = w};
    agrl_error err = {0};
    if (actor_engine_submit(r->engine, &job, &err)) AGRL_BUG("submit after the length check: %s", err.msg);
  }
}

static void publish_stats(actor_runner *r, uint64_t busy_ns) {
  actor_engine_stats s = actor_engine_get_stats(r->engine);
  atomic_store(&r->prompt_tokens, s.prompt_tokens);
  atomic_store(&r->completion_tokens, s.completion_tokens);
  atomic_store(&r->steps, s.steps);
  atomic_store(&r->slot_steps, s.slot_steps);
  atomic_store(&r->opened, s.opened);
  atomic_store(&r->shared, s.shared);
  atomic_store(&r->kv_used, actor_engine_kv_used_ratio(r->engine));
  atomic_fetch_add(&r->busy_ns, busy_ns);
}

static void sleep_until_work(actor_runner *r) {
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_nsec += IDLE_WAIT_NS;
  if (until.tv_nsec >= 1000000000L) {
    until.tv_nsec -= 1000000000L;
    until.tv_sec++;
  }
  pthread_mutex_lock(&r->lock);
  if (!agrl_ring_len(r->tasks) && !atomic_load(&r->stop)) pthread_cond_timedwait(&r->wake, &r->lock, &until);
  pthread_mutex_unlock(&r->lock);
}

static void *run(void *arg) {
  actor_runner *r = arg;
  while (!atomic_load(&r->stop)) {
    take_weights(r);
    take_tasks(r);
    uint64_t start = agrl_mono_ns();
    bool worked = r->have_weights && actor_engine_step(r->engine);
    publish_stats(r, worked ? agrl_mono_ns() - start : 0);
    if (agrl_ring_len(r->finished)) uv_async_send(&r->async);
    if (!worked) sleep_until_work(r);
  }
  return NULL;
}

// --- loop thread ---

static void on_async(uv_async_t *h) {
  actor_runner *r = h->data;
  for (actor_trace *t; (t = agrl_ring_take(r->finished));) {
    r->load--;
    r->done(r->user, t);
  }
}

agrl_rc actor_runner_start(actor_runner **out, uv_loop_t *loop, const actor_runner_config *c,
                           void (*done)(void *user, actor_trace *t), void *user, agrl_error *err) {
  actor_runner *r = agrl_xcalloc(1, sizeof *r);
  r->config = *c;
  if (r->config.context > (size_t)c->layout->spec.context) r->config.context = (size_t)c->layout->spec.context;
  r->name = agrl_xstrdup(c->actor);
  r->done = done;
  r->user = user;
  r->pool = agrl_pool_new(c->threads);
  actor_engine_hooks hooks = {.finished = on_finished, .job_done = on_job_done, .user = r};
  agrl_rc rc = actor_engine_new(c->layout, r->pool, c->slots, c->context, c->max_new, &hooks, &r->engine, err);
  if (rc) {
    agrl_pool_free(r->pool);
    free(r->name);
    free(r);
    return rc;
  }
  r->tasks = agrl_ring_new(RING);
  r->finished = agrl_ring_new(RING);
  pthread_mutex_init(&r->lock, NULL);
  pthread_cond_init(&r->wake, NULL);
  uv_async_init(loop, &r->async, on_async);
  r->async.data = r;
  if (pthread_create(&r->thread, NULL, run, r)) AGRL_BUG("pthread_create failed");
  *out = r;
  return AGRL_OK;
}

static void on_closed(uv_handle_t *h) {
  actor_runner *r = h->data;
  agrl_ring_free(r->tasks);
  agrl_ring_free(r->finished);
  pthread_mutex_destroy(&r->lock);
  pthread_cond_destroy(&r->wake);
  free(r->name);
  free(r);
}

static void wake(actor_runner *r) {
  pthread_mutex_lock(&r->lock);
  pthread_cond_signal(&r->wake);
  pthread_mutex_unlock(&r->lock);
}

void actor_runner_stop(actor_runner *r) {
  if (!r) return;
  atomic_store(&r->stop, true);
  wake(r);
  pthread_join(r->thread, NULL);
  for (work *w; (w = agrl_ring_take(r->tasks));) work_free(w);
  for (actor_trace *t; (t = agrl_ring_take(r->finished));) actor_trace_free(t);
  actor_engine_free(r->engine);
  agrl_weights_unref(atomic_exchange(&r->fresh, NULL));
  agrl_pool_free(r->pool);
  uv_close((uv_handle_t *)&r->async, on_closed);
}

void actor_runner_weights(actor_runner *r, agrl_weights *w) {
  agrl_weights_unref(atomic_exchange(&r->fresh, w));
  wake(r);
}

static int32_t *encode(actor_runner *r, agrl_arena *a, const char *text, size_t *n) {
  const int32_t start_id = r->config.layout->spec.start_id;
  *n = agrl_bpe_encode_prompt(r->config.bpe, start_id, text, strlen(text), NULL, 0);
  int32_t *ids = agrl_arena_alloc(a, (*n + 1) * sizeof *ids);
  agrl_bpe_encode_prompt(r->config.bpe, start_id, text, strlen(text), ids, *n);
  return ids;
}

agrl_rc actor_runner_submit(actor_runner *r, const agrl_task *t, agrl_error *err) {
  work *w = agrl_xcalloc(1, sizeof *w);
  agrl_arena *a = &w->arena;
  agrl_arena_init(a, 0);
  w->task = *t;
  w->task.prompt_id = agrl_arena_strdup(a, t->prompt_id);
  w->task.gold.category = agrl_arena_strdup(a, t->gold.category);
  w->task.gold.attribute = agrl_arena_strdup(a, t->gold.attribute);
  w->task.prompt = w->task.guided = "";
  w->plain = encode(r, a, t->prompt, &w->n_plain);
  w->sampled = w->plain;
  w->n_sampled = w->n_plain;
  if (t->level) w->sampled = encode(r, a, t->guided, &w->n_sampled);
  size_t room = r->config.context - r->config.max_new, longest = w->n_plain > w->n_sampled ? w->n_plain : w->n_sampled;
  agrl_rc rc = AGRL_OK;
  if (!w->n_plain || !w->n_sampled || longest > room)
    rc = agrl_fail(err, AGRL_ELIMIT, "prompt %s has %zu tokens, at most %zu fit (model.context less actor.max_new_tokens)", t->prompt_id,
                   longest, room);
  else if (!agrl_ring_put(r->tasks, w)) rc = agrl_fail(err, AGRL_EAGAIN, "task ring full");
  if (rc) {
    work_free(w);
    return rc;
  }
  r->load += t->n_members;
  wake(r);
  return AGRL_OK;
}

size_t actor_runner_load(const actor_runner *r) { return r->load; }

actor_runner_stats actor_runner_get_stats(const actor_runner *r) {
  return (actor_runner_stats){
      .prompt_tokens = atomic_load(&r->prompt_tokens), .completion_tokens = atomic_load(&r->completion_tokens),
      .steps = atomic_load(&r->steps), .slot_steps = atomic_load(&r->slot_steps), .opened = atomic_load(&r->opened),
      .shared = atomic_load(&r->shared), .busy_ns = atomic_load(&r->busy_ns),
      .kv_used_ratio = atomic_load(&r->kv_used)};
}
