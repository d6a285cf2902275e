// SPDX-License-Identifier: Apache-2.0
// agrl-eval: one checkpoint, one labelled file, one result. agrlctl eval calls it.
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/file.h"
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

static const struct option longs[] = {{"checkpoint", 1, 0, 'c'}, {"rules", 1, 0, 'r'}, {"data", 1, 0, 'd'},    {"split", 1, 0, 's'},
                                      {"out", 1, 0, 'O'},        {"limit", 1, 0, 'l'}, {"threads", 1, 0, 't'}, {"max-new", 1, 0, 'm'},
                                      {"items", 1, 0, 'i'},      {"dev", 1, 0, 'D'},   {"train", 1, 0, 'T'},   {"samples", 1, 0, 'k'},
                                      {"seed", 1, 0, 'S'},       {"help", 0, 0, 'h'},  {0, 0, 0, 0}};

// The argument of the option, a number of at least `least` and at most `most`.
static bool number(int option, uint64_t least, uint64_t most, uint64_t *v) {
  const struct option *o = longs;
  if (agrl_parse_u64(optarg, v) && *v >= least && *v <= most) return true;
  while (o->val != option) o++;
  fprintf(stderr, "agrl-eval: --%s: '%s' is not a number from %" PRIu64 " to %" PRIu64 "\n", o->name, optarg, least, most);
  return false;
}

// False: something is wrong, and has been said.
static bool parse(int argc, char **argv, eval_job *c, bool *help) {
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
      case 'o':
        c->json = !strcmp(optarg, "json");
        if (!c->json) return fprintf(stderr, "agrl-eval: -o %s: expected json\n", optarg), false;
        break;
      case 'k': if (!number(o, 0, EVAL_MAX_SAMPLES, &v)) return false; c->eval.samples = v; break;
      case 'S': if (!number(o, 0, UINT64_MAX, &c->eval.seed)) return false; break;
      case 'l': if (!number(o, 1, SIZE_MAX, &v)) return false; c->eval.limit = v; break;
      case 't': if (!number(o, 1, 256, &v)) return false; c->eval.threads = (unsigned)v; break;
      case 'm': if (!number(o, 1, 8192, &v)) return false; c->eval.max_new = v; break;
      case 'h': return *help = true;
      default: return false;
    }
  if (optind < argc) return fprintf(stderr, "agrl-eval: unexpected '%s'\n", argv[optind]), false;
  return (c->eval.checkpoint && c->eval.rules && c->data) || (fputs("agrl-eval: needs --checkpoint, --rules and --data\n", stderr), false);
}

int main(int argc, char **argv) {
  eval_job c = {.eval = {.threads = 2, .slots = 64, .context = 2048, .max_new = 96, .seed = 1, .progress = true}, .split = "eval"};
  bool help = false;
  agrl_hold_standard_streams();
  if (!parse(argc, argv, &c, &help)) return fputs("agrl-eval: see agrl-eval --help\n", stderr), agrl_rc_exit(AGRL_EINVAL);
  if (help) return fputs(usage, stdout), agrl_stdout_end("agrl-eval", 0);
  agrl_error err = {0};
  const int code = agrl_rc_exit(eval_run(&c, &err)), printed = agrl_stdout_end("agrl-eval", code);
  if (code) agrl_error_print(&err, "agrl-eval");
  return c.out ? code : printed;  // with a result in its file, a log that cannot grow is no failure
}
