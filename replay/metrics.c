// SPDX-License-Identifier: Apache-2.0
// Metrics of the replay daemon. Totals that the core counts are mirrored at each scrape.
#include <math.h>
#include <stdlib.h>

#include "common/base/mem.h"
#include "common/wire/version.h"
#include "replay/replay.h"

static const char *const states[] = {"open", "climb", "ready", "leased", "trained", "retired", NULL};
static const char *const causes[] = {
#define CAUSE_TEXT(NAME, text) text,
    REPLAY_CAUSE_MAP(CAUSE_TEXT)
#undef CAUSE_TEXT
        "age",
    NULL};
#define CAUSE_AGE REPLAY_CAUSE_N
static const char *const results[] = {"committed", "duplicate", "unwanted", "contradictory", "refused_full", "refused_io", NULL};
static const char *const ops[] = {"insert", "sample", NULL};
static const char *const levels[] = {"1", "2", "3", "4", "5", "6", "7", "8", NULL};
static const char *const stages[] = {"tried", "solved", NULL};
static const char *const kinds[] = {"plain", "guided", NULL};
static const char *const lease_causes[] = {"lease", "restart", NULL};
static const double accuracy_bounds[] = {0, 0.1, 0.25, 0.5, 0.75, 0.9, 1};
static const double batch_bounds[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512};
#define N_OF(a) (sizeof(a) / sizeof *(a))

struct replay_metrics {
  agrl_metric *items, *bytes, *inserts, *samples, *removals, *ratio, *blocked, *priority, *age, *commit, *commit_size, *map, *readers,
      *groups, *ladder, *formed, *reissues, *accuracy, *version, *returned, *cut, *doubled, *guided_ratio, *prompts;
};

// Descriptors of this file; the registry borrows them for good.
static agrl_metric *reg(agrl_metric_desc d) {
  static agrl_metric_desc pool[32];
  static size_t n;
  if (n == N_OF(pool)) n = 0;  // only a second daemon in one process (tests) comes here, after a reset
  pool[n] = d;
  return agrl_metric_register(&pool[n++]);
}
#define COUNTER(nm, hp, ...) reg((agrl_metric_desc){.name = nm, .help = hp, .type = AGRL_COUNTER, __VA_ARGS__})
#define GAUGE(nm, hp, ...) reg((agrl_metric_desc){.name = nm, .help = hp, .type = AGRL_GAUGE, __VA_ARGS__})
#define HISTOGRAM(nm, hp, b, nb) reg((agrl_metric_desc){.name = nm, .help = hp, .type = AGRL_HISTOGRAM, .bounds = b, .n_bounds = nb})

replay_metrics *replay_metrics_new(void) {
  replay_metrics *m = agrl_xcalloc(1, sizeof *m);
  m->items = GAUGE("agrl_replay_items", "Traces in the store", .label = NULL);
  m->bytes = GAUGE("agrl_replay_bytes", "Bytes of the store in use", .label = NULL);
  m->inserts = COUNTER("agrl_replay_inserts_total", "Scored traces by what became of them", .label = "result", .values = results);
  m->samples = COUNTER("agrl_replay_samples_total", "Groups handed to the learner", .label = NULL);
  m->removals = COUNTER("agrl_replay_removals_total", "Groups given up, or deleted by age, by cause", .label = "cause", .values = causes);
  m->ratio = GAUGE("agrl_replay_samples_per_insert", "Groups served per group made ready, over the run", .label = NULL);
  m->blocked = COUNTER("agrl_replay_blocked_seconds_total", "Time callers waited for replay", .label = "op", .values = ops);
  m->priority = HISTOGRAM("agrl_replay_priority", "Difficulty (1 - accuracy) of served groups, the base of a prompt's priority", accuracy_bounds, N_OF(accuracy_bounds));
  m->age = HISTOGRAM("agrl_replay_item_age_versions", "Age of the oldest token of served groups", agrl_buckets_small, agrl_buckets_small_n);
  m->commit = HISTOGRAM("agrl_replay_commit_seconds", "Time of a commit of traces", agrl_buckets_seconds, agrl_buckets_seconds_n);
  m->commit_size = HISTOGRAM("agrl_replay_commit_traces", "Traces in a commit", batch_bounds, N_OF(batch_bounds));
  m->map = GAUGE("agrl_replay_map_used_ratio", "Pages in use of the largest map allowed", .label = NULL);
  m->readers = GAUGE("agrl_replay_readers", "LMDB reader slots taken", .label = NULL);
  m->groups = GAUGE("agrl_replay_groups", "Groups by state; trained and retired over the run", .label = "state", .values = states);
  m->ladder = COUNTER("agrl_replay_ladder_total", "Ladder levels tried and solved", .label = "level", .values = levels, .label2 = "stage", .values2 = stages);
  m->formed = COUNTER("agrl_replay_ready_total", "Groups made ready, with or without guided members", .label = "kind", .values = kinds);
  m->reissues = COUNTER("agrl_actor_reissued_groups_total", "Groups with members given out again: a lease ran out, or an actor or replay was started again", .label = "cause", .values = lease_causes);
  m->accuracy = HISTOGRAM("agrl_replay_group_accuracy_ratio", "Mean accuracy of plain rollouts, of served groups", accuracy_bounds, N_OF(accuracy_bounds));
  m->version = GAUGE("agrl_replay_policy_version", "Step of the newest weights the learner told of", .label = NULL);
  m->returned = COUNTER("agrl_replay_returned_total", "Groups taken back from the learner untrained", .label = NULL);
  m->cut = COUNTER("agrl_replay_ladder_cut_total", "Ladders ended early because the group would have become too old", .label = NULL);
  m->doubled = COUNTER("agrl_replay_double_trained_total", "Reports that a group was trained twice (must stay 0)", .label = NULL);
  m->guided_ratio = GAUGE("agrl_replay_guided_ratio", "Share of ready groups since start that hold guided members", .label = NULL);
  m->prompts = GAUGE("agrl_replay_prompts_seen", "Prompts with a history", .label = NULL);
  return m;
}

void replay_metrics_free(replay_metrics *m) { free(m); }

// A counter follows a total that the core keeps.
static void follow(agrl_metric *m, size_t i, uint64_t total) {
  double d = (double)total - agrl_metric_get(m, i);
  if (d > 0) agrl_metric_add(m, i, d);
}

static void refresh_counts(replay_metrics *m, const replay_core *c) {
  const replay_counts *k = &c->counts;
  follow(m->inserts, 0, k->inserts);
  follow(m->inserts, 1, k->duplicates);
  follow(m->inserts, 2, k->unwanted);
  follow(m->inserts, 3, k->bad);
  follow(m->inserts, 4, c->refused_full);
  follow(m->inserts, 5, c->refused_io);
  follow(m->samples, 0, k->leased);
  for (size_t i = 1; i < REPLAY_CAUSE_N; i++) follow(m->removals, i, k->removals[i]);
  follow(m->removals, CAUSE_AGE, k->purged);
  for (size_t l = 1; l <= REPLAY_MAX_LEVELS; l++) {
    follow(m->ladder, (l - 1) * 2, k->climbs[l]);
    follow(m->ladder, (l - 1) * 2 + 1, k->solved[l]);
  }
  follow(m->formed, 0, k->plain_groups);
  follow(m->formed, 1, k->guided_groups);
  follow(m->reissues, 0, k->reissues_lease);
  follow(m->reissues, 1, k->reissues_restart);
  follow(m->returned, 0, k->returned);
  follow(m->cut, 0, k->last_calls);
  follow(m->doubled, 0, k->double_trained);
}

void replay_metrics_refresh(replay_metrics *m, const replay_core *c, const replay_store_stat *stat) {
  refresh_counts(m, c);
  agrl_metric_set(m->items, 0, (double)stat->traces);
  agrl_metric_set(m->bytes, 0, (double)stat->used_bytes);
  agrl_metric_set(m->map, 0, stat->used_ratio);
  agrl_metric_set(m->readers, 0, stat->readers);
  for (size_t s = REPLAY_OPEN; s <= REPLAY_LEASED; s++) agrl_metric_set(m->groups, s - 1, (double)replay_core_count(c, (replay_state)s));
  agrl_metric_set(m->groups, REPLAY_TRAINED - 1, (double)c->meta.trained);
  agrl_metric_set(m->groups, REPLAY_RETIRED - 1, (double)c->meta.retired);
  replay_flow f = replay_core_flow(c);
  agrl_metric_set(m->ratio, 0, f.ready_total ? (double)f.served_total / (double)f.ready_total : NAN);
  uint64_t formed = c->counts.guided_groups + c->counts.plain_groups;
  agrl_metric_set(m->guided_ratio, 0, formed ? (double)c->counts.guided_groups / (double)formed : NAN);
  agrl_metric_set(m->version, 0, AGRL_VERSION_STEP(c->meta.version));
  size_t seen = 0;
  for (size_t i = 0; i < c->prompts.n; i++) seen += c->prompts.v[i].tries > 0;
  agrl_metric_set(m->prompts, 0, (double)seen);
}

void replay_metrics_commit(replay_metrics *m, double seconds, size_t traces) {
  agrl_metric_observe(m->commit, 0, seconds);
  agrl_metric_observe(m->commit_size, 0, (double)traces);
}

void replay_metrics_blocked(replay_metrics *m, bool sampling, double seconds) { agrl_metric_add(m->blocked, sampling, seconds); }

static uint64_t oldest_token(const agrl_group *g) {
  uint64_t v = UINT64_MAX;
  for (size_t i = 0; i < g->n; i++)
    for (size_t t = 0; t < g->members[i].trace.n_tokens; t++)
      if (g->members[i].trace.versions[t] < v) v = g->members[i].trace.versions[t];
  return v;
}

void replay_metrics_batch(replay_metrics *m, const agrl_msg_batch *b, uint64_t version) {
  for (size_t i = 0; i < b->n_groups; i++) {
    uint64_t v = oldest_token(&b->groups[i]);
    if (v != UINT64_MAX) agrl_metric_observe(m->age, 0, agrl_version_age(version, v));
    agrl_metric_observe(m->accuracy, 0, b->groups[i].plain_accuracy);
    agrl_metric_observe(m->priority, 0, 1 - b->groups[i].plain_accuracy);
  }
}
