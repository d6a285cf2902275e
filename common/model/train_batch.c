// SPDX-License-Identifier: Apache-2.0
// What a batch must be before anything is computed from it, and the positions of its tokens.
#include "common/model/train_int.h"

static int32_t parent_of(const agrl_batch *b, size_t s) { return b->parent != NULL ? b->parent[s] : -1; }

// Tokens of the sequence that s continues.
static size_t above(const agrl_batch *b, size_t s) {
  const int32_t up = parent_of(b, s);
  return up >= 0 ? b->start[up + 1] - b->start[up] : 0;
}

static agrl_rc check_parent(const agrl_batch *b, size_t s, agrl_error *err) {
  const int32_t up = parent_of(b, s), before = s > 0 ? parent_of(b, s - 1) : -1;
  const int32_t nearest = s == 0 || before >= 0 ? before : (int32_t)s - 1;  // without a parent, before s
  if (up < 0 || up == nearest) return AGRL_OK;
  return agrl_fail(err, AGRL_EINVAL, "batch: sequence %zu continues %d; it can only continue %d, the last before it that continues none",
                   s, up, nearest);
}

agrl_rc train_check_batch(const agrl_trainer *t, const agrl_batch *b, agrl_error *err) {
  const size_t context = (size_t)t->layout->spec.context;
  if (b->start[0] != 0) return agrl_fail(err, AGRL_EINVAL, "batch: the first sequence starts at %zu, not 0", b->start[0]);
  for (size_t s = 0; s < b->n_seqs; s++) {
    if (b->start[s + 1] < b->start[s]) return agrl_fail(err, AGRL_EINVAL, "batch: sequence %zu ends before it starts", s);
    agrl_rc rc = check_parent(b, s, err);
    if (rc != AGRL_OK) return rc;
    const size_t len = above(b, s) + b->start[s + 1] - b->start[s];
    if (len > context)
      return agrl_fail(err, AGRL_ELIMIT, "batch: sequence %zu has %zu tokens, the model's context is %zu", s, len, context);
  }
  const size_t T = b->start[b->n_seqs];
  if (T > t->max_tokens) return agrl_fail(err, AGRL_ELIMIT, "batch: %zu tokens, the trainer holds %zu", T, t->max_tokens);
  for (size_t i = 0; i < T; i++) {
    if (b->tokens[i] < 0 || (size_t)b->tokens[i] >= t->V)
      return agrl_fail(err, AGRL_EINVAL, "batch: token %d at %zu, the vocabulary has %zu", b->tokens[i], i, t->V);
    if (b->target[i] < -1 || (b->target[i] >= 0 && (size_t)b->target[i] >= t->V))
      return agrl_fail(err, AGRL_EINVAL, "batch: target %d at %zu, the vocabulary has %zu", b->target[i], i, t->V);
  }
  return AGRL_OK;
}

void train_positions(agrl_trainer *t, const agrl_batch *b) {
  for (size_t s = 0; s < b->n_seqs; s++)
    for (size_t i = b->start[s]; i < b->start[s + 1]; i++) t->pos[i] = (int32_t)(above(b, s) + i - b->start[s]);
}
