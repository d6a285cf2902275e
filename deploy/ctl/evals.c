// SPDX-License-Identifier: Apache-2.0
// Evaluation while training: which checkpoint is due, one process after the other, the best version.
#include "deploy/ctl/evals.h"

#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/mem.h"
#include "common/ckpt/hf.h"
#include "deploy/ctl/ctl.h"
#include "deploy/ctl/proc.h"

#define LOOK_NS UINT64_C(1000000000)
#define VERSION_PATTERN "v[0-9]*-[0-9]*[0-9]"  // whole ones: not NAME.tmp
static const char pin[] = "evaluating";  // a symlink: the learner keeps the version while it is read

static const char *base(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

static char *result_path(const ctl_evals *e, const char *name, const char *file) {
  char *split = ctl_eval_split(file), *path = agrl_xasprintf("%s/eval/%s/%s.json", e->config->run.dir, name, split);
  free(split);
  return path;
}

static bool is_done(const ctl_evals *e, const char *name) {
  char *files = ctl_eval_files(e->config);
  const char *rest = files;
  bool done = true;
  for (char *file; (file = ctl_eval_next_file(&rest)); free(file)) {
    char *path = result_path(e, name, file);
    done = done && agrl_file_exists(path);
    free(path);
  }
  free(files);
  return done;
}

// Macro F1 of a version on the first file; NaN when it has none.
static double score_of(const ctl_evals *e, const char *name, char **split) {
  char *files = ctl_eval_files(e->config);
  const char *rest = files;
  char *file = ctl_eval_next_file(&rest), *path = result_path(e, name, file);
  agrl_json *doc = NULL;
  double v = NAN;
  if (!agrl_json_load(path, &doc, NULL)) agrl_json_f64(agrl_json_get(doc, "macro_f1"), &v);
  agrl_json_free(doc);
  if (split) *split = ctl_eval_split(file);
  free(file);
  free(path);
  free(files);
  return v;
}

// Of equals the earlier one stays.
static void take_score(ctl_evals *e, const char *name, double macro_f1) {
  agrl_error err = {0};
  char *dir = agrl_path_join(e->root, name);
  bool better = isfinite(macro_f1) && (!*e->best || macro_f1 > e->best_macro_f1) && agrl_file_exists(dir);
  free(dir);
  if (!better) return;
  if (agrl_ckpt_set_link(e->root, "best", name, &err)) {
    ctl_view_say(e->view, "%s", err.msg);
    return;
  }
  snprintf(e->best, sizeof e->best, "%s", name);
  e->best_macro_f1 = macro_f1;
}

agrl_rc ctl_evals_init(ctl_evals *e, const agrl_config *config, ctl_view *view, agrl_error *err) {
  *e = (ctl_evals){.config = config, .view = view};
  if (!config->eval.every || !*config->data.eval) return AGRL_OK;
  e->program = ctl_program("agrl-eval");
  if (!e->program) return agrl_fail(err, AGRL_ENOENT, "agrl-eval is neither beside agrlctl nor in $PATH; build or install it, or set eval.interval: 0");
  e->root = agrl_path_join(config->run.dir, "checkpoints");
  glob_t found;
  ctl_glob(e->root, VERSION_PATTERN, &found);
  for (size_t i = 0; i < found.gl_pathc; i++) {  // what an earlier start of this job found out
    const char *name = base(found.gl_pathv[i]);
    if (is_done(e, name)) take_score(e, name, score_of(e, name, NULL));
  }
  globfree(&found);
  return AGRL_OK;
}

// The newest checkpoint that is due and was not tried; false: none.
static bool find_due(const ctl_evals *e, char name[32]) {
  glob_t found;
  bool due = false;
  ctl_glob(e->root, VERSION_PATTERN, &found);
  for (size_t i = found.gl_pathc; i-- > 0 && !due;) {  // glob sorts, names are of one length
    unsigned epoch, step;
    const char *at = base(found.gl_pathv[i]);
    if (sscanf(at, "v%8u-%8u", &epoch, &step) != 2 || step == 0) continue;
    if (strcmp(at, e->done) <= 0) break;
    if (step % e->config->eval.every != 0 && step != e->config->grpo.versions) continue;
    snprintf(name, 32, "%s", at);
    due = !is_done(e, at);
    if (!due) break;  // older ones had their chance
  }
  globfree(&found);
  return due;
}

// In the child, between fork and exec: only what is safe there.
static void become(char *const argv[], int log_fd) {
  setpriority(PRIO_PROCESS, 0, 19);
  int null = open("/dev/null", O_RDONLY);
  if (null >= 0) dup2(null, 0);
  dup2(log_fd, 1);
  dup2(log_fd, 2);
  execv(argv[0], argv);
  _exit(127);
}

static void give_up(ctl_evals *e, const char *why) {
  if (why) ctl_view_say(e->view, "evaluation of %s: %s (%s/logs/eval.log)", e->name, why, e->config->run.dir);
  char *link = agrl_path_join(e->root, pin);
  unlink(link);
  free(link);
  free(e->files);
  e->files = NULL;
  e->pid = 0;
}

static bool start_file(ctl_evals *e, const char *file) {
  const agrl_config *c = e->config;
  char limit[24], *results = agrl_xasprintf("%s/eval/%s", c->run.dir, e->name), *dir = agrl_path_join(e->root, e->name);
  char *log = agrl_xasprintf("%s/logs/eval.log", c->run.dir);
  snprintf(limit, sizeof limit, "%" PRId64, c->eval.rows);
  ctl_eval_command command;
  ctl_eval_command_make(c, e->program, dir, file, results, c->eval.threads, &(ctl_eval_how){.limit = c->eval.rows ? limit : NULL}, &command);
  int fd = agrl_file_mkdirs(results, NULL) ? -1 : open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  e->pid = fd < 0 ? -1 : ctl_fork();
  if (!e->pid) become(command.argv, fd);
  if (fd >= 0) close(fd);
  ctl_eval_command_release(&command);
  free(results);
  free(dir);
  free(log);
  return e->pid > 0;
}

static void start_next(ctl_evals *e) {
  char *file = ctl_eval_next_file(&e->rest), *split = NULL;
  e->pid = 0;
  if (file) {
    if (!start_file(e, file)) give_up(e, "cannot be started");
    free(file);
    return;
  }
  double v = score_of(e, e->name, &split);
  take_score(e, e->name, v);
  bool best = !strcmp(e->best, e->name);
  ctl_view_say(e->view, "version %d: macro F1 %.3f on %s%s", atoi(e->name + 10), v, split, best ? ", the best so far" : "");
  free(split);
  give_up(e, NULL);
}

void ctl_evals_tick(ctl_evals *e, bool now) {
  char name[32];
  if (!e->program || e->pid || (!now && agrl_mono_ns() - e->looked_ns < LOOK_NS)) return;
  e->looked_ns = agrl_mono_ns();
  if (!find_due(e, name)) return;
  agrl_error err = {0};
  if (agrl_ckpt_set_link(e->root, pin, name, &err)) {
    ctl_view_say(e->view, "%s", err.msg);
    return;
  }
  memcpy(e->name, name, sizeof name);
  memcpy(e->done, name, sizeof name);
  e->rest = e->files = ctl_eval_files(e->config);
  start_next(e);
}

void ctl_evals_reap(ctl_evals *e) {
  int status;
  if (e->pid <= 0 || waitpid(e->pid, &status, WNOHANG) != e->pid) return;
  char why[64];
  snprintf(why, sizeof why, "%s %d", WIFEXITED(status) ? "exit code" : "signal", WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
  if (status) give_up(e, why);
  else start_next(e);
}

bool ctl_evals_busy(const ctl_evals *e) { return e->pid > 0; }

void ctl_evals_release(ctl_evals *e) {
  if (e->pid > 0) {
    kill(e->pid, SIGKILL);  // it writes its result whole or not at all
    waitpid(e->pid, NULL, 0);
    give_up(e, NULL);
  }
  free(e->program);
  free(e->root);
  e->program = e->root = NULL;
}
