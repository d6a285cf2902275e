// SPDX-License-Identifier: Apache-2.0
// The scheduler: leases, reissue, pacing, selectors; then random histories (lost tasks, restarts of actors and of replay,
// duplicates) held against a simple model that always tells the truth.
#include "common/base/rng.h"
#include "tests/lib/replay_kit.h"

// Single steps

static void tasks_carry_what_an_actor_needs(void **state) {
  (void)state;
  agrl_msg_task_grant g = kit_ask(&kit, "a", "x", 6, 0);
  assert_int_equal(g.n_tasks, 2);
  assert_int_equal(g.retry_ms, 0);
  assert_false(g.done);
  const agrl_task *t = &g.tasks[0];
  assert_int_equal(t->run, KIT_RUN);
  assert_int_equal(t->group, 1);
  assert_int_equal(t->first_member, 0);
  assert_int_equal(t->n_members, 4);
  assert_int_equal(t->level, 0);
  assert_int_equal(t->gold.tier, 3);
  assert_string_equal(t->gold.category, "match");
  assert_string_equal(t->guided, "");
  assert_memory_equal(t->prompt, "q q", 3);
  assert_int_equal(t->lease_ms, kit.conf.replay.task_lease_ns / 1000000);
  assert_int_equal(g.tasks[1].group, 2);
  assert_int_equal(g.tasks[1].n_members, 2);  // the rest of the group goes to whoever asks next
  assert_string_not_equal(g.tasks[0].prompt_id, g.tasks[1].prompt_id);
  g = kit_ask(&kit, "b", "y", 2, 0);
  assert_int_equal(g.n_tasks, 1);
  assert_int_equal(g.tasks[0].group, 2);
  assert_int_equal(g.tasks[0].first_member, 2);
}

static void an_undone_grant_is_given_out_again(void **state) {
  (void)state;
  agrl_msg_task_grant g = kit_ask(&kit, "a", "x", 6, 0);
  assert_int_equal(g.n_tasks, 2);
  replay_schedule_undo(&kit.core, &g);
  agrl_msg_task_grant again = kit_ask(&kit, "b", "y", 6, 0);
  assert_int_equal(again.n_tasks, 2);  // the same members to whoever asks first
  for (size_t i = 0; i < 2; i++) {
    assert_int_equal(again.tasks[i].group, g.tasks[i].group);
    assert_int_equal(again.tasks[i].first_member, 0);
    assert_int_equal(again.tasks[i].n_members, g.tasks[i].n_members);
    assert_true(again.tasks[i].attempt > g.tasks[i].attempt);
  }
}

// Long prompts: a grant stays well below what a message may hold, and what was left out is granted next.
static void grants_are_bounded_in_bytes(void **state) {
  (void)state;
  enum { PROMPT = 900000 };
  static char rules[PROMPT + 64];
  kit_close(&kit);
  size_t n = (size_t)snprintf(rules, sizeof rules, "prompt: \"");
  memset(rules + n, 'x', PROMPT);
  strcpy(rules + n + PROMPT, " {query}\"\n");
  kit_write_text(kit.dir, "rules.yaml", rules);
  agrl_task_text_free(kit.text);
  char *path = agrl_path_join(kit.dir, "rules.yaml");
  KIT_OK(agrl_task_text_load(path, &kit.text, err));
  free(path);
  kit.conf.replay.staleness_bound = 20;
  kit_open(&kit);
  agrl_msg_task_grant g = kit_ask(&kit, "a", "x", 80, 0);
  assert_int_equal(g.n_tasks, REPLAY_GRANT_BYTES_MAX / PROMPT);
  agrl_buf b = {0};
  agrl_msg m = {.kind = AGRL_MSG_TASK_GRANT, .task_grant = g};
  KIT_OK(agrl_msg_pack(&m, &b, err));
  agrl_buf_release(&b);
  uint64_t last = g.tasks[g.n_tasks - 1].group;
  g = kit_ask(&kit, "a", "x", 80, 0);
  assert_int_equal(g.tasks[0].group, last + 1);
}

static void expired_leases_are_given_out_again(void **state) {
  (void)state;
  agrl_msg_task_grant g = kit_ask(&kit, "a", "x", 4, 0);
  uint32_t attempt = g.tasks[0].attempt;
  kit.now_ns += kit.conf.replay.task_lease_ns - 1;
  assert_int_equal(replay_schedule_expire(&kit.core, kit.now_ns), 0);
  agrl_task half = g.tasks[0];
  half.n_members = 2;
  kit_deliver(&kit, &half, 1, 0);
  kit.now_ns += 1;
  g = kit_ask(&kit, "b", "y", 4, 0);
  assert_int_equal(g.tasks[0].group, 1);
  assert_int_equal(g.tasks[0].first_member, 2);
  assert_int_equal(g.tasks[0].n_members, 2);
  assert_int_equal(g.tasks[0].attempt, attempt + 1);
}

static void a_restarted_actor_frees_its_leases(void **state) {
  (void)state;
  kit_ask(&kit, "a", "x", 4, 0);
  agrl_msg_task_grant g = kit_ask(&kit, "b", "y", 4, 0);
  assert_int_equal(g.tasks[0].group, 2);
  g = kit_ask(&kit, "a", "x2", 8, 0);
  assert_int_equal(g.tasks[0].group, 1);  // its own, at once, but not b's
  assert_int_equal(g.tasks[0].attempt, 2);
  assert_int_equal(g.tasks[1].group, 3);
}

static void ladder_tasks_come_first_and_show_guidance(void **state) {
  (void)state;
  agrl_msg_task_grant g = kit_ask(&kit, "a", "x", 4, 0);
  kit_deliver(&kit, &g.tasks[0], 0, 0);
  assert_int_equal(replay_core_find(&kit.core, 1)->rec.state, REPLAY_CLIMB);
  g = kit_ask(&kit, "a", "x", 6, 0);
  assert_int_equal(g.tasks[0].group, 1);
  assert_int_equal(g.tasks[0].level, 1);
  assert_int_equal(g.tasks[0].first_member, 4);
  assert_int_equal(g.tasks[0].n_members, 2);
  assert_string_equal(g.tasks[0].guided + strlen(g.tasks[0].prompt), " must none");
  assert_int_equal(g.tasks[1].group, 2);
  kit_deliver(&kit, &g.tasks[0], 0, 0);
  g = kit_ask(&kit, "a", "x", 2, 0);
  assert_int_equal(g.tasks[0].level, 2);
  kit_deliver(&kit, &g.tasks[0], 1, 0);
  const replay_group *r = replay_core_find(&kit.core, 1);
  assert_int_equal(r->rec.state, REPLAY_READY);
  assert_int_equal(r->rec.level, 2);
  assert_int_equal(r->rec.chosen[3], 6);  // a guided member of level 2: 4 + 2 * 1 + 0
  const replay_prompt *p = &kit.core.prompts.v[r->prompt];
  assert_int_equal(p->tries, 1);
  assert_int_equal(p->guided, 1);
}

static void guided_level_survives_a_restart(void **state) {
  (void)state;
  agrl_msg_task_grant g = kit_ask(&kit, "a", "x", 4, 0);
  kit_deliver(&kit, &g.tasks[0], 0, 0);
  g = kit_ask(&kit, "a", "x", 2, 0);
  agrl_task one = g.tasks[0];
  one.n_members = 1;
  kit_deliver(&kit, &one, 0, 0);
  kit_restart(&kit);
  g = kit_ask(&kit, "a", "x", 2, 0);
  assert_int_equal(g.tasks[0].level, 1);
  assert_int_equal(g.tasks[0].first_member, 5);  // member 4 is in
  assert_int_equal(g.tasks[0].n_members, 1);
  assert_true(g.tasks[0].attempt > 1);
}

static void pacing_bounds_what_is_unfinished(void **state) {
  (void)state;
  agrl_msg_task_grant g = kit_ask(&kit, "a", "x", 1000, 0);
  assert_int_equal(g.n_tasks, 4);  // 2 a step * (bound 1 + 1)
  g = kit_ask(&kit, "b", "y", 1000, 0);
  assert_int_equal(g.n_tasks, 0);
  assert_true(g.retry_ms > 0);
}

static void lagging_actors_get_what_can_still_be_trained(void **state) {
  (void)state;
  KIT_OK(replay_serve_arrive(&kit.core, 5, err));
  assert_int_equal(kit_ask(&kit, "a", "x", 1000, 3).n_tasks, 0);  // two behind, bound 1
  assert_int_equal(kit_ask(&kit, "a", "x", 1000, 4).n_tasks, 2);  // one behind: one version's worth
  assert_int_equal(kit_ask(&kit, "b", "y", 1000, 5).n_tasks, 2);
}

static void the_last_version_ends_the_job(void **state) {
  (void)state;
  kit.conf.grpo.versions = 7;
  KIT_OK(replay_serve_arrive(&kit.core, AGRL_VERSION(3, 6), err));
  assert_false(kit_ask(&kit, "a", "x", 4, AGRL_VERSION(3, 6)).done);
  KIT_OK(replay_serve_arrive(&kit.core, AGRL_VERSION(3, 7), err));
  agrl_msg_task_grant g = kit_ask(&kit, "a", "x", 4, AGRL_VERSION(3, 7));
  assert_true(g.done);
  assert_int_equal(g.n_tasks, 0);
}

static void missing_reward_retires_the_group(void **state) {
  (void)state;
  agrl_msg_task_grant g = kit_ask(&kit, "a", "x", 4, 0);
  agrl_msg_scored s = kit_scored(1, 2, 0, g.tasks[0].prompt_id, 0, NAN, false);
  assert_int_equal(replay_ingest_offer(&kit.ingest, &s, NULL, 0), REPLAY_INGEST_QUEUED);
  agrl_msg_scored later = kit_scored(1, 3, 0, g.tasks[0].prompt_id, 0, 1, true);  // in the same commit, after the end
  assert_int_equal(replay_ingest_offer(&kit.ingest, &later, NULL, 0), REPLAY_INGEST_QUEUED);
  KIT_OK(replay_ingest_commit(&kit.ingest, kit_tell, &kit, err));
  assert_int_equal(kit.acks[AGRL_ACK_COMMITTED], 1);
  assert_int_equal(kit.acks[AGRL_ACK_UNWANTED], 1);
  assert_null(replay_core_find(&kit.core, 1));
  replay_group_rec rec;
  KIT_OK(replay_store_get_group(kit.core.store, 1, &rec, err));
  assert_int_equal(rec.state, REPLAY_RETIRED);
  assert_int_equal(rec.cause, REPLAY_CAUSE_MISSING);
  assert_int_equal(kit.core.counts.removals[REPLAY_CAUSE_MISSING], 1);
  later = kit_scored(1, 1, 0, g.tasks[0].prompt_id, 0, 1, true);
  assert_int_equal(replay_ingest_offer(&kit.ingest, &later, NULL, 0), REPLAY_INGEST_UNWANTED);
  assert_int_equal(replay_ingest_offer(&kit.ingest, &s, NULL, 0), REPLAY_INGEST_DUPLICATE);
  const replay_prompt *p = &kit.core.prompts.v[replay_prompts_find(&kit.core.prompts, g.tasks[0].prompt_id)];
  assert_int_equal(p->tries, 0);  // no accuracy made of a missing reward
  assert_int_equal(p->fruitless, 1);
}

static void contradictory_traces_are_refused(void **state) {
  (void)state;
  agrl_msg_task_grant g = kit_ask(&kit, "a", "x", 4, 0);
  const char *id = g.tasks[0].prompt_id;
  const agrl_msg_scored wrong[] = {
      kit_scored(1, 0, 1, id, 0, 1, true),         kit_scored(1, 4, 0, id, 0, 1, true), kit_scored(1, 1u << 20, 1, id, 0, 1, true),
      kit_scored(1, 0, 0, "another", 0, 1, true),  kit_scored(99, 0, 0, id, 0, 1, true), kit_scored(0, 0, 0, id, 0, 1, true),
  };
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
    assert_int_equal(replay_ingest_offer(&kit.ingest, &wrong[i], NULL, 0), REPLAY_INGEST_UNWANTED);
  agrl_msg_scored run = kit_scored(1, 0, 0, id, 0, 1, true);
  run.trace.id.run++;
  assert_int_equal(replay_ingest_offer(&kit.ingest, &run, NULL, 0), REPLAY_INGEST_UNWANTED);
  assert_int_equal(kit.core.counts.bad, 4);
  agrl_msg_scored nan = kit_scored(1, 0, 0, id, 0, 1, true);
  nan.reward = NAN;  // claims to have a reward: it has none
  assert_true(replay_result_of(&nan).missing);
}

static void duplicates_in_one_commit_are_told_after_it(void **state) {
  (void)state;
  agrl_msg_task_grant g = kit_ask(&kit, "a", "x", 4, 0);
  agrl_msg_scored s = kit_scored(1, 0, 0, g.tasks[0].prompt_id, 0, 1, true);
  for (int i = 0; i < 2; i++) assert_int_equal(replay_ingest_offer(&kit.ingest, &s, NULL, 0), REPLAY_INGEST_QUEUED);
  assert_int_equal(kit.acks[AGRL_ACK_DUPLICATE], 0);
  KIT_OK(replay_ingest_commit(&kit.ingest, kit_tell, &kit, err));
  assert_int_equal(kit.acks[AGRL_ACK_COMMITTED], 1);
  assert_int_equal(kit.acks[AGRL_ACK_DUPLICATE], 1);
  assert_int_equal(replay_ingest_offer(&kit.ingest, &s, NULL, 0), REPLAY_INGEST_DUPLICATE);
}

// Failed writes

static agrl_rc change_much_then_fail(replay_core *c, void *user, agrl_error *err) {
  const agrl_task *t = user;
  replay_core_retire(c, replay_core_find(c, t->group), REPLAY_CAUSE_UNSOLVED);
  replay_group_rec rec = {.id = c->meta.next_group++, .state = REPLAY_OPEN, .n_plain = 4, .n_guided = 2, .accuracy = NAN};
  strcpy(rec.prompt_id, "p1");
  replay_core_add(c, &rec, false);
  replay_prompts_observe(replay_core_touch_prompt(c, 1), 1, 9);
  c->meta.version = 9;
  return agrl_fail(err, AGRL_EIO, "the disk is gone");
}

static void a_failed_write_changes_nothing(void **state) {
  (void)state;
  agrl_msg_task_grant g = kit_ask(&kit, "a", "x", 8, 0);
  replay_meta meta = kit.core.meta;
  uint64_t stored = kit.core.stored_groups;
  agrl_task t = g.tasks[0];
  uint32_t prompt = replay_prompts_find(&kit.core.prompts, t.prompt_id);
  agrl_error why = {0};
  assert_int_equal(replay_core_write(&kit.core, change_much_then_fail, &t, &why), AGRL_EIO);
  assert_memory_equal(&kit.core.meta, &meta, sizeof meta);
  assert_int_equal(kit.core.n_groups, 2);
  assert_int_equal(kit.core.stored_groups, stored);
  assert_int_equal(replay_core_find(&kit.core, t.group)->rec.state, REPLAY_OPEN);
  assert_int_equal(kit.core.prompts.v[prompt].fruitless, 0);
  assert_int_equal(kit.core.prompts.v[1].tries, 0);
  assert_int_equal(kit.core.counts.removals[REPLAY_CAUSE_UNSOLVED], 0);
  assert_int_equal(kit.core.refused_io, 1);
  kit_deliver(&kit, &t, 2, 0);  // and work goes on where it was
  assert_int_equal(replay_core_find(&kit.core, t.group)->rec.state, REPLAY_READY);
}

// Selection

static void walk_visits_every_row_once_a_pass(void **state) {
  (void)state;
  uint32_t first[2][40];
  for (int round = 0; round < 2; round++) {
    replay_prompts p;
    replay_prompts_init(&p, kit.data.rows, kit.data.n, kit.text, 5);
    uint64_t epoch = 0, cursor = 0;
    replay_pick how = {.selector = AGRL_SELECT_UNIFORM, .half_life = 50};
    for (int pass = 0; pass < 3; pass++) {
      bool seen[40] = {false};
      for (int i = 0; i < 40; i++) {
        uint32_t at = replay_prompts_pick(&p, &how, &epoch, &cursor);
        assert_false(seen[at]);
        seen[at] = true;
        if (pass == round) first[round][i] = at;
      }
    }
    replay_prompts_release(&p);
  }
  assert_memory_not_equal(first[0], first[1], sizeof first[0]);  // another pass, another order
}

static double share_of(int selector, uint32_t prompt) {
  replay_prompts p;
  replay_prompts_init(&p, kit.data.rows, kit.data.n, kit.text, 5);
  for (uint32_t i = 0; i < 4; i++) {
    replay_prompts_observe(&p.v[i], i == 0 ? 1.0 : 0.2, i == 3 ? 10 : 100);
    if (i == 2) p.v[i].fruitless = 3;
  }
  uint64_t epoch = 0, cursor = 0, hits = 0;
  for (uint64_t g = 1; g <= 40000; g++) {
    replay_pick how = {.selector = selector, .half_life = 30, .version = 110, .group = g};
    hits += replay_prompts_pick(&p, &how, &epoch, &cursor) == prompt;
  }
  replay_prompts_release(&p);
  return (double)hits / 40000;
}

static void priority_is_difficulty_and_freshness(void **state) {
  (void)state;
  const double base = 1.0 / 40, walked = base * (1 - REPLAY_REVISIT_SHARE);
  assert_float_equal(share_of(AGRL_SELECT_UNIFORM, 1), base, 1e-3);
  // Weights: solved 0; hard 0.8; hard and 3 times fruitless 0.1; hard and old 0.8 (or * 2^-3 when freshness counts).
  assert_float_equal(share_of(AGRL_SELECT_PRIORITY, 0), walked, 3e-3);
  assert_float_equal(share_of(AGRL_SELECT_PRIORITY, 1), walked + 0.25 * 0.8 / 1.7, 8e-3);
  assert_float_equal(share_of(AGRL_SELECT_PRIORITY, 2), walked + 0.25 * 0.1 / 1.7, 5e-3);
  assert_float_equal(share_of(AGRL_SELECT_PRIORITY, 3), walked + 0.25 * 0.8 / 1.7, 8e-3);
  double fresh = exp2(-10.0 / 30), old = exp2(-100.0 / 30), sum = 0.8 * fresh + 0.1 * fresh + 0.8 * old;
  assert_float_equal(share_of(AGRL_SELECT_FRESH, 1), walked + 0.25 * 0.8 * fresh / sum, 8e-3);
  assert_float_equal(share_of(AGRL_SELECT_FRESH, 3), walked + 0.25 * 0.8 * old / sum, 5e-3);
}

static void history_and_walk_survive_a_restart(void **state) {
  (void)state;
  agrl_msg_task_grant g = kit_ask(&kit, "a", "x", 8, 0);
  char id[64];
  snprintf(id, sizeof id, "%s", g.tasks[0].prompt_id);
  kit_deliver(&kit, &g.tasks[0], 3, 0);
  uint64_t cursor = kit.core.meta.cursor;
  kit_restart(&kit);
  assert_int_equal(kit.core.meta.cursor, cursor);
  const replay_prompt *p = &kit.core.prompts.v[replay_prompts_find(&kit.core.prompts, id)];
  assert_int_equal(p->tries, 1);
  assert_float_equal(p->accuracy, 0.75, 1e-12);
}

// Model

#define MAX_GROUPS 20000
#define MEMBERS 12  // G 4 + 4 levels * K 2

typedef struct model_member {
  bool committed;
  int holder;            // actor, -1: nobody
  uint64_t lease_end;
  uint32_t attempt;      // highest granted
} model_member;

typedef struct model_group {
  bool known, trained;
  char prompt[16];
  model_member m[MEMBERS];
} model_group;

typedef struct flight {  // a rollout on its way
  uint64_t group, version;
  uint32_t member, level;
  char prompt[16];
} flight;

typedef struct model {
  model_group *g;
  uint64_t max_id, version, committed, trained, restarts, reissued;
  flight air[4096];
  size_t n_air;
  int peers[3];
  agrl_rng rng;
} model;

static model mo;

static void model_grant(int actor, const agrl_msg_task_grant *grant) {
  for (size_t i = 0; i < grant->n_tasks; i++) {
    const agrl_task *t = &grant->tasks[i];
    model_group *g = &mo.g[t->group];
    if (!g->known) {
      assert_true(t->group > mo.max_id);  // never reused, whatever restarted
      mo.max_id = t->group;
      g->known = true;
      snprintf(g->prompt, sizeof g->prompt, "%s", t->prompt_id);
      for (int m = 0; m < MEMBERS; m++) g->m[m].holder = -1;
    }
    assert_string_equal(g->prompt, t->prompt_id);
    assert_false(g->trained);
    for (uint32_t k = 0; k < t->n_members; k++) {
      uint32_t id = t->first_member + k;
      model_member *m = &g->m[id];
      assert_true(id < MEMBERS);
      assert_int_equal(t->level, id < 4 ? 0 : 1 + (id - 4) / 2);
      assert_false(m->committed);
      assert_true(m->holder < 0 || m->lease_end <= kit.now_ns);
      assert_true(t->attempt > m->attempt);
      mo.reissued += m->attempt > 0;
      *m = (model_member){false, actor, kit.now_ns + kit.conf.replay.task_lease_ns, t->attempt};
      if (mo.n_air == sizeof mo.air / sizeof *mo.air) continue;  // lost
      flight *f = &mo.air[mo.n_air++];
      *f = (flight){t->group, mo.version, id, t->level, ""};
      memcpy(f->prompt, g->prompt, sizeof f->prompt);
    }
  }
}

static void model_ask(void) {
  int actor = (int)agrl_rng_below(&mo.rng, 3);
  char name[16], peer[16];
  snprintf(name, sizeof name, "actor-%d", actor);
  if (agrl_rng_below(&mo.rng, 12) == 0) {  // it began anew: its leases are free
    mo.peers[actor]++;
    for (uint64_t g = 1; g <= mo.max_id; g++)
      for (int m = 0; m < MEMBERS; m++)
        if (mo.g[g].m[m].holder == actor) mo.g[g].m[m].holder = -1;
  }
  snprintf(peer, sizeof peer, "%d/%d", actor, mo.peers[actor]);
  agrl_arena_clear(&kit.arena);
  agrl_msg_task_grant grant = kit_ask(&kit, name, peer, 1 + agrl_rng_below(&mo.rng, 9), mo.version);
  model_grant(actor, &grant);
}

static void model_tell(void *user, const agrl_peer *peer, uint64_t msg_id, const agrl_trace_id *id, agrl_ack status) {
  (void)user;
  (void)peer;
  (void)msg_id;
  model_member *m = &mo.g[id->group].m[id->member];
  if (status == AGRL_ACK_COMMITTED) {
    assert_false(m->committed);
    m->committed = true;
    mo.committed++;
  } else if (status == AGRL_ACK_DUPLICATE) {
    assert_true(m->committed);
  }
}

static void model_deliver(void) {
  if (mo.n_air == 0) return;
  size_t at = agrl_rng_below(&mo.rng, (uint32_t)mo.n_air);
  flight f = mo.air[at];
  uint32_t fate = agrl_rng_below(&mo.rng, 10);
  if (fate > 0) mo.air[at] = mo.air[--mo.n_air];  // 0: it will come a second time
  if (fate == 1) return;                          // lost for good
  bool good = agrl_rng_below(&mo.rng, 5) == 0;
  double reward = agrl_rng_below(&mo.rng, 60) == 0 ? (double)NAN : good ? 1 : 0.125 * agrl_rng_below(&mo.rng, 3);
  agrl_msg_scored s = kit_scored(f.group, f.member, f.level, f.prompt, f.version, reward, good);
  replay_verdict v = replay_ingest_offer(&kit.ingest, &s, NULL, 0);
  const model_member *m = &mo.g[f.group].m[f.member];
  if (m->committed) assert_int_equal(v, REPLAY_INGEST_DUPLICATE);
  if (v == REPLAY_INGEST_DUPLICATE) assert_true(m->committed);
}

static void model_train(void) {
  agrl_msg_batch b;
  KIT_OK(replay_serve_arrive(&kit.core, mo.version, err));
  agrl_arena_clear(&kit.arena);
  KIT_OK(replay_serve_try(&kit.core, mo.version, 2, agrl_rng_below(&mo.rng, 2), kit.now_ns, &kit.arena, &b, err));
  if (b.n_groups == 0) return;
  uint64_t ids[2];
  for (size_t i = 0; i < b.n_groups; i++) {
    model_group *g = &mo.g[b.groups[i].id];
    ids[i] = b.groups[i].id;
    assert_true(g->known);
    assert_false(g->trained);
    g->trained = true;
    assert_int_equal(b.groups[i].n, 4);
    for (size_t k = 0; k < 4; k++) {
      const agrl_msg_scored *s = &b.groups[i].members[k];
      assert_true(g->m[s->trace.id.member].committed);
      assert_false(s->missing);
      assert_true(mo.version - s->trace.versions[0] <= 1);  // the staleness bound
    }
  }
  mo.version++;
  mo.trained += b.n_groups;
  agrl_msg_trained t = {.version = mo.version, .n = b.n_groups, .groups = ids};
  KIT_OK(replay_serve_trained(&kit.core, &t, err));
}

static void model_restart_replay(void) {
  kit_restart(&kit);  // what was queued and not committed is gone; nobody was told
  mo.restarts++;
  for (uint64_t g = 1; g <= mo.max_id; g++)
    for (int m = 0; m < MEMBERS; m++) mo.g[g].m[m].holder = -1;
}

static bool count_unfinished(void *user, const replay_group_rec *g) {
  *(size_t *)user += g->state <= REPLAY_LEASED;
  return true;
}

static void check_store(void) {
  size_t unfinished = 0, bad = 0;
  KIT_OK(replay_store_each_group(kit.core.store, 0, count_unfinished, &unfinished, &bad, err));
  assert_int_equal(bad, 0);
  assert_true(unfinished <= 4);
  assert_int_equal(kit.core.n_groups, unfinished);
  for (uint64_t g = 1; g <= mo.max_id; g++)
    for (uint32_t m = 0; m < MEMBERS; m++)
      assert_int_equal(replay_store_has_trace(kit.core.store, &(replay_trace_key){g, m}), mo.g[g].m[m].committed);
  assert_int_equal(kit.core.meta.traces, mo.committed);
  assert_int_equal(kit.core.meta.trained, mo.trained);
}

static void random_histories_agree_with_the_model(void **state) {
  (void)state;
  mo.g = agrl_xcalloc(MAX_GROUPS, sizeof *mo.g);
  mo.version = 1;
  agrl_rng_init(&mo.rng, 11, 0);
  KIT_OK(replay_serve_arrive(&kit.core, 1, err));
  for (int step = 0; step < 40000 && mo.max_id < MAX_GROUPS - 8; step++) {
    uint32_t what = agrl_rng_below(&mo.rng, 100);
    if (what < 20) model_ask();
    else if (what < 75) model_deliver();
    else if (what < 87) KIT_OK(replay_ingest_commit(&kit.ingest, model_tell, NULL, err));
    else if (what < 95) model_train();
    else if (what < 99) kit.now_ns += agrl_rng_below(&mo.rng, 20) * KIT_SECOND;
    else if (agrl_rng_below(&mo.rng, 4) == 0) model_restart_replay();
    if (step % 4000 == 0) {
      KIT_OK(replay_ingest_commit(&kit.ingest, model_tell, NULL, err));
      check_store();
    }
  }
  KIT_OK(replay_ingest_commit(&kit.ingest, model_tell, NULL, err));
  check_store();
  assert_true(mo.trained > 200 && mo.restarts > 20 && mo.reissued > 200);
  assert_true(kit.core.counts.guided_groups > 0);
  assert_int_equal(kit.core.counts.double_trained, 0);
  free(mo.g);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      WITH_KIT(tasks_carry_what_an_actor_needs),
      WITH_KIT(an_undone_grant_is_given_out_again),
      WITH_KIT(grants_are_bounded_in_bytes),
      WITH_KIT(expired_leases_are_given_out_again),
      WITH_KIT(a_restarted_actor_frees_its_leases),
      WITH_KIT(ladder_tasks_come_first_and_show_guidance),
      WITH_KIT(guided_level_survives_a_restart),
      WITH_KIT(pacing_bounds_what_is_unfinished),
      WITH_KIT(lagging_actors_get_what_can_still_be_trained),
      WITH_KIT(the_last_version_ends_the_job),
      WITH_KIT(missing_reward_retires_the_group),
      WITH_KIT(contradictory_traces_are_refused),
      WITH_KIT(duplicates_in_one_commit_are_told_after_it),
      WITH_KIT(a_failed_write_changes_nothing),
      WITH_KIT(walk_visits_every_row_once_a_pass),
      WITH_KIT(priority_is_difficulty_and_freshness),
      WITH_KIT(history_and_walk_survive_a_restart),
      WITH_KIT(random_histories_agree_with_the_model),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
