// SPDX-License-Identifier: Apache-2.0
// The LM head of training, on the positions that have a target only, a chunk of rows at a time: no (T,V) array exists.
// Forward keeps the log-sum-exp of each row; backward computes the chunk's logits again and turns them into their gradient.
// Where the loss's gradient is known beforehand, train_head_both does that at once.
#include <string.h>

#include "common/model/train_int.h"

void train_head_select(agrl_trainer *t, const agrl_batch *b) {
  const size_t T = b->start[b->n_seqs];
  t->n_sel = 0;
  for (size_t i = 0; i < T; i++) {
    if (b->target[i] < 0) continue;
    t->sel[t->n_sel] = i;
    t->sel_target[t->n_sel++] = b->target[i];
  }
}

static size_t chunk_at(const agrl_trainer *t, size_t at) { return t->n_sel - at < t->chunk ? t->n_sel - at : t->chunk; }

static void chunk_logits(agrl_trainer *t, const agrl_params *params, size_t at, size_t rows) {
  train_linear(t, params, &(train_out){t->logits, t->layout->head, -1, NULL}, 1, t->hn + at * t->C, rows);
}

static void gather(agrl_trainer *t, const agrl_params *params) {
  for (size_t i = 0; i < t->n_sel; i++) memcpy(t->hx + i * t->C, t->x_out + t->sel[i] * t->C, t->C * sizeof(float));
  agrl_rmsnorm(t->pool, t->hn, t->h_rstd, t->hx, train_vector(t, params, t->layout->final_norm), t->n_sel, t->C,
               t->layout->spec.norm_eps);
}

// From the chunk's logits to its log-probs.
static void chunk_logp(agrl_trainer *t, size_t at, size_t rows, float *logp) {
  agrl_logsumexp(t->pool, t->h_lse + at, t->logits, rows, t->V);
  for (size_t r = 0; r < rows; r++)
    logp[t->sel[at + r]] = t->logits[r * t->V + (size_t)t->sel_target[at + r]] - t->h_lse[at + r];
}

// From the chunk's logits to their gradient, in place, to the head's and that of its input.
static void chunk_grad(agrl_trainer *t, const agrl_params *params, size_t at, size_t rows, float *grads) {
  const agrl_layout *l = t->layout;
  agrl_logp_bwd(t->pool, t->logits, t->h_lse + at, t->sel_target + at, t->h_dlogp + at, rows, t->V);
  train_linear_bwd(t, params, grads, t->dh + at * t->C, &(train_in){t->logits, l->head}, 1, t->hn + at * t->C, rows);
}

static void gather_dlogp(agrl_trainer *t, const float *dlogp) {
  for (size_t i = 0; i < t->n_sel; i++) t->h_dlogp[i] = dlogp[t->sel[i]];
}

// Through the final norm, back to the positions that the rows came from.
static void scatter(agrl_trainer *t, const agrl_params *params, size_t T, float *grads) {
  const agrl_layout *l = t->layout;
  memset(t->dx, 0, T * t->C * sizeof(float));
  memset(t->dhx, 0, t->n_sel * t->C * sizeof(float));
  agrl_rmsnorm_bwd(t->pool, t->dhx, train_grad(t, grads, l->final_norm), t->dh, t->hx, train_vector(t, params, l->final_norm),
                   t->h_rstd, t->n_sel, t->C);
  for (size_t i = 0; i < t->n_sel; i++) memcpy(t->dx + t->sel[i] * t->C, t->dhx + i * t->C, t->C * sizeof(float));
}

void train_head_forward(agrl_trainer *t, const agrl_params *params, size_t T, float *logp, float *entropy) {
  memset(logp, 0, T * sizeof *logp);
  if (entropy != NULL) memset(entropy, 0, T * sizeof *entropy);
  if (t->n_sel == 0) return;
  gather(t, params);
  for (size_t at = 0, rows; at < t->n_sel; at += rows) {
    rows = chunk_at(t, at);
    chunk_logits(t, params, at, rows);
    chunk_logp(t, at, rows, logp);
    if (entropy == NULL) continue;
    agrl_entropy(t->pool, t->h_ent + at, t->logits, t->h_lse + at, rows, t->V);
    for (size_t r = 0; r < rows; r++) entropy[t->sel[at + r]] = t->h_ent[at + r];
  }
}

// Fills dx(T,C) with the gradient at the last layer's output; adds to the head's and the final norm's gradients.
void train_head_backward(agrl_trainer *t, const agrl_params *params, size_t T, const float *dlogp, float *grads) {
  gather_dlogp(t, dlogp);
  for (size_t at = 0, rows; at < t->n_sel; at += rows) {
    rows = chunk_at(t, at);
    chunk_logits(t, params, at, rows);
    chunk_grad(t, params, at, rows, grads);
  }
  scatter(t, params, T, grads);
}

void train_head_both(agrl_trainer *t, const agrl_params *params, size_t T, const float *dlogp, float *logp, float *grads) {
  memset(logp, 0, T * sizeof *logp);
  gather(t, params);
  gather_dlogp(t, dlogp);
  for (size_t at = 0, rows; at < t->n_sel; at += rows) {
    rows = chunk_at(t, at);
    chunk_logits(t, params, at, rows);
    chunk_logp(t, at, rows, logp);
    chunk_grad(t, params, at, rows, grads);
  }
  scatter(t, params, T, grads);
}
