// SPDX-License-Identifier: Apache-2.0
// Text sections of the rule file: templates checked at load, rendered per row.
#include "common/task/task.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/conf/yaml.h"

#define MAX_LEVELS 8

struct agrl_task_text {
  char *prompt, *answer, *reference;
  size_t n_levels;
  char *levels[MAX_LEVELS];
};

// Reads the template under key; *out stays NULL when absent.
static agrl_rc read_template(const agrl_yaml *node, char **out, agrl_error *err) {
  if (!node) return AGRL_OK;
  const char *s = agrl_yaml_str(node);
  if (!s) return agrl_yaml_fail(node, err, "expected a text template");
  agrl_error why = {0};
  if (agrl_template_check(s, &why)) return agrl_yaml_fail(node, err, "%s", why.msg);
  *out = agrl_xstrdup(s);
  return AGRL_OK;
}

// What every prompt holds, the plain one that is evaluated too: a gold label in it would be the answer, told beforehand.
static agrl_rc read_shown(const agrl_yaml *root, const char *key, char **out, agrl_error *err) {
  char name[64];
  agrl_rc rc = read_template(agrl_yaml_get(root, key), out, err);
  if (!rc && *out && agrl_template_names(*out, "gold.", name))
    rc = agrl_yaml_fail(agrl_yaml_get(root, key), err, "%s: {%s} tells the model the label that it is to find; only guidance and reference may", key, name);
  return rc;
}

static agrl_rc read_sections(agrl_task_text *t, const agrl_yaml *root, agrl_error *err) {
  agrl_rc rc = read_shown(root, "prompt", &t->prompt, err);
  if (!rc && !t->prompt) rc = agrl_yaml_fail(root, err, "the rule file has no prompt template (key: prompt)");
  if (!rc && !t->prompt[strspn(t->prompt, " \t\r\n")]) rc = agrl_yaml_fail(agrl_yaml_get(root, "prompt"), err, "prompt: is empty; say what the model is shown");
  if (!rc) rc = read_shown(root, "answer", &t->answer, err);
  if (!rc) rc = read_template(agrl_yaml_get(root, "reference"), &t->reference, err);
  const agrl_yaml *g = agrl_yaml_get(root, "guidance");
  if (rc || !g) return rc;
  if (g->type != AGRL_YAML_SEQ || g->n > MAX_LEVELS) return agrl_yaml_fail(g, err, "guidance: expected a list of at most %d templates", MAX_LEVELS);
  for (size_t i = 0; i < g->n && !rc; i++) {
    rc = read_template(g->items[i], &t->levels[i], err);
    if (!rc) t->n_levels++;
  }
  return rc;
}

agrl_rc agrl_task_text_load(const char *rules_path, agrl_task_text **out, agrl_error *err) {
  agrl_yaml *root = NULL;
  agrl_rc rc = agrl_yaml_load(rules_path, &root, err);
  if (rc) return rc;
  agrl_task_text *t = agrl_xcalloc(1, sizeof *t);
  rc = read_sections(t, root, err);
  agrl_yaml_free(root);
  if (rc) agrl_task_text_free(t);
  else *out = t;
  return rc;
}

void agrl_task_text_free(agrl_task_text *t) {
  if (!t) return;
  free(t->prompt);
  free(t->answer);
  free(t->reference);
  for (size_t i = 0; i < MAX_LEVELS; i++) free(t->levels[i]);
  free(t);
}

size_t agrl_task_text_levels(const agrl_task_text *t) { return t->n_levels; }

void agrl_task_text_prompt(const agrl_task_text *t, const agrl_row *row, size_t level, agrl_buf *out) {
  agrl_template_render(t->prompt, row, out);
  for (size_t i = 0; i < level && i < t->n_levels; i++) agrl_template_render(t->levels[i], row, out);
  if (t->answer) agrl_template_render(t->answer, row, out);
}

bool agrl_task_text_reference(const agrl_task_text *t, const agrl_row *row, agrl_buf *out) {
  if (row->reference) agrl_buf_adds(out, row->reference);
  else if (t->reference) agrl_template_render(t->reference, row, out);
  else return false;
  return true;
}

agrl_labels agrl_task_labels(const agrl_row *row) {
  const agrl_gold *g = &row->gold;
  return (agrl_labels){.tier = (uint32_t)g->tier, .category = g->category ? g->category : "", .attribute = g->attribute ? g->attribute : ""};
}
