// SPDX-License-Identifier: Apache-2.0
// Serving weights, seen from outside over real sockets: nothing before the first version, meta and chunks that hash to what
// was announced, the snapshot before the newest still there, older ones answered with the newest version.
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/base/bug.h"
#include "common/base/mem.h"
#include "learner/publish.h"

enum { CHUNK = 1 << 20 };

typedef struct server {  // the loop thread
  agrl_svc svc;
  learner_publisher *publisher;
  uv_async_t next, quit;
  pthread_t thread;
  agrl_layout *layout;
  float *block;
  agrl_weights *last;
  agrl_metric *bytes;
  uint32_t step;
  atomic_uint published;
} server;

static server sv;
static char endpoint[96], announce[96];

static void on_next(uv_async_t *h) {
  (void)h;
  sv.step++;
  for (size_t i = 0; i < sv.layout->n_elements; i++) sv.block[i] = (float)(i % 97) + (i % 50 == 0 ? (float)sv.step : 0);
  if (sv.step == 1) learner_publisher_model(sv.publisher, (learner_model){.config_json = agrl_xstrdup("{\"model\":1}"), .tokenizer_path = agrl_xstrdup("/run/tokenizer.json")});
  learner_release r = {.weights = agrl_weights_from_f32(sv.layout, sv.block, AGRL_VERSION(1, sv.step)), .phase = "rl"};
  if (sv.last != NULL) r.delta = learner_package_new(sv.last, r.weights, NULL, NULL);
  else r.anchor = learner_package_new(NULL, r.weights, NULL, NULL);
  agrl_weights_unref(sv.last);
  sv.last = agrl_weights_ref(r.weights);
  learner_publisher_set(sv.publisher, r);
  atomic_fetch_add(&sv.published, 1);
}

static void on_quit(uv_async_t *h) { uv_stop(h->loop); }

static void *serve(void *arg) {
  uv_run(&sv.svc.loop, UV_RUN_DEFAULT);
  learner_publisher_close(sv.publisher);
  uv_close((uv_handle_t *)&sv.next, NULL);
  uv_close((uv_handle_t *)&sv.quit, NULL);
  agrl_net_close(sv.svc.net);
  uv_run(&sv.svc.loop, UV_RUN_DEFAULT);
  AGRL_ASSERT(uv_loop_close(&sv.svc.loop) == 0);
  return arg;
}

static int setup(void **state) {
  (void)state;
  static const char *const kinds[] = {"full", "delta", NULL}, *const dirs[] = {"sent", "received", NULL};
  static const agrl_metric_desc desc = {.name = "bytes", .help = "bytes", .type = AGRL_COUNTER, .label = "kind", .values = kinds, .label2 = "dir", .values2 = dirs};
  agrl_spec s = {.arch = "llama", .n_layers = 2, .hidden = 128, .ffn = 512, .n_heads = 4, .n_kv_heads = 2, .head_dim = 32, .vocab = 1024,
                 .context = 64, .rope_theta = 10000, .norm_eps = 1e-5f, .tied = false, .start_id = 0, .end_id = 1};
  agrl_error err = {0};
  memset(&sv, 0, sizeof sv);
  snprintf(endpoint, sizeof endpoint, "ipc:///tmp/agrl-publish-%ld", (long)getpid());
  snprintf(announce, sizeof announce, "ipc:///tmp/agrl-announce-%ld", (long)getpid());
  sv.svc.config.net.weights = endpoint;
  sv.svc.config.net.announce = announce;
  sv.svc.config.net.hwm = 100;
  sv.svc.config.run.dir = (char *)"/tmp";
  sv.svc.run_id = 77;
  uv_loop_init(&sv.svc.loop);
  if (agrl_layout_new(&s, &sv.layout, &err) != AGRL_OK || agrl_net_open(&sv.svc.net, &sv.svc.loop, &err) != AGRL_OK ||
      learner_publisher_open(&sv.publisher, &sv.svc, sv.bytes = agrl_metric_register(&desc), &err) != AGRL_OK) {
    fprintf(stderr, "%s\n", err.msg);
    return 1;
  }
  sv.block = agrl_block_alloc(sv.layout->n_elements * sizeof(float));
  uv_async_init(&sv.svc.loop, &sv.next, on_next);
  uv_async_init(&sv.svc.loop, &sv.quit, on_quit);
  return pthread_create(&sv.thread, NULL, serve, NULL);
}

static int teardown(void **state) {
  (void)state;
  uv_async_send(&sv.quit);
  pthread_join(sv.thread, NULL);
  agrl_weights_unref(sv.last);
  agrl_block_free(sv.block, sv.layout->n_elements * sizeof(float));
  agrl_layout_free(sv.layout);
  agrl_metrics_reset();
  unlink(endpoint + 6);
  unlink(announce + 6);
  return 0;
}

static void publish(void) {
  unsigned before = atomic_load(&sv.published);
  uv_async_send(&sv.next);
  for (int i = 0; i < 5000 && atomic_load(&sv.published) == before; i++) usleep(1000);
  assert_int_equal(atomic_load(&sv.published), before + 1);
}

static agrl_rc ask(agrl_msg m, agrl_arena *arena, agrl_msg *answer) {
  agrl_error err = {0};
  agrl_rc rc = agrl_call_once(endpoint, &m, 5000, arena, answer, &err);
  return rc == AGRL_OK && answer->kind == AGRL_MSG_ERROR ? (agrl_rc)answer->error.code : rc;
}

static agrl_msg chunk_get(uint64_t version, uint64_t offset, uint32_t len) {
  return (agrl_msg){.kind = AGRL_MSG_CHUNK_GET, .chunk_get = {.version = version, .offset = offset, .len = len}};
}

static void fetch_all(uint64_t version, size_t bytes, const agrl_sha256 *hash) {
  agrl_arena arena;
  agrl_arena_init(&arena, 0);
  uint8_t *block = agrl_xmalloc(bytes);
  size_t got = 0;
  while (got < bytes) {
    agrl_msg a;
    assert_int_equal(ask(chunk_get(version, got, 2 * CHUNK), &arena, &a), AGRL_OK);  // asks for two, gets one
    assert_int_equal(a.kind, AGRL_MSG_CHUNK);
    assert_true(a.chunk.version == version && a.chunk.offset == got && a.chunk.len > 0 && a.chunk.len <= CHUNK);
    memcpy(block + got, a.chunk.data, a.chunk.len);
    got += a.chunk.len;
    agrl_arena_clear(&arena);
  }
  assert_int_equal(got, bytes);
  agrl_sha256 h = agrl_sha256_of(block, bytes);
  assert_memory_equal(&h, hash, sizeof h);
  free(block);
  agrl_arena_release(&arena);
}

static void test_serves_versions(void **state) {
  (void)state;
  agrl_arena arena;
  agrl_arena_init(&arena, 0);
  agrl_msg a, get = {.kind = AGRL_MSG_WEIGHTS_GET, .weights_get = {.actor = "actor-0"}};
  assert_int_equal(ask(get, &arena, &a), AGRL_EAGAIN);
  assert_int_equal(ask(chunk_get(AGRL_VERSION(1, 1), 0, 100), &arena, &a), AGRL_EAGAIN);
  publish();
  assert_int_equal(ask(get, &arena, &a), AGRL_OK);
  size_t bytes = (size_t)a.announce.bytes;
  agrl_sha256 first = a.announce.hash;
  assert_int_equal(a.kind, AGRL_MSG_ANNOUNCE);
  assert_true(a.announce.run == 77 && a.announce.version == AGRL_VERSION(1, 1));
  assert_int_equal(bytes, sv.layout->n_elements * 2);
  assert_true(bytes > CHUNK);  // more than one chunk, or the test shows less than it says
  assert_string_equal(a.announce.config_json, "{\"model\":1}");
  assert_string_equal(a.announce.tokenizer_path, "/run/tokenizer.json");
  fetch_all(AGRL_VERSION(1, 1), bytes, &first);
  publish();
  fetch_all(AGRL_VERSION(1, 1), bytes, &first);  // a fetch under way can end
  publish();
  assert_int_equal(ask(chunk_get(AGRL_VERSION(1, 1), 0, 100), &arena, &a), AGRL_OK);  // gone: told what is newest
  assert_true(a.chunk.len == 0 && a.chunk.version == AGRL_VERSION(1, 3));
  assert_int_equal(ask(get, &arena, &a), AGRL_OK);
  assert_memory_not_equal(&a.announce.hash, &first, sizeof first);
  assert_int_equal(ask(chunk_get(AGRL_VERSION(1, 3), bytes + 1, 1), &arena, &a), AGRL_EINVAL);
  assert_int_equal(ask(chunk_get(AGRL_VERSION(1, 3), bytes, 1), &arena, &a), AGRL_OK);
  assert_int_equal(a.chunk.len, 0);
  agrl_msg odd = {.kind = AGRL_MSG_TASK_REQUEST, .task_request = {.actor = "actor-0"}};
  assert_int_equal(ask(odd, &arena, &a), AGRL_EUNSUPPORTED);
  agrl_arena_release(&arena);
}

static void fetch_link(const agrl_link *l, agrl_delta_reader *r) {
  agrl_arena arena;
  agrl_error err = {0};
  agrl_arena_init(&arena, 0);
  for (uint64_t got = 0; got < l->bytes;) {
    agrl_msg a, m = chunk_get(l->version, got, 3000);
    m.chunk_get.kind = l->kind;
    assert_int_equal(ask(m, &arena, &a), AGRL_OK);
    assert_true(a.chunk.version == l->version && a.chunk.offset == got && a.chunk.len > 0);
    assert_int_equal(agrl_delta_reader_feed(r, a.chunk.data, a.chunk.len, &err), AGRL_OK);
    got += a.chunk.len;
    agrl_arena_clear(&arena);
  }
  assert_true(agrl_delta_reader_done(r));
  agrl_arena_release(&arena);
}

static void test_serves_links(void **state) {
  (void)state;
  agrl_arena arena;
  agrl_arena_init(&arena, 0);
  for (int i = 0; i < 3; i++) publish();
  agrl_msg a, get = {.kind = AGRL_MSG_WEIGHTS_GET, .weights_get = {.actor = "actor-0"}};
  assert_int_equal(ask(get, &arena, &a), AGRL_OK);
  assert_int_equal(a.announce.n_links, 3);  // anchor of 1, deltas to 2 and 3
  uint16_t *block = agrl_block_alloc(sv.layout->n_elements * sizeof *block);
  agrl_delta_id id = {.version = AGRL_VERSION(1, 1)};
  double sent[2] = {0};
  for (size_t i = 0; i < 3; i++) {
    agrl_delta_reader *r = agrl_delta_reader_new(sv.layout, block, &id);
    fetch_link(&a.announce.links[i], r);
    id = (agrl_delta_id){.base_version = id.version, .version = id.version + 1, .base_hash = agrl_delta_reader_id(r)->hash};
    agrl_delta_reader_free(r);
    sent[i > 0] += (double)a.announce.links[i].bytes;
  }
  agrl_sha256 h = agrl_sha256_of(block, sv.layout->n_elements * sizeof *block);
  assert_memory_equal(&h, &a.announce.hash, sizeof h);
  assert_true(agrl_metric_get(sv.bytes, LEARNER_BYTES_FULL_SENT) == sent[0] && agrl_metric_get(sv.bytes, LEARNER_BYTES_DELTA_SENT) == sent[1]);
  get.weights_get.have = AGRL_VERSION(1, 3);
  assert_int_equal(ask(get, &arena, &a), AGRL_OK);
  assert_int_equal(a.announce.n_links, 0);
  agrl_msg never = chunk_get(AGRL_VERSION(1, 3), 0, 10);
  never.chunk_get.kind = AGRL_LINK_ANCHOR;  // the newest is not an anchor
  assert_int_equal(ask(never, &arena, &a), AGRL_ENOENT);
  agrl_block_free(block, sv.layout->n_elements * sizeof *block);
  agrl_arena_release(&arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_serves_versions, setup, teardown),
                                     cmocka_unit_test_setup_teardown(test_serves_links, setup, teardown)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
