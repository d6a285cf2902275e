// SPDX-License-Identifier: Apache-2.0
// Group assembly with Adaptive Guided Replay: what to do with a group, given the results that are in. A pure function of
// its arguments, so the answer does not depend on the order of arrival, and a restart decides the same.
//   plain rollouts complete -> accuracy p; p <= tau: climb the ladder; else ready, or retired when nothing is to be learned
//   a level complete -> a success: replace at most k of the lowest-reward failures; none: next level, at the end plain or retired
// DPO (rules->pairs): plain rollouts complete -> the first right and the first wrong one (exchangeable draws of the policy, so no
// choice is made by reward); none right: the wrong one alone, for the row's reference trace to be preferred to; else retired.
// A missing reward is never a 0: one among the plain rollouts retires the group, one among guided rollouts is no success.
#ifndef AGRL_REPLAY_ASSEMBLE_H
#define AGRL_REPLAY_ASSEMBLE_H

#include "replay/schema.h"

typedef struct replay_result {  // one rollout
  bool have;
  bool missing;        // no reward
  bool accurate;       // tier as labelled
  bool gates;          // format and rule gate passed
  double reward;
  uint64_t min_version;  // of its tokens
} replay_result;

typedef struct replay_rules {
  bool guided;              // adaptive guided replay on
  double tau;
  uint32_t warmup;          // versions without guidance
  uint32_t replace;         // k, at least 1
  double accuracy_low, accuracy_high;  // of groups with equal rewards: by which cause they are retired
  bool keep_zero_spread;
  bool pairs;               // DPO
} replay_rules;

typedef struct replay_task_facts {  // of the group's prompt
  uint32_t levels;  // bit L-1: level L says something that the level below does not
  bool reference;   // the row has a reference trace
} replay_task_facts;

typedef enum { REPLAY_DO_WAIT, REPLAY_DO_CLIMB, REPLAY_DO_READY, REPLAY_DO_RETIRE } replay_action;

typedef struct replay_decision {
  replay_action action;
  replay_cause cause;    // DO_RETIRE
  uint32_t level;        // DO_CLIMB: next level; DO_READY: highest level of a chosen member
  double accuracy;       // of the plain rollouts; NaN while incomplete
  uint64_t min_version;  // oldest token of the chosen, else of the plain rollouts that are in; UINT64_MAX: none
  uint32_t n_guided;     // chosen members that are guided
  uint16_t n_chosen;
  uint16_t chosen[REPLAY_MAX_GROUP];  // plain ones ascending, then guided by falling reward; pairs: right, wrong
} replay_decision;

// Member numbers of a group of G plain and K guided rollouts a level.
static inline uint32_t replay_level_first(const replay_group_rec *g, uint32_t level) {
  return g->n_plain + (level - 1) * (uint32_t)g->n_guided;
}
// 0: plain; otherwise 1-based. g->n_guided > 0 when member >= g->n_plain.
static inline uint32_t replay_member_level(const replay_group_rec *g, uint32_t member) {
  return member < g->n_plain ? 0 : 1 + (member - g->n_plain) / g->n_guided;
}

// results: by member number, for every level. step: of the newest weights. last_call: the group is decided now with what is in
// (it would be too old later).
void replay_assemble(const replay_rules *rules, const replay_group_rec *g, const replay_result *results, replay_task_facts facts,
                     uint32_t step, bool last_call, replay_decision *out);

#endif
