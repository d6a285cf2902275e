// SPDX-License-Identifier: Apache-2.0
// The rings between compute and loop thread. An answer is packed again with the wire codec and unpacked by the compute
// thread into its own arena: the one deep copy that is already written and tested.
#include "learner/link.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/base/ring.h"
#include "learner/publish.h"

enum { RING_ITEMS = 64 };

typedef enum { ORDER_CALL, ORDER_PUBLISH, ORDER_MODEL, ORDER_EVENT, ORDER_FINISH } order_kind;

typedef struct order {
  order_kind kind;
  agrl_msg msg;   // CALL: what it points to is the compute thread's, which waits meanwhile
  uint64_t serial;  // CALL
  uint64_t ms;    // CALL: time-out; FINISH: delay
  learner_release release;
  learner_model model;
  const char *name;    // EVENT: event
  char *text;          // owned
  int exit_code;
} order;

typedef struct answer {
  uint64_t serial;  // of the call it answers: one that was given up is passed over
  agrl_rc rc;
  agrl_buf bytes;  // an envelope; empty when there was no answer
} answer;

struct learner_link {
  agrl_svc *svc;
  learner_publisher *publisher;
  agrl_rpc *replay;
  agrl_ring *up, *down;
  uv_async_t wake;
  uv_timer_t finish;
  int exit_code, open_handles;
  uint64_t called;  // serial of the compute thread's last call
  pthread_mutex_t lock;
  pthread_cond_t cond;
  atomic_bool stopping, shut;
};

// ---- compute thread

static void order_free(order *o) {
  learner_release_free(&o->release);
  learner_model_free(&o->model);
  free(o->text);
  free(o);
}

static void give_order(learner_link *l, order o) {
  order *copy = agrl_xmalloc(sizeof *copy);
  *copy = o;
  while (!agrl_ring_put(l->up, copy)) {  // 64 orders behind: the loop is busy sending, or has ended
    if (atomic_load(&l->shut)) {
      order_free(copy);
      return;
    }
    usleep(1000);
  }
  uv_async_send(&l->wake);
}

static struct timespec in_ms(uint64_t ms) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  t.tv_sec += (time_t)(ms / 1000);
  t.tv_nsec += (long)(ms % 1000) * 1000000;
  if (t.tv_nsec >= 1000000000) {
    t.tv_sec++;
    t.tv_nsec -= 1000000000;
  }
  return t;
}

static bool past(const struct timespec *t) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec > t->tv_sec || (now.tv_sec == t->tv_sec && now.tv_nsec >= t->tv_nsec);
}

static void answer_free(answer *a) {
  agrl_buf_release(&a->bytes);
  free(a);
}

static answer *take_answer(learner_link *l) {
  answer *a;
  while ((a = agrl_ring_take(l->down)) != NULL && a->serial != l->called) answer_free(a);
  return a;
}

agrl_rc learner_link_call(learner_link *l, agrl_msg *m, uint64_t timeout_ms, agrl_arena *arena, agrl_msg *out, agrl_error *err) {
  // A request for a batch may wait long and points to nothing of ours: it alone is given up when the daemon stops.
  bool may_give_up = m->kind == AGRL_MSG_BATCH_REQUEST;
  give_order(l, (order){.kind = ORDER_CALL, .msg = *m, .ms = timeout_ms, .serial = ++l->called});
  answer *a = NULL;
  pthread_mutex_lock(&l->lock);
  while ((a = take_answer(l)) == NULL && !atomic_load(&l->shut) && !(may_give_up && atomic_load(&l->stopping)))
    pthread_cond_wait(&l->cond, &l->lock);
  pthread_mutex_unlock(&l->lock);
  if (a == NULL) return agrl_fail(err, AGRL_EPEER, "%s to replay: the learner is stopping", agrl_msg_kind_name(m->kind));
  agrl_rc rc = a->rc;
  if (a->bytes.len > 0) {
    agrl_rc got = agrl_msg_unpack(a->bytes.data, a->bytes.len, arena, out, err);
    if (got != AGRL_OK) rc = got;
    else if (rc != AGRL_OK) agrl_fail(err, rc, "%s to replay: %s", agrl_msg_kind_name(m->kind), out->error.text);
  } else {
    agrl_fail(err, rc, "%s to replay: %s", agrl_msg_kind_name(m->kind), agrl_rc_text(rc));
  }
  answer_free(a);
  return rc;
}

bool learner_link_stopping(learner_link *l) { return atomic_load(&l->stopping); }

bool learner_link_sleep(learner_link *l, uint64_t ms) {
  struct timespec until = in_ms(ms);
  pthread_mutex_lock(&l->lock);
  while (!atomic_load(&l->stopping) && !atomic_load(&l->shut) && !past(&until)) pthread_cond_timedwait(&l->cond, &l->lock, &until);
  pthread_mutex_unlock(&l->lock);
  return !atomic_load(&l->stopping);
}

void learner_link_publish(learner_link *l, learner_release r) {
  give_order(l, (order){.kind = ORDER_PUBLISH, .release = r});
}

void learner_link_model(learner_link *l, learner_model m) {
  give_order(l, (order){.kind = ORDER_MODEL, .model = m});
}

void learner_link_event(learner_link *l, const char *event, char *members) {
  give_order(l, (order){.kind = ORDER_EVENT, .name = event, .text = members});
}

void learner_link_finish(learner_link *l, int exit_code, uint64_t delay_ms) {
  give_order(l, (order){.kind = ORDER_FINISH, .exit_code = exit_code, .ms = delay_ms});
}

// ---- loop thread

typedef struct under_way {
  learner_link *link;
  uint64_t serial;
} under_way;

static void on_answer(void *user, agrl_rc rc, const agrl_msg *m) {
  under_way *u = user;
  learner_link *l = u->link;
  answer *a = agrl_xcalloc(1, sizeof *a);
  agrl_error err;
  a->serial = u->serial;
  a->rc = rc;
  free(u);
  if (m != NULL && agrl_msg_pack(m, &a->bytes, &err) != AGRL_OK) {
    agrl_buf_clear(&a->bytes);
    a->rc = err.code;
    agrl_loge("answer of replay cannot be handed over: %s", err.msg);
  }
  pthread_mutex_lock(&l->lock);
  if (!agrl_ring_put(l->down, a)) answer_free(a);  // few at a time: never full
  pthread_cond_signal(&l->cond);
  pthread_mutex_unlock(&l->lock);
}

static void call(learner_link *l, order *o) {
  under_way *u = agrl_xmalloc(sizeof *u);
  *u = (under_way){l, o->serial};
  agrl_rpc_call(l->replay, &o->msg, o->ms, on_answer, u);
}

static void on_finish(uv_timer_t *t) {
  learner_link *l = t->data;
  agrl_svc_stop(l->svc, l->exit_code);
}

static void execute(learner_link *l, order *o) {
  switch (o->kind) {
    case ORDER_CALL: call(l, o); break;
    case ORDER_PUBLISH:
      learner_publisher_set(l->publisher, o->release);
      o->release = (learner_release){0};
      break;
    case ORDER_MODEL:
      learner_publisher_model(l->publisher, o->model);
      o->model = (learner_model){0};
      break;
    case ORDER_EVENT: agrl_svc_event(l->svc, o->name, "%s", o->text); break;
    case ORDER_FINISH:
      l->exit_code = o->exit_code;
      uv_timer_start(&l->finish, on_finish, o->ms, 0);
      break;
  }
  order_free(o);
}

static void on_wake(uv_async_t *h) {
  learner_link *l = h->data;
  for (order *o; (o = agrl_ring_take(l->up)) != NULL;) execute(l, o);
}

agrl_rc learner_link_open(learner_link **out, agrl_svc *s, learner_publisher *p, agrl_error *err) {
  learner_link *l = agrl_xcalloc(1, sizeof *l);
  l->svc = s;
  l->publisher = p;
  char *endpoint = agrl_config_endpoint(&s->config, "replay");
  agrl_rc rc = agrl_rpc_open(s->net, "replay", endpoint, (int)s->config.net.hwm, NULL, NULL, &l->replay, err);
  free(endpoint);
  if (rc != AGRL_OK) {
    free(l);
    return rc;
  }
  l->up = agrl_ring_new(RING_ITEMS);
  l->down = agrl_ring_new(RING_ITEMS);
  uv_async_init(&s->loop, &l->wake, on_wake);
  uv_timer_init(&s->loop, &l->finish);
  l->wake.data = l->finish.data = l;
  pthread_condattr_t attr;
  pthread_condattr_init(&attr);
  pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
  pthread_cond_init(&l->cond, &attr);
  pthread_condattr_destroy(&attr);
  pthread_mutex_init(&l->lock, NULL);
  *out = l;
  return AGRL_OK;
}

static void set_flag(learner_link *l, atomic_bool *flag) {
  pthread_mutex_lock(&l->lock);
  atomic_store(flag, true);
  pthread_cond_broadcast(&l->cond);
  pthread_mutex_unlock(&l->lock);
}

void learner_link_stop(learner_link *l) { set_flag(l, &l->stopping); }

void learner_link_shut(learner_link *l) {
  set_flag(l, &l->stopping);
  set_flag(l, &l->shut);
}

static void on_closed(uv_handle_t *h) {
  learner_link *l = h->data;
  if (--l->open_handles == 0) free(l);
}

void learner_link_close(learner_link *l) {
  agrl_rpc_close(l->replay);
  for (order *o; (o = agrl_ring_take(l->up)) != NULL;) order_free(o);
  for (answer *a; (a = agrl_ring_take(l->down)) != NULL;) answer_free(a);
  agrl_ring_free(l->up);
  agrl_ring_free(l->down);
  pthread_cond_destroy(&l->cond);
  pthread_mutex_destroy(&l->lock);
  l->open_handles = 2;
  uv_close((uv_handle_t *)&l->wake, on_closed);
  uv_close((uv_handle_t *)&l->finish, on_closed);
}
