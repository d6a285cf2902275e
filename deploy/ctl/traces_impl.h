// SPDX-License-Identifier: Apache-2.0
// What the page collects, seen by traces_page.c (collects) and traces_write.c (writes) only.
#ifndef AGRL_CTL_TRACES_IMPL_H
#define AGRL_CTL_TRACES_IMPL_H

#include "deploy/ctl/traces.h"
#include "deploy/ctl/traces_table.h"

typedef struct guide {
  uint32_t level;
  char *text;
} guide;

typedef struct prompt {
  agrl_labels gold;  // owned texts
  char *text;
  size_t n_guides;
  guide guides[REPLAY_MAX_LEVELS];
} prompt;

// Columns of the groups and of the traces: each a list of JSON numbers under construction. Their names: traces_write.c.
enum { G_ID, G_PROMPT, G_STATE, G_CAUSE, G_ACCURACY, G_TRAINED, G_COLUMNS };
enum { T_GROUP, T_MEMBER, T_LEVEL, T_TIER, T_REWARD, T_FLAGS, T_TOKENS, T_VERSIONS, T_EXPLAINED, T_HASH, T_STOP, T_ACTOR, T_MS, T_COLUMNS };

struct traces_page {
  const traces_source *source;
  agrl_buf g[G_COLUMNS], t[T_COLUMNS];
  size_t n_groups, n_traces, n_tokens, cap_tokens;
  uint32_t *tokens;       // indices of pieces
  uint8_t *logprobs;      // quantised
  traces_table ids, versions, explained, hashes, actors, pieces;  // ids: of prompts, in the order of prompts
  prompt *prompts;
  size_t cap_prompts;
  uint32_t *piece_of;     // by token id
  size_t vocab;
  traces_table row_ids;   // of the data, with the row of each
  size_t *rows;
};

#endif
