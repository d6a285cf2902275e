// SPDX-License-Identifier: Apache-2.0
// See weights_build.h.
#include "actor/weights_build.h"

#include <inttypes.h>
#include <string.h>

#include "common/base/bug.h"

enum { CHUNK_BYTES = 1 << 20 };

void actor_weights_build_init(actor_weights_build *b, const agrl_layout *model, const agrl_lora *lora) {
  memset(b, 0, sizeof *b);
  actor_weights_turns_init(&b->turns, lora ? lora->layout : model);
  b->merges = lora != NULL;
  if (lora) actor_weights_merge_init(&b->merge, lora);
}

void actor_weights_build_release(actor_weights_build *b) {
  agrl_delta_reader_free(b->reader);
  actor_weights_turns_release(&b->turns);
  actor_weights_merge_release(&b->merge);
  memset(b, 0, sizeof *b);
}

agrl_rc actor_weights_build_ready(actor_weights_build *b, agrl_error *err) {
  agrl_rc rc = b->merges ? actor_weights_merge_ready(&b->merge, err) : AGRL_OK;
  return rc ? rc : actor_weights_turns_ready(&b->turns, err);
}

static uint64_t live_version(const actor_weights_build *b) { return b->turns.live ? agrl_weights_version(b->turns.live) : 0; }

// Every link begins where the one before it ended; only the first may begin from nothing.
static bool connected(const agrl_link *links, size_t n, uint64_t from, uint64_t to) {
  for (size_t i = 0; i < n; i++) {
    bool delta = links[i].kind == AGRL_LINK_DELTA;
    if (links[i].kind == AGRL_LINK_BASE || (links[i].kind == AGRL_LINK_FULL && n > 1)) return false;
    if (!links[i].bytes || delta == (links[i].base == 0) || (delta ? links[i].base != from : i > 0)) return false;
    from = links[i].version;
  }
  return n && from == to;
}

static bool is_block(agrl_link_kind kind) { return kind == AGRL_LINK_FULL || kind == AGRL_LINK_BASE; }

// The reader of the link at hand; the block itself needs none.
static void open_link(actor_weights_build *b) {
  agrl_delta_reader_free(b->reader);
  b->reader = NULL;
  b->got = 0;
  if (b->at == b->n_links || is_block(b->links[b->at].kind)) return;
  const agrl_link *l = &b->links[b->at];
  agrl_delta_id expected = {.version = l->version, .base_version = l->base};
  if (l->base) expected.base_hash = b->reached_hash;
  b->reader = agrl_delta_reader_new(b->turns.layout, b->turns.scratch, &expected);
}

// Links that bring the base first, where that is needed and nowhere else. *first: of the other links.
static agrl_rc check_base(const actor_weights_build *b, const agrl_msg_announce *a, size_t *first, agrl_error *err) {
  const bool brought = a->n_links && a->links[0].kind == AGRL_LINK_BASE;
  *first = brought;
  if (b->merges && actor_weights_merge_none(&a->base_hash)) return agrl_fail(err, AGRL_EVERSION, "adapters that name no base");
  if (brought && (!b->merges || a->links[0].version || a->links[0].base || a->links[0].bytes != b->merge.turns.bytes))
    return agrl_fail(err, AGRL_EVERSION, "a base of %" PRIu64 " bytes that does not belong to the model", a->links[0].bytes);
  if (b->merges && !brought && !actor_weights_merge_has(&b->merge, &a->base_hash))
    return agrl_fail(err, AGRL_EVERSION, "adapters of another base than the one that is here");
  return AGRL_OK;
}

agrl_rc actor_weights_build_begin(actor_weights_build *b, const agrl_msg_announce *a, agrl_error *err) {
  AGRL_ASSERT(b->turns.scratch);
  size_t first;
  agrl_rc rc = check_base(b, a, &first, err);
  if (rc) return rc;
  if (a->n_links > AGRL_LIMIT_LINKS || !connected(a->links + first, a->n_links - first, live_version(b), a->version))
    return agrl_fail(err, AGRL_EVERSION, "%zu links do not lead from version %" PRIu64 " to %" PRIu64, a->n_links, live_version(b), a->version);
  if (a->links[first].kind == AGRL_LINK_FULL && a->links[first].bytes != b->turns.bytes)
    return agrl_fail(err, AGRL_EVERSION, "a block of %" PRIu64 " bytes, expected %zu", a->links[first].bytes, b->turns.bytes);
  if (first) actor_weights_merge_begin(&b->merge);
  memcpy(b->links, a->links, a->n_links * sizeof *a->links);
  b->n_links = a->n_links;
  b->version = a->version;
  b->hash = a->hash;
  b->base_hash = a->base_hash;
  b->at = 0;
  if (b->turns.live) b->reached_hash = agrl_weights_hash(b->turns.live);
  open_link(b);
  return AGRL_OK;
}

void actor_weights_build_fill(actor_weights_build *b) {
  const agrl_link_kind kind = b->links[b->links[0].kind == AGRL_LINK_BASE].kind;
  if (kind == AGRL_LINK_DELTA) memcpy(b->turns.scratch, agrl_weights_block(b->turns.live), b->turns.bytes);
  else if (kind == AGRL_LINK_ANCHOR) memset(b->turns.scratch, 0, b->turns.bytes);
}

bool actor_weights_build_next(actor_weights_build *b, agrl_msg_chunk_get *get) {
  if (b->at == b->n_links) return false;
  const agrl_link *l = &b->links[b->at];
  uint64_t left = l->bytes - b->got;
  *get = (agrl_msg_chunk_get){.kind = l->kind, .version = l->version, .offset = b->got, .len = left < CHUNK_BYTES ? (uint32_t)left : CHUNK_BYTES};
  return true;
}

// The link is in: what its head says was reached is what the next one must build on, and at the end what was announced.
static agrl_rc end_link(actor_weights_build *b, agrl_error *err) {
  if (b->reader) {
    if (!agrl_delta_reader_done(b->reader)) return agrl_fail(err, AGRL_EPARSE, "the package ends early");
    b->reached_hash = agrl_delta_reader_id(b->reader)->hash;
  } else if (b->links[b->at].kind == AGRL_LINK_FULL) {
    b->reached_hash = b->hash;
  }
  if (++b->at == b->n_links && memcmp(&b->reached_hash, &b->hash, sizeof b->hash) != 0)
    return agrl_fail(err, AGRL_EVERSION, "the last package leads to other weights than those announced");
  open_link(b);
  return AGRL_OK;
}

agrl_rc actor_weights_build_take(actor_weights_build *b, const agrl_msg_chunk *k, agrl_error *err) {
  AGRL_ASSERT(b->at < b->n_links);
  const agrl_link *l = &b->links[b->at];
  if (k->version != l->version || k->offset != b->got || !k->len || k->len > l->bytes - b->got)
    return agrl_fail(err, AGRL_EVERSION, "chunk at %" PRIu64 " of version %" PRIu64 ", asked for was %" PRIu64 " of %" PRIu64, k->offset, k->version,
                     b->got, l->version);
  if (b->reader) {
    agrl_rc rc = agrl_delta_reader_feed(b->reader, k->data, k->len, err);
    if (rc) return rc;
  } else if (l->kind == AGRL_LINK_BASE) {
    actor_weights_merge_take(&b->merge, b->got, k->data, k->len);
  } else {
    memcpy((uint8_t *)b->turns.scratch + b->got, k->data, k->len);
  }
  b->got += k->len;
  return b->got == l->bytes ? end_link(b, err) : AGRL_OK;
}

agrl_sha256 actor_weights_build_base(const actor_weights_build *b) { return b->merge.hash; }

bool actor_weights_build_verify(actor_weights_build *b) {
  AGRL_ASSERT(b->at == b->n_links);
  if (b->merges && !actor_weights_merge_verify(&b->merge, &b->base_hash)) return false;
  agrl_sha256 got = agrl_sha256_of(b->turns.scratch, b->turns.bytes);
  if (memcmp(&got, &b->hash, sizeof got) != 0) return false;
  agrl_weights *next = actor_weights_turns_adopt(&b->turns, b->version, &b->hash);
  if (b->merges) actor_weights_merge_apply(&b->merge, agrl_weights_block(next), b->version);
  else agrl_weights_pack(next, NULL);
  return true;
}

agrl_weights *actor_weights_build_commit(actor_weights_build *b) {
  actor_weights_turns_commit(&b->turns);
  return b->merges ? actor_weights_merge_commit(&b->merge) : agrl_weights_ref(b->turns.live);
}
