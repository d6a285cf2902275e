// SPDX-License-Identifier: Apache-2.0
// agrlctl config check|dump and rules check.
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "deploy/ctl/ctl.h"
#include "reward/rules.h"

static const char config_usage[] =
    "usage: agrlctl config check FILE\n"
    "       agrlctl config dump [FILE] [--help-text]\n"
    "check: reads FILE and names what is wrong. dump: the effective configuration, of defaults alone without FILE;\n"
    "--help-text adds each key's meaning.\n";
static const char rules_usage[] =
    "usage: agrlctl rules check --rules FILE [--data FILE]\n"
    "Reads a rule file, shows its criteria, and checks that gold rows of FILE pass its gates.\n";

static int run_config(int argc, char **argv) {
  static const struct option longs[] = {{"help-text", 0, 0, 't'}, {"help", 0, 0, 'h'}, {0, 0, 0, 0}};
  bool text = false;
  for (int k; (k = getopt_long(argc, argv, "h", longs, NULL)) != -1;) {
    if (k == 'h') return ctl_help(&ctl_cmd_config);
    if (k != 't') return ctl_usage(&ctl_cmd_config, "unknown option");
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

static void show_rules(const agrl_rules *r) {
  const int *tiers;
  size_t n = agrl_rules_tiers(r, &tiers);
  printf("rules %s, hash %.12s\ntiers:", agrl_rules_name(r), agrl_rules_hash(r));
  for (size_t i = 0; i < n; i++)
    printf(" %d %s%s", tiers[i], agrl_rules_tier_name(r, tiers[i]), i + 1 < n ? "," : "\n");
  printf("criteria:");
  for (size_t i = 0; i < agrl_rules_criteria(r); i++) {
    double weight;
    const char *name = agrl_rules_criterion(r, i, &weight);
    printf(" %s %g%s", name, weight, i + 1 < agrl_rules_criteria(r) ? "," : "\n");
  }
}

static int run_rules(int argc, char **argv) {
  static const struct option longs[] = {{"rules", 1, 0, 'r'}, {"data", 1, 0, 'd'}, {"help", 0, 0, 'h'}, {0, 0, 0, 0}};
  const char *rules = NULL, *data = NULL;
  for (int k; (k = getopt_long(argc, argv, "h", longs, NULL)) != -1;) switch (k) {
      case 'r': rules = optarg; break;
      case 'd': data = optarg; break;
      case 'h': return ctl_help(&ctl_cmd_rules);
      default: return ctl_usage(&ctl_cmd_rules, "unknown option");
    }
  if (optind + 1 != argc || strcmp(argv[optind], "check") || !rules)
    return ctl_usage(&ctl_cmd_rules, "expected: check --rules FILE");
  agrl_error err = {0};
  agrl_rules *r = NULL;
  if (agrl_rules_load(rules, &r, &err)) return ctl_fail(&err);
  show_rules(r);
  agrl_rules_free(r);
  agrl_rules_report rep;
  agrl_rc rc = agrl_rules_check_files(rules, data, &rep, &err);
  if (data && rep.rows) {
    printf("%s: %zu rows, %zu checked (%zu with a reference trace), %zu pass\n", data, rep.rows, rep.checked,
           rep.references, rep.passed);
    if (rep.contradicting) printf("%zu reference traces say another tier than the gold label (SFT learns them; rewards use gold)\n", rep.contradicting);
    if (rep.failures.len) fputs(rep.failures.data, stdout);
  }
  agrl_rules_report_release(&rep);
  return rc ? ctl_fail(&err) : 0;
}

const ctl_command ctl_cmd_config = {"config", "check or dump a configuration", config_usage, run_config};
const ctl_command ctl_cmd_rules = {"rules", "check a rule file, and data against it", rules_usage, run_rules};
