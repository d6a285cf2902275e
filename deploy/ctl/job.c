// SPDX-License-Identifier: Apache-2.0
// Finding the job, talking to it, and the other small things commands share.
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/base/num.h"
#include "common/ckpt/hf.h"
#include "common/net/net.h"
#include "common/wire/version.h"
#include "deploy/ctl/ctl.h"

// dir is the run directory whatever the agrl.yaml in it says: it may have been copied, moved or renamed.
static agrl_rc open_in(ctl_job *job, const char *dir, const char *config_path, agrl_error *err) {
  char *effective = agrl_path_join(dir, "agrl.yaml"), real[PATH_MAX];
  bool found = agrl_file_exists(effective);
  agrl_rc rc = agrl_config_load(found ? effective : config_path, &job->config, err);
  if (!rc && !found) rc = ctl_default_rules(&job->config, config_path, err);
  if (!rc) rc = agrl_config_set(&job->config, "run.dir", realpath(dir, real) ? real : dir, err);
  job->found = found && !rc;
  free(effective);
  return rc;
}

agrl_rc ctl_job_open(ctl_job *job, const char *config_path, const char *run_dir, agrl_error *err) {
  *job = (ctl_job){0};
  if (!run_dir && !config_path) run_dir = getenv("AGRL_RUN_DIR");
  if (run_dir && !*run_dir) return agrl_fail(err, AGRL_EINVAL, "--run-dir or $AGRL_RUN_DIR is empty; name a run directory");
  if (run_dir) return open_in(job, run_dir, config_path, err);
  agrl_config named;
  agrl_rc rc = agrl_config_load(config_path, &named, err);
  if (rc) return rc;
  rc = open_in(job, named.run.dir, config_path, err);
  agrl_config_release(&named);
  return rc;
}

void ctl_job_release(ctl_job *job) { agrl_config_release(&job->config); }

char *ctl_job_path(const ctl_job *job, const char *name) { return agrl_path_join(job->config.run.dir, name); }

void ctl_glob(const char *dir, const char *pattern, glob_t *out) {
  agrl_buf all = {0};
  for (const char *s = dir; *s; s++) {
    if (strchr("*?[]\\", *s)) agrl_buf_addc(&all, '\\');
    agrl_buf_addc(&all, *s);
  }
  agrl_buf_addf(&all, "/%s", pattern);
  *out = (glob_t){0};
  glob(all.data, 0, NULL, out);  // on any failure nothing is found
  agrl_buf_release(&all);
}

int ctl_fail(const agrl_error *err) {
  agrl_error_print(err, "agrlctl");
  return agrl_rc_exit(err->code);
}

int ctl_usage(const ctl_command *c, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  fprintf(stderr, "agrlctl %s: ", c->name);
  vfprintf(stderr, fmt, ap);
  fprintf(stderr, "; see agrlctl %s --help\n", c->name);
  va_end(ap);
  return agrl_rc_exit(AGRL_EINVAL);
}

int ctl_bad_option(const ctl_command *c) {
  fprintf(stderr, "agrlctl %s: see agrlctl %s --help\n", c->name, c->name);
  return agrl_rc_exit(AGRL_EINVAL);
}

int ctl_only_options(const ctl_command *c, const char *verb, const struct option *longs, const bool given[CTL_LETTERS], const char *allowed) {
  for (int k = 1; k < CTL_LETTERS; k++) {
    if (!given[k] || strchr("cD", k) || strchr(allowed, k)) continue;
    const struct option *o = longs;
    while (o->name && o->val != k) o++;
    if (o->name) return ctl_usage(c, "--%s is no option of %s", o->name, verb);
    return ctl_usage(c, "-%c is no option of %s", k, verb);
  }
  return 0;
}

int ctl_help(const ctl_command *c) {
  fputs(c->usage, stdout);
  return 0;
}

static agrl_rc ask(const ctl_job *job, const char *service, agrl_msg *m, uint64_t timeout_ms, agrl_arena *arena,
                   agrl_msg *answer,
                   agrl_error *err) {
  char *endpoint = agrl_config_endpoint(&job->config, service);
  agrl_error why = {0};
  agrl_rc rc;
  if (!strncmp(endpoint, "ipc://", 6) && access(endpoint + 6, F_OK)) rc = agrl_fail(&why, AGRL_EPEER, "no socket");
  else rc = agrl_call_once(endpoint, m, timeout_ms, arena, answer, &why);
  if (rc == AGRL_ETIMEOUT || rc == AGRL_EPEER || rc == AGRL_EAGAIN)
    rc = agrl_fail(err, AGRL_EPEER,
                   "%s of the job in %s does not answer (%s); is it running? start it with agrlctl up", service,
                   job->config.run.dir, why.msg);
  else if (rc) rc = agrl_fail(err, rc, "%s", why.msg);
  else if (answer->kind == AGRL_MSG_ERROR) rc = agrl_fail(err, (agrl_rc)answer->error.code, "%s", answer->error.text);
  free(endpoint);
  return rc;
}

agrl_rc ctl_control(const ctl_job *job, const char *verb, const char *arg, uint64_t timeout_ms, agrl_arena *arena,
                    agrl_msg *answer,
                    agrl_error *err) {
  if (!ctl_supervisor_pid(job->config.run.dir))
    return agrl_fail(err, AGRL_EPEER, "no job is running in %s", job->config.run.dir);
  agrl_msg m = {.kind = AGRL_MSG_CONTROL, .control = {.verb = verb, .arg = arg}};
  return ask(job, "control", &m, timeout_ms, arena, answer, err);
}

agrl_rc ctl_service_status(const ctl_job *job, const char *service, uint64_t timeout_ms, agrl_arena *arena,
                           agrl_msg *answer,
                           agrl_error *err) {
  agrl_msg m = {.kind = AGRL_MSG_STATUS_REQUEST};
  return ask(job, service, &m, timeout_ms, arena, answer, err);
}

const char *ctl_kv(const agrl_msg_status *s, const char *key) {
  for (size_t i = 0; i < s->n; i++)
    if (!strcmp(s->items[i].key, key)) return s->items[i].value;
  return NULL;
}

char *ctl_program(const char *name) {
  char self[PATH_MAX];
  ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
  if (n > 0) {
    self[n] = 0;
    char *dir = agrl_path_dir(self), *path = agrl_path_join(dir, name);
    free(dir);
    if (!access(path, X_OK)) return path;
    free(path);
  }
  const char *list = getenv("PATH");
  while (list && *list) {
    size_t len = strcspn(list, ":");
    char *dir = agrl_xstrndup(len ? list : ".", len ? len : 1), *path = agrl_path_join(dir, name);
    free(dir);
    if (!access(path, X_OK)) return path;
    free(path);
    list += len + (list[len] == ':');
  }
  return NULL;
}

agrl_rc ctl_default_rules(agrl_config *c, const char *config_path, agrl_error *err) {
  if (*c->data.rules || !config_path) return AGRL_OK;
  char *dir = agrl_path_dir(config_path), *path = agrl_path_join(dir, "rules.yaml");
  agrl_rc rc = agrl_file_exists(path) ? agrl_config_set(c, "data.rules", path, err) : AGRL_OK;
  free(path);
  free(dir);
  return rc;
}

bool ctl_job_finished(const agrl_config *c) {
  char *dir = NULL, *root = agrl_path_join(c->run.dir, "checkpoints"), *sft = agrl_path_join(root, "sft");
  uint64_t version = 0;
  bool done = agrl_config_versions(c) == 0 ? agrl_file_exists(sft)
                                           : !agrl_ckpt_find_latest(root, &dir, &version, NULL) &&
                                                 AGRL_VERSION_STEP(version) >= (uint64_t)c->grpo.versions;
  free(dir);
  free(root);
  free(sft);
  return done;
}

int ctl_supervisor_pid(const char *run_dir) {
  char *path = agrl_path_join(run_dir, "supervisor.pid");
  int fd = open(path, O_RDONLY | O_CLOEXEC), pid = 0;
  free(path);
  if (fd < 0) return 0;
  char text[32] = "";
  struct flock other = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
  bool lives = fcntl(fd, F_OFD_GETLK, &other) == 0 && other.l_type != F_UNLCK;
  if (lives && read(fd, text, sizeof text - 1) > 0) pid = atoi(text);
  close(fd);
  return pid;
}

agrl_rc ctl_config_write(const agrl_config *c, const char *path, agrl_error *err) {
  agrl_buf text = {0};
  agrl_buf_adds(&text, "# The effective configuration of this run, written by agrlctl up.\n");
  agrl_config_dump(c, false, &text);
  struct stat st;
  if (lstat(path, &st) == 0 && S_ISLNK(st.st_mode)) unlink(path);  // somebody's own configuration: it is not this run's to write
  agrl_rc rc = agrl_file_write_atomic(path, text.data, text.len, err);
  agrl_buf_release(&text);
  return rc;
}
