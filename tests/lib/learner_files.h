// SPDX-License-Identifier: Apache-2.0
// Rows, rule file and checkpoints of a learner's test, in a directory of its own.
#ifndef AGRL_TESTS_LEARNER_FILES_H
#define AGRL_TESTS_LEARNER_FILES_H

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/file.h"

static char root[96], data_path[128], rules_path[128], checkpoints[128];

// n rows, shoes of tier 1 and lamps of tier 4 in turn; after_tier: the rest of a shoe's and of a lamp's line.
static void files_make(const char *test, int n, const char *const after_tier[2], const char *rules) {
  agrl_buf b = {0};
  snprintf(root, sizeof root, "/tmp/agrl-%s-%ld", test, (long)getpid());
  snprintf(data_path, sizeof data_path, "%s/train.jsonl", root);
  snprintf(rules_path, sizeof rules_path, "%s/rules.yaml", root);
  snprintf(checkpoints, sizeof checkpoints, "%s/checkpoints", root);
  agrl_file_remove_tree(root, NULL);
  assert_int_equal(agrl_file_mkdirs(checkpoints, NULL), AGRL_OK);
  for (int i = 0; i < n; i++)
    agrl_buf_addf(&b, "{\"id\":\"r%d\",\"query\":\"thing %d\",\"product\":{\"title\":\"%s %d\"},\"gold\":{\"tier\":%d%s\n", i, i % 5,
                  i % 2 ? "lamp" : "shoe", i, i % 2 ? 4 : 1, after_tier[i % 2]);
  assert_int_equal(agrl_file_write_atomic(data_path, b.data, b.len, NULL), AGRL_OK);
  assert_int_equal(agrl_file_write_atomic(rules_path, rules, strlen(rules), NULL), AGRL_OK);
  agrl_buf_release(&b);
}

#endif
