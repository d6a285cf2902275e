// SPDX-License-Identifier: Apache-2.0
// Packing without padding. A sequence p_0..p_{n-1} c_0..c_{m-1} is fed without its last token (n + m - 1 positions);
// position n - 1 + j predicts c_j. Prompt positions have target -1, so the LM head is not computed there.
#include <stdlib.h>
#include <string.h>

#include "common/base/bug.h"
#include "common/base/mem.h"
#include "learner/learner.h"

void learner_pack_init(learner_pack *p, size_t cap_tokens) {
  memset(p, 0, sizeof *p);
  p->cap = cap_tokens;
  p->start = agrl_xcalloc(cap_tokens + 1, sizeof *p->start);  // a sequence takes at least one token
  p->first = agrl_xcalloc(cap_tokens, sizeof *p->first);
  p->tokens = agrl_xcalloc(cap_tokens, sizeof *p->tokens);
  p->target = agrl_xcalloc(cap_tokens, sizeof *p->target);
  p->logp = agrl_xcalloc(cap_tokens, sizeof *p->logp);
  p->ref = agrl_xcalloc(cap_tokens, sizeof *p->ref);
  p->entropy = agrl_xcalloc(cap_tokens, sizeof *p->entropy);
  p->dlogp = agrl_xcalloc(cap_tokens, sizeof *p->dlogp);
}

void learner_pack_release(learner_pack *p) {
  void *all[] = {p->start, p->first, p->tokens, p->target, p->logp, p->ref, p->entropy, p->dlogp};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
  memset(p, 0, sizeof *p);
}

void learner_pack_clear(learner_pack *p) {
  p->n_tokens = 0;
  p->n_seqs = 0;
}

size_t learner_seq_fed(const learner_seq *s) { return s->n_prompt + s->n_tokens - 1; }

bool learner_pack_add(learner_pack *p, const learner_seq *s) {
  AGRL_ASSERT(s->n_prompt >= 1 && s->n_tokens >= 1);
  size_t fed = learner_seq_fed(s), at = p->n_tokens;
  if (fed > p->cap - at) return false;
  memcpy(p->tokens + at, s->prompt, s->n_prompt * sizeof *p->tokens);
  memcpy(p->tokens + at + s->n_prompt, s->tokens, (s->n_tokens - 1) * sizeof *p->tokens);
  for (size_t i = 0; i + 1 < s->n_prompt; i++) p->target[at + i] = -1;
  memcpy(p->target + at + s->n_prompt - 1, s->tokens, s->n_tokens * sizeof *p->target);
  p->start[p->n_seqs] = at;
  p->first[p->n_seqs] = at + s->n_prompt - 1;
  p->n_seqs++;
  p->n_tokens = at + fed;
  p->start[p->n_seqs] = p->n_tokens;
  return true;
}

agrl_batch learner_pack_batch(const learner_pack *p) {
  return (agrl_batch){.n_seqs = p->n_seqs, .start = p->start, .tokens = p->tokens, .target = p->target};
}
