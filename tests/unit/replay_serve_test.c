// SPDX-License-Identifier: Apache-2.0
// The learner's side: leases, reports, HELLO; then a learner with a journal and a replay, either killed between any two
// steps, answers and reports lost: no group twice in the surviving line, and training goes on.
#include "common/base/rng.h"
#include "replay/store_impl.h"
#include "tests/lib/replay_kit.h"

// Everything an actor at this version may be given is generated and scored, until n groups are ready.
static void make_ready(size_t n, uint64_t version) {
  for (int i = 0; i < 20 && replay_core_count(&kit.core, REPLAY_READY) < n; i++) {
    agrl_arena_clear(&kit.arena);
    agrl_msg_task_grant g = kit_ask(&kit, "a", "x", 64, version);
    for (size_t t = 0; t < g.n_tasks; t++) kit_deliver(&kit, &g.tasks[t], 2, version);
  }
}

static size_t try_batch(uint64_t version, uint32_t want, bool patient, uint64_t ids[8]) {
  agrl_msg_batch b;
  agrl_arena_clear(&kit.arena);
  KIT_OK(replay_serve_try(&kit.core, version, want, patient, kit.now_ns, &kit.arena, &b, err));
  for (size_t i = 0; i < b.n_groups; i++) ids[i] = b.groups[i].id;
  return b.n_groups;
}

static size_t ask_batch(uint64_t version, uint32_t want, uint64_t ids[8]) {
  KIT_OK(replay_serve_arrive(&kit.core, version, err));
  return try_batch(version, want, false, ids);
}

static void report(uint64_t version, const uint64_t *ids, size_t n) {
  agrl_msg_trained t = {.version = version, .n = n, .groups = ids};
  KIT_OK(replay_serve_trained(&kit.core, &t, err));
}

static uint8_t state_of(uint64_t id) {
  replay_group_rec g;
  KIT_OK(replay_store_get_group(kit.core.store, id, &g, err));
  return g.state;
}

static void hello(uint64_t checkpoint, uint64_t version, const agrl_journal_entry *entries, size_t n) {
  agrl_msg_hello h = {.run = KIT_RUN, .checkpoint_version = checkpoint, .version = version, .n_entries = n, .entries = entries};
  agrl_msg_hello_reply r;
  KIT_OK(replay_serve_hello(&kit.core, &h, &r, err));
}

// Steps

// Method dpo: a group is served as its pair, or as the wrong trace alone where none was right and the row has a reference trace;
// the same after a restart. Rows of odd number have one.
static void dpo_batches_hold_pairs(void **state) {
  (void)state;
  uint64_t ids[8], version = 1;
  size_t pairs = 0, alone = 0, retired = 0;
  kit.conf.run.method = AGRL_METHOD_DPO;
  kit.conf.replay.guided = false;
  for (size_t i = 1; i < kit.data.n; i += 2) kit.data.rows[i].reference = "3\n";
  assert_int_equal(ask_batch(version, 1, ids), 0);
  for (uint64_t id = 1; id <= 24; id++) {
    agrl_arena_clear(&kit.arena);
    agrl_msg_task_grant t = kit_ask(&kit, "a", "x", 4, version);
    assert_int_equal(t.n_tasks, 1);
    const bool some_right = id % 2, reference = atoi(t.tasks[0].prompt_id + 1) % 2;
    kit_deliver(&kit, &t.tasks[0], some_right ? 2 : 0, version);
    kit_restart(&kit);
    agrl_msg_batch b;
    KIT_OK(replay_serve_try(&kit.core, version, 1, false, kit.now_ns, &kit.arena, &b, err));
    if (!some_right && !reference) {
      assert_int_equal(b.n_groups, 0);
      assert_int_equal(state_of(id), REPLAY_RETIRED);
      retired++;
      continue;
    }
    assert_int_equal(b.n_groups, 1);
    const agrl_group *g = &b.groups[0];
    assert_int_equal(g->id, id);
    assert_int_equal(g->n, some_right ? 2 : 1);
    if (some_right) assert_true(g->members[0].accurate);
    assert_false(g->members[g->n - 1].accurate);
    pairs += some_right;
    alone += !some_right;
    report(++version, &id, 1);
    KIT_OK(replay_serve_arrive(&kit.core, version, err));
  }
  assert_true(pairs == 12 && alone > 0 && retired > 0);
}

// grpo.zero_spread keep: a group without a pair has its place in a batch, whole, and no arrival of a version takes it away.
static void dpo_keeps_groups_without_a_pair(void **state) {
  (void)state;
  uint64_t ids[8];
  kit.conf.run.method = AGRL_METHOD_DPO;
  kit.conf.replay.guided = false;
  kit.conf.grpo.zero_spread = AGRL_ZERO_KEEP;
  assert_int_equal(ask_batch(1, 1, ids), 0);
  agrl_msg_task_grant t = kit_ask(&kit, "a", "x", 4, 1);
  kit_deliver(&kit, &t.tasks[0], 0, 1);
  KIT_OK(replay_serve_arrive(&kit.core, 1, err));
  assert_int_equal(replay_core_count(&kit.core, REPLAY_READY), 1);
  kit_restart(&kit);
  agrl_msg_batch b;
  KIT_OK(replay_serve_try(&kit.core, 1, 1, false, kit.now_ns, &kit.arena, &b, err));
  assert_int_equal(b.n_groups, 1);
  assert_int_equal(b.groups[0].n, 4);
}

static uint8_t cause_of(uint64_t id) {
  replay_group_rec g;
  KIT_OK(replay_store_get_group(kit.core.store, id, &g, err));
  return g.cause;
}

// What one method made ready is no batch of another: pairs are retired by a run that goes on with whole groups, and the other way.
static void another_method_retires_what_is_ready(void **state) {
  (void)state;
  uint64_t ids[8];
  for (int to_dpo = 0; to_dpo < 2; to_dpo++) {
    const uint64_t version = 1 + (uint64_t)to_dpo;
    kit.conf.run.method = to_dpo ? AGRL_METHOD_GRPO_PR : AGRL_METHOD_DPO;
    kit.conf.replay.guided = false;
    kit_restart(&kit);
    assert_int_equal(ask_batch(version, 1, ids), 0);
    make_ready(2, version);
    const uint64_t first = kit.core.groups[0]->rec.id;
    assert_int_equal(state_of(first), REPLAY_READY);
    kit.conf.run.method = to_dpo ? AGRL_METHOD_DPO : AGRL_METHOD_GRPO_PR;
    kit_restart(&kit);
    assert_int_equal(ask_batch(version, 8, ids), 0);
    assert_int_equal(replay_core_count(&kit.core, REPLAY_READY), 0);
    assert_int_equal(state_of(first), REPLAY_RETIRED);
    assert_int_equal(cause_of(first), REPLAY_CAUSE_METHOD);
  }
}

// sft.max_rows bounds the reference traces that pairs are made with.
static void dpo_references_are_bounded(void **state) {
  (void)state;
  kit.conf.run.method = AGRL_METHOD_DPO;
  kit.conf.sft.max_rows = 2;
  for (size_t i = 1; i < kit.data.n; i += 2) kit.data.rows[i].reference = "3\n";
  kit_restart(&kit);
  for (uint32_t i = 0; i < kit.core.prompts.n; i++)
    assert_int_equal(replay_prompts_reference(&kit.core.prompts, i), i == 1 || i == 3);
  kit.conf.sft.max_rows = 0;
  kit_restart(&kit);
  for (uint32_t i = 0; i < kit.core.prompts.n; i++) assert_int_equal(replay_prompts_reference(&kit.core.prompts, i), i % 2);
}

static void batch_holds_the_chosen_members(void **state) {
  (void)state;
  uint64_t ids[8];
  assert_int_equal(ask_batch(1, 2, ids), 0);
  make_ready(3, 1);
  agrl_msg_batch b;
  KIT_OK(replay_serve_try(&kit.core, 1, 2, false, kit.now_ns, &kit.arena, &b, err));
  assert_int_equal(b.n_groups, 2);
  assert_int_equal(b.groups[0].id, 1);
  assert_int_equal(b.groups[0].n, 4);
  assert_float_equal(b.groups[0].plain_accuracy, 0.5, 1e-12);
  for (size_t i = 0; i < 4; i++) {
    const agrl_msg_scored *s = &b.groups[0].members[i];
    assert_int_equal(s->trace.id.member, i);
    assert_float_equal(s->reward, i < 2 ? 1.0 : 0.01 * (double)i, 1e-12);
    assert_string_equal(s->trace.prompt_id, b.groups[0].prompt_id);
  }
  assert_int_equal(state_of(1), REPLAY_LEASED);
  kit_restart(&kit);
  assert_int_equal(state_of(1), REPLAY_LEASED);  // the lease was durable before the answer
  assert_int_equal(try_batch(1, 2, false, ids), 2);
  assert_int_equal(ids[0], 3);  // what is leased is not handed out again
  assert_int_equal(try_batch(1, 2, false, ids), 0);
}

static void lost_answer_is_asked_for_again(void **state) {
  (void)state;
  uint64_t a[8], b[8];
  make_ready(4, 1);
  assert_int_equal(ask_batch(1, 2, a), 2);
  assert_int_equal(ask_batch(1, 2, b), 2);  // the same update: the first answer never arrived
  assert_memory_equal(a, b, 2 * sizeof *a);
  report(2, b, 2);
  assert_int_equal(ask_batch(2, 2, b), 2);
  assert_true(b[0] != a[0] && b[0] != a[1]);
}

static void requests_of_the_past_are_refused(void **state) {
  (void)state;
  make_ready(4, 5);
  KIT_OK(replay_serve_arrive(&kit.core, 5, err));
  agrl_error why = {0};
  assert_int_equal(replay_serve_arrive(&kit.core, 4, &why), AGRL_EVERSION);
  assert_int_equal(kit.core.meta.version, 5);
}

static void reports_are_idempotent_and_survive(void **state) {
  (void)state;
  uint64_t ids[8];
  make_ready(2, 1);
  ask_batch(1, 2, ids);
  report(2, ids, 2);
  kit_restart(&kit);
  report(2, ids, 2);
  assert_int_equal(kit.core.meta.trained, 2);
  assert_int_equal(kit.core.counts.double_trained, 0);
  assert_int_equal(state_of(1), REPLAY_TRAINED);
  report(3, ids, 2);  // claims another version: counted, and the first stands
  assert_int_equal(kit.core.counts.double_trained, 2);
  report(4, (const uint64_t[]){12345}, 1);  // no such group
  assert_int_equal(kit.core.meta.trained, 2);
}

static void unreported_leases_end_at_most_once(void **state) {
  (void)state;
  uint64_t ids[8], more[8];
  make_ready(4, 1);
  ask_batch(1, 2, ids);
  kit.now_ns += 10 * kit.conf.replay.batch_lease_ns;
  KIT_OK(replay_serve_expire(&kit.core, kit.now_ns, err));
  assert_int_equal(state_of(ids[0]), REPLAY_LEASED);  // a stopped learner may still be at it
  ask_batch(2, 2, more);                              // it went on without a word
  KIT_OK(replay_serve_expire(&kit.core, kit.now_ns, err));
  assert_int_equal(state_of(ids[0]), REPLAY_RETIRED);
  assert_int_equal(kit.core.counts.removals[REPLAY_CAUSE_LEASE], 2);
  assert_int_equal(state_of(more[0]), REPLAY_LEASED);  // this one is of the version under way
  report(2, ids, 1);                                   // late, and still right
  assert_int_equal(state_of(ids[0]), REPLAY_TRAINED);
  hello(1, 2, &(agrl_journal_entry){2, 1, ids}, 1);
  assert_int_equal(state_of(ids[1]), REPLAY_READY);  // the journal does not have it: it was not trained
}

static void hello_makes_the_store_agree_with_the_journal(void **state) {
  (void)state;
  uint64_t a[8], b[8], c[8];
  make_ready(4, 1);
  ask_batch(1, 2, a);
  report(2, a, 2);
  make_ready(2, 2);
  ask_batch(2, 2, b);
  report(3, b, 2);  // the weights of version 3 will not survive
  make_ready(2, 3);
  ask_batch(3, 2, c);
  const agrl_journal_entry entries[] = {{2, 2, a}};
  hello(1, 2, entries, 1);
  assert_int_equal(state_of(a[0]), REPLAY_TRAINED);
  assert_int_equal(state_of(b[0]), REPLAY_READY);
  assert_int_equal(state_of(c[1]), REPLAY_READY);
  assert_int_equal(kit.core.meta.version, 2);
  assert_int_equal(kit.core.meta.trained, 2);
  kit_restart(&kit);
  hello(1, 2, entries, 1);  // repeated after a lost reply
  assert_int_equal(state_of(b[0]), REPLAY_READY);
  const agrl_journal_entry both[] = {{2, 2, a}, {3, 2, c}};  // TRAINED of the second never arrived
  hello(1, 3, both, 2);
  assert_int_equal(state_of(c[0]), REPLAY_TRAINED);
  make_ready(2, 3);
  ask_batch(3, 2, b);
  hello(4, 4, NULL, 0);  // checkpointed at 4, which is reached by training what was leased for 3: only the report was lost
  assert_int_equal(state_of(b[0]), REPLAY_TRAINED);
  replay_group_rec rec;
  KIT_OK(replay_store_get_group(kit.core.store, b[1], &rec, err));
  assert_int_equal(rec.trained_version, 4);
  assert_int_equal(state_of(a[0]), REPLAY_TRAINED);
  assert_int_equal(state_of(c[0]), REPLAY_TRAINED);
}

static void hello_of_another_run_is_refused(void **state) {
  (void)state;
  agrl_msg_hello h = {.run = KIT_RUN + 1, .version = 9};
  agrl_msg_hello_reply r;
  assert_int_equal(replay_serve_hello(&kit.core, &h, &r, NULL), AGRL_EVERSION);
  assert_int_equal(kit.core.meta.version, 0);
}

static void a_lost_store_never_reuses_group_ids(void **state) {
  (void)state;
  const uint64_t ids[] = {70, 71};
  hello(1, 2, &(agrl_journal_entry){2, 2, ids}, 1);
  agrl_msg_task_grant g = kit_ask(&kit, "a", "x", 4, 2);
  assert_int_equal(g.tasks[0].group, 72);
  agrl_msg_hello h = {.run = KIT_RUN, .checkpoint_version = 9, .version = 9, .max_group = 500};  // all of it checkpointed
  agrl_msg_hello_reply r;
  KIT_OK(replay_serve_hello(&kit.core, &h, &r, err));
  assert_int_equal(kit.core.meta.next_group, 501);
  h.max_group = 3;  // never back
  KIT_OK(replay_serve_hello(&kit.core, &h, &r, err));
  kit_restart(&kit);
  assert_int_equal(kit.core.meta.next_group, 501);
}

// The same where the store was lost while the learner went on: every request for a batch says how far it is.
static void a_lost_store_skips_what_was_trained(void **state) {
  (void)state;
  KIT_OK(replay_serve_skip_ids(&kit.core, 700, err));
  assert_int_equal(kit.core.meta.next_group, 701);
  KIT_OK(replay_serve_skip_ids(&kit.core, 3, err));
  KIT_OK(replay_serve_skip_ids(&kit.core, UINT64_MAX, err));
  assert_int_equal(kit.core.meta.next_group, 701);
  kit_restart(&kit);
  assert_int_equal(kit.core.meta.next_group, 701);
}

// A store that cannot be read at the moment (here: other processes hold every reader slot) says nothing of its groups: none is given
// up, and a resuming learner is not told that they are lost.
static void a_store_that_cannot_be_read_loses_no_group(void **state) {
  (void)state;
  enum { SLOTS = 600 };
  static MDB_txn *held[SLOTS];
  uint64_t id = 1, ids[8];
  size_t n = 0;
  agrl_msg_batch b;
  agrl_error why = {0};
  make_ready(1, 1);
  KIT_OK(replay_serve_arrive(&kit.core, 1, err));
  while (n < SLOTS && mdb_txn_begin(kit.core.store->env, NULL, MDB_RDONLY, &held[n]) == 0) n++;
  assert_true(n > 0 && n < SLOTS);
  assert_int_equal(replay_serve_try(&kit.core, 1, 1, false, kit.now_ns, &kit.arena, &b, &why), AGRL_EAGAIN);
  assert_int_equal(replay_serve_fetch(&kit.core, &(agrl_msg_groups_fetch){.n = 1, .ids = &id}, &kit.arena, &b, &why), AGRL_EAGAIN);
  while (n > 0) mdb_txn_abort(held[--n]);
  assert_int_equal(try_batch(1, 1, false, ids), 1);
  assert_int_equal(kit.core.counts.removals[REPLAY_CAUSE_UNREADABLE], 0);
}

// Answers hold whole groups within the limit; a group that fits no answer is given up instead of being asked for forever.
static void answers_keep_within_their_size(void **state) {
  (void)state;
  uint64_t ids[8], all[4] = {1, 2, 3, 4};
  kit.conf.replay.staleness_bound = 8;
  make_ready(4, 1);
  agrl_buf b = {0};
  for (uint32_t i = 0; i < 4; i++) KIT_OK(replay_store_get_trace(kit.core.store, &(replay_trace_key){1, i}, &b, err));
  size_t group = b.len;
  agrl_buf_release(&b);
  kit.core.batch_bytes_max = 2 * group + group / 2;  // the third group's first members would still fit
  agrl_msg_groups_fetch f = {.n = 4, .ids = all};
  agrl_msg_batch out;
  KIT_OK(replay_serve_fetch(&kit.core, &f, &kit.arena, &out, err));
  assert_int_equal(out.n_groups, 2);
  assert_int_equal(ask_batch(1, 4, ids), 2);
  kit.core.batch_bytes_max = group / 2;
  assert_int_equal(ask_batch(1, 2, ids), 0);
  assert_int_equal(kit.core.counts.removals[REPLAY_CAUSE_UNREADABLE], 1);
}

static void stale_groups_are_swept(void **state) {
  (void)state;
  uint64_t ids[8];
  make_ready(4, 1);
  KIT_OK(replay_serve_arrive(&kit.core, 2, err));
  assert_int_equal(replay_core_count(&kit.core, REPLAY_READY), 4);  // age 1, bound 1
  KIT_OK(replay_serve_arrive(&kit.core, 3, err));
  assert_int_equal(replay_core_count(&kit.core, REPLAY_READY), 0);
  assert_int_equal(kit.core.counts.removals[REPLAY_CAUSE_STALE], 4);
  assert_int_equal(try_batch(3, 2, false, ids), 0);
  make_ready(2, 3);
  KIT_OK(replay_serve_arrive(&kit.core, AGRL_VERSION(1, 1), err));  // version 3 was of weights that are gone
  assert_int_equal(replay_core_count(&kit.core, REPLAY_READY), 0);
}

// An actor that was slow brings its group after the request for the batch: too old for it, and not served.
static void a_stale_group_that_comes_late_is_not_served(void **state) {
  (void)state;
  uint64_t ids[8];
  const agrl_msg_task_grant slow = kit_ask(&kit, "slow", "x", 4, 1);
  assert_int_equal(slow.n_tasks, 1);
  KIT_OK(replay_serve_arrive(&kit.core, 3, err));
  kit_deliver(&kit, &slow.tasks[0], 2, 1);
  assert_int_equal(try_batch(3, 1, true, ids), 0);
  assert_int_equal(kit.core.counts.removals[REPLAY_CAUSE_STALE], 1);
  make_ready(1, 3);
  assert_int_equal(try_batch(3, 1, true, ids), 1);
}

// A climbing group that this batch would make too old is waited for, then decided with what is in.
static void patience_then_last_call(void **state) {
  (void)state;
  uint64_t ids[8];
  agrl_msg_task_grant g = kit_ask(&kit, "a", "x", 4, 1);
  kit_deliver(&kit, &g.tasks[0], 0, 1);
  assert_int_equal(state_of(1), REPLAY_CLIMB);
  agrl_arena_clear(&kit.arena);
  g = kit_ask(&kit, "a", "x", 64, 1);
  for (size_t t = 0; t < g.n_tasks; t++)
    if (g.tasks[t].level == 0) kit_deliver(&kit, &g.tasks[t], 2, 1);
  assert_int_equal(replay_core_count(&kit.core, REPLAY_READY), 3);
  KIT_OK(replay_serve_arrive(&kit.core, 2, err));
  assert_int_equal(try_batch(2, 2, true, ids), 0);
  assert_int_equal(try_batch(2, 2, false, ids), 2);
  assert_int_equal(ids[0], 1);  // it is the oldest, and goes as it is
  assert_int_equal(kit.core.counts.last_calls, 1);
}

static void groups_are_fetched_in_any_state(void **state) {
  (void)state;
  uint64_t ids[8];
  make_ready(4, 1);
  ask_batch(1, 2, ids);
  report(2, ids, 2);
  const uint64_t want[] = {ids[1], 999, 3, ids[0]};
  agrl_msg_groups_fetch f = {.n = 4, .ids = want};
  agrl_msg_batch b;
  KIT_OK(replay_serve_fetch(&kit.core, &f, &kit.arena, &b, err));
  assert_int_equal(b.n_groups, 3);
  assert_int_equal(b.groups[0].id, ids[1]);
  assert_int_equal(b.groups[1].id, 3);
  assert_int_equal(b.groups[2].id, ids[0]);
  assert_int_equal(b.groups[2].n, 4);
}

static void unreadable_groups_are_retired(void **state) {
  (void)state;
  uint64_t ids[8];
  make_ready(3, 1);
  KIT_OK(replay_store_begin(kit.core.store, err));
  replay_group_rec rec = replay_core_find(&kit.core, 1)->rec;
  KIT_OK(replay_store_del_group(kit.core.store, 1, err));
  KIT_OK(replay_store_put_group(kit.core.store, &rec, err));  // a group without its traces
  KIT_OK(replay_store_commit(kit.core.store, err));
  assert_int_equal(try_batch(1, 2, false, ids), 0);
  assert_int_equal(kit.core.counts.removals[REPLAY_CAUSE_UNREADABLE], 1);
  assert_int_equal(try_batch(1, 2, false, ids), 2);
  assert_int_equal(ids[0], 2);
}

// Random kills

#define MAX_STEPS 4096

typedef struct journal {  // durable: what a learner finds after kill -9
  uint64_t version[MAX_STEPS];
  uint64_t groups[MAX_STEPS][2];
  size_t n, checkpoint;  // entries [0, checkpoint) are in the checkpoint
} journal;

typedef enum { ASK, TRAIN, REPORT } phase;

typedef struct sim {
  journal j;
  phase at;
  uint64_t ids[8], version;
  size_t n_ids;
  uint32_t epoch;
  agrl_rng rng;
  size_t learner_kills, replay_kills, forks, skipped_reports;
} sim;

static sim si;

static bool chance(uint32_t one_in) { return agrl_rng_below(&si.rng, one_in) == 0; }

static void append_entry(void) {
  for (size_t i = 0; i < si.j.n; i++)
    for (size_t k = 0; k < 2; k++)
      for (size_t g = 0; g < si.n_ids; g++) assert_true(si.j.groups[i][k] != si.ids[g]);  // never twice in the surviving line
  assert_int_equal(si.n_ids, 2);
  si.version = AGRL_VERSION(si.epoch, si.j.n + 1);
  si.j.version[si.j.n] = si.version;
  memcpy(si.j.groups[si.j.n++], si.ids, sizeof si.j.groups[0]);
}

static void restart_learner(void) {
  si.learner_kills++;
  if (chance(8) && si.j.n > si.j.checkpoint) {  // the journal cannot be redone to the same hash: the line is cut
    si.j.n -= 1 + agrl_rng_below(&si.rng, (uint32_t)(si.j.n - si.j.checkpoint));
    si.forks++;
  }
  si.epoch++;
  agrl_journal_entry entries[MAX_STEPS];
  for (size_t i = si.j.checkpoint; i < si.j.n; i++) entries[i - si.j.checkpoint] = (agrl_journal_entry){si.j.version[i], 2, si.j.groups[i]};
  uint64_t checkpoint = si.j.checkpoint ? si.j.version[si.j.checkpoint - 1] : 0;
  uint64_t last = si.j.n ? si.j.version[si.j.n - 1] : 0;
  hello(checkpoint, last, entries, si.j.n - si.j.checkpoint);
  si.version = AGRL_VERSION(si.epoch, si.j.n);
  si.at = ASK;
}

static void learner_step(void) {
  switch (si.at) {
    case ASK:
      si.n_ids = ask_batch(si.version, 2, si.ids);
      if (si.n_ids == 2 && !chance(6)) si.at = TRAIN;  // else the answer is lost
      break;
    case TRAIN:
      append_entry();
      si.at = REPORT;
      break;
    case REPORT:
      if (chance(10)) si.skipped_reports++;  // lost, and the learner goes on
      else report(si.version, si.ids, 2);
      if (!chance(8)) si.at = ASK;  // else the answer is lost: reported again
      if (chance(5)) {
        si.j.checkpoint = si.j.n;
        KIT_OK(replay_serve_checkpointed(&kit.core, si.version, err));
      }
      break;
  }
}

static void no_group_is_trained_twice_whatever_is_killed(void **state) {
  (void)state;
  agrl_rng_init(&si.rng, 17, 0);
  restart_learner();
  for (int step = 0; step < 12000 && si.j.n < MAX_STEPS - 1; step++) {
    learner_step();
    if (chance(3)) make_ready(2, si.version);
    if (chance(12)) {
      kit_restart(&kit);
      si.replay_kills++;
    }
    if (chance(15)) restart_learner();
    if (chance(30)) {
      kit.now_ns += 2 * kit.conf.replay.batch_lease_ns;
      KIT_OK(replay_serve_expire(&kit.core, kit.now_ns, err));
    }
  }
  assert_true(si.j.n > 500);  // training went on
  assert_true(si.learner_kills > 300 && si.replay_kills > 300 && si.forks > 20 && si.skipped_reports > 20);
  restart_learner();
  for (size_t i = 0; i < si.j.n; i++)
    for (size_t k = 0; k < 2; k++) {
      uint8_t state_now = state_of(si.j.groups[i][k]);  // RETIRED: its report was lost for good before the checkpoint
      assert_true(state_now == REPLAY_TRAINED || (state_now == REPLAY_RETIRED && i < si.j.checkpoint));
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      WITH_KIT(batch_holds_the_chosen_members),
      WITH_KIT(dpo_batches_hold_pairs),
      WITH_KIT(dpo_keeps_groups_without_a_pair),
      WITH_KIT(another_method_retires_what_is_ready),
      WITH_KIT(dpo_references_are_bounded),
      WITH_KIT(lost_answer_is_asked_for_again),
      WITH_KIT(requests_of_the_past_are_refused),
      WITH_KIT(reports_are_idempotent_and_survive),
      WITH_KIT(unreported_leases_end_at_most_once),
      WITH_KIT(hello_makes_the_store_agree_with_the_journal),
      WITH_KIT(hello_of_another_run_is_refused),
      WITH_KIT(a_lost_store_never_reuses_group_ids),
      WITH_KIT(answers_keep_within_their_size),
      WITH_KIT(a_lost_store_skips_what_was_trained),
      WITH_KIT(a_store_that_cannot_be_read_loses_no_group),
      WITH_KIT(stale_groups_are_swept),
      WITH_KIT(a_stale_group_that_comes_late_is_not_served),
      WITH_KIT(patience_then_last_call),
      WITH_KIT(groups_are_fetched_in_any_state),
      WITH_KIT(unreadable_groups_are_retired),
      WITH_KIT(no_group_is_trained_twice_whatever_is_killed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
