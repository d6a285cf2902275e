// SPDX-License-Identifier: Apache-2.0
// Evaluation while training: each checkpoint whose version is a multiple of eval.interval, and the last one, is scored by
// agrl-eval at the lowest priority, beside the training, on data.dev and the files of data.eval. Results go to
// RUN/eval/VERSION/SPLIT.json; the version with the best macro F1 on the first of the files is kept as checkpoints/best. When
// one takes longer than the next takes to be trained, the newest is next and those between are left out. What was done is
// read from the files, so a job that resumes goes on. One at a time; the supervisor's thread only.
#ifndef AGRL_CTL_EVALS_H
#define AGRL_CTL_EVALS_H

#include <stdbool.h>
#include <sys/types.h>

#include "common/conf/config.h"
#include "deploy/ctl/view.h"

typedef struct ctl_evals {
  const agrl_config *config;
  ctl_view *view;       // told of results
  char *program, *root;  // agrl-eval; the checkpoints
  char *files;          // still to be done of the one under way
  const char *rest;     // what is left of them
  pid_t pid;            // 0: none under way
  char name[32];        // version under way
  char done[32];        // newest version that was tried
  char best[32];        // "" before the first
  double best_macro_f1;
  uint64_t looked_ns;
} ctl_evals;

// Nothing is ever started when eval.interval is 0 or there are no held-out rows. AGRL_ENOENT without agrl-eval.
agrl_rc ctl_evals_init(ctl_evals *e, const agrl_config *config, ctl_view *view, agrl_error *err);
// Starts what is due; looks once a second, at once when `now`.
void ctl_evals_tick(ctl_evals *e, bool now);
void ctl_evals_reap(ctl_evals *e);  // on SIGCHLD, or at any time
bool ctl_evals_busy(const ctl_evals *e);
void ctl_evals_release(ctl_evals *e);  // ends the one under way

#endif
