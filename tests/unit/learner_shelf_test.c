// SPDX-License-Identifier: Apache-2.0
// What is kept of published versions and which way it offers: the fewest bytes, by deltas, from the anchor, or the block.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/base/mem.h"
#include "common/base/rng.h"
#include "common/wire/limits.h"
#include "learner/shelf.h"

typedef struct shop {
  agrl_layout *l;
  uint16_t *block;
  agrl_weights *last;
  learner_shelf shelf;
  agrl_rng rng;
  agrl_link links[AGRL_LIMIT_LINKS];
} shop;

static shop sp;

static int setup(void **state) {
  (void)state;
  agrl_spec s = {.arch = "llama", .n_layers = 1, .hidden = 64, .ffn = 128, .n_heads = 4, .n_kv_heads = 2, .head_dim = 16, .vocab = 512,
                 .context = 64, .rope_theta = 10000, .norm_eps = 1e-5f, .tied = true, .start_id = 0, .end_id = 1};
  memset(&sp, 0, sizeof sp);
  if (agrl_layout_new(&s, &sp.l, NULL) != AGRL_OK) return 1;
  sp.block = agrl_xcalloc(sp.l->n_elements, sizeof *sp.block);
  agrl_rng_init(&sp.rng, 3, 0);
  for (size_t i = 0; i < sp.l->tensors[0].rows * sp.l->tensors[0].cols; i++)
    sp.block[sp.l->tensors[0].offset + i] = (uint16_t)(0x3c00 + agrl_rng_below(&sp.rng, 256));
  return 0;
}

static int teardown(void **state) {
  (void)state;
  learner_shelf_release(&sp.shelf);
  agrl_weights_unref(sp.last);
  free(sp.block);
  agrl_layout_free(sp.l);
  return 0;
}

// Publishes version with about `edits` words changed; delta and anchor as asked.
static void publish(uint64_t version, size_t edits, bool delta, bool anchor) {
  const agrl_tensor_desc *t = &sp.l->tensors[0];
  for (size_t i = 0; i < edits; i++) sp.block[t->offset + agrl_rng_below(&sp.rng, (uint32_t)(t->rows * t->cols))] ^= (uint16_t)(1 + agrl_rng_below(&sp.rng, 0xffff));
  agrl_weights *w = agrl_weights_new(sp.l, sp.block, version);
  learner_shelf_put(&sp.shelf, agrl_weights_ref(w), anchor ? learner_package_new(NULL, w, NULL, NULL) : NULL,
                    delta ? learner_package_new(sp.last, w, NULL, NULL) : NULL);
  agrl_weights_unref(sp.last);
  sp.last = w;
}

static size_t plan(uint64_t have, bool full) {
  size_t n = learner_shelf_plan(&sp.shelf, have, full, sp.links), len;
  for (size_t i = 0; i < n; i++) {  // what is offered is there
    assert_non_null(learner_shelf_find(&sp.shelf, sp.links[i].kind, sp.links[i].version, &len));
    assert_int_equal(len, sp.links[i].bytes);
    if (sp.links[i].kind == AGRL_LINK_FULL) sp.shelf.newest_asked = false;
  }
  return n;
}

static void test_ways(void **state) {
  (void)state;
  publish(100, 0, false, true);
  assert_int_equal(plan(0, false), 1);  // the anchor alone is fewer bytes than the block
  assert_true(sp.links[0].kind == AGRL_LINK_ANCHOR && sp.links[0].version == 100 && sp.links[0].base == 0);
  assert_int_equal(plan(100, false), 0);
  assert_int_equal(plan(100, true), 1);  // it was damaged there
  assert_int_equal(sp.links[0].kind, AGRL_LINK_FULL);
  for (uint64_t v = 101; v <= 104; v++) publish(v, 20, true, false);
  assert_int_equal(plan(102, false), 2);
  for (size_t i = 0; i < 2; i++) assert_true(sp.links[i].kind == AGRL_LINK_DELTA && sp.links[i].base == 102 + i && sp.links[i].version == 103 + i);
  assert_int_equal(plan(0, false), 5);  // a late joiner
  assert_true(sp.links[0].kind == AGRL_LINK_ANCHOR && sp.links[1].base == 100 && sp.links[4].version == 104);
  assert_int_equal(plan(99, false), 5);  // of a line that did not survive
  assert_int_equal(plan(102, true), 1);
  assert_true(sp.links[0].kind == AGRL_LINK_FULL && sp.links[0].version == 104);
  publish(105, 20, false, false);  // a hole: nothing leads over it
  assert_int_equal(plan(104, false), 1);
  assert_true(sp.links[0].kind == AGRL_LINK_FULL && sp.links[0].version == 105);
  publish(106, 20, true, false);
  assert_int_equal(plan(105, false), 1);
  assert_int_equal(sp.links[0].kind, AGRL_LINK_DELTA);
  assert_int_equal(plan(104, false), 1);
  assert_int_equal(sp.links[0].kind, AGRL_LINK_FULL);
}

static void test_anchors_rotate(void **state) {
  (void)state;
  for (uint64_t v = 1; v <= 9; v++) publish(v, 20, v > 1, v % 4 == 1);  // anchors 1, 5, 9
  size_t len;
  assert_null(learner_shelf_find(&sp.shelf, AGRL_LINK_ANCHOR, 5, &len));
  assert_int_equal(plan(0, false), 1);
  assert_int_equal(sp.links[0].version, 9);
  publish(10, 20, true, false);
  assert_int_equal(plan(0, false), 2);
  assert_int_equal(plan(2, false), 8);  // deltas go on over anchors
  assert_int_equal(sp.links[0].kind, AGRL_LINK_DELTA);
}

static void test_bounds(void **state) {
  (void)state;
  size_t block = sp.l->n_elements * sizeof *sp.block, len;
  publish(1, 0, false, true);
  for (uint64_t v = 2; v <= 60; v++) {
    publish(v, 4000, true, false);
    assert_true(sp.shelf.delta_bytes <= block && sp.shelf.n_deltas > 0);
  }
  assert_null(learner_shelf_find(&sp.shelf, AGRL_LINK_DELTA, 2, &len));  // pushed out
  assert_int_equal(plan(0, false), 1);  // the chain from the anchor is gone, and it would be longer than the block
  assert_int_equal(sp.links[0].kind, AGRL_LINK_FULL);
  assert_int_equal(plan(59, false), 1);
  assert_int_equal(sp.links[0].kind, AGRL_LINK_DELTA);
  for (uint64_t v = 61; v <= 61 + LEARNER_DELTAS_MAX; v++) publish(v, 1, true, false);
  assert_true(sp.shelf.n_deltas <= LEARNER_DELTAS_MAX);
  assert_true(plan(61 + LEARNER_DELTAS_MAX - 100, false) <= AGRL_LIMIT_LINKS);
}

static void test_keeps_what_is_fetched(void **state) {
  (void)state;
  size_t len;
  publish(1, 0, false, false);
  publish(2, 5, true, false);
  assert_null(learner_shelf_find(&sp.shelf, AGRL_LINK_FULL, 1, &len));
  assert_non_null(learner_shelf_find(&sp.shelf, AGRL_LINK_FULL, 2, &len));
  assert_int_equal(len, sp.l->n_elements * 2);
  publish(3, 5, true, false);
  assert_non_null(learner_shelf_find(&sp.shelf, AGRL_LINK_FULL, 2, &len));  // someone is at it
  publish(4, 5, true, false);
  assert_null(learner_shelf_find(&sp.shelf, AGRL_LINK_FULL, 2, &len));
}

// Large tensors are cut in pieces, and a tensor that did not change costs nothing.
static void test_named_tensors(void **state) {
  (void)state;
  agrl_spec s = sp.l->spec;
  agrl_layout *l = NULL;
  s.vocab = 40000;  // 2.56 million elements: three pieces
  assert_int_equal(agrl_layout_new(&s, &l, NULL), AGRL_OK);
  uint16_t *from = agrl_block_alloc(l->n_elements * 2), *to = agrl_block_alloc(l->n_elements * 2);
  agrl_rng rng;
  agrl_rng_init(&rng, 4, 0);
  const agrl_tensor_desc *embed = &l->tensors[l->embed], *q = &l->tensors[l->layers[0].q];
  for (size_t i = 0; i < embed->rows * embed->cols; i++) from[embed->offset + i] = (uint16_t)(0x3c00 + agrl_rng_below(&rng, 0x200));
  memcpy(to, from, l->n_elements * 2);
  for (size_t i = 0; i < 40; i++) to[q->offset + i * 7]++;
  agrl_delta_id id = {.base_version = 1, .version = 2};
  agrl_delta_stats st;
  agrl_buf out = {0};
  agrl_delta_encode(l, from, to, &id, NULL, &out, &st);
  assert_true(st.changed == 40 && st.pieces == 1 && out.len < 104 + 32 + 120);  // of 5 MB
  agrl_buf_clear(&out);
  to[embed->offset + (2u << 20)]++;
  to[embed->offset + embed->rows * embed->cols - 1]++;
  agrl_delta_encode(l, from, to, &id, NULL, &out, &st);
  assert_true(st.changed == 42 && st.pieces == 2);
  agrl_delta_reader *r = agrl_delta_reader_new(l, from, &id);
  assert_int_equal(agrl_delta_reader_feed(r, out.data, out.len, NULL), AGRL_OK);
  assert_true(agrl_delta_reader_done(r));
  assert_memory_equal(from, to, l->n_elements * 2);
  assert_int_equal(agrl_delta_reader_feed(r, "x", 1, NULL), AGRL_EPARSE);  // nothing may follow
  agrl_delta_reader_free(r);
  l->tensors[l->layers[0].q].name[0]++;  // the same bytes, another name
  r = agrl_delta_reader_new(l, from, &id);
  assert_int_equal(agrl_delta_reader_feed(r, out.data, out.len, NULL), AGRL_EVERSION);
  agrl_delta_reader_free(r);
  agrl_buf_release(&out);
  agrl_block_free(from, l->n_elements * 2);
  agrl_block_free(to, l->n_elements * 2);
  agrl_layout_free(l);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
  const struct CMUnitTest tests[] = {TEST(test_ways), TEST(test_anchors_rotate), TEST(test_bounds), TEST(test_keeps_what_is_fetched), TEST(test_named_tensors)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
