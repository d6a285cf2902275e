// SPDX-License-Identifier: Apache-2.0
// The wire: every kind survives the way there and back field by field; what is damaged, foreign, cut, too large or not
// finite is refused with the error that says so, and nothing above the header is parsed before the limits are checked.
// Called as `wire_codec_test --corpus DIR` it writes one valid message per kind, the seeds of the fuzz targets.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "agrl/v1/reward.pb-c.h"
#include "common/base/file.h"
#include "common/wire/limits.h"
#include "tests/lib/wire_visit.h"
#include "tests/lib/wire_visit.inc"

static void fill(agrl_msg *m, agrl_msg_kind kind, uint64_t seed, agrl_arena *a) {
  agrl_rng rng;
  agrl_rng_init(&rng, seed, (uint64_t)kind);
  visit v = {.rng = &rng, .arena = a};
  *m = (agrl_msg){.kind = kind};
  visit_msg(&v, m);
}

static char *text_of(agrl_msg *m) {
  agrl_buf out = {0};
  visit v = {.out = &out};
  visit_msg(&v, m);
  return agrl_buf_take(&out);
}

static void test_round_trip(void **state) {
  for (int kind = AGRL_MSG_NONE + 1; kind < AGRL_MSG_N; kind++)
    for (uint64_t seed = 0; seed < 50; seed++) {
      agrl_arena a;
      agrl_buf wire = {0}, again = {0};
      agrl_msg in, out;
      agrl_error err = {0};
      agrl_arena_init(&a, 0);
      fill(&in, (agrl_msg_kind)kind, seed, &a);
      if (agrl_msg_pack(&in, &wire, &err) || agrl_msg_unpack(wire.data, wire.len, &a, &out, &err)) fail_msg("%s", err.msg);
      assert_int_equal(out.kind, kind);
      char *want = text_of(&in), *got = text_of(&out);
      assert_string_equal(got, want);
      assert_int_equal(agrl_msg_pack(&out, &again, &err), AGRL_OK);
      assert_int_equal(again.len, wire.len);
      assert_memory_equal(again.data, wire.data, wire.len);
      free(want), free(got);
      agrl_buf_release(&wire), agrl_buf_release(&again);
      agrl_arena_release(&a);
    }
}

static void test_scored_record(void **state) {
  agrl_arena a;
  agrl_arena_init(&a, 0);
  agrl_msg in, out = {.kind = AGRL_MSG_SCORED};
  agrl_buf rec = {0};
  fill(&in, AGRL_MSG_SCORED, 7, &a);
  in.id = in.deadline_ms = 0;
  assert_int_equal(agrl_scored_pack(&in.scored, &rec, NULL), AGRL_OK);
  assert_int_equal(agrl_scored_unpack(rec.data, rec.len, &a, &out.scored, NULL), AGRL_OK);
  char *want = text_of(&in), *got = text_of(&out);
  assert_string_equal(got, want);
  assert_int_not_equal(agrl_scored_unpack(rec.data, rec.len - 1, &a, &out.scored, NULL), AGRL_OK);
  assert_int_equal(agrl_scored_unpack("", 0, &a, &out.scored, NULL), AGRL_EPARSE);  // no trace inside
  free(want), free(got);
  agrl_buf_release(&rec);
  agrl_arena_release(&a);
}

static agrl_rc unpack(const agrl_buf *b) {
  agrl_arena a;
  agrl_msg m;
  agrl_arena_init(&a, 0);
  agrl_rc rc = agrl_msg_unpack(b->data, b->len, &a, &m, NULL);
  agrl_arena_release(&a);
  return rc;
}

static agrl_buf packed(agrl_msg_kind kind) {
  agrl_arena a;
  agrl_buf b = {0};
  agrl_msg m;
  agrl_arena_init(&a, 0);
  fill(&m, kind, 3, &a);
  assert_int_equal(agrl_msg_pack(&m, &b, NULL), AGRL_OK);
  agrl_arena_release(&a);
  return b;
}

static void test_every_flip_refused(void **state) {
  agrl_buf b = packed(AGRL_MSG_TRACE);
  for (size_t i = 0; i < b.len * 8; i++) {
    b.data[i / 8] = (char)(b.data[i / 8] ^ (1 << (i % 8)));
    agrl_rc rc = unpack(&b);
    if (rc == AGRL_OK) fail_msg("flip of bit %zu accepted", i);
    if (i / 8 >= 16) assert_int_equal(rc, AGRL_ECHECKSUM);  // id, deadline, checksum, body
    if (i / 8 < 4) assert_int_equal(rc, AGRL_EPARSE);
    if (i / 8 == 4 || i / 8 == 5) assert_int_equal(rc, AGRL_EVERSION);
    b.data[i / 8] = (char)(b.data[i / 8] ^ (1 << (i % 8)));
  }
  assert_int_equal(unpack(&b), AGRL_OK);
  for (size_t len = 0; len < b.len; len++) {
    agrl_buf cut = {.data = b.data, .len = len};
    assert_int_equal(unpack(&cut), AGRL_EPARSE);
  }
  agrl_buf_addc(&b, 'x');
  assert_int_equal(unpack(&b), AGRL_EPARSE);
  agrl_buf_release(&b);
}

static void test_size_before_everything(void **state) {
  agrl_buf b = packed(AGRL_MSG_WEIGHTS_GET);
  uint32_t big = (uint32_t)AGRL_LIMIT_BODY_WEIGHTS_GET + 1;
  memcpy(b.data + 12, &big, 4);
  assert_int_equal(unpack(&b), AGRL_ELIMIT);  // although length and checksum are wrong as well
  agrl_buf_release(&b);
}

static void assert_pack(const agrl_msg *m, agrl_rc want) {
  agrl_buf b = {0};
  assert_int_equal(agrl_msg_pack(m, &b, NULL), want);
  if (want != AGRL_OK) assert_int_equal(b.len, 0);
  agrl_buf_release(&b);
}

static void test_packer_limits(void **state) {
  char *name = malloc(AGRL_LIMIT_NAME + 2);
  memset(name, 'n', AGRL_LIMIT_NAME + 1);
  name[AGRL_LIMIT_NAME + 1] = '\0';
  agrl_msg m = {.kind = AGRL_MSG_WEIGHTS_GET, .weights_get = {.actor = name}};
  assert_pack(&m, AGRL_ELIMIT);
  name[AGRL_LIMIT_NAME] = '\0';
  assert_pack(&m, AGRL_OK);
  m.weights_get.actor = NULL;
  assert_pack(&m, AGRL_OK);
  m.weights_get.actor = "\xff";
  assert_pack(&m, AGRL_EINVAL);
  m = (agrl_msg){.kind = AGRL_MSG_CHUNK, .chunk = {.len = AGRL_LIMIT_CHUNK + 1, .data = (const uint8_t *)name}};
  assert_pack(&m, AGRL_ELIMIT);
  m.kind = AGRL_MSG_N;
  assert_pack(&m, AGRL_EINVAL);
  free(name);
}

static void test_numbers_must_be_finite(void **state) {
  static const float bad[] = {NAN, INFINITY, -INFINITY};
  int32_t token = 5;
  uint64_t version = 1;
  for (size_t i = 0; i < 3; i++) {
    agrl_msg m = {.kind = AGRL_MSG_TRACE, .trace = {.n_tokens = 1, .tokens = &token, .logprobs = &bad[i], .versions = &version}};
    assert_pack(&m, AGRL_EPARSE);
    m = (agrl_msg){.kind = AGRL_MSG_SCORED, .scored = {.reward = (double)bad[i]}};
    assert_pack(&m, AGRL_EPARSE);
    m.scored.missing = true;  // then the number means nothing and travels as 0
    assert_pack(&m, AGRL_OK);
  }
}

static void test_text_is_made_valid(void **state) {
  static const struct { const char *in, *out; } rows[] = {
      {"ok \xC3\xA9", "ok \xC3\xA9"},
      {"cut \xE6\xBC", "cut \xEF\xBF\xBD\xEF\xBF\xBD"},
      {"\xC0\xAF", "\xEF\xBF\xBD\xEF\xBF\xBD"},                          // overlong
      {"\xED\xA0\x80!", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD!"},        // surrogate
      {"\xF4\x90\x80\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
      {"\xF0\x9F\x98\x80", "\xF0\x9F\x98\x80"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    agrl_arena a;
    agrl_buf b = {0};
    agrl_msg out, m = {.kind = AGRL_MSG_TRACE, .trace = {.text = rows[i].in}};
    agrl_arena_init(&a, 0);
    assert_int_equal(agrl_msg_pack(&m, &b, NULL), AGRL_OK);
    assert_int_equal(agrl_msg_unpack(b.data, b.len, &a, &out, NULL), AGRL_OK);
    assert_string_equal(out.trace.text, rows[i].out);
    agrl_buf_release(&b);
    agrl_arena_release(&a);
  }
}

// Bodies that a correct sender never makes, built with protobuf directly.
static agrl_rc unpack_trace_body(void (*damage)(Agrl__V1__Trace *)) {
  static int32_t tokens[2] = {1, 2};
  static float logprobs[2] = {-1, -2};
  uint64_t value[2] = {3, 4};
  uint32_t count[2] = {1, 1};
  Agrl__V1__TraceId id = AGRL__V1__TRACE_ID__INIT;
  Agrl__V1__Trace t = AGRL__V1__TRACE__INIT;
  Agrl__V1__Scored s = AGRL__V1__SCORED__INIT;
  t.id = &id;
  t.tokens = (ProtobufCBinaryData){8, (uint8_t *)tokens};
  t.logprobs = (ProtobufCBinaryData){8, (uint8_t *)logprobs};
  t.n_version_value = t.n_version_count = 2;
  t.version_value = value;
  t.version_count = count;
  if (damage) damage(&t);
  s.trace = &t;
  size_t len = agrl__v1__scored__get_packed_size(&s);
  uint8_t *body = malloc(len);
  agrl__v1__scored__pack(&s, body);
  agrl_arena a;
  agrl_msg_scored out;
  agrl_arena_init(&a, 0);
  agrl_rc rc = agrl_scored_unpack(body, len, &a, &out, NULL);
  if (rc == AGRL_OK) assert_int_equal(out.trace.versions[1], 4);
  agrl_arena_release(&a);
  free(body);
  return rc;
}

static float nan_pair[2] = {-1, NAN};
static int32_t negative[2] = {1, -2};
static void no_id(Agrl__V1__Trace *t) { t->id = NULL; }
static void short_logprobs(Agrl__V1__Trace *t) { t->logprobs.len = 4; }
static void odd_logprobs(Agrl__V1__Trace *t) { t->logprobs.len = 7; }
static void nan_logprob(Agrl__V1__Trace *t) { t->logprobs.data = (uint8_t *)nan_pair; }
static void negative_token(Agrl__V1__Trace *t) { t->tokens.data = (uint8_t *)negative; }
static void spans_short(Agrl__V1__Trace *t) { t->n_version_value = t->n_version_count = 1; }
static void spans_long(Agrl__V1__Trace *t) { t->version_count[1] = 2; }
static void spans_huge(Agrl__V1__Trace *t) { t->version_count[1] = UINT32_MAX; }
static void spans_uneven(Agrl__V1__Trace *t) { t->n_version_count = 1; }
static void span_empty(Agrl__V1__Trace *t) { t->version_count[0] = 0; }
static void stop_unknown(Agrl__V1__Trace *t) { t->stop = (Agrl__V1__Stop)7; }
static void bad_text(Agrl__V1__Trace *t) { t->text = (char *)"\xff"; }

static void test_bad_bodies(void **state) {
  void (*const damages[])(Agrl__V1__Trace *) = {no_id,       short_logprobs, odd_logprobs, nan_logprob,  negative_token, spans_short,
                                                spans_long,  spans_huge,     spans_uneven, span_empty,   stop_unknown,   bad_text};
  assert_int_equal(unpack_trace_body(NULL), AGRL_OK);
  for (size_t i = 0; i < sizeof damages / sizeof *damages; i++)
    if (unpack_trace_body(damages[i]) != AGRL_EPARSE) fail_msg("damage %zu was not refused", i);
}

// Two bytes on the wire make a sub-message of some hundred in memory: a body of them must not take gigabytes.
static void test_memory_is_bounded(void **state) {
  size_t len = AGRL_LIMIT_BODY_SCORED;
  uint8_t *body = malloc(len);
  for (size_t i = 0; i + 1 < len; i += 2) body[i] = 0x52, body[i + 1] = 0;  // field 10, an empty Score
  agrl_arena a;
  agrl_msg_scored out;
  agrl_arena_init(&a, 0);
  assert_int_equal(agrl_scored_unpack(body, len, &a, &out, NULL), AGRL_ELIMIT);
  assert_true(a.used_bytes <= AGRL_LIMIT_UNPACK_FIXED + AGRL_LIMIT_UNPACK_FACTOR * len);
  agrl_arena_release(&a);
  free(body);
}

static int write_corpus(const char *dir) {
  agrl_error err = {0};
  for (int kind = AGRL_MSG_NONE + 1; kind < AGRL_MSG_N; kind++) {
    agrl_arena a;
    agrl_buf b = {0};
    agrl_msg m;
    agrl_arena_init(&a, 0);
    for (uint64_t seed = 2; b.len < AGRL_WIRE_HEADER_BYTES + (kind == AGRL_MSG_STATUS_REQUEST ? 0 : 24) && seed < 40; seed++) {
      agrl_buf_clear(&b);
      fill(&m, (agrl_msg_kind)kind, seed, &a);
      m.deadline_ms = 0;
      if (agrl_msg_pack(&m, &b, &err)) return 1;
    }
    char path[512];
    snprintf(path, sizeof path, "%s/wire_message/%s", dir, agrl_msg_kind_name((agrl_msg_kind)kind));
    if (agrl_file_write_atomic(path, b.data, b.len, &err)) return fprintf(stderr, "%s\n", err.msg), 1;
    if (kind == AGRL_MSG_SCORED)
      for (uint64_t seed = 0; seed < 4; seed++) {
        fill(&m, AGRL_MSG_SCORED, seed, &a);
        agrl_buf_clear(&b);
        snprintf(path, sizeof path, "%s/wire_scored/scored%d", dir, (int)seed);
        if (agrl_scored_pack(&m.scored, &b, &err) || agrl_file_write_atomic(path, b.data, b.len, &err)) return 1;
      }
    agrl_buf_release(&b);
    agrl_arena_release(&a);
  }
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 3 && strcmp(argv[1], "--corpus") == 0) return write_corpus(argv[2]);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_round_trip),          cmocka_unit_test(test_scored_record),
      cmocka_unit_test(test_every_flip_refused),  cmocka_unit_test(test_size_before_everything),
      cmocka_unit_test(test_packer_limits),       cmocka_unit_test(test_numbers_must_be_finite),
      cmocka_unit_test(test_text_is_made_valid),  cmocka_unit_test(test_bad_bodies),
      cmocka_unit_test(test_memory_is_bounded),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
