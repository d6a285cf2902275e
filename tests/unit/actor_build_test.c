// SPDX-License-Identifier: Apache-2.0
// Announcements as a broken or hostile learner may send them, against what an actor is ready to put together: nothing is begun that
// cannot end in the announced weights, and adapters are never merged with a base that was not named and hashed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "actor/weights_build.h"
#include "common/base/mem.h"
#include "common/base/rng.h"
#include "common/ckpt/adapter.h"
#include "common/tensor/tensor.h"

static agrl_layout *model;
static agrl_lora *lora;
static uint16_t *base, *adapters;
static agrl_sha256 base_hash, adapters_hash;

static uint64_t model_bytes(void) { return model->n_elements * sizeof *base; }
static uint64_t adapter_bytes(void) { return lora->layout->n_elements * sizeof *adapters; }

static uint16_t *random_block(size_t n, uint64_t seed) {
  uint16_t *out = agrl_xcalloc(n, sizeof *out);
  agrl_rng rng;
  agrl_rng_init(&rng, seed, 0);
  for (size_t i = 0; i < n; i++) out[i] = (uint16_t)(0x3c00 + agrl_rng_below(&rng, 512));
  return out;
}

static int open_all(void **state) {
  (void)state;
  const agrl_spec s = {.arch = "llama", .n_layers = 1, .hidden = 16, .ffn = 32, .n_heads = 2, .n_kv_heads = 1, .head_dim = 8, .vocab = 64,
                       .context = 32, .rope_theta = 10000, .norm_eps = 1e-5f, .tied = true, .start_id = 0, .end_id = 1};
  if (agrl_tensor_init(NULL) != AGRL_OK || agrl_layout_new(&s, &model, NULL) != AGRL_OK || agrl_lora_new(model, 2, 4, 127, &lora, NULL) != AGRL_OK) return 1;
  base = random_block(model->n_elements, 1);
  adapters = random_block(lora->layout->n_elements, 2);
  base_hash = agrl_sha256_of(base, model_bytes());
  adapters_hash = agrl_sha256_of(adapters, adapter_bytes());
  return 0;
}

static int close_all(void **state) {
  (void)state;
  agrl_lora_free(lora);
  agrl_layout_free(model);
  free(base);
  free(adapters);
  return 0;
}

static void ready(actor_weights_build *b, const agrl_lora *with) {
  agrl_error err = {0};
  actor_weights_build_init(b, model, with);
  if (actor_weights_build_ready(b, &err) != AGRL_OK) fail_msg("%s", err.msg);
}

static void test_hostile_links(void **state) {
  (void)state;
  const agrl_link whole = {.kind = AGRL_LINK_FULL, .version = 5, .bytes = adapter_bytes()};
  const agrl_link model_whole = {.kind = AGRL_LINK_FULL, .version = 5, .bytes = model_bytes()};
  const agrl_link first = {.kind = AGRL_LINK_BASE, .bytes = model_bytes()};
  const agrl_link anchor = {.kind = AGRL_LINK_ANCHOR, .version = 4, .bytes = 9};
  const agrl_link delta = {.kind = AGRL_LINK_DELTA, .version = 5, .base = 4, .bytes = 9};
  agrl_link longer = first, shorter = first, empty = first, versioned = first, based = first;
  longer.bytes += 2;
  shorter.bytes -= 2;
  empty.bytes = 0;
  versioned.version = 5;
  based.base = 4;
  agrl_link cut = whole, other = delta;
  cut.bytes -= 2;
  other.base = 3;
  const struct {
    const char *what;
    bool with_adapters, no_hash, good;
    size_t n;
    agrl_link links[3];
  } rows[] = {
      {"the model's block", false, false, true, 1, {model_whole}},
      {"a base for one that has no adapters", false, false, false, 2, {first, model_whole}},
      {"a base alone for one that has no adapters", false, false, false, 1, {first}},
      {"base and adapters", true, false, true, 2, {first, whole}},
      {"base, anchor and delta", true, false, true, 3, {first, anchor, delta}},
      {"a base longer than the model", true, false, false, 2, {longer, whole}},
      {"a base shorter than the model", true, false, false, 2, {shorter, whole}},
      {"a base of no bytes", true, false, false, 2, {empty, whole}},
      {"a base with a version", true, false, false, 2, {versioned, whole}},
      {"a base on a base", true, false, false, 2, {based, whole}},
      {"a base alone", true, false, false, 1, {first}},
      {"the base second", true, false, false, 2, {whole, first}},
      {"the base twice", true, false, false, 3, {first, first, whole}},
      {"the base between", true, false, false, 3, {anchor, first, delta}},
      {"adapters, the base missing", true, false, false, 1, {whole}},
      {"no links", true, false, false, 0, {whole}},
      {"adapters of no base", true, true, false, 1, {whole}},
      {"a base of no hash", true, true, false, 2, {first, whole}},
      {"the model's block for adapters", true, false, false, 2, {first, model_whole}},
      {"adapters of fewer bytes", true, false, false, 2, {first, cut}},
      {"a delta on another version", true, false, false, 3, {first, anchor, other}},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    actor_weights_build b;
    ready(&b, rows[i].with_adapters ? lora : NULL);
    agrl_msg_announce a = {.version = 5, .bytes = b.turns.bytes, .n_links = rows[i].n, .links = rows[i].links};
    if (!rows[i].no_hash) a.base_hash = base_hash;
    agrl_error err = {0};
    const agrl_rc rc = actor_weights_build_begin(&b, &a, &err);
    if (rc != (rows[i].good ? AGRL_OK : AGRL_EVERSION)) fail_msg("%s: %s \"%s\"", rows[i].what, agrl_rc_name(rc), err.msg);
    if (rc != AGRL_OK && (!*err.msg || b.n_links)) fail_msg("%s: refused without a word, or begun all the same", rows[i].what);
    actor_weights_build_release(&b);
  }
}

// Links beyond what a build holds must not be copied.
static void test_too_many_links(void **state) {
  (void)state;
  enum { N = AGRL_LIMIT_LINKS + 1 };
  agrl_link *links = agrl_xcalloc(N, sizeof *links);
  links[0] = (agrl_link){.kind = AGRL_LINK_BASE, .bytes = model_bytes()};
  links[1] = (agrl_link){.kind = AGRL_LINK_ANCHOR, .version = 1, .bytes = 9};
  for (size_t i = 2; i < N; i++) links[i] = (agrl_link){.kind = AGRL_LINK_DELTA, .version = i, .base = i - 1, .bytes = 9};
  for (size_t n = N - 1; n <= N; n++) {
    actor_weights_build b;
    ready(&b, lora);
    const agrl_msg_announce a = {.version = n - 1, .bytes = b.turns.bytes, .base_hash = base_hash, .n_links = n, .links = links};
    assert_int_equal(actor_weights_build_begin(&b, &a, NULL), n == AGRL_LIMIT_LINKS ? AGRL_OK : AGRL_EVERSION);
    actor_weights_build_release(&b);
  }
  free(links);
}

// Fetches what was begun; false: refused by its hash.
static bool fetch(actor_weights_build *b, const uint16_t *base_block) {
  agrl_msg_chunk_get get;
  actor_weights_build_fill(b);
  while (actor_weights_build_next(b, &get)) {
    const uint8_t *from = (const uint8_t *)(get.kind == AGRL_LINK_BASE ? base_block : adapters);
    const agrl_msg_chunk k = {.version = get.version, .offset = get.offset, .len = get.len, .data = from + get.offset};
    assert_int_equal(actor_weights_build_take(b, &k, NULL), AGRL_OK);
  }
  return actor_weights_build_verify(b);
}

// What was announced is had only once its hash was seen, and a base that did not come whole is no base, whatever is announced next.
static void test_only_a_hashed_base_counts(void **state) {
  (void)state;
  actor_weights_build b;
  const agrl_sha256 zeros = {0};
  const agrl_link links[] = {{.kind = AGRL_LINK_BASE, .bytes = model_bytes()}, {.kind = AGRL_LINK_FULL, .version = 5, .bytes = adapter_bytes()}};
  const agrl_msg_announce with = {.version = 5, .hash = adapters_hash, .base_hash = base_hash, .n_links = 2, .links = links};
  agrl_msg_announce without = with;
  without.n_links = 1;
  without.links = links + 1;
  ready(&b, lora);
  assert_int_equal(actor_weights_build_begin(&b, &with, NULL), AGRL_OK);  // and given up before its end
  without.base_hash = zeros;
  assert_int_equal(actor_weights_build_begin(&b, &without, NULL), AGRL_EVERSION);
  without.base_hash = base_hash;
  assert_int_equal(actor_weights_build_begin(&b, &without, NULL), AGRL_EVERSION);
  base[7] ^= 1;
  assert_int_equal(actor_weights_build_begin(&b, &with, NULL), AGRL_OK);
  assert_false(fetch(&b, base));
  base[7] ^= 1;
  assert_int_equal(actor_weights_build_begin(&b, &without, NULL), AGRL_EVERSION);
  assert_int_equal(actor_weights_build_begin(&b, &with, NULL), AGRL_OK);
  assert_true(fetch(&b, base));
  agrl_weights_unref(actor_weights_build_commit(&b));
  const agrl_sha256 have = actor_weights_build_base(&b);
  assert_memory_equal(&have, &base_hash, sizeof have);
  const agrl_link next = {.kind = AGRL_LINK_DELTA, .version = 6, .base = 5, .bytes = 9};
  agrl_msg_announce follow = {.version = 6, .base_hash = base_hash, .n_links = 1, .links = &next};
  assert_int_equal(actor_weights_build_ready(&b, NULL), AGRL_OK);
  assert_int_equal(actor_weights_build_begin(&b, &follow, NULL), AGRL_OK);
  follow.base_hash.b[31] ^= 1;
  assert_int_equal(actor_weights_build_begin(&b, &follow, NULL), AGRL_EVERSION);
  follow.base_hash = zeros;
  assert_int_equal(actor_weights_build_begin(&b, &follow, NULL), AGRL_EVERSION);
  actor_weights_build_release(&b);
}

// Adapters that are described otherwise than they come: the sizes tell, before anything is fetched.
static void test_lying_description(void **state) {
  (void)state;
  agrl_lora *other, *told;
  agrl_buf text = {0};
  agrl_error err = {0};
  if (agrl_lora_new(model, 4, 4, 127, &other, &err) != AGRL_OK) fail_msg("%s", err.msg);
  agrl_adapter_write_config(other, "", &text);
  if (agrl_adapter_parse_config(text.data, text.len, "announced adapters", model, &told, &err) != AGRL_OK) fail_msg("%s", err.msg);
  actor_weights_build b;
  ready(&b, told);
  const agrl_link links[] = {{.kind = AGRL_LINK_BASE, .bytes = model_bytes()}, {.kind = AGRL_LINK_FULL, .version = 5, .bytes = adapter_bytes()}};
  const agrl_msg_announce a = {.version = 5, .hash = adapters_hash, .base_hash = base_hash, .n_links = 2, .links = links};
  assert_int_equal(actor_weights_build_begin(&b, &a, &err), AGRL_EVERSION);
  actor_weights_build_release(&b);
  agrl_lora_free(other);
  agrl_lora_free(told);
  agrl_buf_release(&text);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_hostile_links), cmocka_unit_test(test_too_many_links),
                                     cmocka_unit_test(test_only_a_hashed_base_counts), cmocka_unit_test(test_lying_description)};
  return cmocka_run_group_tests(tests, open_all, close_all);
}
