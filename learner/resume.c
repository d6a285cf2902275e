// SPDX-License-Identifier: Apache-2.0
// Resume: the newest checkpoint, then the journal redone to the same hash. Exactness is checked, never assumed.
#include "learner/resume.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/ckpt/hf.h"

static agrl_rc open_rl(learner_core *c, const char *dir, const char *sft_dir, learner_origin *out, agrl_error *err) {
  agrl_rc rc = learner_checkpoint_load(c, dir, err);
  if (rc == AGRL_OK && agrl_config_needs_reference(c->config)) rc = learner_reference_resume(c, dir, sft_dir, err);
  out->stage = LEARNER_STAGE_RL;
  out->checkpoint_version = c->version;
  return rc;
}

static agrl_rc open_stage(learner_core *c, const char *checkpoints, const char *sft_dir, const char *progress, learner_origin *out,
                          agrl_error *err) {
  char *dir = NULL;
  uint64_t version;
  agrl_rc rc = agrl_ckpt_find_latest(checkpoints, &dir, &version, err);
  if (rc == AGRL_OK) {
    rc = open_rl(c, dir, sft_dir, out, err);
  } else if (rc == AGRL_ENOENT && agrl_file_exists(sft_dir)) {
    rc = open_rl(c, sft_dir, sft_dir, out, err);
  } else if (rc == AGRL_ENOENT && agrl_file_exists(progress) &&
             (rc = agrl_ckpt_find_latest(progress, &dir, &version, err)) == AGRL_OK) {
    rc = learner_checkpoint_load(c, dir, err);
    c->version = 0;
  } else if (rc == AGRL_ENOENT) {
    out->created = true;
    rc = learner_core_create(c, checkpoints, err);
  }
  if (rc == AGRL_OK && !out->created)
    agrl_logi("resume from=%s stage=%s version=%" PRIu32 ":%" PRIu32 " sft_step=%lld", dir ? dir : sft_dir,
              out->stage == LEARNER_STAGE_RL ? "rl" : "sft", AGRL_VERSION_EPOCH(c->version), AGRL_VERSION_STEP(c->version),
              (long long)c->cursor.step);
  free(dir);
  return rc;
}

agrl_rc learner_resume_open(learner_core *c, const char *checkpoints, learner_origin *out, agrl_error *err) {
  *out = (learner_origin){.stage = LEARNER_STAGE_SFT};
  agrl_rc rc = agrl_file_mkdirs(checkpoints, err);
  if (rc != AGRL_OK) return rc;
  if (c->config->lora.rank > 0) c->base_dir = agrl_path_join(checkpoints, "base");
  char *sft_dir = agrl_path_join(checkpoints, "sft"), *progress = agrl_path_join(checkpoints, "sft-progress");
  rc = open_stage(c, checkpoints, sft_dir, progress, out, err);
  free(sft_dir);
  free(progress);
  if (rc == AGRL_OK && c->bpe == NULL) rc = learner_core_tokenizer(c, checkpoints, err);
  if (rc == AGRL_OK && c->sft == NULL && out->stage == LEARNER_STAGE_RL && agrl_config_needs_traces(c->config))
    rc = learner_core_need_sft(c, err);
  return rc;
}

// ---- redo

typedef struct redo {
  learner_core *c;
  learner_journal *j;
  learner_redo *out;
  bool forked;
} redo;

static agrl_rc fork_line(redo *r, uint64_t base, const char *cause, agrl_error *err) {
  uint32_t epoch = learner_journal_epoch(r->j) + 1;
  agrl_rc rc = learner_journal_fork(r->j, base, epoch, cause, err);
  if (rc != AGRL_OK) return rc;
  r->forked = true;
  r->out->exact = false;
  r->c->version = AGRL_VERSION(epoch, AGRL_VERSION_STEP(r->c->version));
  return AGRL_OK;
}

static agrl_rc redo_entry(redo *r, const learner_entry *e, learner_fetch_fn fetch, void *user, agrl_arena *arena, agrl_error *err) {
  learner_core *c = r->c;
  const agrl_group *groups = NULL;
  agrl_rc rc = fetch(user, &e->step, arena, &groups, err);
  if (rc != AGRL_OK) return rc;
  uint64_t base = c->version;
  if (!r->forked) c->version = AGRL_VERSION(AGRL_VERSION_EPOCH(e->step.version), AGRL_VERSION_STEP(base));
  learner_step_stats st;
  rc = learner_step_run(c, groups, e->step.n_groups, &st, err);
  if (rc != AGRL_OK) return rc;
  char outcome[sizeof e->outcome];
  snprintf(outcome, sizeof outcome, "%s", learner_step_outcome(&st));
  learner_step_stats_release(&st);
  agrl_sha256 hash = learner_optim_hash(&c->optim);
  r->out->redone++;
  if (!r->forked && (c->version != e->step.version || memcmp(&hash, &e->hash, sizeof hash) != 0)) {
    char was[65], is[65];
    agrl_sha256_hex(&e->hash, was);
    agrl_sha256_hex(&hash, is);
    r->out->mismatch_version = e->step.version;
    agrl_loge("resume: version %" PRIu32 ":%" PRIu32 " does not come out as journaled (same build, CPU and configuration?): journal=%s "
              "redone=%s; going on in a new epoch",
              AGRL_VERSION_EPOCH(e->step.version), AGRL_VERSION_STEP(e->step.version), was, is);
    rc = fork_line(r, base, "hash mismatch", err);
  }
  if (rc == AGRL_OK && r->forked)
    rc = learner_journal_append(r->j, c->version, e->step.groups, e->step.n_groups, &hash, outcome, err);
  return rc;
}

// A copy: a fork drops the journal's own entries while they are being redone.
static learner_entry *entries_after(const learner_journal *j, uint64_t version, size_t *n) {
  size_t all;
  const learner_entry *e = learner_journal_entries(j, &all);
  learner_entry *out = agrl_xcalloc(all + 1, sizeof *out);
  *n = 0;
  for (size_t i = 0; i < all; i++) {
    if (e[i].step.version <= version) continue;
    uint64_t *ids = agrl_xcalloc(e[i].step.n_groups + 1, sizeof *ids);
    memcpy(ids, e[i].step.groups, e[i].step.n_groups * sizeof *ids);
    out[*n] = e[i];
    out[(*n)++].step.groups = ids;
  }
  return out;
}

agrl_rc learner_resume_redo(learner_core *c, learner_journal *j, learner_fetch_fn fetch, void *user, learner_redo *out, agrl_error *err) {
  *out = (learner_redo){.exact = true};
  redo r = {.c = c, .j = j, .out = out};
  size_t n;
  learner_entry *entries = entries_after(j, c->version, &n);
  agrl_arena arena;
  agrl_arena_init(&arena, 0);
  agrl_rc rc = AGRL_OK;
  for (size_t i = 0; rc == AGRL_OK && i < n; i++) {
    agrl_arena_clear(&arena);
    rc = redo_entry(&r, &entries[i], fetch, user, &arena, err);
    if (rc != AGRL_ENOENT) continue;
    out->lost = n - i;
    agrl_loge("resume: replay no longer has the groups of version %" PRIu32 ":%" PRIu32 "; %zu versions are given up, going on in a new epoch",
              AGRL_VERSION_EPOCH(entries[i].step.version), AGRL_VERSION_STEP(entries[i].step.version), out->lost);
    rc = fork_line(&r, c->version, "groups lost", err);
    break;
  }
  agrl_arena_release(&arena);
  for (size_t i = 0; i < n; i++) free((uint64_t *)entries[i].step.groups);
  free(entries);
  uint32_t epoch = learner_journal_epoch(j);  // of a fork after which nothing was journaled yet
  if (rc == AGRL_OK && epoch > AGRL_VERSION_EPOCH(c->version)) c->version = AGRL_VERSION(epoch, AGRL_VERSION_STEP(c->version));
  return rc;
}
