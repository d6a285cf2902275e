// SPDX-License-Identifier: Apache-2.0
// Why a trace earned what it earned: how each line was read, what each criterion compared, which gate is closed and why, each
// with its line of the rule file. agrl_reward_score decides; this only tells, so the two never differ (a property test).
// Pure functions; texts are borrowed from the rules, the trace and the gold labels, and live as long as they do.
#ifndef AGRL_REWARD_EXPLAIN_H
#define AGRL_REWARD_EXPLAIN_H

#include "reward/rules.h"

#define AGRL_EXPLAIN_MAX_LINES (4 * AGRL_RULES_MAX_LINES)  // lines of a text beyond are not read

typedef struct agrl_slice {  // not NUL-terminated
  const char *s;
  size_t n;
} agrl_slice;

typedef struct agrl_explained_line {  // one line of the trace
  agrl_slice text, value;  // value: what follows the prefix; empty when the line is none of the parts
  const char *part;        // name in the rule file of the line it was read as; NULL: none
  int where;               // line number in the rule file; 0: none
  bool tier;               // of kind tier
  const char *problem;     // "stands twice"; NULL: read well
} agrl_explained_line;

typedef enum { AGRL_JUDGED_EQUAL, AGRL_JUDGED_ADJACENT, AGRL_JUDGED_DIFFERENT, AGRL_JUDGED_UNREAD, AGRL_JUDGED_MISSING, AGRL_JUDGED_SKIPPED } agrl_judged;
const char *agrl_judged_text(agrl_judged j);  // "equal", ..., "no gold label" for SKIPPED

typedef struct agrl_explained_criterion {
  const char *name, *part;  // part: the line judged
  int where;
  char value[64], gold[64]; // as written, shortened; "" unreadable or no label
  agrl_judged judged;       // SKIPPED: the row has no gold label, or the mode leaves it out
  double weight;            // as used; 0 when skipped or missing
  double points;            // weight * (1, 0.5 or 0): the reward's share while the gates are open
} agrl_explained_criterion;

enum { AGRL_GATE_AT_FORMAT, AGRL_GATE_AT_AGREE, AGRL_GATE_AT_TABLE, AGRL_GATE_AT_OUTCOME, AGRL_GATES };
typedef struct agrl_explained_gate {
  const char *name;  // "format", "agree", "table", "outcome"
  bool listed;       // in the rule file's gates; outcome: always
  bool counts;       // in force in this mode: closed, it makes the reward 0
  bool open;
  int where;         // of what closes it, else of the section gates
  char why[320];     // why it is closed; "" when open
} agrl_explained_gate;

typedef struct agrl_explained {
  agrl_reward_result result;
  size_t n_lines, n_absent, n_criteria, n_rules;
  agrl_explained_line lines[AGRL_EXPLAIN_MAX_LINES];
  struct agrl_explained_part {
    const char *part;
    int where;
  } absent[AGRL_RULES_MAX_LINES];  // parts no line was read as
  agrl_explained_criterion criteria[AGRL_RULES_MAX_CRITERIA];
  agrl_explained_gate gates[AGRL_GATES];
  int rules[AGRL_RULES_MAX_ROWS];  // line numbers of the rules that match what was judged; empty unless the format holds
} agrl_explained;

void agrl_reward_explain(const agrl_rules *r, int mode, int gate, const char *text, size_t len, const agrl_labels *gold, agrl_explained *out);
// The gate that closes first of those that count; NULL: all are open.
const agrl_explained_gate *agrl_explained_closed(const agrl_explained *e);

// Appends a trace that passes every gate and says tier, out of values the rules permit it for ("..." on free lines); gold
// becomes the labels under which it earns 1. False when no combination of judgements permits the tier.
bool agrl_rules_example(const agrl_rules *r, int tier, agrl_buf *out, agrl_labels *gold);

#endif
