// SPDX-License-Identifier: Apache-2.0
// Finding the job, talking to it, and the other small things commands share.
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/base/num.h"
#include "common/ckpt/hf.h"
#include "common/net/net.h"
#include "common/wire/version.h"
#include "deploy/ctl/ctl.h"

agrl_rc ctl_job_open(ctl_job *job, const char *config_path, const char *run_dir, agrl_error *err) {
  *job = (ctl_job){0};
  if (!run_dir && !config_path) run_dir = getenv("AGRL_RUN_DIR");
  char *effective = run_dir ? agrl_path_join(run_dir, "agrl.yaml") : NULL;
  agrl_rc rc;
  if (effective && agrl_file_exists(effective)) {
    rc = agrl_config_load(effective, &job->config, err);
    job->found = !rc;
  } else {
    rc = agrl_config_load(config_path, &job->config, err);
    if (!rc) rc = ctl_default_rules(&job->config, config_path, err);
    if (!rc && run_dir) rc = agrl_config_set(&job->config, "run.dir", run_dir, err);
    char *in_dir = rc ? NULL : agrl_path_join(job->config.run.dir, "agrl.yaml");
    if (in_dir && agrl_file_exists(in_dir)) {  // what really runs there
      agrl_config_release(&job->config);
      rc = agrl_config_load(in_dir, &job->config, err);
      job->found = !rc;
    }
    free(in_dir);
  }
  free(effective);
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
  agrl_rc rc = agrl_file_write_atomic(path, text.data, text.len, err);
  agrl_buf_release(&text);
  return rc;
}
