// SPDX-License-Identifier: Apache-2.0
// A weight version on its way from trainer to decoder, without the network and with the daemons' own code. Learner: snapshot and
// hash, delta to the version before, anchor. Actor: a delta in chunks of 1 MiB put together in the scratch block (fill, decode,
// verify; the live block beside it, two in all), and the pause between two decode steps that taking the result costs: a
// reference to the new snapshot and one less to the old, whose memory the client keeps as the next scratch. The two
// versions differ by what an AdamW step of STEP_SIZE does: normal steps of that deviation on every weight (bench_delta.c has
// real steps). The first step after a swap reads weights no cache holds; it is timed beside ordinary steps.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "actor/weights_build.h"
#include "common/base/clock.h"
#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/base/rng.h"
#include "common/model/decode.h"
#include "common/tensor/tensor.h"
#include "learner/shelf.h"
#include "tests/bench/bench_subject.h"

enum { CHUNK = 1 << 20, PROMPT = 16, BATCH = 8, SWAPS = 24, STEPS_BETWEEN = 3, NEW = SWAPS * (STEPS_BETWEEN + 2) + 1 };
#define STEP_SIZE 1e-6

typedef struct route {
  const agrl_layout *l;
  agrl_pool *pool;
  agrl_weights *w[2];            // versions 1 and 2; later ones repeat them in turn
  learner_package *delta[2];     // to w[i] from the other
  actor_weights_build build;     // the actor's
  agrl_weights *fresh;           // what it handed over last
  uint64_t version;
  double fill, decode, verify;   // seconds, summed over `received`
  size_t received;
} route;

static void snapshot_once(void *arg) {
  const route *r = arg;
  agrl_weights *w = agrl_weights_new(r->l, agrl_weights_block(r->w[0]), 1);
  agrl_weights_hash(w);
  agrl_weights_unref(w);
}

static void delta_once(void *arg) {
  const route *r = arg;
  learner_package_free(learner_package_new(r->w[0], r->w[1], r->pool, NULL));
}

static void anchor_once(void *arg) {
  const route *r = arg;
  learner_package_free(learner_package_new(NULL, r->w[1], r->pool, NULL));
}

// The version after what the actor has, by one link.
static void receive(route *r, agrl_link_kind kind) {
  agrl_error err;
  const int to = (int)(r->version++ % 2);
  learner_package *p = r->delta[to];
  const uint64_t versions[2] = {r->version - 1, r->version};
  memcpy(p->bytes.data + 16, versions, sizeof versions);  // the head's: the same change, made again
  const bool whole = kind == AGRL_LINK_FULL;
  const agrl_link link = {.kind = kind, .version = r->version, .base = whole ? 0 : r->version - 1,
                          .bytes = whole ? r->build.turns.bytes : p->bytes.len};
  const agrl_msg_announce a = {.version = r->version, .bytes = r->build.turns.bytes, .hash = agrl_weights_hash(r->w[to]), .n_links = 1, .links = &link};
  const uint8_t *data = whole ? (const uint8_t *)agrl_weights_block(r->w[to]) : (const uint8_t *)p->bytes.data;
  agrl_msg_chunk_get get;
  if (actor_weights_build_ready(&r->build, &err) != AGRL_OK || actor_weights_build_begin(&r->build, &a, &err) != AGRL_OK) bench_die(err.msg);
  uint64_t t = agrl_mono_ns();
  actor_weights_build_fill(&r->build);
  r->fill += agrl_since_s(t);
  t = agrl_mono_ns();
  while (actor_weights_build_next(&r->build, &get)) {
    const agrl_msg_chunk k = {.version = get.version, .offset = get.offset, .len = get.len, .data = data + get.offset};
    if (actor_weights_build_take(&r->build, &k, &err) != AGRL_OK) bench_die(err.msg);
  }
  r->decode += agrl_since_s(t);
  t = agrl_mono_ns();
  if (!actor_weights_build_verify(&r->build)) bench_die("received weights differ from those sent");
  r->verify += agrl_since_s(t);
  r->fresh = actor_weights_build_commit(&r->build);
  r->received++;
}

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

static void swap_between_steps(route *r, pauses *out) {
  agrl_decoder *d = NULL;
  agrl_error err;
  agrl_seq *seqs[BATCH];
  int32_t prompt[PROMPT] = {0};
  float *logits = agrl_xcalloc((size_t)r->l->spec.vocab * BATCH, sizeof *logits);
  receive(r, AGRL_LINK_FULL);
  agrl_weights *live = r->fresh;
  if (agrl_decoder_new(r->l, r->pool, BATCH, PROMPT, NEW, &d, &err) != AGRL_OK) bench_die(err.msg);
  agrl_prefix *prefix = agrl_decoder_prefill(d, live, prompt, PROMPT, logits);
  for (int i = 0; i < BATCH; i++) seqs[i] = agrl_seq_open(d, prefix);
  timed_step(d, live, seqs, logits);
  r->fill = r->decode = r->verify = 0;
  r->received = 0;
  for (int s = 0; s < SWAPS; s++) {
    for (int i = 0; i < STEPS_BETWEEN; i++) out->step[s * STEPS_BETWEEN + i] = timed_step(d, live, seqs, logits);
    receive(r, AGRL_LINK_DELTA);
    timed_step(d, live, seqs, logits);  // what receiving left in the caches is not the swap's: an actor receives meanwhile
    const uint64_t start = agrl_mono_ns();  // as actor_engine_set_weights and its caller
    agrl_weights *old = live;
    live = agrl_weights_ref(r->fresh);
    agrl_weights_unref(old);
    agrl_weights_unref(r->fresh);
    out->swap[s] = agrl_since_s(start);
    out->first[s] = timed_step(d, live, seqs, logits);
  }
  for (int i = 0; i < BATCH; i++) agrl_seq_close(d, seqs[i]);
  agrl_prefix_unref(d, prefix);
  agrl_decoder_free(d);
  agrl_weights_unref(live);
  free(logits);
}

static agrl_weights *stepped(const bench_subject *m) {
  agrl_rng rng;
  const size_t n = m->l->n_elements;
  float *next = bench_need(agrl_block_alloc(n * sizeof *next));
  agrl_rng_init(&rng, 21, 0);
  memcpy(next, m->params, n * sizeof *next);
  for (size_t t = 0; t < m->l->n_tensors; t++) {
    float *x = next + m->l->tensors[t].offset;
    for (size_t i = 0; i < m->l->tensors[t].rows * m->l->tensors[t].cols; i++) x[i] += (float)(STEP_SIZE * agrl_rng_normal(&rng));
  }
  agrl_weights *w = agrl_weights_from_f32(m->l, next, 2);
  agrl_block_free(next, n * sizeof *next);
  return w;
}

static void measure(bench_env *e, int index) {
  static pauses p;
  static route r;
  bench_subject m;
  size_t changed;
  bench_subject_open(&m, index);
  r = (route){.l = m.l, .pool = e->pool[1], .w = {agrl_weights_ref(m.w), stepped(&m)}};
  for (int i = 0; i < 2; i++) r.delta[i] = learner_package_new(r.w[!i], r.w[i], r.pool, &changed);
  learner_package *anchor = learner_package_new(NULL, r.w[1], r.pool, NULL);
  const double snapshot = bench_time(e, snapshot_once, &r), delta = bench_time(e, delta_once, &r), whole = bench_time(e, anchor_once, &r);
  actor_weights_build_init(&r.build, m.l, NULL);
  swap_between_steps(&r, &p);
  bench_subject_begin(e, "weights", &m);
  agrl_jw_ku64(&e->json, "full_bytes", r.build.turns.bytes);
  agrl_jw_ku64(&e->json, "anchor_bytes", anchor->bytes.len);
  agrl_jw_ku64(&e->json, "delta_bytes", r.delta[1]->bytes.len);
  bench_number(e, "changed_ratio", (double)changed / (double)m.l->n_elements);
  const double block = (double)r.build.turns.bytes;
  bench_moved(e, "snapshot_hash", snapshot, 3 * block);  // read, written, read for the hash
  bench_moved(e, "delta_encode", delta, 2 * block);
  bench_moved(e, "anchor_encode", whole, block);
  bench_moved(e, "fill", r.fill / (double)r.received, 2 * block);
  bench_moved(e, "decode", r.decode / (double)r.received, 2 * block);
  bench_moved(e, "verify", r.verify / (double)r.received, block);
  agrl_jw_ku64(&e->json, "swaps", SWAPS);
  bench_number(e, "swap_pause_median_seconds", quantile(p.swap, SWAPS, 0.5));
  bench_number(e, "swap_pause_p99_seconds", quantile(p.swap, SWAPS, 0.99));
  bench_number(e, "step_median_seconds", quantile(p.step, SWAPS * STEPS_BETWEEN, 0.5));
  bench_number(e, "step_after_swap_median_seconds", quantile(p.first, SWAPS, 0.5));
  bench_end(e);
  actor_weights_build_release(&r.build);
  learner_package_free(anchor);
  for (int i = 0; i < 2; i++) {
    learner_package_free(r.delta[i]);
    agrl_weights_unref(r.w[i]);
  }
  bench_subject_close(&m);
}

void bench_weights(bench_env *e) {
  for (int i = 0; i < BENCH_SUBJECTS; i++) measure(e, i);
}
