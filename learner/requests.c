// SPDX-License-Identifier: Apache-2.0
// Requests to replay, repeated until they are answered: every one of them may be repeated safely (HELLO and TRAINED state
// facts, and asking again for a batch of the same version returns to READY what was leased in an answer that got lost).
#include <inttypes.h>
#include <stdlib.h>

#include "common/base/log.h"
#include "common/base/mem.h"
#include "learner/compute.h"

enum { TIMEOUT_MS = 3000, STOPPING_TIMEOUT_MS = 1000, FETCH_TIMEOUT_MS = 30000, PAUSE_MS = 200 };

// Calls until an answer of the wanted kind comes. An answer that says ENOENT is final; so is a failure once stopping: whatever
// replay was not told, HELLO tells it at the next start.
static agrl_rc insist(learner_compute *c, agrl_msg *m, agrl_msg_kind want, uint64_t timeout_ms, agrl_arena *arena, agrl_msg *out, agrl_error *err) {
  static agrl_log_limit limit;
  for (int tries = 1;; tries++) {
    bool stopping = learner_link_stopping(c->link);
    if (stopping && timeout_ms > STOPPING_TIMEOUT_MS) timeout_ms = STOPPING_TIMEOUT_MS;
    agrl_rc rc = learner_link_call(c->link, m, timeout_ms, arena, out, err);
    if (rc == AGRL_OK && out->kind == want) return AGRL_OK;
    if (rc == AGRL_ENOENT) return rc;
    if (rc == AGRL_OK) agrl_fail(err, AGRL_EPARSE, "replay answered %s with %s", agrl_msg_kind_name(m->kind), agrl_msg_kind_name(out->kind));
    uint64_t suppressed;
    if (agrl_log_allow(&limit, &suppressed))
      agrl_logw("request to replay failed, trying again kind=%s tries=%d cause=\"%s\" suppressed=%" PRIu64, agrl_msg_kind_name(m->kind),
                tries, err != NULL ? err->msg : "", suppressed);
    if (stopping || (!learner_link_sleep(c->link, PAUSE_MS) && want == AGRL_MSG_BATCH)) return agrl_fail(err, AGRL_EAGAIN, "stopping");
  }
}

agrl_rc learner_request_hello(learner_compute *c, agrl_error *err) {
  size_t n;
  agrl_journal_entry *entries = learner_journal_after(c->journal, c->checkpoint_version, &n);
  uint64_t version = n > 0 && entries[n - 1].version > c->core.version ? entries[n - 1].version : c->core.version;
  agrl_msg m = {.kind = AGRL_MSG_HELLO,
                .hello = {.run = c->run, .checkpoint_version = c->checkpoint_version, .version = version, .n_entries = n, .entries = entries,
                          .max_group = learner_journal_max_group(c->journal)}};
  agrl_arena arena;
  agrl_arena_init(&arena, 0);
  agrl_msg a;
  agrl_rc rc = insist(c, &m, AGRL_MSG_HELLO_REPLY, TIMEOUT_MS, &arena, &a, err);
  if (rc == AGRL_OK)
    agrl_logi("replay greeted entries=%zu version=%" PRIu64 " replay_version=%" PRIu64 " ready_groups=%" PRIu64, n, version,
              a.hello_reply.version, a.hello_reply.ready_groups);
  agrl_arena_release(&arena);
  free(entries);
  return rc;
}

// Groups that are in the journal already would be trained twice: they are taken out and counted, and replay is told again.
static void refuse_trained(learner_compute *c, agrl_msg_batch *b) {
  agrl_group *kept = agrl_arena_alloc(&c->arena, (b->n_groups + 1) * sizeof *kept);
  size_t n = 0;
  for (size_t i = 0; i < b->n_groups; i++) {
    bool again = learner_journal_has_group(c->journal, b->groups[i].id);
    for (size_t k = 0; !again && k < n; k++) again = kept[k].id == b->groups[i].id;
    if (!again) {
      kept[n++] = b->groups[i];
      continue;
    }
    agrl_loge("replay offered a group that is trained already: refused group=%" PRIu64, b->groups[i].id);
    agrl_metric_add(c->metrics.groups, LEARNER_OUT_ERROR, 1);
    learner_request_trained(c, &b->groups[i].id, 1, NULL);
  }
  b->groups = kept;
  b->n_groups = n;
}

agrl_rc learner_request_batch(learner_compute *c, agrl_msg_batch *out, agrl_error *err) {
  if (learner_link_stopping(c->link)) return agrl_fail(err, AGRL_EAGAIN, "stopping");
  agrl_arena_clear(&c->arena);
  agrl_msg a, m = {.kind = AGRL_MSG_BATCH_REQUEST,
                   .batch_request = {.version = c->core.version, .groups = (uint32_t)c->config->grpo.groups_per_step,
                                     .max_group = learner_journal_max_group(c->journal)}};
  agrl_rc rc = insist(c, &m, AGRL_MSG_BATCH, c->config->learner.batch_wait_ns / 1000000, &c->arena, &a, err);
  if (rc != AGRL_OK) return rc;
  *out = a.batch;
  if (out->n_groups > 0) refuse_trained(c, out);
  return AGRL_OK;
}

static agrl_rc tell(learner_compute *c, agrl_msg *m, agrl_error *err) {
  agrl_arena arena;
  agrl_arena_init(&arena, 0);
  agrl_msg a;
  agrl_rc rc = insist(c, m, AGRL_MSG_OK, TIMEOUT_MS, &arena, &a, err);
  agrl_arena_release(&arena);
  return rc;
}

agrl_rc learner_request_trained(learner_compute *c, const uint64_t *groups, size_t n, agrl_error *err) {
  agrl_msg m = {.kind = AGRL_MSG_TRAINED, .trained = {.version = c->core.version, .n = n, .groups = groups}};
  return tell(c, &m, err);
}

agrl_rc learner_request_checkpointed(learner_compute *c, agrl_error *err) {
  agrl_msg m = {.kind = AGRL_MSG_CHECKPOINTED, .checkpointed = {.version = c->checkpoint_version}};
  return tell(c, &m, err);
}

// Puts the groups of an answer where their ids stand in the entry; returns how many were still missing there.
static size_t place(const agrl_msg_batch *b, const agrl_journal_entry *e, agrl_group *out) {
  size_t placed = 0;
  for (size_t i = 0; i < e->n_groups; i++)
    for (size_t k = 0; k < b->n_groups && out[i].n == 0; k++)
      if (b->groups[k].id == e->groups[i] && b->groups[k].n > 0) {
        out[i] = b->groups[k];
        placed++;
      }
  return placed;
}

// An answer holds what fits a message, so asking goes on for the rest until an answer brings nothing new.
agrl_rc learner_request_groups(void *user, const agrl_journal_entry *e, agrl_arena *arena, const agrl_group **groups, agrl_error *err) {
  learner_compute *c = user;
  agrl_group *out = agrl_arena_alloc(arena, (e->n_groups + 1) * sizeof *out);
  uint64_t *missing = agrl_arena_alloc(arena, (e->n_groups + 1) * sizeof *missing);
  *groups = out;
  atomic_fetch_add(&c->moved, 1);
  for (;;) {
    size_t n = 0;
    for (size_t i = 0; i < e->n_groups; i++)
      if (out[i].n == 0) missing[n++] = e->groups[i];
    if (n == 0) return AGRL_OK;
    agrl_msg a, m = {.kind = AGRL_MSG_GROUPS_FETCH, .groups_fetch = {.n = n, .ids = missing}};
    agrl_rc rc = insist(c, &m, AGRL_MSG_BATCH, FETCH_TIMEOUT_MS, arena, &a, err);
    if (rc != AGRL_OK) return rc;
    if (place(&a.batch, e, out) == 0) return agrl_fail(err, AGRL_ENOENT, "replay has no group %" PRIu64, missing[0]);
  }
}
