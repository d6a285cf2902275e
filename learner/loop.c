// SPDX-License-Identifier: Apache-2.0
// The loop thread of the learner: opens what listens, starts the compute thread, answers status, and takes all down in
// the order that lets neither thread wait for the other.
#include "learner/loop.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/log.h"
#include "common/ckpt/hf.h"
#include "learner/compute.h"
#include "learner/publish.h"

typedef struct state {
  learner_publisher *publisher;
  learner_link *link;
  learner_compute compute;
  pthread_t thread;
  agrl_pool *pool;
} state;

static agrl_rc open_lines(agrl_svc *s, learner_compute *c, agrl_error *err) {
  char *path = agrl_path_join(s->config.run.dir, "metrics.jsonl");
  agrl_rc rc = agrl_jsonl_open(&c->lines, path, err);
  free(path);
  return rc;
}

static agrl_rc start(agrl_svc *s, agrl_error *err) {
  state *st = s->state;
  learner_compute *c = &st->compute;
  learner_metrics_register(&c->metrics);
  agrl_rc rc = learner_publisher_open(&st->publisher, s, c->metrics.bytes, err);
  if (rc == AGRL_OK) rc = learner_link_open(&st->link, s, st->publisher, err);
  if (rc == AGRL_OK) rc = open_lines(s, c, err);
  if (rc != AGRL_OK) return rc;
  st->pool = agrl_pool_new((unsigned)s->config.learner.threads);
  c->config = c->core.config = &s->config;
  c->core.pool = st->pool;
  c->run = s->run_id;
  c->link = st->link;
  c->checkpoints = agrl_path_join(s->config.run.dir, "checkpoints");
  agrl_arena_init(&c->arena, 0);
  atomic_store(&c->phase, "start");
  int e = pthread_create(&st->thread, NULL, learner_compute_main, c);
  if (e != 0) return agrl_fail(err, AGRL_ENOMEM, "compute thread: %s", strerror(e));
  agrl_svc_ready(s);
  return AGRL_OK;
}

static agrl_rc check(const agrl_config *c, agrl_error *err) {
  learner_sft_set rows;
  agrl_spec spec;
  agrl_rc rc = learner_sft_set_open(&rows, c, err);
  if (rc != AGRL_OK) return rc;
  learner_sft_set_close(&rows);
  char *sft = agrl_path_join(c->run.dir, "checkpoints/sft");  // once it is there, nothing is read from model.init
  const bool begins = c->model.init[0] != '\0' && !agrl_file_exists(sft);
  free(sft);
  return begins ? agrl_ckpt_load_spec(c->model.init, &spec, err) : AGRL_OK;
}

static void drain(agrl_svc *s) { learner_link_stop(((state *)s->state)->link); }

static void stop(agrl_svc *s) {
  state *st = s->state;
  learner_link_shut(st->link);
  pthread_join(st->thread, NULL);
  learner_link_close(st->link);
  learner_publisher_close(st->publisher);  // before the core: snapshots borrow its layout
  learner_compute_release(&st->compute);
  agrl_pool_free(st->pool);
}

static size_t status(agrl_svc *s, agrl_arena *a, agrl_kv *items, size_t cap) {
  const state *st = s->state;
  const learner_metrics *m = &st->compute.metrics;
  const struct {
    const char *key;
    agrl_metric *metric;
    size_t index;
  } gauges[] = {{"sft_step", m->sft_step, 0},   {"loss", m->loss, LEARNER_LOSS_TOTAL}, {"reward_mean", m->reward, 0},
                {"accuracy", m->accuracy, 0},   {"entropy", m->entropy, 0},   {"kl", m->kl, LEARNER_KL_K3_REFERENCE},
                {"guided_ratio", m->guided, 0}, {"idle_ratio", m->idle, 0},   {"tokens_per_second", m->tps, 0}};
  uint64_t version = isnan(agrl_metric_get(m->version, 0)) ? 0 : (uint64_t)agrl_metric_get(m->version, 0);
  agrl_kv head[] = {{"phase", atomic_load(&st->compute.phase)},
                    {"version", agrl_arena_printf(a, "%" PRIu32 ":%" PRIu32, AGRL_VERSION_EPOCH(version), AGRL_VERSION_STEP(version))},
                    {"step", agrl_arena_printf(a, "%" PRIu32, AGRL_VERSION_STEP(version))},
                    {"steps", agrl_arena_printf(a, "%" PRId64, agrl_config_versions(&s->config))},
                    {"sft_steps", agrl_arena_printf(a, "%" PRId64, s->config.sft.steps)}};
  size_t n = 0;
  for (size_t i = 0; i < sizeof head / sizeof *head && n < cap; i++) items[n++] = head[i];
  for (size_t i = 0; i < sizeof gauges / sizeof *gauges && n < cap; i++) {
    double v = agrl_metric_get(gauges[i].metric, gauges[i].index);
    if (!isnan(v)) items[n++] = (agrl_kv){gauges[i].key, agrl_arena_printf(a, "%.6g", v)};
  }
  return n;
}

// Before the first step (reading data, training the tokenizer, hashing) nothing that could be counted moves for minutes.
static uint64_t progress(agrl_svc *s, bool *work_left) {
  state *st = s->state;
  const char *phase = atomic_load(&st->compute.phase);
  *work_left = strcmp(phase, "start") != 0 && strcmp(phase, "done") != 0;
  return atomic_load(&st->compute.moved);
}

const agrl_svc_def learner_service = {
    .name = "learner",
    .about = "trains the policy: supervised warm start, then AGRL; publishes every version",
    .http_offset = 3,
    .state_bytes = sizeof(state),
    .start = start,
    .drain = drain,
    .stop = stop,
    .status = status,
    .progress = progress,
    .check = check,
};
