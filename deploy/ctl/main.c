// SPDX-License-Identifier: Apache-2.0
// agrlctl: one program to run, watch and examine a training job.
#include <stdio.h>
#include <string.h>

#include "common/base/file.h"
#include "common/conf/bind.h"
#include "deploy/ctl/ctl.h"

static int run_version(int argc, char **argv);
static int run_help(int argc, char **argv);
static const ctl_command version_command = {"version", "print the version", "usage: agrlctl version\nPrints the version.\n", run_version};
static const ctl_command help_command = {"help", "this text; help COMMAND: that command's",
                                         "usage: agrlctl help [COMMAND]\nLists the commands, or tells how one is used.\n", run_help};

static const ctl_command *const commands[] = {&ctl_cmd_up,     &ctl_cmd_down,   &ctl_cmd_status, &ctl_cmd_scale,
                                              &ctl_cmd_top,
                                              &ctl_cmd_logs,   &ctl_cmd_eval,   &ctl_cmd_report, &ctl_cmd_sbs,    &ctl_cmd_config,
                                              &ctl_cmd_rules,
                                              &ctl_cmd_doctor, &ctl_cmd_replay, &ctl_cmd_traces, &ctl_cmd_data,
                                              &ctl_cmd_model,  &ctl_cmd_experiment, &version_command, &help_command};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

static const ctl_command *find(const char *name) {
  for (size_t i = 0; i < N_COMMANDS; i++)
    if (!strcmp(commands[i]->name, name)) return commands[i];
  return NULL;
}

static void print_help(FILE *to) {
  fputs("usage: agrlctl COMMAND [options]\n\ncommands:\n", to);
  for (size_t i = 0; i < N_COMMANDS; i++) fprintf(to, "  %-10s %s\n", commands[i]->name, commands[i]->about);
  fputs("\nCommands find the job by --run-dir DIR, --config FILE or $AGRL_RUN_DIR.\n", to);
}

static int unknown(const char *name) {
  const char *names[N_COMMANDS];
  for (size_t i = 0; i < N_COMMANDS; i++) names[i] = commands[i]->name;
  const char *near = agrl_conf_nearest(name, names, N_COMMANDS);
  fprintf(stderr, "agrlctl: unknown command '%s'%s%s; see agrlctl help\n", name, near ? "; nearest: " : "",
          near ? near : "");
  return agrl_rc_exit(AGRL_EINVAL);
}

static bool asks_help(const char *word) { return !strcmp(word, "--help") || !strcmp(word, "-h"); }

static int run_version(int argc, char **argv) {
  if (argc > 1) return asks_help(argv[1]) ? ctl_help(&version_command) : ctl_usage(&version_command, "unexpected '%s'", argv[1]);
  return puts("agrlctl " AGRL_VERSION_TEXT), 0;
}

static int run_help(int argc, char **argv) {
  if (argc > 2) return ctl_usage(&help_command, "unexpected '%s'", argv[2]);
  if (argc < 2) return print_help(stdout), 0;
  const ctl_command *c = asks_help(argv[1]) ? &help_command : find(argv[1]);
  return c ? ctl_help(c) : unknown(argv[1]);
}

int main(int argc, char **argv) {
  agrl_hold_standard_streams();
  const char *name = argc > 1 ? argv[1] : "";
  if (!*name) return print_help(stderr), agrl_rc_exit(AGRL_EINVAL);
  const ctl_command *c = !strcmp(name, "--version") ? &version_command : asks_help(name) ? &help_command : find(name);
  if (!c) return unknown(name);
  char program[64];
  snprintf(program, sizeof program, "agrlctl %s", c->name);
  argv[1] = program;
  int code = c->run(argc - 1, argv + 1);
  // A progress view whose reader went away is no failure of the job.
  return c == &ctl_cmd_up ? code : agrl_stdout_end("agrlctl", code);
}
