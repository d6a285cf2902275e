// SPDX-License-Identifier: Apache-2.0
// Live groups and the write-through transaction.
#include "replay/core.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bug.h"
#include "common/base/mem.h"
#include "common/wire/version.h"

// Policy from the configuration

uint16_t replay_core_guided_per_level(const agrl_config *conf) {
  int64_t k = conf->replay.guide_rollouts ? conf->replay.guide_rollouts : conf->grpo.group_size / 2;
  return (uint16_t)(k < 1 ? 1 : k > (int64_t)REPLAY_MAX_GROUP ? (int64_t)REPLAY_MAX_GROUP : k);
}

replay_rules replay_core_rules(const replay_core *c) {
  const agrl_config *f = c->conf;
  int64_t k = f->replay.guide_replace ? f->replay.guide_replace : f->grpo.group_size / 4;
  return (replay_rules){.guided = f->replay.guided,
                        .tau = f->replay.tau,
                        .warmup = (uint32_t)f->replay.guide_warmup,
                        .replace = (uint32_t)(k < 1 ? 1 : k),
                        .accuracy_low = f->replay.accuracy_low,
                        .accuracy_high = f->replay.accuracy_high,
                        .keep_zero_spread = f->grpo.zero_spread == AGRL_ZERO_KEEP,
                        .pairs = f->run.method == AGRL_METHOD_DPO};
}

replay_limits replay_core_limits(const replay_core *c) {
  return (replay_limits){.per_step = (uint64_t)c->conf->grpo.groups_per_step,
                         .bound = (uint64_t)c->conf->replay.staleness_bound,
                         .samples_per_insert = c->conf->replay.samples_per_insert,
                         .min_groups = (uint64_t)c->conf->replay.min_groups};
}

replay_flow replay_core_flow(const replay_core *c) {
  replay_flow f = {.ready_total = c->meta.ready, .served_total = c->meta.trained};
  for (size_t i = 0; i < c->n_groups; i++) {
    uint8_t s = c->groups[i]->rec.state;
    f.in_progress += s == REPLAY_OPEN || s == REPLAY_CLIMB;
    f.ready += s == REPLAY_READY;
    f.leased += s == REPLAY_LEASED;
  }
  f.served_total += f.leased;
  return f;
}

size_t replay_core_count(const replay_core *c, replay_state state) {
  size_t n = 0;
  for (size_t i = 0; i < c->n_groups; i++) n += c->groups[i]->rec.state == state;
  return n;
}

uint64_t replay_core_oldest(const replay_group *g) {
  if (g->rec.state >= REPLAY_READY) return g->rec.min_version;
  uint64_t v = UINT64_MAX;
  for (uint32_t i = 0; i < g->rec.n_plain; i++)
    if (g->results[i].have && g->results[i].min_version < v) v = g->results[i].min_version;
  return v;
}

// Live groups

static size_t lower_bound(const replay_core *c, uint64_t id) {
  size_t lo = 0, hi = c->n_groups;
  while (lo < hi) {
    size_t mid = lo + (hi - lo) / 2;
    if (c->groups[mid]->rec.id < id) lo = mid + 1;
    else hi = mid;
  }
  return lo;
}

replay_group *replay_core_find(const replay_core *c, uint64_t id) {
  size_t at = lower_bound(c, id);
  return at < c->n_groups && c->groups[at]->rec.id == id ? c->groups[at] : NULL;
}

static void drop_members(replay_group *g) {
  free(g->members);
  free(g->results);
  g->members = NULL;
  g->results = NULL;
  g->n_members = 0;
}

static void group_free(replay_group *g) {
  drop_members(g);
  free(g);
}

replay_group *replay_core_add(replay_core *c, const replay_group_rec *rec, bool known) {
  size_t at = lower_bound(c, rec->id);
  AGRL_ASSERT(at == c->n_groups || c->groups[at]->rec.id != rec->id);
  replay_group *g = agrl_xcalloc(1, sizeof *g);
  g->rec = g->before = *rec;
  g->touched = g->fresh = true;
  g->known = known;
  g->prompt = replay_prompts_find(&c->prompts, rec->prompt_id);
  if (rec->state < REPLAY_READY) {
    g->n_members = rec->n_plain + (size_t)REPLAY_MAX_LEVELS * rec->n_guided;
    g->members = agrl_xcalloc(g->n_members, sizeof *g->members);
    g->results = agrl_xcalloc(g->n_members, sizeof *g->results);
  }
  if (c->n_groups == c->cap_groups) {
    c->cap_groups = c->cap_groups ? 2 * c->cap_groups : 64;
    c->groups = agrl_xreallocarray(c->groups, c->cap_groups, sizeof *c->groups);
  }
  memmove(c->groups + at + 1, c->groups + at, (c->n_groups - at) * sizeof *c->groups);
  c->groups[at] = g;
  c->n_groups++;
  return g;
}

// Changes

void replay_core_touch(replay_core *c, replay_group *g) {
  (void)c;
  if (g->touched) return;
  g->before = g->rec;
  g->touched = true;
}

replay_prompt *replay_core_touch_prompt(replay_core *c, uint32_t i) {
  for (size_t t = 0; t < c->n_touched; t++)
    if (c->touched_prompts[t] == i) return &c->prompts.v[i];
  if (c->n_touched == c->cap_touched) {
    c->cap_touched = c->cap_touched ? 2 * c->cap_touched : 16;
    c->touched_prompts = agrl_xreallocarray(c->touched_prompts, c->cap_touched, sizeof *c->touched_prompts);
    c->prompts_before = agrl_xreallocarray(c->prompts_before, c->cap_touched, sizeof *c->prompts_before);
  }
  c->touched_prompts[c->n_touched] = i;
  c->prompts_before[c->n_touched++] = c->prompts.v[i];
  return &c->prompts.v[i];
}

void replay_core_retire(replay_core *c, replay_group *g, replay_cause cause) {
  replay_core_touch(c, g);
  if (g->rec.state < REPLAY_READY && g->prompt != REPLAY_NO_PROMPT && cause != REPLAY_CAUSE_STALE) {
    replay_prompt *p = replay_core_touch_prompt(c, g->prompt);
    if (p->fruitless < UINT32_MAX) p->fruitless++;
  }
  g->rec.state = REPLAY_RETIRED;
  g->rec.cause = (uint8_t)cause;
  c->meta.retired++;
  c->counts.removals[cause]++;
}

static void make_ready(replay_core *c, replay_group *g, const replay_decision *d) {
  if (g->prompt != REPLAY_NO_PROMPT) {
    replay_prompt *p = replay_core_touch_prompt(c, g->prompt);
    p->fruitless = 0;
    p->guided += d->n_guided > 0;
  }
  g->rec.state = REPLAY_READY;
  g->rec.level = (uint8_t)d->level;
  g->rec.n_chosen = d->n_chosen;
  memcpy(g->rec.chosen, d->chosen, d->n_chosen * sizeof *d->chosen);
  c->meta.ready++;
  c->counts.ready++;
  if (d->n_guided) c->counts.guided_groups++;
  else c->counts.plain_groups++;
}

bool replay_core_decide(replay_core *c, replay_group *g, bool last_call) {
  AGRL_ASSERT(g->rec.state < REPLAY_READY);
  replay_rules rules = replay_core_rules(c);
  replay_decision d;
  replay_task_facts facts = {0};
  if (g->prompt != REPLAY_NO_PROMPT) {
    facts.levels = replay_prompts_levels(&c->prompts, g->prompt);
    facts.reference = rules.pairs && replay_prompts_reference(&c->prompts, g->prompt);
  }
  bool climbing = g->rec.state == REPLAY_CLIMB;
  uint32_t level = g->rec.level;
  replay_assemble(&rules, &g->rec, g->results, facts, AGRL_VERSION_STEP(c->meta.version), last_call, &d);
  replay_core_touch(c, g);
  if (isnan(g->rec.accuracy) && !isnan(d.accuracy)) {
    g->rec.accuracy = d.accuracy;
    if (g->prompt != REPLAY_NO_PROMPT) replay_prompts_observe(replay_core_touch_prompt(c, g->prompt), d.accuracy, c->meta.version);
  }
  if (d.min_version != UINT64_MAX) g->rec.min_version = d.min_version;
  if (d.action == REPLAY_DO_WAIT) return false;
  if (climbing && d.action != REPLAY_DO_RETIRE && d.n_guided) c->counts.solved[level]++;
  if (climbing && last_call) c->counts.last_calls++;
  if (d.action == REPLAY_DO_CLIMB) {
    g->rec.state = REPLAY_CLIMB;
    g->rec.level = (uint8_t)d.level;
    c->counts.climbs[d.level]++;
  } else if (d.action == REPLAY_DO_READY) {
    make_ready(c, g, &d);
  } else {
    replay_core_retire(c, g, d.cause);
  }
  return true;
}

// Transaction

static agrl_rc put_touched(replay_core *c, agrl_error *err) {
  agrl_rc rc = AGRL_OK;
  for (size_t i = 0; !rc && i < c->n_groups; i++)
    if (c->groups[i]->touched) rc = replay_store_put_group(c->store, &c->groups[i]->rec, err);
  for (size_t i = 0; !rc && i < c->n_touched; i++) {
    const replay_prompt *p = &c->prompts.v[c->touched_prompts[i]];
    replay_prompt_rec rec;
    replay_prompts_record(p, &rec);
    rc = replay_store_put_prompt(c->store, p->key, &rec, err);
  }
  return rc ? rc : replay_store_put_meta(c->store, &c->meta, err);
}

static void rollback(replay_core *c) {
  size_t kept = 0;
  for (size_t i = 0; i < c->n_groups; i++) {
    replay_group *g = c->groups[i];
    if (g->fresh) {
      group_free(g);
      continue;
    }
    if (g->touched) g->rec = g->before;
    g->touched = false;
    c->groups[kept++] = g;
  }
  c->n_groups = kept;
  while (c->n_touched > 0) {
    c->n_touched--;
    c->prompts.v[c->touched_prompts[c->n_touched]] = c->prompts_before[c->n_touched];
  }
  c->meta = c->meta_before;
  c->counts = c->counts_before;
}

static void settle(replay_core *c) {
  size_t kept = 0;
  for (size_t i = 0; i < c->n_groups; i++) {
    replay_group *g = c->groups[i];
    if (!g->known) c->stored_groups++;
    g->known = true;
    bool became_ready = g->touched && g->rec.state == REPLAY_READY && g->members;
    if (g->rec.state >= REPLAY_READY) drop_members(g);
    if (became_ready && c->on_ready) c->on_ready(c->user, g);
    g->touched = g->fresh = false;
    if (g->rec.state >= REPLAY_TRAINED) group_free(g);
    else c->groups[kept++] = g;
  }
  c->n_groups = kept;
  c->n_touched = 0;
}

agrl_rc replay_core_write(replay_core *c, replay_body_fn body, void *user, agrl_error *err) {
  for (;;) {
    c->meta_before = c->meta;
    c->counts_before = c->counts;
    agrl_rc rc = replay_store_begin(c->store, err);
    if (!rc) rc = body(c, user, err);
    if (!rc) rc = put_touched(c, err);
    if (!rc) rc = replay_store_commit(c->store, err);
    if (!rc) {
      settle(c);
      return AGRL_OK;
    }
    replay_store_abort(c->store);
    rollback(c);
    if (rc == AGRL_EFULL && replay_store_grow(c->store, err) == AGRL_OK) continue;
    if (rc == AGRL_EFULL) c->refused_full++;
    if (rc == AGRL_EIO) c->refused_io++;
    return rc;
  }
}

void replay_core_close(replay_core *c) {
  for (size_t i = 0; i < c->n_groups; i++) group_free(c->groups[i]);
  free(c->groups);
  free(c->touched_prompts);
  free(c->prompts_before);
  free(c->actors);
  replay_prompts_release(&c->prompts);
  replay_store_close(c->store);
  *c = (replay_core){0};
}
