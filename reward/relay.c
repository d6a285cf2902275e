// SPDX-License-Identifier: Apache-2.0
// A chained hash table over a fixed array of entries, which are also a doubly linked list from oldest to newest.
#include "reward/relay.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/hash.h"
#include "common/base/mem.h"

#define NIL UINT32_MAX

typedef struct entry {
  agrl_trace_id id;
  agrl_peer peer;
  uint64_t put_ns;
  uint32_t chain;        // next in the bucket, or next free
  uint32_t older, newer;
} entry;

struct reward_relay {
  size_t cap, len, n_buckets;
  entry *entries;
  uint32_t *buckets;
  uint32_t free, oldest, newest;
};

static uint32_t *bucket_of(reward_relay *r, const agrl_trace_id *id) {
  uint64_t key[3] = {id->run, id->group, (uint64_t)id->member << 32 | id->attempt};
  return &r->buckets[agrl_hash64(key, sizeof key) & (r->n_buckets - 1)];
}

static bool same(const agrl_trace_id *a, const agrl_trace_id *b) {
  return a->run == b->run && a->group == b->group && a->member == b->member && a->attempt == b->attempt;
}

reward_relay *reward_relay_new(size_t capacity) {
  reward_relay *r = agrl_xcalloc(1, sizeof *r);
  r->cap = capacity;
  r->entries = agrl_xcalloc(capacity, sizeof *r->entries);
  for (r->n_buckets = 16; r->n_buckets < capacity; r->n_buckets *= 2) continue;
  r->buckets = agrl_xcalloc(r->n_buckets, sizeof *r->buckets);
  memset(r->buckets, 0xff, r->n_buckets * sizeof *r->buckets);
  for (size_t i = 0; i < capacity; i++) r->entries[i].chain = i + 1 < capacity ? (uint32_t)(i + 1) : NIL;
  r->free = 0;
  r->oldest = r->newest = NIL;
  return r;
}

void reward_relay_free(reward_relay *r) {
  if (!r) return;
  free(r->entries);
  free(r->buckets);
  free(r);
}

static void forget(reward_relay *r, uint32_t at) {
  entry *e = &r->entries[at];
  uint32_t *link = bucket_of(r, &e->id);
  while (*link != at) link = &r->entries[*link].chain;
  *link = e->chain;
  if (e->older != NIL) r->entries[e->older].newer = e->newer;
  else r->oldest = e->newer;
  if (e->newer != NIL) r->entries[e->newer].older = e->older;
  else r->newest = e->older;
  e->chain = r->free;
  r->free = at;
  r->len--;
}

static uint32_t find(reward_relay *r, const agrl_trace_id *id) {
  uint32_t at = *bucket_of(r, id);
  while (at != NIL && !same(&r->entries[at].id, id)) at = r->entries[at].chain;
  return at;
}

bool reward_relay_put(reward_relay *r, const agrl_trace_id *id, const agrl_peer *peer, uint64_t now_ns) {
  uint32_t at = find(r, id);
  if (at != NIL) forget(r, at);
  bool full = r->len == r->cap;
  if (full) forget(r, r->oldest);
  at = r->free;
  entry *e = &r->entries[at];
  r->free = e->chain;
  uint32_t *bucket = bucket_of(r, id);
  *e = (entry){.id = *id, .peer = *peer, .put_ns = now_ns, .chain = *bucket, .older = r->newest, .newer = NIL};
  *bucket = at;
  if (r->newest != NIL) r->entries[r->newest].newer = at;
  else r->oldest = at;
  r->newest = at;
  r->len++;
  return full;
}

bool reward_relay_take(reward_relay *r, const agrl_trace_id *id, agrl_peer *peer) {
  uint32_t at = find(r, id);
  if (at == NIL) return false;
  *peer = r->entries[at].peer;
  forget(r, at);
  return true;
}

size_t reward_relay_expire(reward_relay *r, uint64_t before_ns) {
  size_t n = 0;
  for (; r->oldest != NIL && r->entries[r->oldest].put_ns < before_ns; n++) forget(r, r->oldest);
  return n;
}

size_t reward_relay_len(const reward_relay *r) { return r->len; }
