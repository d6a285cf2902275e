// SPDX-License-Identifier: Apache-2.0
// What a labelled row becomes for the model, as the rule file's text sections say (the reward service reads the rest):
//   prompt: |            template of text/dataset.h; neither it nor answer may hold a gold field
//   guidance: [..]       one template per ladder level, 1-based; a guided prompt holds levels 1..L after the prompt
//   answer: |            appended to every prompt, plain or guided ("" by default)
//   reference: |         trace for SFT rows that bring none of their own; optional
// Immutable after load, readable from many threads.
#ifndef AGRL_TASK_TASK_H
#define AGRL_TASK_TASK_H

#include <stdbool.h>

#include "common/text/dataset.h"
#include "common/wire/msg_trace.h"

typedef struct agrl_task_text agrl_task_text;

agrl_rc agrl_task_text_load(const char *rules_path, agrl_task_text **out, agrl_error *err);
void agrl_task_text_free(agrl_task_text *t);
size_t agrl_task_text_levels(const agrl_task_text *t);  // guidance levels in the file (0..8)
// Appends the prompt at a guidance level (0: plain; beyond the last level: the last).
void agrl_task_text_prompt(const agrl_task_text *t, const agrl_row *row, size_t level, agrl_buf *out);
// Appends the reference trace: the row's own, else the template's; false when there is neither.
bool agrl_task_text_reference(const agrl_task_text *t, const agrl_row *row, agrl_buf *out);
agrl_labels agrl_task_labels(const agrl_row *row);  // its gold labels as they travel; borrowed from the row

#endif
