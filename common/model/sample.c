// SPDX-License-Identifier: Apache-2.0
// Sampling one token from a row of logits. Filters find a cut-off logit by selection, not by a sort: what is kept are the
// logits above the cut-off and the first so many equal to it, so ties resolve to the lower token id. Everything is a
// function of the row and u alone. scratch holds one row (vocab floats).
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
  enum { BLOCK = 256 };
  size_t at = 0, best = 0;
  for (; at + BLOCK < n; at += BLOCK) {
    double s = sum8(p + at, BLOCK);
    if (x < s) break;
    x -= s;
  }
  for (best = at; best > 0 && !(p[best] > 0); best--) continue;
  for (; at < n; at++) {
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

// At temperature 1 and unfiltered: the same arithmetic as the learner's log-probs, so that both agree to the last bit.
static float plain_logprob(const float *logits, size_t vocab, size_t token) {
  float lse;
  agrl_logsumexp(NULL, &lse, logits, 1, vocab);
  return logits[token] - lse;
}

int32_t agrl_sample(const float *logits, size_t vocab, double temperature, int top_k, double top_p, double u, float *scratch,
                    float *logprob) {
  size_t best = 0;
  float max = -INFINITY;
  bool bad = false;
  for (size_t i = 0; i < vocab; i++) {
    bad |= isnan(logits[i]);
    if (logits[i] > max) max = logits[best = i];
  }
  if (bad || !isfinite(max)) {  // diverged weights: the caller sees a log-prob that is not a number
    *logprob = NAN;
    return (int32_t)best;
  }
  if (temperature <= 0) {
    *logprob = plain_logprob(logits, vocab, best);
    return (int32_t)best;
  }
  if ((top_k > 0 && (size_t)top_k < vocab) || top_p < 1) {
    cutoff cut = find_cutoff(logits, vocab, max, temperature, top_k, top_p, scratch);
    return sample_filtered(logits, vocab, max, temperature, cut, u, scratch, logprob);
  }
  const double total = exp_row(logits, vocab, max, temperature, scratch);
  const size_t token = walk(scratch, vocab, u * total);
  *logprob = temperature == 1 ? plain_logprob(logits, vocab, token)
                              : (float)(((double)logits[token] - max) / temperature - log(total));
  return (int32_t)token;
}
