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
    "Stops a running job cleanly: actors drain, then reward, learner and replay end. Waits for it, 600 s unless told\n"
    "otherwise: the learner may have to finish a step and a checkpoint first.\n";
static const char scale_usage[] =
    "usage: agrlctl scale actors N [--run-dir DIR | --config FILE]\n"
    "Starts or drains actors of a running job until N are left. Nothing else is restarted and no trace is lost.\n";
static const char logs_usage[] =
    "usage: agrlctl logs [SERVICE] [-f] [-n LINES] [--run-dir DIR | --config FILE]\n"
    "Last lines of the logs: of all, or of one of reward, replay, learner, actor-0, ..., supervisor. -f follows.\n";

typedef struct options {
  const char *config, *run_dir;
  uint64_t seconds, lines;
  bool follow;
} options;

// Into o; optind is at the first word, of which there may be `words`. -1 for help, 0 to go on, otherwise the exit code.
static int parse(const ctl_command *c, int argc, char **argv, const char *allowed, int words, options *o) {
  static const struct option longs[] = {{"config", 1, 0, 'c'}, {"run-dir", 1, 0, 'D'}, {"timeout", 1, 0, 't'},
                                        {"follow", 0, 0, 'f'},
                                        {"help", 0, 0, 'h'},   {0, 0, 0, 0}};
  bool given[CTL_LETTERS] = {false};
  for (int k; (k = getopt_long(argc, argv, "fn:h", longs, NULL)) != -1; given[k] = true) switch (k) {
      case 'c': o->config = optarg; break;
      case 'D': o->run_dir = optarg; break;
      case 'f': o->follow = true; break;
      case 't':
        if (!agrl_parse_u64(optarg, &o->seconds)) return ctl_usage(c, "--timeout: '%s' is not a number of seconds", optarg);
        break;
      case 'n':
        if (!agrl_parse_u64(optarg, &o->lines)) return ctl_usage(c, "-n: '%s' is not a number of lines", optarg);
        break;
      case 'h': return ctl_help(c), -1;
      default: return ctl_bad_option(c);
    }
  if (argc - optind > words) return ctl_usage(c, "unexpected '%s'", argv[optind + words]);
  return ctl_only_options(c, c->name, longs, given, allowed);
}

static int run_down(int argc, char **argv) {
  options o = {.seconds = 600};
  agrl_error err = {0};
  ctl_job job;
  int code = parse(&ctl_cmd_down, argc, argv, "t", 0, &o);
  if (code) return code < 0 ? 0 : code;
  if (ctl_job_open(&job, o.config, o.run_dir, &err)) return ctl_fail(&err);
  agrl_arena arena;
  agrl_arena_init(&arena, 0);
  agrl_msg answer;
  agrl_rc rc = ctl_control(&job, "stop", "", 5000, &arena, &answer, &err);
  uint64_t t0 = agrl_mono_ns();
  while (!rc && ctl_supervisor_pid(job.config.run.dir)) {
    if (agrl_since_s(t0) > (double)o.seconds)
      rc = agrl_fail(&err, AGRL_ETIMEOUT, "the job has not stopped within %" PRIu64 " s; see agrlctl logs", o.seconds);
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
  int code = parse(&ctl_cmd_scale, argc, argv, "", 2, &o);
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
  options o = {.lines = 20};
  agrl_error err = {0};
  ctl_job job;
  int code = parse(&ctl_cmd_logs, argc, argv, "fn", 1, &o);
  if (code) return code < 0 ? 0 : code;
  const char *which = optind < argc ? argv[optind] : "*";
  if (strspn(which, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(which) && strcmp(which, "*"))
    return ctl_usage(&ctl_cmd_logs, "no service '%s'", which);
  if (ctl_job_open(&job, o.config, o.run_dir, &err)) return ctl_fail(&err);
  char *pattern = agrl_xasprintf("logs/%s.log", which), lines[32];
  glob_t found;
  snprintf(lines, sizeof lines, "%" PRIu64, o.lines);
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
