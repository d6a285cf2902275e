// SPDX-License-Identifier: Apache-2.0
// Where a start finds the run, and redoing the journal after the newest checkpoint. Compute thread only; the groups come
// through a callback, so tests resume without replay.
#ifndef AGRL_LEARNER_RESUME_H
#define AGRL_LEARNER_RESUME_H

#include "learner/journal.h"
#include "learner/learner.h"

typedef struct learner_origin {
  learner_stage stage;
  bool created;                 // nothing was there
  uint64_t checkpoint_version;  // RL: of the checkpoint loaded; 1:0 when only the SFT result is there
} learner_origin;

// Loads, in this order: the newest whole RL checkpoint, the SFT result, the newest SFT progress; or creates the model.
agrl_rc learner_resume_open(learner_core *c, const char *checkpoints, learner_origin *out, agrl_error *err);

typedef struct learner_redo {
  size_t redone;              // entries
  bool exact;                 // every hash came out as journaled
  uint64_t mismatch_version;  // the first that did not; 0: none
  size_t lost;                // entries that could not be redone because groups are gone
} learner_redo;

// Groups of a journal entry, in its order, in the arena. AGRL_ENOENT: replay does not have them all any more.
typedef agrl_rc (*learner_fetch_fn)(void *user, const agrl_journal_entry *e, agrl_arena *arena, const agrl_group **groups, agrl_error *err);

// Redoes the entries after c->version. On a mismatch or a loss the line forks (journal.c) and goes on in the next epoch.
agrl_rc learner_resume_redo(learner_core *c, learner_journal *j, learner_fetch_fn fetch, void *user, learner_redo *out, agrl_error *err);

#endif
