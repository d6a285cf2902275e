// SPDX-License-Identifier: Apache-2.0
// A reward's explanation (reward/explain.h) as text for a terminal and as JSON. Traces are hostile text: what could steer a
// terminal is shown as \xNN.
#ifndef AGRL_CTL_EXPLAIN_H
#define AGRL_CTL_EXPLAIN_H

#include "common/base/json.h"
#include "reward/explain.h"

// What the numbers were made by. file is the rule file as messages name it.
typedef struct explain_context {
  const char *file;
  int mode, gate;  // AGRL_REWARD_*, AGRL_GATE_*
  agrl_labels gold;
} explain_context;

void explain_text(const explain_context *c, const agrl_explained *e, agrl_buf *out);
// One object: lines, absent, criteria, gates, matched_rules, earned, reward, closed.
void explain_json(const explain_context *c, const agrl_explained *e, agrl_jw *w);
double explain_earned(const agrl_explained *e);  // what the criteria give before the gates
const char *explain_judged(const agrl_explained_criterion *k);  // agrl_judged_text, or that the mode leaves it out; static text
const char *explain_mode_name(int mode);
const char *explain_gate_name(int gate);

#endif
