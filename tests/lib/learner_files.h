// SPDX-License-Identifier: Apache-2.0
// What the learner's tests share: the configuration, rows, rule file and checkpoints in a directory of its own, and log-probs by
// a forward pass that is no part of a step.
#ifndef AGRL_TESTS_LEARNER_FILES_H
#define AGRL_TESTS_LEARNER_FILES_H

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/file.h"
#include "learner/learner.h"
#include "tests/lib/tensor_check.h"

static agrl_config config;
static char root[96], data_path[128], rules_path[128], checkpoints[128];

static inline void set(const char *key, const char *value) {
  agrl_error err = {0};
  if (agrl_config_set(&config, key, value, &err) != AGRL_OK) fail_msg("%s", err.msg);
}

static inline learner_seq seq_of(const agrl_msg_trace *t) { return (learner_seq){t->prompt, t->tokens, t->n_prompt, t->n_tokens}; }

// Of the completion, under weights w (NULL: those trained); in c->pack, valid until its next use.
static inline const float *logps_of(learner_core *c, const agrl_weights *w, const learner_seq *q) {
  agrl_params given = {0};
  if (w != NULL) given = (agrl_params){.bf16 = agrl_weights_block(w), .fwd = agrl_weights_matrices(w)};
  learner_pack_clear(&c->pack);
  assert_true(learner_pack_add(&c->pack, q));
  const agrl_batch b = learner_pack_batch(&c->pack);
  assert_int_equal(agrl_trainer_forward(c->trainer, w ? &given : &c->optim.served, &b, false, c->pack.logp, NULL, NULL), AGRL_OK);
  return c->pack.logp + c->pack.first[0];
}

// n rows, shoes of tier 1 and lamps of tier 4 in turn; after_tier: the rest of a shoe's and of a lamp's line.
static inline void files_make(const char *test, int n, const char *const after_tier[2], const char *rules) {
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
