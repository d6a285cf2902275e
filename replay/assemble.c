// SPDX-License-Identifier: Apache-2.0
// Adaptive Guided Replay, section 3 of the method. The constants are ours (the paper's public text has none).
#include "replay/assemble.h"

#include <math.h>
#include <string.h>

#define SPREAD_EPSILON 1e-9  // rewards closer than this are equal

static bool success(const replay_result *r) { return r->have && !r->missing && r->accurate && r->gates; }

static uint32_t next_level(uint32_t levels, uint32_t above) {
  for (uint32_t l = above + 1; l <= REPLAY_MAX_LEVELS; l++)
    if (levels >> (l - 1) & 1u) return l;
  return 0;
}

static bool has_spread(const replay_result *results, const uint16_t *members, size_t n) {
  double lo = INFINITY, hi = -INFINITY;
  for (size_t i = 0; i < n; i++) {
    lo = fmin(lo, results[members[i]].reward);
    hi = fmax(hi, results[members[i]].reward);
  }
  return n > 0 && hi - lo > SPREAD_EPSILON;
}

static void retire(replay_decision *d, replay_cause cause) {
  d->action = REPLAY_DO_RETIRE;
  d->cause = cause;
}

static void take_oldest(replay_decision *d, const replay_result *results) {
  d->min_version = UINT64_MAX;
  for (size_t i = 0; i < d->n_chosen; i++) {
    uint64_t v = results[d->chosen[i]].min_version;
    if (v < d->min_version) d->min_version = v;
  }
}

static void choose_plain(replay_decision *d, const replay_group_rec *g) {
  d->n_chosen = g->n_plain;
  for (uint16_t i = 0; i < g->n_plain; i++) d->chosen[i] = i;
}

// The group as it is: ready unless nothing can be learned from it.
static void close_plain(replay_decision *d, const replay_rules *rules, const replay_group_rec *g, const replay_result *results) {
  choose_plain(d, g);
  bool spread = has_spread(results, d->chosen, d->n_chosen);
  bool inside = d->accuracy >= rules->accuracy_low && d->accuracy <= rules->accuracy_high;
  if (spread || rules->keep_zero_spread) d->action = REPLAY_DO_READY;
  else retire(d, inside ? REPLAY_CAUSE_ZERO_SPREAD : REPLAY_CAUSE_WINDOW);
  d->level = 0;
}

// The end of the ladder without a success.
static void close_unsolved(replay_decision *d, const replay_rules *rules, const replay_group_rec *g, const replay_result *results, replay_cause cause) {
  choose_plain(d, g);
  if (has_spread(results, d->chosen, d->n_chosen) || rules->keep_zero_spread) d->action = REPLAY_DO_READY;
  else retire(d, cause);
  d->level = 0;
}

static void close_pair(replay_decision *d, const replay_rules *rules, const replay_group_rec *g, const replay_result *results, bool reference) {
  int right = -1, wrong = -1;
  for (int i = g->n_plain; i-- > 0;) {
    if (success(&results[i])) right = i;
    else wrong = i;
  }
  if (wrong < 0 || (right < 0 && !reference)) {
    choose_plain(d, g);
    if (rules->keep_zero_spread) d->action = REPLAY_DO_READY;  // has its place in a batch; the learner finds no pair in it
    else retire(d, REPLAY_CAUSE_NO_PAIR);
    return;
  }
  if (right >= 0) d->chosen[d->n_chosen++] = (uint16_t)right;
  d->chosen[d->n_chosen++] = (uint16_t)wrong;
  d->action = REPLAY_DO_READY;
}

// Stable insertion sort by reward; n <= REPLAY_MAX_GROUP and mostly tiny. rising or falling, ties by member number.
static void sort_members(uint16_t *m, size_t n, const replay_result *results, bool rising) {
  for (size_t i = 1; i < n; i++) {
    uint16_t x = m[i];
    double r = results[x].reward;
    size_t j = i;
    while (j > 0 && (rising ? results[m[j - 1]].reward > r : results[m[j - 1]].reward < r)) {
      m[j] = m[j - 1];
      j--;
    }
    m[j] = x;
  }
}

// Replaces the lowest-reward failures of the plain group by the level's successes.
static void mix(replay_decision *d, const replay_rules *rules, const replay_group_rec *g, const replay_result *results, uint32_t level,
                const uint16_t *won, size_t n_won) {
  uint16_t failed[REPLAY_MAX_GROUP];
  size_t n_failed = 0;
  for (uint16_t i = 0; i < g->n_plain; i++)
    if (!success(&results[i])) failed[n_failed++] = i;
  sort_members(failed, n_failed, results, true);
  size_t n = rules->replace;
  if (n > n_won) n = n_won;
  if (n > n_failed) n = n_failed;
  if (n > g->n_plain - 1u) n = g->n_plain - 1u;  // never the whole group
  bool out[REPLAY_MAX_GROUP] = {false};
  for (size_t i = 0; i < n; i++) out[failed[i]] = true;
  d->n_chosen = 0;
  for (uint16_t i = 0; i < g->n_plain; i++)
    if (!out[i]) d->chosen[d->n_chosen++] = i;
  for (size_t i = 0; i < n; i++) d->chosen[d->n_chosen++] = won[i];
  d->n_guided = (uint32_t)n;
  d->level = n ? level : 0;
  if (has_spread(results, d->chosen, d->n_chosen) || rules->keep_zero_spread) d->action = REPLAY_DO_READY;
  else retire(d, REPLAY_CAUSE_ZERO_SPREAD);
}

static void close_level(replay_decision *d, const replay_rules *rules, const replay_group_rec *g, const replay_result *results,
                        uint32_t levels, bool last_call) {
  uint32_t level = g->level, first = replay_level_first(g, level), in = 0;
  uint16_t won[REPLAY_MAX_MEMBERS];
  size_t n_won = 0;
  for (uint32_t i = 0; i < g->n_guided; i++) {
    const replay_result *r = &results[first + i];
    in += r->have;
    if (success(r)) won[n_won++] = (uint16_t)(first + i);
  }
  if (in < g->n_guided && !last_call) return;  // wait
  if (n_won) {
    sort_members(won, n_won, results, false);
    mix(d, rules, g, results, level, won, n_won);
    return;
  }
  uint32_t next = last_call ? 0 : next_level(levels, level);
  if (next) {
    d->action = REPLAY_DO_CLIMB;
    d->level = next;
  } else {
    close_unsolved(d, rules, g, results, last_call ? REPLAY_CAUSE_STALE : REPLAY_CAUSE_UNSOLVED);
  }
}

void replay_assemble(const replay_rules *rules, const replay_group_rec *g, const replay_result *results, replay_task_facts facts,
                     uint32_t step, bool last_call, replay_decision *out) {
  memset(out, 0, sizeof *out);
  out->action = REPLAY_DO_WAIT;
  out->accuracy = NAN;
  out->min_version = UINT64_MAX;
  uint32_t in = 0, right = 0;
  bool missing = false;
  for (uint32_t i = 0; i < g->n_plain; i++) {
    const replay_result *r = &results[i];
    if (!r->have) continue;
    in++;
    missing |= r->missing;
    right += r->accurate && !r->missing;
    if (r->min_version < out->min_version) out->min_version = r->min_version;
  }
  if (missing) {
    retire(out, REPLAY_CAUSE_MISSING);
    return;
  }
  if (in < g->n_plain) return;
  out->accuracy = (double)right / g->n_plain;
  if (rules->pairs) {
    close_pair(out, rules, g, results, facts.reference);
  } else if (g->state == REPLAY_CLIMB) {
    close_level(out, rules, g, results, facts.levels, last_call);
  } else {
    uint32_t first = next_level(facts.levels, 0);
    bool climb = rules->guided && step >= rules->warmup && g->n_guided > 0 && first && out->accuracy <= rules->tau;
    if (climb && !last_call) {
      out->action = REPLAY_DO_CLIMB;
      out->level = first;
    } else {
      close_plain(out, rules, g, results);
    }
  }
  if (out->action == REPLAY_DO_READY) take_oldest(out, results);
}
