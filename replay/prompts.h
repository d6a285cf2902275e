// SPDX-License-Identifier: Apache-2.0
// Prompts: the rows of data.train with their history, and which one comes next. Rows are walked in an order shuffled anew for
// every pass; a share of the picks (our constant, 1 in 4) goes instead to a prompt seen before, drawn by priority:
//   uniform   never               priority  difficulty            fresh  difficulty * 2^(-age / half-life)
// difficulty = (1 - running accuracy) * 2^-(groups retired in a row). Every draw depends on (seed, group id) only, so a
// restart picks the same. Owned by the loop thread; rows are borrowed.
#ifndef AGRL_REPLAY_PROMPTS_H
#define AGRL_REPLAY_PROMPTS_H

#include "common/task/task.h"
#include "replay/schema.h"

#define REPLAY_NO_PROMPT UINT32_MAX
#define REPLAY_REVISIT_SHARE 0.25

typedef struct replay_prompt {
  const agrl_row *row;
  uint64_t key;      // of the prompts table: hash of the id
  bool levels_known;
  uint32_t levels;   // bit L-1: level L adds text to the level below
  double accuracy;   // as in replay_prompt_rec
  uint32_t tries, guided, fruitless;
  uint64_t last_version;
} replay_prompt;

typedef struct replay_prompts {
  const agrl_task_text *text;
  replay_prompt *v;
  const agrl_row *reference_end;  // rows from here on have no reference trace that may be used; NULL: all may
  size_t n, skipped;       // skipped: rows with the id of an earlier row, or with one too long
  uint32_t *slots;         // hash table: index + 1
  size_t n_slots;
  uint64_t seed;
  uint32_t *order;         // of pass order_epoch
  uint64_t order_epoch;    // UINT64_MAX: none yet
  double *weights;         // scratch of a draw
  uint8_t *busy;           // n; the scheduler's, for replay_pick
} replay_prompts;

typedef struct replay_pick {  // what a pick depends on
  int selector;               // AGRL_SELECT_*
  double half_life;           // versions
  uint64_t version, group;
  const uint8_t *busy;        // by prompt: has an unfinished group, not picked while another can be; NULL: none has
} replay_pick;

void replay_prompts_init(replay_prompts *p, const agrl_row *rows, size_t n, const agrl_task_text *text, uint64_t seed);
void replay_prompts_release(replay_prompts *p);
uint32_t replay_prompts_find(const replay_prompts *p, const char *id);  // index or REPLAY_NO_PROMPT
uint32_t replay_prompts_levels(replay_prompts *p, uint32_t i);          // rendered on first use
bool replay_prompts_reference(const replay_prompts *p, uint32_t i);     // the row has a reference trace that may be used
// Only the first max of the rows that have one may be used (sft.max_rows).
void replay_prompts_limit_references(replay_prompts *p, const agrl_row *rows, size_t n, size_t max);
void replay_prompts_observe(replay_prompt *p, double accuracy, uint64_t version);
double replay_prompts_priority(const replay_prompt *p, int selector, double half_life, uint64_t version);
// epoch and cursor: position of the walk, advanced. n must be > 0.
uint32_t replay_prompts_pick(replay_prompts *p, const replay_pick *how, uint64_t *epoch, uint64_t *cursor);
void replay_prompts_record(const replay_prompt *p, replay_prompt_rec *out);
bool replay_prompts_restore(replay_prompts *p, const replay_prompt_rec *rec);  // false: no such row any more

#endif
