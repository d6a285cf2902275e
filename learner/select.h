// SPDX-License-Identifier: Apache-2.0
// From the groups of a batch to the rows that are trained on, in the batch's order, and the statistics of the batch as it
// came. Shared by select.c and step.c only.
#ifndef AGRL_LEARNER_SELECT_H
#define AGRL_LEARNER_SELECT_H

#include "learner/learner.h"

typedef struct learner_row {
  learner_seq seq;
  const agrl_msg_scored *member;  // NULL: a reference trace
  double advantage, weight;       // weight: as in learner_loss_row
  bool guided;
  int32_t *owned;                 // tokens of a reference trace
} learner_row;

// Rows borrow from groups; free them with learner_rows_free. Fills the batch part of *st. With DPO rows come in pairs, chosen
// and rejected.
size_t learner_select(const learner_core *c, const agrl_group *groups, size_t n, learner_row **rows, learner_step_stats *st);
void learner_rows_free(learner_row *rows, size_t n);

#endif
