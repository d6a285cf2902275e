// SPDX-License-Identifier: Apache-2.0
// YAML and the configuration: every parsed tree keeps its promises, and a configuration that binds is dumped to text
// that binds to the same configuration.
#include <string.h>

#include "common/base/bug.h"
#include "common/conf/config.h"

int agrl_fuzz_conf_yaml(const uint8_t *data, size_t size);

static void check_tree(const agrl_yaml *y, const agrl_yaml *root, int depth) {
  AGRL_ASSERT(y->line >= 1 && y->column >= 1 && y->file == root->file && depth <= 32);
  AGRL_ASSERT((y->type == AGRL_YAML_SCALAR) == (y->text != NULL) && (y->type == AGRL_YAML_SCALAR) <= (y->n == 0));
  for (size_t i = 0; i < y->n; i++) {
    if (y->type == AGRL_YAML_MAP) AGRL_ASSERT(agrl_yaml_get(y, y->keys[i]) == y->items[i]);  // no key twice
    check_tree(y->items[i], root, depth + 1);
  }
}

static void bind_defaults(agrl_config *c) {
  *c = (agrl_config){0};
  agrl_conf_defaults(agrl_config_table, agrl_config_table_len, c);
}

static void check_dump(const agrl_config *c, bool with_help) {
  agrl_buf first = {0}, second = {0};
  agrl_yaml *tree;
  agrl_config again;
  agrl_error err = {0};
  bind_defaults(&again);
  agrl_config_dump(c, with_help, &first);
  if (agrl_yaml_parse(first.data, first.len, "dump", &tree, &err)) AGRL_BUG("the dump is refused: %s", err.msg);
  if (agrl_conf_bind(agrl_config_table, agrl_config_table_len, tree, &again, &err)) AGRL_BUG("the dump does not bind: %s", err.msg);
  agrl_config_dump(&again, with_help, &second);
  AGRL_ASSERT(strcmp(first.data, second.data) == 0);
  agrl_yaml_free(tree);
  agrl_config_release(&again);
  agrl_buf_release(&first);
  agrl_buf_release(&second);
}

int agrl_fuzz_conf_yaml(const uint8_t *data, size_t size) {
  agrl_yaml *tree;
  agrl_error err = {0};
  if (agrl_yaml_parse((const char *)data, size, "fuzz", &tree, &err) != AGRL_OK) {
    AGRL_ASSERT(!tree && strncmp(err.msg, "fuzz:", 5) == 0);
    return 0;
  }
  check_tree(tree, tree, 0);
  agrl_config c;
  bind_defaults(&c);
  if (agrl_conf_bind(agrl_config_table, agrl_config_table_len, tree, &c, &err) == AGRL_OK) {
    check_dump(&c, size % 2);
    err.msg[0] = '\0';
    AGRL_ASSERT((agrl_config_check(&c, &err) == AGRL_OK) == (err.msg[0] == '\0'));
  } else {
    AGRL_ASSERT(strncmp(err.msg, "fuzz:", 5) == 0);
  }
  agrl_config_release(&c);
  agrl_yaml_free(tree);
  return 0;
}
