// SPDX-License-Identifier: Apache-2.0
// agrlctl: one program to run, watch and examine a training job.
#include <stdio.h>
#include <string.h>

#include "common/base/err.h"
#include "common/conf/bind.h"
#include "deploy/ctl/ctl.h"

static const ctl_command *const commands[] = {&ctl_cmd_up,     &ctl_cmd_down,   &ctl_cmd_status, &ctl_cmd_scale,
                                              &ctl_cmd_top,
                                              &ctl_cmd_logs,   &ctl_cmd_eval,   &ctl_cmd_report, &ctl_cmd_sbs,    &ctl_cmd_config,
                                              &ctl_cmd_rules,
                                              &ctl_cmd_doctor, &ctl_cmd_replay, &ctl_cmd_traces, &ctl_cmd_data,
                                              &ctl_cmd_model,  &ctl_cmd_experiment};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

static const ctl_command *find(const char *name) {
  for (size_t i = 0; i < N_COMMANDS; i++)
    if (!strcmp(commands[i]->name, name)) return commands[i];
  return NULL;
}

static void print_help(FILE *to) {
  fputs("usage: agrlctl COMMAND [options]\n\ncommands:\n", to);
  for (size_t i = 0; i < N_COMMANDS; i++) fprintf(to, "  %-10s %s\n", commands[i]->name, commands[i]->about);
  fputs("  version    print the version\n  help       this text; help COMMAND: that command's\n\n"
        "Commands find the job by --run-dir DIR, --config FILE or $AGRL_RUN_DIR.\n", to);
}

static int unknown(const char *name) {
  const char *names[N_COMMANDS];
  for (size_t i = 0; i < N_COMMANDS; i++) names[i] = commands[i]->name;
  const char *near = agrl_conf_nearest(name, names, N_COMMANDS);
  fprintf(stderr, "agrlctl: unknown command '%s'%s%s; see agrlctl help\n", name, near ? "; nearest: " : "",
          near ? near : "");
  return agrl_rc_exit(AGRL_EINVAL);
}

int main(int argc, char **argv) {
  const char *name = argc > 1 ? argv[1] : "";
  if (!*name) return print_help(stderr), agrl_rc_exit(AGRL_EINVAL);
  if (!strcmp(name, "version") || !strcmp(name, "--version")) return puts("agrlctl " AGRL_VERSION_TEXT), 0;
  if (!strcmp(name, "help") || !strcmp(name, "--help") || !strcmp(name, "-h")) {
    const ctl_command *c = argc > 2 ? find(argv[2]) : NULL;
    if (argc > 2 && !c) return unknown(argv[2]);
    return c ? ctl_help(c) : (print_help(stdout), 0);
  }
  const ctl_command *c = find(name);
  return c ? c->run(argc - 1, argv + 1) : unknown(name);
}
