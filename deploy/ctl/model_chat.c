// SPDX-License-Identifier: Apache-2.0
// agrlctl model chat: one greedy answer, written as it comes.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/model/decode.h"
#include "common/text/chat.h"
#include "deploy/ctl/ctl.h"
#include "deploy/ctl/model.h"

static agrl_rc encode(const ctl_model *m, const agrl_chat *chat, const ctl_chat_options *o, int32_t **ids, size_t *n, agrl_error *err) {
  agrl_chat_message talk[2];
  size_t k = 0;
  if (o->system) talk[k++] = (agrl_chat_message){"system", o->system, strlen(o->system)};
  talk[k++] = (agrl_chat_message){"user", o->prompt, strlen(o->prompt)};
  agrl_rc rc = agrl_chat_encode(chat, m->bpe, talk, k, true, NULL, 0, n, err);
  if (rc) return rc;
  *ids = agrl_xcalloc(*n, sizeof **ids);
  return agrl_chat_encode(chat, m->bpe, talk, k, true, *ids, *n, n, err);
}

// Largest logit; the model's rows past the tokenizer's ids are not tokens.
static int32_t greedy(const float *logits, size_t n) {
  size_t best = 0;
  for (size_t i = 1; i < n; i++)
    if (logits[i] > logits[best]) best = i;
  return (int32_t)best;
}

static size_t answer(const ctl_model *m, const agrl_weights *w, agrl_decoder *d, const int32_t *ids, size_t n, int32_t end_turn, size_t max_new) {
  float *logits = agrl_xcalloc((size_t)m->layout->spec.vocab, sizeof *logits);
  agrl_prefix *prefix = agrl_decoder_prefill(d, w, ids, n, logits);
  agrl_seq *seq = agrl_seq_open(d, prefix);
  agrl_prefix_unref(d, prefix);
  agrl_buf text = {0};
  size_t done = 0;
  while (done < max_new) {
    const int32_t id = greedy(logits, agrl_bpe_vocab(m->bpe));
    if (id == end_turn || agrl_spec_stops(&m->layout->spec, id)) break;
    agrl_bpe_decode(m->bpe, &id, 1, true, &text);
    if (text.len) fwrite(text.data, 1, text.len, stdout);
    fflush(stdout);
    agrl_buf_clear(&text);
    if (++done < max_new) agrl_decoder_step(d, w, &seq, &id, 1, logits);
  }
  putchar('\n');
  agrl_buf_release(&text);
  agrl_seq_close(d, seq);
  free(logits);
  return done;
}

static size_t most_new(const agrl_spec *s, const ctl_chat_options *o, size_t prompt) {
  const size_t left = (size_t)s->context > prompt ? (size_t)s->context - prompt : 1;  // the decoder refuses a prompt that fills it
  return o->max_new ? o->max_new : left < 256 ? left : 256;
}

static agrl_rc chat_with(const ctl_model *m, const agrl_chat *chat, const ctl_chat_options *o, agrl_error *err) {
  int32_t *ids = NULL;
  size_t n = 0, done;
  agrl_decoder *d = NULL;
  agrl_rc rc = encode(m, chat, o, &ids, &n, err);
  if (rc) return rc;
  agrl_pool *pool = agrl_pool_new(o->threads);
  agrl_weights *w = agrl_weights_from_f32(m->layout, m->block, m->version);
  agrl_weights_pack(w, NULL);
  const size_t max_new = most_new(&m->layout->spec, o, n);
  rc = agrl_decoder_new(m->layout, pool, 1, n, max_new, &d, err);
  if (!rc) {
    const uint64_t start_ns = agrl_mono_ns();
    done = answer(m, w, d, ids, n, agrl_bpe_special(m->bpe, agrl_chat_end(chat)), max_new);
    if (isatty(2)) fprintf(stderr, "(%zu tokens asked, %zu answered, %.1f s)\n", n, done, agrl_since_s(start_ns));
  }
  agrl_decoder_free(d);
  agrl_weights_unref(w);
  agrl_pool_free(pool);
  free(ids);
  return rc;
}

int ctl_model_chat(const char *path, const ctl_chat_options *o) {
  ctl_model m;
  agrl_chat chat = {0};
  agrl_error err = {0};
  agrl_rc rc = ctl_model_open(path, &m, &err);
  if (!rc && !m.chat_template.len) rc = agrl_fail(&err, AGRL_EUNSUPPORTED, "%s: has no chat template: it was not taught to talk", path);
  if (!rc) rc = agrl_chat_recognise(m.chat_template.data, m.chat_template.len, path, &chat, &err);
  if (!rc) rc = chat_with(&m, &chat, o, &err);
  agrl_chat_release(&chat);
  ctl_model_release(&m);
  return rc ? ctl_fail(&err) : 0;
}
