// SPDX-License-Identifier: Apache-2.0
// See targets.h.
#include "common/conf/targets.h"

#include <stdio.h>
#include <string.h>

#include "common/conf/bind.h"

const char *const agrl_target_names[AGRL_TARGETS] = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};

static int find(const char *word) {
  for (int i = 0; i < AGRL_TARGETS; i++)
    if (strcmp(word, agrl_target_names[i]) == 0) return i;
  return -1;
}

static agrl_rc unknown(const char *word, agrl_error *err) {
  const char *near = agrl_conf_nearest(word, agrl_target_names, AGRL_TARGETS);
  return agrl_fail(err, AGRL_ECONFIG, "lora.targets: \"%s\" is not one of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj%s%s%s", word,
                   near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

agrl_rc agrl_targets_parse(const char *list, unsigned *mask, agrl_error *err) {
  *mask = 0;
  for (const char *s = list; *s;) {
    char word[64];
    size_t n = strcspn(s, ","), from = strspn(s, " "), to = n;
    if (from > n) from = n;
    while (to > from && s[to - 1] == ' ') to--;
    snprintf(word, sizeof word, "%.*s", (int)(to - from > 63 ? 63 : to - from), s + from);
    const int i = find(word);
    if (i < 0) return unknown(word, err);
    if (*mask >> i & 1) return agrl_fail(err, AGRL_ECONFIG, "lora.targets: %s is given twice", word);
    *mask |= 1u << i;
    s += n;
    if (*s == ',' && s[1] == '\0') return unknown("", err);
    if (*s) s++;
  }
  return *mask ? AGRL_OK : agrl_fail(err, AGRL_ECONFIG, "lora.targets: names no matrix; name some, or set lora.rank to 0 to train every parameter");
}
