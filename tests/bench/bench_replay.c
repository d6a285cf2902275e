// SPDX-License-Identifier: Apache-2.0
// Replay: scored traces of about 2 KiB committed to LMDB with fsync, through the daemon's own ingest (pack, put, assemble,
// commit), for several batch sizes. The store lies in the working directory, so the figure is that of its disk.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/mem.h"
#include "replay/ingest.h"
#include "replay/schedule.h"
#include "tests/bench/bench_cases.h"

enum { PROMPT_TOKENS = 80, NEW_TOKENS = 64, TEXT_BYTES = 976, COMMITS_MIN = 100, COMMITS_MAX = 4000 };
static const double SECONDS_MAX = 4.0;

typedef struct subject {
  char dir[64];
  agrl_config conf;
  agrl_task_text *text;
  replay_core core;
  replay_ingest ingest;
  agrl_arena arena;
  agrl_msg_task_grant grant;
  size_t task, member;  // next to score
  uint64_t bytes, traces;
  agrl_msg_scored scored;
} subject;

static void need(agrl_rc rc, const agrl_error *err) {
  if (rc == AGRL_OK) return;
  fprintf(stderr, "agrl-bench: %s\n", err->msg);
  exit(agrl_rc_exit(rc));
}

static void make_trace(agrl_msg_scored *s) {
  static int32_t prompt[PROMPT_TOKENS], tokens[NEW_TOKENS];
  static float logprobs[NEW_TOKENS];
  static uint64_t versions[NEW_TOKENS];
  static char text[TEXT_BYTES + 1];
  static agrl_score scores[3] = {{"tier", 1, 0.6, false, "", 3}, {"category", 0.5, 0.2, false, "", 3}, {"attribute", 1, 0.2, false, "", 3}};
  for (int i = 0; i < PROMPT_TOKENS; i++) prompt[i] = 300 + 7 * i;
  for (int i = 0; i < NEW_TOKENS; i++) {
    tokens[i] = 400 + 5 * i;
    logprobs[i] = -0.01f * (float)i;
  }
  memset(text, 'x', TEXT_BYTES);
  *s = (agrl_msg_scored){.trace = {.actor = "actor-0", .gold = {3, "match", "partial"}, .text = text, .n_prompt = PROMPT_TOKENS,
                                   .n_tokens = NEW_TOKENS, .prompt = prompt, .tokens = tokens, .logprobs = logprobs, .versions = versions},
                         .g_format = true, .g_rule = true, .tier = 3, .attempt = 1, .n_scores = 3, .scores = scores,
                         .rules_hash = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"};
}

static void subject_open(subject *x) {
  static agrl_row rows[64];
  static char ids[64][8];
  agrl_error err = {0};
  *x = (subject){0};
  strcpy(x->dir, "bench-replay-XXXXXX");
  if (!mkdtemp(x->dir)) {
    perror("agrl-bench: bench-replay");
    exit(73);
  }
  char *rules = agrl_path_join(x->dir, "rules.yaml");
  need(agrl_file_write_atomic(rules, "prompt: \"{query}\"\n", 18, &err), &err);
  need(agrl_task_text_load(rules, &x->text, &err), &err);
  free(rules);
  for (int i = 0; i < 64; i++) {
    snprintf(ids[i], sizeof ids[i], "p%d", i);
    rows[i] = (agrl_row){.id = ids[i], .query = "q", .type = "", .gold = {.tier = 3}};
  }
  agrl_conf_defaults(agrl_config_table, agrl_config_table_len, &x->conf);
  x->conf.grpo.groups_per_step = 1000000;  // no pacing: the store is what is measured
  need(replay_core_open(&x->core, &x->conf, 1, x->dir, rows, 64, x->text, 0, &err), &err);
  replay_ingest_init(&x->ingest, &x->core);
  agrl_arena_init(&x->arena, 0);
  make_trace(&x->scored);
}

static void subject_close(subject *x) {
  replay_ingest_release(&x->ingest);
  replay_core_close(&x->core);
  agrl_task_text_free(x->text);
  agrl_arena_release(&x->arena);
  agrl_conf_release(agrl_config_table, agrl_config_table_len, &x->conf);
  agrl_file_remove_tree(x->dir, NULL);
}

static void more_tasks(subject *x) {
  agrl_error err = {0};
  replay_ask ask = {.actor = "actor-0", .want = 4096};
  agrl_arena_clear(&x->arena);
  need(replay_schedule_grant(&x->core, &ask, &x->arena, &x->grant, &err), &err);
  x->task = x->member = 0;
}

static void offer_one(subject *x) {
  while (x->task == x->grant.n_tasks) more_tasks(x);
  const agrl_task *t = &x->grant.tasks[x->task];
  x->scored.trace.id = (agrl_trace_id){1, t->group, t->first_member + (uint32_t)x->member, 1};
  x->scored.trace.prompt_id = t->prompt_id;
  x->scored.reward = 0.1 * (double)(x->member % 7);
  x->scored.accurate = x->member % 3 == 0;
  if (replay_ingest_offer(&x->ingest, &x->scored, NULL, 0) != REPLAY_INGEST_QUEUED) {
    fprintf(stderr, "agrl-bench: replay did not take a trace\n");
    exit(70);
  }
  x->traces++;
  if (++x->member == t->n_members) {
    x->member = 0;
    x->task++;
  }
}

static void ignore_ack(void *user, const agrl_peer *peer, uint64_t msg_id, const agrl_trace_id *id, agrl_ack status) {
  (void)user;
  (void)peer;
  (void)msg_id;
  (void)id;
  (void)status;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void measure(bench_env *e, size_t batch) {
  static double sample[COMMITS_MAX];
  subject x;
  subject_open(&x);
  size_t n = 0;
  double busy = 0;
  uint64_t start = agrl_mono_ns();
  while (n < COMMITS_MAX && (n < COMMITS_MIN || agrl_since_s(start) < 10 * e->seconds) && agrl_since_s(start) < SECONDS_MAX) {
    if (x.task == x.grant.n_tasks) more_tasks(&x);  // beginning groups is not what is measured
    agrl_error err = {0};
    uint64_t t0 = agrl_mono_ns();
    for (size_t i = 0; i < batch; i++) offer_one(&x);
    x.bytes += x.ingest.bytes.len;
    need(replay_ingest_commit(&x.ingest, ignore_ack, NULL, &err), &err);
    sample[n] = agrl_since_s(t0);
    busy += sample[n++];
  }
  qsort(sample, n, sizeof *sample, by_value);
  bench_begin(e, "replay_commit", 0);
  agrl_jw_kstr(&e->json, "sync", "safe");
  agrl_jw_ku64(&e->json, "batch", batch);
  agrl_jw_ku64(&e->json, "trace_bytes", x.bytes / x.traces);
  agrl_jw_ku64(&e->json, "commits", n);
  agrl_jw_ku64(&e->json, "traces_per_s", (uint64_t)((double)x.traces / busy));
  agrl_jw_kf64(&e->json, "p50_ms", (double)(uint64_t)(sample[n / 2] * 1e6) / 1e3);
  agrl_jw_kf64(&e->json, "p99_ms", (double)(uint64_t)(sample[n * 99 / 100] * 1e6) / 1e3);
  bench_end(e);
  subject_close(&x);
}

void bench_replay(bench_env *e) {
  static const size_t batches[] = {1, 16, 64, 256};
  for (size_t i = 0; i < sizeof batches / sizeof *batches; i++) measure(e, batches[i]);
}
