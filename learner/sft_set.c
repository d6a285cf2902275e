// SPDX-License-Identifier: Apache-2.0
// The supervised set: rows of data.train that have a reference trace. A row becomes <|start|> + encode(prompt) and
// encode(reference) + <|end|>, the prompt encoded on its own exactly as the actors encode it.
#include <stdlib.h>
#include <string.h>

#include "common/base/bug.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "learner/learner.h"

enum { TOKENIZER_ROWS = 20000 };  // rows the tokenizer is trained on at most

static bool has_reference(learner_sft_set *s, const agrl_row *row) {
  agrl_buf_clear(&s->scratch);
  return agrl_task_text_reference(s->text, row, &s->scratch) && s->scratch.len > 0;
}

agrl_rc learner_sft_set_open(learner_sft_set *s, const agrl_config *c, agrl_error *err) {
  memset(s, 0, sizeof *s);
  if (c->data.train[0] == '\0') return agrl_fail(err, AGRL_ECONFIG, "data.train is empty: name the file of training rows");
  agrl_rc rc = agrl_task_text_load(c->data.rules, &s->text, err);
  if (rc != AGRL_OK) return rc;
  rc = agrl_dataset_load(c->data.train, NULL, NULL, &s->data, err);
  if (rc != AGRL_OK) {
    agrl_task_text_free(s->text);
    s->text = NULL;
    return rc;
  }
  s->rows = agrl_xcalloc(s->data.n, sizeof *s->rows);
  for (size_t i = 0; i < s->data.n; i++) {
    if (c->sft.max_rows > 0 && s->n >= (size_t)c->sft.max_rows) break;
    if (has_reference(s, &s->data.rows[i])) s->rows[s->n++] = i;
  }
  agrl_logi("sft data rows=%zu with_reference=%zu malformed=%zu file=%s", s->data.n, s->n, s->data.n_bad, c->data.train);
  return AGRL_OK;
}

void learner_sft_set_close(learner_sft_set *s) {
  if (s->text == NULL) return;
  agrl_dataset_release(&s->data);
  agrl_task_text_free(s->text);
  agrl_buf_release(&s->scratch);
  free(s->rows);
  free(s->by_id);
  free(s->prompt);
  free(s->tokens);
  memset(s, 0, sizeof *s);
}

void learner_sft_set_bind(learner_sft_set *s, const agrl_bpe *bpe, int32_t start_id, int32_t end_id) {
  s->bpe = bpe;
  s->start_id = start_id;
  s->end_id = end_id;
}

// The most guided prompt holds the plain one, so one text a row shows the tokenizer all there is.
agrl_rc learner_sft_set_tokenizer(const learner_sft_set *s, size_t vocab, agrl_bpe **out, agrl_error *err) {
  size_t n = s->data.n < TOKENIZER_ROWS ? s->data.n : TOKENIZER_ROWS;
  char **texts = agrl_xcalloc(n, sizeof *texts);
  for (size_t i = 0; i < n; i++) {
    agrl_buf b = {0};
    agrl_task_text_prompt(s->text, &s->data.rows[i], agrl_task_text_levels(s->text), &b);
    agrl_task_text_reference(s->text, &s->data.rows[i], &b);
    texts[i] = agrl_buf_take(&b);
  }
  static const char *const specials[] = {AGRL_TOK_START, AGRL_TOK_END};
  agrl_rc rc = agrl_bpe_train((const char *const *)texts, n, vocab, specials, 2, out, err);
  for (size_t i = 0; i < n; i++) free(texts[i]);
  free(texts);
  return rc;
}

// Encodes into *ids, which grows as needed and has room for one more. start_id: negative for none. Returns the length.
static size_t encode(const agrl_bpe *bpe, int32_t start_id, const agrl_buf *text, int32_t **ids, size_t *cap) {
  for (;;) {
    size_t need = agrl_bpe_encode_prompt(bpe, start_id, text->data, text->len, *ids, *cap);
    if (need < *cap) return need;
    *cap = need + 256;
    *ids = agrl_xreallocarray(*ids, *cap, sizeof **ids);
  }
}

static void encode_reference(learner_sft_set *s, const agrl_row *row, learner_seq *q) {
  agrl_buf_clear(&s->scratch);
  agrl_task_text_reference(s->text, row, &s->scratch);
  q->n_tokens = encode(s->bpe, -1, &s->scratch, &s->tokens, &s->tokens_cap);
  if (s->end_id >= 0) s->tokens[q->n_tokens++] = s->end_id;
  q->tokens = s->tokens;
}

static int by_id(const void *a, const void *b, void *data) {
  const agrl_row *rows = data;
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  int order = strcmp(rows[x].id, rows[y].id);
  return order != 0 ? order : x < y ? -1 : x > y;
}

static void sort_by_id(learner_sft_set *s) {
  s->by_id = agrl_xcalloc(s->data.n + 1, sizeof *s->by_id);
  for (size_t i = 0; i < s->data.n; i++) s->by_id[i] = (uint32_t)i;
  qsort_r(s->by_id, s->data.n, sizeof *s->by_id, by_id, s->data.rows);
}

static int by_number(const void *a, const void *b) {
  const size_t x = *(const size_t *)a, y = *(const size_t *)b;
  return (x > y) - (x < y);
}

// Of rows with the same id the first, as replay takes it.
bool learner_sft_set_find(learner_sft_set *s, const char *id, learner_seq *out) {
  AGRL_ASSERT(s->bpe != NULL);
  if (s->by_id == NULL) sort_by_id(s);
  size_t lo = 0, hi = s->data.n;
  while (lo < hi) {
    size_t mid = lo + (hi - lo) / 2;
    if (strcmp(s->data.rows[s->by_id[mid]].id, id) < 0) lo = mid + 1;
    else hi = mid;
  }
  if (lo == s->data.n) return false;
  const size_t at = s->by_id[lo];
  const agrl_row *row = &s->data.rows[at];
  if (strcmp(row->id, id) != 0 || bsearch(&at, s->rows, s->n, sizeof at, by_number) == NULL) return false;
  *out = (learner_seq){0};
  encode_reference(s, row, out);
  return true;
}

learner_seq learner_sft_set_get(learner_sft_set *s, size_t i, size_t level) {
  AGRL_ASSERT(i < s->n && s->bpe != NULL);
  const agrl_row *row = &s->data.rows[s->rows[i]];
  learner_seq q = {0};
  agrl_buf_clear(&s->scratch);
  agrl_task_text_prompt(s->text, row, level, &s->scratch);
  q.n_prompt = encode(s->bpe, s->start_id, &s->scratch, &s->prompt, &s->prompt_cap);
  encode_reference(s, row, &q);
  q.prompt = s->prompt;
  return q;
}
