// SPDX-License-Identifier: Apache-2.0
// A comparison as one YAML file: arms x seeds, each an ordinary run in a directory of its own, and what came out in one table.
#ifndef AGRL_CTL_EXPERIMENT_H
#define AGRL_CTL_EXPERIMENT_H

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/conf/config.h"
#include "deploy/ctl/report.h"

typedef struct exp_setting {
  char *key, *value;
} exp_setting;

typedef struct exp_settings {  // in the file's order
  exp_setting *at;
  size_t n;
} exp_settings;

typedef struct exp_arm {
  char *name;        // also its directory's: no '/' and no leading '.'
  exp_settings set;  // over the file's `set`
} exp_arm;

typedef struct experiment {
  char *name, *config;  // config: path of the base configuration
  char *train, *eval;   // files; NULL when make is used instead
  exp_settings make;    // options of `agrlctl data make`, one data set a seed
  int64_t *seeds;
  size_t n_seeds, n_arms;
  bool has_start;
  exp_settings set, start;  // set: of every run; start: of the SFT whose checkpoint the seed's arms begin with
  exp_arm *arms;            // the cross product of `arms` and `grid`
  size_t baseline;          // index of an arm
} experiment;

// Keys and values are checked here, by name and place: a setting that the configuration does not know never starts a run.
agrl_rc exp_read(const char *path, experiment *e, agrl_error *err);
void exp_release(experiment *e);

// The configuration that an arm's runs have (arm NULL: a start's), but for data, seed and directories; agrl_config_release.
agrl_rc exp_effective(const experiment *e, const exp_arm *arm, agrl_config *out, agrl_error *err);
char *exp_run_dir(const char *out, int64_t seed, const char *arm);  // arm NULL: the seed's start; caller frees
// Do two texts of settings.txt tell of the same settings and contents, wherever directories and files are and however they are named?
bool exp_same_settings(const char *a, const char *b);
#define EXP_DONE "done"  // file in a run's directory, written when the run has ended well

// Student's t. p: two-sided tail beyond |t|; quantile: t whose two-sided tail is 0.05. df >= 1.
double exp_t_p(double t, double df);
double exp_t_quantile(double df);

typedef struct exp_mean {  // over seeds
  size_t n;
  double mean, low, high;  // 95 % t interval; NaN below two values
  double p;                // of the mean being 0, paired t test; NaN below two values, and where all are equal and not 0
} exp_mean;
exp_mean exp_mean_of(const double *v, size_t n);  // NaN entries are left out

enum { EXP_MACRO_F1, EXP_ACCURACY, EXP_GOOD_F1, EXP_RULES, EXP_MEASURES };
extern const char *const exp_measure_keys[EXP_MEASURES];

typedef struct exp_results {
  const experiment *e;
  size_t n_splits, n_done;
  const char *splits[REPORT_MAX_SPLITS];  // names, borrowed from the runs
  agrl_config *configs;                   // [arm][seed] of the runs that are done
  report *runs;                           // [arm][seed]; zero: not done
} exp_results;
agrl_rc exp_results_load(const experiment *e, const char *out, exp_results *r, agrl_error *err);
void exp_results_release(exp_results *r);
const report *exp_run(const exp_results *r, size_t arm, size_t seed);  // NULL: not done
double exp_value(const exp_results *r, size_t split, int measure, size_t arm, size_t seed);  // after training; NaN: not there
// Over seeds: an arm's values; with `against` (an arm, else -1) its differences to that one, seed by seed.
exp_mean exp_compare(const exp_results *r, size_t split, int measure, size_t arm, long against);
// Macro F1 at a version, between the versions evaluated while training; NaN outside of them.
double exp_curve_at(const report *run, const char *split, double version);
// First version at which an arm's curve reaches what the baseline ended with on the same seed, as a share of the baseline's
// versions; NaN: it never does, nothing was evaluated on the way, or exp_rows_differ.
double exp_reach(const exp_results *r, size_t split, size_t arm, size_t seed);
// The arm's versions were evaluated on another number of rows (eval.rows) than the baseline's end: figures that do not compare.
bool exp_rows_differ(const exp_results *r, size_t split, size_t arm, size_t seed);
// Mean over seeds of a training series' last tenth (offset of a ctl_point's field).
exp_mean exp_tenth(const exp_results *r, size_t arm, size_t field_offset);
// Rollouts stored a version, those that were never trained on (retired groups, failed guidance) included, over the whole run.
exp_mean exp_rollouts(const exp_results *r, size_t arm);

void exp_text(const exp_results *r, agrl_buf *out);
void exp_json(const exp_results *r, agrl_buf *out);
void exp_svg(const exp_results *r, agrl_buf *out);

#endif
