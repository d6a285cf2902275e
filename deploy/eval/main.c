// SPDX-License-Identifier: Apache-2.0
// agrl-eval: one checkpoint, one labelled file, one result. agrlctl eval calls it.
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/num.h"
#include "deploy/eval/eval.h"

static const char usage[] =
    "usage: agrl-eval --checkpoint DIR --rules FILE --data FILE [options]\n"
    "Scores a checkpoint (Hugging Face directory) on labelled rows with greedy traces.\n"
    "  --split NAME     name of the data set in the output (default: eval)\n"
    "  --out FILE       write the result as JSON\n"
    "  --items FILE     write one line of JSON an item: labels, tier probabilities, gates, trace\n"
    "  -o json          print JSON instead of the table\n"
    "  --dev FILE       rows that choose the threshold of the three classes (default: one query in five of the data)\n"
    "  --train FILE     training rows: refuse data or dev rows that are among them\n"
    "  --samples K      sample K traces a row besides, for pass@1 to pass@K (at most 64)\n"
    "  --seed N         of these (default 1)\n"
    "  --limit N        first N rows only\n"
    "  --threads N      compute threads (default 2)\n"
    "  --max-new N      longest trace in tokens (default 96)\n"
    "  --help\n";

// A number of at least `least` and at most `most`.
static bool number(const char *s, uint64_t least, uint64_t most, uint64_t *v) {
  return agrl_parse_u64(s, v) && *v >= least && *v <= most;
}

static bool parse(int argc, char **argv, eval_job *c) {
  static const struct option longs[] = {{"checkpoint", 1, 0, 'c'}, {"rules", 1, 0, 'r'}, {"data", 1, 0, 'd'},    {"split", 1, 0, 's'},
                                        {"out", 1, 0, 'O'},        {"limit", 1, 0, 'l'}, {"threads", 1, 0, 't'}, {"max-new", 1, 0, 'm'},
                                        {"items", 1, 0, 'i'},      {"dev", 1, 0, 'D'},   {"train", 1, 0, 'T'},   {"samples", 1, 0, 'k'},
                                        {"seed", 1, 0, 'S'},       {"help", 0, 0, 'h'},  {0, 0, 0, 0}};
  uint64_t v = 0;
  for (int o; (o = getopt_long(argc, argv, "o:h", longs, NULL)) != -1;) switch (o) {
      case 'c': c->eval.checkpoint = optarg; break;
      case 'r': c->eval.rules = optarg; break;
      case 'd': c->data = optarg; break;
      case 's': c->split = optarg; break;
      case 'O': c->out = optarg; break;
      case 'i': c->items = optarg; break;
      case 'D': c->dev = optarg; break;
      case 'T': c->train = optarg; break;
      case 'o': c->json = !strcmp(optarg, "json"); if (!c->json) return false; break;
      case 'k': if (!number(optarg, 0, EVAL_MAX_SAMPLES, &v)) return false; c->eval.samples = v; break;
      case 'S': if (!number(optarg, 0, UINT64_MAX, &c->eval.seed)) return false; break;
      case 'l': if (!number(optarg, 0, SIZE_MAX, &v)) return false; c->eval.limit = v; break;
      case 't': if (!number(optarg, 1, 256, &v)) return false; c->eval.threads = (unsigned)v; break;
      case 'm': if (!number(optarg, 1, 8192, &v)) return false; c->eval.max_new = v; break;
      case 'h': fputs(usage, stdout); exit(0);
      default: return false;
    }
  return optind == argc && c->eval.checkpoint && c->eval.rules && c->data;
}

int main(int argc, char **argv) {
  eval_job c = {.eval = {.threads = 2, .slots = 64, .context = 2048, .max_new = 96, .seed = 1, .progress = true}, .split = "eval"};
  if (!parse(argc, argv, &c)) {
    fputs(usage, stderr);
    return agrl_rc_exit(AGRL_EINVAL);
  }
  agrl_error err = {0};
  agrl_rc rc = eval_run(&c, &err);
  if (rc) agrl_error_print(&err, "agrl-eval");
  return agrl_rc_exit(rc);
}
