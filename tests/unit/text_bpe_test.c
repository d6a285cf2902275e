// SPDX-License-Identifier: Apache-2.0
// The tokenizer: training, round trips of any bytes, splitting as GPT-2's pattern does, tokenizer.json.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
// cmocka wants the headers above first
#include <cmocka.h>

#include "common/base/file.h"
#include "common/base/rng.h"
#include "common/text/bpe.h"
#include "common/text/nfc.h"
#include "common/text/pretok.h"

static const char *const specials[] = {AGRL_TOK_START, AGRL_TOK_END};
static const char *const corpus[] = {
    "4\n[Query] running shoes; must: waterproof; not: leather\n[Product] running shoes; waterproof, mesh\n[Category] "
    "match\n",
    "Query: face cream without fragrance\nProduct: Lumera face cream 50 ml fragrance free\n",
    "the quick brown fox jumps over the lazy dog, the end; the shoes, the cream",
    "\xe8\xb7\x91\xe9\x9e\x8b caf\xc3\xa9 na\xc3\xafve"};

static agrl_bpe *trained(size_t vocab) {
  agrl_bpe *t = NULL;
  agrl_error err;
  assert_int_equal(agrl_bpe_train(corpus, 4, vocab, specials, 2, &t, &err), AGRL_OK);
  return t;
}

static void assert_round_trip(const agrl_bpe *t, const char *s, size_t n) {
  int32_t *ids = malloc((n + 1) * sizeof *ids);
  size_t k = agrl_bpe_encode(t, s, n, false, ids, n + 1);
  assert_true(k <= n);
  agrl_buf out = {0};
  agrl_bpe_decode(t, ids, k, false, &out);
  assert_int_equal(out.len, n);
  if (n > 0) assert_memory_equal(out.data, s, n);
  agrl_buf_release(&out);
  free(ids);
}

static void test_round_trip(void **state) {
  agrl_bpe *t = trained(400);
  const char *const texts[] = {"",
                               " ",
                               "\n\n  \t x",
                               "   lead and trail   ",
                               "\xe8\xb7\x91\xe9\x9e\x8b\xef\xbc\x8c\xe9\x98\xb2\xe6\xb0\xb4",
                               "\xf0\x9f\x91\x9f\xf0\x9f\x91\xa8\xe2\x80\x8d\xf0\x9f\x91\xa9 ok",
                               "bad \xff\xc3\x28 \xed\xa0\x80 \xe2\x82",
                               "don't 1234 <|start|>x"};
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) assert_round_trip(t, texts[i], strlen(texts[i]));
  agrl_rng r;
  agrl_rng_init(&r, 7, 0);
  char buf[700];
  for (int round = 0; round < 300; round++) {
    size_t n = agrl_rng_below(&r, sizeof buf);
    for (size_t i = 0; i < n; i++)
      buf[i] = (char)(round % 3 == 0   ? agrl_rng_u32(&r)
                      : round % 3 == 1 ? (uint32_t)"the shoe \n"[agrl_rng_below(&r, 10)]
                                       : 'a' + agrl_rng_below(&r, 3));
    assert_round_trip(t, buf, n);
  }
  agrl_bpe_free(t);
}

// The heap for long pieces and the scan for short ones must agree: a long piece equals what a plain loop gives.
static void test_long_piece(void **state) {
  agrl_bpe *t = trained(400);
  char s[1000];
  for (size_t i = 0; i < sizeof s; i++) s[i] = "theshoesquery"[(i * 7 + i / 13) % 13];
  int32_t ids[1000], ref[1000];
  size_t k = agrl_bpe_encode(t, s, sizeof s, false, ids, 1000), n = sizeof s;
  agrl_buf tok[2] = {{0}, {0}};
  for (size_t i = 0; i < n; i++) agrl_bpe_encode(t, s + i, 1, false, ref + i, 1);
  for (size_t end; true; n = end) {  // the earliest trained union first: token ids grow with rank
    int32_t best = -1;
    size_t at = 0;
    for (size_t i = 0; i + 1 < n; i++) {
      agrl_buf_clear(&tok[0]);
      agrl_bpe_decode(t, ref + i, 2, false, &tok[0]);
      int32_t id[2];
      bool one = tok[0].len <= 64 && agrl_bpe_encode(t, tok[0].data, tok[0].len, false, id, 2) == 1;
      if (one && (best < 0 || id[0] < best)) {
        best = id[0];
        at = i;
      }
    }
    end = n - 1;
    if (best < 0) break;
    ref[at] = best;
    memmove(ref + at + 1, ref + at + 2, (n - at - 2) * sizeof ref[0]);
  }
  assert_int_equal(k, n);
  assert_memory_equal(ids, ref, k * sizeof ids[0]);
  agrl_buf_release(&tok[0]);
  agrl_bpe_free(t);
}

static void test_training_contract(void **state) {
  agrl_bpe *t = trained(320), *again = trained(320);
  assert_int_equal(agrl_bpe_vocab(t), 320);
  assert_int_equal(agrl_bpe_special(t, AGRL_TOK_START), 0);
  assert_int_equal(agrl_bpe_special(t, AGRL_TOK_END), 1);
  assert_int_equal(agrl_bpe_special(t, "<|none|>"), -1);
  int32_t a[64], b[64];
  const char *s = "4\n[Verdict] 4 shoes 12";
  size_t n = agrl_bpe_encode(t, s, strlen(s), false, a, 64);
  assert_int_equal(agrl_bpe_encode(again, s, strlen(s), false, b, 64), n);
  assert_memory_equal(a, b, n * sizeof a[0]);
  // digits and newlines stand alone: bytes have ids 2 + byte
  assert_int_equal(a[0], 2 + '4');
  assert_int_equal(a[1], 2 + '\n');
  assert_int_equal(a[n - 2], 2 + '1');
  assert_int_equal(a[n - 1], 2 + '2');
  // room: what does not fit is counted, not written
  b[3] = -7;
  assert_int_equal(agrl_bpe_encode(t, s, strlen(s), false, b, 3), n);
  assert_int_equal(b[3], -7);
  // the most frequent pair of the corpus by count, ties to the smaller: a tiny corpus with one answer
  const char *tiny[] = {"abab abab", "cdcd cdcd"};
  agrl_bpe *small = NULL;
  assert_int_equal(agrl_bpe_train(tiny, 2, 259, specials, 2, &small, NULL), AGRL_OK);
  assert_int_equal(agrl_bpe_encode(small, "ab", 2, false, a, 64), 1);
  assert_int_equal(agrl_bpe_encode(small, "cd", 2, false, a, 64), 2);
  agrl_bpe_free(small);
  assert_int_equal(agrl_bpe_train(tiny, 2, 5000, specials, 2, &small, NULL), AGRL_OK);
  assert_true(agrl_bpe_vocab(small) < 280);  // no pair left
  agrl_bpe_free(small);
  assert_int_equal(agrl_bpe_train(tiny, 2, 100, specials, 2, &small, NULL), AGRL_EINVAL);
  agrl_bpe_free(t);
  agrl_bpe_free(again);
}

static void test_prompt(void **state) {
  agrl_bpe *t = trained(320);
  int32_t plain[64], ids[64];
  const char *s = "red shoes <|end|>";
  size_t n = agrl_bpe_encode(t, s, strlen(s), false, plain, 64);
  assert_int_equal(agrl_bpe_encode_prompt(t, -1, s, strlen(s), ids, 64), n);  // a model without a start token
  assert_memory_equal(ids, plain, n * sizeof *ids);
  assert_int_equal(agrl_bpe_encode_prompt(t, 0, s, strlen(s), ids, 64), n + 1);
  assert_int_equal(ids[0], 0);
  assert_memory_equal(ids + 1, plain, n * sizeof *ids);
  ids[2] = -7;
  assert_int_equal(agrl_bpe_encode_prompt(t, 1, s, strlen(s), ids, 2), n + 1);  // counted, not written
  assert_int_equal(ids[0], 1);
  assert_int_equal(ids[2], -7);
  assert_int_equal(agrl_bpe_encode_prompt(t, 1, s, strlen(s), NULL, 0), n + 1);
  assert_int_equal(agrl_bpe_encode_prompt(t, 1, "", 0, ids, 64), 1);
  agrl_bpe_free(t);
}

static void test_specials(void **state) {
  agrl_bpe *t = trained(300);
  int32_t ids[64];
  const char *s = "a<|end|>b";
  assert_int_equal(agrl_bpe_encode(t, s, strlen(s), true, ids, 64), 3);
  assert_int_equal(ids[1], 1);
  agrl_buf out = {0};
  agrl_bpe_decode(t, ids, 3, false, &out);
  assert_string_equal(out.data, "ab");
  agrl_buf_clear(&out);
  agrl_bpe_decode(t, (int32_t[]){ids[0], ids[1], 999999, -1, ids[2]}, 5, true, &out);
  assert_string_equal(out.data, s);
  assert_true(agrl_bpe_encode(t, s, strlen(s), false, ids, 64) > 3);
  agrl_buf_release(&out);
  agrl_bpe_free(t);
}

static void test_save_load(void **state) {
  char path[] = "/tmp/agrl_bpe_XXXXXX";
  close(mkstemp(path));
  agrl_bpe *t = trained(420), *u = NULL;
  agrl_error err = {0};
  assert_int_equal(agrl_bpe_save(t, path, &err), AGRL_OK);
  assert_int_equal(agrl_bpe_load(path, &u, &err), AGRL_OK);
  assert_int_equal(agrl_bpe_vocab(u), agrl_bpe_vocab(t));
  for (size_t i = 0; i < 4; i++) {
    int32_t a[512], b[512];
    size_t n = agrl_bpe_encode(t, corpus[i], strlen(corpus[i]), true, a, 512);
    assert_int_equal(agrl_bpe_encode(u, corpus[i], strlen(corpus[i]), true, b, 512), n);
    assert_memory_equal(a, b, n * sizeof a[0]);
  }
  agrl_buf one = {0}, two = {0};
  assert_int_equal(agrl_file_read(path, 1 << 22, &one, &err), AGRL_OK);
  assert_int_equal(agrl_bpe_save(u, path, &err), AGRL_OK);
  assert_int_equal(agrl_file_read(path, 1 << 22, &two, &err), AGRL_OK);
  assert_string_equal(one.data, two.data);
  agrl_buf_release(&one);
  agrl_buf_release(&two);
  agrl_bpe_free(t);
  agrl_bpe_free(u);
  unlink(path);
}

static void join_piece(void *user, const char *s, size_t n) {
  agrl_buf_add(user, s, n);
  agrl_buf_addc(user, '|');
}

static void assert_split(const char *pretok, const char *text, const char *expected) {
  agrl_json *j = NULL;
  agrl_pretok *p = NULL;
  agrl_error err = {0};
  assert_int_equal(agrl_json_parse(pretok, strlen(pretok), "pretok", &j, &err), AGRL_OK);
  assert_int_equal(agrl_pretok_parse(j, "t", &p, &err), AGRL_OK);
  agrl_buf out = {0};
  agrl_pretok_run(p, text, strlen(text), join_piece, &out);
  assert_string_equal(out.data, expected);
  agrl_buf_release(&out);
  agrl_pretok_free(p);
  agrl_json_free(j);
}

#define GPT2 "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true}"
#define SMOL "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":true}," GPT2 "]}"
#define QWEN                                                                                                          \
  "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?i:'s|'t|'re|'ve|'m|'ll|'" \
  "d)|"                                                                                                               \
  "[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}| "                                                                \
  "?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!"                                             \
  "\\\\S)|\\\\s+\"},\"behavior\":\"Isolated\",\"invert\":false},{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"  \
  "\"trim_offsets\":false,\"use_regex\":false}]}"

// Expected pieces were taken from the tokenizers library.
static void test_splits(void **state) {
  assert_split(GPT2, "I'm sure they'll  go 1234!? \n x", "I|'m| sure| they|'ll| | go| 1234|!?| \n| x|");
  assert_split(GPT2, "caf\xc3\xa9 \xe8\xb7\x91\xe9\x9e\x8b  ", "caf\xc3\xa9| \xe8\xb7\x91\xe9\x9e\x8b|  |");
  assert_split(GPT2, "I'M \xff x", "I|'|M| |\xff| x|");
  assert_split(SMOL, "size 42  7", "size| |4|2|  |7|");
  assert_split(QWEN, "I'M 12 (a)\r\n\r\n b", "I|'M| |1|2| (|a|)\r\n\r\n| b|");
  // U+180E is no White_Space (since Unicode 6.3), U+0085 and U+3000 are.
  assert_split(GPT2, "  \xe1\xa0\x8ex\xe3\x80\x80\xe1\xa0\x8e\xc2\x85 y", " | \xe1\xa0\x8e|x|\xe3\x80\x80|\xe1\xa0\x8e|\xc2\x85| y|");
  assert_split(QWEN, "  \xe1\xa0\x8ex\xe3\x80\x80\xe1\xa0\x8e\xc2\x85 y", " | \xe1\xa0\x8e|x|\xe3\x80\x80|\xe1\xa0\x8e|\xc2\x85| y|");
  agrl_pretok *p = NULL;
  agrl_buf out = {0};
  assert_int_equal(agrl_pretok_default(&p, NULL), AGRL_OK);
  const char *s = "4\n[Query] a b;  12 [x\n\n";
  agrl_pretok_run(p, s, strlen(s), join_piece, &out);
  assert_string_equal(out.data, "4|\n|[Query]| a| b|;| | |1|2| [|x|\n|\n|");
  agrl_buf_release(&out);
  agrl_pretok_free(p);
}

// A complete tokenizer.json with one thing exchanged.
static char *file_with(const char *pretok, const char *model_extra, const char *added, const char *merges) {
  agrl_buf b = {0};
  agrl_jw w;
  agrl_buf_addf(&b,
                "{\"added_tokens\":[%s],\"normalizer\":null,\"pre_tokenizer\":%s,\"decoder\":{\"type\":\"ByteLevel\"},"
                "\"model\":{\"type\":\"BPE\",%s\"merges\":[%s],\"vocab\":",
                added, pretok, model_extra, merges);
  agrl_jw_init(&w, &b);
  agrl_jw_obj(&w);
  int shift = 0;
  for (uint32_t c = 0; c < 256; c++) {
    bool shown = (c >= 0x21 && c <= 0x7E) || (c >= 0xA1 && c != 0xAD);
    uint32_t cp = shown ? c : 256u + (uint32_t)shift++;
    char key[3] = {(char)(cp < 0x80 ? cp : 0xC0 | cp >> 6), (char)(cp < 0x80 ? 0 : 0x80 | (cp & 0x3F)), 0};
    agrl_jw_ki64(&w, key, (int64_t)c);
  }
  agrl_jw_ki64(&w, "ab", 256);
  agrl_jw_ki64(&w, "abc", 257);
  agrl_jw_ki64(&w,
               "\xc4\xa0"
               "a",
               258);
  agrl_jw_end_obj(&w);
  agrl_buf_adds(&b, "}}");
  return agrl_buf_take(&b);
}

static void assert_refused(char *json, agrl_rc rc, const char *says) {
  agrl_bpe *t = NULL;
  agrl_error err = {0};
  assert_int_equal(agrl_bpe_parse(json, strlen(json), "tokenizer.json", &t, &err), rc);
  if (strstr(err.msg, says) == NULL) fail_msg("\"%s\" does not say \"%s\"", err.msg, says);
  free(json);
}

static void test_files(void **state) {
  const char *merges[] = {"\"a b\",\"ab c\"", "[\"a\",\"b\"],[\"ab\",\"c\"]"};
  for (int form = 0; form < 2; form++) {
    char *json = file_with(
        GPT2, "\"unk_token\":\"\",",
        "{\"id\":300,\"content\":\"<t>\",\"special\":false},{\"id\":301,\"content\":\"<t>x\",\"special\":true}",
        merges[form]);
    agrl_bpe *t = NULL;
    agrl_error err = {0};
    if (agrl_bpe_parse(json, strlen(json), "t", &t, &err) != AGRL_OK) fail_msg("%s", err.msg);
    int32_t ids[8];
    assert_int_equal(agrl_bpe_vocab(t), 302);
    assert_int_equal(agrl_bpe_encode(t, "abcab<t>x", 9, false, ids, 8),
                     4);  // an added token that is not special always counts
    assert_memory_equal(ids, ((int32_t[]){257, 256, 300, 'x'}), 16);
    assert_int_equal(agrl_bpe_encode(t, "<t>x a", 6, true, ids, 8), 3);  // the longest; and " a" has no merge rule
    assert_memory_equal(ids, ((int32_t[]){301, ' ', 'a'}), 12);
    agrl_bpe_free(t);
    free(json);
  }
  char *json = file_with(GPT2, "\"ignore_merges\":true,", "", "");
  agrl_bpe *t = NULL;
  int32_t ids[8];
  assert_int_equal(agrl_bpe_parse(json, strlen(json), "t", &t, NULL), AGRL_OK);
  assert_int_equal(agrl_bpe_encode(t, "abc a ab", 8, false, ids, 8), 5);
  assert_memory_equal(ids, ((int32_t[]){257, 258, ' ', 'a', 'b'}), 20);
  agrl_bpe_free(t);
  free(json);
  assert_refused(file_with("{\"type\":\"Metaspace\"}", "", "", ""), AGRL_EUNSUPPORTED, "Metaspace");
  assert_refused(file_with("null", "", "", ""), AGRL_EUNSUPPORTED, "ByteLevel");
  assert_refused(file_with(GPT2, "\"byte_fallback\":true,", "", ""), AGRL_EUNSUPPORTED, "byte_fallback");
  assert_refused(file_with(GPT2, "\"end_of_word_suffix\":\"</w>\",", "", ""), AGRL_EUNSUPPORTED, "end_of_word_suffix");
  assert_refused(file_with(GPT2, "", "{\"id\":1,\"content\":\"zz\"}", ""), AGRL_EPARSE, "zz");
  assert_refused(file_with(GPT2, "", "{\"id\":400,\"content\":\"zz\",\"lstrip\":true}", ""), AGRL_EUNSUPPORTED,
                 "lstrip");
  assert_refused(file_with(GPT2, "", "{\"id\":99999999,\"content\":\"zz\"}", ""), AGRL_EPARSE, "id");
  assert_refused(file_with(GPT2, "", "", "\"a q\""), AGRL_EPARSE, "merges[0]");
  assert_refused(strdup("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]},\"pre_tokenizer\":" GPT2 "}"),
                 AGRL_EUNSUPPORTED, "byte 0x0a");
  assert_refused(strdup("[]"), AGRL_EPARSE, "model");
}

// A byte without a token vanishes before merging: what was on its two sides can merge (as tokenizers 0.23 does).
static void test_missing_bytes(void **state) {
  agrl_buf json = {0};
  agrl_bpe *t = NULL;
  agrl_error err = {0};
  int32_t ids[100];
  agrl_buf_adds(&json, "{\"pre_tokenizer\":" GPT2 ",\"model\":{\"type\":\"BPE\",\"merges\":[\"! !\"],\"vocab\":{\"!!\":96,\"\\u010a\":95,\"\\u0120\":94");
  for (int c = '!', id = 0; c <= '~'; c++) agrl_buf_addf(&json, c == '"' || c == '\\' ? ",\"\\%c\":%d" : ",\"%c\":%d", c, id++);
  agrl_buf_adds(&json, "}}}");
  if (agrl_bpe_parse(json.data, json.len, "t", &t, &err) != AGRL_OK) fail_msg("%s", err.msg);
  assert_int_equal(agrl_bpe_encode(t, "!\x04!\x04", 4, false, ids, 8), 1);
  assert_int_equal(ids[0], 96);
  assert_int_equal(agrl_bpe_encode(t, "\x04", 1, false, ids, 8), 0);
  char text[201];
  for (int i = 0; i < 200; i++) text[i] = i % 2 ? '\x04' : '!';  // a piece past the short ones
  assert_int_equal(agrl_bpe_encode(t, text, 200, false, ids, 100), 50);
  agrl_bpe_free(t);
  agrl_buf_release(&json);
}

static void test_nfc(void **state) {
  const char *const cases[][2] = {{"e\xcc\x81", "\xc3\xa9"},                                 // e + acute
                                  {"\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8", "\xea\xb0\x81"},  // Hangul L V T
                                  {"q\xcc\x87\xcc\xa3", "q\xcc\xa3\xcc\x87"},                // marks in order of class
                                  {"\xe2\x84\xab", "\xc3\x85"},                              // Angstrom sign
                                  {"\xe0\xa5\x98", "\xe0\xa4\x95\xe0\xa4\xbc"},              // composition exclusion
                                  {"x\xcc\x81\xff\xcc\x81", "x\xcc\x81\xff\xcc\x81"}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    agrl_buf out = {0};
    assert_true(agrl_nfc(cases[i][0], strlen(cases[i][0]), &out));
    assert_string_equal(out.data, cases[i][1]);
    agrl_buf_release(&out);
  }
  agrl_buf out = {0};
  assert_false(agrl_nfc("caf\xc3\xa9", 5, &out));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_round_trip), cmocka_unit_test(test_long_piece), cmocka_unit_test(test_training_contract),
      cmocka_unit_test(test_prompt), cmocka_unit_test(test_specials),   cmocka_unit_test(test_save_load),  cmocka_unit_test(test_splits),
      cmocka_unit_test(test_files),      cmocka_unit_test(test_nfc), cmocka_unit_test(test_missing_bytes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
