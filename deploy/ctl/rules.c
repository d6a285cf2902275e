// SPDX-License-Identifier: Apache-2.0
// agrlctl rules: options and dispatch.
#include "deploy/ctl/rules.h"

#include <getopt.h>
#include <string.h>

static const char usage[] =
    "usage: agrlctl rules check FILE [--data FILE] [-o json]\n"
    "       agrlctl rules explain GROUP/MEMBER [--rules FILE] [-o json] [--run-dir DIR | --config FILE]\n"
    "       agrlctl rules explain TRACE|- --rules FILE --data FILE --row ID [-o json]\n"
    "check: is the rule file sound, do at least 99 % of the gold rows of the data pass it, what does the data never use, and what\n"
    "do example traces earn, line by line? The exit code is 78 when the file is unsound or the rows do not pass.\n"
    "explain: how each line of a trace was read, what each criterion earned, which gate is closed and why. GROUP/MEMBER is a\n"
    "trace of the job's store (agrlctl replay ls, show); TRACE a file, - standard input, scored against a row of the data.\n";

static int run(int argc, char **argv) {
  static const struct option longs[] = {{"rules", 1, 0, 'r'},   {"data", 1, 0, 'd'}, {"row", 1, 0, 'R'},  {"config", 1, 0, 'c'},
                                        {"run-dir", 1, 0, 'D'}, {"help", 0, 0, 'h'}, {0, 0, 0, 0}};
  const char *config = NULL, *run_dir = NULL;
  rules_explain_options o = {0};
  for (int k; (k = getopt_long(argc, argv, "o:h", longs, NULL)) != -1;) switch (k) {
      case 'r': o.rules = optarg; break;
      case 'd': o.data = optarg; break;
      case 'R': o.row = optarg; break;
      case 'c': config = optarg; break;
      case 'D': run_dir = optarg; break;
      case 'o':
        if (strcmp(optarg, "json") && strcmp(optarg, "text"))
          return ctl_usage(&ctl_cmd_rules, "-o %s: expected json or text", optarg);
        o.json = !strcmp(optarg, "json");
        break;
      case 'h': return ctl_help(&ctl_cmd_rules);
      default: return ctl_bad_option(&ctl_cmd_rules);
    }
  const char *verb = optind < argc ? argv[optind] : "", *arg = optind + 1 < argc ? argv[optind + 1] : NULL;
  if (optind + 2 < argc) return ctl_usage(&ctl_cmd_rules, "unexpected '%s'", argv[optind + 2]);
  if (!strcmp(verb, "check")) {
    if (arg && o.rules) return ctl_usage(&ctl_cmd_rules, "two rule files: %s and %s", arg, o.rules);
    if (o.row || (!arg && !o.rules)) return ctl_usage(&ctl_cmd_rules, "expected: check FILE [--data FILE]");
    return rules_check_run(arg ? arg : o.rules, o.data, o.json);
  }
  if (strcmp(verb, "explain") || !arg) return ctl_usage(&ctl_cmd_rules, "expected: check FILE, or explain TRACE");
  o.trace = arg;
  agrl_error err = {0};
  ctl_job job;
  if (ctl_job_open(&job, config, run_dir, &err)) return ctl_fail(&err);
  int code = rules_explain_run(&job, &o);
  ctl_job_release(&job);
  return code;
}

const ctl_command ctl_cmd_rules = {"rules", "check a rule file, explain a trace's reward", usage, run};
