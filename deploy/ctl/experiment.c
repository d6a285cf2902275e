// SPDX-License-Identifier: Apache-2.0
// agrlctl experiment: every arm with every seed as `agrlctl up` in a directory of its own, one after the other; then the table.
// What is done already is not run again, and a run that was stopped goes on from its checkpoint.
#include "deploy/ctl/experiment.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/hash.h"
#include "common/base/mem.h"
#include "deploy/ctl/ctl.h"

static const char usage[] =
    "usage: agrlctl experiment FILE.yaml [--out DIR] [--table] [-o json|text]\n"
    "Runs a grid of methods, settings and seeds on this machine, one run after the other, and compares what comes out.\n"
    "Ctrl-C stops it cleanly; the same command goes on. An arm that fails is named and the others are run; the exit code is then\n"
    "the first failure's, and the same command tries it again. Results: DIR/results.txt, results.json, results.svg.\n"
    "  --out DIR  where everything goes (default: agrl-run/NAME, NAME as in the file)\n"
    "  --table    run nothing: the table of what is done\n"
    "  -o json    print JSON instead of the table\n"
    "The file's format: man 5 agrl-experiment; examples: deploy/etc/experiments.\n";

typedef struct args {
  char *at[1024];
  int n;
} args;

static void arg(args *a, char *text) {  // takes text over
  if (a->n + 1 == (int)(sizeof a->at / sizeof *a->at)) {
    fprintf(stderr, "agrlctl: more than %d settings for one run\n", a->n / 2);
    exit(agrl_rc_exit(AGRL_ECONFIG));
  }
  a->at[a->n++] = text;
}

static void arg2(args *a, const char *name, char *value) {
  arg(a, agrl_xstrdup(name));
  arg(a, value);
}

static void arg_sets(args *a, const exp_settings *s) {
  for (size_t i = 0; i < s->n; i++) arg2(a, "--set", agrl_xasprintf("%s=%s", s->at[i].key, s->at[i].value));
}

static int spawn(args *a) {
  a->at[a->n] = NULL;
  return ctl_spawn_wait(a->at);
}

static void drop_args(args *a) {
  for (int i = 0; i < a->n; i++) free(a->at[i]);
  a->n = 0;
}

typedef struct plan {
  const experiment *e;
  const char *out, *self;  // self: agrlctl
  char *init;  // the model that every run begins with, as lines of settings.txt; NULL: a fresh one, or read no more
  size_t done, total, failed;
  int code;  // of the first arm that failed
} plan;

typedef struct data_paths {
  char *dir, *train, *eval;  // dir NULL: files of the user's
} data_paths;

static data_paths paths_of(const plan *p, int64_t seed) {
  data_paths d = {0};
  if (p->e->train) {
    d.train = agrl_xstrdup(p->e->train);
    d.eval = agrl_xstrdup(p->e->eval);
    return d;
  }
  d.dir = agrl_xasprintf("%s/seed%lld/data", p->out, (long long)seed);
  d.train = agrl_path_join(d.dir, "train.jsonl");
  d.eval = agrl_xasprintf("%s/eval.jsonl,%s/eval_natural.jsonl", d.dir, d.dir);
  return d;
}

static void drop_paths(data_paths *d) {
  free(d->dir);
  free(d->train);
  free(d->eval);
}

static void data_args(const plan *p, int64_t seed, const char *dir, args *a) {
  arg(a, agrl_xstrdup(p->self));
  arg(a, agrl_xstrdup("data"));
  arg(a, agrl_xstrdup("make"));
  arg2(a, "--out", agrl_xstrdup(dir));
  arg2(a, "--seed", agrl_xasprintf("%lld", (long long)seed));
  for (size_t i = 0; i < p->e->make.n; i++) {
    arg(a, agrl_xasprintf("--%s", p->e->make.at[i].key));
    arg(a, agrl_xstrdup(p->e->make.at[i].value));
  }
}

// arm NULL: the seed's start.
static void run_args(const plan *p, int64_t seed, const exp_arm *arm, const data_paths *d, const char *dir, args *a) {
  const experiment *e = p->e;
  arg(a, agrl_xstrdup(p->self));
  arg(a, agrl_xstrdup("up"));
  arg2(a, "--config", agrl_xstrdup(e->config));
  arg2(a, "--run-dir", agrl_xstrdup(dir));
  arg2(a, "--data", agrl_xstrdup(d->train));
  arg2(a, "--set", agrl_xasprintf("data.eval=%s", d->eval));
  arg2(a, "--set", agrl_xasprintf("run.seed=%lld", (long long)seed));
  arg2(a, "--set", agrl_xstrdup("obs.http_port=0"));  // runs of two experiments may overlap
  arg_sets(a, &e->set);
  if (!arm) {
    arg2(a, "--set", agrl_xstrdup("grpo.versions=0"));
    arg_sets(a, &e->start);
    return;
  }
  if (e->has_start) {
    char *start = exp_run_dir(p->out, seed, NULL);
    arg2(a, "--set", agrl_xasprintf("model.init=%s/checkpoints/sft", start));
    arg2(a, "--set", agrl_xstrdup("sft.steps=0"));
    free(start);
  }
  arg_sets(a, &arm->set);
}

static agrl_rc add_hash(const char *what, const char *path, agrl_buf *out, agrl_error *err) {
  agrl_sha256 h;
  char hex[65];
  agrl_rc rc = agrl_sha256_file(path, &h, err);
  if (rc) return rc;
  agrl_sha256_hex(&h, hex);
  agrl_buf_addf(out, "%s %s %s\n", what, path, hex);
  return AGRL_OK;
}

static bool is_done(const plan *p, int64_t seed, const exp_arm *arm) {
  char *dir = exp_run_dir(p->out, seed, arm ? arm->name : NULL), *last = agrl_path_join(dir, EXP_DONE);
  bool done = agrl_file_exists(last);
  free(last);
  free(dir);
  return done;
}

// Is there a run yet to be made that begins with the base configuration's model? With a start, that is each seed's start.
static bool needs_init(const plan *p) {
  for (size_t s = 0; s < p->e->n_seeds; s++)
    for (size_t a = 0; a < (p->e->has_start ? 1 : p->e->n_arms); a++)
      if (!is_done(p, p->e->seeds[s], p->e->has_start ? NULL : &p->e->arms[a])) return true;
  return false;
}

// The model's weights are read once, not for every run.
static agrl_rc describe_init(plan *p, agrl_error *err) {
  agrl_config c = {0};
  agrl_buf lines = {0};
  glob_t files = {0};
  agrl_rc rc = agrl_config_load(p->e->config, &c, err);
  if (!rc && *c.model.init && needs_init(p)) {
    ctl_glob(c.model.init, "*.safetensors", &files);
    if (!files.gl_pathc) rc = agrl_fail(err, AGRL_ENOENT, "model.init of %s: there is no %s/*.safetensors", p->e->config, c.model.init);
    for (size_t i = 0; !rc && i < files.gl_pathc; i++) rc = add_hash("init", files.gl_pathv[i], &lines, err);
    globfree(&files);
  }
  if (lines.len) p->init = agrl_buf_take(&lines);
  agrl_buf_release(&lines);
  agrl_config_release(&c);
  return rc;
}

// What made a directory: the command, an option a line.
static void describe(const args *a, agrl_buf *out) {
  for (int i = 1; i < a->n; i++) agrl_buf_addf(out, "%s%s", i > 1 && a->at[i][0] == '-' ? "\n" : i > 1 ? " " : "", a->at[i]);
  agrl_buf_addc(out, '\n');
}

static void describe_data(const plan *p, int64_t seed, const char *dir, agrl_buf *out) {
  args a = {.n = 0};
  data_args(p, seed, dir, &a);
  describe(&a, out);
  drop_args(&a);
}

// And the files whose content decides what comes out.
static agrl_rc describe_files(const plan *p, const agrl_config *c, agrl_buf *out, agrl_error *err) {
  const experiment *e = p->e;
  const char *list = e->eval ? e->eval : "";
  agrl_rc rc = add_hash("config", e->config, out, err);
  if (!rc && p->init) agrl_buf_adds(out, p->init);
  if (!rc && *c->data.rules) rc = add_hash("rules", c->data.rules, out, err);
  if (!rc && *c->data.dev) rc = add_hash("dev", c->data.dev, out, err);
  if (!rc && e->train) rc = add_hash("train", e->train, out, err);
  for (char *path; !rc && (path = ctl_eval_next_file(&list)); free(path)) rc = add_hash("eval", path, out, err);
  return rc;
}

// That text is kept in the directory: with other settings its results belong to another experiment. first: the first file that is
// made there; without it there are no results, and what was refused may be corrected.
static agrl_rc same_settings(const agrl_buf *now, const char *dir, const char *first, bool keep, agrl_error *err) {
  char *path = agrl_path_join(dir, "settings.txt"), *made = agrl_path_join(dir, first);
  agrl_buf before = {0};
  agrl_rc rc = keep ? agrl_file_mkdirs(dir, err) : AGRL_OK;
  if (!rc && keep && !(agrl_file_exists(path) && agrl_file_exists(made))) rc = agrl_file_write_atomic(path, now->data, now->len, err);
  if (!rc) rc = agrl_file_read(path, 1 << 20, &before, err);
  if (!rc && !exp_same_settings(before.len ? before.data : "", now->data))
    rc = agrl_fail(err, AGRL_ECONFIG, "%s was made with other settings, configuration, model, rules or data (%s); remove the directory to make it again, or use another --out",
                   dir, path);
  agrl_buf_release(&before);
  free(made);
  free(path);
  return rc;
}

// What a start that was cut off left: of the same settings, or it would have been refused.
static void forget_data(const char *dir) {
  static const char *const files[] = {"train.jsonl", "eval.jsonl"};
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    char *path = agrl_path_join(dir, files[i]);
    unlink(path);
    free(path);
  }
}

static int make_data(const plan *p, int64_t seed, const data_paths *d, bool run) {
  char *last = agrl_path_join(d->dir, "eval_natural.jsonl");  // the last file written
  args a = {.n = 0};
  agrl_buf now = {0};
  agrl_error err = {0};
  int code = 0;
  data_args(p, seed, d->dir, &a);
  describe(&a, &now);
  if (same_settings(&now, d->dir, "train.jsonl", run, &err)) code = ctl_fail(&err);
  else if (run && !agrl_file_exists(last)) {
    forget_data(d->dir);
    code = spawn(&a);
  }
  agrl_buf_release(&now);
  drop_args(&a);
  free(last);
  return code;
}

// All versions are trained, and the report of the end is written. A job that is asked to stop ends with exit code 0, too.
static bool ended_well(const char *dir) {
  char *path = agrl_path_join(dir, "agrl.yaml"), *told = agrl_path_join(dir, "report.json");
  agrl_config c = {0};
  bool well = agrl_file_exists(told) && !agrl_config_load(path, &c, NULL) && !agrl_config_set(&c, "run.dir", dir, NULL) && ctl_job_finished(&c);
  agrl_config_release(&c);
  free(told);
  free(path);
  return well;
}

enum { BUSY = 73, DOWN = 75 };  // exit codes: another process runs that job already; agrlctl down

// Says so; the exit code that the experiment ends with now, 0 when the others go on.
static int failed(plan *p, const char *dir, bool others_go_on, int code) {
  char *logs = agrl_path_join(dir, "logs");
  bool there = agrl_file_exists(logs);
  fprintf(stderr, "agrlctl: run %zu of %zu failed%s%s\n", p->done, p->total, there ? "; its logs are in " : "", there ? logs : "");
  free(logs);
  if (!others_go_on) return code;
  if (!p->failed++) p->code = code;
  return 0;
}

// Runs what is not done; with `run` false only compares what is done with what would be. arm NULL: the seed's start. An arm that
// fails is counted, and the others go on: a grid may well hold a setting that does not train.
static int one_run(plan *p, int64_t seed, const exp_arm *arm, const data_paths *d, bool run) {
  char *dir = exp_run_dir(p->out, seed, arm ? arm->name : NULL), *last = agrl_path_join(dir, EXP_DONE);
  bool done = is_done(p, seed, arm);
  args a = {.n = 0};
  agrl_buf now = {0};
  agrl_error err = {0};
  agrl_config c = {0};
  int code = 0;
  p->done++;
  run_args(p, seed, arm, d, dir, &a);
  agrl_rc rc = exp_effective(p->e, arm, &c, &err);
  if (!rc) {
    describe(&a, &now);
    if (d->dir) describe_data(p, seed, d->dir, &now);
    rc = describe_files(p, &c, &now, &err);
  }
  if (!rc && (run || done)) rc = same_settings(&now, dir, "agrl.yaml", run, &err);
  if (rc) code = ctl_fail(&err);
  else if (run && !done) {
    printf("agrlctl: run %zu of %zu: seed %lld, %s\n", p->done, p->total, (long long)seed, arm ? arm->name : "start");
    code = spawn(&a);
    if (!code && !ended_well(dir)) code = DOWN;
    if (!code && agrl_file_write_atomic(last, "", 0, &err)) code = ctl_fail(&err);
    if (code && code != DOWN && code != BUSY && !ctl_stopped_by()) code = failed(p, dir, arm != NULL, code);
  }
  agrl_config_release(&c);
  agrl_buf_release(&now);
  drop_args(&a);
  free(last);
  free(dir);
  return code;
}

static int each_run(plan *p, bool run) {
  int code = 0;
  for (size_t s = 0; s < p->e->n_seeds && !code && !ctl_stopped_by(); s++) {
    data_paths d = paths_of(p, p->e->seeds[s]);
    if (d.dir && (run || agrl_file_exists(d.train))) code = make_data(p, p->e->seeds[s], &d, run);
    if (!code && p->e->has_start) code = one_run(p, p->e->seeds[s], NULL, &d, run);
    for (size_t a = 0; a < p->e->n_arms && !code && !ctl_stopped_by(); a++) code = one_run(p, p->e->seeds[s], &p->e->arms[a], &d, run);
    drop_paths(&d);
  }
  if (p->failed) fprintf(stderr, "agrlctl: %zu of %zu runs failed; the same command tries them again\n", p->failed, p->total);
  if (run && (ctl_stopped_by() || code == DOWN)) {
    fprintf(stderr, "agrlctl: stopped at run %zu of %zu; the same command goes on\n", p->done, p->total);
    if (!code) code = DOWN;
  }
  return code;
}

static agrl_rc write_results(const exp_results *r, const char *out, bool json, agrl_error *err) {
  static const char *const names[] = {"results.txt", "results.json", "results.svg"};
  void (*const make[])(const exp_results *, agrl_buf *) = {exp_text, exp_json, exp_svg};
  agrl_rc rc = AGRL_OK;
  for (size_t i = 0; i < 3 && !rc; i++) {
    agrl_buf text = {0};
    char *path = agrl_path_join(out, names[i]);
    make[i](r, &text);
    rc = agrl_file_write_atomic(path, text.data, text.len, err);
    if (!rc && i == (json ? 1 : 0)) puts(text.data);
    agrl_buf_release(&text);
    free(path);
  }
  return rc;
}

static int show(const experiment *e, const char *out, bool json) {
  exp_results r;
  agrl_error err = {0};
  agrl_rc rc = exp_results_load(e, out, &r, &err);
  if (!rc && !r.n_done) rc = agrl_fail(&err, AGRL_ENOENT, "%s: no run is done yet", out);
  if (!rc) rc = write_results(&r, out, json, &err);
  exp_results_release(&r);
  return rc ? ctl_fail(&err) : 0;
}

static agrl_rc can_hold(const experiment *e, const char *out, agrl_error *err) {
  if (e->train || !strchr(out, ',')) return AGRL_OK;
  return agrl_fail(err, AGRL_ECONFIG, "%s: a path with a comma cannot hold made data, whose files are given as a list with commas", out);
}

// The directory of the results, by its real path, which runs are told wherever they are started.
static agrl_rc find_out(const experiment *e, const char *out, bool make, char **real, agrl_error *err) {
  agrl_rc rc = can_hold(e, out, err);
  if (!rc && make) rc = agrl_file_mkdirs(out, err);
  if (!rc && !(*real = realpath(out, NULL))) rc = agrl_fail(err, AGRL_ENOENT, "'%s': %s", out, make ? strerror(errno) : "no run is done yet");
  return rc ? rc : can_hold(e, *real, err);
}

static int with_out(const experiment *e, const char *where, bool table, bool json) {
  agrl_error err = {0};
  char *out = where ? agrl_xstrdup(where) : agrl_xasprintf("agrl-run/%s", e->name), *self = ctl_program("agrlctl"), *real = NULL;
  agrl_rc rc = self ? AGRL_OK : agrl_fail(&err, AGRL_ENOENT, "agrlctl cannot find its own program file");
  if (!rc) rc = find_out(e, out, !table, &real, &err);
  plan p = {.e = e, .out = real, .self = self, .total = (e->n_arms + e->has_start) * e->n_seeds};
  if (!rc && !table) rc = describe_init(&p, &err);
  int code = rc ? ctl_fail(&err) : each_run(&p, !table);
  if (!code && p.failed < e->n_arms * e->n_seeds) code = show(e, real, json);
  if (!code) code = p.code;
  free(p.init);
  free(real);
  free(self);
  free(out);
  return code;
}

static int run(int argc, char **argv) {
  static const struct option longs[] = {{"out", 1, 0, 'O'}, {"table", 0, 0, 't'}, {"help", 0, 0, 'h'}, {0, 0, 0, 0}};
  const char *out = NULL;
  bool table = false, json = false;
  for (int k; (k = getopt_long(argc, argv, "o:h", longs, NULL)) != -1;) switch (k) {
      case 'O': out = optarg; break;
      case 't': table = true; break;
      case 'o': json = !strcmp(optarg, "json"); if (!json && strcmp(optarg, "text")) return ctl_usage(&ctl_cmd_experiment, "-o: json or text"); break;
      case 'h': return ctl_help(&ctl_cmd_experiment);
      default: return ctl_bad_option(&ctl_cmd_experiment);
    }
  if (optind + 1 != argc) return ctl_usage(&ctl_cmd_experiment, "expected one FILE.yaml");
  agrl_error err = {0};
  experiment e;
  int code = exp_read(argv[optind], &e, &err) ? ctl_fail(&err) : with_out(&e, out, table, json);
  exp_release(&e);
  return code;
}

const ctl_command ctl_cmd_experiment = {"experiment", "compare methods, settings and seeds", usage, run};
