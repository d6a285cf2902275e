// SPDX-License-Identifier: Apache-2.0
// The two verbs of agrlctl rules. Each prints its findings and returns the exit code.
#ifndef AGRL_CTL_RULES_H
#define AGRL_CTL_RULES_H

#include <stdbool.h>

#include "deploy/ctl/ctl.h"

// data may be NULL. 78 when the rule file is unsound or gold rows do not pass it.
int rules_check_run(const char *file, const char *data, bool json);

typedef struct rules_explain_options {
  const char *trace;         // "GROUP/MEMBER" in the job's store, a file, or "-" for standard input
  const char *rules;         // NULL: the job's
  const char *data, *row;    // of a trace that is no stored one: the row it answers
  bool json;
} rules_explain_options;
int rules_explain_run(const ctl_job *job, const rules_explain_options *o);

#endif
