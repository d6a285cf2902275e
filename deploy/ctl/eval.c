// SPDX-License-Identifier: Apache-2.0
// agrlctl eval: runs agrl-eval on a checkpoint for every file of data.eval; results land in RUN/eval/LABEL/SPLIT.json.
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/base/num.h"
#include "deploy/ctl/ctl.h"

static const char usage[] =
    "usage: agrlctl eval [--run-dir DIR | --config FILE] [--checkpoint DIR|NAME] [--data FILE] [--limit N] [--label NAME]\n"
    "Scores a checkpoint on held-out rows. NAME is one under RUN/checkpoints (default: latest). Results:\n"
    "RUN/eval/LABEL/SPLIT.json, LABEL by default the checkpoint's name, SPLIT the file's; the report compares the labels\n"
    "sft and latest, which no other checkpoint may take.\n";

static int spawn_wait(char **argv) {
  fflush(stdout);
  pid_t pid = fork();
  if (pid < 0) return perror("agrlctl: fork"), 71;
  if (!pid) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    execv(argv[0], argv);
    _exit(127);
  }
  int status;
  while (waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return 71;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

char *ctl_eval_split(const char *path) {
  char *copy = agrl_xstrdup(path), *name = agrl_xstrdup(basename(copy)), *dot = strrchr(name, '.');
  free(copy);
  if (dot && dot != name) *dot = 0;
  return name;
}

// The next file of a comma-separated list; NULL at its end. Caller frees.
static char *next_file(const char **list) {
  if (!**list) return NULL;
  size_t len = strcspn(*list, ",");
  char *file = agrl_xstrndup(*list, len);
  *list += len + ((*list)[len] == ',');
  return file;
}

agrl_rc ctl_eval_check(const agrl_config *c, agrl_error *err) {
  agrl_rc rc = AGRL_OK;
  const char *list = c->data.eval;
  for (char *a; !rc && (a = next_file(&list)); free(a)) {
    const char *rest = list;
    char *split = ctl_eval_split(a);
    for (char *b; !rc && (b = next_file(&rest)); free(b)) {
      char *other = ctl_eval_split(b);
      if (!strcmp(split, other))
        rc = agrl_fail(err, AGRL_ECONFIG, "data.eval: the results of %s and %s would have one name, %s; rename one of the files", a, b, split);
      free(other);
    }
    free(split);
  }
  return rc;
}

static int eval_one(const agrl_config *c, const char *program, const char *checkpoint, const char *file,
                    const char *results, const char *limit) {
  char *split = ctl_eval_split(file), *out = agrl_xasprintf("%s/%s.json", results, split);
  char threads[24], max_new[24];
  snprintf(threads, sizeof threads, "%" PRId64, c->learner.threads);
  snprintf(max_new, sizeof max_new, "%" PRId64, c->actor.max_new_tokens);
  char *argv[] = {(char *)program, "--checkpoint", (char *)checkpoint, "--rules", c->data.rules, "--data",
                  (char *)file, "--split", split, "--out", out,
                  "--threads", threads, "--max-new", max_new, limit ? "--limit" : NULL, (char *)limit, NULL};
  int code = spawn_wait(argv);
  if (code) fprintf(stderr, "agrlctl: evaluation of %s on %s ended with exit code %d\n", checkpoint, file, code);
  free(split);
  free(out);
  return code;
}

int ctl_eval_run(const agrl_config *c, const char *checkpoint, const char *label, const char *limit) {
  agrl_error err = {0};
  char *results = agrl_xasprintf("%s/eval/%s", c->run.dir, label), *program = ctl_program("agrl-eval");
  int code = ctl_eval_check(c, &err) || agrl_file_mkdirs(results, &err) ? ctl_fail(&err) : 0;
  if (!program) {
    free(results);
    fprintf(stderr, "agrlctl: agrl-eval is neither beside agrlctl nor in $PATH; build or install it\n");
    return agrl_rc_exit(AGRL_ENOENT);
  }
  char real[4096], *resolved = realpath(checkpoint, real);  // the result names the version, not `latest`
  const char *list = c->data.eval;
  for (char *file; !code && (file = next_file(&list)); free(file))
    code = eval_one(c, program, resolved ? resolved : checkpoint, file, results, limit);
  free(program);
  free(results);
  return code;
}

// A label is a folder's name, and those that the report compares belong to the run's checkpoints of these names.
static agrl_rc check_label(const agrl_config *c, const char *label, const char *checkpoint, agrl_error *err) {
  if (!*label || *label == '.' || strchr(label, '/'))
    return agrl_fail(err, AGRL_EINVAL, "'%s' cannot name results: give --label a plain name", label);
  if (strcmp(label, "sft") != 0 && strcmp(label, "latest") != 0) return AGRL_OK;
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
                                        {"data", 1, 0, 'd'},
                                        {"limit", 1, 0, 'l'},  {"label", 1, 0, 'L'},   {"help", 0, 0, 'h'},
                                        {0, 0, 0, 0}};
  const char *config = NULL, *run_dir = NULL, *checkpoint = "latest", *data = NULL, *limit = NULL, *label = NULL;
  uint64_t n;
  for (int k; (k = getopt_long(argc, argv, "h", longs, NULL)) != -1;) switch (k) {
      case 'c': config = optarg; break;
      case 'D': run_dir = optarg; break;
      case 'k': checkpoint = optarg; break;
      case 'd': data = optarg; break;
      case 'l': limit = optarg; break;
      case 'L': label = optarg; break;
      case 'h': return ctl_help(&ctl_cmd_eval);
      default: return ctl_usage(&ctl_cmd_eval, "unknown option");
    }
  if (optind != argc) return ctl_usage(&ctl_cmd_eval, "unexpected '%s'", argv[optind]);
  if (limit && !agrl_parse_u64(limit, &n)) return ctl_usage(&ctl_cmd_eval, "--limit: '%s' is not a number", limit);
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
  if (!label) label = basename(copy);
  if (!rc) rc = check_label(&job.config, label, dir, &err);
  int code = rc ? ctl_fail(&err) : ctl_eval_run(&job.config, dir, label, limit);
  free(copy);
  free(dir);
  ctl_job_release(&job);
  return code;
}

const ctl_command ctl_cmd_eval = {"eval", "score a checkpoint on held-out rows", usage, run};
