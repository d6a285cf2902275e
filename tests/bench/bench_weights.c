// SPDX-License-Identifier: Apache-2.0
// A weight version on its way from trainer to decoder, without the network: snapshot and hash (learner), chunks of 1 MiB
// copied, verified and made a snapshot (actor), and the pause between two decode steps that taking it costs. The pause is
// what an actor's engine does there: it takes a reference to the new snapshot and drops the old one, whose memory goes with
// its last reference. The first step after a swap reads weights no cache holds; it is timed beside ordinary steps.
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/model/decode.h"
#include "tests/bench/bench_subject.h"

enum { CHUNK = 1 << 20, PROMPT = 16, BATCH = 8, SWAPS = 24, STEPS_BETWEEN = 3, NEW = SWAPS * (STEPS_BETWEEN + 2) + 1 };

typedef struct route {
  const agrl_layout *l;
  const uint16_t *source;  // the optimiser's bf16 block
  uint8_t *scratch;        // the actor's receive buffer
  size_t bytes;
  agrl_sha256 hash;
} route;

static void snapshot_once(void *arg) {
  const route *r = arg;
  agrl_weights *w = agrl_weights_new(r->l, r->source, 1);
  agrl_weights_hash(w);
  agrl_weights_unref(w);
}

static agrl_weights *receive(const route *r, uint64_t version) {
  for (size_t at = 0; at < r->bytes; at += CHUNK)
    memcpy(r->scratch + at, (const uint8_t *)r->source + at, r->bytes - at < CHUNK ? r->bytes - at : CHUNK);
  const agrl_sha256 got = agrl_sha256_of(r->scratch, r->bytes);
  if (memcmp(&got, &r->hash, sizeof got) != 0) bench_die("received weights differ from those sent");
  return agrl_weights_new(r->l, (const uint16_t *)(const void *)r->scratch, version);
}

static void receive_once(void *arg) { agrl_weights_unref(receive(arg, 1)); }

typedef struct pauses {
  double swap[SWAPS], first[SWAPS], step[SWAPS * STEPS_BETWEEN];
} pauses;

static int by_value(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double quantile(double *v, size_t n, double q) {  // nearest rank; sorts v
  qsort(v, n, sizeof *v, by_value);
  const size_t rank = (size_t)(q * (double)n + 0.999999);
  return v[rank > 0 ? rank - 1 : 0];
}

static double timed_step(agrl_decoder *d, const agrl_weights *w, agrl_seq *seqs[BATCH], float *logits) {
  int32_t tokens[BATCH];
  for (int i = 0; i < BATCH; i++) tokens[i] = i + 1;
  const uint64_t start = agrl_mono_ns();
  agrl_decoder_step(d, w, seqs, tokens, BATCH, logits);
  return agrl_since_s(start);
}

// Every swap brings a freshly received snapshot, so that the old one is freed inside the pause, as in an actor.
static void swap_between_steps(agrl_pool *pool, const route *r, pauses *out) {
  agrl_decoder *d = NULL;
  agrl_error err;
  agrl_seq *seqs[BATCH];
  int32_t prompt[PROMPT] = {0};
  float *logits = agrl_xcalloc((size_t)r->l->spec.vocab * BATCH, sizeof *logits);
  agrl_weights *live = receive(r, 1);
  if (agrl_decoder_new(r->l, pool, BATCH, PROMPT, NEW, &d, &err) != AGRL_OK) bench_die(err.msg);
  agrl_prefix *prefix = agrl_decoder_prefill(d, live, prompt, PROMPT, logits);
  for (int i = 0; i < BATCH; i++) seqs[i] = agrl_seq_open(d, prefix);
  timed_step(d, live, seqs, logits);
  for (int s = 0; s < SWAPS; s++) {
    for (int i = 0; i < STEPS_BETWEEN; i++) out->step[s * STEPS_BETWEEN + i] = timed_step(d, live, seqs, logits);
    agrl_weights *fresh = receive(r, (uint64_t)s + 2);
    timed_step(d, live, seqs, logits);  // what receiving left in the caches is not the swap's: an actor receives meanwhile
    const uint64_t start = agrl_mono_ns();
    agrl_weights *old = live;
    live = agrl_weights_ref(fresh);
    agrl_weights_unref(old);
    agrl_weights_unref(fresh);
    out->swap[s] = agrl_since_s(start);
    out->first[s] = timed_step(d, live, seqs, logits);
  }
  for (int i = 0; i < BATCH; i++) agrl_seq_close(d, seqs[i]);
  agrl_prefix_unref(d, prefix);
  agrl_decoder_free(d);
  agrl_weights_unref(live);
  free(logits);
}

static void measure(bench_env *e, int index) {
  static pauses p;
  bench_subject m;
  bench_subject_open(&m, index);
  route r = {.l = m.l, .source = agrl_weights_block(m.w), .bytes = m.l->n_elements * sizeof(uint16_t),
             .hash = agrl_weights_hash(m.w)};
  r.scratch = bench_need(agrl_block_alloc(r.bytes));
  const double publish = bench_time(e, snapshot_once, &r), take = bench_time(e, receive_once, &r);
  swap_between_steps(e->pool[1], &r, &p);
  bench_subject_begin(e, "weights", &m);
  agrl_jw_ku64(&e->json, "bytes_per_version", r.bytes);
  bench_number(e, "snapshot_hash_seconds", publish);
  bench_number(e, "receive_verify_seconds", take);
  agrl_jw_ku64(&e->json, "swaps", SWAPS);
  bench_number(e, "swap_pause_median_seconds", quantile(p.swap, SWAPS, 0.5));
  bench_number(e, "swap_pause_p99_seconds", quantile(p.swap, SWAPS, 0.99));
  bench_number(e, "step_median_seconds", quantile(p.step, SWAPS * STEPS_BETWEEN, 0.5));
  bench_number(e, "step_after_swap_median_seconds", quantile(p.first, SWAPS, 0.5));
  bench_end(e);
  agrl_block_free(r.scratch, r.bytes);
  bench_subject_close(&m);
}

void bench_weights(bench_env *e) {
  for (int i = 0; i < BENCH_SUBJECTS; i++) measure(e, i);
}
