// SPDX-License-Identifier: Apache-2.0
// agrlctl's command table and what its commands share: the job they act on, failing, paths. One process, one thread.
#ifndef AGRL_CTL_CTL_H
#define AGRL_CTL_CTL_H

#include <getopt.h>
#include <glob.h>
#include <stdbool.h>

#include "common/conf/config.h"
#include "common/wire/msg.h"

typedef struct ctl_command {
  const char *name;   // "replay ls" is the command `replay` with a word of its own
  const char *about;  // one line
  const char *usage;  // whole help text
  int (*run)(int argc, char **argv);  // argv[0] is "agrlctl NAME", for getopt's messages; returns the exit code
} ctl_command;

extern const ctl_command ctl_cmd_up, ctl_cmd_down, ctl_cmd_status, ctl_cmd_scale, ctl_cmd_top, ctl_cmd_logs,
    ctl_cmd_eval,
    ctl_cmd_report, ctl_cmd_config, ctl_cmd_rules, ctl_cmd_doctor, ctl_cmd_replay, ctl_cmd_data,
    ctl_cmd_model, ctl_cmd_experiment, ctl_cmd_sbs, ctl_cmd_traces;

// The job a command acts on. Of --run-dir DIR, --config FILE, $AGRL_RUN_DIR the first given wins; a run directory that
// `up` made has its effective configuration in DIR/agrl.yaml, but for run.dir, which is DIR wherever it is now.
typedef struct ctl_job {
  agrl_config config;
  bool found;  // the run directory has an agrl.yaml
} ctl_job;
agrl_rc ctl_job_open(ctl_job *job, const char *config_path, const char *run_dir, agrl_error *err);
void ctl_job_release(ctl_job *job);
char *ctl_job_path(const ctl_job *job, const char *name);  // run.dir/name; caller frees
// glob(3) of pattern inside dir, every character of dir taken as it is. gl_pathc is 0 when there is nothing; globfree.
void ctl_glob(const char *dir, const char *pattern, glob_t *out);

int ctl_fail(const agrl_error *err);                       // prints "agrlctl: ...", returns the exit code
int ctl_usage(const ctl_command *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));  // exit code 64
int ctl_bad_option(const ctl_command *c);                  // getopt has said what is wrong; exit code 64
// Options by their letters: those that verb does not take are refused by name. 0, or the exit code 64.
#define CTL_LETTERS 128
int ctl_only_options(const ctl_command *c, const char *verb, const struct option *longs, const bool given[CTL_LETTERS], const char *allowed);
int ctl_help(const ctl_command *c);                        // prints the help, returns 0

// Asks the supervisor; AGRL_EPEER with "not running" when none answers.
agrl_rc ctl_control(const ctl_job *job, const char *verb, const char *arg, uint64_t timeout_ms, agrl_arena *arena,
                    agrl_msg *answer,
                    agrl_error *err);
// STATUS of a service by its endpoint's name.
agrl_rc ctl_service_status(const ctl_job *job, const char *service, uint64_t timeout_ms, agrl_arena *arena,
                           agrl_msg *answer,
                           agrl_error *err);
// 1: GET /readyz says ready, 0: not, -1: there is no page to ask.
int ctl_probe_ready(const char *host, int port);
const char *ctl_kv(const agrl_msg_status *s, const char *key);  // NULL when absent

// Runs a program in the foreground and waits for it: its exit code, 128 + signal when it was killed, 71 when it could not be run.
// SIGINT and SIGTERM go to it, and stop this process no more than that: then the code is never 0, and ctl_stopped_by is the last of
// them, 0: none yet.
int ctl_spawn_wait(char *const argv[]);
int ctl_stopped_by(void);

// A program of this project: beside agrlctl's own binary, else in $PATH. Caller frees; NULL when there is none.
char *ctl_program(const char *name);
// Where data.rules is not set: rules.yaml beside the configuration file, if there is one.
agrl_rc ctl_default_rules(agrl_config *c, const char *config_path, agrl_error *err);
// The last version is in a checkpoint (no versions: the warm start's is there). Only then is the learner's exit with 0 the job's end.
bool ctl_job_finished(const agrl_config *c);
// Pid of the supervisor that holds the run directory's lock, 0: none.
int ctl_supervisor_pid(const char *run_dir);
// The effective configuration written to path.
agrl_rc ctl_config_write(const agrl_config *c, const char *path, agrl_error *err);
typedef struct ctl_eval_how {  // NULL: agrl-eval's default
  const char *limit, *dev, *samples, *seed;
  bool items, compare;  // write the items; refuse rows of data.train
} ctl_eval_how;
// Runs agrl-eval on every split of data.eval for one checkpoint; results: RUN/eval/LABEL/SPLIT.json, the items beside it in
// SPLIT.items.jsonl, rows compared with data.train. how may be NULL. Returns the exit code.
int ctl_eval_run(const agrl_config *c, const char *checkpoint, const char *label, const ctl_eval_how *how);
char *ctl_eval_split(const char *path);  // "data/eval_natural.jsonl" -> "eval_natural"; caller frees
// The label of results of the checkpoint of that name: at-NAME for a version, as RUN/eval/NAME is the training's own. Caller frees.
char *ctl_eval_label(const char *checkpoint);
char *ctl_eval_files(const agrl_config *c);  // data.dev and data.eval as one list, separated by commas; caller frees
char *ctl_eval_next_file(const char **list);  // the next of such a list; NULL at its end. Caller frees
agrl_rc ctl_eval_check(const agrl_config *c, agrl_error *err);  // no two files of data.eval and data.dev are one split
agrl_rc ctl_eval_disjoint(const agrl_config *c, agrl_error *err);  // no row of theirs is one of data.train, none of data.eval one of data.dev
typedef struct ctl_eval_command {  // agrl-eval's command line, NULL-terminated
  char *argv[40], *owned[20];
  size_t n, n_owned;
} ctl_eval_command;
void ctl_eval_command_make(const agrl_config *c, const char *program, const char *checkpoint, const char *file, const char *results,
                           int64_t threads, const ctl_eval_how *how, ctl_eval_command *out);
void ctl_eval_command_release(ctl_eval_command *c);
int ctl_report_run(const agrl_config *c, bool quiet);
// Writes the page on which results of that label are looked at: the run's, or RUN/eval/LABEL/report.html beside those before RL.
int ctl_report_page(const agrl_config *c, const char *label);

#endif
