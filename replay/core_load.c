// SPDX-License-Identifier: Apache-2.0
// Start: memory rebuilt from the store. Task leases are not stored: every member of a group under way that is not in is
// given out again with a higher attempt; a trace that was in flight meanwhile is then a duplicate of equal worth.
// Batches handed out stay LEASED: the learner says at its HELLO, or by its next request, what became of them.
#include <inttypes.h>
#include <math.h>

#include "common/base/log.h"
#include "replay/core.h"

replay_result replay_result_of(const agrl_msg_scored *s) {
  replay_result r = {.have = true,
                     .missing = s->missing || !isfinite(s->reward) || s->trace.stop == AGRL_STOP_ERROR || s->trace.n_tokens == 0,
                     .accurate = s->accurate,
                     .gates = s->g_format && s->g_rule,
                     .reward = s->missing ? 0 : s->reward,
                     .min_version = UINT64_MAX};
  for (size_t i = 0; i < s->trace.n_tokens; i++)
    if (s->trace.versions[i] < r.min_version) r.min_version = s->trace.versions[i];
  return r;
}

typedef struct loader {
  replay_core *core;
  replay_group *group;
  agrl_arena arena;
  uint64_t now_ns, bad_traces, max_id, gone_prompts;
} loader;

static bool load_group(void *user, const replay_group_rec *rec) {
  loader *l = user;
  replay_core *c = l->core;
  c->stored_groups++;
  if (rec->id > l->max_id) l->max_id = rec->id;
  if (rec->state >= REPLAY_TRAINED) return true;
  replay_group *g = replay_core_add(c, rec, true);
  g->touched = g->fresh = false;
  g->lease_end_ns = l->now_ns + c->conf->replay.batch_lease_ns;
  return true;
}

static bool load_prompt(void *user, uint64_t key, const replay_prompt_rec *rec) {
  loader *l = user;
  (void)key;
  if (!replay_prompts_restore(&l->core->prompts, rec)) l->gone_prompts++;
  return true;
}

static bool load_trace(void *user, const replay_trace_key *k, const void *data, size_t len) {
  loader *l = user;
  replay_group *g = l->group;
  agrl_msg_scored s;
  agrl_arena_clear(&l->arena);
  if (k->member >= g->n_members) return true;
  if (agrl_scored_unpack(data, len, &l->arena, &s, NULL)) {
    l->bad_traces++;
    g->results[k->member] = (replay_result){.have = true, .missing = true, .min_version = UINT64_MAX};
  } else {
    g->results[k->member] = replay_result_of(&s);
  }
  g->members[k->member].state = REPLAY_MEMBER_HAVE;
  return true;
}

static bool level_incomplete(const replay_group *g) {
  uint32_t lo = 0, hi = g->rec.n_plain;
  if (g->rec.state == REPLAY_CLIMB) {
    lo = replay_level_first(&g->rec, g->rec.level);
    hi = lo + g->rec.n_guided;
  }
  for (uint32_t i = lo; i < hi; i++)
    if (g->members[i].state != REPLAY_MEMBER_HAVE) return true;
  return false;
}

// Groups under way take up again, or end when their prompt has left the data set.
static agrl_rc resume_groups(replay_core *c, void *user, agrl_error *err) {
  (void)user;
  (void)err;
  for (size_t i = 0; i < c->n_groups; i++) {
    replay_group *g = c->groups[i];
    if (g->rec.state >= REPLAY_READY) continue;
    if (g->prompt == REPLAY_NO_PROMPT) {
      replay_core_retire(c, g, REPLAY_CAUSE_PROMPT_GONE);
    } else if (!replay_core_decide(c, g, false) && level_incomplete(g)) {
      g->rec.restarts++;
      c->counts.reissues_restart++;
    }
  }
  return AGRL_OK;
}

static agrl_rc load(replay_core *c, uint64_t now_ns, agrl_error *err) {
  loader l = {.core = c, .now_ns = now_ns};
  agrl_arena_init(&l.arena, 0);
  size_t bad_groups = 0, bad_prompts = 0;
  agrl_rc rc = replay_store_get_meta(c->store, &c->meta, err);
  if (!rc) rc = replay_store_each_group(c->store, 0, load_group, &l, &bad_groups, err);
  if (!rc) rc = replay_store_each_prompt(c->store, load_prompt, &l, &bad_prompts, err);
  for (size_t i = 0; !rc && i < c->n_groups; i++) {
    l.group = c->groups[i];
    if (l.group->members) rc = replay_store_each_trace(c->store, l.group->rec.id, load_trace, &l, err);
  }
  agrl_arena_release(&l.arena);
  if (rc) return rc;
  if (c->meta.next_group <= l.max_id) c->meta.next_group = l.max_id + 1;
  if (bad_groups || bad_prompts || l.bad_traces)
    agrl_loge("event=unreadable_records groups=%zu prompts=%zu traces=%" PRIu64, bad_groups, bad_prompts, l.bad_traces);
  if (l.gone_prompts) agrl_logw("event=prompts_gone count=%" PRIu64 " cause=\"history of rows that data.train no longer has\"", l.gone_prompts);
  return replay_core_write(c, resume_groups, NULL, err);
}

agrl_rc replay_core_open(replay_core *c, const agrl_config *conf, uint64_t run, const char *dir, const agrl_row *rows, size_t n_rows,
                         const agrl_task_text *text, uint64_t now_ns, agrl_error *err) {
  *c = (replay_core){.conf = conf, .run = run, .batch_bytes_max = REPLAY_BATCH_BYTES_MAX};
  if (conf->grpo.group_size > (int64_t)REPLAY_MAX_GROUP)
    return agrl_fail(err, AGRL_ECONFIG, "grpo.group_size: %lld is more than replay stores (%u)", (long long)conf->grpo.group_size, REPLAY_MAX_GROUP);
  replay_prompts_init(&c->prompts, rows, n_rows, text, (uint64_t)conf->run.seed);
  if (conf->run.method == AGRL_METHOD_DPO && conf->sft.max_rows > 0)
    replay_prompts_limit_references(&c->prompts, rows, n_rows, (size_t)conf->sft.max_rows);
  agrl_rc rc = c->prompts.n ? AGRL_OK : agrl_fail(err, AGRL_ECONFIG, "data.train: no usable row");
  replay_store_opts opts = {
      .map_bytes = conf->replay.map_bytes, .map_max_bytes = conf->replay.map_max_bytes, .sync = conf->replay.sync, .run = run};
  if (!rc) rc = replay_store_open(&c->store, dir, &opts, err);
  if (!rc) rc = load(c, now_ns, err);
  if (rc) replay_core_close(c);
  return rc;
}
