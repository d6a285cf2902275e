// SPDX-License-Identifier: Apache-2.0
// Public attention functions: how the work is cut into jobs, and the cache of keys and values. Jobs differ in cost, so there
// are several a thread, and which thread runs a job changes nothing in its result.
#include "common/tensor/attn.h"

#include <string.h>

#include "common/base/bug.h"
#include "common/tensor/kernels.h"

enum { GROUP = AGRL_ATTN_GROUP, JOBS_PER_THREAD = 3, PART_ROWS = 32 };

static void check_shape(size_t H, size_t KV, size_t D) {
  AGRL_ASSERT(KV > 0 && D > 0 && D <= AGRL_ATTN_D_MAX && H % KV == 0);
}

// Rows of the batch in pieces of ATTN_ROWS, whatever segments they belong to; the last rows, which see the most keys
// where there is one segment, first.
static void forward_job(void *arg, size_t index) {
  const agrl_attn_args *a = arg;
  size_t T = a->segs.start[a->segs.n], pieces = (T + ATTN_ROWS - 1) / ATTN_ROWS;
  size_t t0 = (pieces - 1 - index / a->H) * ATTN_ROWS;
  agrl_kernels_use->attn(a, t0, T - t0 < ATTN_ROWS ? T : t0 + ATTN_ROWS, index % a->H);
}

void agrl_attn(agrl_pool *pool, float *o, float *lse, const float *q, const float *k, const float *v,
               const agrl_attn_segs *segs, size_t H, size_t KV, size_t D) {
  agrl_attn_args a = {.o = o, .lse = lse, .q = q, .k = k, .v = v, .segs = *segs, .H = H, .KV = KV, .D = D};
  check_shape(H, KV, D);
  agrl_pool_run(pool, forward_job, &a, (segs->start[segs->n] + ATTN_ROWS - 1) / ATTN_ROWS * H);
}

static void backward_job(void *arg, size_t index) {
  const agrl_attn_args *a = arg;
  size_t s = index / a->KV;
  if (a->segs.parent == NULL || a->segs.parent[s] < 0) agrl_kernels_use->attn_bwd(a, s, index % a->KV);
}

void agrl_attn_bwd(agrl_pool *pool, float *dq, float *dk, float *dv, float *delta, const float *d_o, const float *q,
                   const float *k, const float *v, const float *o, const float *lse, const agrl_attn_segs *segs, size_t H,
                   size_t KV, size_t D) {
  agrl_attn_args a = {.dq = dq, .dk = dk, .dv = dv, .delta = delta, .q = q, .k = k, .v = v, .d_o = d_o, .o_in = o,
                      .lse_in = lse, .segs = *segs, .H = H, .KV = KV, .D = D};
  check_shape(H, KV, D);
  agrl_pool_run(pool, backward_job, &a, segs->n * KV);
}

// ---- cache

void agrl_attn_put(const agrl_attn_cache *c, size_t at_k, size_t at_v, const float *k, const float *v, size_t n,
                   size_t KV, size_t D) {
  for (size_t i = 0; i < n; i++) {
    for (size_t h = 0; h < KV; h++) {
      const float *row = k + (i * KV + h) * D;
      float *to = c->k + (h * c->groups + (at_k + i) / GROUP) * D * GROUP + (at_k + i) % GROUP;
      for (size_t d = 0; d < D; d++) to[d * GROUP] = row[d];
      memcpy(c->v + (h * c->cap + at_v + i) * D, v + (i * KV + h) * D, D * sizeof *v);
    }
  }
}

static void append_job(void *arg, size_t index) {
  const agrl_attn_args *a = arg;
  const agrl_attn_seq *s = &a->seqs[index];
  size_t at = s->n - 1 - s->n_shared, row = s->row * a->KV * a->D;
  agrl_attn_put(&s->own, s->n_shared % GROUP + at, at, a->k + row, a->v + row, 1, a->KV, a->D);
}

// Over the pool: a key's elements go to as many cache lines, which at 32 sequences is 1.4 ms of a 135M step.
void agrl_attn_append(agrl_pool *pool, const agrl_attn_seq *seqs, size_t n, const float *k, const float *v, size_t KV, size_t D) {
  agrl_attn_args a = {.seqs = seqs, .k = k, .v = v, .KV = KV, .D = D};
  agrl_pool_run(pool, append_job, &a, n);
}

void agrl_attn_fork(const agrl_attn_cache *own, const agrl_attn_cache *shared, size_t n_shared, size_t KV, size_t D) {
  if (n_shared % GROUP == 0) return;
  for (size_t h = 0; h < KV; h++)
    memcpy(own->k + h * own->groups * D * GROUP, shared->k + (h * shared->groups + n_shared / GROUP) * D * GROUP,
           D * GROUP * sizeof *own->k);
}

// ---- decode

static size_t run_end(const agrl_attn_seq *seqs, size_t n, size_t i) {
  size_t end = i + 1;
  while (end < n && seqs[end].shared.k == seqs[i].shared.k) end++;
  return end;
}

static size_t count_chunks(const agrl_attn_seq *seqs, size_t n, size_t members) {
  size_t chunks = 0;
  for (size_t i = 0, end; i < n; i = end) chunks += ((end = run_end(seqs, n, i)) - i + members - 1) / members;
  return chunks;
}

size_t agrl_attn_plan(agrl_attn_part *parts, const agrl_attn_seq *seqs, size_t n, size_t H, size_t KV, unsigned threads) {
  size_t heads = H / KV < PART_ROWS ? H / KV : PART_ROWS, members = PART_ROWS / heads, np = 0;
  size_t want = threads > 1 ? (size_t)threads * JOBS_PER_THREAD : 1;
  while (members > 1 && count_chunks(seqs, n, members) * KV < want) members = (members + 1) / 2;
  while (heads > 1 && members == 1 && n * KV * (H / KV / heads) < want) heads = (heads + 1) / 2;
  for (size_t i = 0, end; i < n; i = end) {
    end = run_end(seqs, n, i);
    size_t chunks = (end - i + members - 1) / members, each = (end - i + chunks - 1) / chunks;
    for (size_t first = i; first < end; first += each)
      for (size_t head = 0, left; head < H; head += left < heads ? left : heads) {
        left = H / KV - head % (H / KV);
        parts[np++] = (agrl_attn_part){(uint32_t)first, (uint32_t)(end - first < each ? end : first + each), (uint32_t)head,
                                       (uint32_t)(left < heads ? left : heads)};
      }
  }
  return np;
}

typedef struct decode_args {
  agrl_attn_args a;  // first: jobs get a pointer to it
  const agrl_attn_part *parts;
} decode_args;

static void decode_job(void *arg, size_t index) {
  const agrl_attn_args *a = arg;
  agrl_kernels_use->attn_decode(a, &((const decode_args *)a)->parts[index]);
}

void agrl_attn_decode(agrl_pool *pool, float *o, const float *q, const agrl_attn_seq *seqs, const agrl_attn_part *parts,
                      size_t n_parts, size_t H, size_t KV, size_t D) {
  decode_args d = {{.o = o, .q = q, .seqs = seqs, .H = H, .KV = KV, .D = D}, parts};
  check_shape(H, KV, D);
  agrl_pool_run(pool, decode_job, &d.a, n_parts);
}
