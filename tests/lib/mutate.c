// SPDX-License-Identifier: Apache-2.0
// Mutations: each edit is one of a handful of operations that find parser bugs: changed bits and lengths, cut and
// repeated pieces, boundary integers, structure characters of the text formats, and splices of two seeds.
#include "tests/lib/mutate.h"

#include <string.h>

#include "common/base/bug.h"

static size_t pick(agrl_rng *rng, size_t n) { return n ? agrl_rng_below(rng, (uint32_t)n) : 0; }

// Replaces cut bytes at `at` by n bytes of p.
static void splice(agrl_buf *b, size_t at, size_t cut, const uint8_t *p, size_t n) {
  AGRL_ASSERT(at <= b->len && cut <= b->len - at);
  if (b->len - cut + n > AGRL_MUTATE_MAX_BYTES) return;
  agrl_buf_reserve(b, n);
  memmove(b->data + at + n, b->data + at + cut, b->len - at - cut);
  if (n) memcpy(b->data + at, p, n);
  b->len = b->len - cut + n;
  b->data[b->len] = '\0';
}

static void set_byte(agrl_rng *rng, agrl_buf *b) {
  static const char odd[] = "\x00\xff\x7f\x80\xc0\xed\xf4 \t\n\r\"'\\{}[],:;-+.0189eE#&*!|>%@`~";
  if (!b->len) return;
  size_t at = pick(rng, b->len);
  if (pick(rng, 2)) b->data[at] = (char)(b->data[at] ^ (1 << pick(rng, 8)));
  else b->data[at] = odd[pick(rng, sizeof odd - 1)];
}

static void set_integer(agrl_rng *rng, agrl_buf *b) {
  static const uint64_t odd[] = {0, 1, 2, 15, 16, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 0x7fffffff, 0x80000000u, 0xffffffffu, UINT64_MAX, INT64_MAX, 1ull << 32, 1ull << 63};
  size_t width = (size_t)1 << pick(rng, 4);
  if (b->len < width) return;
  uint64_t v = odd[pick(rng, sizeof odd / sizeof *odd)];
  if (pick(rng, 4) == 0) v += pick(rng, 8);
  memcpy(b->data + pick(rng, b->len - width + 1), &v, width);
}

static void insert_bytes(agrl_rng *rng, agrl_buf *b) {
  uint8_t bytes[16];
  size_t n = 1 + pick(rng, sizeof bytes);
  uint8_t same = (uint8_t)agrl_rng_u32(rng);
  for (size_t i = 0; i < n; i++) bytes[i] = n > 8 ? same : (uint8_t)agrl_rng_u32(rng);
  splice(b, pick(rng, b->len + 1), 0, bytes, n);
}

static void delete_bytes(agrl_rng *rng, agrl_buf *b) {
  size_t at = pick(rng, b->len), n = 1 + pick(rng, 8);
  if (pick(rng, 4) == 0) n = 1 + pick(rng, b->len - at);
  if (n > b->len - at) n = b->len - at;
  splice(b, at, n, NULL, 0);
}

static void repeat_piece(agrl_rng *rng, agrl_buf *b) {
  uint8_t piece[256];
  if (!b->len) return;
  size_t from = pick(rng, b->len), n = 1 + pick(rng, b->len - from < sizeof piece ? b->len - from : sizeof piece);
  if (n > b->len - from) n = b->len - from;
  memcpy(piece, b->data + from, n);
  size_t at = pick(rng, b->len + 1);
  for (size_t times = 1 + pick(rng, 4); times; times--) splice(b, at, 0, piece, n);
}

static void take_piece(agrl_rng *rng, agrl_buf *b, const uint8_t *other, size_t other_len) {
  if (!other_len) return;
  size_t from = pick(rng, other_len), n = 1 + pick(rng, other_len - from);
  size_t at = pick(rng, b->len + 1), cut = pick(rng, 2) ? 0 : pick(rng, b->len - at + 1);
  splice(b, at, cut, other + from, n > other_len - from ? other_len - from : n);
}

void agrl_mutate(agrl_rng *rng, agrl_buf *input, const uint8_t *other, size_t other_len) {
  for (size_t edits = 1 + pick(rng, 8); edits; edits--) {
    switch (pick(rng, 8)) {
      case 0:
      case 1: set_byte(rng, input); break;
      case 2: set_integer(rng, input); break;
      case 3: insert_bytes(rng, input); break;
      case 4: delete_bytes(rng, input); break;
      case 5: repeat_piece(rng, input); break;
      case 6: take_piece(rng, input, other, other_len); break;
      default: splice(input, pick(rng, input->len + 1), 0, (const uint8_t *)"\n", 1); break;
    }
  }
}
