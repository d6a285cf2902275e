// SPDX-License-Identifier: Apache-2.0
// One walk over a conversation gives its parts, each either a special token or plain text; rendering joins them, encoding
// looks the first kind up and tokenizes the second.
#include "common/text/chat.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

static const char im_start[] = "<|im_start|>", im_end[] = "<|im_end|>";
static const char header_start[] = "<|start_header_id|>", header_end[] = "<|end_header_id|>", eot[] = "<|eot_id|>";
static const char begin_text[] = "<|begin_of_text|>";
// All that the templates of each format write between "<|" and "|>"; the last two are Llama 3.1's, where tools are called.
static const char *const chatml_marks[] = {im_start, im_end, NULL};
static const char *const llama3_marks[] = {header_start, header_end, eot, begin_text, "<|eom_id|>", "<|python_tag|>", NULL};
// What Llama 3.1's template says when it is given no date.
static const char dates[] = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n";

static const char *find(const char *text, size_t len, const char *what) { return memmem(text, len, what, strlen(what)); }

// A system turn that the template itself writes out: "<|im_start|>system", a newline (or its escape), words without quotes or
// braces, "<|im_end|>". NULL: there is none.
static char *literal_system(const char *text, size_t len) {
  static const char head[] = "<|im_start|>system";
  const char *end = text + len;
  for (const char *at = text; (at = find(at, (size_t)(end - at), head)) != NULL;) {
    at += sizeof head - 1;
    if (at < end && *at == '\n') at++;
    else if (end - at >= 2 && at[0] == '\\' && at[1] == 'n') at += 2;
    else continue;
    const char *stop = find(at, (size_t)(end - at), im_end);
    if (stop == NULL) return NULL;
    size_t n = (size_t)(stop - at), plain = 0;
    while (plain < n && strchr("'\"{}\\", at[plain]) == NULL) plain++;
    if (plain == n && n > 0) return agrl_xstrndup(at, n);
  }
  return NULL;
}

// Where the template writes a mark that is none of marks, whole or put together: its turns are of another format then, though
// they may look alike (Phi-4's are ChatML's with <|im_sep|> after the role). NULL: nowhere.
static const char *other_mark(const char *tmpl, size_t len, const char *const *marks) {
  const char *end = tmpl + len;
  for (const char *at = tmpl; (at = find(at, (size_t)(end - at), "<|")) != NULL; at += 2) {
    size_t i = 0;
    while (marks[i] != NULL && !(strlen(marks[i]) <= (size_t)(end - at) && memcmp(at, marks[i], strlen(marks[i])) == 0)) i++;
    if (marks[i] == NULL) return at;
  }
  return NULL;
}

agrl_rc agrl_chat_recognise(const char *tmpl, size_t len, const char *name, agrl_chat *out, agrl_error *err) {
  *out = (agrl_chat){0};
  const bool chatml = find(tmpl, len, im_start) != NULL && find(tmpl, len, im_end) != NULL;
  if (!chatml && !(find(tmpl, len, header_start) != NULL && find(tmpl, len, header_end) != NULL && find(tmpl, len, eot) != NULL))
    return agrl_fail(err, AGRL_EUNSUPPORTED, "%s: its chat template is neither ChatML (<|im_start|>) nor Llama 3's (<|start_header_id|>): %.*s",
                     name, (int)(len < 40 ? len : 40), tmpl);
  const char *odd = other_mark(tmpl, len, chatml ? chatml_marks : llama3_marks);
  if (odd != NULL) {
    const size_t left = len - (size_t)(odd - tmpl), most = left < 40 ? left : 40;
    const char *stop = find(odd, most, "|>");
    return agrl_fail(err, AGRL_EUNSUPPORTED, "%s: its chat template writes %.*s, which is not %s: other formats are not supported", name,
                     (int)(stop != NULL ? (size_t)(stop + 2 - odd) : most), odd, chatml ? "ChatML's" : "Llama 3's");
  }
  if (chatml) {
    out->format = AGRL_CHAT_CHATML;
    out->fallback = literal_system(tmpl, len);
  } else {
    out->format = AGRL_CHAT_LLAMA3;
    out->dated = find(tmpl, len, "Cutting Knowledge Date") != NULL;
  }
  return AGRL_OK;
}

void agrl_chat_release(agrl_chat *c) {
  free(c->fallback);
  *c = (agrl_chat){0};
}

const char *agrl_chat_end(const agrl_chat *c) { return c->format == AGRL_CHAT_CHATML ? im_end : eot; }

typedef struct sink {
  agrl_buf *text;     // rendering
  const agrl_bpe *t;  // encoding
  agrl_buf plain;     // encoding: the text since the last special token, which is tokenized as one
  int32_t *ids;
  size_t cap, n;
  const char *unknown;  // a special token that t lacks
} sink;

static void flush(sink *s) {
  const size_t room = s->n < s->cap ? s->cap - s->n : 0;
  s->n += agrl_bpe_encode(s->t, s->plain.data ? s->plain.data : "", s->plain.len, false, room > 0 ? s->ids + s->n : NULL, room);
  agrl_buf_clear(&s->plain);
}

static void put_text(sink *s, const char *text, size_t len) { agrl_buf_add(s->text ? s->text : &s->plain, text, len); }

static void put_special(sink *s, const char *token) {
  if (s->text) {
    agrl_buf_adds(s->text, token);
    return;
  }
  flush(s);
  const int32_t id = agrl_bpe_special(s->t, token);
  if (id < 0) s->unknown = token;
  if (s->n < s->cap) s->ids[s->n] = id;
  s->n++;
}

static void put_head(sink *s, const agrl_chat *c, const char *role) {
  put_special(s, c->format == AGRL_CHAT_CHATML ? im_start : header_start);
  put_text(s, role, strlen(role));
  if (c->format == AGRL_CHAT_LLAMA3) put_special(s, header_end);
  put_text(s, "\n\n", c->format == AGRL_CHAT_LLAMA3 ? 2 : 1);
}

static bool is_space(char ch) { return ch == ' ' || (ch >= '\t' && ch <= '\r'); }

static void put_turn(sink *s, const agrl_chat *c, const char *role, const char *content, size_t len) {
  put_head(s, c, role);
  if (c->format == AGRL_CHAT_LLAMA3) {
    while (len > 0 && is_space(content[len - 1])) len--;
    while (len > 0 && is_space(*content)) content++, len--;
    if (c->dated && strcmp(role, "system") == 0) put_text(s, dates, sizeof dates - 1);
  }
  put_text(s, content, len);
  put_special(s, agrl_chat_end(c));
  if (c->format == AGRL_CHAT_CHATML) put_text(s, "\n", 1);
}

static void walk(sink *s, const agrl_chat *c, const agrl_chat_message *m, size_t n, bool reply) {
  const bool system = n > 0 && strcmp(m[0].role, "system") == 0;
  if (c->format == AGRL_CHAT_LLAMA3) put_special(s, begin_text);
  if (!system && c->dated) put_turn(s, c, "system", "", 0);
  else if (!system && c->fallback) put_turn(s, c, "system", c->fallback, strlen(c->fallback));
  for (size_t i = 0; i < n; i++) put_turn(s, c, m[i].role, m[i].content, m[i].len);
  if (reply) put_head(s, c, "assistant");
}

void agrl_chat_render(const agrl_chat *c, const agrl_chat_message *messages, size_t n, bool reply, agrl_buf *out) {
  sink s = {.text = out};
  walk(&s, c, messages, n, reply);
}

agrl_rc agrl_chat_encode(const agrl_chat *c, const agrl_bpe *t, const agrl_chat_message *messages, size_t n, bool reply, int32_t *out,
                         size_t cap, size_t *n_ids, agrl_error *err) {
  sink s = {.t = t, .ids = out, .cap = cap};
  walk(&s, c, messages, n, reply);
  flush(&s);
  agrl_buf_release(&s.plain);
  *n_ids = s.unknown ? 0 : s.n;
  return s.unknown ? agrl_fail(err, AGRL_EUNSUPPORTED, "chat: the tokenizer has no special token %s", s.unknown) : AGRL_OK;
}
