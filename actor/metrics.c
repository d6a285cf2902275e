// SPDX-License-Identifier: Apache-2.0
// The actor's metrics (names: README, metrics). Counters of the engine are mirrored at each scrape.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "actor/actor.h"
#include "common/base/clock.h"
#include "common/base/mem.h"

static const char *const stops[] = {"eos", "length", "error", NULL};
static const char *const kinds[] = {"prompt", "completion", NULL};
static const char *const received[] = {"received", NULL};
static const char *const states[] = {"joining", "stale", "serving", "suspect", "draining", "dead", NULL};
enum { JOINING, STALE, SERVING, SUSPECT, DRAINING, DEAD };
static const char *const forms[] = {"full", "delta", NULL};  // an anchor is full
static const double repetition_bounds[] = {0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1};
static const double token_bounds[] = {8, 16, 32, 48, 64, 96, 128, 192, 256, 512, 1024};
#define TOKEN_BOUNDS token_bounds, sizeof token_bounds / sizeof *token_bounds

static agrl_metric *rollouts, *tokens, *generation, *completion, *prompt, *rate, *idle, *kv, *version, *lag, *unacked, *resent, *up,
    *actors, *bytes, *verify, *resyncs, *apply, *pause_s, *slot_ratio, *repetition, *prefix_hits;

static agrl_metric *counter(const char *name, const char *help, const char *label, const char *const *values) {
  static agrl_metric_desc pool[16];
  static size_t n;
  pool[n] = (agrl_metric_desc){.name = name, .help = help, .type = AGRL_COUNTER, .label = label, .values = values};
  return agrl_metric_register(&pool[n++]);
}

static agrl_metric *weight_bytes(void) {
  static const agrl_metric_desc d = {.name = "agrl_weights_bytes_total", .help = "Weight bytes received", .type = AGRL_COUNTER,
                                     .label = "kind", .values = forms, .label2 = "dir", .values2 = received};
  return agrl_metric_register(&d);
}

static agrl_metric *gauge(const char *name, const char *help, const char *label, const char *const *values) {
  static agrl_metric_desc pool[16];
  static size_t n;
  pool[n] = (agrl_metric_desc){.name = name, .help = help, .type = AGRL_GAUGE, .label = label, .values = values};
  return agrl_metric_register(&pool[n++]);
}

static agrl_metric *histogram(const char *name, const char *help, const double *bounds, size_t n_bounds) {
  static agrl_metric_desc pool[16];
  static size_t n;
  pool[n] = (agrl_metric_desc){.name = name, .help = help, .type = AGRL_HISTOGRAM, .bounds = bounds, .n_bounds = n_bounds};
  return agrl_metric_register(&pool[n++]);
}

void actor_metrics_register(void) {
  up = gauge("agrl_actor_up", "1 when serving verified weights", NULL, NULL);
  actors = gauge("agrl_actors", "1 for the state this actor is in; what others think of it (suspect, dead) stays 0 here", "state", states);
  rollouts = counter("agrl_actor_rollouts_total", "Finished rollouts by stop cause", "stop", stops);
  tokens = counter("agrl_actor_tokens_total", "Tokens prefilled and generated", "kind", kinds);
  generation = histogram("agrl_actor_generation_seconds", "Time from first to last token of a rollout", agrl_buckets_seconds, agrl_buckets_seconds_n);
  completion = histogram("agrl_actor_completion_tokens", "Completion length", TOKEN_BOUNDS);
  prompt = histogram("agrl_actor_prompt_tokens", "Plain prompt length", TOKEN_BOUNDS);
  repetition = histogram("agrl_actor_repetition_ratio", "Share of 4-grams of a completion that stood in it before", repetition_bounds, sizeof repetition_bounds / sizeof *repetition_bounds);
  rate = gauge("agrl_actor_decode_tokens_per_second", "Completion tokens a second of engine time", NULL, NULL);
  idle = gauge("agrl_actor_idle_ratio", "Share of time the engine had nothing to decode", NULL, NULL);
  slot_ratio = gauge("agrl_actor_slots_used_ratio", "Mean share of decode slots busy in a step", NULL, NULL);
  kv = gauge("agrl_actor_kv_cache_used_ratio", "Share of key/value slots in use", NULL, NULL);
  prefix_hits = gauge("agrl_actor_prefix_cache_hit_ratio", "Members that found their prompt prefilled over all members", NULL, NULL);
  version = gauge("agrl_actor_policy_version", "Step of the weights served", NULL, NULL);
  lag = gauge("agrl_actor_weights_lag_versions", "Announced step less the step served", NULL, NULL);
  unacked = gauge("agrl_actor_unacked_traces", "Traces not yet acknowledged by replay", NULL, NULL);
  resent = counter("agrl_actor_resent_traces_total", "Traces sent again because the acknowledgement was late", NULL, NULL);
  bytes = weight_bytes();
  verify = counter("agrl_weights_verify_failures_total", "Weights refused because size or hash was wrong", NULL, NULL);
  resyncs = counter("agrl_weights_resyncs_total", "Fetches of weights given up and begun anew", "cause", actor_resync_names);
  apply = gauge("agrl_weights_apply_seconds", "Last fetch, from announcement to verified snapshot", NULL, NULL);
  pause_s = histogram("agrl_weights_pause_seconds", "Decode pause of a swap", agrl_buckets_seconds, agrl_buckets_seconds_n);
}

static int compare_grams(const void *a, const void *b) { return memcmp(a, b, 4 * sizeof(int32_t)); }

double actor_repetition_ratio(const int32_t *ids, size_t n) {
  if (n < 4) return NAN;
  size_t grams = n - 3, repeated = 0;
  int32_t(*g)[4] = agrl_xmalloc(grams * sizeof *g);
  for (size_t i = 0; i < grams; i++) memcpy(g[i], ids + i, sizeof *g);
  qsort(g, grams, sizeof *g, compare_grams);
  for (size_t i = 1; i < grams; i++) repeated += compare_grams(g[i - 1], g[i]) == 0;
  free(g);
  return (double)repeated / (double)grams;
}

void actor_metrics_trace(const agrl_msg_trace *t) {
  agrl_metric_add(rollouts, t->stop, 1);
  agrl_metric_observe(generation, 0, t->generation_ms * 1e-3);
  agrl_metric_observe(completion, 0, (double)t->n_tokens);
  agrl_metric_observe(prompt, 0, (double)t->n_prompt);
  double repeated = actor_repetition_ratio(t->tokens, t->n_tokens);
  if (!isnan(repeated)) agrl_metric_observe(repetition, 0, repeated);
}

void actor_metrics_errors(size_t traces) { agrl_metric_add(rollouts, AGRL_STOP_ERROR, (double)traces); }

void actor_metrics_swap(double seconds) { agrl_metric_observe(pause_s, 0, seconds); }

static void raise_to(agrl_metric *m, size_t index, double total) {
  double now = agrl_metric_get(m, index);
  if (total > now) agrl_metric_add(m, index, total - now);
}

void actor_metrics_refresh(agrl_svc *s) {
  actor_state *st = s->state;
  actor_weights_stats w = actor_weights_client_stats(st->weights);
  agrl_metric_set(up, 0, s->ready && !s->draining);
  int64_t behind = (int64_t)AGRL_VERSION_STEP(w.announced_version) - (int64_t)AGRL_VERSION_STEP(st->version);
  int now = s->draining ? DRAINING : !s->ready ? JOINING : behind > s->config.replay.staleness_bound ? STALE : SERVING;
  for (int i = JOINING; i <= DEAD; i++) agrl_metric_set(actors, (size_t)i, i == now);
  agrl_metric_set(unacked, 0, (double)st->unacked.n);
  raise_to(resent, 0, (double)st->resent);
  raise_to(bytes, 0, (double)w.full_bytes);
  raise_to(bytes, 1, (double)w.delta_bytes);
  raise_to(verify, 0, (double)w.verify_failures);
  for (size_t i = 0; i < ACTOR_RESYNC_N; i++) raise_to(resyncs, i, (double)w.resyncs[i]);
  if (!st->runner) return;
  actor_runner_stats r = actor_runner_get_stats(st->runner);
  raise_to(tokens, 0, (double)r.prompt_tokens);
  raise_to(tokens, 1, (double)r.completion_tokens);
  if (r.busy_ns) agrl_metric_set(rate, 0, (double)r.completion_tokens / ((double)r.busy_ns * 1e-9));
  agrl_metric_set(idle, 0, 1.0 - fmin(1.0, (double)r.busy_ns * 1e-9 / agrl_since_s(st->started_ns)));
  if (r.steps) agrl_metric_set(slot_ratio, 0, (double)r.slot_steps / ((double)r.steps * (double)s->config.actor.slots));
  if (r.opened) agrl_metric_set(prefix_hits, 0, (double)r.shared / (double)r.opened);
  agrl_metric_set(kv, 0, r.kv_used_ratio);
  agrl_metric_set(version, 0, AGRL_VERSION_STEP(st->version));
  agrl_metric_set(lag, 0, (double)behind);
  agrl_metric_set(apply, 0, w.last_fetch_seconds);
}
