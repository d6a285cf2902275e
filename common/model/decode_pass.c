// SPDX-License-Identifier: Apache-2.0
// The two passes of inference: a prompt at once, and one token for each of many sequences. A layer reads top to bottom:
// project, store keys and values, attend, feed forward. In the prompt's last layer only the last position goes on after
// its keys and values are stored: nothing else is read from there.
#include <string.h>

#include "common/base/bug.h"
#include "common/model/decode_int.h"

static const float *bias_of(const agrl_weights *w, int index) { return index < 0 ? NULL : agrl_weights_vector(w, index); }

static void embed(agrl_decoder *d, const agrl_weights *w, const int32_t *tokens, size_t M) {
  const uint16_t *table = agrl_weights_tensor(w, d->layout->embed);
  for (size_t m = 0; m < M; m++) {
    AGRL_ASSERT(tokens[m] >= 0 && (size_t)tokens[m] < d->V);
    agrl_f32_from_bf16(d->x + m * d->C, table + (size_t)tokens[m] * d->C, d->C);
  }
}

// A product's other side: the weight and bias are indexes, add may be NULL.
static agrl_linear_out output(const agrl_decoder *d, const agrl_weights *w, float *y, int weight, int bias, const float *add) {
  return (agrl_linear_out){y, agrl_weights_packed(w, weight), bias_of(w, bias), add, d->layout->tensors[weight].rows};
}

// Rounds x(M,I) and multiplies.
static void linear(agrl_decoder *d, const agrl_linear_out *out, size_t n, const float *x, size_t M, size_t I) {
  agrl_bf16_rows(d->pool, d->x16, NULL, x, M, I);
  agrl_linear(d->pool, out, n, d->x16, M, I);
}

// Queries, keys and values of M rows of x: with query false, keys and values only; with key_value false, queries only.
static void project(agrl_decoder *d, const agrl_weights *w, const agrl_layer_index *n, const float *xn, const int32_t *pos, size_t M,
                    bool query, bool key_value) {
  agrl_linear_out out[3];
  size_t outs = 0;
  const float eps = d->layout->spec.norm_eps;
  if (query) out[outs++] = output(d, w, d->q, n->q, n->q_bias, NULL);
  if (key_value) {
    out[outs++] = output(d, w, d->k, n->k, n->k_bias, NULL);
    out[outs++] = output(d, w, d->v, n->v, n->v_bias, NULL);
  }
  linear(d, out, outs, xn, M, d->C);
  if (query) {
    if (n->q_norm >= 0) agrl_rmsnorm(d->pool, d->q, NULL, d->q, agrl_weights_vector(w, n->q_norm), M * d->H, d->D, eps);
    agrl_rope(d->pool, d->q, pos, d->rope, M, d->H, d->D, 1);
  }
  if (key_value) {
    if (n->k_norm >= 0) agrl_rmsnorm(d->pool, d->k, NULL, d->k, agrl_weights_vector(w, n->k_norm), M * d->KV, d->D, eps);
    agrl_rope(d->pool, d->k, pos, d->rope, M, d->KV, d->D, 1);
  }
}

// Output projection and feed-forward of rows [0,M) of o, added to the residual stream x.
static void finish_layer(agrl_decoder *d, const agrl_weights *w, const agrl_layer_index *n, float *x, size_t M) {
  const agrl_linear_out o = output(d, w, x, n->o, -1, x), down = output(d, w, x, n->down, -1, x);
  const agrl_linear_out wide[] = {output(d, w, d->gate, n->gate, -1, NULL), output(d, w, d->up, n->up, -1, NULL)};
  linear(d, &o, 1, d->o, M, d->H * d->D);
  agrl_rmsnorm(d->pool, d->xn, NULL, x, agrl_weights_vector(w, n->post_norm), M, d->C, d->layout->spec.norm_eps);
  linear(d, wide, 2, d->xn, M, d->C);
  agrl_swiglu(d->pool, d->act, d->gate, d->up, M, d->F);
  linear(d, &down, 1, d->act, M, d->F);
}

static void head(agrl_decoder *d, const agrl_weights *w, const float *x, float *logits, size_t M) {
  const agrl_layout *l = d->layout;
  const agrl_linear_out out = output(d, w, logits, l->head, -1, NULL);
  agrl_rmsnorm(d->pool, d->xn, NULL, x, agrl_weights_vector(w, l->final_norm), M, d->C, l->spec.norm_eps);
  linear(d, &out, 1, d->xn, M, d->C);
}

static agrl_prefix *free_prefix(agrl_decoder *d) {
  for (size_t i = 0; i < d->max_batch; i++)
    if (d->prefixes[i].refs == 0) return &d->prefixes[i];
  return NULL;
}

agrl_prefix *agrl_decoder_prefill(agrl_decoder *d, const agrl_weights *w, const int32_t *tokens, size_t n, float *logits) {
  AGRL_ASSERT(n >= 1 && n <= d->max_prompt && agrl_weights_layout(w)->n_elements == d->layout->n_elements);
  agrl_prefix *p = free_prefix(d);
  if (p == NULL) return NULL;
  embed(d, w, tokens, n);
  for (size_t i = 0; i < n; i++) d->pos[i] = (int32_t)i;
  d->offsets[0] = 0;
  d->offsets[1] = n;
  const agrl_attn_segs whole = {.n = 1, .start = d->offsets};
  float *last = d->x + (n - 1) * d->C;
  for (size_t l = 0; l < d->L; l++) {
    const agrl_layer_index *t = &d->layout->layers[l];
    agrl_rmsnorm(d->pool, d->xn, NULL, d->x, agrl_weights_vector(w, t->in_norm), n, d->C, d->layout->spec.norm_eps);
    const bool last_layer = l + 1 == d->L;
    project(d, w, t, d->xn, d->pos, n, !last_layer, true);
    const agrl_attn_cache cache = decode_prefix_cache(d, p, l);
    agrl_attn_put(&cache, 0, 0, d->k, d->v, n, d->KV, d->D);
    if (!last_layer) {
      agrl_attn(d->pool, d->o, NULL, d->q, d->k, d->v, &whole, d->H, d->KV, d->D);
      finish_layer(d, w, t, d->x, n);
    } else {
      project(d, w, t, d->xn + (n - 1) * d->C, d->pos + n - 1, 1, true, false);
      d->order[0] = (agrl_attn_seq){.own = cache, .n = n};
      const size_t n_parts = agrl_attn_plan(d->parts, d->order, 1, d->H, d->KV, agrl_pool_threads(d->pool));
      agrl_attn_decode(d->pool, d->o, d->q, d->order, d->parts, n_parts, d->H, d->KV, d->D);
      finish_layer(d, w, t, last, 1);
    }
  }
  head(d, w, last, logits, 1);
  p->len = n;
  p->refs = 1;
  return p;
}

static void step_caches(agrl_decoder *d, size_t n, size_t layer) {
  for (size_t i = 0; i < n; i++) {
    const agrl_seq *s = d->order_seq[i];
    d->order[i] = (agrl_attn_seq){.shared = decode_prefix_cache(d, s->prefix, layer), .own = decode_seq_cache(d, s, layer),
                                  .n_shared = s->prefix->len, .n = s->prefix->len + s->len + 1, .row = s->row};
  }
}

// Checks the sequences, and puts those of one prefix side by side for attention. Returns the parts of its work.
static size_t step_begin(agrl_decoder *d, agrl_seq *const *seqs, size_t n) {
  size_t placed = 0;
  d->steps++;
  for (size_t i = 0; i < n; i++) {
    agrl_seq *s = seqs[i];
    AGRL_ASSERT(s->prefix != NULL && s->len < d->max_new && s->fed != d->steps);
    s->fed = d->steps;
    d->pos[i] = (int32_t)(s->prefix->len + s->len);
    s->row = i;
  }
  for (size_t i = 0; i < n; i++) {
    agrl_prefix *p = seqs[i]->prefix;
    if (p->placed == d->steps) continue;
    p->placed = d->steps;
    for (size_t j = i; j < n; j++)
      if (seqs[j]->prefix == p) d->order_seq[placed++] = seqs[j];
  }
  step_caches(d, n, 0);
  return agrl_attn_plan(d->parts, d->order, n, d->H, d->KV, agrl_pool_threads(d->pool));
}

void agrl_decoder_step(agrl_decoder *d, const agrl_weights *w, agrl_seq *const *seqs, const int32_t *tokens, size_t n,
                       float *logits) {
  AGRL_ASSERT(n <= d->max_batch && agrl_weights_layout(w)->n_elements == d->layout->n_elements);
  if (n == 0) return;
  const size_t n_parts = step_begin(d, seqs, n);
  embed(d, w, tokens, n);
  for (size_t l = 0; l < d->L; l++) {
    const agrl_layer_index *t = &d->layout->layers[l];
    agrl_rmsnorm(d->pool, d->xn, NULL, d->x, agrl_weights_vector(w, t->in_norm), n, d->C, d->layout->spec.norm_eps);
    project(d, w, t, d->xn, d->pos, n, true, true);
    step_caches(d, n, l);
    agrl_attn_append(d->pool, d->order, n, d->k, d->v, d->KV, d->D);
    agrl_attn_decode(d->pool, d->o, d->q, d->order, d->parts, n_parts, d->H, d->KV, d->D);
    finish_layer(d, w, t, d->x, n);
  }
  for (size_t i = 0; i < n; i++) seqs[i]->len++;
  head(d, w, d->x, logits, n);
}
