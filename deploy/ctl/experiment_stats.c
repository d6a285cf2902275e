// SPDX-License-Identifier: Apache-2.0
// Student's t, and the results of an experiment's runs as numbers.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "deploy/ctl/ctl.h"
#include "deploy/ctl/experiment.h"
#include "deploy/ctl/report.h"

const char *const exp_measure_keys[EXP_MEASURES] = {"macro_f1", "accuracy", "good_f1", "rule_adherence"};

// With t = sqrt(df) tan(a) the density becomes cos(a)^(df-1) on [0, pi/2): smooth and bounded, so Simpson's rule is exact to
// far beyond what is shown.
double exp_t_p(double t, double df) {
  enum { STEPS = 2000 };
  double from = atan(fabs(t) / sqrt(df)), h = (M_PI_2 - from) / STEPS, sum = 0;
  double scale = exp(lgamma((df + 1) / 2) - lgamma(df / 2)) / sqrt(M_PI);
  for (int i = 0; i <= STEPS; i++) sum += (i == 0 || i == STEPS ? 1 : i % 2 ? 4 : 2) * pow(fmax(cos(from + i * h), 0), df - 1);
  return fmin(1, 2 * scale * sum * h / 3);
}

double exp_t_quantile(double df) {
  double low = 0, high = 1;
  while (exp_t_p(high, df) > 0.05) high *= 2;
  for (int i = 0; i < 60; i++) {
    double mid = (low + high) / 2;
    *(exp_t_p(mid, df) > 0.05 ? &low : &high) = mid;
  }
  return (low + high) / 2;
}

exp_mean exp_mean_of(const double *v, size_t n) {
  exp_mean m = {.mean = NAN, .low = NAN, .high = NAN, .p = NAN};
  double sum = 0, squares = 0;
  for (size_t i = 0; i < n; i++)
    if (isfinite(v[i])) sum += v[i], m.n++;
  if (!m.n) return m;
  m.mean = sum / (double)m.n;
  if (m.n < 2) return m;
  for (size_t i = 0; i < n; i++)
    if (isfinite(v[i])) squares += (v[i] - m.mean) * (v[i] - m.mean);
  double df = (double)m.n - 1, error = sqrt(squares / df / (double)m.n), half = exp_t_quantile(df) * error;
  m.low = m.mean - half;
  m.high = m.mean + half;
  m.p = error > 0 ? exp_t_p(m.mean / error, df) : m.mean == 0 ? 1 : 0;
  return m;
}

static double *value_at(const exp_results *r, size_t split, int measure, size_t arm, size_t seed) {
  return &r->values[((split * EXP_MEASURES + (size_t)measure) * r->e->n_arms + arm) * r->e->n_seeds + seed];
}

double exp_value(const exp_results *r, size_t split, int measure, size_t arm, size_t seed) {
  return *value_at(r, split, measure, arm, seed);
}

enum { MAX_SPLITS = 8 };

static size_t split_of(exp_results *r, const char *path) {
  char *name = ctl_eval_split(path);
  for (size_t i = 0; i < r->n_splits; i++)
    if (!strcmp(r->splits[i], name)) return free(name), i;
  if (r->n_splits == MAX_SPLITS) return free(name), (size_t)MAX_SPLITS;
  r->splits[r->n_splits] = name;
  return r->n_splits++;
}

static agrl_rc load_run(exp_results *r, const char *dir, size_t arm, size_t seed, agrl_error *err) {
  glob_t found;
  agrl_rc rc = AGRL_OK;
  ctl_glob(dir, "eval/latest/*.json", &found);
  for (size_t i = 0; i < found.gl_pathc && !rc; i++) {
    agrl_json *doc = NULL;
    rc = agrl_json_load(found.gl_pathv[i], &doc, err);
    size_t split = rc ? (size_t)MAX_SPLITS : split_of(r, found.gl_pathv[i]);
    for (int m = 0; m < EXP_MEASURES && split < MAX_SPLITS; m++)
      *value_at(r, split, m, arm, seed) = report_number(doc, exp_measure_keys[m]);
    agrl_json_free(doc);
  }
  globfree(&found);
  char *metrics = agrl_path_join(dir, "metrics.jsonl");
  if (!rc) rc = ctl_series_read(&r->series[arm * r->e->n_seeds + seed], metrics, err);
  free(metrics);
  return rc;
}

agrl_rc exp_results_load(const experiment *e, const char *out, exp_results *r, agrl_error *err) {
  size_t runs = e->n_arms * e->n_seeds, cells = MAX_SPLITS * EXP_MEASURES * runs;
  agrl_rc rc = AGRL_OK;
  *r = (exp_results){.e = e, .values = agrl_xcalloc(cells, sizeof(double)), .series = agrl_xcalloc(runs, sizeof(ctl_series))};
  for (size_t i = 0; i < cells; i++) r->values[i] = NAN;
  for (size_t a = 0; a < e->n_arms && !rc; a++)
    for (size_t s = 0; s < e->n_seeds && !rc; s++) {
      char *dir = exp_run_dir(out, e->seeds[s], e->arms[a].name), *done = agrl_path_join(dir, "report.json");
      if (agrl_file_exists(done)) {  // a run that is over
        r->n_done++;
        rc = load_run(r, dir, a, s, err);
      }
      free(done);
      free(dir);
    }
  return rc;
}

void exp_results_release(exp_results *r) {
  for (size_t i = 0; r->series && i < r->e->n_arms * r->e->n_seeds; i++) ctl_series_release(&r->series[i]);
  for (size_t i = 0; i < r->n_splits; i++) free(r->splits[i]);
  free(r->series);
  free(r->values);
}
