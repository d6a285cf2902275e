// SPDX-License-Identifier: Apache-2.0
// agrl-data: writes the built-in synthetic benchmark.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/num.h"
#include "deploy/data/world.h"

static int usage(const char *why, const char *what) {
  if (why != NULL) fprintf(stderr, "agrl-data: %s%s\n", why, what);
  fputs(
      "usage: agrl-data make --out DIR [--seed N] [--train N] [--eval N] [--natural N] [--reference N]\n"
      "       [--departments 2..12] [--leaves 2..8] [--synonyms PERCENT]\n",
      stderr);
  return agrl_rc_exit(AGRL_EINVAL);
}

static bool count(const char *text, size_t *out) {
  uint64_t v = 0;
  if (!agrl_parse_u64(text, &v) || v > 10000000) return false;
  *out = (size_t)v;
  return true;
}

int main(int argc, char **argv) {
  agrl_data_options o = AGRL_DATA_DEFAULTS;
  const char *dir = NULL;
  if (argc < 2 || strcmp(argv[1], "make") != 0) return usage(NULL, "");
  for (int i = 2; i < argc; i += 2) {
    const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";
    bool ok = true;
    if (strcmp(name, "--out") == 0) ok = (dir = value)[0] != '\0';
    else if (strcmp(name, "--seed") == 0) ok = agrl_parse_u64(value, &o.seed);
    else if (strcmp(name, "--train") == 0) ok = count(value, &o.train);
    else if (strcmp(name, "--eval") == 0) ok = count(value, &o.eval);
    else if (strcmp(name, "--natural") == 0) ok = count(value, &o.natural);
    else if (strcmp(name, "--reference") == 0) ok = count(value, &o.reference);
    else if (strcmp(name, "--departments") == 0) ok = count(value, &o.departments);
    else if (strcmp(name, "--leaves") == 0) ok = count(value, &o.leaves);
    else if (strcmp(name, "--synonyms") == 0) ok = count(value, &o.synonyms);
    else return usage("unknown option ", name);
    if (!ok) return usage("bad value for ", name);
  }
  if (dir == NULL) return usage("--out is needed", "");
  agrl_error err;
  agrl_rc rc = agrl_data_make(dir, &o, &err);
  if (rc != AGRL_OK) fprintf(stderr, "agrl-data: %s\n", err.msg);
  else
    printf("%s: train.jsonl %zu rows (%zu with a reference trace), eval.jsonl %zu, eval_natural.jsonl %zu\n", dir,
           o.train, o.reference < o.train ? o.reference : o.train, o.eval, o.natural);
  return agrl_rc_exit(rc);
}
