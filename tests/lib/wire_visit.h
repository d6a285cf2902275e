// SPDX-License-Identifier: Apache-2.0
// One walk over every field of every message kind, for tests: with a generator it fills a message with random contents
// (in an arena), without one it appends the contents to a text, so that two messages can be compared field by field.
#ifndef AGRL_TESTS_LIB_WIRE_VISIT_H
#define AGRL_TESTS_LIB_WIRE_VISIT_H

#include <inttypes.h>
#include <string.h>

#include "common/base/rng.h"
#include "common/wire/msg.h"

typedef struct visit {
  agrl_rng *rng;  // NULL: write to out
  agrl_arena *arena;
  agrl_buf *out;
} visit;

static inline void visit_u64(visit *v, uint64_t *x) {
  if (v->rng) *x = agrl_rng_u64(v->rng) >> agrl_rng_below(v->rng, 64);
  else agrl_buf_addf(v->out, "%" PRIu64 " ", *x);
}
static inline void visit_u32(visit *v, uint32_t *x, uint32_t below) {
  if (v->rng) *x = below ? agrl_rng_below(v->rng, below) : agrl_rng_u32(v->rng);
  else agrl_buf_addf(v->out, "%" PRIu32 " ", *x);
}
static inline void visit_bool(visit *v, bool *x) {
  if (v->rng) *x = agrl_rng_below(v->rng, 2) == 1;
  else agrl_buf_addf(v->out, "%d ", *x);
}
static inline void visit_f64(visit *v, double *x, bool missing) {
  if (v->rng) *x = missing ? 0 : agrl_rng_normal(v->rng);
  else agrl_buf_addf(v->out, "%a ", *x);
}
static inline void visit_str(visit *v, const char **s) {
  static const char *const pieces[] = {"a", "Z", " ", "\n", "\"", "\xC3\xA9", "\xE6\xBC\xA2", "\xF0\x9F\x98\x80", "\x7F"};
  if (!v->rng) {
    agrl_buf_addf(v->out, "<%s> ", *s);
    return;
  }
  agrl_buf b = {0};
  for (uint32_t n = agrl_rng_below(v->rng, 12); n > 0; n--) agrl_buf_adds(&b, pieces[agrl_rng_below(v->rng, 9)]);
  *s = agrl_arena_strndup(v->arena, b.data ? b.data : "", b.len);
  agrl_buf_release(&b);
}
static inline void visit_count(visit *v, size_t *n, uint32_t below) {
  if (v->rng) *n = agrl_rng_below(v->rng, below);
  else agrl_buf_addf(v->out, "[%zu] ", *n);
}
// A mutable view of a const array: fresh memory when filling, the array itself when writing.
#define VISIT_ITEMS(v, type, field, n) \
  type *field##_items = (v)->rng ? agrl_arena_alloc((v)->arena, ((n) + 1) * sizeof(type)) : (type *)(field)

static inline const void *visit_raw(visit *v, const void *p, size_t n, size_t size, bool tokens) {
  uint8_t *b = v->rng ? agrl_arena_alloc(v->arena, n * size + 1) : (uint8_t *)p;
  for (size_t i = 0; i < n; i++)
    for (size_t k = 0; k < size; k++) {  // the sign bit of a token stays 0, as does that of small floats
      if (v->rng) b[i * size + k] = (uint8_t)agrl_rng_below(v->rng, tokens && k == size - 1 ? 0x40 : 256);
      else agrl_buf_addf(v->out, "%02x", b[i * size + k]);
    }
  return b;
}

static inline void visit_id(visit *v, agrl_trace_id *id) {
  visit_u64(v, &id->run), visit_u64(v, &id->group), visit_u32(v, &id->member, 0), visit_u32(v, &id->attempt, 0);
}
static inline void visit_labels(visit *v, agrl_labels *l) {
  visit_u32(v, &l->tier, 0), visit_str(v, &l->category), visit_str(v, &l->attribute);
}
static inline void visit_trace(visit *v, agrl_msg_trace *t) {
  visit_id(v, &t->id), visit_str(v, &t->actor), visit_str(v, &t->prompt_id), visit_u32(v, &t->level, 9), visit_labels(v, &t->gold);
  visit_str(v, &t->text), visit_u32(v, &t->stop, 3), visit_u64(v, &t->created_ms), visit_u32(v, &t->generation_ms, 0);
  visit_count(v, &t->n_prompt, 20), visit_count(v, &t->n_tokens, 40);
  t->prompt = visit_raw(v, t->prompt, t->n_prompt, 4, true);
  t->tokens = visit_raw(v, t->tokens, t->n_tokens, 4, true);
  t->logprobs = visit_raw(v, t->logprobs, t->n_tokens, 4, true);
  const uint64_t *versions = t->versions;
  VISIT_ITEMS(v, uint64_t, versions, t->n_tokens);
  for (size_t i = 0; i < t->n_tokens; i++) {
    if (v->rng && i > 0 && agrl_rng_below(v->rng, 4)) versions_items[i] = versions_items[i - 1];
    else visit_u64(v, &versions_items[i]);
    if (!v->rng) agrl_buf_addc(v->out, ',');
  }
  t->versions = versions_items;
}
static inline void visit_scored(visit *v, agrl_msg_scored *s) {
  visit_trace(v, &s->trace), visit_bool(v, &s->missing), visit_f64(v, &s->reward, s->missing), visit_bool(v, &s->g_format);
  visit_bool(v, &s->g_rule), visit_bool(v, &s->accurate), visit_u32(v, &s->tier, 0), visit_str(v, &s->rules_hash);
  visit_u32(v, &s->attempt, 0), visit_count(v, &s->n_scores, 5);
  const agrl_score *scores = s->scores;
  VISIT_ITEMS(v, agrl_score, scores, s->n_scores);
  for (size_t i = 0; i < s->n_scores; i++) {
    agrl_score *c = &scores_items[i];
    visit_str(v, &c->criterion), visit_bool(v, &c->missing), visit_f64(v, &c->value, c->missing), visit_f64(v, &c->weight, false);
    visit_str(v, &c->cause), visit_u32(v, &c->latency_us, 0);
  }
  s->scores = scores_items;
}
static inline void visit_u64s(visit *v, size_t *n, const uint64_t **list) {
  visit_count(v, n, 8);
  *list = visit_raw(v, *list, *n, 8, false);
}

void visit_msg(visit *v, agrl_msg *m);  // wire_visit.inc, which a test includes once

#endif
