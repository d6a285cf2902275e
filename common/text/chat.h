// SPDX-License-Identifier: Apache-2.0
// Chat formats: how a conversation becomes the one text a model was taught on. A model's template is a Jinja program; it is not
// run but recognised by what it writes: ChatML (SmolLM2, Qwen2, Qwen2.5, Qwen3) and Llama 3's headers. Contents are put as
// they are (Llama 3: without white space at their ends, as its template does); tools and reasoning of earlier turns are not handled.
#ifndef AGRL_TEXT_CHAT_H
#define AGRL_TEXT_CHAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/text/bpe.h"

typedef enum agrl_chat_format { AGRL_CHAT_CHATML, AGRL_CHAT_LLAMA3 } agrl_chat_format;

typedef struct agrl_chat {
  agrl_chat_format format;
  bool dated;      // Llama 3.1 and 3.2: the system turn begins with two lines of dates, and is there without a system message
  char *fallback;  // the system message when a conversation brings none; NULL: no system turn then
} agrl_chat;

typedef struct agrl_chat_message {
  const char *role;  // "system" (the first only), "user", "assistant"
  const char *content;
  size_t len;
} agrl_chat_message;

// From a template's text (tokenizer_config.json's chat_template, GGUF's tokenizer.chat_template). name is used in messages.
// AGRL_EUNSUPPORTED for other templates, and for those that write any <|...|> beside the format's own. Release with agrl_chat_release.
agrl_rc agrl_chat_recognise(const char *tmpl, size_t len, const char *name, agrl_chat *out, agrl_error *err);
void agrl_chat_release(agrl_chat *c);

// Appends the conversation, up to where the assistant's next words begin when reply is true.
void agrl_chat_render(const agrl_chat *c, const agrl_chat_message *messages, size_t n, bool reply, agrl_buf *out);
// The same as tokens: appends up to cap ids to out, returns how many there are. What marks turns becomes special tokens;
// texts of special tokens inside contents do not. AGRL_EUNSUPPORTED (0 ids) when the tokenizer lacks a marker.
agrl_rc agrl_chat_encode(const agrl_chat *c, const agrl_bpe *t, const agrl_chat_message *messages, size_t n, bool reply, int32_t *out,
                         size_t cap, size_t *n_ids, agrl_error *err);
const char *agrl_chat_end(const agrl_chat *c);  // the special token that ends a turn

#endif
