// SPDX-License-Identifier: Apache-2.0
// agrlctl report: collects results, writes RUN/report.txt, report.json, report.svg and report.html.
#include "deploy/ctl/report.h"

#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "deploy/ctl/ctl.h"

static const char usage[] =
    "usage: agrlctl report [--run-dir DIR | --config FILE] [--evaluate] [-q]\n"
    "Table of the evaluations before and after RL and of the training run; writes report.txt, report.json, report.svg\n"
    "and report.html (one self-contained page with plots) into the run directory. --evaluate: scores the checkpoints\n"
    "before and after RL, and the best one if it is another, first, with eval.samples sampled traces a row. -q: writes only.\n";

static void leave_out(report *r, const char *name) {
  for (size_t i = 0; i < r->n_left_out; i++)
    if (!strcmp(r->left_out[i], name)) return;
  r->left_out = agrl_xreallocarray(r->left_out, r->n_left_out + 1, sizeof *r->left_out);
  r->left_out[r->n_left_out++] = agrl_xstrdup(name);
}

static report_split *split_of(report *r, const char *name) {
  for (size_t i = 0; i < r->n_splits; i++)
    if (!strcmp(r->splits[i].name, name)) return &r->splits[i];
  if (r->n_splits == REPORT_MAX_SPLITS) return leave_out(r, name), NULL;
  r->splits[r->n_splits] = (report_split){.name = name};
  return &r->splits[r->n_splits++];
}

enum { BEFORE, BEST, AFTER, N_LABELS };
static const char *const labels[N_LABELS] = {"sft", "best", "latest"};  // folders of results, and checkpoints

static const agrl_json **slot_of(report_split *s, int label) { return label == BEFORE ? &s->before : label == BEST ? &s->best : &s->after; }

static agrl_rc add_results(report *r, int label, agrl_error *err) {
  char *pattern = agrl_xasprintf("eval/%s/*.json", label == AFTER && r->label ? r->label : labels[label]);
  glob_t found;
  agrl_rc rc = AGRL_OK;
  ctl_glob(r->config->run.dir, pattern, &found);
  free(pattern);
  for (size_t i = 0; i < found.gl_pathc && !rc; i++) {
    agrl_json *doc = NULL;
    const char *name = NULL;
    rc = agrl_json_load(found.gl_pathv[i], &doc, err);
    if (rc) break;
    report_split *s = agrl_json_str(agrl_json_get(doc, "split"), &name, NULL) ? split_of(r, name) : NULL;
    if (!s || *slot_of(s, label)) {
      agrl_json_free(doc);
      continue;
    }
    r->docs[r->n_docs++] = doc;
    *slot_of(s, label) = doc;
  }
  globfree(&found);
  return rc;
}

// --- versions evaluated while training ---

static void add_point(report_curve *c, const agrl_json *result, double version) {
  double ci[2] = {NAN, NAN};
  report_interval(result, "macro_f1", ci);
  c->points = agrl_xreallocarray(c->points, c->n + 1, sizeof *c->points);
  c->points[c->n++] = (report_point){version, report_number(result, "macro_f1"), ci[0], ci[1], report_number(result, "n"),
                                     report_number(result, "epoch")};
}

static int by_version(const void *a, const void *b) {
  double x = ((const report_point *)a)->version, y = ((const report_point *)b)->version;
  return (x > y) - (x < y);
}

static report_curve *curve_of(report *r, const char *name) {
  for (size_t i = 0; i < r->n_curves; i++)
    if (!strcmp(r->curves[i].name, name)) return &r->curves[i];
  if (r->n_curves == REPORT_MAX_SPLITS) return leave_out(r, name), NULL;
  r->curves[r->n_curves] = (report_curve){.name = agrl_xstrdup(name)};
  return &r->curves[r->n_curves++];
}

// First step that was trained or evaluated in a later epoch: from there on the epoch's own versions did not survive.
static double end_of(const report *r, double epoch) {
  double first = INFINITY;
  for (size_t i = 0; i < r->series.n; i++) {
    const ctl_point *p = &r->series.points[i];
    if (p->rl && floor(ldexp(p->version, -32)) > epoch) first = fmin(first, p->step);
  }
  for (size_t k = 0; k < r->n_curves; k++)
    for (size_t i = 0; i < r->curves[k].n; i++)
      if (r->curves[k].points[i].epoch > epoch) first = fmin(first, r->curves[k].points[i].version);
  return first;
}

static void drop_dead(report *r) {
  for (size_t k = 0; k < r->n_curves; k++) {
    report_curve *c = &r->curves[k];
    size_t alive = 0;
    for (size_t i = 0; i < c->n; i++)
      if (c->points[i].version < end_of(r, c->points[i].epoch)) c->points[alive++] = c->points[i];
    c->n = alive;
  }
}

static void drop_empty(report *r) {
  size_t kept = 0;
  for (size_t k = 0; k < r->n_curves; k++) {
    if (r->curves[k].n) {
      r->curves[kept++] = r->curves[k];
      continue;
    }
    free(r->curves[k].name);
    free(r->curves[k].points);
  }
  r->n_curves = kept;
}

static agrl_rc add_curves(report *r, agrl_error *err) {
  agrl_rc rc = AGRL_OK;
  glob_t found;
  ctl_glob(r->config->run.dir, "eval/v[0-9]*-[0-9]*/*.json", &found);
  for (size_t i = 0; i < found.gl_pathc && !rc; i++) {
    agrl_json *doc = NULL;
    const char *name = NULL;
    rc = agrl_json_load(found.gl_pathv[i], &doc, err);
    report_curve *c = !rc && agrl_json_str(agrl_json_get(doc, "split"), &name, NULL) ? curve_of(r, name) : NULL;
    if (c) add_point(c, doc, report_number(doc, "version"));
    agrl_json_free(doc);
  }
  globfree(&found);
  for (size_t k = 0; k < r->n_curves; k++) {
    report_curve *c = &r->curves[k];
    for (size_t i = 0; i < r->n_splits; i++)
      if (!strcmp(r->splits[i].name, c->name) && report_number(r->splits[i].before, "n") == c->points[0].n) add_point(c, r->splits[i].before, 0);
    qsort(c->points, c->n, sizeof *c->points, by_version);
  }
  drop_dead(r);
  drop_empty(r);
  return rc;
}

static int by_name(const void *a, const void *b) {  // "eval" before "eval_natural"
  return strcmp(((const report_split *)a)->name, ((const report_split *)b)->name);
}

agrl_rc report_load(report *r, const agrl_config *config, const char *label, agrl_error *err) {
  *r = (report){.config = config, .label = label};
  char *path = agrl_path_join(config->run.dir, "metrics.jsonl");
  agrl_rc rc = ctl_series_read(&r->series, path, err);
  free(path);
  for (int i = 0; i < N_LABELS && !rc; i++) rc = add_results(r, i, err);
  qsort(r->splits, r->n_splits, sizeof *r->splits, by_name);
  return rc ? rc : add_curves(r, err);
}

void report_release(report *r) {
  ctl_series_release(&r->series);
  for (size_t i = 0; i < r->n_docs; i++) agrl_json_free(r->docs[i]);
  for (size_t i = 0; i < r->n_left_out; i++) free(r->left_out[i]);
  free(r->left_out);
  for (size_t i = 0; i < r->n_curves; i++) {
    free(r->curves[i].name);
    free(r->curves[i].points);
  }
}

double report_number(const agrl_json *result, const char *key) {
  double v = NAN;
  agrl_json_f64(agrl_json_get(result, key), &v);
  return v;
}

bool report_interval(const agrl_json *result, const char *key, double ci[2]) {
  char name[64];
  snprintf(name, sizeof name, "%s_ci", key);
  const agrl_json *a = agrl_json_get(result, name);
  return agrl_json_f64(agrl_json_at(a, 0), &ci[0]) && agrl_json_f64(agrl_json_at(a, 1), &ci[1]);
}

double report_f1(const agrl_json *result, int tier, double ci[2]) {
  char key[2] = {(char)('0' + tier), 0};
  const agrl_json *a = agrl_json_get(agrl_json_get(result, "f1_ci"), key);
  if (ci && !(agrl_json_f64(agrl_json_at(a, 0), &ci[0]) && agrl_json_f64(agrl_json_at(a, 1), &ci[1]))) ci[0] = ci[1] = NAN;
  return report_number(agrl_json_get(result, "f1"), key);
}

double report_tenth(const report *r, size_t field_offset, bool last) {
  size_t first = 0, n = 0;
  while (first < r->series.n && !r->series.points[first].rl) first++;
  size_t rl = r->series.n - first, tenth = rl / 10 ? rl / 10 : rl ? 1 : 0;
  double sum = 0;
  for (size_t i = 0; i < tenth; i++) {
    const ctl_point *p = &r->series.points[last ? r->series.n - 1 - i : first + i];
    double v;
    memcpy(&v, (const char *)p + field_offset, sizeof v);
    if (isfinite(v)) sum += v, n++;
  }
  return n ? sum / (double)n : NAN;
}

double report_gap(const report *r, size_t *n) {
  double gap = NAN;
  *n = 0;
  for (size_t i = 0; i < r->series.n; i++) {
    const double v = r->series.points[i].rl ? r->series.points[i].logprob_abs_diff_max : NAN;
    if (!isfinite(v)) continue;
    if (!(v <= gap)) gap = v;
    ++*n;
  }
  return gap;
}

static agrl_rc write_file(const agrl_config *c, const char *name, const agrl_buf *text, agrl_error *err) {
  char *path = agrl_path_join(c->run.dir, name);
  agrl_rc rc = agrl_file_write_atomic(path, text->data ? text->data : "", text->len, err);
  free(path);
  return rc;
}

int ctl_report_run(const agrl_config *c, bool quiet) {
  report r;
  agrl_error err = {0};
  agrl_buf text = {0}, json = {0}, svg = {0}, html = {0};
  agrl_rc rc = report_load(&r, c, NULL, &err);
  if (!rc && !r.series.n && !r.n_splits)
    rc = agrl_fail(&err, AGRL_ENOENT, "%s has neither metrics nor evaluations yet", c->run.dir);
  if (!rc) {
    report_text(&r, &text);
    report_json(&r, &json);
    report_svg(&r, &svg);
    report_html(&r, &html);
    rc = write_file(c, "report.txt", &text, &err);
    if (!rc) rc = write_file(c, "report.json", &json, &err);
    if (!rc) rc = write_file(c, "report.svg", &svg, &err);
    if (!rc) rc = write_file(c, "report.html", &html, &err);
  }
  if (!rc && !quiet) fputs(text.data, stdout);
  agrl_buf_release(&text);
  agrl_buf_release(&json);
  agrl_buf_release(&svg);
  agrl_buf_release(&html);
  report_release(&r);
  return rc ? ctl_fail(&err) : 0;
}

// RUN/eval/LABEL/report.html.
static int write_page(const agrl_config *c, const char *label, const char *name) {
  report r;
  agrl_error err = {0};
  agrl_buf html = {0};
  agrl_rc rc = report_load(&r, c, label, &err);
  if (!rc) {
    report_html(&r, &html);
    rc = write_file(c, name, &html, &err);
  }
  agrl_buf_release(&html);
  report_release(&r);
  return rc ? ctl_fail(&err) : 0;
}

int ctl_report_page(const agrl_config *c, const char *label) {
  bool own = true;
  for (int i = 0; i < N_LABELS; i++) own &= strcmp(label, labels[i]) != 0;
  char *name = own ? agrl_xasprintf("eval/%s/report.html", label) : agrl_xstrdup("report.html");
  int code = write_page(c, own ? label : NULL, name);
  if (!code) printf("page: %s/%s\n", c->run.dir, name);
  free(name);
  return code;
}

// Do two names under checkpoints lead to one directory?
static bool same_checkpoint(const agrl_config *c, const char *a, const char *b) {
  char *pa = agrl_xasprintf("%s/checkpoints/%s", c->run.dir, a), *pb = agrl_xasprintf("%s/checkpoints/%s", c->run.dir, b);
  char *ra = realpath(pa, NULL), *rb = realpath(pb, NULL);
  bool same = ra && rb && !strcmp(ra, rb);
  free(pa);
  free(pb);
  free(ra);
  free(rb);
  return same;
}

static int evaluate_all(const agrl_config *c) {
  int code = 0;
  for (int i = 0; i < N_LABELS && !code && *c->data.eval; i++) {
    char *dir = agrl_xasprintf("%s/checkpoints/%s", c->run.dir, labels[i]), *old = agrl_xasprintf("%s/eval/%s", c->run.dir, labels[i]);
    if (i == BEST && same_checkpoint(c, "best", "latest")) agrl_file_remove_tree(old, NULL);  // of another best
    else if (agrl_file_exists(dir)) code = ctl_eval_run(c, dir, labels[i], NULL);
    free(dir);
    free(old);
  }
  return code;
}

static int run(int argc, char **argv) {
  static const struct option longs[] = {{"config", 1, 0, 'c'}, {"run-dir", 1, 0, 'D'}, {"evaluate", 0, 0, 'e'},
                                         {"help", 0, 0, 'h'},
                                        {0, 0, 0, 0}};
  const char *config = NULL, *run_dir = NULL;
  bool quiet = false, evaluate = false;
  for (int k; (k = getopt_long(argc, argv, "qh", longs, NULL)) != -1;) switch (k) {
      case 'c': config = optarg; break;
      case 'D': run_dir = optarg; break;
      case 'q': quiet = true; break;
      case 'e': evaluate = true; break;
      case 'h': return ctl_help(&ctl_cmd_report);
      default: return ctl_bad_option(&ctl_cmd_report);
    }
  if (optind != argc) return ctl_usage(&ctl_cmd_report, "unexpected '%s'", argv[optind]);
  agrl_error err = {0};
  ctl_job job;
  if (ctl_job_open(&job, config, run_dir, &err)) return ctl_fail(&err);
  int code = evaluate ? evaluate_all(&job.config) : 0, written = ctl_report_run(&job.config, quiet);
  if (!code) code = written;
  ctl_job_release(&job);
  return code;
}

const ctl_command ctl_cmd_report = {"report", "table and plot of a run", usage, run};
