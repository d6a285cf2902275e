// SPDX-License-Identifier: Apache-2.0
// Deleting closed groups with their traces.
#include "replay/evict.h"

#define CHUNK 64  // groups a transaction

typedef struct victims {
  uint64_t ids[CHUNK];
  size_t n, limit;
  uint64_t checkpoint;
} victims;

static bool collect(void *user, const replay_group_rec *g) {
  victims *v = user;
  bool trained = g->state == REPLAY_TRAINED && g->trained_version <= v->checkpoint;
  bool retired = g->state == REPLAY_RETIRED && (g->cause != REPLAY_CAUSE_LEASE || g->lease_version < v->checkpoint);
  if (trained || retired) v->ids[v->n++] = g->id;
  return v->n < v->limit;
}

static agrl_rc remove_all(replay_core *c, void *user, agrl_error *err) {
  const victims *v = user;
  agrl_rc rc = AGRL_OK;
  for (size_t i = 0; !rc && i < v->n; i++) rc = replay_store_del_group(c->store, v->ids[i], err);
  c->meta.purged += v->n;
  c->counts.purged += v->n;
  return rc;
}

agrl_rc replay_evict(replay_core *c, bool *more, agrl_error *err) {
  *more = false;
  uint64_t closed = c->stored_groups - c->n_groups, keep = (uint64_t)c->conf->replay.keep_groups;
  uint64_t excess = replay_store_pressed(c->store) ? closed : closed > keep ? closed - keep : 0;
  if (excess == 0) return AGRL_OK;
  victims v = {.limit = excess < CHUNK ? (size_t)excess : CHUNK, .checkpoint = c->meta.checkpoint};
  agrl_rc rc = replay_store_each_group(c->store, 0, collect, &v, NULL, err);
  if (rc || v.n == 0) return rc;
  rc = replay_core_write(c, remove_all, &v, err);
  if (rc) return rc;
  c->stored_groups -= v.n;
  *more = v.n == CHUNK;
  return AGRL_OK;
}
