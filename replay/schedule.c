// SPDX-License-Identifier: Apache-2.0
// Granting tasks, leases of members, actors that come back.
#include "replay/schedule.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/wire/limits.h"
#include "common/wire/version.h"

#define RETRY_MS 25        // nothing now: pacing or the wait for results
#define RETRY_DONE_MS 1000
#define ATTEMPT_BITS 12     // below: reissues since start; above: restarts
#define NEW_GROUPS_MAX 256 // begun in one transaction

bool replay_schedule_done(const replay_core *c) {
  return AGRL_VERSION_STEP(c->meta.version) >= (uint64_t)agrl_config_versions(c->conf);
}

// Members of the level under way: [*lo, *hi).
static void level_range(const replay_group *g, uint32_t *lo, uint32_t *hi) {
  *lo = g->rec.state == REPLAY_CLIMB ? replay_level_first(&g->rec, g->rec.level) : 0;
  *hi = *lo + (g->rec.state == REPLAY_CLIMB ? g->rec.n_guided : g->rec.n_plain);
}

static void want_again(replay_member *m) {
  m->state = REPLAY_MEMBER_WANTED;
  m->reissues++;
}

size_t replay_schedule_expire(replay_core *c, uint64_t now_ns) {
  size_t n = 0;
  for (size_t i = 0; i < c->n_groups; i++) {
    replay_group *g = c->groups[i];
    size_t before = n;
    for (size_t k = 0; k < g->n_members; k++)
      if (g->members[k].state == REPLAY_MEMBER_OUT && g->members[k].lease_end_ns <= now_ns) {
        want_again(&g->members[k]);
        n++;
      }
    c->counts.reissues_lease += n > before;
  }
  return n;
}

// Actors

static void free_leases(replay_core *c, uint32_t actor) {
  for (size_t i = 0; i < c->n_groups; i++) {
    replay_group *g = c->groups[i];
    bool again = false;
    for (size_t k = 0; k < g->n_members; k++)
      if (g->members[k].state == REPLAY_MEMBER_OUT && g->members[k].actor == actor) {
        want_again(&g->members[k]);
        again = true;
      }
    c->counts.reissues_restart += again;
  }
}

static uint32_t actor_of(replay_core *c, const replay_ask *ask) {
  uint32_t i = 0;
  while (i < c->n_actors && strcmp(c->actors[i].name, ask->actor) != 0) i++;
  if (i == c->n_actors) {
    if (c->n_actors == c->cap_actors) {
      c->cap_actors = c->cap_actors ? 2 * c->cap_actors : 16;
      c->actors = agrl_xreallocarray(c->actors, c->cap_actors, sizeof *c->actors);
    }
    c->actors[c->n_actors] = (replay_actor){0};
    snprintf(c->actors[c->n_actors++].name, sizeof c->actors->name, "%s", ask->actor);
  }
  replay_actor *a = &c->actors[i];
  size_t len = ask->peer_len < sizeof a->peer ? ask->peer_len : sizeof a->peer;
  if (a->peer_len && (a->peer_len != len || memcmp(a->peer, ask->peer, len) != 0)) free_leases(c, i);
  a->peer_len = (uint8_t)len;
  if (len) memcpy(a->peer, ask->peer, len);
  return i;
}

// New groups

typedef struct begin_args {
  const replay_ask *ask;
  uint64_t n;
} begin_args;

static void mark_busy(replay_core *c) {
  memset(c->prompts.busy, 0, c->prompts.n);
  for (size_t i = 0; i < c->n_groups; i++)
    if (c->groups[i]->prompt != REPLAY_NO_PROMPT) c->prompts.busy[c->groups[i]->prompt] = 1;
}

static agrl_rc begin_groups(replay_core *c, void *user, agrl_error *err) {
  const begin_args *a = user;
  (void)err;
  mark_busy(c);
  for (uint64_t i = 0; i < a->n; i++) {
    replay_group_rec rec = {.id = c->meta.next_group++,
                            .state = REPLAY_OPEN,
                            .n_plain = (uint16_t)c->conf->grpo.group_size,
                            .n_guided = replay_core_guided_per_level(c->conf),
                            .created_ms = a->ask->wall_ms,
                            .created_version = a->ask->version,
                            .min_version = a->ask->version,
                            .accuracy = NAN};
    replay_pick how = {.selector = c->conf->replay.selector,
                       .half_life = c->conf->replay.freshness_half_life,
                       .version = c->meta.version,
                       .group = rec.id,
                       .busy = c->prompts.busy};
    uint32_t p = replay_prompts_pick(&c->prompts, &how, &c->meta.epoch, &c->meta.cursor);
    strncpy(rec.prompt_id, c->prompts.v[p].row->id, REPLAY_MAX_PROMPT_ID);
    c->prompts.busy[p] = 1;
    replay_core_add(c, &rec, false);
  }
  return AGRL_OK;
}

// Tasks

// Grows with every time a member is given out, also across restarts: 1, 2, .., then from 4097 on after a restart.
static uint32_t attempt_of(const replay_group *g, uint32_t member) {
  return (g->rec.restarts << ATTEMPT_BITS) + 1 + g->members[member].reissues;
}

static size_t wanted(const replay_core *c) {
  size_t n = 0;
  for (size_t i = 0; i < c->n_groups; i++) {
    const replay_group *g = c->groups[i];
    if (!g->members) continue;
    uint32_t lo, hi;
    level_range(g, &lo, &hi);
    for (uint32_t m = lo; m < hi; m++) n += g->members[m].state == REPLAY_MEMBER_WANTED;
  }
  return n;
}

static void fill_task(replay_core *c, const replay_group *g, uint32_t first, uint32_t n, agrl_arena *arena, agrl_task *t) {
  const replay_prompt *p = &c->prompts.v[g->prompt];
  uint32_t level = g->rec.state == REPLAY_CLIMB ? g->rec.level : 0;
  agrl_buf text = {0};
  agrl_task_text_prompt(c->prompts.text, p->row, 0, &text);
  *t = (agrl_task){.run = c->run,
                   .group = g->rec.id,
                   .attempt = attempt_of(g, first),
                   .first_member = first,
                   .n_members = n,
                   .level = level,
                   .prompt_id = agrl_arena_strdup(arena, p->row->id),
                   .prompt = agrl_arena_strndup(arena, text.data ? text.data : "", text.len),
                   .guided = "",
                   .gold = {.tier = (uint32_t)p->row->gold.tier,
                            .category = p->row->gold.category ? agrl_arena_strdup(arena, p->row->gold.category) : "",
                            .attribute = p->row->gold.attribute ? agrl_arena_strdup(arena, p->row->gold.attribute) : ""},
                   .max_new_tokens = (uint32_t)c->conf->actor.max_new_tokens,
                   .lease_ms = c->conf->replay.task_lease_ns / 1000000u};
  if (level) {
    agrl_buf_clear(&text);
    agrl_task_text_prompt(c->prompts.text, p->row, level, &text);
    t->guided = agrl_arena_strndup(arena, text.data ? text.data : "", text.len);
  }
  agrl_buf_release(&text);
}

static size_t task_bytes(const agrl_task *t) {
  return 256 + strlen(t->prompt_id) + strlen(t->prompt) + strlen(t->guided) + strlen(t->gold.category) + strlen(t->gold.attribute);
}

typedef struct granting {  // what is left of an ask
  uint32_t actor, want;
  uint64_t now_ns;
  agrl_arena *arena;
  agrl_task *tasks;
  size_t n, cap, bytes;
  bool full;  // the message is as large as it may be
} granting;

static bool take_task(replay_core *c, granting *a, const replay_group *g, uint32_t first, uint32_t n) {
  fill_task(c, g, first, n, a->arena, &a->tasks[a->n]);
  size_t bytes = task_bytes(&a->tasks[a->n]);
  a->full = a->n > 0 && a->bytes + bytes > REPLAY_GRANT_BYTES_MAX;
  if (a->full) return false;
  a->bytes += bytes;
  a->n++;
  return true;
}

// One task per run of wanted members with equal attempt, until want is used up.
static void grant_group(replay_core *c, replay_group *g, granting *a) {
  uint32_t lo, hi;
  level_range(g, &lo, &hi);
  for (uint32_t m = lo; m < hi && a->want > 0 && a->n < a->cap;) {
    if (g->members[m].state != REPLAY_MEMBER_WANTED) {
      m++;
      continue;
    }
    uint32_t n = 0;
    while (m + n < hi && n < a->want && g->members[m + n].state == REPLAY_MEMBER_WANTED &&
           g->members[m + n].reissues == g->members[m].reissues)
      n++;
    if (!take_task(c, a, g, m, n)) return;
    for (uint32_t i = 0; i < n; i++) {
      replay_member *k = &g->members[m + i];
      k->state = REPLAY_MEMBER_OUT;
      k->actor = a->actor;
      k->lease_end_ns = a->now_ns + c->conf->replay.task_lease_ns;
    }
    a->want -= n;
    m += n;
  }
}

void replay_schedule_undo(replay_core *c, const agrl_msg_task_grant *grant) {
  for (size_t i = 0; i < grant->n_tasks; i++) {
    const agrl_task *t = &grant->tasks[i];
    replay_group *g = replay_core_find(c, t->group);
    if (!g) continue;
    for (uint32_t m = t->first_member; m < t->first_member + t->n_members && m < g->n_members; m++)
      if (g->members[m].state == REPLAY_MEMBER_OUT) want_again(&g->members[m]);
  }
}

agrl_rc replay_schedule_grant(replay_core *c, const replay_ask *ask, agrl_arena *arena, agrl_msg_task_grant *out, agrl_error *err) {
  *out = (agrl_msg_task_grant){.retry_ms = RETRY_MS};
  uint32_t actor = actor_of(c, ask);
  replay_limits limits = replay_core_limits(c);
  uint32_t lag = agrl_version_age(c->meta.version, ask->version);
  if (replay_schedule_done(c)) {
    out->done = true;
    out->retry_ms = RETRY_DONE_MS;
    return AGRL_OK;
  }
  if (lag > limits.bound || ask->want == 0) return AGRL_OK;  // what it would generate now could not be trained
  replay_schedule_expire(c, ask->now_ns);
  size_t have = wanted(c), per_group = (size_t)c->conf->grpo.group_size;
  if (have < ask->want && !replay_store_pressed(c->store)) {
    replay_flow flow = replay_core_flow(c);
    begin_args a = {ask, replay_limit_room(&limits, &flow, lag)};
    uint64_t need = (ask->want - have + per_group - 1) / per_group;
    if (a.n > need) a.n = need;
    if (a.n > NEW_GROUPS_MAX) a.n = NEW_GROUPS_MAX;
    agrl_rc rc = a.n ? replay_core_write(c, begin_groups, &a, err) : AGRL_OK;
    if (rc && rc != AGRL_EFULL) return rc;  // a full map stops new groups, not those under way
  }
  size_t cap = ask->want < AGRL_LIMIT_TASKS ? ask->want : AGRL_LIMIT_TASKS;
  granting a = {.actor = actor, .want = ask->want, .now_ns = ask->now_ns, .arena = arena, .cap = cap};
  a.tasks = agrl_arena_alloc(arena, cap * sizeof *a.tasks);
  for (size_t i = 0; i < c->n_groups && a.want > 0 && a.n < a.cap && !a.full; i++)
    if (c->groups[i]->members) grant_group(c, c->groups[i], &a);
  out->tasks = a.tasks;
  out->n_tasks = a.n;
  if (out->n_tasks) out->retry_ms = 0;
  return AGRL_OK;
}
