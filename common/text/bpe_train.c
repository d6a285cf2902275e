// SPDX-License-Identifier: Apache-2.0
// BPE training: the corpus becomes distinct pieces with counts; each round merges the most frequent adjacent pair and
// updates the counts of its neighbours only in the pieces that hold it. The heap is lazy: an entry whose count has
// changed since is put back with the present count.
#include <stdlib.h>
#include <string.h>

#include "common/base/bug.h"
#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/text/bpe_impl.h"

enum { max_piece = 256, max_vocab = 1 << 20 };

typedef struct word {
  size_t off;  // into train.syms: bytes first, then ids
  uint32_t len;
  uint64_t count;
} word;

typedef struct pair {
  int32_t left, right;
  int64_t count;
  uint32_t *words;  // pieces that hold, or once held, the pair
  size_t n_words, cap_words;
} pair;

typedef struct ranked {
  int64_t count;
  uint32_t pair;
} ranked;

typedef struct train {
  agrl_bpe *t;
  agrl_buf bytes;  // text of the distinct pieces
  int32_t *syms;
  word *words;
  size_t n_words, cap_words;
  uint32_t *word_slots;  // index + 1
  size_t word_mask;
  pair *pairs;
  size_t n_pairs, cap_pairs;
  uint32_t *pair_slots;  // index + 1
  size_t pair_mask;
  ranked *heap;
  size_t n_heap, cap_heap;
} train;

static void grow_words(train *r) {
  size_t slots = r->word_slots ? (r->word_mask + 1) * 2 : 4096;
  free(r->word_slots);
  r->word_slots = agrl_xcalloc(slots, sizeof *r->word_slots);
  r->word_mask = slots - 1;
  for (size_t w = 0; w < r->n_words; w++) {
    size_t i = agrl_hash64(r->bytes.data + r->words[w].off, r->words[w].len) & r->word_mask;
    while (r->word_slots[i]) i = (i + 1) & r->word_mask;
    r->word_slots[i] = (uint32_t)w + 1;
  }
}

static void count_piece(void *user, const char *s, size_t len) {
  train *r = user;
  while (len > max_piece) {  // a merge this long is of no use
    count_piece(user, s, max_piece);
    s += max_piece;
    len -= max_piece;
  }
  if ((r->n_words + 1) * 2 > r->word_mask) grow_words(r);
  size_t i = agrl_hash64(s, len) & r->word_mask;
  for (; r->word_slots[i]; i = (i + 1) & r->word_mask) {
    word *w = &r->words[r->word_slots[i] - 1];
    if (w->len == len && memcmp(r->bytes.data + w->off, s, len) == 0) {
      w->count++;
      return;
    }
  }
  if (r->n_words == r->cap_words) {
    r->cap_words = r->cap_words ? r->cap_words * 2 : 2048;
    r->words = agrl_xreallocarray(r->words, r->cap_words, sizeof *r->words);
  }
  r->words[r->n_words++] = (word){.off = r->bytes.len, .len = (uint32_t)len, .count = 1};
  r->word_slots[i] = (uint32_t)r->n_words;
  agrl_buf_add(&r->bytes, s, len);
}

static bool before(const train *r, ranked a, ranked b) {
  if (a.count != b.count) return a.count > b.count;
  const pair *p = &r->pairs[a.pair], *q = &r->pairs[b.pair];
  return p->left != q->left ? p->left < q->left : p->right < q->right;
}

static void heap_put(train *r, ranked v) {
  if (r->n_heap == r->cap_heap) {
    r->cap_heap = r->cap_heap ? r->cap_heap * 2 : 4096;
    r->heap = agrl_xreallocarray(r->heap, r->cap_heap, sizeof *r->heap);
  }
  size_t i = r->n_heap++;
  for (; i > 0 && before(r, v, r->heap[(i - 1) / 2]); i = (i - 1) / 2) r->heap[i] = r->heap[(i - 1) / 2];
  r->heap[i] = v;
}

static ranked heap_take(train *r) {
  ranked top = r->heap[0], last = r->heap[--r->n_heap];
  size_t i = 0;
  for (size_t k; (k = 2 * i + 1) < r->n_heap; i = k) {
    if (k + 1 < r->n_heap && before(r, r->heap[k + 1], r->heap[k])) k++;
    if (!before(r, r->heap[k], last)) break;
    r->heap[i] = r->heap[k];
  }
  if (r->n_heap > 0) r->heap[i] = last;
  return top;
}

static size_t pair_slot(const train *r, int32_t left, int32_t right) {
  uint64_t k = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * UINT64_C(0x9E3779B97F4A7C15);
  size_t i = (size_t)(k ^ k >> 29) & r->pair_mask;
  for (; r->pair_slots[i]; i = (i + 1) & r->pair_mask) {
    const pair *p = &r->pairs[r->pair_slots[i] - 1];
    if (p->left == left && p->right == right) break;
  }
  return i;
}

static void grow_pairs(train *r) {
  size_t slots = r->pair_slots ? (r->pair_mask + 1) * 2 : 8192;
  free(r->pair_slots);
  r->pair_slots = agrl_xcalloc(slots, sizeof *r->pair_slots);
  r->pair_mask = slots - 1;
  for (size_t p = 0; p < r->n_pairs; p++)
    r->pair_slots[pair_slot(r, r->pairs[p].left, r->pairs[p].right)] = (uint32_t)p + 1;
}

static uint32_t get_pair(train *r, int32_t left, int32_t right) {
  if ((r->n_pairs + 1) * 2 > r->pair_mask) grow_pairs(r);
  size_t i = pair_slot(r, left, right);
  if (r->pair_slots[i]) return r->pair_slots[i] - 1;
  if (r->n_pairs == r->cap_pairs) {
    r->cap_pairs = r->cap_pairs ? r->cap_pairs * 2 : 4096;
    r->pairs = agrl_xreallocarray(r->pairs, r->cap_pairs, sizeof *r->pairs);
  }
  r->pairs[r->n_pairs++] = (pair){.left = left, .right = right};
  r->pair_slots[i] = (uint32_t)r->n_pairs;
  return (uint32_t)r->n_pairs - 1;
}

// Counts a pair in a piece. Growth is announced to the heap by the caller, once a round.
static uint32_t count_pair(train *r, int32_t left, int32_t right, uint32_t w, int64_t by) {
  uint32_t k = get_pair(r, left, right);
  pair *p = &r->pairs[k];
  p->count += by;
  if (by > 0 && (p->n_words == 0 || p->words[p->n_words - 1] != w)) {
    if (p->n_words == p->cap_words) {
      p->cap_words = p->cap_words ? p->cap_words * 2 : 4;
      p->words = agrl_xreallocarray(p->words, p->cap_words, sizeof *p->words);
    }
    p->words[p->n_words++] = w;
  }
  return k;
}

static void count_all(train *r, size_t first_byte) {
  r->syms = agrl_xreallocarray(NULL, r->bytes.len + 1, sizeof *r->syms);
  for (size_t i = 0; i < r->bytes.len; i++) r->syms[i] = (int32_t)(first_byte + (unsigned char)r->bytes.data[i]);
  for (size_t w = 0; w < r->n_words; w++) {
    const int32_t *s = r->syms + r->words[w].off;
    for (uint32_t i = 0; i + 1 < r->words[w].len; i++)
      count_pair(r, s[i], s[i + 1], (uint32_t)w, (int64_t)r->words[w].count);
  }
  for (size_t p = 0; p < r->n_pairs; p++) heap_put(r, (ranked){r->pairs[p].count, (uint32_t)p});
}

// Replaces (left, right) by id in one piece; returns its new length. grown collects the pairs that came to be.
static void merge_word(train *r, uint32_t w, int32_t left, int32_t right, int32_t id, uint32_t **grown, size_t *n,
                       size_t *cap) {
  word *v = &r->words[w];
  int32_t *s = r->syms + v->off;
  int64_t c = (int64_t)v->count;
  uint32_t out = 0;
  for (uint32_t i = 0; i < v->len;) {
    if (i + 1 >= v->len || s[i] != left || s[i + 1] != right) {
      s[out++] = s[i++];
      continue;
    }
    if (*n + 2 > *cap) {
      *cap = *cap ? *cap * 2 : 64;
      *grown = agrl_xreallocarray(*grown, *cap, sizeof **grown);
    }
    count_pair(r, left, right, w, -c);
    if (out > 0) {
      count_pair(r, s[out - 1], left, w, -c);
      (*grown)[(*n)++] = count_pair(r, s[out - 1], id, w, c);
    }
    if (i + 2 < v->len) {
      count_pair(r, right, s[i + 2], w, -c);
      (*grown)[(*n)++] = count_pair(r, id, s[i + 2], w, c);
    }
    s[out++] = id;
    i += 2;
  }
  v->len = out;
}

static int by_index(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return x < y ? -1 : x > y;
}

static void merge_best(train *r, uint32_t best, int32_t id) {
  int32_t left = r->pairs[best].left, right = r->pairs[best].right;
  uint32_t *words = r->pairs[best].words, *grown = NULL;
  size_t n_words = r->pairs[best].n_words, n = 0, cap = 0;
  r->pairs[best].words = NULL;
  r->pairs[best].n_words = r->pairs[best].cap_words = 0;
  for (size_t i = 0; i < n_words; i++) merge_word(r, words[i], left, right, id, &grown, &n, &cap);
  if (n > 1) qsort(grown, n, sizeof *grown, by_index);
  for (size_t i = 0; i < n; i++) {
    if (i == 0 || grown[i] != grown[i - 1]) heap_put(r, (ranked){r->pairs[grown[i]].count, grown[i]});
  }
  free(grown);
  free(words);
}

static void learn_merges(train *r, size_t vocab_size) {
  while (r->t->n_ids < vocab_size && r->n_heap > 0) {
    ranked top = heap_take(r);
    const pair *p = &r->pairs[top.pair];
    if (p->count <= 0) continue;
    if (p->count != top.count) {
      heap_put(r, (ranked){p->count, top.pair});
      continue;
    }
    int32_t id = (int32_t)r->t->n_ids;
    const bpe_token *a = &r->t->tokens[p->left], *b = &r->t->tokens[p->right];
    char text[max_piece];
    size_t len = a->len + b->len;
    AGRL_ASSERT(len <= sizeof text);
    memcpy(text, r->t->bytes.data + a->off, a->len);
    memcpy(text + a->len, r->t->bytes.data + b->off, b->len);
    agrl_bpe_add_merge(r->t, p->left, p->right, id);
    agrl_bpe_set_token(r->t, id, text, len, false, true);
    merge_best(r, top.pair, id);
  }
}

static void release(train *r) {
  agrl_buf_release(&r->bytes);
  free(r->syms);
  free(r->words);
  free(r->word_slots);
  for (size_t i = 0; i < r->n_pairs; i++) free(r->pairs[i].words);
  free(r->pairs);
  free(r->pair_slots);
  free(r->heap);
}

agrl_rc agrl_bpe_train(const char *const *texts, size_t n, size_t vocab_size, const char *const *specials,
                       size_t n_specials, agrl_bpe **out, agrl_error *err) {
  if (vocab_size < n_specials + 256 || vocab_size > max_vocab) {
    return agrl_fail(err, AGRL_EINVAL, "vocab size %zu, expected %zu..%d (specials and 256 bytes)", vocab_size,
                     n_specials + 256, max_vocab);
  }
  for (size_t i = 0; i < n_specials; i++) {
    bool seen = strlen(specials[i]) < 2;  // one byte would clash with the byte tokens
    for (size_t k = 0; k < i; k++) seen = seen || strcmp(specials[i], specials[k]) == 0;
    if (seen) return agrl_fail(err, AGRL_EINVAL, "special token \"%s\" is too short or given twice", specials[i]);
  }
  train r = {.t = agrl_bpe_new()};
  agrl_rc rc = agrl_pretok_default(&r.t->pretok, err);
  if (rc != AGRL_OK) {
    agrl_bpe_free(r.t);
    return rc;
  }
  for (size_t i = 0; i < n_specials; i++) {
    agrl_bpe_set_token(r.t, (int32_t)i, specials[i], strlen(specials[i]), true, true);
    agrl_bpe_add_added(r.t, (int32_t)i, true, false);
  }
  for (int b = 0; b < 256; b++) agrl_bpe_set_token(r.t, (int32_t)n_specials + b, &(char){(char)b}, 1, false, true);
  for (size_t i = 0; i < n; i++) agrl_pretok_run(r.t->pretok, texts[i], strlen(texts[i]), count_piece, &r);
  count_all(&r, n_specials);
  learn_merges(&r, vocab_size);
  release(&r);
  rc = agrl_bpe_finish(r.t, "trained", err);
  if (rc != AGRL_OK) agrl_bpe_free(r.t);
  else *out = r.t;
  return rc;
}
