// SPDX-License-Identifier: Apache-2.0
// The tokenizers of SmolLM2 and Qwen on tests/golden/tokens: every line must become the ids that the Hugging Face tokenizers
// library makes of it, and, where NFC changes nothing and every byte has a token, come back from them. With AGRL_TOKENS_FULL, a
// folder that make_tokens.py --full wrote, the same of the whole tokenizers. README.md there.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/text/bpe.h"

#define FOLDER AGRL_TEST_DIR "/golden/tokens"
enum { LINES = 2860, MAX_IDS = 4096 };

typedef struct records {  // 16-bit count, then count elements of `size` bytes; again and again
  agrl_buf file;
  size_t at, size;
} records;

static records open_records(const char *folder, const char *name, const char *suffix, size_t size) {
  records r = {.size = size};
  agrl_error err = {0};
  char *path = agrl_xasprintf("%s/%s%s", folder, name, suffix);
  if (agrl_file_read(path, 4 << 20, &r.file, &err)) fail_msg("%s", err.msg);
  free(path);
  return r;
}

static bool next(records *r, const char **data, size_t *count) {
  uint16_t n;
  if (r->file.len - r->at < sizeof n) return false;
  memcpy(&n, r->file.data + r->at, sizeof n);
  *data = r->file.data + r->at + sizeof n;
  *count = n;
  assert_true(n * r->size <= r->file.len - r->at - sizeof n);
  r->at += sizeof n + n * r->size;
  return true;
}

static void show(const char *what, const int32_t *ids, size_t n) {
  fprintf(stderr, "%s:", what);
  for (size_t i = 0; i < n; i++) fprintf(stderr, " %d", ids[i]);
  fputc('\n', stderr);
}

static int32_t id_at(const char *data, size_t i, size_t size) {
  uint16_t few;
  int32_t id;
  if (size == sizeof few) {
    memcpy(&few, data + i * size, size);
    return few;
  }
  assert_true(size == sizeof id);
  memcpy(&id, data + i * size, size);
  return id;
}

// Of the tokenizer in folder, whose ids take id_size bytes each. Returns how many lines came back from their ids as they were.
static size_t compare(const char *folder, const char *name, size_t id_size) {
  static int32_t want[MAX_IDS], got[MAX_IDS];
  agrl_error err = {0};
  agrl_bpe *t = NULL;
  agrl_buf back = {0};
  char *path = agrl_xasprintf("%s/%s.json", folder, name);
  if (agrl_bpe_load(path, &t, &err)) fail_msg("%s", err.msg);
  records texts = open_records(FOLDER, "corpus", ".bin", 1), ids = open_records(folder, name, ".ids", id_size);
  const char *text, *data;
  size_t len, n, lines = 0, same = 0;
  for (; next(&texts, &text, &len); lines++) {
    assert_true(next(&ids, &data, &n) && n <= MAX_IDS);
    for (size_t i = 0; i < n; i++) want[i] = id_at(data, i, id_size);
    const size_t made = agrl_bpe_encode(t, text, len, true, got, MAX_IDS);
    if (made != n || memcmp(want, got, n * sizeof *want) != 0) {
      show("expected", want, n);
      show("encoded", got, made < MAX_IDS ? made : MAX_IDS);
      fail_msg("%s: line %zu of the corpus (%zu bytes) differs", name, lines, len);
    }
    agrl_buf_clear(&back);
    agrl_bpe_decode(t, got, n, true, &back);
    same += back.len == len && memcmp(back.data, text, len) == 0;
  }
  assert_int_equal(lines, LINES);
  assert_true(texts.at == texts.file.len && ids.at == ids.file.len);
  agrl_buf_release(&texts.file);
  agrl_buf_release(&ids.file);
  agrl_buf_release(&back);
  agrl_bpe_free(t);
  free(path);
  return same;
}

// The other lines have one of the 21 bytes that SmolLM2 has no token for, or are not in NFC.
enum { BACK_SMOLLM2 = 2732, BACK_QWEN = 2676 };

static void smollm2(void **state) { assert_int_equal(compare(FOLDER, "smollm2", sizeof(uint16_t)), BACK_SMOLLM2); }
static void qwen(void **state) { assert_int_equal(compare(FOLDER, "qwen", sizeof(uint16_t)), BACK_QWEN); }

static void whole_vocabularies(void **state) {
  const char *folder = getenv("AGRL_TOKENS_FULL");
  if (folder == NULL) {
    print_message("AGRL_TOKENS_FULL names no folder of make_tokens.py --full: the whole vocabularies are not compared\n");
    skip();
  }
  assert_int_equal(compare(folder, "smollm2", sizeof(int32_t)), BACK_SMOLLM2);
  assert_int_equal(compare(folder, "qwen", sizeof(int32_t)), BACK_QWEN);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(smollm2), cmocka_unit_test(qwen), cmocka_unit_test(whole_vocabularies)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
