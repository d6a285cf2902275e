// SPDX-License-Identifier: Apache-2.0
// A model on disk, whichever form it has: what the verbs of agrlctl model share.
#ifndef AGRL_CTL_MODEL_H
#define AGRL_CTL_MODEL_H

#include "common/base/buf.h"
#include "common/ckpt/hf.h"
#include "common/text/bpe.h"

typedef struct ctl_model {
  agrl_layout *layout;
  float *block;             // f32, layout's n_elements
  agrl_buf tokenizer_json;  // never empty
  agrl_bpe *bpe;            // of it; ids below the model's vocabulary
  agrl_buf tokenizer_config;  // tokenizer_config.json as it is; empty: it has none
  agrl_buf chat_template;     // empty: it has none
  uint64_t version;         // 0 for models from elsewhere
} ctl_model;

bool ctl_model_is_gguf(const char *path);  // anything but a directory
// path: a .gguf file or a Hugging Face directory. Shows progress on a terminal's stderr. Release also after a failure.
agrl_rc ctl_model_open(const char *path, ctl_model *out, agrl_error *err);
void ctl_model_release(ctl_model *m);
// tokenizer.json and the chat template alone, each empty when the directory has none.
agrl_rc ctl_model_dir_texts(const char *dir, agrl_buf *tokenizer_json, agrl_buf *chat_template, agrl_error *err);
void ctl_model_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));  // one line of progress, replaced by the next; "" ends it

int ctl_model_inspect(const char *path, bool json);  // exit codes
typedef struct ctl_chat_options {
  const char *prompt, *system;  // system NULL: the template's own
  size_t max_new;               // 0: 256, or what the context holds beside the prompt
  unsigned threads;
} ctl_chat_options;
int ctl_model_chat(const char *path, const ctl_chat_options *o);

#endif
