// SPDX-License-Identifier: Apache-2.0
// Batches, leases and what was trained.
//
// No group is trained twice in the surviving line of weights, whatever is killed when:
//   1. A group is handed out only after "LEASED for version v" has committed, and only READY groups are handed out.
//   2. What makes a group part of the line is the learner's journal entry, fsynced before TRAINED is sent. The learner takes
//      one batch per version: it asks for (v), trains, journals, reports, and asks for a later version.
//   3. A LEASED group becomes READY again in two cases only. (a) A request for the same v: the journal has no entry made
//      from v's batch, or the learner would be past v; the first answer was lost. (b) HELLO: a new learner process lists
//      every journal entry after its checkpoint, so what was leased for the checkpoint's version or a later one and is not
//      listed is not in the line, and the process that held the lease is gone. (A lease for an earlier version of
//      the checkpoint's epoch whose report was lost is inside the checkpoint, because a version is reached by training the
//      batch leased for the one before: TRAINED. Of another epoch nobody can tell: RETIRED, as in 4.) A deadline alone never makes it READY: a stopped learner may wake and train it.
//   4. A learner that went on to v' > v without reporting leaves the group LEASED; TRAINED may be late (replay may have been
//      killed before it committed). Past the deadline the group is RETIRED: at most once, never twice. A late TRAINED or a HELLO
//      still corrects it.
//   5. HELLO makes the store agree with the journal: listed groups are TRAINED at the listed version; groups TRAINED after
//      the checkpoint and not listed belong to weights that did not survive and are READY again. Group ids are never
//      reused, not even by a store that was lost: the highest id in the journal, in HELLO and in every request for a batch,
//      pushes the counter on.
// Killing replay before a commit leaves the state of before (nobody was told), after it the state of after: every answer is
// sent after its commit, and a repeated request is answered from that state: arrive, TRAINED and HELLO are idempotent.
#include "replay/serve.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/wire/version.h"

static bool too_old(const replay_core *c, uint64_t version) {
  return version != UINT64_MAX && agrl_version_age(c->meta.version, version) > (uint64_t)c->conf->replay.staleness_bound;
}

// Arrival of a request

static void return_to_ready(replay_core *c, replay_group *g) {
  replay_core_touch(c, g);
  g->rec.state = REPLAY_READY;
  g->rec.cause = REPLAY_CAUSE_NONE;
  g->rec.lease_version = 0;
  g->rec.trained_version = 0;
  c->counts.returned++;
}

// A ready group is a pair of DPO or a whole group, as run.method was when it was decided; a run may go on with another one. With
// grpo.zero_spread keep a whole group is DPO's, too: one without a pair. Those that such a run made ready before it went over to dpo
// then pass for that, at most replay.staleness_bound + 1 batches, and are not trained on.
static bool of_other_method(const replay_core *c, const replay_group *g) {
  const bool pair = g->rec.n_chosen <= 2 && g->rec.n_chosen < g->rec.n_plain;
  if (g->rec.state != REPLAY_READY) return false;
  return c->conf->run.method == AGRL_METHOD_DPO ? g->rec.n_chosen > 2 && c->conf->grpo.zero_spread != AGRL_ZERO_KEEP : pair;
}

static bool group_too_old(const replay_core *c, const replay_group *g) {
  return g->rec.state <= REPLAY_READY && too_old(c, replay_core_oldest(g));
}

static bool any_unfit(const replay_core *c) {
  for (size_t i = 0; i < c->n_groups; i++)
    if (of_other_method(c, c->groups[i]) || group_too_old(c, c->groups[i])) return true;
  return false;
}

static agrl_rc sweep(replay_core *c, void *user, agrl_error *err) {
  (void)user;
  (void)err;
  for (size_t i = 0; i < c->n_groups; i++) {
    replay_group *g = c->groups[i];
    if (of_other_method(c, g)) replay_core_retire(c, g, REPLAY_CAUSE_METHOD);
    else if (group_too_old(c, g)) replay_core_retire(c, g, REPLAY_CAUSE_STALE);
  }
  return AGRL_OK;
}

static agrl_rc arrive(replay_core *c, void *user, agrl_error *err) {
  uint64_t version = *(const uint64_t *)user;
  c->meta.version = version;
  for (size_t i = 0; i < c->n_groups; i++) {
    replay_group *g = c->groups[i];
    if (g->rec.state == REPLAY_LEASED && g->rec.lease_version == version) return_to_ready(c, g);
  }
  return sweep(c, NULL, err);
}

static bool arrival_changes(const replay_core *c, uint64_t version) {
  if (version != c->meta.version) return true;
  for (size_t i = 0; i < c->n_groups; i++)
    if (c->groups[i]->rec.state == REPLAY_LEASED && c->groups[i]->rec.lease_version == version) return true;
  return any_unfit(c);
}

static agrl_rc skip_ids(replay_core *c, void *user, agrl_error *err) {
  (void)err;
  c->meta.next_group = *(const uint64_t *)user + 1;
  return AGRL_OK;
}

agrl_rc replay_serve_skip_ids(replay_core *c, uint64_t max_group, agrl_error *err) {
  if (max_group < c->meta.next_group || max_group == UINT64_MAX) return AGRL_OK;
  agrl_logw("event=ids_skipped next_group=%" PRIu64 " max_group=%" PRIu64 " cause=\"the learner has trained groups that this store does not know\"",
            c->meta.next_group, max_group);
  return replay_core_write(c, skip_ids, &max_group, err);
}

agrl_rc replay_serve_arrive(replay_core *c, uint64_t version, agrl_error *err) {
  if (version < c->meta.version)
    return agrl_fail(err, AGRL_EVERSION, "a batch for version %" PRIu64 " was asked for, but version %" PRIu64 " has been reached", version,
                     c->meta.version);
  return arrival_changes(c, version) ? replay_core_write(c, arrive, &version, err) : AGRL_OK;
}

// Loading

typedef enum { LOAD_OK, LOAD_TOO_MUCH, LOAD_BAD } load_result;

// Whole groups only: *bytes grows by the records of a group that fits. One too large for any answer is as good as unreadable.
// why: set when a record could not be read.
static load_result load_group(replay_core *c, const replay_group_rec *rec, size_t *bytes, agrl_arena *arena, agrl_group *out, agrl_error *why) {
  agrl_msg_scored *members = agrl_arena_alloc(arena, rec->n_chosen * sizeof *members);
  agrl_buf b = {0};
  size_t size = 0;
  load_result result = rec->n_chosen ? LOAD_OK : LOAD_BAD;
  for (size_t i = 0; i < rec->n_chosen && result == LOAD_OK; i++) {
    agrl_buf_clear(&b);
    agrl_rc rc = replay_store_get_trace(c->store, &(replay_trace_key){rec->id, rec->chosen[i]}, &b, why);
    if (!rc) rc = agrl_scored_unpack(b.data, b.len, arena, &members[i], why);
    if (rc) {
      agrl_loge("event=trace_unreadable group=%" PRIu64 " member=%u cause=\"%s\"", rec->id, rec->chosen[i], why->msg);
      result = LOAD_BAD;
    } else if ((size += b.len) > c->batch_bytes_max) {
      agrl_loge("event=group_too_large group=%" PRIu64 " limit_bytes=%zu", rec->id, c->batch_bytes_max);
      result = LOAD_BAD;
    } else if (*bytes + size > c->batch_bytes_max) {
      result = LOAD_TOO_MUCH;
    }
  }
  agrl_buf_release(&b);
  if (result == LOAD_OK) *bytes += size;
  *out = (agrl_group){.id = rec->id,
                      .prompt_id = agrl_arena_strdup(arena, rec->prompt_id),
                      .plain_accuracy = rec->accuracy,
                      .level = rec->level,
                      .n = rec->n_chosen,
                      .members = members};
  return result;
}

// Serving

typedef struct lease_args {
  replay_group **groups;
  size_t n;
  uint64_t version;
} lease_args;

static agrl_rc lease(replay_core *c, void *user, agrl_error *err) {
  const lease_args *a = user;
  (void)err;
  for (size_t i = 0; i < a->n; i++) {
    replay_group *g = a->groups[i];
    replay_core_touch(c, g);
    g->rec.state = REPLAY_LEASED;
    g->rec.lease_version = a->version;
    if (g->rec.leases < UINT8_MAX) g->rec.leases++;
    c->counts.leased++;
  }
  return AGRL_OK;
}

static agrl_rc retire_unreadable(replay_core *c, void *user, agrl_error *err) {
  (void)err;
  replay_core_retire(c, user, REPLAY_CAUSE_UNREADABLE);
  return AGRL_OK;
}

// Groups under way that would be too old after the batch for the newest version has been trained.
static bool at_edge(const replay_core *c, const replay_group *g) {
  uint64_t oldest = g->members ? replay_core_oldest(g) : UINT64_MAX;
  return oldest != UINT64_MAX && agrl_version_age(c->meta.version, oldest) >= (uint64_t)c->conf->replay.staleness_bound;
}

static bool any_at_edge(const replay_core *c, bool climbing_only) {
  for (size_t i = 0; i < c->n_groups; i++) {
    const replay_group *g = c->groups[i];
    if (at_edge(c, g) && (!climbing_only || g->rec.state == REPLAY_CLIMB)) return true;
  }
  return false;
}

static agrl_rc last_call(replay_core *c, void *user, agrl_error *err) {
  (void)user;
  (void)err;
  for (size_t i = 0; i < c->n_groups; i++) {
    replay_group *g = c->groups[i];
    if (g->rec.state == REPLAY_CLIMB && at_edge(c, g)) replay_core_decide(c, g, true);
  }
  return AGRL_OK;
}

static int by_age(const void *a, const void *b) {
  const replay_group *x = *(replay_group *const *)a, *y = *(replay_group *const *)b;
  if (x->rec.min_version != y->rec.min_version) return x->rec.min_version < y->rec.min_version ? -1 : 1;
  return x->rec.id < y->rec.id ? -1 : x->rec.id > y->rec.id;
}

static size_t ready_by_age(const replay_core *c, replay_group **out) {
  size_t n = 0;
  for (size_t i = 0; i < c->n_groups; i++)
    if (c->groups[i]->rec.state == REPLAY_READY) out[n++] = c->groups[i];
  qsort(out, n, sizeof *out, by_age);
  return n;
}

static uint64_t may_serve(const replay_core *c, uint32_t want) {
  replay_limits limits = replay_core_limits(c);
  replay_flow flow = replay_core_flow(c);
  return replay_limit_serve(&limits, &flow, want);
}

agrl_rc replay_serve_try(replay_core *c, uint64_t version, uint32_t want, bool patient, uint64_t now_ns, agrl_arena *arena,
                         agrl_msg_batch *out, agrl_error *err) {
  // A slow actor's traces may have come in since the request, from a version too old for it.
  agrl_rc rc = any_unfit(c) ? replay_core_write(c, sweep, NULL, err) : AGRL_OK;
  *out = (agrl_msg_batch){.ready_groups = replay_core_count(c, REPLAY_READY), .rollouts = c->meta.traces};
  if (rc || may_serve(c, want) == 0 || (patient && any_at_edge(c, false))) return rc;
  rc = any_at_edge(c, true) ? replay_core_write(c, last_call, NULL, err) : AGRL_OK;
  uint64_t n = rc ? 0 : may_serve(c, want);
  if (n == 0) return rc;
  replay_group **ready = agrl_arena_alloc(arena, c->n_groups * sizeof *ready);
  agrl_group *groups = agrl_arena_alloc(arena, n * sizeof *groups);
  size_t n_ready = ready_by_age(c, ready), taken = 0, bytes = 0;
  while (taken < n && taken < n_ready) {
    agrl_error why = {0};
    load_result r = load_group(c, &ready[taken]->rec, &bytes, arena, &groups[taken], &why);
    if (r == LOAD_TOO_MUCH) break;
    if (why.code == AGRL_EAGAIN) return agrl_fail(err, why.code, "%s", why.msg);  // the group is as good as before
    if (r == LOAD_BAD) return replay_core_write(c, retire_unreadable, ready[taken], err);  // the caller tries again
    taken++;
  }
  lease_args a = {ready, taken, version};
  rc = taken ? replay_core_write(c, lease, &a, err) : AGRL_OK;
  if (rc) return rc;
  for (size_t i = 0; i < taken; i++) ready[i]->lease_end_ns = now_ns + c->conf->replay.batch_lease_ns;
  out->n_groups = taken;
  out->groups = groups;
  out->ready_groups = n_ready - taken;
  return AGRL_OK;
}

// Reports

// The live group, or the closed one brought back to memory for this transaction; NULL when the store has none.
static replay_group *recall(replay_core *c, uint64_t id) {
  replay_group *g = replay_core_find(c, id);
  replay_group_rec rec;
  if (g) replay_core_touch(c, g);
  else if (replay_store_get_group(c->store, id, &rec, NULL) == AGRL_OK) g = replay_core_add(c, &rec, true);
  return g;
}

static void mark_trained(replay_core *c, uint64_t id, uint64_t version) {
  replay_group *g = recall(c, id);
  if (!g) {
    agrl_logw("event=trained_unknown group=%" PRIu64 " version=%" PRIu64, id, version);
    return;
  }
  if (g->rec.n_chosen == 0) {
    agrl_loge("event=trained_unserved group=%" PRIu64 " state=%s", id, replay_state_name(g->rec.state));
    return;
  }
  if (g->rec.state == REPLAY_TRAINED) {
    if (g->rec.trained_version != version) {
      c->counts.double_trained++;
      agrl_loge("event=double_trained group=%" PRIu64 " first=%" PRIu64 " again=%" PRIu64, id, g->rec.trained_version, version);
    }
    return;
  }
  if (g->rec.state == REPLAY_RETIRED) c->meta.retired--;
  g->rec.state = REPLAY_TRAINED;
  g->rec.cause = REPLAY_CAUSE_NONE;
  g->rec.trained_version = version;
  c->meta.trained++;
}

static agrl_rc trained(replay_core *c, void *user, agrl_error *err) {
  const agrl_msg_trained *m = user;
  (void)err;
  for (size_t i = 0; i < m->n; i++) mark_trained(c, m->groups[i], m->version);
  if (m->version > c->meta.version) c->meta.version = m->version;
  return AGRL_OK;
}

agrl_rc replay_serve_trained(replay_core *c, const agrl_msg_trained *m, agrl_error *err) {
  return replay_core_write(c, trained, (void *)(uintptr_t)m, err);
}

static agrl_rc checkpointed(replay_core *c, void *user, agrl_error *err) {
  (void)err;
  c->meta.checkpoint = *(const uint64_t *)user;
  return AGRL_OK;
}

agrl_rc replay_serve_checkpointed(replay_core *c, uint64_t version, agrl_error *err) {
  return version > c->meta.checkpoint ? replay_core_write(c, checkpointed, &version, err) : AGRL_OK;
}

agrl_rc replay_serve_fetch(replay_core *c, const agrl_msg_groups_fetch *m, agrl_arena *arena, agrl_msg_batch *out, agrl_error *err) {
  *out = (agrl_msg_batch){.ready_groups = replay_core_count(c, REPLAY_READY), .rollouts = c->meta.traces};
  agrl_group *groups = agrl_arena_alloc(arena, (m->n ? m->n : 1) * sizeof *groups);
  size_t bytes = 0;
  for (size_t i = 0; i < m->n; i++) {
    replay_group_rec rec;
    agrl_error why = {0};
    load_result r = LOAD_BAD;
    if (!replay_store_get_group(c->store, m->ids[i], &rec, &why)) r = load_group(c, &rec, &bytes, arena, &groups[out->n_groups], &why);
    if (why.code == AGRL_EAGAIN || why.code == AGRL_EIO) return agrl_fail(err, why.code, "%s", why.msg);  // else the learner would give them up
    if (r == LOAD_TOO_MUCH) break;
    if (r == LOAD_OK) out->n_groups++;
  }
  out->groups = groups;
  return AGRL_OK;
}

static agrl_rc expire(replay_core *c, void *user, agrl_error *err) {
  uint64_t now = *(const uint64_t *)user;
  (void)err;
  for (size_t i = 0; i < c->n_groups; i++) {
    replay_group *g = c->groups[i];
    if (g->rec.state == REPLAY_LEASED && g->lease_end_ns <= now && g->rec.lease_version < c->meta.version)
      replay_core_retire(c, g, REPLAY_CAUSE_LEASE);
  }
  return AGRL_OK;
}

agrl_rc replay_serve_expire(replay_core *c, uint64_t now_ns, agrl_error *err) {
  for (size_t i = 0; i < c->n_groups; i++) {
    const replay_group *g = c->groups[i];
    if (g->rec.state == REPLAY_LEASED && g->lease_end_ns <= now_ns && g->rec.lease_version < c->meta.version)
      return replay_core_write(c, expire, &now_ns, err);
  }
  return AGRL_OK;
}

// HELLO

typedef struct listed {
  uint64_t id, version;
} listed;

typedef struct hello_args {
  const agrl_msg_hello *m;
  listed *list;  // sorted by id
  size_t n_list;
  uint64_t *undo;  // unlisted groups to be settled
  size_t n_undo, cap_undo;
} hello_args;

static int by_id(const void *a, const void *b) {
  uint64_t x = ((const listed *)a)->id, y = ((const listed *)b)->id;
  return x < y ? -1 : x > y;
}

static bool find_undo(void *user, const replay_group_rec *g) {
  hello_args *a = user;
  bool held = g->state == REPLAY_LEASED || (g->state == REPLAY_RETIRED && g->cause == REPLAY_CAUSE_LEASE);
  bool lost = g->state == REPLAY_TRAINED && g->trained_version > a->m->checkpoint_version;
  if (!held && !lost) return true;
  listed key = {g->id, 0};
  if (a->n_list && bsearch(&key, a->list, a->n_list, sizeof key, by_id)) return true;
  if (a->n_undo == a->cap_undo) {
    a->cap_undo = a->cap_undo ? 2 * a->cap_undo : 64;
    a->undo = agrl_xreallocarray(a->undo, a->cap_undo, sizeof *a->undo);
  }
  a->undo[a->n_undo++] = g->id;
  return true;
}

// A group that was handed out or TRAINED, and that no entry after the checkpoint names.
static void settle_unlisted(replay_core *c, replay_group *g, uint64_t checkpoint) {
  uint64_t lease = g->rec.lease_version;
  if (g->rec.state != REPLAY_TRAINED && lease < checkpoint) {
    if (AGRL_VERSION_EPOCH(lease) == AGRL_VERSION_EPOCH(checkpoint)) mark_trained(c, g->rec.id, lease + 1);
    else if (g->rec.state == REPLAY_LEASED) replay_core_retire(c, g, REPLAY_CAUSE_LEASE);
    return;
  }
  c->meta.trained -= g->rec.state == REPLAY_TRAINED;
  c->meta.retired -= g->rec.state == REPLAY_RETIRED;
  return_to_ready(c, g);
}

static agrl_rc hello(replay_core *c, void *user, agrl_error *err) {
  hello_args *a = user;
  a->n_undo = 0;
  agrl_rc rc = replay_store_each_group(c->store, 0, find_undo, a, NULL, err);
  for (size_t i = 0; !rc && i < a->n_undo; i++) {
    replay_group *g = recall(c, a->undo[i]);
    if (!g) continue;
    settle_unlisted(c, g, a->m->checkpoint_version);
  }
  for (size_t i = 0; !rc && i < a->n_list; i++) {
    if (i > 0 && a->list[i - 1].id == a->list[i].id && a->list[i - 1].version != a->list[i].version) {
      c->counts.double_trained++;
      agrl_loge("event=double_trained group=%" PRIu64 " cause=\"listed twice in the learner's journal\"", a->list[i].id);
    }
    replay_group *g = recall(c, a->list[i].id);
    if (g && g->rec.state == REPLAY_TRAINED) g->rec.trained_version = a->list[i].version;  // the journal is the truth
    else if (g) mark_trained(c, a->list[i].id, a->list[i].version);
    if (a->list[i].id >= c->meta.next_group) c->meta.next_group = a->list[i].id + 1;
  }
  if (a->m->max_group >= c->meta.next_group && a->m->max_group < UINT64_MAX) c->meta.next_group = a->m->max_group + 1;
  c->meta.version = a->m->version;
  c->meta.checkpoint = a->m->checkpoint_version;
  return rc;
}

agrl_rc replay_serve_hello(replay_core *c, const agrl_msg_hello *m, agrl_msg_hello_reply *out, agrl_error *err) {
  if (m->run != c->run)
    return agrl_fail(err, AGRL_EVERSION, "the learner's run %016" PRIx64 " is not this store's run %016" PRIx64, m->run, c->run);
  uint64_t before = c->meta.version;
  hello_args a = {.m = m};
  for (size_t e = 0; e < m->n_entries; e++) a.n_list += m->entries[e].n_groups;
  a.list = agrl_xcalloc(a.n_list ? a.n_list : 1, sizeof *a.list);
  size_t n = 0;
  for (size_t e = 0; e < m->n_entries; e++)
    for (size_t i = 0; i < m->entries[e].n_groups; i++) a.list[n++] = (listed){m->entries[e].groups[i], m->entries[e].version};
  qsort(a.list, n, sizeof *a.list, by_id);
  agrl_rc rc = replay_core_write(c, hello, &a, err);
  free(a.list);
  free(a.undo);
  if (!rc) *out = (agrl_msg_hello_reply){.version = before, .ready_groups = replay_core_count(c, REPLAY_READY)};
  return rc;
}
