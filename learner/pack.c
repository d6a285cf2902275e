// SPDX-License-Identifier: Apache-2.0
// Packing without padding. A sequence p_0..p_{n-1} c_0..c_{m-1} is fed without its last token (n + m - 1 positions);
// position n - 1 + j predicts c_j. Prompt positions have target -1, so the LM head is not computed there. Shared, the prompt
// p_0..p_{n-2} is fed once, and p_{n-1} c_0..c_{m-2} for each completion (see agrl_batch).
#include <stdlib.h>
#include <string.h>

#include "common/base/bug.h"
#include "common/base/mem.h"
#include "learner/learner.h"

void learner_pack_init(learner_pack *p, size_t cap_tokens) {
  memset(p, 0, sizeof *p);
  p->cap = cap_tokens;
  p->prompt = -1;
  p->start = agrl_xcalloc(cap_tokens + 1, sizeof *p->start);  // a sequence takes at least one token
  p->parent = agrl_xcalloc(cap_tokens, sizeof *p->parent);
  p->first = agrl_xcalloc(cap_tokens, sizeof *p->first);
  p->tokens = agrl_xcalloc(cap_tokens, sizeof *p->tokens);
  p->target = agrl_xcalloc(cap_tokens, sizeof *p->target);
  p->logp = agrl_xcalloc(cap_tokens, sizeof *p->logp);
  p->ref = agrl_xcalloc(cap_tokens, sizeof *p->ref);
  p->entropy = agrl_xcalloc(cap_tokens, sizeof *p->entropy);
  p->dlogp = agrl_xcalloc(cap_tokens, sizeof *p->dlogp);
}

void learner_pack_release(learner_pack *p) {
  void *all[] = {p->start, p->parent, p->first, p->tokens, p->target, p->logp, p->ref, p->entropy, p->dlogp};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
  memset(p, 0, sizeof *p);
}

void learner_pack_clear(learner_pack *p) {
  p->n_tokens = p->n_segs = p->n_seqs = 0;
  p->prompt = -1;
}

size_t learner_seq_fed(const learner_seq *s) { return s->n_prompt + s->n_tokens - 1; }

// What was fed since the last one becomes a sequence of the batch.
static void put(learner_pack *p, int32_t parent) {
  p->parent[p->n_segs++] = parent;
  p->start[p->n_segs] = p->n_tokens;
}

static void feed(learner_pack *p, const int32_t *tokens, size_t n, const int32_t *target) {
  memcpy(p->tokens + p->n_tokens, tokens, n * sizeof *tokens);
  for (size_t i = 0; i < n; i++) p->target[p->n_tokens + i] = target != NULL ? target[i] : -1;
  p->n_tokens += n;
}

// The prompt's last token and all but the last of the completion: position by position, what predicts the completion.
static void feed_completion(learner_pack *p, const learner_seq *s) {
  p->first[p->n_seqs++] = p->n_tokens;
  feed(p, s->prompt + s->n_prompt - 1, 1, s->tokens);
  feed(p, s->tokens, s->n_tokens - 1, s->tokens + 1);
}

bool learner_pack_add(learner_pack *p, const learner_seq *s) {
  AGRL_ASSERT(s->n_prompt >= 1 && s->n_tokens >= 1);
  if (learner_seq_fed(s) > p->cap - p->n_tokens) return false;
  feed(p, s->prompt, s->n_prompt - 1, NULL);
  feed_completion(p, s);
  put(p, -1);
  p->prompt = -1;
  return true;
}

// Whether the prompt packed last is this one's.
static bool same_prompt(const learner_pack *p, const learner_seq *s) {
  if (p->prompt < 0) return false;
  const size_t at = p->start[p->prompt], n = p->start[p->prompt + 1] - at;
  return n == s->n_prompt - 1 && memcmp(p->tokens + at, s->prompt, n * sizeof *s->prompt) == 0;
}

bool learner_pack_share(learner_pack *p, const learner_seq *s) {
  AGRL_ASSERT(s->n_prompt >= 1 && s->n_tokens >= 1);
  if (s->n_prompt == 1) return learner_pack_add(p, s);  // nothing to share
  const bool same = same_prompt(p, s);
  if ((same ? s->n_tokens : learner_seq_fed(s)) > p->cap - p->n_tokens) return false;
  if (!same) {
    feed(p, s->prompt, s->n_prompt - 1, NULL);
    p->prompt = (int32_t)p->n_segs;
    put(p, -1);
  }
  feed_completion(p, s);
  put(p, p->prompt);
  return true;
}

agrl_batch learner_pack_batch(const learner_pack *p) {
  return (agrl_batch){.n_seqs = p->n_segs, .start = p->start, .tokens = p->tokens, .target = p->target, .parent = p->parent};
}
