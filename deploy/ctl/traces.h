// SPDX-License-Identifier: Apache-2.0
// The trace viewer's page: groups and their traces are added one by one, then everything is written as one self-contained HTML
// file with the data in it once: texts in tables, tokens and quantised log-probs as base64. page/traces.js reads it.
// Memory: about 10 bytes a token and 60 a trace. Not thread-safe.
#ifndef AGRL_CTL_TRACES_H
#define AGRL_CTL_TRACES_H

#include "common/task/task.h"
#include "common/text/bpe.h"
#include "common/wire/msg.h"
#include "replay/schema.h"
#include "reward/explain.h"

typedef struct traces_source {  // borrowed; what is not there is NULL
  const agrl_bpe *bpe;
  const agrl_rules *rules;      // explains the traces that its hash scored
  const char *rules_text;       // the file itself
  const agrl_task_text *text;   // with data: the guidance a trace was given
  const agrl_dataset *data;
  int mode, gate;               // AGRL_REWARD_*, AGRL_GATE_*
  const char *about;            // one line for the head of the page
  uint64_t total;               // traces in the store, also those not added
} traces_source;

typedef struct traces_page traces_page;
traces_page *traces_page_new(const traces_source *source);  // source must outlive it
void traces_page_free(traces_page *p);
// The traces added after it are the group's.
void traces_page_group(traces_page *p, const replay_group_rec *g);
void traces_page_trace(traces_page *p, const replay_group_rec *g, const agrl_msg_scored *s);
size_t traces_page_count(const traces_page *p);
void traces_page_write(traces_page *p, agrl_buf *html);

#endif
