// SPDX-License-Identifier: Apache-2.0
// Byte-level BPE: tables, encoding, decoding. Encoding applies the lowest-ranked adjacent pair first, leftmost on ties:
// by scanning for short pieces, by a heap over a linked list for long ones, so that cost stays n log n.
#include "common/text/bpe.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/text/bpe_impl.h"
#include "common/text/nfc.h"

enum { short_piece = 64 };

agrl_bpe *agrl_bpe_new(void) {
  agrl_bpe *t = agrl_xcalloc(1, sizeof *t);
  for (int b = 0; b < 256; b++) t->byte_id[b] = -1;
  return t;
}

void agrl_bpe_free(agrl_bpe *t) {
  if (t == NULL) return;
  agrl_buf_release(&t->bytes);
  free(t->tokens);
  free(t->merges);
  free(t->pairs);
  free(t->texts);
  free(t->added);
  agrl_pretok_free(t->pretok);
  free(t);
}

void agrl_bpe_set_token(agrl_bpe *t, int32_t id, const char *bytes, size_t len, bool raw, bool in_model) {
  size_t need = (size_t)id + 1;
  if (need > t->cap_ids) {
    size_t cap = need < 512 ? 512 : need * 2;
    t->tokens = agrl_xreallocarray(t->tokens, cap, sizeof *t->tokens);
    memset(t->tokens + t->cap_ids, 0, (cap - t->cap_ids) * sizeof *t->tokens);
    t->cap_ids = cap;
  }
  if (need > t->n_ids) t->n_ids = need;
  t->tokens[id] =
      (bpe_token){.off = (uint32_t)t->bytes.len, .len = (uint32_t)len, .known = true, .raw = raw, .in_model = in_model};
  agrl_buf_add(&t->bytes, bytes, len);
  if (len == 1 && !raw) t->byte_id[(unsigned char)bytes[0]] = id;
}

void agrl_bpe_add_merge(agrl_bpe *t, int32_t left, int32_t right, int32_t id) {
  if (t->n_merges == t->cap_merges) {
    t->cap_merges = t->cap_merges ? t->cap_merges * 2 : 256;
    t->merges = agrl_xreallocarray(t->merges, t->cap_merges, sizeof *t->merges);
  }
  t->merges[t->n_merges++] = (bpe_merge){left, right, id};
}

void agrl_bpe_add_added(agrl_bpe *t, int32_t id, bool special, bool normalized) {
  t->added = agrl_xreallocarray(t->added, t->n_added + 1, sizeof *t->added);
  size_t at = t->n_added++;
  while (at > 0 && t->tokens[t->added[at - 1].id].len < t->tokens[id].len) {
    t->added[at] = t->added[at - 1];
    at--;
  }
  t->added[at] = (bpe_added){.id = id, .special = special, .normalized = normalized};
  t->tokens[id].special = special;
  t->added_first[(unsigned char)t->bytes.data[t->tokens[id].off]] = true;
}

static const char *token_bytes(const agrl_bpe *t, int32_t id) { return t->bytes.data + t->tokens[id].off; }

static size_t pair_hash(int32_t left, int32_t right) {
  uint64_t k = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
  k *= UINT64_C(0x9E3779B97F4A7C15);
  return (size_t)(k ^ k >> 29);
}

static const bpe_pair_slot *find_pair(const agrl_bpe *t, int32_t left, int32_t right) {
  size_t i = pair_hash(left, right) & t->pair_mask;
  while (t->pairs[i].id >= 0) {
    if (t->pairs[i].left == left && t->pairs[i].right == right) return &t->pairs[i];
    i = (i + 1) & t->pair_mask;
  }
  return NULL;
}

static int32_t find_text(const agrl_bpe *t, const char *s, size_t len) {
  size_t i = agrl_hash64(s, len) & t->text_mask;
  for (; t->texts[i] >= 0; i = (i + 1) & t->text_mask) {
    const bpe_token *k = &t->tokens[t->texts[i]];
    if (k->len == len && memcmp(t->bytes.data + k->off, s, len) == 0) return t->texts[i];
  }
  return -1;
}

static size_t slots_for(size_t n) {
  size_t slots = 16;
  while (slots < n * 2) slots *= 2;
  return slots;
}

agrl_rc agrl_bpe_finish(agrl_bpe *t, const char *name, agrl_error *err) {
  for (int b = 0; b < 256; b++) {
    if (t->byte_id[b] >= 0) continue;
    t->incomplete = true;
    if (b == '\n' || (b >= ' ' && b <= '~'))
      return agrl_fail(err, AGRL_EUNSUPPORTED, "%s: vocab has no token for byte 0x%02x; only byte-level vocabularies are supported", name, b);
  }
  t->text_mask = slots_for(t->n_ids) - 1;
  t->texts = agrl_xreallocarray(NULL, t->text_mask + 1, sizeof *t->texts);
  memset(t->texts, 0xFF, (t->text_mask + 1) * sizeof *t->texts);
  for (size_t id = 0; id < t->n_ids; id++) {
    const bpe_token *k = &t->tokens[id];
    if (!k->in_model || k->special || find_text(t, t->bytes.data + k->off, k->len) >= 0) continue;
    size_t i = agrl_hash64(t->bytes.data + k->off, k->len) & t->text_mask;
    while (t->texts[i] >= 0) i = (i + 1) & t->text_mask;
    t->texts[i] = (int32_t)id;
  }
  t->pair_mask = slots_for(t->n_merges) - 1;
  t->pairs = agrl_xcalloc(t->pair_mask + 1, sizeof *t->pairs);
  for (size_t i = 0; i <= t->pair_mask; i++) t->pairs[i].id = -1;
  for (size_t r = 0; r < t->n_merges; r++) {
    const bpe_merge *m = &t->merges[r];
    size_t i = pair_hash(m->left, m->right) & t->pair_mask;
    while (t->pairs[i].id >= 0 && (t->pairs[i].left != m->left || t->pairs[i].right != m->right))
      i = (i + 1) & t->pair_mask;
    t->pairs[i] = (bpe_pair_slot){.left = m->left, .right = m->right, .id = m->id, .rank = (uint32_t)r};
  }
  return AGRL_OK;
}

size_t agrl_bpe_vocab(const agrl_bpe *t) { return t->n_ids; }

int32_t agrl_bpe_special(const agrl_bpe *t, const char *text) {
  size_t len = strlen(text);
  for (size_t i = 0; i < t->n_added; i++) {
    const bpe_token *k = &t->tokens[t->added[i].id];
    if (k->len == len && memcmp(t->bytes.data + k->off, text, len) == 0) return t->added[i].id;
  }
  return -1;
}

typedef struct sink {
  const agrl_bpe *t;
  int32_t *out;
  size_t cap, n;
} sink;

static void emit(sink *s, int32_t id) {
  if (s->n < s->cap) s->out[s->n] = id;
  s->n++;
}

static void encode_short(sink *s, const char *piece, size_t len) {
  const agrl_bpe *t = s->t;
  int32_t id[short_piece];
  const bpe_pair_slot *pair[short_piece];  // of id[i] and id[i + 1]
  for (size_t i = 0; i < len; i++) id[i] = t->byte_id[(unsigned char)piece[i]];
  for (size_t i = 0; i + 1 < len; i++) pair[i] = find_pair(t, id[i], id[i + 1]);
  while (len > 1) {
    size_t best = len;
    for (size_t i = 0; i + 1 < len; i++) {
      if (pair[i] != NULL && (best == len || pair[i]->rank < pair[best]->rank)) best = i;
    }
    if (best == len) break;
    id[best] = pair[best]->id;
    len--;
    memmove(id + best + 1, id + best + 2, (len - best - 1) * sizeof id[0]);
    memmove(pair + best, pair + best + 1, (len - best - 1) * sizeof pair[0]);
    if (best + 1 < len) pair[best] = find_pair(t, id[best], id[best + 1]);
    if (best > 0) pair[best - 1] = find_pair(t, id[best - 1], id[best]);
  }
  for (size_t i = 0; i < len; i++) emit(s, id[i]);
}

// Long pieces: a doubly linked list of symbols, and a heap of candidate merges ordered by (rank, position).
typedef struct cand {
  uint32_t rank, at;
  int32_t left, right, id;
} cand;

typedef struct heap {
  cand *c;
  size_t n, cap;
} heap;

static bool before(const cand *a, const cand *b) { return a->rank != b->rank ? a->rank < b->rank : a->at < b->at; }

static void heap_put(heap *h, cand c) {
  if (h->n == h->cap) {
    h->cap = h->cap ? h->cap * 2 : 256;
    h->c = agrl_xreallocarray(h->c, h->cap, sizeof *h->c);
  }
  size_t i = h->n++;
  for (; i > 0 && before(&c, &h->c[(i - 1) / 2]); i = (i - 1) / 2) h->c[i] = h->c[(i - 1) / 2];
  h->c[i] = c;
}

static cand heap_take(heap *h) {
  cand top = h->c[0], last = h->c[--h->n];
  size_t i = 0;
  for (size_t k; (k = 2 * i + 1) < h->n; i = k) {
    if (k + 1 < h->n && before(&h->c[k + 1], &h->c[k])) k++;
    if (!before(&h->c[k], &last)) break;
    h->c[i] = h->c[k];
  }
  if (h->n > 0) h->c[i] = last;
  return top;
}

typedef struct sym {
  int32_t id;  // -1: merged away
  uint32_t prev, next;
} sym;

static void consider(const agrl_bpe *t, heap *h, const sym *y, size_t len, size_t at) {
  if (at >= len || y[at].next >= len) return;
  const bpe_pair_slot *p = find_pair(t, y[at].id, y[y[at].next].id);
  if (p != NULL)
    heap_put(h, (cand){.rank = p->rank, .at = (uint32_t)at, .left = p->left, .right = p->right, .id = p->id});
}

static void encode_long(sink *s, const char *piece, size_t len) {
  sym *y = agrl_xreallocarray(NULL, len, sizeof *y);
  heap h = {0};
  for (size_t i = 0; i < len; i++) {
    y[i] = (sym){.id = s->t->byte_id[(unsigned char)piece[i]], .prev = (uint32_t)(i - 1), .next = (uint32_t)(i + 1)};
  }
  for (size_t i = 0; i + 1 < len; i++) consider(s->t, &h, y, len, i);
  while (h.n > 0) {
    cand c = heap_take(&h);
    size_t next = y[c.at].next;
    if (y[c.at].id != c.left || next >= len || y[next].id != c.right) continue;  // out of date
    y[c.at].id = c.id;
    y[next].id = -1;
    y[c.at].next = y[next].next;
    if (y[next].next < len) y[y[next].next].prev = c.at;
    consider(s->t, &h, y, len, c.at);
    if (c.at > 0) consider(s->t, &h, y, len, y[c.at].prev);
  }
  for (size_t i = 0; i < len; i = y[i].next) emit(s, y[i].id);
  free(h.c);
  free(y);
}

static void encode_piece(void *user, const char *piece, size_t len) {
  enum { chunk = 1 << 24 };  // positions are 32 bits; a piece this long only comes from a pattern that gave up
  sink *s = user;
  if (s->t->ignore_merges) {
    int32_t whole = find_text(s->t, piece, len);
    if (whole >= 0) {
      emit(s, whole);
      return;
    }
  }
  agrl_buf known = {0};
  if (s->t->incomplete) {  // what has no token vanishes before merging, as in the Hugging Face library
    for (size_t i = 0; i < len; i++)
      if (s->t->byte_id[(unsigned char)piece[i]] >= 0) agrl_buf_addc(&known, piece[i]);
    piece = known.data;
    len = known.len;
  }
  for (size_t at = 0; at < len; at += chunk) {
    size_t n = len - at < chunk ? len - at : chunk;
    if (n <= short_piece) encode_short(s, piece + at, n);
    else encode_long(s, piece + at, n);
  }
  agrl_buf_release(&known);
}

static void encode_plain(sink *s, const char *text, size_t len) {
  if (len == 0) return;
  agrl_buf normal = {0};
  if (s->t->nfc && agrl_nfc(text, len, &normal))
    agrl_pretok_run(s->t->pretok, normal.data, normal.len, encode_piece, s);
  else agrl_pretok_run(s->t->pretok, text, len, encode_piece, s);
  agrl_buf_release(&normal);
}

// The longest added token that starts at text, or -1.
static int32_t added_at(const agrl_bpe *t, const char *text, size_t len, bool specials) {
  if (!t->added_first[(unsigned char)text[0]]) return -1;
  for (size_t i = 0; i < t->n_added; i++) {
    const bpe_token *k = &t->tokens[t->added[i].id];
    if (t->added[i].special && !specials) continue;
    if (k->len <= len && memcmp(t->bytes.data + k->off, text, k->len) == 0) return t->added[i].id;
  }
  return -1;
}

size_t agrl_bpe_encode(const agrl_bpe *t, const char *text, size_t len, bool specials, int32_t *out, size_t cap) {
  sink s = {.t = t, .out = out, .cap = cap};
  size_t start = 0, at = 0;
  while (t->n_added > 0 && at < len) {
    int32_t id = added_at(t, text + at, len - at, specials);
    if (id < 0) {
      at++;
      continue;
    }
    encode_plain(&s, text + start, at - start);
    emit(&s, id);
    at += t->tokens[id].len;
    start = at;
  }
  encode_plain(&s, text + start, len - start);
  return s.n;
}

size_t agrl_bpe_encode_prompt(const agrl_bpe *t, int32_t start_id, const char *text, size_t len, int32_t *out, size_t cap) {
  const size_t head = start_id >= 0 ? 1 : 0;
  if (head && cap > 0) out[0] = start_id;
  return head + agrl_bpe_encode(t, text, len, false, cap > head ? out + head : NULL, cap > head ? cap - head : 0);
}

void agrl_bpe_decode(const agrl_bpe *t, const int32_t *ids, size_t n, bool specials, agrl_buf *out) {
  for (size_t i = 0; i < n; i++) {
    if (ids[i] < 0 || (size_t)ids[i] >= t->n_ids) continue;
    const bpe_token *k = &t->tokens[ids[i]];
    if (k->known && (specials || !k->special)) agrl_buf_add(out, token_bytes(t, ids[i]), k->len);
  }
}
