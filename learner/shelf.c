// SPDX-License-Identifier: Apache-2.0
// See shelf.h.
#include "learner/shelf.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/bug.h"
#include "common/base/mem.h"
#include "common/wire/limits.h"

_Static_assert(LEARNER_DELTAS_MAX + 2 <= AGRL_LIMIT_LINKS, "a base, an anchor and every delta fit one plan");

learner_package *learner_package_new(agrl_weights *base, agrl_weights *now, agrl_pool *pool, size_t *changed) {
  learner_package *p = agrl_xcalloc(1, sizeof *p);
  agrl_delta_stats st;
  p->version = agrl_weights_version(now);
  agrl_delta_id id = {.version = p->version, .hash = agrl_weights_hash(now)};
  if (base != NULL) {
    id.base_version = p->base = agrl_weights_version(base);
    id.base_hash = agrl_weights_hash(base);
  }
  agrl_delta_encode(agrl_weights_layout(now), base != NULL ? agrl_weights_block(base) : NULL, agrl_weights_block(now), &id, pool, &p->bytes, &st);
  if (changed != NULL) *changed = st.changed;
  return p;
}

void learner_package_free(learner_package *p) {
  if (p == NULL) return;
  agrl_buf_release(&p->bytes);
  free(p);
}

void learner_shelf_release(learner_shelf *s) {
  agrl_weights_unref(s->newest);
  agrl_weights_unref(s->previous);
  learner_package_free(s->anchor);
  for (size_t i = 0; i < s->n_deltas; i++) learner_package_free(s->deltas[i]);
  memset(s, 0, sizeof *s);
}

static size_t block_bytes(const learner_shelf *s) { return agrl_weights_layout(s->newest)->n_elements * sizeof(uint16_t); }

static void drop_oldest_delta(learner_shelf *s) {
  s->delta_bytes -= s->deltas[0]->bytes.len;
  learner_package_free(s->deltas[0]);
  memmove(&s->deltas[0], &s->deltas[1], --s->n_deltas * sizeof s->deltas[0]);
}

void learner_shelf_put(learner_shelf *s, agrl_weights *w, learner_package *anchor, learner_package *delta) {
  agrl_weights_unref(s->previous);
  s->previous = s->newest_asked ? s->newest : NULL;
  if (!s->newest_asked) agrl_weights_unref(s->newest);
  s->newest_asked = false;
  s->newest = w;
  if (anchor != NULL) {
    learner_package_free(s->anchor);
    s->anchor = anchor;
  }
  if (delta == NULL) return;
  if (s->n_deltas == LEARNER_DELTAS_MAX) drop_oldest_delta(s);
  s->deltas[s->n_deltas++] = delta;
  s->delta_bytes += delta->bytes.len;
  while (s->delta_bytes > block_bytes(s)) drop_oldest_delta(s);
}

// Deltas from version `from` to the newest. False: something between is missing. An anchor of the newest needs none.
static bool chain(const learner_shelf *s, uint64_t from, size_t *first, uint64_t *bytes) {
  uint64_t at = agrl_weights_version(s->newest);
  size_t i = s->n_deltas;
  *bytes = 0;
  while (at != from && i > 0 && s->deltas[i - 1]->version == at) {
    *bytes += s->deltas[--i]->bytes.len;
    at = s->deltas[i]->base;
  }
  *first = i;
  return at == from;
}

static size_t put_chain(const learner_shelf *s, size_t first, agrl_link *links, size_t n) {
  for (size_t i = first; i < s->n_deltas; i++) {
    const learner_package *d = s->deltas[i];
    links[n++] = (agrl_link){.kind = AGRL_LINK_DELTA, .version = d->version, .base = d->base, .bytes = d->bytes.len};
  }
  return n;
}

size_t learner_shelf_plan(const learner_shelf *s, uint64_t have, bool full, agrl_link *links) {
  AGRL_ASSERT(s->newest != NULL);
  uint64_t newest = agrl_weights_version(s->newest), best = block_bytes(s), bytes;
  if (have == newest && !full) return 0;
  size_t from_have = 0, from_anchor = 0;
  bool by_deltas = false, by_anchor = false;
  if (!full && have != 0 && chain(s, have, &from_have, &bytes) && bytes < best) {
    by_deltas = true;
    best = bytes;
  }
  if (!full && s->anchor != NULL && chain(s, s->anchor->version, &from_anchor, &bytes) && bytes + s->anchor->bytes.len < best) by_anchor = true;
  if (by_anchor) {
    links[0] = (agrl_link){.kind = AGRL_LINK_ANCHOR, .version = s->anchor->version, .bytes = s->anchor->bytes.len};
    return put_chain(s, from_anchor, links, 1);
  }
  if (by_deltas) return put_chain(s, from_have, links, 0);
  links[0] = (agrl_link){.kind = AGRL_LINK_FULL, .version = newest, .bytes = block_bytes(s)};
  return 1;
}

static const uint8_t *package_bytes(const learner_package *p, size_t *len) {
  *len = p->bytes.len;
  return (const uint8_t *)p->bytes.data;
}

const uint8_t *learner_shelf_find(learner_shelf *s, agrl_link_kind kind, uint64_t version, size_t *len) {
  agrl_weights *whole[] = {s->newest, s->previous};
  for (int i = 0; kind == AGRL_LINK_FULL && i < 2; i++) {
    if (whole[i] == NULL || agrl_weights_version(whole[i]) != version) continue;
    s->newest_asked = s->newest_asked || i == 0;
    *len = block_bytes(s);
    return (const uint8_t *)agrl_weights_block(whole[i]);
  }
  if (kind == AGRL_LINK_ANCHOR && s->anchor != NULL && s->anchor->version == version) return package_bytes(s->anchor, len);
  for (size_t i = 0; kind == AGRL_LINK_DELTA && i < s->n_deltas; i++)
    if (s->deltas[i]->version == version) return package_bytes(s->deltas[i], len);
  return NULL;
}
