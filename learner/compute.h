// SPDX-License-Identifier: Apache-2.0
// The compute thread: warm start, resume, training loop, checkpoints. Everything in learner_compute belongs to it, except
// `moved` and `phase`, which the loop thread reads.
#ifndef AGRL_LEARNER_COMPUTE_H
#define AGRL_LEARNER_COMPUTE_H

#include <stdatomic.h>

#include "learner/journal.h"
#include "learner/learner.h"
#include "learner/link.h"

typedef struct learner_compute {
  const agrl_config *config;
  uint64_t run;
  learner_link *link;
  learner_metrics metrics;
  learner_core core;
  learner_journal *journal;
  agrl_jsonl *lines;            // metrics.jsonl
  char *checkpoints;            // RUN/checkpoints
  uint64_t checkpoint_version;  // newest on disk
  bool save_failed;             // the newest that was due is not on disk
  uint64_t save_tried_ns;
  agrl_weights *published;      // the newest handed over: the base of the next delta
  int64_t until_anchor;         // publications until the next one brings an anchor
  agrl_arena arena;             // of the batch being trained
  _Atomic uint64_t moved;       // grows with every step, for the watchdog
  _Atomic(const char *) phase;  // "start", "sft", "resume", "rl", "done"
} learner_compute;

void *learner_compute_main(void *compute);  // pthread entry; ends with learner_link_finish
void learner_compute_release(learner_compute *c);

// requests.c: what the compute thread asks of replay. Each repeats until answered; AGRL_EAGAIN: the daemon is stopping.
agrl_rc learner_request_hello(learner_compute *c, agrl_error *err);
agrl_rc learner_request_batch(learner_compute *c, agrl_msg_batch *out, agrl_error *err);  // one answer: it may be empty
agrl_rc learner_request_trained(learner_compute *c, const uint64_t *groups, size_t n, agrl_error *err);
agrl_rc learner_request_checkpointed(learner_compute *c, agrl_error *err);
// learner_fetch_fn of resume.h; user is the learner_compute.
agrl_rc learner_request_groups(void *user, const agrl_journal_entry *e, agrl_arena *arena, const agrl_group **groups, agrl_error *err);

#endif
