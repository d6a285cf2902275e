// SPDX-License-Identifier: Apache-2.0
// Weights from the learner's publisher to an actor's client over real sockets, on one loop. Whatever happens to the packages, the
// actor ends with exactly the published words, and the counters say what happened: as the client keeps them, and as
// Prometheus reads them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "actor/actor.h"
#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/base/rng.h"
#include "common/ckpt/adapter.h"
#include "common/ckpt/hf.h"
#include "common/tensor/tensor.h"
#include "learner/optim.h"
#include "learner/publish.h"

typedef struct stage {
  agrl_svc learner, actor;  // share one loop and net: learner's
  actor_state state;
  learner_publisher *publisher;
  agrl_metric *sent;
  agrl_layout *l;
  char *config_json, weights[96], announce[96];
  uint16_t *block;          // what is published
  agrl_weights *last;       // base of the next delta
  agrl_lora *lora;          // adapters on l are published, and trained by optim; NULL: the block is
  learner_optim optim;
  agrl_weights *engine, *held;  // engine: what it decodes with; held: what it would not let go of
  bool holding, exposed;  // exposed: the actor's metrics are registered, which a process does once
  int swaps;
  agrl_rng rng;
} stage;

static stage st;

static agrl_rc on_model(void *user, const agrl_layout *l, const char *tokenizer, agrl_error *err) {
  (void)user;
  (void)err;
  assert_int_equal(l->n_elements, st.l->n_elements);
  assert_string_equal(tokenizer, "/run/tokenizer.json");
  return AGRL_OK;
}

static void on_refused(void *user, agrl_rc rc) {
  (void)user;
  fail_msg("refused: %s", agrl_rc_text(rc));
}

static void on_fresh(void *user, agrl_weights *w) {
  (void)user;
  st.swaps++;
  if (st.holding && st.held == NULL) st.held = st.engine;  // a long decode step
  else agrl_weights_unref(st.engine);
  st.engine = w;
}

static char *description(void) {
  agrl_buf text = {0};
  if (st.lora == NULL) return NULL;
  agrl_adapter_write_config(st.lora, "", &text);
  return agrl_buf_take(&text);
}

static void open_publisher(void) {
  agrl_error err = {0};
  if (learner_publisher_open(&st.publisher, &st.learner, st.sent, &err) != AGRL_OK) fail_msg("%s", err.msg);
  learner_publisher_model(st.publisher, (learner_model){.config_json = agrl_xstrdup(st.config_json), .tokenizer_path = agrl_xstrdup("/run/tokenizer.json"),
                                                       .adapter_json = description(), .base = st.lora ? agrl_weights_ref(st.optim.base) : NULL});
}

static int vocab = 8192;
static bool with_adapters;

static void open_adapters(void) {
  agrl_error err = {0};
  float *base = agrl_xcalloc(st.l->n_elements, sizeof *base);
  agrl_f32_from_bf16(base, st.block, st.l->n_elements);
  if (agrl_lora_new(st.l, 4, 9, 127, &st.lora, &err) != AGRL_OK) fail_msg("%s", err.msg);
  if (learner_optim_init_lora(&st.optim, st.lora, NULL, base, 3, &err) != AGRL_OK) fail_msg("%s", err.msg);
  for (size_t i = 0; i < st.lora->layout->n_elements; i++) st.optim.master[i] = (float)(0.05 * agrl_rng_normal(&st.rng));  // as if trained
  learner_optim_reserve(&st.optim, NULL);
  agrl_weights_hash(st.optim.base);
  free(base);
}

static int setup(void **state) {
  static const char *const kinds[] = {"full", "delta", NULL}, *const dirs[] = {"sent", "received", NULL};
  static const agrl_metric_desc desc = {.name = "sent", .help = "sent", .type = AGRL_COUNTER, .label = "kind", .values = kinds, .label2 = "dir", .values2 = dirs};
  static int n;
  (void)state;
  agrl_spec s = {.arch = "llama", .n_layers = 1, .hidden = 256, .ffn = 512, .n_heads = 4, .n_kv_heads = 2, .head_dim = 64, .vocab = vocab,
                 .context = 64, .rope_theta = 10000, .norm_eps = 1e-5f, .tied = true, .start_id = 0, .end_id = 1};
  memset(&st, 0, sizeof st);
  snprintf(st.weights, sizeof st.weights, "ipc:///tmp/agrl-aw-%ld-%d", (long)getpid(), n);
  snprintf(st.announce, sizeof st.announce, "ipc:///tmp/agrl-aa-%ld-%d", (long)getpid(), n++);
  st.learner.config.net.weights = st.weights;
  st.learner.config.net.announce = st.announce;
  st.learner.config.net.hwm = 100;
  st.learner.config.run.dir = (char *)"/tmp";
  st.learner.run_id = 5;
  agrl_buf json = {0};
  agrl_ckpt_write_config(&s, AGRL_DTYPE_BF16, &json);
  st.config_json = agrl_buf_take(&json);
  uv_loop_init(&st.learner.loop);
  if (agrl_layout_new(&s, &st.l, NULL) != AGRL_OK || agrl_net_open(&st.learner.net, &st.learner.loop, NULL) != AGRL_OK) return 1;
  agrl_rng_init(&st.rng, 9, 0);
  st.block = agrl_xcalloc(st.l->n_elements, sizeof *st.block);
  for (size_t t = 0; t < st.l->n_tensors; t++)
    for (size_t i = 0; i < st.l->tensors[t].rows * st.l->tensors[t].cols; i++)
      st.block[st.l->tensors[t].offset + i] = (uint16_t)(0x3c00 + agrl_rng_below(&st.rng, 512));
  if (with_adapters) open_adapters();
  st.sent = agrl_metric_register(&desc);
  open_publisher();
  actor_weights_hooks hooks = {.model = on_model, .refused = on_refused, .fresh = on_fresh};
  st.actor.state = &st.state;
  return actor_weights_client_open(st.learner.net, &st.learner.loop, "actor-0", st.weights, st.announce, 100, 5, &hooks, &st.state.weights, NULL);
}

static int setup_large(void **state) {
  vocab = 32768;
  int rc = setup(state);
  vocab = 8192;
  return rc;
}

static int setup_adapters(void **state) {
  with_adapters = true;
  int rc = setup(state);
  with_adapters = false;
  return rc;
}

static int teardown(void **state) {
  (void)state;
  agrl_weights_unref(st.engine);
  agrl_weights_unref(st.held);
  agrl_weights_unref(st.last);
  actor_weights_client_close(st.state.weights);
  if (st.publisher) learner_publisher_close(st.publisher);
  agrl_net_close(st.learner.net);
  while (uv_run(&st.learner.loop, UV_RUN_NOWAIT) != 0) usleep(100);
  int rc = uv_loop_close(&st.learner.loop);
  agrl_metrics_reset();
  learner_optim_release(&st.optim);
  agrl_lora_free(st.lora);
  agrl_layout_free(st.l);
  free(st.block);
  free(st.config_json);
  unlink(st.weights + 6);
  unlink(st.announce + 6);
  return rc;
}

// What travels, and what an actor then decodes with.
static const agrl_layout *travels(void) { return st.lora ? st.lora->layout : st.l; }
static const uint16_t *published(void) { return st.lora ? st.optim.rounded : st.block; }
static const uint16_t *served(void) { return st.lora ? st.optim.bf16 : st.block; }

static void train(void) {
  const learner_hyper h = {.lr = 1e-5, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8};
  double norm;
  bool clipped;
  for (size_t i = 0; i < travels()->n_elements; i++) st.optim.grads[i] = (float)agrl_rng_normal(&st.rng);
  assert_true(learner_optim_step(&st.optim, NULL, &h, &norm, &clipped));
}

static void edit(void) {
  if (st.lora != NULL) {
    train();
    return;
  }
  const agrl_tensor_desc *t = &st.l->tensors[0];
  for (int i = 0; i < 2000; i++) st.block[t->offset + agrl_rng_below(&st.rng, (uint32_t)(t->rows * t->cols))]++;
}

// The next version: other words, a delta from the one before where there is one, an anchor if asked.
static learner_release next(uint64_t version, bool anchor) {
  edit();
  learner_release r = {.weights = agrl_weights_new(travels(), published(), version), .phase = "rl"};
  if (st.last) r.delta = learner_package_new(st.last, r.weights, NULL, NULL);
  if (anchor) r.anchor = learner_package_new(NULL, r.weights, NULL, NULL);
  agrl_weights_unref(st.last);
  st.last = agrl_weights_ref(r.weights);
  return r;
}

static actor_weights_stats stats(void) { return actor_weights_client_stats(st.state.weights); }

static void step(void) {
  uv_run(&st.learner.loop, UV_RUN_NOWAIT);
  usleep(200);
}

// Runs until the actor has version, then compares every word.
static void expect(uint64_t version) {
  uint64_t start = agrl_mono_ns();
  while (stats().version != version) {
    step();
    if (agrl_since_s(start) > 30) fail_msg("no version %llu after 30 s", (unsigned long long)version);
  }
  assert_int_equal(agrl_weights_version(st.engine), version);
  assert_memory_equal(agrl_weights_block(st.engine), served(), st.l->n_elements * sizeof *st.block);
}

static double metric(const char *line_start) {
  agrl_buf b = {0};
  actor_metrics_refresh(&st.actor);
  agrl_metrics_expose(&b);
  agrl_buf_addc(&b, '\0');
  char *line = agrl_xasprintf("\n%s", line_start), *at = strstr(b.data, line);
  if (!at) fail_msg("no line %s", line_start);
  double v = strtod(at + strlen(line), NULL);
  free(line);
  agrl_buf_release(&b);
  return v;
}

// No resync but n of this cause, and as many verify failures.
static void expect_resyncs(int cause, uint64_t n, uint64_t verify_failures) {
  actor_weights_stats s = stats();
  for (int i = 0; i < ACTOR_RESYNC_N; i++) {
    char line[96];
    snprintf(line, sizeof line, "agrl_weights_resyncs_total{cause=\"%s\"} ", actor_resync_names[i]);
    assert_int_equal(s.resyncs[i], i == cause ? n : 0);
    if (st.exposed) assert_true(metric(line) == (double)s.resyncs[i]);
  }
  assert_int_equal(s.verify_failures, verify_failures);
  assert_true(agrl_metric_get(st.sent, LEARNER_BYTES_DELTA_SENT) == (double)s.delta_bytes);
  assert_true(agrl_metric_get(st.sent, LEARNER_BYTES_FULL_SENT) == (double)s.full_bytes);
  if (!st.exposed) return;
  assert_true(metric("agrl_weights_verify_failures_total ") == (double)verify_failures);
  assert_true(metric("agrl_weights_bytes_total{kind=\"full\",dir=\"received\"} ") == (double)s.full_bytes);
  assert_true(metric("agrl_weights_bytes_total{kind=\"delta\",dir=\"received\"} ") == (double)s.delta_bytes);
}

static uint64_t block_bytes(void) { return travels()->n_elements * 2; }
static uint64_t base_bytes(void) { return st.lora ? st.l->n_elements * 2 : 0; }

static void test_follows_and_joins_late(void **state) {
  (void)state;
  uint64_t anchor = 0, deltas = 0;
  for (uint64_t v = 1; v <= 4; v++) {  // nobody there yet: what a late joiner gets is the anchor of 1 and three deltas
    learner_release r = next(AGRL_VERSION(1, v), v == 1);
    if (r.anchor) anchor = r.anchor->bytes.len;
    if (r.delta) deltas += r.delta->bytes.len;
    learner_publisher_set(st.publisher, r);
  }
  expect(AGRL_VERSION(1, 4));
  assert_int_equal(stats().full_bytes, anchor + base_bytes());
  assert_int_equal(stats().delta_bytes, deltas);
  assert_true(anchor + deltas < block_bytes());
  for (uint64_t v = 5; v <= 8; v++) {
    learner_release r = next(AGRL_VERSION(1, v), v == 6);  // an anchor on the way changes nothing for those who follow
    deltas += r.delta->bytes.len;
    learner_publisher_set(st.publisher, r);
    expect(AGRL_VERSION(1, v));
  }
  assert_int_equal(stats().full_bytes, anchor + base_bytes());  // the base came once
  assert_int_equal(stats().delta_bytes, deltas);
  assert_int_equal(stats().fetches, 5);
  assert_true(deltas < block_bytes() / (st.lora ? 1 : 20));
  expect_resyncs(-1, 0, 0);
}

static void serve_first(void) {
  learner_publisher_set(st.publisher, next(1, true));
  expect(1);
}

static void test_corrupted_delta(void **state) {
  (void)state;
  serve_first();
  learner_release r = next(2, false);
  r.delta->bytes.data[r.delta->bytes.len / 2] ^= 0x40;  // inside a compressed stream
  uint64_t before = stats().full_bytes;
  learner_publisher_set(st.publisher, r);
  expect(2);
  actor_weights_stats s = stats();
  assert_int_equal(s.full_bytes - before, block_bytes());  // the block itself
  assert_int_equal(s.resyncs[ACTOR_RESYNC_CORRUPT] + s.resyncs[ACTOR_RESYNC_HASH], 1);
  if (s.resyncs[ACTOR_RESYNC_HASH]) expect_resyncs(ACTOR_RESYNC_HASH, 1, 1);
  else expect_resyncs(ACTOR_RESYNC_CORRUPT, 1, 0);
  learner_publisher_set(st.publisher, next(3, false));
  expect(3);
  assert_int_equal(stats().full_bytes, s.full_bytes);  // and deltas again
}

// A whole, well-formed delta that makes other words than its head and the announcement say.
static void test_lying_delta(void **state) {
  (void)state;
  actor_metrics_register();
  st.exposed = true;
  serve_first();
  learner_release r = next(2, false);
  uint16_t *other = agrl_xcalloc(st.l->n_elements, sizeof *other);
  memcpy(other, st.block, block_bytes());
  other[st.l->tensors[0].offset + 77]++;
  agrl_weights *base = agrl_weights_ref(st.engine);
  agrl_delta_id id = {.base_version = 1, .version = 2, .base_hash = agrl_weights_hash(base), .hash = agrl_weights_hash(r.weights)};
  agrl_buf_clear(&r.delta->bytes);
  agrl_delta_encode(st.l, agrl_weights_block(base), other, &id, NULL, &r.delta->bytes, NULL);
  agrl_weights_unref(base);
  free(other);
  learner_publisher_set(st.publisher, r);
  expect(2);
  expect_resyncs(ACTOR_RESYNC_HASH, 1, 1);
}

// A delta that says in its head that it stands on another base than the plan did: of another line, or out of order.
static void test_delta_of_another_base(void **state) {
  (void)state;
  serve_first();
  learner_release r = next(2, false);
  r.delta->bytes.data[40] ^= 1;  // the base's hash
  learner_publisher_set(st.publisher, r);
  expect(2);
  expect_resyncs(ACTOR_RESYNC_ORDER, 1, 0);
  r = next(3, false);
  learner_package_free(r.delta);
  r.delta = NULL;
  uint64_t before = stats().full_bytes;
  learner_publisher_set(st.publisher, r);
  expect(3);
  assert_int_equal(stats().full_bytes - before, block_bytes());  // a missing base is seen by the learner: the block, no resync
  expect_resyncs(ACTOR_RESYNC_ORDER, 1, 0);
}

static void test_learner_restarts(void **state) {
  (void)state;
  serve_first();
  learner_publisher_set(st.publisher, next(AGRL_VERSION(1, 7), false));
  expect(AGRL_VERSION(1, 7));
  learner_publisher_close(st.publisher);
  for (int i = 0; i < 20; i++) step();
  agrl_weights_unref(st.last);
  st.last = NULL;  // a new process knows nothing of what it served; the journal could not be redone: next epoch, fewer steps
  open_publisher();
  learner_release r = next(AGRL_VERSION(2, 5), true);
  uint64_t anchor = r.anchor->bytes.len, before = stats().full_bytes;
  learner_publisher_set(st.publisher, r);
  expect(AGRL_VERSION(2, 5));
  assert_int_equal(stats().full_bytes - before, anchor);
  learner_publisher_set(st.publisher, next(AGRL_VERSION(2, 6), false));
  expect(AGRL_VERSION(2, 6));
  assert_int_equal(stats().full_bytes - before, anchor);
  expect_resyncs(-1, 0, 0);
}

// The anchor being fetched is replaced by a newer one. On a loaded machine the first may be in before the second is out:
// then it is tried again from the start.
static void test_anchor_rotates_during_fetch(void **state) {
  for (int attempt = 0; attempt < 50; attempt++) {
    learner_publisher_set(st.publisher, next(1, true));
    uint64_t start = agrl_mono_ns();
    while (stats().full_bytes == 0 && agrl_since_s(start) < 30) step();
    assert_true(stats().full_bytes > 0);  // a chunk is here
    learner_publisher_set(st.publisher, next(2, true));
    expect(2);
    if (st.swaps == 1) {
      expect_resyncs(ACTOR_RESYNC_GONE, 1, 0);
      return;
    }
    expect_resyncs(-1, 0, 0);
    teardown(state);
    setup_large(state);
  }
  fail_msg("the first anchor was never replaced while it was fetched");
}

// After a damaged delta the block is fetched; when newer versions overtake that, the deltas, sound again, are taken, not the
// block for ever. As above, the block may be in before it is overtaken: then from the start.
static void test_block_too_slow(void **state) {
  for (int attempt = 0; attempt < 50; attempt++) {
    serve_first();
    learner_release r = next(2, false);
    char *damaged = &r.delta->bytes.data[r.delta->bytes.len / 2];
    *damaged ^= 0x40;
    uint64_t before = stats().full_bytes, start = agrl_mono_ns();
    learner_publisher_set(st.publisher, r);
    while (stats().full_bytes == before && agrl_since_s(start) < 30) step();
    assert_true(stats().full_bytes > before);  // a chunk of the block is here
    *damaged ^= 0x40;
    learner_publisher_set(st.publisher, next(3, false));
    learner_publisher_set(st.publisher, next(4, false));
    expect(4);
    if (stats().resyncs[ACTOR_RESYNC_GONE] == 1) {
      assert_true(stats().full_bytes - before < block_bytes());
      assert_int_equal(st.swaps, 2);
      return;
    }
    teardown(state);
    setup_large(state);
  }
  fail_msg("the block was never overtaken while it was fetched");
}

// Two blocks are all an actor has: while the engine uses the snapshot before the live one, the next version waits.
static void test_waits_for_the_engine(void **state) {
  (void)state;
  serve_first();
  st.holding = true;
  learner_publisher_set(st.publisher, next(2, false));
  expect(2);
  assert_int_equal(agrl_weights_version(st.held), 1);
  learner_publisher_set(st.publisher, next(3, false));
  for (int i = 0; i < 500; i++) step();
  assert_int_equal(stats().version, 2);
  const uint16_t *retired = agrl_weights_block(st.held);
  agrl_weights_unref(st.held);
  st.held = NULL;
  st.holding = false;
  expect(3);
  assert_ptr_equal(agrl_weights_block(st.engine), retired);  // its memory was used again
  expect_resyncs(-1, 0, 0);
}

// Adapters arrive merged to the very words that the learner serves (expect), whatever happens to their packages or to the base.
static void test_damaged_base(void **state) {
  (void)state;
  uint16_t *word = (uint16_t *)agrl_weights_block(st.optim.base) + 12345;
  learner_release r = next(1, true);
  *word ^= 1;  // after its hash was taken, and after what is served was merged
  learner_publisher_set(st.publisher, r);
  uint64_t start = agrl_mono_ns();
  while (stats().resyncs[ACTOR_RESYNC_HASH] == 0 && agrl_since_s(start) < 30) step();
  assert_int_equal(stats().version, 0);
  assert_int_equal(st.swaps, 0);
  *word ^= 1;
  expect(1);
  assert_true(stats().verify_failures >= 1);
  assert_true(stats().full_bytes >= 2 * base_bytes());
  uint64_t before = stats().full_bytes;
  learner_publisher_set(st.publisher, next(2, false));
  expect(2);
  assert_int_equal(stats().full_bytes, before);
}

static void test_closes_in_any_state(void **state) {
  (void)state;
  learner_publisher_set(st.publisher, next(1, true));
  for (int i = 0; i < 3; i++) step();
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define ADAPTERS(f) cmocka_unit_test_setup_teardown(f, setup_adapters, teardown)
  const struct CMUnitTest tests[] = {TEST(test_follows_and_joins_late),   TEST(test_corrupted_delta),  TEST(test_lying_delta),
                                     TEST(test_delta_of_another_base),    TEST(test_learner_restarts),
                                     cmocka_unit_test_setup_teardown(test_anchor_rotates_during_fetch, setup_large, teardown),
                                     cmocka_unit_test_setup_teardown(test_block_too_slow, setup_large, teardown),
                                     TEST(test_waits_for_the_engine),     TEST(test_closes_in_any_state),
                                     ADAPTERS(test_follows_and_joins_late), ADAPTERS(test_corrupted_delta), ADAPTERS(test_damaged_base),
                                     ADAPTERS(test_learner_restarts),     ADAPTERS(test_waits_for_the_engine), ADAPTERS(test_closes_in_any_state)};
  if (agrl_tensor_init(NULL) != AGRL_OK) return 70;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
