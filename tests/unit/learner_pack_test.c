// SPDX-License-Identifier: Apache-2.0
// Packing: positions, targets, bounds, prompts shared by the completions of a group.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "learner/learner.h"

static const int32_t P1[] = {1, 7, 8}, C1[] = {20, 21, 2}, P2[] = {1}, C2[] = {30};

static void test_layout(void **state) {
  (void)state;
  learner_pack p;
  learner_pack_init(&p, 16);
  learner_seq a = {P1, C1, 3, 3}, b = {P2, C2, 1, 1};
  assert_int_equal(learner_seq_fed(&a), 5);
  assert_true(learner_pack_add(&p, &a));
  assert_true(learner_pack_add(&p, &b));
  agrl_batch batch = learner_pack_batch(&p);
  assert_int_equal(batch.n_seqs, 2);
  const size_t start[] = {0, 5, 6};
  const int32_t tokens[] = {1, 7, 8, 20, 21, 1}, target[] = {-1, -1, 20, 21, 2, 30};
  assert_memory_equal(batch.start, start, sizeof start);
  assert_memory_equal(batch.tokens, tokens, sizeof tokens);
  assert_memory_equal(batch.target, target, sizeof target);
  assert_int_equal(p.first[0], 2);
  assert_int_equal(p.first[1], 5);
  learner_pack_clear(&p);
  assert_true(learner_pack_add(&p, &b));  // nothing of before shows through
  batch = learner_pack_batch(&p);
  assert_int_equal(batch.start[1], 1);
  assert_int_equal(batch.target[0], 30);
  learner_pack_release(&p);
}

static void test_full(void **state) {
  (void)state;
  learner_pack p;
  learner_pack_init(&p, 9);
  learner_seq a = {P1, C1, 3, 3}, b = {P2, C2, 1, 1};
  assert_true(learner_pack_add(&p, &a));
  assert_false(learner_pack_add(&p, &a));  // 5 + 5 > 9
  assert_int_equal(p.n_tokens, 5);
  assert_int_equal(p.n_seqs, 1);
  for (int i = 0; i < 4; i++) assert_true(learner_pack_add(&p, &b));
  assert_int_equal(p.n_tokens, 9);
  assert_false(learner_pack_add(&p, &b));
  learner_pack_release(&p);
}

static void test_many_short(void **state) {
  (void)state;
  learner_pack p;
  learner_pack_init(&p, 64);  // one token each: the most sequences a pack can hold
  learner_seq b = {P2, C2, 1, 1};
  for (int i = 0; i < 64; i++) assert_true(learner_pack_add(&p, &b));
  assert_int_equal(p.start[64], 64);
  learner_pack_release(&p);
}

static const int32_t OTHER[] = {1, 7, 9, 9};

static void test_shared_layout(void **state) {
  (void)state;
  learner_pack p;
  learner_pack_init(&p, 32);
  learner_seq a = {P1, C1, 3, 3}, b = {P1, C2, 3, 1}, one = {P2, C2, 1, 1}, longer = {OTHER, C2, 4, 1};
  assert_true(learner_pack_share(&p, &a));
  assert_true(learner_pack_share(&p, &b));
  assert_true(learner_pack_share(&p, &longer));  // begins with the same tokens, but is another prompt
  assert_true(learner_pack_share(&p, &one));     // nothing to share
  assert_true(learner_pack_share(&p, &one));
  agrl_batch batch = learner_pack_batch(&p);
  const size_t start[] = {0, 2, 5, 6, 9, 10, 11, 12}, first[] = {2, 5, 9, 10, 11};
  const int32_t tokens[] = {1, 7, 8, 20, 21, 8, 1, 7, 9, 9, 1, 1}, target[] = {-1, -1, 20, 21, 2, 30, -1, -1, -1, 30, 30, 30};
  const int32_t parent[] = {-1, 0, 0, -1, 3, -1, -1};
  assert_int_equal(batch.n_seqs, 7);
  assert_int_equal(p.n_seqs, 5);
  assert_memory_equal(batch.start, start, sizeof start);
  assert_memory_equal(batch.tokens, tokens, sizeof tokens);
  assert_memory_equal(batch.target, target, sizeof target);
  assert_memory_equal(batch.parent, parent, sizeof parent);
  assert_memory_equal(p.first, first, sizeof first);
  assert_true(learner_pack_add(&p, &a));  // never shares, and is not shared
  assert_int_equal(p.parent[7], -1);
  assert_true(learner_pack_share(&p, &a));
  assert_int_equal(p.parent[8], -1);
  assert_int_equal(p.parent[9], 8);
  learner_pack_release(&p);
}

static void test_shared_bounds(void **state) {
  (void)state;
  learner_pack p;
  learner_pack_init(&p, 9);
  learner_seq a = {P1, C1, 3, 3}, b = {P1, C2, 3, 1};
  assert_true(learner_pack_share(&p, &a));
  assert_true(learner_pack_share(&p, &a));  // 5 + 3
  assert_false(learner_pack_share(&p, &a));
  assert_int_equal(p.n_tokens, 8);
  assert_int_equal(p.n_segs, 3);
  assert_true(learner_pack_share(&p, &b));
  assert_false(learner_pack_share(&p, &b));
  assert_int_equal(p.n_tokens, 9);
  learner_pack_clear(&p);
  assert_true(learner_pack_share(&p, &a));  // the next pack has the prompt again
  assert_int_equal(p.n_tokens, 5);
  assert_int_equal(p.parent[0], -1);
  assert_int_equal(p.parent[1], 0);
  learner_pack_release(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_layout), cmocka_unit_test(test_full), cmocka_unit_test(test_many_short),
                                     cmocka_unit_test(test_shared_layout), cmocka_unit_test(test_shared_bounds)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
