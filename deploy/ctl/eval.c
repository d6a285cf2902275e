// SPDX-License-Identifier: Apache-2.0
// agrlctl eval: runs agrl-eval on a checkpoint for every file of data.eval; results land in RUN/eval/LABEL/SPLIT.json, the
// items in SPLIT.items.jsonl beside it.
#include <getopt.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/base/num.h"
#include "common/text/dataset.h"
#include "deploy/ctl/ctl.h"

static const char usage[] =
    "usage: agrlctl eval [--run-dir DIR | --config FILE] [--checkpoint DIR|NAME] [options]\n"
    "Scores a checkpoint on held-out rows. NAME is one under RUN/checkpoints (default: latest). Results:\n"
    "RUN/eval/LABEL/SPLIT.json and, one line an item, SPLIT.items.jsonl; RUN/report.html compares the labels sft, best and\n"
    "latest, which no other checkpoint may take, and another label has RUN/eval/LABEL/report.html. Rows that are among\n"
    "data.train are refused.\n"
    "  --data FILE      held-out rows (default: data.eval)\n"
    "  --dev FILE       rows that choose the threshold of the three classes (default: data.dev, else a fifth of the data)\n"
    "  --samples K      sample K traces a row besides, for pass@1 to pass@K (default: eval.samples)\n"
    "  --seed N         of these (default 1)\n"
    "  --limit N        first N rows only; needs a --label of its own, as they must not stand in for the results of all rows\n"
    "  --label NAME     where results go (default: the checkpoint's name, for a version at-VERSION)\n";

char *ctl_eval_split(const char *path) {
  char *copy = agrl_xstrdup(path), *name = agrl_xstrdup(basename(copy)), *dot = strrchr(name, '.');
  free(copy);
  if (dot && dot != name) *dot = 0;
  return name;
}

// Of a version's evaluation while training.
static bool names_version(const char *label) {
  unsigned epoch, step;
  char rest;
  return sscanf(label, "v%u-%u%c", &epoch, &step, &rest) == 2;
}

char *ctl_eval_label(const char *checkpoint) { return agrl_xasprintf("%s%s", names_version(checkpoint) ? "at-" : "", checkpoint); }

char *ctl_eval_next_file(const char **list) {
  if (!**list) return NULL;
  size_t len = strcspn(*list, ",");
  char *file = agrl_xstrndup(*list, len);
  *list += len + ((*list)[len] == ',');
  return file;
}

char *ctl_eval_files(const agrl_config *c) {
  return agrl_xasprintf("%s%s%s", c->data.dev, *c->data.eval && *c->data.dev ? "," : "", c->data.eval);
}

agrl_rc ctl_eval_check(const agrl_config *c, agrl_error *err) {
  agrl_rc rc = AGRL_OK;
  char *files = ctl_eval_files(c);
  const char *list = files;
  for (char *a; !rc && (a = ctl_eval_next_file(&list)); free(a)) {
    const char *rest = list;
    char *split = ctl_eval_split(a);
    for (char *b; !rc && (b = ctl_eval_next_file(&rest)); free(b)) {
      char *other = ctl_eval_split(b);
      if (!strcmp(split, other))
        rc = agrl_fail(err, AGRL_ECONFIG, "data.eval, data.dev: the results of %s and %s would have one name, %s; rename one of the files", a, b, split);
      free(other);
    }
    free(split);
  }
  free(files);
  return rc;
}

static agrl_rc disjoint_from(const char *seen_path, const char *list, agrl_error *err) {
  agrl_dataset seen = {0}, held_out;
  agrl_rc rc = *list ? agrl_dataset_load(seen_path, NULL, NULL, &seen, err) : AGRL_OK;
  for (char *file; !rc && (file = ctl_eval_next_file(&list)); free(file)) {
    rc = agrl_dataset_load(file, NULL, NULL, &held_out, err);
    if (rc) continue;
    rc = agrl_dataset_disjoint(&seen, seen_path, &held_out, file, err);
    agrl_dataset_release(&held_out);
  }
  agrl_dataset_release(&seen);
  return rc;
}

agrl_rc ctl_eval_disjoint(const agrl_config *c, agrl_error *err) {
  char *files = ctl_eval_files(c);
  agrl_rc rc = disjoint_from(c->data.train, files, err);
  if (!rc && *c->data.dev) rc = disjoint_from(c->data.dev, c->data.eval, err);
  free(files);
  return rc;
}

static void add(ctl_eval_command *a, const char *option, char *value) {
  a->argv[a->n++] = (char *)option;
  a->argv[a->n++] = a->owned[a->n_owned++] = value;
}

static void add_copy(ctl_eval_command *a, const char *option, const char *value) {  // an option without a value is left out
  if (value && *value) add(a, option, agrl_xstrdup(value));
}

void ctl_eval_command_make(const agrl_config *c, const char *program, const char *checkpoint, const char *file, const char *results,
                           int64_t threads, const ctl_eval_how *how, ctl_eval_command *out) {
  char *split = ctl_eval_split(file);
  *out = (ctl_eval_command){.n = 1};
  out->argv[0] = out->owned[out->n_owned++] = agrl_xstrdup(program);
  add_copy(out, "--checkpoint", checkpoint);
  add_copy(out, "--rules", c->data.rules);
  add_copy(out, "--data", file);
  add_copy(out, "--split", split);
  add(out, "--out", agrl_xasprintf("%s/%s.json", results, split));
  add(out, "--threads", agrl_xasprintf("%" PRId64, threads));
  add(out, "--max-new", agrl_xasprintf("%" PRId64, c->actor.max_new_tokens));
  if (how->items) add(out, "--items", agrl_xasprintf("%s/%s.items.jsonl", results, split));
  if (how->compare && agrl_file_exists(c->data.train)) add_copy(out, "--train", c->data.train);
  add_copy(out, "--dev", how->dev);
  add_copy(out, "--samples", how->samples);
  add_copy(out, "--seed", how->seed);
  add_copy(out, "--limit", how->limit);
  free(split);
}

void ctl_eval_command_release(ctl_eval_command *c) {
  for (size_t i = 0; i < c->n_owned; i++) free(c->owned[i]);
}

static int eval_one(const agrl_config *c, const char *program, const char *checkpoint, const char *file,
                    const char *results, const ctl_eval_how *how) {
  ctl_eval_command command;
  ctl_eval_command_make(c, program, checkpoint, file, results, c->learner.threads, how, &command);
  int code = ctl_spawn_wait(command.argv);
  if (code) fprintf(stderr, "agrlctl: evaluation of %s on %s ended with exit code %d\n", checkpoint, file, code);
  ctl_eval_command_release(&command);
  return code;
}

int ctl_eval_run(const agrl_config *c, const char *checkpoint, const char *label, const ctl_eval_how *asked) {
  agrl_error err = {0};
  ctl_eval_how how = asked ? *asked : (ctl_eval_how){0};
  how.items = how.compare = true;
  if (!how.dev) how.dev = c->data.dev;
  char samples[24];
  snprintf(samples, sizeof samples, "%" PRId64, c->eval.samples);
  if (!how.samples) how.samples = samples;
  char *results = agrl_xasprintf("%s/eval/%s", c->run.dir, label), *program = ctl_program("agrl-eval");
  agrl_rc rc = *c->data.rules ? ctl_eval_check(c, &err)
                              : agrl_fail(&err, AGRL_ECONFIG, "no rule file to read traces by: set data.rules in the configuration of %s", c->run.dir);
  if (!rc) rc = agrl_file_mkdirs(results, &err);
  int code = rc ? ctl_fail(&err) : 0;
  if (!program) {
    free(results);
    fprintf(stderr, "agrlctl: agrl-eval is neither beside agrlctl nor in $PATH; build or install it\n");
    return agrl_rc_exit(AGRL_ENOENT);
  }
  if (*c->data.train && !agrl_file_exists(c->data.train))
    fprintf(stderr, "agrlctl: %s is not there: held-out rows are not compared with it\n", c->data.train);
  char real[4096], *resolved = realpath(checkpoint, real);  // the result names the version, not `latest`
  const char *list = c->data.eval;
  for (char *file; !code && (file = ctl_eval_next_file(&list)); free(file))
    code = eval_one(c, program, resolved ? resolved : checkpoint, file, results, &how);
  free(program);
  free(results);
  return code;
}

static bool is_compared(const char *label) { return !strcmp(label, "sft") || !strcmp(label, "best") || !strcmp(label, "latest"); }

// Whether the report, or sbs of that checkpoint or of a version, takes results of that label for those of all rows.
static bool is_of_all_rows(const char *label, const char *checkpoint) {
  char *copy = agrl_xstrdup(checkpoint), *own = ctl_eval_label(basename(copy));
  bool yes = is_compared(label) || !strcmp(label, own) || (!strncmp(label, "at-", 3) && names_version(label + 3));
  free(own);
  free(copy);
  return yes;
}

// A label is a folder's name and stands on pages, and those that the report compares belong to the run's checkpoints of these names.
static agrl_rc check_label(const agrl_config *c, const char *label, const char *checkpoint, agrl_error *err) {
  static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+=,@";
  if (!*label || *label == '.' || label[strspn(label, plain)])
    return agrl_fail(err, AGRL_EINVAL, "'%s' cannot name results: give --label letters, digits and any of ._-+=,@", label);
  if (names_version(label)) return agrl_fail(err, AGRL_EINVAL, "the results labelled %s are those of the training's own evaluation; give --label another name", label);
  if (!is_compared(label)) return AGRL_OK;
  char *own = agrl_xasprintf("%s/checkpoints/%s", c->run.dir, label), *a = realpath(own, NULL), *b = realpath(checkpoint, NULL);
  agrl_rc rc = AGRL_OK;
  if (!a || !b || strcmp(a, b) != 0)
    rc = agrl_fail(err, AGRL_EINVAL, "the report compares the results labelled %s, which are for %s only; give %s another --label", label, own,
                   checkpoint);
  free(own);
  free(a);
  free(b);
  return rc;
}

static int run(int argc, char **argv) {
  static const struct option longs[] = {{"config", 1, 0, 'c'}, {"run-dir", 1, 0, 'D'}, {"checkpoint", 1, 0, 'k'},
                                        {"data", 1, 0, 'd'},   {"dev", 1, 0, 'v'},     {"samples", 1, 0, 'n'},
                                        {"seed", 1, 0, 's'},   {"limit", 1, 0, 'l'},   {"label", 1, 0, 'L'},
                                        {"help", 0, 0, 'h'},   {0, 0, 0, 0}};
  const char *config = NULL, *run_dir = NULL, *checkpoint = "latest", *data = NULL, *label = NULL;
  ctl_eval_how how = {0};
  uint64_t n;
  for (int k; (k = getopt_long(argc, argv, "h", longs, NULL)) != -1;) switch (k) {
      case 'c': config = optarg; break;
      case 'D': run_dir = optarg; break;
      case 'k': checkpoint = optarg; break;
      case 'd': data = optarg; break;
      case 'v': how.dev = optarg; break;
      case 'n': how.samples = optarg; break;
      case 's': how.seed = optarg; break;
      case 'l': how.limit = optarg; break;
      case 'L': label = optarg; break;
      case 'h': return ctl_help(&ctl_cmd_eval);
      default: return ctl_bad_option(&ctl_cmd_eval);
    }
  if (optind != argc) return ctl_usage(&ctl_cmd_eval, "unexpected '%s'", argv[optind]);
  if (how.limit && (!agrl_parse_u64(how.limit, &n) || !n)) return ctl_usage(&ctl_cmd_eval, "--limit: '%s' is not a number above 0", how.limit);
  if (how.limit && (!label || is_of_all_rows(label, checkpoint)))
    return ctl_usage(&ctl_cmd_eval, "--limit: results of some rows would stand in for those of all, which belong under %s; give --label OTHER, "
                     "none of sft, best, latest, at-VERSION and the checkpoint's name", label ? label : "the checkpoint's label");
  if (how.seed && !agrl_parse_u64(how.seed, &n)) return ctl_usage(&ctl_cmd_eval, "--seed: '%s' is not a number", how.seed);
  if (how.samples && (!agrl_parse_u64(how.samples, &n) || n > 64))
    return ctl_usage(&ctl_cmd_eval, "--samples: '%s' is not a number of at most 64", how.samples);
  agrl_error err = {0};
  ctl_job job;
  if (ctl_job_open(&job, config, run_dir, &err)) return ctl_fail(&err);
  agrl_rc rc = data ? agrl_config_set(&job.config, "data.eval", data, &err) : AGRL_OK;
  if (!rc && !*job.config.data.eval)
    rc = agrl_fail(&err, AGRL_ECONFIG, "no held-out rows: give --data FILE or set data.eval");
  char *dir = strchr(checkpoint, '/') ? agrl_xstrdup(checkpoint) : agrl_xasprintf("%s/checkpoints/%s",
      job.config.run.dir, checkpoint);
  if (!rc && !agrl_file_exists(dir)) rc = agrl_fail(&err, AGRL_ENOENT, "no checkpoint %s", dir);
  char *copy = agrl_xstrdup(checkpoint);
  char *own = label ? agrl_xstrdup(label) : ctl_eval_label(basename(copy));
  label = own;
  if (!rc) rc = check_label(&job.config, label, dir, &err);
  int code = rc ? ctl_fail(&err) : ctl_eval_run(&job.config, dir, label, &how);
  if (!code) ctl_report_page(&job.config, label);  // says why, where there is none
  free(own);
  free(copy);
  free(dir);
  ctl_job_release(&job);
  return code;
}

const ctl_command ctl_cmd_eval = {"eval", "score a checkpoint on held-out rows", usage, run};
