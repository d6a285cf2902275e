// SPDX-License-Identifier: Apache-2.0
// The compute thread, top to bottom: find the run, warm start, redo the journal, then
//   batch -> step -> journal (fsync) -> publish -> tell replay -> report -> now and then a checkpoint.
// journal.c says why that order survives kill -9 at any point.
#include "learner/compute.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/ckpt/adapter.h"
#include "common/ckpt/hf.h"
#include "common/tensor/tensor.h"
#include "learner/publish.h"
#include "learner/resume.h"

enum { SFT_LINE_EVERY = 10, DONE_DELAY_MS = 2000, EMPTY_PAUSE_MS = 50, SAVE_AGAIN_S = 15 };

static void set_phase(learner_compute *c, const char *phase) { atomic_store(&c->phase, phase); }

// ---- checkpoints

static void note_checkpoint(learner_compute *c, uint64_t t0) {
  struct statvfs fs;
  agrl_metric_observe(c->metrics.ckpt_s, 0, agrl_since_s(t0));
  agrl_metric_observe(c->metrics.phase, LEARNER_PHASE_CHECKPOINT, agrl_since_s(t0));
  agrl_metric_set(c->metrics.ckpt_time, 0, (double)agrl_wall_ns() / 1e9);
  if (statvfs(c->checkpoints, &fs) == 0) agrl_metric_set(c->metrics.ckpt_free, 0, (double)fs.f_bavail * (double)fs.f_frsize);
}

static agrl_rc save_version(learner_compute *c, agrl_error *err) {
  if (c->checkpoint_version == c->core.version) return AGRL_OK;
  uint64_t t0 = agrl_mono_ns();
  char name[32];
  agrl_ckpt_version_name(c->core.version, name);
  char *dir = agrl_path_join(c->checkpoints, name);
  agrl_rc rc = learner_checkpoint_save(&c->core, dir, err);
  if (rc == AGRL_OK) rc = agrl_ckpt_set_latest(c->checkpoints, name, err);
  free(dir);
  if (rc != AGRL_OK) return rc;
  c->checkpoint_version = c->core.version;
  learner_journal_passed(c->journal, c->checkpoint_version);
  note_checkpoint(c, t0);
  agrl_logi("checkpoint name=%s seconds=%.2f", name, agrl_since_s(t0));
  learner_link_event(c->link, "checkpoint", agrl_xasprintf("\"version\":%" PRIu64 ",\"name\":\"%s\"", c->core.version, name));
  agrl_error why;
  if (learner_request_checkpointed(c, &why) != AGRL_OK) agrl_logw("replay not told of the checkpoint, HELLO will: %s", why.msg);
  if (agrl_ckpt_retain(c->checkpoints, (size_t)c->config->learner.keep, &why) != AGRL_OK) agrl_logw("old checkpoints stay: %s", why.msg);
  return AGRL_OK;
}

// In the middle of a run a failed checkpoint (disk full) is an alarm, not the end: the journal still covers every step.
static void save_or_warn(learner_compute *c) {
  agrl_error err;
  c->save_tried_ns = agrl_mono_ns();
  c->save_failed = save_version(c, &err) != AGRL_OK;
  if (!c->save_failed) return;
  agrl_loge("checkpoint failed, going on: %s", err.msg);
  agrl_metric_add(c->metrics.ckpt_failures, 0, 1);
  learner_link_event(c->link, "checkpoint_failed", agrl_xasprintf("\"version\":%" PRIu64, c->core.version));
}

// ---- warm start

static bool sft_stopping(void *user) { return learner_link_stopping(((learner_compute *)user)->link); }

static void sft_progress(void *user, const learner_sft_stats *st) {
  learner_compute *c = user;
  set_phase(c, "sft");  // here, because what comes before the first step belongs to the start
  atomic_fetch_add(&c->moved, 1);
  learner_metrics_sft(&c->metrics, st);
  if (st->step % SFT_LINE_EVERY != 0 && st->step != 1 && st->step != st->steps) return;
  agrl_buf line = {0};
  learner_line_sft(st, &line);
  agrl_jsonl_write(c->lines, line.data, line.len);
  agrl_buf_release(&line);
}

static agrl_rc sft_save(void *user, agrl_error *err) {
  learner_compute *c = user;
  uint64_t t0 = agrl_mono_ns();
  char name[32], *root = agrl_path_join(c->checkpoints, "sft-progress");
  c->core.version = AGRL_VERSION(0, c->core.cursor.step);
  agrl_ckpt_version_name(c->core.version, name);
  char *dir = agrl_path_join(root, name);
  agrl_rc rc = learner_checkpoint_save(&c->core, dir, err);
  if (rc == AGRL_OK) rc = agrl_ckpt_retain(root, 1, err);
  if (rc == AGRL_OK) note_checkpoint(c, t0);
  c->core.version = 0;
  free(dir);
  free(root);
  return rc;
}

static agrl_rc link_sft(learner_compute *c, agrl_error *err) {
  char *progress = agrl_path_join(c->checkpoints, "sft-progress");
  agrl_rc rc = agrl_ckpt_set_latest(c->checkpoints, "sft", err);
  if (rc == AGRL_OK) rc = agrl_file_remove_tree(progress, err);
  free(progress);
  return rc;
}

// The result of the warm start is version 1:0, the first that is served, the frozen reference, and RL begins with fresh moments.
static agrl_rc settle_sft(learner_compute *c, agrl_error *err) {
  learner_core *core = &c->core;
  char *dir = agrl_path_join(c->checkpoints, "sft");
  size_t bytes = core->optim.trained->n_elements * sizeof(float);
  memset(core->optim.m, 0, bytes);
  memset(core->optim.v, 0, bytes);
  core->optim.updates = 0;
  core->bad_steps = 0;
  core->version = AGRL_VERSION(1, 0);
  uint64_t t0 = agrl_mono_ns();
  agrl_rc rc = learner_checkpoint_save(core, dir, err);
  if (rc == AGRL_OK) rc = link_sft(c, err);
  if (rc == AGRL_OK && agrl_config_needs_reference(core->config)) rc = learner_reference_load(core, dir, err);
  if (rc == AGRL_OK && agrl_config_needs_traces(core->config)) rc = learner_core_need_sft(core, err);
  if (rc == AGRL_OK) note_checkpoint(c, t0);
  c->checkpoint_version = core->version;
  free(dir);
  return rc;
}

static agrl_rc warm_start(learner_compute *c, agrl_error *err) {
  learner_sft_hooks hooks = {c, sft_stopping, sft_progress, sft_save};
  bool finished;
  uint64_t t0 = agrl_mono_ns();
  agrl_rc rc = learner_sft_run(&c->core, &hooks, &finished, err);
  if (rc == AGRL_OK && !finished) return agrl_fail(err, AGRL_EAGAIN, "stopping");
  if (rc == AGRL_OK) rc = settle_sft(c, err);
  if (rc == AGRL_OK) agrl_logi("warm start done steps=%lld seconds=%.1f", (long long)c->core.cursor.step, agrl_since_s(t0));
  return rc;
}

// ---- publishing

// What actors need of adapters: their description, and the base that they are merged with. NULL without.
static char *adapters(const learner_compute *c) {
  agrl_buf text = {0};
  if (c->core.lora == NULL) return NULL;
  agrl_adapter_write_config(c->core.lora, "", &text);
  return agrl_buf_take(&text);
}

static agrl_weights *base(const learner_compute *c) {
  if (c->core.lora == NULL) return NULL;
  agrl_weights_hash(c->core.optim.base);  // computed here, not by the loop thread
  return agrl_weights_ref(c->core.optim.base);
}

static agrl_rc hand_over_model(learner_compute *c, agrl_error *err) {
  char *config_path = agrl_path_join(c->checkpoints, "sft/config.json"), *tokenizer = agrl_path_join(c->checkpoints, "tokenizer.json");
  agrl_buf text = {0};
  agrl_rc rc = agrl_file_read(config_path, 1 << 20, &text, err);
  char *absolute = realpath(tokenizer, NULL);  // actors may have another working directory
  if (rc == AGRL_OK && absolute == NULL) rc = agrl_fail(err, AGRL_ENOENT, "%s: not found", tokenizer);
  if (rc == AGRL_OK) learner_link_model(c->link, (learner_model){agrl_buf_take(&text), absolute, adapters(c), base(c)});
  else free(absolute);
  agrl_buf_release(&text);
  free(config_path);
  free(tokenizer);
  return rc;
}

// What leads actors to w: a delta from the version before, and now and then an anchor, for those who have nothing.
static void add_packages(learner_compute *c, learner_release *r) {
  if (c->published != NULL) {
    size_t changed;
    r->delta = learner_package_new(c->published, r->weights, c->core.pool, &changed);
    agrl_metric_set(c->metrics.changed, 0, (double)changed / (double)c->core.optim.trained->n_elements);
  }
  if (c->until_anchor-- == 0) {
    r->anchor = learner_package_new(NULL, r->weights, c->core.pool, NULL);
    c->until_anchor = c->config->learner.anchor_every - 1;
  }
  agrl_weights_unref(c->published);
  c->published = agrl_weights_ref(r->weights);
}

// What travels: the weights, or the adapters that actors merge with their base.
static agrl_weights *snapshot(learner_compute *c) {
  return agrl_weights_new(c->core.optim.trained, c->core.optim.rounded, c->core.version);
}

static void publish(learner_compute *c, agrl_weights *w, const char *phase, uint64_t t0) {
  learner_release r = {.weights = w, .phase = phase};
  agrl_weights_hash(w);  // computed here, so that the loop thread finds it ready
  if (c->published == NULL || agrl_weights_version(c->published) != c->core.version) add_packages(c, &r);  // else: a new phase only
  learner_link_publish(c->link, r);
  agrl_metric_set(c->metrics.version, 0, (double)c->core.version);
  agrl_metric_set(c->metrics.step, 0, AGRL_VERSION_STEP(c->core.version));
  agrl_metric_observe(c->metrics.publish_s, 0, agrl_since_s(t0));
  agrl_metric_observe(c->metrics.phase, LEARNER_PHASE_PUBLISH, agrl_since_s(t0));
}

// ---- resume

// A checkpoint is written after the entries that led to it. Without them nobody knows what was trained.
static agrl_rc journal_reaches(const learner_compute *c, agrl_error *err) {
  size_t n;
  const learner_entry *e = learner_journal_entries(c->journal, &n);
  const uint32_t last = n > 0 ? AGRL_VERSION_STEP(e[n - 1].step.version) : 0;
  if (last >= AGRL_VERSION_STEP(c->checkpoint_version)) return AGRL_OK;
  return agrl_fail(err, AGRL_EPARSE, "%s/journal.jsonl ends at step %" PRIu32 ", the newest checkpoint is of step %" PRIu32
                   ": the journal was lost or replaced; restore it, or start a new run directory with model.init at the checkpoint",
                   c->config->run.dir, last, AGRL_VERSION_STEP(c->checkpoint_version));
}

static agrl_rc open_journal(learner_compute *c, agrl_error *err) {
  char *path = agrl_path_join(c->config->run.dir, "journal.jsonl");
  agrl_rc rc = learner_journal_open(path, &c->journal, err);
  free(path);
  if (rc == AGRL_OK) rc = journal_reaches(c, err);
  if (rc == AGRL_OK) agrl_metric_add(c->metrics.torn, 0, (double)learner_journal_torn_bytes(c->journal));
  if (rc == AGRL_OK) learner_journal_passed(c->journal, c->checkpoint_version);
  return rc;
}

static agrl_rc redo_journal(learner_compute *c, const learner_origin *origin, agrl_error *err) {
  set_phase(c, "resume");
  uint64_t t0 = agrl_mono_ns(), before = c->core.version;
  learner_redo redo;
  agrl_rc rc = learner_resume_redo(&c->core, c->journal, learner_request_groups, c, &redo, err);
  if (rc != AGRL_OK || origin->stage == LEARNER_STAGE_SFT) return rc;  // straight from the warm start: nothing was resumed
  agrl_metric_add(c->metrics.resume, redo.exact ? 0 : 1, 1);
  agrl_logi("resumed checkpoint=%" PRIu32 ":%" PRIu32 " redone=%zu lost=%zu exact=%s seconds=%.2f", AGRL_VERSION_EPOCH(before),
            AGRL_VERSION_STEP(before), redo.redone, redo.lost, redo.exact ? "yes" : "no", agrl_since_s(t0));
  learner_link_event(c->link, "resumed",
                     agrl_xasprintf("\"checkpoint\":%" PRIu64 ",\"version\":%" PRIu64 ",\"redone\":%zu,\"lost\":%zu,\"exact\":%s,\"mismatch\":%" PRIu64,
                                    before, c->core.version, redo.redone, redo.lost, redo.exact ? "true" : "false", redo.mismatch_version));
  return redo.exact ? AGRL_OK : learner_request_hello(c, err);  // the surviving line is another one now
}

// ---- the training loop

static void report(learner_compute *c, learner_step_stats *st) {
  atomic_fetch_add(&c->moved, 1);
  learner_metrics_step(&c->metrics, st);
  agrl_buf line = {0};
  learner_line_step(st, &line);
  agrl_jsonl_write(c->lines, line.data, line.len);
  agrl_buf_release(&line);
}

static agrl_rc journal_step(learner_compute *c, const agrl_msg_batch *b, const uint64_t *ids, const learner_step_stats *st,
                            agrl_weights *w, agrl_error *err) {
  agrl_sha256 hash = agrl_weights_hash(w);
  return learner_journal_append(c->journal, c->core.version, ids, b->n_groups, &hash, learner_step_outcome(st), err);
}

// A checkpoint that failed is tried again while waiting: replay evicts only what a checkpoint covers, so that with a full store
// there may be no batch before there is one.
static agrl_rc next_batch(learner_compute *c, agrl_msg_batch *out, agrl_error *err) {
  for (;;) {
    agrl_rc rc = learner_request_batch(c, out, err);
    if (rc != AGRL_OK || out->n_groups > 0) return rc;
    if (c->save_failed && agrl_since_s(c->save_tried_ns) > SAVE_AGAIN_S) save_or_warn(c);
    learner_link_sleep(c->link, out->retry_ms > 0 ? out->retry_ms : EMPTY_PAUSE_MS);
  }
}

static agrl_rc train_one(learner_compute *c, agrl_error *err) {
  uint64_t t0 = agrl_mono_ns();
  agrl_msg_batch batch;
  agrl_rc rc = next_batch(c, &batch, err);
  if (rc != AGRL_OK) return rc;
  double waited = agrl_since_s(t0);
  learner_step_stats st;
  rc = learner_step_run(&c->core, batch.groups, batch.n_groups, &st, err);
  if (rc != AGRL_OK) return rc;
  st.wait_seconds = waited;
  st.ready_groups = batch.ready_groups;
  st.rollouts = batch.rollouts;
  uint64_t *ids = agrl_arena_alloc(&c->arena, (batch.n_groups + 1) * sizeof *ids);
  for (size_t i = 0; i < batch.n_groups; i++) ids[i] = batch.groups[i].id;
  uint64_t publish_t0 = agrl_mono_ns();
  agrl_weights *w = snapshot(c);
  rc = journal_step(c, &batch, ids, &st, w, err);
  if (rc != AGRL_OK) {
    agrl_weights_unref(w);
  } else {
    publish(c, w, "rl", publish_t0);
    report(c, &st);
    rc = learner_request_trained(c, ids, batch.n_groups, err);
  }
  learner_step_stats_release(&st);
  if (rc == AGRL_OK && c->core.bad_steps >= LEARNER_BAD_STEPS_MAX)
    rc = agrl_fail(err, AGRL_ESELFCHECK, "%u steps in a row were not finite: lower grpo.lr (now %g) and start from a checkpoint",
                   c->core.bad_steps, c->config->grpo.lr);
  return rc;
}

static agrl_rc train(learner_compute *c, agrl_error *err) {
  set_phase(c, "rl");
  agrl_rc rc = AGRL_OK;
  while (rc == AGRL_OK && AGRL_VERSION_STEP(c->core.version) < (uint64_t)c->config->grpo.versions) {
    rc = train_one(c, err);
    if (rc == AGRL_OK && AGRL_VERSION_STEP(c->core.version) % (uint64_t)c->config->learner.checkpoint_every == 0) save_or_warn(c);
  }
  agrl_error why = {0};
  if ((rc == AGRL_OK || rc == AGRL_EAGAIN) && save_version(c, &why) != AGRL_OK) {
    agrl_metric_add(c->metrics.ckpt_failures, 0, 1);
    return agrl_fail(err, why.code, "last checkpoint: %s", why.msg);
  }
  return rc;
}

// AGRL_OK: the job is done; AGRL_EAGAIN: stopped on request, all saved.
static agrl_rc run(learner_compute *c, agrl_error *err) {
  learner_origin origin;
  agrl_rc rc = agrl_tensor_init(err);
  if (rc == AGRL_OK) rc = learner_resume_open(&c->core, c->checkpoints, &origin, err);
  if (rc != AGRL_OK) return rc;
  c->checkpoint_version = origin.checkpoint_version;
  if (origin.stage == LEARNER_STAGE_SFT) rc = warm_start(c, err);
  else if (c->checkpoint_version == AGRL_VERSION(1, 0)) rc = link_sft(c, err);  // the former process may have died before
  if (rc != AGRL_OK || agrl_config_versions(c->config) == 0) return rc;
  rc = open_journal(c, err);
  if (rc == AGRL_OK) rc = hand_over_model(c, err);
  if (rc == AGRL_OK) rc = learner_request_hello(c, err);
  if (rc == AGRL_OK) rc = redo_journal(c, &origin, err);
  if (rc != AGRL_OK) return rc;
  publish(c, snapshot(c), "rl", agrl_mono_ns());
  return train(c, err);
}

void *learner_compute_main(void *arg) {
  learner_compute *c = arg;
  agrl_error err = {0};
  agrl_rc rc = run(c, &err);
  if (rc == AGRL_OK) {
    set_phase(c, "done");
    if (c->journal != NULL) publish(c, snapshot(c), "done", agrl_mono_ns());
    learner_link_event(c->link, "done", agrl_xasprintf("\"version\":%" PRIu64, c->core.version));
    agrl_logi("done version=%" PRIu32 ":%" PRIu32, AGRL_VERSION_EPOCH(c->core.version), AGRL_VERSION_STEP(c->core.version));
    learner_link_finish(c->link, 0, c->journal != NULL ? DONE_DELAY_MS : 0);
  } else if (rc == AGRL_EAGAIN && learner_link_stopping(c->link)) {
    agrl_logi("stopped on request version=%" PRIu64 " sft_step=%lld", c->core.version, (long long)c->core.cursor.step);
    learner_link_finish(c->link, 0, 0);
  } else {
    agrl_loge("%s", err.msg);
    learner_link_event(c->link, "failed", agrl_xasprintf("\"exit\":%d", agrl_rc_exit(rc)));
    learner_link_finish(c->link, agrl_rc_exit(rc), 0);
  }
  return NULL;
}

void learner_compute_release(learner_compute *c) {
  learner_journal_close(c->journal);
  agrl_weights_unref(c->published);  // before its layout goes with the core
  learner_core_release(&c->core);
  agrl_arena_release(&c->arena);
  agrl_jsonl_close(c->lines);
  free(c->checkpoints);
}
