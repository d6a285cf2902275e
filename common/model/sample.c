// SPDX-License-Identifier: Apache-2.0
// Sampling one token from a row of logits. Filters find a cut-off logit by selection, not by a sort: what is kept are the
// logits above the cut-off and the first so many equal to it, so ties resolve to the lower token id. Unfiltered, the row is
// read twice (maximum, sums of blocks) and one block a third time. Everything is a function of the row and u alone. scratch holds
// one row (vocab floats).
#include <float.h>
#include <math.h>
#include <stdint.h>

#include "common/base/bug.h"
#include "common/model/decode.h"
#include "common/tensor/tensor.h"

typedef struct cutoff {
  float value;  // keep logits above
  size_t ties;  // and the first so many equal to it
} cutoff;

typedef struct split {
  size_t above, equal;  // x[0..above) > pivot, x[above..above+equal) == pivot, the rest below
} split;

static float median3(float a, float b, float c) {
  float lo = a < b ? a : b, hi = a < b ? b : a;
  return c < lo ? lo : c > hi ? hi : c;
}

static void swapf(float *a, float *b) {
  float t = *a;
  *a = *b;
  *b = t;
}

// Partitions x(n) in three around its middle sample.
static split partition(float *x, size_t n, float *pivot_out) {
  const float pivot = median3(x[0], x[n / 2], x[n - 1]);
  size_t hi = 0, i = 0, lo = n;  // [0,hi) above, [hi,i) equal, [lo,n) below
  while (i < lo) {
    if (x[i] > pivot) {
      swapf(&x[i++], &x[hi++]);
    } else if (x[i] == pivot) {
      i++;
    } else {
      swapf(&x[i], &x[--lo]);
    }
  }
  *pivot_out = pivot;
  return (split){hi, i - hi};
}

// The k-th largest of x(n), 1 <= k <= n; x is left with its k largest in front.
static cutoff select_count(float *x, size_t n, size_t k) {
  for (;;) {
    float pivot;
    split s = partition(x, n, &pivot);
    if (k <= s.above) {
      n = s.above;
    } else if (k <= s.above + s.equal) {
      return (cutoff){pivot, k - s.above};
    } else {
      x += s.above + s.equal;
      n -= s.above + s.equal;
      k -= s.above + s.equal;
    }
  }
}

// The smallest set of largest logits whose mass reaches target; a logit x has mass exp((x - max) / temperature).
static cutoff select_mass(float *x, size_t n, double max, double temperature, double target) {
  cutoff last = {x[0], 1};
  while (n > 0) {
    float pivot;
    split s = partition(x, n, &pivot);
    double above = 0;
    for (size_t i = 0; i < s.above; i++) above += exp((x[i] - max) / temperature);
    if (s.above > 0 && above >= target) {
      n = s.above;
      continue;
    }
    const double each = exp((pivot - max) / temperature);
    target -= above;
    last.value = pivot;
    for (last.ties = 0; last.ties < s.equal && target > 0; last.ties++) target -= each;
    if (last.ties == 0) last.ties = 1;
    if (target <= 0) return last;
    x += s.above + s.equal;
    n -= s.above + s.equal;
  }
  return last;  // rounding: everything is kept
}

static double sum8(const float *p, size_t n) {
  double a[8] = {0};
  size_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (size_t j = 0; j < 8; j++) a[j] += p[i + j];
  for (size_t j = 0; i < n; i++, j++) a[j] += p[i];
  return ((a[0] + a[1]) + (a[2] + a[3])) + ((a[4] + a[5]) + (a[6] + a[7]));
}

static double exp_row(const float *logits, size_t vocab, float max, double temperature, float *out) {
  const float inv = (float)(1.0 / temperature);
  for (size_t i = 0; i < vocab; i++) {
    float x = (logits[i] - max) * inv;
    out[i] = x > -87.0f ? x : -INFINITY;
  }
  agrl_expf(out, out, vocab);
  return sum8(out, vocab);
}

// Index of the element where the running sum of p(n) passes x; never one of mass 0.
static size_t walk(const float *p, size_t n, double x) {
  size_t best = 0;
  for (size_t at = 0; at < n; at++) {
    if (!(p[at] > 0)) continue;
    best = at;
    if (x < p[at]) break;
    x -= p[at];
  }
  return best;
}

static cutoff find_cutoff(const float *logits, size_t vocab, float max, double temperature, int top_k, double top_p,
                          float *scratch) {
  size_t n = vocab;
  double total = 0;
  cutoff cut = {-INFINITY, vocab};
  if (top_k > 0 && (size_t)top_k < vocab) {
    for (size_t i = 0; i < vocab; i++) scratch[i] = logits[i];
    n = (size_t)top_k;
    cut = select_count(scratch, vocab, n);
    for (size_t i = 0; i < n; i++) total += exp(((double)scratch[i] - max) / temperature);
  } else if (top_p < 1) {
    // What lies below max + temperature * log((1 - top_p) / vocab) adds up to less than 1 - top_p: not worth a look.
    total = exp_row(logits, vocab, max, temperature, scratch);
    const double floor = max + temperature * log((1 - top_p) / (double)vocab) - 1e-3;
    n = 0;
    for (size_t i = 0; i < vocab; i++)
      if (logits[i] >= floor) scratch[n++] = logits[i];
  }
  return top_p < 1 ? select_mass(scratch, n, max, temperature, top_p * total) : cut;
}

static int32_t sample_filtered(const float *logits, size_t vocab, float max, double temperature, cutoff cut, double u,
                               float *scratch, float *logprob) {
  size_t n = 0, ties = cut.ties;
  double total = 0;
  for (size_t i = 0; i < vocab; i++) {
    if (!(logits[i] > cut.value) && !(logits[i] == cut.value && ties > 0 && ties--)) continue;
    scratch[n] = (float)exp(((double)logits[i] - max) / temperature);
    total += scratch[n++];
  }
  AGRL_ASSERT(n > 0);
  size_t want = walk(scratch, n, u * total), token = 0;
  ties = cut.ties;
  for (size_t i = 0; i < vocab; i++) {
    if (!(logits[i] > cut.value) && !(logits[i] == cut.value && ties > 0 && ties--)) continue;
    token = i;
    if (want-- == 0) break;
  }
  *logprob = (float)(((double)logits[token] - max) / temperature - log(total));
  return (int32_t)token;
}

static int32_t largest(const float *logits, size_t vocab) {
  size_t best = 0;
  for (size_t i = 1; i < vocab; i++)
    if (logits[i] > logits[best] || isnan(logits[best])) best = i;
  return (int32_t)best;
}

static size_t n_blocks(size_t vocab) { return (vocab + AGRL_SOFTMAX_BLOCK - 1) / AGRL_SOFTMAX_BLOCK; }

// Where the running sum passes x, by the sums of blocks, then through one block.
static size_t draw_plain(const float *logits, size_t vocab, float top, float inv, const float *sums, double x) {
  const size_t blocks = n_blocks(vocab);
  float p[AGRL_SOFTMAX_BLOCK] = {0};
  double left = x;
  size_t block = 0;
  for (size_t b = 0; b < blocks; b++) {
    if (!(sums[b] > 0)) continue;
    block = b;
    left = x;
    if (x < sums[b]) break;
    x -= sums[b];
  }
  const size_t at = block * AGRL_SOFTMAX_BLOCK, n = vocab - at < AGRL_SOFTMAX_BLOCK ? vocab - at : AGRL_SOFTMAX_BLOCK;
  for (size_t i = 0; i < n; i++) p[i] = (logits[at + i] - top) * inv;
  agrl_expf(p, p, n);
  return at + walk(p, n, left);
}

int32_t agrl_sample(const float *logits, size_t vocab, double temperature, int top_k, double top_p, double u, float *scratch,
                    float *logprob) {
  const bool filtered = (top_k > 0 && (size_t)top_k < vocab) || top_p < 1;
  const float inv = temperature > 0 && !filtered ? (float)fmin(1 / temperature, (double)FLT_MAX) : 1;
  float top;
  const float lse = agrl_softmax_blocks(scratch, &top, logits, vocab, inv);  // at temperature 1 the learner's, to the last bit
  if (isnan(lse)) {  // diverged weights: the caller sees a log-prob that is not a number
    *logprob = NAN;
    return largest(logits, vocab);
  }
  if (temperature <= 0) {
    const int32_t best = largest(logits, vocab);
    *logprob = top - lse;
    return best;
  }
  if (filtered) {
    cutoff cut = find_cutoff(logits, vocab, top, temperature, top_k, top_p, scratch);
    return sample_filtered(logits, vocab, top, temperature, cut, u, scratch, logprob);
  }
  const double total = sum8(scratch, n_blocks(vocab));
  const size_t token = draw_plain(logits, vocab, top, inv, scratch, u * total);
  *logprob = temperature == 1 ? logits[token] - lse : (float)(((double)logits[token] - top) / temperature - log(total));
  return (int32_t)token;
}
