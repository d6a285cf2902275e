// SPDX-License-Identifier: Apache-2.0
// Written from the published description of the models (RMSNorm, rotary embedding on half-split heads, grouped-query
// attention, SwiGLU), as plainly as it can be.
#include "tests/lib/ref_llama.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct model {
  const agrl_layout *l;
  const double *params;
  bool bf16;
} model;

static const double *tensor(const model *m, int layer, const char *name) {
  char full[128];
  if (layer < 0) snprintf(full, sizeof full, "%s", name);
  else snprintf(full, sizeof full, "model.layers.%d.%s", layer, name);
  int i = agrl_layout_find(m->l, full);
  return i < 0 ? NULL : m->params + m->l->tensors[i].offset;
}

static double *zeros(size_t n) { return calloc(n > 0 ? n : 1, sizeof(double)); }

static void normalize(double *y, const double *x, const double *w, int n, double eps) {
  double mean = 0;
  for (int i = 0; i < n; i++) mean += x[i] * x[i] / n;
  for (int i = 0; i < n; i++) y[i] = x[i] / sqrt(mean + eps) * w[i];
}

// To nearest, ties to even, 8 significant bits.
static double to_bf16(double x) {
  int e;
  const double m = frexp(x, &e);
  return ldexp(nearbyint(ldexp(m, 8)), e - 8);
}

static void apply(const model *md, double *y, const double *w, const double *bias, const double *x, int out, int in) {
  double *in_x = malloc((size_t)in * sizeof *in_x);
  for (int i = 0; i < in; i++) in_x[i] = md->bf16 ? to_bf16(x[i]) : x[i];
  for (int o = 0; o < out; o++) {
    y[o] = bias != NULL ? bias[o] : 0;
    for (int i = 0; i < in; i++) y[o] += w[o * in + i] * in_x[i];
  }
  free(in_x);
}

static void rotate(double *x, int dim, size_t position, double theta) {
  for (int i = 0; i < dim / 2; i++) {
    const double angle = (double)position / pow(theta, 2.0 * i / dim);
    const double a = x[i], b = x[i + dim / 2];
    x[i] = a * cos(angle) - b * sin(angle);
    x[i + dim / 2] = b * cos(angle) + a * sin(angle);
  }
}

static void heads(const model *m, int layer, const char *which, double *y, const double *x, int count, size_t position,
                  int rotary) {
  const agrl_spec *s = &m->l->spec;
  char name[64];
  snprintf(name, sizeof name, "self_attn.%s_proj.weight", which);
  const double *w = tensor(m, layer, name);
  snprintf(name, sizeof name, "self_attn.%s_proj.bias", which);
  const double *bias = tensor(m, layer, name);
  snprintf(name, sizeof name, "self_attn.%s_norm.weight", which);
  const double *norm = tensor(m, layer, name);
  apply(m, y, w, bias, x, count * s->head_dim, s->hidden);
  for (int h = 0; h < count; h++) {
    double *head = y + h * s->head_dim;
    if (norm != NULL) normalize(head, head, norm, s->head_dim, (double)s->norm_eps);
    if (rotary) rotate(head, s->head_dim, position, (double)s->rope_theta);
  }
}

// One position's attention over keys and values (position + 1, KV, D).
static void attend(const agrl_spec *s, double *out, const double *q, const double *keys, const double *values, size_t position) {
  const int D = s->head_dim, group = s->n_heads / s->n_kv_heads, row = s->n_kv_heads * D;
  double *p = zeros(position + 1);
  for (int h = 0; h < s->n_heads; h++) {
    double sum = 0;
    for (size_t t = 0; t <= position; t++) {
      const double *k = keys + t * (size_t)row + (h / group) * D;
      double dot = 0;
      for (int i = 0; i < D; i++) dot += q[h * D + i] * k[i];
      sum += p[t] = exp(dot / sqrt(D));
    }
    for (int i = 0; i < D; i++) {
      out[h * D + i] = 0;
      for (size_t t = 0; t <= position; t++) out[h * D + i] += p[t] / sum * values[t * (size_t)row + (h / group) * D + i];
    }
  }
  free(p);
}

static void feed_forward(const model *m, int layer, double *y, const double *x) {
  const agrl_spec *s = &m->l->spec;
  double *gate = zeros((size_t)s->ffn), *up = zeros((size_t)s->ffn);
  apply(m, gate, tensor(m, layer, "mlp.gate_proj.weight"), NULL, x, s->ffn, s->hidden);
  apply(m, up, tensor(m, layer, "mlp.up_proj.weight"), NULL, x, s->ffn, s->hidden);
  for (int i = 0; i < s->ffn; i++) gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i];
  apply(m, y, tensor(m, layer, "mlp.down_proj.weight"), NULL, gate, s->hidden, s->ffn);
  free(gate);
  free(up);
}

static void run_layer(const model *m, int layer, double *x, size_t n) {
  const agrl_spec *s = &m->l->spec;
  const size_t C = (size_t)s->hidden, Q = (size_t)(s->n_heads * s->head_dim), K = (size_t)(s->n_kv_heads * s->head_dim);
  double *h = zeros(C), *q = zeros(Q), *o = zeros(Q), *keys = zeros(n * K), *values = zeros(n * K), *y = zeros(C);
  for (size_t t = 0; t < n; t++) {
    double *row = x + t * C;
    normalize(h, row, tensor(m, layer, "input_layernorm.weight"), s->hidden, (double)s->norm_eps);
    heads(m, layer, "q", q, h, s->n_heads, t, 1);
    heads(m, layer, "k", keys + t * K, h, s->n_kv_heads, t, 1);
    heads(m, layer, "v", values + t * K, h, s->n_kv_heads, t, 0);
    attend(s, o, q, keys, values, t);
    apply(m, y, tensor(m, layer, "self_attn.o_proj.weight"), NULL, o, s->hidden, (int)Q);
    for (size_t i = 0; i < C; i++) row[i] += y[i];
    normalize(h, row, tensor(m, layer, "post_attention_layernorm.weight"), s->hidden, (double)s->norm_eps);
    feed_forward(m, layer, y, h);
    for (size_t i = 0; i < C; i++) row[i] += y[i];
  }
  free(h);
  free(q);
  free(o);
  free(keys);
  free(values);
  free(y);
}

void ref_llama_logits(const agrl_layout *l, const double *params, bool bf16, const int32_t *tokens, size_t n, double *logits) {
  const model m = {l, params, bf16};
  const agrl_spec *s = &l->spec;
  const size_t C = (size_t)s->hidden;
  const double *embed = tensor(&m, -1, "model.embed_tokens.weight");
  const double *head = s->tied ? embed : tensor(&m, -1, "lm_head.weight");
  double *x = zeros(n * C), *h = zeros(C);
  for (size_t t = 0; t < n; t++) memcpy(x + t * C, embed + (size_t)tokens[t] * C, C * sizeof *x);
  for (int i = 0; i < s->n_layers; i++) run_layer(&m, i, x, n);
  for (size_t t = 0; t < n; t++) {
    normalize(h, x + t * C, tensor(&m, -1, "model.norm.weight"), s->hidden, (double)s->norm_eps);
    apply(&m, logits + t * (size_t)s->vocab, head, NULL, h, s->vocab, s->hidden);
  }
  free(x);
  free(h);
}

static double log_sum(const double *row, size_t vocab) {
  double max = row[0], sum = 0;
  for (size_t i = 1; i < vocab; i++) max = row[i] > max ? row[i] : max;
  for (size_t i = 0; i < vocab; i++) sum += exp(row[i] - max);
  return max + log(sum);
}

double ref_llama_logp(const double *row, size_t vocab, size_t target) { return row[target] - log_sum(row, vocab); }

double ref_llama_entropy(const double *row, size_t vocab) {
  const double lse = log_sum(row, vocab);
  double e = 0;
  for (size_t i = 0; i < vocab; i++) e -= exp(row[i] - lse) * (row[i] - lse);
  return e;
}
