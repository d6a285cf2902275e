// SPDX-License-Identifier: Apache-2.0
// agrlctl down, scale and logs.
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/base/num.h"
#include "deploy/ctl/ctl.h"

static const char down_usage[] =
    "usage: agrlctl down [--run-dir DIR | --config FILE] [--timeout SECONDS]\n"
    "Stops a running job cleanly: actors drain, then reward, learner and replay end. Waits for it (default: 120 s).\n";
static const char scale_usage[] =
    "usage: agrlctl scale actors N [--run-dir DIR | --config FILE]\n"
    "Starts or drains actors of a running job until N are left. Nothing else is restarted and no trace is lost.\n";
static const char logs_usage[] =
    "usage: agrlctl logs [SERVICE] [-f] [-n LINES] [--run-dir DIR | --config FILE]\n"
    "Last lines of the logs: of all, or of one of reward, replay, learner, actor-0, ..., supervisor. -f follows.\n";

typedef struct options {
  const char *config, *run_dir;
  uint64_t number;  // seconds, lines
  bool follow;
} options;

static int parse(const ctl_command *c, int argc, char **argv, options *o) {
  static const struct option longs[] = {{"config", 1, 0, 'c'}, {"run-dir", 1, 0, 'D'}, {"timeout", 1, 0, 'n'},
                                        {"follow", 0, 0, 'f'},
                                        {"help", 0, 0, 'h'},   {0, 0, 0, 0}};
  for (int k; (k = getopt_long(argc, argv, "fn:h", longs, NULL)) != -1;) switch (k) {
      case 'c': o->config = optarg; break;
      case 'D': o->run_dir = optarg; break;
      case 'f': o->follow = true; break;
      case 'n':
        if (!agrl_parse_u64(optarg, &o->number)) return ctl_usage(c, "'%s' is not a number", optarg);
        break;
      case 'h': return ctl_help(c), -1;
      default: return ctl_usage(c, "unknown option");
    }
  return 0;
}

static int run_down(int argc, char **argv) {
  options o = {.number = 120};
  agrl_error err = {0};
  ctl_job job;
  int code = parse(&ctl_cmd_down, argc, argv, &o);
  if (code) return code < 0 ? 0 : code;
  if (ctl_job_open(&job, o.config, o.run_dir, &err)) return ctl_fail(&err);
  agrl_arena arena;
  agrl_arena_init(&arena, 0);
  agrl_msg answer;
  agrl_rc rc = ctl_control(&job, "stop", "", 5000, &arena, &answer, &err);
  uint64_t t0 = agrl_mono_ns();
  while (!rc && ctl_supervisor_pid(job.config.run.dir)) {
    if (agrl_since_s(t0) > (double)o.number)
      rc = agrl_fail(&err, AGRL_ETIMEOUT, "the job has not stopped within %" PRIu64 " s; see agrlctl logs", o.number);
    usleep(100000);
  }
  if (!rc) printf("agrlctl: stopped; run agrlctl up --run-dir %s to resume\n", job.config.run.dir);
  agrl_arena_release(&arena);
  ctl_job_release(&job);
  return rc ? ctl_fail(&err) : 0;
}

static int run_scale(int argc, char **argv) {
  options o = {0};
  agrl_error err = {0};
  ctl_job job;
  uint64_t n;
  int code = parse(&ctl_cmd_scale, argc, argv, &o);
  if (code) return code < 0 ? 0 : code;
  if (argc - optind != 2 || strcmp(argv[optind], "actors") || !agrl_parse_u64(argv[optind + 1], &n))
    return ctl_usage(&ctl_cmd_scale, "expected: actors N");
  if (ctl_job_open(&job, o.config, o.run_dir, &err)) return ctl_fail(&err);
  agrl_arena arena;
  agrl_arena_init(&arena, 0);
  agrl_msg answer;
  agrl_rc rc = ctl_control(&job, "scale", argv[optind + 1], 5000, &arena, &answer, &err);
  if (!rc) printf("agrlctl: %" PRIu64 " actors; those beyond drain and end\n", n);
  agrl_arena_release(&arena);
  ctl_job_release(&job);
  return rc ? ctl_fail(&err) : 0;
}

static int run_logs(int argc, char **argv) {
  options o = {.number = 20};
  agrl_error err = {0};
  ctl_job job;
  int code = parse(&ctl_cmd_logs, argc, argv, &o);
  if (code) return code < 0 ? 0 : code;
  if (argc - optind > 1) return ctl_usage(&ctl_cmd_logs, "expected one service");
  const char *which = optind < argc ? argv[optind] : "*";
  if (strspn(which, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(which) && strcmp(which, "*"))
    return ctl_usage(&ctl_cmd_logs, "no service '%s'", which);
  if (ctl_job_open(&job, o.config, o.run_dir, &err)) return ctl_fail(&err);
  char *pattern = agrl_xasprintf("logs/%s.log", which), lines[32];
  glob_t found;
  snprintf(lines, sizeof lines, "%" PRIu64, o.number);
  ctl_glob(job.config.run.dir, pattern, &found);
  if (found.gl_pathc == 0) {
    agrl_fail(&err, AGRL_ENOENT, "no log %s/%s", job.config.run.dir, pattern);
    code = ctl_fail(&err);
  } else {  // tail(1) knows about rotation and following several files
    char **args = agrl_xcalloc(found.gl_pathc + 6, sizeof *args);
    size_t n = 0;
    args[n++] = "tail";
    args[n++] = "-n";
    args[n++] = lines;
    if (o.follow) args[n++] = "-F";
    for (size_t i = 0; i < found.gl_pathc; i++) args[n++] = found.gl_pathv[i];
    execvp("tail", args);
    agrl_fail(&err, AGRL_EIO, "tail: %s", strerror(errno));
    code = ctl_fail(&err);
    free(args);
  }
  globfree(&found);
  free(pattern);
  ctl_job_release(&job);
  return code;
}

const ctl_command ctl_cmd_down = {"down", "stop a running job cleanly", down_usage, run_down};
const ctl_command ctl_cmd_scale = {"scale", "change the number of actors of a running job", scale_usage, run_scale};
const ctl_command ctl_cmd_logs = {"logs", "show or follow logs", logs_usage, run_logs};
