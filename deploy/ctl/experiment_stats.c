// SPDX-License-Identifier: Apache-2.0
// Student's t, and the results of an experiment's runs as numbers.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "deploy/ctl/experiment.h"

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
  static double known_df, quantile;  // nearly always of as many seeds as before
  double df = (double)m.n - 1, error = sqrt(squares / df / (double)m.n);
  if (df != known_df) quantile = exp_t_quantile(known_df = df);
  double half = quantile * error;
  m.low = m.mean - half;
  m.high = m.mean + half;
  if (error > 1e-9 * fabs(m.mean)) m.p = exp_t_p(m.mean / error, df);
  else if (m.mean == 0) m.p = 1;  // otherwise they are equal but for rounding: nothing to test
  return m;
}

static size_t at(const exp_results *r, size_t arm, size_t seed) { return arm * r->e->n_seeds + seed; }

const report *exp_run(const exp_results *r, size_t arm, size_t seed) {
  const report *run = &r->runs[at(r, arm, seed)];
  return run->config ? run : NULL;
}

static const report_split *split_in(const report *run, const char *name) {
  for (size_t i = 0; run && i < run->n_splits; i++)
    if (!strcmp(run->splits[i].name, name)) return &run->splits[i];
  return NULL;
}

double exp_value(const exp_results *r, size_t split, int measure, size_t arm, size_t seed) {
  const report_split *s = split_in(exp_run(r, arm, seed), r->splits[split]);
  return s ? report_number(s->after, exp_measure_keys[measure]) : NAN;
}

exp_mean exp_compare(const exp_results *r, size_t split, int measure, size_t arm, long against) {
  double *v = agrl_xcalloc(r->e->n_seeds, sizeof *v);
  for (size_t s = 0; s < r->e->n_seeds; s++)
    v[s] = exp_value(r, split, measure, arm, s) - (against < 0 ? 0 : exp_value(r, split, measure, (size_t)against, s));
  exp_mean m = exp_mean_of(v, r->e->n_seeds);
  free(v);
  return m;
}

static const report_curve *curve_in(const report *run, const char *split) {
  for (size_t i = 0; run && i < run->n_curves; i++)
    if (!strcmp(run->curves[i].name, split)) return &run->curves[i];
  return NULL;
}

double exp_curve_at(const report *run, const char *split, double version) {
  const report_curve *c = curve_in(run, split);
  for (size_t i = 0; c && i < c->n; i++) {
    const report_point *b = &c->points[i], *a = i ? b - 1 : b;
    if (version == b->version) return b->value;
    if (version > a->version && version < b->version)
      return a->value + (b->value - a->value) * (version - a->version) / (b->version - a->version);
  }
  return NAN;
}

bool exp_rows_differ(const exp_results *r, size_t split, size_t arm, size_t seed) {
  const report_split *end = split_in(exp_run(r, r->e->baseline, seed), r->splits[split]);
  const report_curve *c = curve_in(exp_run(r, arm, seed), r->splits[split]);
  for (size_t i = 0; end && end->after && c && i < c->n; i++)
    if (c->points[i].n != report_number(end->after, "n")) return true;
  return false;
}

double exp_reach(const exp_results *r, size_t split, size_t arm, size_t seed) {
  const report_curve *base = curve_in(exp_run(r, r->e->baseline, seed), r->splits[split]),
                     *c = curve_in(exp_run(r, arm, seed), r->splits[split]);
  double goal = exp_value(r, split, EXP_MACRO_F1, r->e->baseline, seed);
  if (!base || !base->n || !c || isnan(goal) || exp_rows_differ(r, split, arm, seed)) return NAN;
  double last = base->points[base->n - 1].version;
  for (size_t i = 0; i < c->n; i++) {
    const report_point *b = &c->points[i], *a = i ? b - 1 : b;
    if (!(b->value >= goal)) continue;
    double v = b->value > a->value ? a->version + (b->version - a->version) * (goal - a->value) / (b->value - a->value) : b->version;
    return last > 0 ? fmax(v, 0) / last : NAN;
  }
  return NAN;
}

exp_mean exp_tenth(const exp_results *r, size_t arm, size_t field_offset) {
  double *v = agrl_xcalloc(r->e->n_seeds, sizeof *v);
  for (size_t s = 0; s < r->e->n_seeds; s++) v[s] = exp_run(r, arm, s) ? report_tenth(exp_run(r, arm, s), field_offset, true) : NAN;
  exp_mean m = exp_mean_of(v, r->e->n_seeds);
  free(v);
  return m;
}

exp_mean exp_rollouts(const exp_results *r, size_t arm) {
  double *v = agrl_xcalloc(r->e->n_seeds, sizeof *v);
  for (size_t s = 0; s < r->e->n_seeds; s++) {
    const ctl_point *last = exp_run(r, arm, s) ? ctl_series_last(&exp_run(r, arm, s)->series) : NULL;
    v[s] = last && last->rl && last->step > 0 ? last->rollouts / last->step : NAN;
  }
  exp_mean m = exp_mean_of(v, r->e->n_seeds);
  free(v);
  return m;
}

static void add_splits(exp_results *r, const report *run) {
  for (size_t i = 0; i < run->n_splits; i++) {
    size_t k = 0;
    while (k < r->n_splits && strcmp(r->splits[k], run->splits[i].name) != 0) k++;
    if (k == r->n_splits && k < REPORT_MAX_SPLITS) r->splits[r->n_splits++] = run->splits[i].name;
  }
}

static agrl_rc load_run(exp_results *r, const char *out, size_t arm, size_t seed, agrl_error *err) {
  char *dir = exp_run_dir(out, r->e->seeds[seed], r->e->arms[arm].name), *done = agrl_path_join(dir, EXP_DONE),
       *config = agrl_path_join(dir, "agrl.yaml");
  agrl_rc rc = AGRL_OK;
  if (agrl_file_exists(done)) {
    agrl_config *c = &r->configs[at(r, arm, seed)];
    report *run = &r->runs[at(r, arm, seed)];
    rc = agrl_config_load(config, c, err);
    if (!rc) rc = agrl_config_set(c, "run.dir", dir, err);  // wherever it was made
    if (!rc) rc = report_load(run, c, NULL, err);
    if (!rc) add_splits(r, run);
    r->n_done++;
  }
  free(config);
  free(done);
  free(dir);
  return rc;
}

agrl_rc exp_results_load(const experiment *e, const char *out, exp_results *r, agrl_error *err) {
  size_t runs = e->n_arms * e->n_seeds;
  agrl_rc rc = AGRL_OK;
  *r = (exp_results){.e = e, .configs = agrl_xcalloc(runs, sizeof *r->configs), .runs = agrl_xcalloc(runs, sizeof *r->runs)};
  for (size_t a = 0; a < e->n_arms && !rc; a++)
    for (size_t s = 0; s < e->n_seeds && !rc; s++) rc = load_run(r, out, a, s, err);
  return rc;
}

void exp_results_release(exp_results *r) {
  for (size_t i = 0; r->runs && i < r->e->n_arms * r->e->n_seeds; i++) {
    if (r->runs[i].config) report_release(&r->runs[i]);
    agrl_config_release(&r->configs[i]);
  }
  free(r->runs);
  free(r->configs);
}
