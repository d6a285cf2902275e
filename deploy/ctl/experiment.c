// SPDX-License-Identifier: Apache-2.0
// agrlctl experiment: every arm with every seed as `agrlctl up` in a directory of its own, one after the other; then the table.
// What is done already is not run again, and a run that was stopped goes on from its checkpoint.
#include "deploy/ctl/experiment.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "deploy/ctl/ctl.h"

static const char usage[] =
    "usage: agrlctl experiment FILE.yaml [--out DIR] [--table] [-o json]\n"
    "Runs a grid of methods, settings and seeds on this machine, one run after the other, and compares what comes out.\n"
    "Ctrl-C stops it cleanly; the same command goes on. Results: DIR/results.txt, results.json, results.svg.\n"
    "  --out DIR  where everything goes (default: agrl-run/NAME, NAME as in the file)\n"
    "  --table    run nothing: the table of what is done\n"
    "  -o json    print JSON instead of the table\n"
    "The file's format: man 5 agrl-experiment; examples: deploy/etc/experiments.\n";

static volatile sig_atomic_t stopped, child;

static void on_signal(int number) {
  stopped = number;
  if (child > 0 && number == SIGTERM) kill(child, SIGTERM);  // Ctrl-C reaches it without our help
}

static void handle_signals(void) {
  struct sigaction a = {.sa_handler = on_signal};
  sigaction(SIGINT, &a, NULL);
  sigaction(SIGTERM, &a, NULL);
}

typedef struct args {
  char *at[1024];
  int n;
} args;

static void arg(args *a, char *text) {  // takes text over
  if (a->n + 1 == (int)(sizeof a->at / sizeof *a->at)) {
    fprintf(stderr, "agrlctl: an arm with more than %d settings\n", a->n / 2);
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

static void drop_args(args *a) {
  for (int i = 0; i < a->n; i++) free(a->at[i]);
  a->n = 0;
}

// Exit code of the program, 128 + signal when it was killed.
static int spawn_wait(args *a) {
  int status = 0;
  fflush(stdout);
  a->at[a->n] = NULL;
  pid_t pid = fork();
  if (pid < 0) return perror("agrlctl: fork"), 71;
  if (!pid) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    execv(a->at[0], a->at);
    _exit(127);
  }
  child = pid;
  if (stopped) kill(pid, SIGTERM);
  while (waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return 71;
  child = 0;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

typedef struct plan {
  const experiment *e;
  const char *out, *self;  // self: agrlctl
  size_t done, total;
} plan;

static int make_data(const plan *p, int64_t seed, char **train, char **eval) {
  if (p->e->train) {
    *train = agrl_xstrdup(p->e->train);
    *eval = agrl_xstrdup(p->e->eval);
    return 0;
  }
  char *dir = agrl_xasprintf("%s/seed%lld/data", p->out, (long long)seed), *last = agrl_path_join(dir, "eval_natural.jsonl");
  args a = {.n = 0};
  int code = 0;
  *train = agrl_path_join(dir, "train.jsonl");
  *eval = agrl_xasprintf("%s/eval.jsonl,%s", dir, last);
  if (!agrl_file_exists(last)) {  // the last file written
    arg(&a, agrl_xstrdup(p->self));
    arg(&a, agrl_xstrdup("data"));
    arg(&a, agrl_xstrdup("make"));
    arg2(&a, "--out", agrl_xstrdup(dir));
    arg2(&a, "--seed", agrl_xasprintf("%lld", (long long)seed));
    for (size_t i = 0; i < p->e->make.n; i++) {
      arg(&a, agrl_xasprintf("--%s", p->e->make.at[i].key));
      arg(&a, agrl_xstrdup(p->e->make.at[i].value));
    }
    code = spawn_wait(&a);
    drop_args(&a);
  }
  free(last);
  free(dir);
  return code;
}

// The command line that made a run is kept beside it: with other settings its results are another experiment's.
static agrl_rc same_settings(const args *a, const char *dir, agrl_error *err) {
  char *path = agrl_path_join(dir, "settings.txt");
  agrl_buf now = {0}, before = {0};
  for (int i = 1; i < a->n; i++) agrl_buf_addf(&now, "%s%s", a->at[i], i % 2 ? " " : "\n");
  agrl_rc rc = agrl_file_mkdirs(dir, err);
  if (!rc && !agrl_file_exists(path)) rc = agrl_file_write_atomic(path, now.data, now.len, err);
  if (!rc) rc = agrl_file_read(path, 1 << 20, &before, err);
  if (!rc && (before.len != now.len || memcmp(before.data, now.data, now.len) != 0))
    rc = agrl_fail(err, AGRL_ECONFIG, "%s was made with other settings (%s); remove the directory to run it again, or use another --out", dir,
                   path);
  agrl_buf_release(&now);
  agrl_buf_release(&before);
  free(path);
  return rc;
}

// arm NULL: the seed's start.
static int run_one(plan *p, int64_t seed, const exp_arm *arm, const char *train, const char *eval) {
  const experiment *e = p->e;
  char *dir = exp_run_dir(p->out, seed, arm ? arm->name : NULL), *report = agrl_path_join(dir, "report.json");
  args a = {.n = 0};
  agrl_error err = {0};
  int code = 0;
  arg(&a, agrl_xstrdup(p->self));
  arg(&a, agrl_xstrdup("up"));
  arg2(&a, "--config", agrl_xstrdup(e->config));
  arg2(&a, "--run-dir", agrl_xstrdup(dir));
  arg2(&a, "--data", agrl_xstrdup(train));
  arg2(&a, "--set", agrl_xasprintf("data.eval=%s", eval));
  arg2(&a, "--set", agrl_xasprintf("run.seed=%lld", (long long)seed));
  arg2(&a, "--set", agrl_xstrdup("obs.http_port=0"));  // runs of two experiments may overlap
  arg_sets(&a, &e->set);
  if (!arm) {
    arg2(&a, "--set", agrl_xstrdup("grpo.versions=0"));
    arg_sets(&a, &e->start);
  } else {
    if (e->has_start) {
      char *start = exp_run_dir(p->out, seed, NULL);
      arg2(&a, "--set", agrl_xasprintf("model.init=%s/checkpoints/sft", start));
      arg2(&a, "--set", agrl_xstrdup("sft.steps=0"));
      free(start);
    }
    arg_sets(&a, &arm->set);
  }
  p->done++;
  if (same_settings(&a, dir, &err)) code = ctl_fail(&err);
  else if (!agrl_file_exists(report)) {
    printf("agrlctl: run %zu of %zu: seed %lld, %s\n", p->done, p->total, (long long)seed, arm ? arm->name : "start");
    code = spawn_wait(&a);
    if (!code && !agrl_file_exists(report)) code = 75;  // stopped before its end
  }
  drop_args(&a);
  free(report);
  free(dir);
  return code;
}

static int run_all(plan *p) {
  int code = 0;
  for (size_t s = 0; s < p->e->n_seeds && !code && !stopped; s++) {
    char *train, *eval;
    code = make_data(p, p->e->seeds[s], &train, &eval);
    if (!code && p->e->has_start) code = run_one(p, p->e->seeds[s], NULL, train, eval);
    for (size_t a = 0; a < p->e->n_arms && !code && !stopped; a++) code = run_one(p, p->e->seeds[s], &p->e->arms[a], train, eval);
    free(train);
    free(eval);
  }
  return stopped && !code ? 75 : code;
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

static int with_out(const experiment *e, const char *where, bool table, bool json) {
  agrl_error err = {0};
  char *out = where ? agrl_xstrdup(where) : agrl_xasprintf("agrl-run/%s", e->name), *self = ctl_program("agrlctl"), *real = NULL;
  int code = 0;
  if (!self) code = ctl_fail((agrl_fail(&err, AGRL_ENOENT, "agrlctl cannot find its own program file"), &err));
  if (!code && agrl_file_mkdirs(out, &err)) code = ctl_fail(&err);
  if (!code) real = realpath(out, NULL);
  plan p = {.e = e, .out = real, .self = self, .total = (e->n_arms + e->has_start) * e->n_seeds};
  if (!code && !table) {
    handle_signals();
    code = run_all(&p);
    if (code) fprintf(stderr, "agrlctl: stopped at run %zu of %zu; the same command goes on\n", p.done, p.total);
  }
  if (!code) code = show(e, real, json);
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
      case 'o': json = !strcmp(optarg, "json"); if (!json) return ctl_usage(&ctl_cmd_experiment, "-o: only json"); break;
      case 'h': return ctl_help(&ctl_cmd_experiment);
      default: return ctl_usage(&ctl_cmd_experiment, "unknown option");
    }
  if (optind + 1 != argc) return ctl_usage(&ctl_cmd_experiment, "expected one FILE.yaml");
  agrl_error err = {0};
  experiment e;
  int code = exp_read(argv[optind], &e, &err) ? ctl_fail(&err) : with_out(&e, out, table, json);
  exp_release(&e);
  return code;
}

const ctl_command ctl_cmd_experiment = {"experiment", "compare methods, settings and seeds", usage, run};
