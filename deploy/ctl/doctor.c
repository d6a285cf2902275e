// SPDX-License-Identifier: Apache-2.0
// agrlctl doctor: what a job needs, checked one line each, with the remedy where something is wrong.
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/ckpt/hf.h"
#include "common/conf/targets.h"
#include "common/model/lora.h"
#include "common/net/net.h"
#include "deploy/ctl/ctl.h"
#include "reward/rules.h"

static const char usage[] =
    "usage: agrlctl doctor [--run-dir DIR | --config FILE]\n"
    "Checks programs, processor, model and memory, disk, ports, sockets, rule file and data; exit code 0 when nothing is wrong.\n";

typedef enum { OK, NOTE, WRONG } verdict;

static int wrong;

__attribute__((format(printf, 3, 4))) static void tell(verdict v, const char *what, const char *fmt, ...) {
  static const char *const marks[] = {"ok   ", "note ", "WRONG"};
  va_list ap;
  printf("%s  %-12s ", marks[v], what);
  va_start(ap, fmt);
  vprintf(fmt, ap);
  va_end(ap);
  putchar('\n');
  wrong += v == WRONG;
}

static void check_programs(void) {
  static const char *const names[] = {"agrl-actor", "agrl-reward", "agrl-replay", "agrl-learner", "agrl-eval"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char *path = ctl_program(names[i]);
    if (path) tell(OK, "program", "%s", path);
    else tell(WRONG, "program", "%s is neither beside agrlctl nor in $PATH; build it (ninja -C build) or install it",
              names[i]);
    free(path);
  }
}

static void check_cpu(void) {
  long cores = sysconf(_SC_NPROCESSORS_ONLN);
#if defined(__x86_64__)
  __builtin_cpu_init();
  bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"),
      avx512 = __builtin_cpu_supports("avx512bw");
  tell(avx2 ? OK : NOTE, "processor", "%ld cores, x86-64 with %s", cores,
       avx512 ? "AVX-512" : avx2 ? "AVX2" : "neither AVX2 nor AVX-512: portable kernels, slower");
#else
  tell(NOTE, "processor", "%ld cores, not x86-64: portable kernels", cores);
#endif
  if (cores < 2) tell(NOTE, "processor", "one core: actors and learner take turns");
}

// Parameters of the model that model.init leads to, and of adapters on it.
static agrl_rc count_init(const agrl_config *c, double *params, double *adapters, agrl_error *err) {
  agrl_spec spec;
  agrl_layout *layout = NULL;
  agrl_lora *lora = NULL;
  unsigned targets;
  agrl_rc rc = agrl_ckpt_load_spec(c->model.init, &spec, err);
  if (!rc) rc = agrl_layout_new(&spec, &layout, err);
  if (!rc) *params = (double)agrl_layout_params(layout);
  if (!rc && c->lora.rank) {
    rc = agrl_targets_parse(c->lora.targets, &targets, err);
    if (!rc) rc = agrl_lora_new(layout, (size_t)c->lora.rank, c->lora.alpha, targets, &lora, err);
    if (!rc) *adapters = (double)agrl_layout_params(lora->layout);
  }
  agrl_lora_free(lora);
  agrl_layout_free(layout);
  return rc;
}

static double count_fresh(const agrl_config *c) {
  double h = (double)c->model.hidden, layers = (double)c->model.layers;
  return (double)c->model.vocab * h + layers * (2.5 * h * h + 3 * h * (double)c->model.ffn);
}

// As deploy/doc/ARCHITECTURE.md counts, in bytes a parameter. Learner: weights, gradients, moments, copies, reference; actors:
// weights and packed matrices, twice around a swap; and for each process what batches and caches take.
static double needed_mib(const agrl_config *c, double params, double adapters) {
  double learner = c->lora.rank ? 16 * params + 24 * adapters : 26 * params, actor = (c->lora.rank ? 10 : 8) * params;
  return (learner + actor * (double)c->actor.count) / 1048576 + 256 * (double)(c->actor.count + 1);
}

static double available_mib(void) {
  double mib = (double)sysconf(_SC_AVPHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / 1048576;
  FILE *f = fopen("/proc/meminfo", "re");
  char line[128];
  unsigned long long kib;
  while (f && fgets(line, sizeof line, f))
    if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1) mib = (double)kib / 1024;
  if (f) fclose(f);
  return mib;
}

static void check_memory(const agrl_config *c) {
  agrl_error err = {0};
  double params = count_fresh(c), adapters = 0, available = available_mib();
  if (*c->model.init && count_init(c, &params, &adapters, &err)) {
    tell(WRONG, "model", "model.init: %s", err.msg);
    return;
  }
  double need = needed_mib(c, params, adapters);
  tell(available > need ? OK : NOTE, "memory", "%.0f MiB available, about %.0f MiB needed for %.1f million parameters%s", available, need,
       params / 1e6, available > need ? "" : "; use a smaller model or fewer actors");
}

static void check_run_dir(const agrl_config *c) {
  agrl_error err = {0};
  char *probe = agrl_xasprintf("%s/.doctor-%d", c->run.dir, (int)getpid());
  struct statvfs fs;
  if (agrl_file_mkdirs(c->run.dir, &err) || agrl_file_write_atomic(probe, "x", 1, &err)) {
    tell(WRONG, "run dir", "%s; choose another with --run-dir", err.msg);
  } else {
    unlink(probe);
    double gib = statvfs(c->run.dir, &fs) ? 0 : (double)fs.f_bavail * (double)fs.f_frsize / 1073741824;
    tell(gib > 2 ? OK : NOTE, "run dir", "%s is writable, %.1f GiB free%s", c->run.dir, gib,
         gib > 2 ? "" : "; checkpoints and the store need room");
  }
  free(probe);
}

static bool port_free(const char *host, int port) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
  if (fd < 0) return false;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (inet_pton(AF_INET, host, &a.sin_addr) != 1) inet_pton(AF_INET, "127.0.0.1", &a.sin_addr);
  bool ok = !bind(fd, (struct sockaddr *)&a, sizeof a);
  close(fd);
  return ok;
}

static void check_ports(const agrl_config *c, bool running) {
  int base = (int)c->obs.http_port, taken = 0;
  if (!base) {
    tell(NOTE, "ports", "obs.http_port is 0: no metrics pages");
    return;
  }
  for (int i = 0; i < 4; i++) taken += !port_free(c->obs.http_host, base + i);
  for (int i = 0; i < c->actor.count; i++) taken += !port_free(c->obs.http_host, base + 10 + i);
  if (!taken) tell(OK, "ports", "%d to %d are free", base, base + 10 + (int)c->actor.count - 1);
  else if (running) tell(OK, "ports", "%d in use; a job is running in this directory", taken);
  else tell(WRONG, "ports", "%d of %d..%d are in use; set obs.http_port to another base, or 0 for none", taken, base,
            base + 9 + (int)c->actor.count);
}

static void check_sockets(const ctl_job *job, bool running) {
  static const char *const names[] = {"reward", "replay", "weights", "control"};
  agrl_arena arena;
  agrl_arena_init(&arena, 0);
  for (size_t i = 0; i < 4; i++) {
    char *endpoint = agrl_config_endpoint(&job->config, names[i]);
    agrl_msg answer;
    if (!running) tell(agrl_endpoint_is_local(endpoint) ? OK : WRONG, "endpoint", "%s at %s", names[i], endpoint);
    else if (!ctl_service_status(job, names[i], 1500, &arena, &answer, NULL))
      tell(OK, "endpoint", "%s answers at %s", names[i], endpoint);
    else tell(WRONG, "endpoint", "%s does not answer at %s; see agrlctl logs", names[i], endpoint);
    free(endpoint);
  }
  agrl_arena_release(&arena);
}

static void check_rules(const agrl_config *c) {
  agrl_error err = {0};
  if (!*c->data.rules) {
    tell(NOTE, "rules", "data.rules is not set; give agrlctl up --rules FILE, or put rules.yaml beside the configuration file");
    return;
  }
  agrl_rules_report rep;
  const char *data = agrl_file_exists(c->data.train) ? c->data.train : NULL;
  if (agrl_rules_check_files(c->data.rules, data, &rep, &err)) tell(WRONG, "rules", "%s", err.msg);
  else if (data) tell(OK, "rules", "%s; %zu of %zu gold rows pass", c->data.rules, rep.passed, rep.checked);
  else tell(OK, "rules", "%s", c->data.rules);
  agrl_rules_report_release(&rep);
}

static void count_bad(void *user, const char *message) {
  if ((*(size_t *)user)++ < 3) tell(NOTE, "data", "%s", message);
}

static void check_data(const char *key, const char *list) {
  if (!*list) tell(NOTE, "data", "%s is not set", key);
  for (const char *s = list; *s; s += strcspn(s, ",") + (s[strcspn(s, ",")] == ',')) {
    char *path = agrl_xstrndup(s, strcspn(s, ","));
    agrl_dataset d;
    agrl_error err = {0};
    size_t bad = 0;
    if (agrl_dataset_load(path, count_bad, &bad, &d, &err)) tell(WRONG, "data", "%s: %s", key, err.msg);
    else {
      tell(bad ? NOTE : OK, "data", "%s: %zu rows%s in %s", key, d.n, bad ? ", malformed rows are skipped" : "", path);
      agrl_dataset_release(&d);
    }
    free(path);
  }
}

static void check_limits(void) {
  struct rlimit files;
  if (!getrlimit(RLIMIT_NOFILE, &files))
    tell(files.rlim_cur >= 1024 ? OK : WRONG, "limits", "%llu open files%s", (unsigned long long)files.rlim_cur,
         files.rlim_cur >= 1024 ? "" : "; raise it: ulimit -n 4096");
}

static int run(int argc, char **argv) {
  static const struct option longs[] = {{"config", 1, 0, 'c'}, {"run-dir", 1, 0, 'D'}, {"help", 0, 0, 'h'},
                                        {0, 0, 0, 0}};
  const char *config = NULL, *run_dir = NULL;
  for (int k; (k = getopt_long(argc, argv, "h", longs, NULL)) != -1;) switch (k) {
      case 'c': config = optarg; break;
      case 'D': run_dir = optarg; break;
      case 'h': return ctl_help(&ctl_cmd_doctor);
      default: return ctl_bad_option(&ctl_cmd_doctor);
    }
  if (optind != argc) return ctl_usage(&ctl_cmd_doctor, "unexpected '%s'", argv[optind]);
  agrl_error err = {0};
  ctl_job job;
  if (ctl_job_open(&job, config, run_dir, &err)) return ctl_fail(&err);
  agrl_log_init("agrlctl", AGRL_LOG_ERROR);
  bool running = ctl_supervisor_pid(job.config.run.dir) > 0;
  tell(OK, "job", "%s, %s", job.config.run.dir, running ? "running" : "not running");
  check_programs();
  check_cpu();
  check_memory(&job.config);
  check_limits();
  check_run_dir(&job.config);
  check_ports(&job.config, running);
  check_sockets(&job, running);
  check_rules(&job.config);
  check_data("data.train", job.config.data.train);
  check_data("data.eval", job.config.data.eval);
  if (*job.config.data.dev) check_data("data.dev", job.config.data.dev);
  ctl_job_release(&job);
  if (wrong) printf("%d thing%s to correct\n", wrong, wrong > 1 ? "s" : "");
  return wrong ? agrl_rc_exit(AGRL_ECONFIG) : 0;
}

const ctl_command ctl_cmd_doctor = {"doctor", "check what a job needs", usage, run};
