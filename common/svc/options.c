// SPDX-License-Identifier: Apache-2.0
// Command-line options of every daemon, and the configuration they lead to. The help text is made from the option table.
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "common/base/num.h"
#include "common/svc/svc_impl.h"

enum { EX_USAGE_CODE = 64 };

typedef struct option_row {
  const char *name, *arg, *help;
  char key;
} option_row;

static const option_row rows[] = {
    {"config", "FILE", "configuration of the job (default: built-in defaults)", 'c'},
    {"set", "PATH=VALUE", "override one key; repeatable", 's'},
    {"check-config", NULL, "check the configuration, print ok, exit (78 when it is wrong)", 'k'},
    {"index", "N", "number of this instance", 'i'},
    {"help", NULL, "print this text", 'h'},
    {"version", NULL, "print the version", 'v'},
};
enum { N_ROWS = sizeof rows / sizeof *rows };

static bool numbered(const agrl_svc_def *def) { return def->http_offset >= SVC_NUMBERED_OFFSET; }

static void print_help(const agrl_svc_def *def, FILE *to) {
  fprintf(to, "Usage: agrl-%s [options]\n%s\n\nOptions:\n", def->name, def->about);
  for (size_t i = 0; i < N_ROWS; i++) {
    if (rows[i].key == 'i' && !numbered(def)) continue;
    char left[40];
    const char *arg = rows[i].arg != NULL ? rows[i].arg : "";
    snprintf(left, sizeof left, "--%s%s%s", rows[i].name, *arg != '\0' ? " " : "", arg);
    fprintf(to, "  %-20s %s\n", left, rows[i].help);
  }
  fprintf(to, "\nSignals: TERM and INT drain and stop (twice: stop at once), HUP reloads the configuration.\n"
              "Exit codes are those of sysexits.h; 0 is a clean stop.\n");
}

static int usage_error(const agrl_svc_def *def, const char *what, const char *arg) {
  fprintf(stderr, "agrl-%s: %s%s%s; try --help\n", def->name, what, arg != NULL ? ": " : "", arg != NULL ? arg : "");
  return EX_USAGE_CODE;
}

// One option; returns the exit code, or -1 to go on.
static int take_option(const agrl_svc_def *def, svc_options *o, int key) {
  uint64_t n;
  switch (key) {
    case 'c': o->config = optarg; return -1;
    case 'k': o->check = true; return -1;
    case 's':
      if (strchr(optarg, '=') == NULL) return usage_error(def, "--set expects PATH=VALUE", optarg);
      if (o->n_sets == SVC_MAX_SETS) return usage_error(def, "too many --set", NULL);
      o->sets[o->n_sets++] = optarg;
      return -1;
    case 'i':
      if (!numbered(def)) return usage_error(def, "this service has no instances: --index", NULL);
      if (!agrl_parse_u64(optarg, &n) || n > 9999) return usage_error(def, "--index expects 0..9999", optarg);
      o->index = (int)n;
      return -1;
    case 'h': print_help(def, stdout); return 0;
    case 'v': printf("agrl-%s %s\n", def->name, AGRL_VERSION_TEXT); return 0;
    default: return usage_error(def, "unknown option or missing argument", NULL);
  }
}

void svc_options_parse(const agrl_svc_def *def, int argc, char **argv, svc_options *o, int *exit_code) {
  struct option longs[N_ROWS + 1] = {0};
  for (size_t i = 0; i < N_ROWS; i++)
    longs[i] = (struct option){rows[i].name, rows[i].arg != NULL ? required_argument : no_argument, NULL, rows[i].key};
  *o = (svc_options){0};
  *exit_code = -1;
  optind = 0;
  for (int key; *exit_code < 0 && (key = getopt_long(argc, argv, "", longs, NULL)) != -1;)
    *exit_code = take_option(def, o, key);
  if (*exit_code < 0 && optind < argc) *exit_code = usage_error(def, "unexpected argument", argv[optind]);
}

agrl_rc svc_options_config(const svc_options *o, agrl_config *out, agrl_error *err) {
  agrl_rc rc = agrl_config_load(o->config, out, err);
  if (rc != AGRL_OK) return rc;
  for (size_t i = 0; i < o->n_sets && rc == AGRL_OK; i++) {
    const char *eq = strchr(o->sets[i], '=');
    char path[128];
    snprintf(path, sizeof path, "%.*s", (int)(eq - o->sets[i]), o->sets[i]);
    rc = agrl_config_set(out, path, eq + 1, err);
  }
  if (rc == AGRL_OK && o->n_sets > 0) rc = agrl_config_check(out, err);
  if (rc != AGRL_OK) agrl_config_release(out);
  return rc;
}
