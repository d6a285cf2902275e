// SPDX-License-Identifier: Apache-2.0
// What the tests of replay share: a run directory with a rule file, labelled rows, a configuration of small numbers, a
// core that can be reopened (as after kill -9: only what was committed is there), and scored traces.
#ifndef AGRL_TESTS_REPLAY_KIT_H
#define AGRL_TESTS_REPLAY_KIT_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/wire/version.h"
#include "replay/core.h"
#include "replay/ingest.h"
#include "replay/schedule.h"
#include "replay/serve.h"
#include "tests/lib/replay_scored.h"

#define KIT_SECOND UINT64_C(1000000000)

typedef struct replay_kit {
  char dir[64];
  agrl_config conf;
  agrl_task_text *text;
  agrl_dataset data;
  replay_core core;
  replay_ingest ingest;
  agrl_arena arena;
  uint64_t now_ns;
  size_t acks[3];        // told since start, by status
  agrl_trace_id last_ack;
  bool open;
} replay_kit;

#define KIT_OK(call)                                                        \
  do {                                                                      \
    agrl_error kit_err_ = {0};                                              \
    agrl_error *err = &kit_err_;                                            \
    if ((call) != AGRL_OK) fail_msg("%s: %s", #call, kit_err_.msg);         \
  } while (0)

static inline void kit_write_text(const char *dir, const char *name, const char *text) {
  char *path = agrl_path_join(dir, name);
  KIT_OK(agrl_file_write_atomic(path, text, strlen(text), err));
  free(path);
}

static inline void kit_open(replay_kit *k) {
  char *dir = agrl_path_join(k->dir, "replay");
  KIT_OK(replay_core_open(&k->core, &k->conf, KIT_RUN, dir, k->data.rows, k->data.n, k->text, k->now_ns, err));
  free(dir);
  replay_ingest_init(&k->ingest, &k->core);
  k->open = true;
}

// What was not committed is lost, as with kill -9.
static inline void kit_close(replay_kit *k) {
  if (!k->open) return;
  replay_ingest_release(&k->ingest);
  replay_core_close(&k->core);
  k->open = false;
}

static inline void kit_restart(replay_kit *k) {
  kit_close(k);
  kit_open(k);
}

// Rows: n prompts "p0".. with full labels. Small numbers: G 4, K 2, k 1, 2 groups a step, bound 1, guidance from the start.
static inline void kit_init(replay_kit *k, size_t n_rows) {
  *k = (replay_kit){.now_ns = KIT_SECOND};
  strcpy(k->dir, "/tmp/agrl-replay-test-XXXXXX");
  assert_non_null(mkdtemp(k->dir));
  agrl_arena_init(&k->arena, 0);
  agrl_conf_defaults(agrl_config_table, agrl_config_table_len, &k->conf);
  k->conf.grpo.group_size = 4;
  k->conf.grpo.groups_per_step = 2;
  k->conf.grpo.versions = 1000000;
  k->conf.replay.guide_warmup = 0;
  k->conf.replay.staleness_bound = 1;
  k->conf.replay.min_groups = 1;
  k->conf.replay.map_bytes = k->conf.replay.map_max_bytes = 64u << 20;
  k->conf.replay.sync = AGRL_SYNC_NONE;
  kit_write_text(k->dir, "rules.yaml",
                 "prompt: \"q {query}\"\nguidance: [\" must {must}\", \" cat {gold.category}\", \" att {gold.attribute}\", \" tier {gold.tier}\"]\n");
  agrl_buf b = {0};
  for (size_t i = 0; i < n_rows; i++)
    agrl_buf_addf(&b, "{\"id\":\"p%zu\",\"query\":\"q%zu\",\"product\":{\"title\":\"t\"},\"gold\":{\"tier\":3,\"category\":\"match\",\"attribute\":\"partial\"}}\n", i, i);
  kit_write_text(k->dir, "train.jsonl", b.data);
  agrl_buf_release(&b);
  char *rules = agrl_path_join(k->dir, "rules.yaml"), *train = agrl_path_join(k->dir, "train.jsonl");
  KIT_OK(agrl_task_text_load(rules, &k->text, err));
  KIT_OK(agrl_dataset_load(train, NULL, NULL, &k->data, err));
  free(rules);
  free(train);
}

static inline void kit_release(replay_kit *k) {
  kit_close(k);
  agrl_task_text_free(k->text);
  agrl_dataset_release(&k->data);
  agrl_conf_release(agrl_config_table, agrl_config_table_len, &k->conf);
  agrl_arena_release(&k->arena);
  agrl_file_remove_tree(k->dir, NULL);
}

static inline void kit_tell(void *user, const agrl_peer *peer, uint64_t msg_id, const agrl_trace_id *id, agrl_ack status) {
  replay_kit *k = user;
  (void)peer;
  (void)msg_id;
  k->acks[status]++;
  k->last_ack = *id;
}

static inline agrl_msg_task_grant kit_ask(replay_kit *k, const char *actor, const char *peer, uint32_t want, uint64_t version) {
  replay_ask ask = {.actor = actor, .peer = (const uint8_t *)peer, .peer_len = strlen(peer), .want = want, .version = version, .now_ns = k->now_ns};
  agrl_msg_task_grant out;
  KIT_OK(replay_schedule_grant(&k->core, &ask, &k->arena, &out, err));
  return out;
}

// Scores every member of a task; the first n_good succeed. Rewards of failures differ slightly, so that groups have spread.
static inline void kit_deliver(replay_kit *k, const agrl_task *t, uint32_t n_good, uint64_t version) {
  for (uint32_t i = 0; i < t->n_members; i++) {
    bool good = i < n_good;
    agrl_msg_scored s =
        kit_scored(t->group, t->first_member + i, t->level, t->prompt_id, version, good ? 1.0 : 0.01 * (t->first_member + i), good);
    replay_verdict v = replay_ingest_offer(&k->ingest, &s, NULL, 0);
    assert_int_equal(v, REPLAY_INGEST_QUEUED);
  }
  KIT_OK(replay_ingest_commit(&k->ingest, kit_tell, k, err));
}

static replay_kit kit;  // of the test that runs

static inline int kit_setup(void **state) { return (void)state, kit_init(&kit, 40), kit_open(&kit), 0; }
static inline int kit_teardown(void **state) { return (void)state, kit_release(&kit), 0; }
#define WITH_KIT(f) cmocka_unit_test_setup_teardown(f, kit_setup, kit_teardown)

#endif
