// SPDX-License-Identifier: Apache-2.0
// agrlctl up: the effective configuration, the lock on the run directory, the supervisor, then evaluation and report.
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "deploy/ctl/super.h"
#include "reward/rules.h"

static const char usage[] =
    "usage: agrlctl up [--config FILE] [options]\n"
    "Runs a job on this machine: reward, replay, learner and actors, supervised, until the last version is trained;\n"
    "then evaluates the checkpoints and writes the report. Ctrl-C stops it cleanly; the same command resumes it.\n"
    "  --config FILE    configuration (default: agrl.yaml of the run directory, else the built-in defaults)\n"
    "  --data FILE      training rows (data.train)\n"
    "  --eval FILE      held-out rows (data.eval); may be given more than once\n"
    "  --rules FILE     rule file (data.rules; where neither is given, rules.yaml beside the configuration file)\n"
    "  --run-dir DIR    run directory (run.dir)\n"
    "  --actors N       actors to start (actor.count)\n"
    "  --set KEY=VALUE  any configuration key; may be given more than once\n"
    "  --detach         run in the background; the log is DIR/logs/supervisor.log\n"
    "  --no-eval        end without evaluation and report\n"
    "  --help\n";

typedef struct up {
  agrl_config config;
  const char *config_path;
  char *run_dir;
  bool detach, no_eval;
  int lock;
  int ready_fd;  // detached: where the parent waits, -1
  agrl_buf eval_list;
} up;

enum { MAX_SETS = 256 };
typedef struct sets {
  const char *key[MAX_SETS];
  char *value[MAX_SETS];
  size_t n;
} sets;

static agrl_rc add_set(sets *s, const char *key, const char *value, agrl_error *err) {
  if (s->n == MAX_SETS) return agrl_fail(err, AGRL_EINVAL, "more than %d settings", MAX_SETS);
  s->key[s->n] = key;
  s->value[s->n++] = agrl_xstrdup(value);
  return AGRL_OK;
}

static agrl_rc split_set(sets *s, char *text, agrl_error *err) {
  char *eq = strchr(text, '=');
  if (!eq) return agrl_fail(err, AGRL_EINVAL, "--set %s: expected KEY=VALUE", text);
  *eq = 0;
  return add_set(s, text, eq + 1, err);
}

// Options into u and s; 0 to go on, otherwise the exit code (help: -1).
static int parse(int argc, char **argv, up *u, sets *s, agrl_error *err) {
  static const struct option longs[] = {{"config", 1, 0, 'c'}, {"data", 1, 0, 'd'}, {"eval", 1, 0, 'e'},
                                        {"rules", 1, 0, 'r'},   {"run-dir", 1, 0, 'D'},
                                        {"actors", 1, 0, 'a'}, {"set", 1, 0, 's'},  {"detach", 0, 0, 'b'},
                                        {"no-eval", 0, 0, 'n'}, {"help", 0, 0, 'h'},
                                        {0, 0, 0, 0}};
  agrl_rc rc = AGRL_OK;
  for (int o; !rc && (o = getopt_long(argc, argv, "h", longs, NULL)) != -1;) switch (o) {
      case 'c': u->config_path = optarg; break;
      case 'd': rc = add_set(s, "data.train", optarg, err); break;
      case 'e': agrl_buf_addf(&u->eval_list, "%s%s", u->eval_list.len ? "," : "", optarg); break;
      case 'r': rc = add_set(s, "data.rules", optarg, err); break;
      case 'D':
        if (!*optarg) return ctl_usage(&ctl_cmd_up, "--run-dir is empty; name a run directory");
        u->run_dir = optarg;
        rc = add_set(s, "run.dir", optarg, err);
        break;
      case 'a': rc = add_set(s, "actor.count", optarg, err); break;
      case 's': rc = split_set(s, optarg, err); break;
      case 'b': u->detach = true; break;
      case 'n': u->no_eval = true; break;
      case 'h': return ctl_help(&ctl_cmd_up), -1;
      default: return ctl_bad_option(&ctl_cmd_up);
    }
  if (!rc && u->eval_list.len) rc = add_set(s, "data.eval", u->eval_list.data, err);
  if (rc) return ctl_fail(err);
  return optind == argc ? 0 : ctl_usage(&ctl_cmd_up, "unexpected '%s'", argv[optind]);
}

// Paths become absolute, so that every process and every later command finds the same files. An empty one stays so.
static agrl_rc absolute(agrl_config *c, const char *key, const char *path, agrl_error *err) {
  char real[PATH_MAX];
  if (!*path) return AGRL_OK;
  if (!realpath(path, real)) return agrl_fail(err, AGRL_ENOENT, "%s: %s: %s", key, path, strerror(errno));
  return agrl_config_set(c, key, real, err);
}

static agrl_rc absolute_list(agrl_config *c, const char *key, const char *list, agrl_error *err) {
  agrl_buf out = {0};
  agrl_rc rc = AGRL_OK;
  for (const char *s = list; *s && !rc; s += strcspn(s, ",") + (s[strcspn(s, ",")] == ',')) {
    char *one = agrl_xstrndup(s, strcspn(s, ",")), real[PATH_MAX];
    if (!realpath(one, real)) rc = agrl_fail(err, AGRL_ENOENT, "%s: %s: %s", key, one, strerror(errno));
    else agrl_buf_addf(&out, "%s%s", out.len ? "," : "", real);
    free(one);
  }
  if (!rc && out.len) rc = agrl_config_set(c, key, out.data, err);
  agrl_buf_release(&out);
  return rc;
}

static agrl_rc effective(up *u, const sets *s, agrl_error *err) {
  char *own = u->run_dir ? agrl_path_join(u->run_dir, "agrl.yaml") : NULL;
  const char *from = u->config_path ? u->config_path : own && agrl_file_exists(own) ? own : NULL;
  agrl_rc rc = agrl_config_load(from, &u->config, err);
  for (size_t i = 0; i < s->n && !rc; i++) rc = agrl_config_set(&u->config, s->key[i], s->value[i], err);
  if (!rc) rc = ctl_default_rules(&u->config, from, err);
  if (!rc && !*u->config.data.train)
    rc = agrl_fail(err, AGRL_ECONFIG, "no training rows: give --data FILE or set data.train");
  if (!rc && !*u->config.data.rules)
    rc = agrl_fail(err, AGRL_ECONFIG, "no rule file: give --rules FILE, set data.rules, or put rules.yaml beside %s",
                   from ? from : "the configuration file");
  free(own);
  if (!rc) rc = agrl_file_mkdirs(u->config.run.dir, err);
  if (!rc) rc = absolute(&u->config, "run.dir", u->config.run.dir, err);
  if (!rc) rc = absolute(&u->config, "data.train", u->config.data.train, err);
  if (!rc) rc = absolute_list(&u->config, "data.eval", u->config.data.eval, err);
  if (!rc) rc = absolute(&u->config, "data.dev", u->config.data.dev, err);
  if (!rc) rc = absolute(&u->config, "data.rules", u->config.data.rules, err);
  if (!rc) rc = absolute(&u->config, "model.init", u->config.model.init, err);
  if (!rc && agrl_config_check(&u->config, err)) rc = err->code = AGRL_ECONFIG;  // as the daemons do
  return rc;
}

// Bad rows, rules that do not fit the data and held-out rows that are trained on are found here, before anything starts.
static agrl_rc check_inputs(const up *u, agrl_error *err) {
  agrl_rules_report rep;
  agrl_rc rc = ctl_eval_check(&u->config, err);
  if (rc) return rc;
  rc = agrl_rules_check_files(u->config.data.rules, u->config.data.train, &rep, err);
  if (!rc && rep.passed < rep.checked)
    printf("agrlctl: %zu of %zu training rows do not pass their own rules:\n%s\n", rep.checked - rep.passed, rep.checked,
           rep.failures.data);
  agrl_rules_report_release(&rep);
  return rc ? rc : ctl_eval_disjoint(&u->config, err);
}

// The lock belongs to this open file: it goes when the process does, however it ends, and asking for it (ctl_supervisor_pid) does
// not take it.
static agrl_rc lock_run(up *u, agrl_error *err) {
  char *path = agrl_path_join(u->config.run.dir, "supervisor.pid");
  struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  agrl_rc rc = AGRL_OK;
  u->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  bool locked = u->lock >= 0 && fcntl(u->lock, F_OFD_SETLK, &whole) == 0;
  if (!locked && u->lock >= 0 && (errno == EAGAIN || errno == EACCES))
    rc = agrl_fail(err, AGRL_EEXIST,
                   "a job is running in %s already (pid %d); agrlctl status shows it, agrlctl down stops it",
                   u->config.run.dir,
                   ctl_supervisor_pid(u->config.run.dir));
  else if (!locked || ftruncate(u->lock, 0) || dprintf(u->lock, "%d\n", (int)getpid()) < 0)
    rc = agrl_fail(err, AGRL_EIO, "%s: %s", path, strerror(errno));
  free(path);
  return rc;
}

// The parent waits until the child serves or ends. Returns -1 in the child, the exit code in the parent.
static int detach(up *u) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC)) return perror("agrlctl: pipe"), 71;
  fflush(stdout);
  pid_t pid = fork();
  if (pid < 0) return perror("agrlctl: fork"), 71;
  if (pid > 0) {
    char ok = 0;
    int status = 0;
    close(ends[1]);
    if (read(ends[0], &ok, 1) == 1) {
      printf("agrlctl: running in %s (pid %d); agrlctl status --run-dir %s\n", u->config.run.dir, (int)pid,
             u->config.run.dir);
      return 0;
    }
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 70;
  }
  close(ends[0]);
  u->ready_fd = ends[1];
  setsid();
  return -1;
}

// The terminal is let go only when the job serves, so that errors before that are seen.
static void on_ready(void *user) {
  up *u = user;
  if (u->ready_fd < 0) return;
  char *log = agrl_path_join(u->config.run.dir, "logs/supervisor.log");
  int null = open("/dev/null", O_RDWR | O_CLOEXEC), fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0) fprintf(stderr, "agrlctl: %s: %s; the job runs without a log of the supervisor\n", log, strerror(errno));
  free(log);
  ssize_t told = write(u->ready_fd, "1", 1);
  (void)told;  // the parent may have been killed: the job runs all the same
  close(u->ready_fd);
  fflush(stdout);
  dup2(null, 0);
  dup2(fd < 0 ? null : fd, 1);
  dup2(fd < 0 ? null : fd, 2);
}

static int supervise(up *u, const char *path) {
  agrl_error err = {0};
  ctl_super *s = agrl_xcalloc(1, sizeof *s);
  ctl_end end = ctl_super_run(s, &u->config, path, !u->no_eval, on_ready, u, &err);
  int code = s->exit_code;
  if (end == CTL_END_FAILED) {
    if (!code) code = agrl_rc_exit(AGRL_ESELFCHECK);
    fprintf(stderr, "agrlctl: %s\n", *s->failure ? s->failure : err.msg);
  }
  if (end == CTL_END_ASKED)
    printf("agrlctl: stopped%s; run agrlctl up --run-dir %s to resume\n", s->killed ? "" : " cleanly", u->config.run.dir);
  if (end == CTL_END_DONE && u->no_eval) puts("agrlctl: the last version is trained");
  ctl_super_release(s);
  free(s);
  fflush(stdout);
  return code;
}

// A run directory belongs to one run: its store, journal and weights are of that name and seed.
static agrl_rc same_run(const up *u, const char *path, agrl_error *err) {
  agrl_config before;
  if (!agrl_file_exists(path)) return AGRL_OK;
  agrl_rc rc = agrl_config_load(path, &before, err);
  if (rc) return rc;
  if (agrl_config_run_id(&before) != agrl_config_run_id(&u->config))
    rc = agrl_fail(err, AGRL_ECONFIG, "%s holds run '%s' with seed %lld; keep run.name and run.seed to resume it, or use another --run-dir",
                   u->config.run.dir, before.run.name, (long long)before.run.seed);
  agrl_config_release(&before);
  return rc;
}

static int run_locked(up *u) {
  agrl_error err = {0};
  char *path = agrl_path_join(u->config.run.dir, "agrl.yaml");
  agrl_rc rc = lock_run(u, &err);
  if (!rc) rc = same_run(u, path, &err);
  if (!rc) rc = ctl_config_write(&u->config, path, &err);
  int code = rc ? ctl_fail(&err) : supervise(u, path);
  if (u->lock >= 0) close(u->lock);
  free(path);
  return code;
}

static int run(int argc, char **argv) {
  up u = {.lock = -1, .ready_fd = -1};
  sets s = {.n = 0};
  agrl_error err = {0};
  int code = parse(argc, argv, &u, &s, &err);
  if (!code) {
    agrl_log_init("agrlctl", AGRL_LOG_WARN);
    if (effective(&u, &s, &err) || check_inputs(&u, &err)) code = ctl_fail(&err);
    else if (!u.detach || (code = detach(&u)) < 0) code = run_locked(&u);
  }
  for (size_t i = 0; i < s.n; i++) free(s.value[i]);
  agrl_buf_release(&u.eval_list);
  agrl_config_release(&u.config);
  return code < 0 ? 0 : code;
}

const ctl_command ctl_cmd_up = {"up", "run a job on this machine", usage, run};
