// SPDX-License-Identifier: Apache-2.0
// agrlctl config check|dump.
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "deploy/ctl/ctl.h"

static const char usage[] =
    "usage: agrlctl config check FILE\n"
    "       agrlctl config dump [FILE] [--help-text]\n"
    "check: reads FILE and names what is wrong. dump: the effective configuration, of defaults alone without FILE;\n"
    "--help-text adds each key's meaning.\n";

static int run_config(int argc, char **argv) {
  static const struct option longs[] = {{"help-text", 0, 0, 't'}, {"help", 0, 0, 'h'}, {0, 0, 0, 0}};
  bool text = false;
  for (int k; (k = getopt_long(argc, argv, "h", longs, NULL)) != -1;) {
    if (k == 'h') return ctl_help(&ctl_cmd_config);
    if (k != 't') return ctl_bad_option(&ctl_cmd_config);
    text = true;
  }
  const char *verb = optind < argc ? argv[optind] : "", *file = optind + 1 < argc ? argv[optind + 1] : NULL;
  bool check = !strcmp(verb, "check");
  if ((!check && strcmp(verb, "dump")) || optind + 2 < argc || (check && !file))
    return ctl_usage(&ctl_cmd_config, "expected: check FILE, or dump [FILE]");
  agrl_config c;
  agrl_error err = {0};
  if (agrl_config_load(file, &c, &err)) return ctl_fail(&err);
  agrl_buf out = {0};
  if (!check) agrl_config_dump(&c, text, &out);
  else agrl_buf_addf(&out, "%s: ok\n", file);
  fputs(out.data, stdout);
  agrl_buf_release(&out);
  agrl_config_release(&c);
  return 0;
}

const ctl_command ctl_cmd_config = {"config", "check or dump a configuration", usage, run_config};
