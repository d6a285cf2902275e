// SPDX-License-Identifier: Apache-2.0
// The methods that are compared, each one line of configuration apart. What differs beyond the keys below (the objective,
// whether there are RL updates at all) the code asks run.method for, through the functions at the end.
#include "common/conf/config_method.h"

#include <string.h>

#include "common/base/bug.h"

static const struct preset {
  int method;
  const char *path, *value;
} presets[] = {
    {AGRL_METHOD_SFT, "replay.guided", "false"},
    {AGRL_METHOD_DPO, "replay.guided", "false"},
    {AGRL_METHOD_GRPO, "reward.mode", "sparse"},
    {AGRL_METHOD_GRPO, "replay.guided", "false"},
    {AGRL_METHOD_GRPO_PR, "reward.mode", "shaped"},
    {AGRL_METHOD_GRPO_PR, "replay.guided", "false"},
    {AGRL_METHOD_AGRL, "reward.mode", "shaped"},
    {AGRL_METHOD_AGRL, "replay.guided", "true"},
};
enum { N_PRESETS = sizeof presets / sizeof *presets };

void config_note_given(agrl_config *c, const agrl_yaml *root) {
  for (size_t i = 0; i < agrl_config_table_len; i++) {
    const char *path = agrl_config_table[i].path, *dot = strchr(path, '.');
    for (size_t k = 0; k < root->n; k++)
      if (strlen(root->keys[k]) == (size_t)(dot - path) && strncmp(root->keys[k], path, (size_t)(dot - path)) == 0)
        c->given[i] |= agrl_yaml_get(root->items[k], dot + 1) != NULL;
  }
}

static size_t row_of(const char *path) {
  for (size_t i = 0; i < agrl_config_table_len; i++)
    if (strcmp(agrl_config_table[i].path, path) == 0) return i;
  AGRL_BUG("%s: no such key", path);
}

void config_apply_method(agrl_config *c) {
  for (int pass = 0; pass < 2; pass++) {  // defaults first: a method set before this one may have changed them
    for (size_t i = 0; i < N_PRESETS; i++) {
      size_t row = row_of(presets[i].path);
      if (c->given[row] || (pass == 1 && presets[i].method != c->run.method)) continue;
      const char *value = pass == 0 ? agrl_config_table[row].def : presets[i].value;
      agrl_error err = {0};
      if (agrl_conf_set(agrl_config_table, agrl_config_table_len, c, presets[i].path, value, &err)) AGRL_BUG("%s", err.msg);
    }
  }
}

// A configuration of nothing but the method.
static void method_alone(const agrl_config *c, agrl_config *out) {
  *out = (agrl_config){0};
  agrl_conf_defaults(agrl_config_table, agrl_config_table_len, out);
  out->run.method = c->run.method;
  config_apply_method(out);
}

// The keys of presets are bools and enums, no longer than that.
static bool same_value(size_t row, const agrl_config *a, const agrl_config *b) {
  const agrl_conf_key *k = &agrl_config_table[row];
  const size_t n = k->type == AGRL_CONF_BOOL ? sizeof(bool) : sizeof(int);
  return memcmp((const char *)a + k->offset, (const char *)b + k->offset, n) == 0;
}

agrl_rc config_check_method(const agrl_config *c, agrl_error *err) {
  agrl_config alone;
  agrl_rc rc = AGRL_OK;
  method_alone(c, &alone);
  for (size_t i = 0; i < N_PRESETS && !rc; i++) {
    if (presets[i].method != c->run.method || same_value(row_of(presets[i].path), c, &alone)) continue;
    rc = agrl_fail(err, AGRL_ECONFIG, "%s: contradicts run.method %s, which stands for %s %s; leave %s out, or choose another run.method",
                   presets[i].path, agrl_config_table[row_of("run.method")].choices[c->run.method], presets[i].path, presets[i].value, presets[i].path);
  }
  agrl_conf_release(agrl_config_table, agrl_config_table_len, &alone);
  return rc;
}

void config_of_method(const agrl_config *c, bool out[AGRL_CONFIG_KEYS_MAX]) {
  agrl_config alone;
  method_alone(c, &alone);
  memset(out, 0, AGRL_CONFIG_KEYS_MAX * sizeof *out);
  for (size_t i = 0; i < N_PRESETS; i++) {
    const size_t row = row_of(presets[i].path);
    out[row] = same_value(row, c, &alone);
  }
  agrl_conf_release(agrl_config_table, agrl_config_table_len, &alone);
}

int64_t agrl_config_versions(const agrl_config *c) { return c->run.method == AGRL_METHOD_SFT ? 0 : c->grpo.versions; }

bool agrl_config_needs_reference(const agrl_config *c) { return agrl_config_versions(c) > 0; }

bool agrl_config_needs_traces(const agrl_config *c) {
  return agrl_config_versions(c) > 0 && (c->run.method == AGRL_METHOD_DPO || c->grpo.sft_weight > 0);
}
