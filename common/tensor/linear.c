// SPDX-License-Identifier: Apache-2.0
// Public side of the bf16 products: sizes, packing, and how work is cut over the pool. Any cut gives the same bits
// (tensor.h), so it may follow the thread count.
#include "common/base/bug.h"
#include "common/tensor/kernels.h"

// P: outputs of a panel. UNIT: of a cut by outputs. GROUP: rows of a gradient's. FEW: rows up to which reading the weights is what takes time.
enum { P = AGRL_LINEAR_PANEL, UNIT = 32, GROUP = 16, FEW = 8 };
static const size_t work_min = 1 << 17;  // multiply-adds worth a second thread: about the price of waking one

static size_t panels(size_t outputs) { return (outputs + P - 1) / P; }

size_t agrl_packed_words(size_t outputs, size_t reduction) { return panels(outputs) * P * ((reduction + 1) / 2); }

typedef struct pack_job {
  uint32_t *dst;
  uint16_t *rows;
  const uint16_t *w;
  const float *src;
  size_t O, I;
} pack_job;

static void pack_fwd_range(void *arg, size_t lo, size_t hi) {
  const pack_job *j = arg;
  agrl_kernels_use->pack_fwd(j->dst, j->w, j->O, j->I, lo, hi);
}
static void pack_bwd_range(void *arg, size_t lo, size_t hi) {
  const pack_job *j = arg;
  agrl_kernels_use->pack_bwd(j->dst, j->w, j->O, j->I, lo, hi);
}
static void round_range(void *arg, size_t lo, size_t hi) {
  const pack_job *j = arg;
  agrl_kernels_use->round_rows(j->rows, j->dst, j->src, j->O, j->I, lo, hi);
}

void agrl_pack_fwd(agrl_pool *pool, uint32_t *dst, const uint16_t *w, size_t O, size_t I) {
  agrl_parallel_range(pool, panels(O), 1, 1, pack_fwd_range, &(pack_job){.dst = dst, .w = w, .O = O, .I = I});
}

void agrl_pack_bwd(agrl_pool *pool, uint32_t *dst, const uint16_t *w, size_t O, size_t I) {
  agrl_parallel_range(pool, panels(I), 1, 1, pack_bwd_range, &(pack_job){.dst = dst, .w = w, .O = O, .I = I});
}

void agrl_bf16_rows(agrl_pool *pool, uint16_t *rows, uint32_t *pairs, const float *src, size_t M, size_t I) {
  const size_t min = 16384 / (I ? I : 1) + 1;
  agrl_parallel_range(pool, (M + 1) / 2, 1, min, round_range,
                      &(pack_job){.dst = pairs, .rows = rows, .src = src, .O = M, .I = I});
}

typedef struct linear_job {
  agrl_linear_args args[AGRL_LINEAR_OUTS];
  size_t n, units, M, step;  // step: units of a job of by_panels
} linear_job;

// Units [lo, hi) of the outputs of all products, one after the other.
static void by_outputs(void *arg, size_t lo, size_t hi) {
  const linear_job *j = arg;
  size_t at = 0;
  for (size_t i = 0; i < j->n; i++) {
    const size_t O = j->args[i].O, units = (O + UNIT - 1) / UNIT, from = lo > at ? lo - at : 0;
    const size_t to = hi > at ? hi - at : 0, o1 = to < units ? to * UNIT : O;
    if (from < units && to > from) agrl_kernels_use->linear(&j->args[i], 0, j->M, from * UNIT, o1);
    at += units;
  }
}

static void by_panels(void *arg, size_t i) {
  const linear_job *j = arg;
  const size_t lo = i * j->step, hi = lo + j->step;
  by_outputs(arg, lo, hi < j->units ? hi : j->units);
}

static void by_rows(void *arg, size_t lo, size_t hi) {
  const linear_job *j = arg;
  for (size_t i = 0; i < j->n; i++) agrl_kernels_use->linear(&j->args[i], lo, hi, 0, j->args[i].O);
}

// The sum of no products.
static void empty_sum(const agrl_linear_out *out, size_t M) {
  for (size_t i = 0; i < M * out->O; i++) out->y[i] = out->add ? out->add[i] : out->bias ? out->bias[i % out->O] : 0.0f;
}

void agrl_linear(agrl_pool *pool, const agrl_linear_out *out, size_t n, const uint16_t *x, size_t M, size_t I) {
  const size_t threads = agrl_pool_threads(pool);
  linear_job j = {.n = n, .M = M};
  AGRL_ASSERT(n <= AGRL_LINEAR_OUTS);
  if (M == 0) return;
  for (size_t i = 0; i < n; i++) {
    const agrl_linear_out *o = &out[i];
    AGRL_ASSERT(!(o->add && o->bias));
    j.args[i] = (agrl_linear_args){.y = o->y, .x = (const uint32_t *)(const void *)x, .w = o->w, .I = I, .O = o->O,
                                   .from = o->add ? o->add : o->bias, .ld_from = o->add ? o->O : 0};
    j.units += (o->O + UNIT - 1) / UNIT;
    if (I == 0) empty_sum(o, M);
  }
  if (I == 0) return;
  const size_t min = work_min / (M * I * UNIT) + 1;
  // Weights are read once by a cut of the outputs, and once a thread by a cut of the rows: that pays when a thread has
  // rows enough to be busy with each weight, and balances better. With few rows whole panels are streamed, in jobs enough that
  // the thread whose reads are slower leaves some to the others (135M, 2 threads, one row: 2 to 4 % less
  // time, 33 % beside a busy neighbour).
  if (M >= 48 * threads && threads > 1) {
    agrl_parallel_range(pool, M, 6, 48, by_rows, &j);
  } else if (M <= FEW && threads > 1 && j.units > min) {
    j.step = (j.units + 8 * threads - 1) / (8 * threads);
    j.step += j.step % 2;
    agrl_pool_run(pool, by_panels, &j, (j.units + j.step - 1) / j.step);
  } else {
    agrl_parallel_range(pool, j.units, 1, min, by_outputs, &j);
  }
}

static void grad_range(void *arg, size_t lo, size_t hi) { agrl_kernels_use->weight_grad(arg, lo, hi); }

void agrl_weight_grad(agrl_pool *pool, float *dW, const uint32_t *dy, const uint32_t *x, size_t T, size_t O, size_t I) {
  agrl_grad_args a = {.dW = dW, .dy = dy, .x = x, .T = T, .O = O, .I = I};
  if (T > 0 && I > 0) agrl_parallel_range(pool, O, GROUP, GROUP, grad_range, &a);
}
