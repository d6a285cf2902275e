// SPDX-License-Identifier: Apache-2.0
// agrlctl eval: runs agrl-eval on a checkpoint for every file of data.eval; results land in RUN/eval[-SPLIT]-LABEL.json.
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
    "Scores a checkpoint on held-out rows. NAME is one under RUN/checkpoints (default: latest).\n";

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

static int eval_one(const agrl_config *c, const char *program, const char *checkpoint, const char *file,
                    const char *label, const char *limit) {
  char *split = ctl_eval_split(file);
  // eval.jsonl -> eval-LABEL.json, eval_natural.jsonl -> eval-natural-LABEL.json
  bool named = strcmp(split, "eval") != 0;
  const char *part = !strncmp(split, "eval", 4) && (split[4] == '-' || split[4] == '_') ? split + 5 : split;
  char *out = agrl_xasprintf("%s/eval%s%s-%s.json", c->run.dir, named ? "-" : "", named ? part : "", label);
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
  char *program = ctl_program("agrl-eval");
  int code = 0;
  if (!program) {
    fprintf(stderr, "agrlctl: agrl-eval is neither beside agrlctl nor in $PATH; build or install it\n");
    return agrl_rc_exit(AGRL_ENOENT);
  }
  char real[4096], *resolved = realpath(checkpoint, real);  // the result names the version, not `latest`
  for (const char *s = c->data.eval; *s && !code; s += strcspn(s, ",") + (s[strcspn(s, ",")] == ',')) {
    char *file = agrl_xstrndup(s, strcspn(s, ","));
    code = eval_one(c, program, resolved ? resolved : checkpoint, file, label, limit);
    free(file);
  }
  free(program);
  return code;
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
  if (label && strchr(label, '/')) return ctl_usage(&ctl_cmd_eval, "--label: expected a plain name");
  agrl_error err = {0};
  ctl_job job;
  if (ctl_job_open(&job, config, run_dir, &err)) return ctl_fail(&err);
  agrl_rc rc = data ? agrl_config_set(&job.config, "data.eval", data, &err) : AGRL_OK;
  if (!rc && !*job.config.data.eval)
    rc = agrl_fail(&err, AGRL_ECONFIG, "no held-out rows: give --data FILE or set data.eval");
  char *dir = strchr(checkpoint, '/') ? agrl_xstrdup(checkpoint) : agrl_xasprintf("%s/checkpoints/%s",
      job.config.run.dir, checkpoint);
  if (!rc && !agrl_file_exists(dir)) rc = agrl_fail(&err, AGRL_ENOENT, "no checkpoint %s", dir);
  char *name = ctl_eval_split(checkpoint);
  int code = rc ? ctl_fail(&err) : ctl_eval_run(&job.config, dir, label ? label : name, limit);
  free(name);
  free(dir);
  ctl_job_release(&job);
  return code;
}

const ctl_command ctl_cmd_eval = {"eval", "score a checkpoint on held-out rows", usage, run};
