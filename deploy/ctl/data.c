// SPDX-License-Identifier: Apache-2.0
// agrlctl data make: writes the built-in synthetic benchmark.
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "common/base/num.h"
#include "deploy/ctl/ctl.h"
#include "deploy/data/world.h"

static const char usage[] =
    "usage: agrlctl data make --out DIR [--seed N] [--train N] [--eval N] [--natural N] [--reference N]\n"
    "                         [--departments 2..12] [--leaves 2..8] [--synonyms PERCENT]\n"
    "Writes the built-in synthetic product-search benchmark: train.jsonl, eval.jsonl (balanced) and eval_natural.jsonl.\n"
    "The same seed gives the same bytes. Files that exist are not replaced. --reference: how many training rows carry a reference trace.\n"
    "How hard the world is: --departments and --leaves (categories of each), --synonyms (mentions said with another word).\n";

static int run(int argc, char **argv) {
  static const struct option longs[] = {{"out", 1, 0, 'O'},         {"seed", 1, 0, 's'},   {"train", 1, 0, 't'},
                                        {"eval", 1, 0, 'e'},        {"natural", 1, 0, 'n'}, {"reference", 1, 0, 'r'},
                                        {"departments", 1, 0, 'd'}, {"leaves", 1, 0, 'l'}, {"synonyms", 1, 0, 'y'},
                                        {"help", 0, 0, 'h'},        {0, 0, 0, 0}};
  agrl_data_options o = AGRL_DATA_DEFAULTS;
  const char *dir = NULL;
  for (int k, at = 0; (k = getopt_long(argc, argv, "h", longs, &at)) != -1;) {
    uint64_t n = 0;
    if (k == 'h') return ctl_help(&ctl_cmd_data);
    if (k == '?') return ctl_bad_option(&ctl_cmd_data);
    if (k != 'O' && (!agrl_parse_u64(optarg, &n) || (k != 's' && n > 10000000)))
      return ctl_usage(&ctl_cmd_data, "--%s: '%s' is not a number in range", longs[at].name, optarg);
    switch (k) {
      case 'O': dir = optarg; break;
      case 's': o.seed = n; break;
      case 't': o.train = (size_t)n; break;
      case 'e': o.eval = (size_t)n; break;
      case 'n': o.natural = (size_t)n; break;
      case 'r': o.reference = (size_t)n; break;
      case 'd': o.departments = (size_t)n; break;
      case 'l': o.leaves = (size_t)n; break;
      case 'y': o.synonyms = (size_t)n; break;
      default: break;
    }
  }
  if (optind + 1 != argc || strcmp(argv[optind], "make") || !dir || !*dir)
    return ctl_usage(&ctl_cmd_data, "expected: make --out DIR");
  if (!o.train) return ctl_usage(&ctl_cmd_data, "--train: 0 rows are nothing to train on");
  agrl_error err = {0};
  if (agrl_data_make(dir, &o, &err)) return ctl_fail(&err);
  printf("agrlctl: %s: train.jsonl %zu rows (%zu with a reference trace), eval.jsonl %zu, eval_natural.jsonl %zu; "
         "synthetic, seed %llu\n", dir, o.train,
         o.reference < o.train ? o.reference : o.train, o.eval, o.natural, (unsigned long long)o.seed);
  return 0;
}

const ctl_command ctl_cmd_data = {"data", "make the built-in benchmark", usage, run};
