// SPDX-License-Identifier: Apache-2.0
// The journal of the surviving line of weights: RUN/journal.jsonl, one fsynced line per version, see journal.c for why it
// suffices. Used by the compute thread only.
#ifndef AGRL_LEARNER_JOURNAL_H
#define AGRL_LEARNER_JOURNAL_H

#include <stdbool.h>

#include "common/base/hash.h"
#include "common/wire/msg.h"

typedef struct learner_entry {
  agrl_journal_entry step;  // version reached, groups in the order trained
  agrl_sha256 hash;         // of the bf16 block at that version
  char outcome[12];         // "trained", "empty", "error"
} learner_entry;

typedef struct learner_journal learner_journal;

// Creates or reads path. A torn last line is cut off (logged, counted); a damaged line elsewhere is AGRL_EPARSE with its number.
agrl_rc learner_journal_open(const char *path, learner_journal **out, agrl_error *err);
void learner_journal_close(learner_journal *j);
size_t learner_journal_torn_bytes(const learner_journal *j);  // cut off by open

uint32_t learner_journal_epoch(const learner_journal *j);      // newest epoch named by an entry or a fork; 0: none

uint64_t learner_journal_max_group(const learner_journal *j);  // highest id ever journaled, forked away or not; 0: none

// The surviving entries after the checkpoint named last, oldest first; valid until the next append, fork or passed.
const learner_entry *learner_journal_entries(const learner_journal *j, size_t *n);
// Those newer than version, as HELLO carries them. The array is the caller's to free, its ids stay the journal's.
agrl_journal_entry *learner_journal_after(const learner_journal *j, uint64_t version, size_t *n);
bool learner_journal_has_group(const learner_journal *j, uint64_t group);  // trained in the surviving line, however long ago
// A durable checkpoint holds this version: entries up to it leave memory, not the file. No fork may go back behind it.
void learner_journal_passed(learner_journal *j, uint64_t checkpoint);

// Appends and fsyncs: when it returns OK the step has happened, whatever dies next.
agrl_rc learner_journal_append(learner_journal *j, uint64_t version, const uint64_t *groups, size_t n, const agrl_sha256 *hash,
                               const char *outcome, agrl_error *err);
// The line forks: entries newer than base are no longer part of it, and versions go on in a new epoch.
agrl_rc learner_journal_fork(learner_journal *j, uint64_t base, uint32_t epoch, const char *cause, agrl_error *err);

#endif
