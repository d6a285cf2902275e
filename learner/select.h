// SPDX-License-Identifier: Apache-2.0
// From the groups of a batch to the rows that are trained on, in the batch's order, and the statistics of the batch as it
// came. Shared by select.c and step.c only.
#ifndef AGRL_LEARNER_SELECT_H
#define AGRL_LEARNER_SELECT_H

#include "learner/learner.h"

typedef struct learner_row {
  learner_seq seq;
  const agrl_msg_scored *member;
  double advantage;
  bool guided;
} learner_row;

// *rows is the caller's to free (its contents borrow from groups). Fills the batch part of *st.
size_t learner_select(const learner_core *c, const agrl_group *groups, size_t n, learner_row **rows, learner_step_stats *st);

#endif
