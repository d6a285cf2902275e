// SPDX-License-Identifier: Apache-2.0
// Public row-wise functions (norms, rotary embedding, log-softmax pieces): split over the pool, then the kernels in use.
#include <math.h>

#include "common/tensor/kernels.h"

// Rows per job at least, so that a job has about 8K elements.
static size_t rows_min(size_t D) { return D >= 8192 ? 1 : 8192 / (D ? D : 1); }

typedef struct norm_job {
  float *y, *rstd_out, *dx, *dw;
  const float *dy, *x, *w, *rstd;
  size_t M, D;
  float eps;
} norm_job;

static void norm_range(void *arg, size_t lo, size_t hi) {
  const norm_job *j = arg;
  agrl_kernels_use->rmsnorm(j->y + lo * j->D, j->rstd_out ? j->rstd_out + lo : NULL, j->x + lo * j->D, j->w, hi - lo,
                            j->D, j->eps);
}

void agrl_rmsnorm(agrl_pool *pool, float *y, float *rstd, const float *x, const float *w, size_t M, size_t D,
                  float eps) {
  norm_job j = {.y = y, .rstd_out = rstd, .x = x, .w = w, .D = D, .eps = eps};
  agrl_parallel_range(pool, M, 1, rows_min(D), norm_range, &j);
}

static void norm_dx_range(void *arg, size_t lo, size_t hi) {
  const norm_job *j = arg;
  size_t at = lo * j->D;
  agrl_kernels_use->rmsnorm_dx(j->dx + at, j->dy + at, j->x + at, j->w, j->rstd + lo, hi - lo, j->D);
}

static void norm_dw_range(void *arg, size_t lo, size_t hi) {
  const norm_job *j = arg;
  agrl_kernels_use->rmsnorm_dw(j->dw, j->dy, j->x, j->rstd, j->M, j->D, lo, hi);
}

void agrl_rmsnorm_bwd(agrl_pool *pool, float *dx, float *dw, const float *dy, const float *x, const float *w,
                      const float *rstd, size_t M, size_t D) {
  norm_job j = {.dx = dx, .dw = dw, .dy = dy, .x = x, .w = w, .rstd = rstd, .M = M, .D = D};
  agrl_parallel_range(pool, M, 1, rows_min(D), norm_dx_range, &j);
  if (dw != NULL) agrl_parallel_range(pool, D, 64, rows_min(M) < 64 ? 64 : rows_min(M), norm_dw_range, &j);
}

double agrl_rope_frequency(double frequency, const agrl_rope_scaling *s) {
  if (s == NULL || s->factor == 0.0f) return frequency;
  const double turns = (double)s->original_context * frequency / (2.0 * M_PI), low = (double)s->low_freq_factor;
  double keep = (turns - low) / ((double)s->high_freq_factor - low);
  keep = keep < 0.0 ? 0.0 : keep > 1.0 ? 1.0 : keep;
  return frequency * (keep + (1.0 - keep) / (double)s->factor);
}

void agrl_rope_table(float *cos_sin, size_t context, size_t head_dim, double theta, const agrl_rope_scaling *scaling) {
  size_t half = head_dim / 2;
  for (size_t p = 0; p < context; p++) {
    for (size_t i = 0; i < half; i++) {
      double angle = (double)p * agrl_rope_frequency(pow(theta, -2.0 * (double)i / (double)head_dim), scaling);
      cos_sin[p * head_dim + i] = (float)cos(angle);
      cos_sin[p * head_dim + half + i] = (float)sin(angle);
    }
  }
}

typedef struct rope_job {
  float *x;
  const int32_t *pos;
  const float *cos_sin;
  size_t n_heads, head_dim;
  int dir;
} rope_job;

static void rope_range(void *arg, size_t lo, size_t hi) {
  const rope_job *j = arg;
  agrl_kernels_use->rope(j->x + lo * j->n_heads * j->head_dim, j->pos + lo, j->cos_sin, hi - lo, j->n_heads,
                         j->head_dim, j->dir);
}

void agrl_rope(agrl_pool *pool, float *x, const int32_t *pos, const float *cos_sin, size_t M, size_t n_heads,
               size_t head_dim, int dir) {
  rope_job j = {x, pos, cos_sin, n_heads, head_dim, dir};
  agrl_parallel_range(pool, M, 1, rows_min(n_heads * head_dim), rope_range, &j);
}

typedef struct softmax_job {
  float *out, *grad;
  const float *logits, *lse, *dlogp;
  const int32_t *target;
  size_t V;
} softmax_job;

static void lse_range(void *arg, size_t lo, size_t hi) {
  const softmax_job *j = arg;
  agrl_kernels_use->logsumexp(j->out + lo, j->logits + lo * j->V, hi - lo, j->V);
}

void agrl_logsumexp(agrl_pool *pool, float *lse, const float *logits, size_t M, size_t V) {
  agrl_parallel_range(pool, M, 1, rows_min(V), lse_range, &(softmax_job){.out = lse, .logits = logits, .V = V});
}

float agrl_softmax_blocks(float *sums, float *top, const float *logits, size_t V, float inv) {
  return agrl_kernels_use->softmax_blocks(sums, top, logits, V, inv);
}

static void logp_bwd_range(void *arg, size_t lo, size_t hi) {
  const softmax_job *j = arg;
  agrl_kernels_use->logp_bwd(j->grad + lo * j->V, j->lse + lo, j->target + lo, j->dlogp + lo, hi - lo, j->V);
}

void agrl_logp_bwd(agrl_pool *pool, float *logits, const float *lse, const int32_t *target, const float *dlogp,
                   size_t M, size_t V) {
  softmax_job j = {.grad = logits, .lse = lse, .target = target, .dlogp = dlogp, .V = V};
  agrl_parallel_range(pool, M, 1, rows_min(V), logp_bwd_range, &j);
}

static void entropy_range(void *arg, size_t lo, size_t hi) {
  const softmax_job *j = arg;
  agrl_kernels_use->entropy(j->out + lo, j->logits + lo * j->V, j->lse + lo, hi - lo, j->V);
}

void agrl_entropy(agrl_pool *pool, float *entropy, const float *logits, const float *lse, size_t M, size_t V) {
  agrl_parallel_range(pool, M, 1, rows_min(V), entropy_range,
                      &(softmax_job){.out = entropy, .logits = logits, .lse = lse, .V = V});
}
