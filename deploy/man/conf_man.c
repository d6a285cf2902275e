// SPDX-License-Identifier: Apache-2.0
// Writes agrl.yaml(5), the reference of every configuration key, from the configuration table to the file that is its
// argument. Runs at build time.
#include <stdio.h>
#include <string.h>

#include "common/base/err.h"
#include "common/conf/bind_field.h"
#include "common/conf/config.h"

// What a section is about. A section of the table that is not here ends the build.
static const struct about {
  const char *section, *text;
} abouts[] = {
    {"run", "Identity and place of the run."},
    {"data", "What is trained on, and by which rules. data.eval may list several files, separated by commas."},
    {"model", "The model's shape, when it does not come from a checkpoint."},
    {"lora", "Low-rank adapters: what is trained instead of the model's own weights. Merged in checkpoints; actors fetch the base once."},
    {"sft", "The supervised warm start."},
    {"grpo", "The RL updates and their optimizer."},
    {"dpo", "Direct preference optimization, with run.method dpo; versions, groups and the optimizer are those of grpo."},
    {"actor", "Generation."},
    {"reward", "What the rule file's criteria and gates make of a trace."},
    {"replay", "The store, its leases, and adaptive guided replay."},
    {"learner", "The training process."},
    {"eval", "Evaluation while training, by agrl-eval on finished checkpoints."},
    {"net", "Sockets: ipc or loopback; any other address is refused."},
    {"obs", "Metrics, health and logs."},
};

// Text as troff shows it: no escapes, no requests, a minus for a hyphen where it may be typed.
static void put_text(const char *s) {
  if (*s == '.' || *s == '\'') fputs("\\&", stdout);
  for (; *s; s++) {
    if (*s == '\\') fputs("\\e", stdout);
    else if (*s == '-') fputs("\\-", stdout);
    else if (*s == '"') fputs("\\(dq", stdout);
    else putchar(*s);
  }
}

static const char *type_name(const agrl_conf_key *k) {
  static const char *const names[] = {
      [AGRL_CONF_BOOL] = "true or false", [AGRL_CONF_INT] = "integer",       [AGRL_CONF_REAL] = "number", [AGRL_CONF_BYTES] = "size",
      [AGRL_CONF_DURATION] = "duration",  [AGRL_CONF_STRING] = "text", [AGRL_CONF_LIST] = "list", [AGRL_CONF_ENUM] = "one of",
  };
  return names[k->type];
}

static void put_type(const agrl_conf_key *k) {
  fputs(type_name(k), stdout);
  if (k->type == AGRL_CONF_ENUM) {
    for (size_t i = 0; k->choices[i]; i++) {
      fputs(i ? ", " : " ", stdout);
      put_text(k->choices[i]);
    }
  } else if (k->min != k->max) {
    char low[40], high[40];
    conf_field_range_text(k, k->min, low, sizeof low);
    conf_field_range_text(k, k->max, high, sizeof high);
    fputs(", ", stdout);
    put_text(low);
    fputs(" to ", stdout);
    put_text(high);
  }
}

static void put_key(const agrl_conf_key *k) {
  printf(".TP\n.B ");
  put_text(k->path);
  putchar('\n');
  put_text(k->help);
  fputs("\nDefault: ", stdout);
  if (*k->def) {
    fputs("\\fB", stdout);
    put_text(k->def);
    fputs("\\fR (", stdout);
  } else {
    fputs("empty (", stdout);
  }
  put_type(k);
  puts(k->reload ? ").\nMay change while running." : ").");
}

static const char *section_about(const char *section, size_t len) {
  for (size_t i = 0; i < sizeof abouts / sizeof *abouts; i++)
    if (strlen(abouts[i].section) == len && !strncmp(abouts[i].section, section, len)) return abouts[i].text;
  return NULL;
}

static int put_keys(void) {
  const char *section = "";
  size_t section_len = 0;
  for (size_t i = 0; i < agrl_config_table_len; i++) {
    const char *path = agrl_config_table[i].path;
    size_t len = strcspn(path, ".");
    if (len != section_len || strncmp(path, section, len) != 0) {
      const char *about = section_about(path, len);
      if (!about) {
        fprintf(stderr, "conf_man: section '%.*s' has no text in deploy/man/conf_man.c\n", (int)len, path);
        return agrl_rc_exit(AGRL_ESELFCHECK);
      }
      printf(".SS %.*s\n%s\n", (int)len, path, about);
      section = path;
      section_len = len;
    }
    put_key(&agrl_config_table[i]);
  }
  return 0;
}

int main(int argc, char **argv) {
  if (argc != 2 || !freopen(argv[1], "we", stdout)) {
    fputs("usage: conf_man FILE\n", stderr);
    return agrl_rc_exit(AGRL_EINVAL);
  }
  puts(".\\\" SPDX-License-Identifier: Apache-2.0\n"
       ".\\\" Generated from the configuration table.\n"
       ".TH AGRL.YAML 5 \"\" \"agrl " AGRL_VERSION_TEXT "\" \"agrl manual\"\n"
       ".SH NAME\nagrl.yaml \\- configuration of an agrl training job\n"
       ".SH DESCRIPTION\n"
       "A YAML file of sections with keys, given to\n.BR agrlctl (1)\nand to every daemon of the job by\n.BR \\-\\-config .\n"
       "One document, no anchors or tags, no key twice. A key left out has its default; a key that does not exist is\n"
       "refused with the nearest that does; every message names file:line:column. Any key can be given on the command\n"
       "line too:\n.PP\n.RS\nagrlctl up \\-\\-config agrl.yaml \\-\\-set replay.tau=0.3\n.RE\n.PP\n"
       "Relative paths are relative to the working directory of the command;\n.B agrlctl up\n"
       "makes them absolute in the\n.I agrl.yaml\nof the run directory. The file with all keys and defaults is printed by\n"
       ".BR \"agrlctl config dump \\-\\-help\\-text\" ;\n.B agrlctl config check\n.I FILE\nchecks one.\n"
       ".PP\nA size is a number of bytes with KiB, MiB, GiB or TiB, a duration a number with ns, us, ms, s, m or h:\n"
       ".BR 64MiB ,\n.BR 250ms .\n"
       ".SH KEYS");
  int code = put_keys();
  puts(".SH EXAMPLE\n.nf\n.RS\nrun:\n  dir: run\\-1\n  seed: 7\ndata:\n  train: train.jsonl\n  eval: eval.jsonl\n  rules: rules.yaml\n"
       "grpo:\n  versions: 300\nactor:\n  count: 4\n.RE\n.fi\n"
       ".SH SEE ALSO\n.BR agrlctl (1),\n.BR agrl (7),\n.BR agrl\\-rules (5)");
  if (fflush(stdout) || ferror(stdout)) code = agrl_rc_exit(AGRL_EIO);
  if (code) remove(argv[1]);
  return code;
}
