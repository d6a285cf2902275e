// SPDX-License-Identifier: Apache-2.0
// The rule file of a relevance task, the trace parser and the reward it defines. Nothing about relevance is compiled in:
// the file names the tiers, the lines a trace is made of, the criteria with their weights, the rule table and the gates.
//
//   R = g_format * gate * sum_i w_i * s_i      s_i: 1 equal to gold, 0.5 adjacent, else 0; weights sum to 1
//
// A criterion whose gold label a row does not have is skipped and its weight shared out among the others; one that could
// not be computed is *missing* with its cause, never 0 (policy per criterion: drop_group, reweight or stop).
// Rules are immutable after load and readable from many threads. The formula and its constants are this project's.
#ifndef AGRL_REWARD_RULES_H
#define AGRL_REWARD_RULES_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/conf/config.h"  // AGRL_REWARD_*, AGRL_GATE_*
#include "common/task/task.h"
#include "common/wire/msg.h"     // agrl_labels, agrl_score

#define AGRL_RULES_MAX_LINES 12     // lines of a trace
#define AGRL_RULES_MAX_VALUES 16    // values of a choice line
#define AGRL_RULES_MAX_TIERS 9      // tiers are the digits 1..9
#define AGRL_RULES_MAX_CRITERIA 8
#define AGRL_RULES_MAX_ROWS 256     // of the rule table

typedef struct agrl_rules agrl_rules;

// Errors read "file:line:column: what"; AGRL_ECONFIG for anything wrong in the file. The checks that need no data are
// made here: unknown keys, values that do not exist, dominance of the tier's weight, every combination of judgements
// has a rule, every tier is permitted somewhere.
agrl_rc agrl_rules_load(const char *path, agrl_rules **out, agrl_error *err);
agrl_rc agrl_rules_parse(const char *text, size_t len, const char *name, agrl_rules **out, agrl_error *err);
void agrl_rules_free(agrl_rules *r);
const char *agrl_rules_hash(const agrl_rules *r);                // 64 hex digits: SHA-256 of the file
const char *agrl_rules_name(const agrl_rules *r);
const char *agrl_rules_file(const agrl_rules *r);                // as given to load or parse
size_t agrl_rules_tiers(const agrl_rules *r, const int **tiers);  // in the file's order, best first
const char *agrl_rules_tier_name(const agrl_rules *r, int tier);  // "Excellent"; NULL: no such tier
size_t agrl_rules_criteria(const agrl_rules *r);                  // how many criteria
const char *agrl_rules_criterion(const agrl_rules *r, size_t i, double *weight);
// Does the rule table permit this tier for these judgements (by name)? A label that is NULL or "" stands for any value.
bool agrl_rules_permits(const agrl_rules *r, int tier, const char *category, const char *attribute);

typedef struct agrl_parsed {
  bool ok;             // every line exactly once, in order, with an allowed value, and nothing else
  char why[160];       // first thing wrong, "" when ok
  int tier;            // of the first tier line, 0: not readable; read even when the rest of the trace is not
  int verdict;         // of the last tier line, 0: not readable
  bool agree;          // all tier lines say the same
  bool implied;        // the rule table permits that tier with the judgements that can be read; true without a tier
  int value[AGRL_RULES_MAX_LINES];  // per line of the file: choice index or tier; -1: not readable
} agrl_parsed;

// text need not be NUL-terminated. One final newline is allowed.
void agrl_reward_parse(const agrl_rules *r, const char *text, size_t len, agrl_parsed *out);
// The judgement of the line whose gold label is "category" or "attribute"; NULL when the file has none or it was not readable.
const char *agrl_parsed_label(const agrl_rules *r, const agrl_parsed *p, const char *label);

typedef struct agrl_reward_result {
  double reward;           // meaningless when missing
  bool missing;
  const char *cause;       // why missing, "" otherwise; static text
  bool stop;               // a criterion with policy `stop` is missing: the service must not go on
  bool g_format, g_rule;   // g_rule implies g_format
  bool accurate;           // tier == gold tier
  int tier;
  size_t n_scores;         // the criteria that apply; weights as used, after redistribution
  agrl_score scores[AGRL_RULES_MAX_CRITERIA];  // names and causes are borrowed from the rules
} agrl_reward_result;

// mode: AGRL_REWARD_*, gate: AGRL_GATE_*. g_format holds in every gate mode; `gate` says what stands beside it:
// nothing, the rules, the outcome (tier == gold), or both.
void agrl_reward_score(const agrl_rules *r, int mode, int gate, const char *text, size_t len, const agrl_labels *gold,
                       agrl_reward_result *out);

#define AGRL_RULES_PLACE_IDS 5
#define AGRL_RULES_PLACE_REASONS 5
typedef struct agrl_rules_place {  // rows that fail at one line of the rule file for one reason
  int where;         // its number
  size_t rows;
  char why[320];     // shortened; after AGRL_RULES_PLACE_REASONS reasons of a line "other reasons", all of them
  char *ids[AGRL_RULES_PLACE_IDS];  // of the first ones
} agrl_rules_place;

typedef struct agrl_rules_use {  // a tier, a value of a choice line or a rule, and whether the data ever meets it
  const char *kind;  // "tier", "value", "rule"
  int where;
  char *what;        // "category related"
  size_t named;      // of values: rules that name it (not by any)
  size_t gold;       // rows whose gold labels say it; of rules: whose labels they match
  size_t traces;     // reference traces, well formed, that say it
} agrl_rules_use;

typedef struct agrl_rules_report {
  size_t rows;       // in the data set
  size_t checked;    // rows with something to check: a reference trace, or labels and a rule table
  size_t passed;
  size_t references; // of the checked, those with a trace
  size_t contradicting;  // of the references, those that say another tier than the gold label: legal, worth knowing
  size_t n_places, n_uses;
  agrl_rules_place *places;  // in the order met
  agrl_rules_use *uses;      // in the file's order
  agrl_buf failures; // the places, one a line: "file:line: N rows (ids): why"
} agrl_rules_report;  // release it

// Gold data must pass the gates: AGRL_ECONFIG, with the rules and their first failing rows, when fewer than 99 % of the checked
// rows do.
// text renders the reference trace of rows that bring none; may be NULL. data NULL: only the uses, of the file alone.
agrl_rc agrl_rules_check_data(const agrl_rules *r, const agrl_task_text *text, const agrl_dataset *data,
                              agrl_rules_report *report, agrl_error *err);
// All of it: rules, text sections and the data file, as the daemon does at start.
agrl_rc agrl_rules_check_files(const char *rules_path, const char *data_path, agrl_rules_report *report,
                               agrl_error *err);
void agrl_rules_report_release(agrl_rules_report *report);

#endif
