// SPDX-License-Identifier: Apache-2.0
// Chat templates: any bytes. One that is taken writes no mark of another format, its system message stands in it, and what a
// conversation becomes is the same as text and as tokens, whatever it contains: contents make no turn.
#include <stdlib.h>
#include <string.h>

#include "common/base/bug.h"
#include "common/base/mem.h"
#include "common/text/chat.h"

int agrl_fuzz_text_chat(const uint8_t *data, size_t size);

static const char *const marks[] = {"<|im_start|>",      "<|im_end|>",    "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
                                    "<|begin_of_text|>", "<|python_tag|>", "<|eom_id|>"};
enum { N_CHATML = 2, N_MARKS = sizeof marks / sizeof *marks };

// text ends in NUL, so that a mark that is cut off is not compared past its end.
static void check_marks(const char *text, size_t size, bool chatml) {
  for (size_t i = 0; i + 1 < size; i++) {
    if (text[i] != '<' || text[i + 1] != '|') continue;
    bool known = false;
    for (size_t k = chatml ? 0 : N_CHATML; k < (chatml ? N_CHATML : N_MARKS); k++) known |= strncmp(text + i, marks[k], strlen(marks[k])) == 0;
    AGRL_ASSERT(known);
  }
}

static size_t count(const agrl_bpe *t, const int32_t *ids, size_t n, const char *mark) {
  size_t found = 0;
  for (size_t i = 0; i < n; i++) found += ids[i] == agrl_bpe_special(t, mark);
  return found;
}

static void check_conversation(const agrl_chat *c, const agrl_bpe *t, const char *content, size_t len, bool system, bool reply) {
  const agrl_chat_message m[2] = {{"system", "Be brief", 8}, {"user", content, len}};
  const agrl_chat_message *from = system ? m : m + 1;
  const size_t n_messages = system ? 2 : 1;
  size_t n, again;
  agrl_buf text = {0}, back = {0};
  agrl_chat_render(c, from, n_messages, reply, &text);
  AGRL_ASSERT(agrl_chat_encode(c, t, from, n_messages, reply, NULL, 0, &n, NULL) == AGRL_OK && n > 0);
  int32_t *ids = agrl_xcalloc(n, sizeof *ids);
  AGRL_ASSERT(agrl_chat_encode(c, t, from, n_messages, reply, ids, n, &again, NULL) == AGRL_OK && again == n);
  agrl_bpe_decode(t, ids, n, true, &back);
  AGRL_ASSERT(back.len == text.len && memcmp(back.data, text.data, text.len) == 0);
  const size_t turns = 1 + (size_t)(system || c->dated || c->fallback != NULL);
  AGRL_ASSERT(count(t, ids, n, agrl_chat_end(c)) == turns);
  AGRL_ASSERT(count(t, ids, n, c->format == AGRL_CHAT_CHATML ? marks[0] : marks[N_CHATML]) == turns + reply);
  free(ids);
  agrl_buf_release(&text);
  agrl_buf_release(&back);
}

int agrl_fuzz_text_chat(const uint8_t *data, size_t size) {
  char *tmpl = agrl_xcalloc(size > 0 ? size : 1, 1);  // an exact block, so that a sanitizer sees reads past the end
  if (size > 0) memcpy(tmpl, data, size);
  agrl_chat c;
  agrl_error err = {0};
  if (agrl_chat_recognise(tmpl, size, "fuzz", &c, &err) != AGRL_OK) {
    AGRL_ASSERT(err.code == AGRL_EUNSUPPORTED && strncmp(err.msg, "fuzz: ", 6) == 0 && c.fallback == NULL);
    free(tmpl);
    return 0;
  }
  const bool chatml = c.format == AGRL_CHAT_CHATML;
  char *text = agrl_xcalloc(size + 1, 1);
  memcpy(text, tmpl, size);
  check_marks(text, size, chatml);
  AGRL_ASSERT(!(chatml && c.dated) && !(!chatml && c.fallback));
  AGRL_ASSERT(c.fallback == NULL || (c.fallback[0] != '\0' && memmem(tmpl, size, c.fallback, strlen(c.fallback)) != NULL));
  agrl_bpe *t;
  const char *const texts[] = {"system user assistant"};
  AGRL_ASSERT(agrl_bpe_train(texts, 1, N_MARKS + 256 + 4, marks, N_MARKS, &t, NULL) == AGRL_OK);
  const size_t len = size < 512 ? size : 512;
  for (int k = 0; k < 4; k++) check_conversation(&c, t, tmpl, len, k & 1, k & 2);
  agrl_bpe_free(t);
  agrl_chat_release(&c);
  free(text);
  free(tmpl);
  return 0;
}
