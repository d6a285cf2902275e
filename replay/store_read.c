// SPDX-License-Identifier: Apache-2.0
// Reading side of the store: single records, chunked iterators, statistics, snapshot.
#include <string.h>
#include <unistd.h>

#include "common/base/bug.h"
#include "replay/store_impl.h"

agrl_rc store_read_begin(replay_store *s, MDB_txn **out, agrl_error *err) {
  *out = s->write;
  if (s->write) return AGRL_OK;
  int rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, out);
  if (rc == MDB_MAP_RESIZED) {  // the daemon grew the map under a read-only opener: take the new size
    rc = mdb_env_set_mapsize(s->env, 0);
    if (!rc) rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, out);
  }
  return store_fail(s, rc, "read", err);
}

void store_read_end(replay_store *s, MDB_txn *txn) {
  if (txn != s->write) mdb_txn_abort(txn);
}

agrl_rc replay_store_get_meta(replay_store *s, replay_meta *out, agrl_error *err) {
  MDB_txn *txn;
  agrl_rc rc = store_read_begin(s, &txn, err);
  if (rc) return rc;
  char name[] = "meta";
  MDB_val k = {4, name}, v;
  rc = store_fail(s, mdb_get(txn, s->meta, &k, &v), "meta", err);
  if (!rc) rc = replay_meta_decode(v.mv_data, v.mv_size, out, err);
  store_read_end(s, txn);
  if (rc == AGRL_EVERSION)
    return agrl_fail(err, rc, "%s: the store has schema version %u, this program reads %u; use the release that wrote it or another run.dir",
                     s->dir, out->schema, REPLAY_SCHEMA_VERSION);
  if (rc && rc != AGRL_ENOENT && err) agrl_fail_in(err, "%s", s->dir);
  return rc;
}

agrl_rc replay_store_get_group(replay_store *s, uint64_t group, replay_group_rec *out, agrl_error *err) {
  MDB_txn *txn;
  agrl_rc rc = store_read_begin(s, &txn, err);
  if (rc) return rc;
  uint8_t key[8];
  replay_group_key(group, key);
  MDB_val k = {sizeof key, key}, v;
  rc = store_fail(s, mdb_get(txn, s->groups, &k, &v), "group", err);
  if (!rc) rc = replay_group_decode(v.mv_data, v.mv_size, out, err);
  store_read_end(s, txn);
  return rc;
}

static int find_trace(replay_store *s, MDB_txn *txn, const replay_trace_key *k, MDB_val *v) {
  uint8_t key[12];
  replay_trace_key_encode(k, key);
  MDB_val mk = {sizeof key, key};
  return mdb_get(txn, s->traces, &mk, v);
}

bool replay_store_has_trace(replay_store *s, const replay_trace_key *k) {
  MDB_txn *txn;
  MDB_val v;
  if (store_read_begin(s, &txn, NULL)) return false;
  int rc = find_trace(s, txn, k, &v);
  store_read_end(s, txn);
  return rc == 0;
}

agrl_rc replay_store_get_trace(replay_store *s, const replay_trace_key *k, agrl_buf *out, agrl_error *err) {
  MDB_txn *txn;
  MDB_val v;
  agrl_rc rc = store_read_begin(s, &txn, err);
  if (rc) return rc;
  rc = store_fail(s, find_trace(s, txn, k, &v), "trace", err);
  if (!rc) agrl_buf_add(out, v.mv_data, v.mv_size);
  store_read_end(s, txn);
  return rc;
}

// Iteration: REPLAY_ITER_CHUNK records a transaction, resumed after the last key seen.

typedef bool (*visit_fn)(void *user, MDB_val k, MDB_val v);

static agrl_rc each(replay_store *s, MDB_dbi dbi, const uint8_t *from, size_t key_len, visit_fn visit, void *user, agrl_error *err) {
  uint8_t at[12];
  AGRL_ASSERT(key_len <= sizeof at);
  memcpy(at, from, key_len);
  bool resumed = false, go = true;
  int rc = 0;
  while (go && !rc) {
    MDB_txn *txn;
    MDB_cursor *c;
    agrl_rc orc = store_read_begin(s, &txn, err);
    if (orc) return orc;
    rc = mdb_cursor_open(txn, dbi, &c);
    if (rc) {
      store_read_end(s, txn);
      break;
    }
    MDB_val k = {key_len, at}, v;
    rc = mdb_cursor_get(c, &k, &v, MDB_SET_RANGE);
    if (!rc && resumed && k.mv_size == key_len && memcmp(k.mv_data, at, key_len) == 0) rc = mdb_cursor_get(c, &k, &v, MDB_NEXT);
    for (int i = 0; !rc && go && i < REPLAY_ITER_CHUNK; i++) {
      if (k.mv_size == key_len) memcpy(at, k.mv_data, key_len);
      go = visit(user, k, v);
      if (go && i + 1 < REPLAY_ITER_CHUNK) rc = mdb_cursor_get(c, &k, &v, MDB_NEXT);
    }
    resumed = true;
    mdb_cursor_close(c);
    store_read_end(s, txn);
  }
  return rc == MDB_NOTFOUND ? AGRL_OK : store_fail(s, rc, "iterate", err);
}

typedef struct visitor {
  replay_group_fn group;
  replay_prompt_fn prompt;
  replay_trace_fn trace;
  uint64_t only;
  void *user;
  size_t bad;
} visitor;

static bool visit_group(void *user, MDB_val k, MDB_val v) {
  visitor *it = user;
  replay_group_rec g;
  uint64_t id;
  if (!replay_u64_key_decode(k.mv_data, k.mv_size, &id) || replay_group_decode(v.mv_data, v.mv_size, &g, NULL) || g.id != id) {
    it->bad++;
    return true;
  }
  return it->group(it->user, &g);
}

static bool visit_prompt(void *user, MDB_val k, MDB_val v) {
  visitor *it = user;
  replay_prompt_rec p;
  uint64_t key;
  if (!replay_u64_key_decode(k.mv_data, k.mv_size, &key) || replay_prompt_decode(v.mv_data, v.mv_size, &p, NULL)) {
    it->bad++;
    return true;
  }
  return it->prompt(it->user, key, &p);
}

static bool visit_trace(void *user, MDB_val k, MDB_val v) {
  visitor *it = user;
  replay_trace_key key;
  if (!replay_trace_key_decode(k.mv_data, k.mv_size, &key)) return true;
  if (it->only && key.group != it->only) return false;
  return it->trace(it->user, &key, v.mv_data, v.mv_size);
}

agrl_rc replay_store_each_group(replay_store *s, uint64_t from, replay_group_fn fn, void *user, size_t *bad, agrl_error *err) {
  visitor it = {.group = fn, .user = user};
  uint8_t key[8];
  replay_group_key(from, key);
  agrl_rc rc = each(s, s->groups, key, sizeof key, visit_group, &it, err);
  if (bad) *bad = it.bad;
  return rc;
}

agrl_rc replay_store_each_prompt(replay_store *s, replay_prompt_fn fn, void *user, size_t *bad, agrl_error *err) {
  visitor it = {.prompt = fn, .user = user};
  uint8_t key[8] = {0};
  agrl_rc rc = each(s, s->prompts, key, sizeof key, visit_prompt, &it, err);
  if (bad) *bad = it.bad;
  return rc;
}

agrl_rc replay_store_each_trace(replay_store *s, uint64_t group, replay_trace_fn fn, void *user, agrl_error *err) {
  visitor it = {.trace = fn, .only = group, .user = user};
  uint8_t key[12];
  replay_trace_key_encode(&(replay_trace_key){group, 0}, key);
  return each(s, s->traces, key, sizeof key, visit_trace, &it, err);
}

// Health

int replay_store_check_readers(replay_store *s) {
  int dead = 0;
  return mdb_reader_check(s->env, &dead) ? 0 : dead;
}

// Pages on the free list: each record's first word is how many it names. Table 0 is LMDB's own free list.
static uint64_t free_pages(MDB_txn *txn) {
  uint64_t n = 0;
  MDB_cursor *c;
  MDB_val k, v;
  if (mdb_cursor_open(txn, 0, &c)) return 0;
  while (mdb_cursor_get(c, &k, &v, MDB_NEXT) == 0) {
    size_t pages = 0;
    if (v.mv_size >= sizeof pages) memcpy(&pages, v.mv_data, sizeof pages);
    n += pages;
  }
  mdb_cursor_close(c);
  return n;
}

agrl_rc replay_store_get_stat(replay_store *s, replay_store_stat *out, agrl_error *err) {
  MDB_txn *txn;
  agrl_rc rc = store_read_begin(s, &txn, err);
  if (rc) return rc;
  MDB_envinfo info;
  MDB_stat t = {0}, g = {0}, p = {0};
  mdb_env_info(s->env, &info);
  int m = mdb_stat(txn, s->traces, &t);
  if (!m) m = mdb_stat(txn, s->groups, &g);
  if (!m) m = mdb_stat(txn, s->prompts, &p);
  uint64_t high = (uint64_t)info.me_last_pgno + 1, spare = free_pages(txn);
  *out = (replay_store_stat){.map_bytes = info.me_mapsize,
                             .map_max_bytes = s->readonly ? info.me_mapsize : s->map_max_bytes,
                             .used_bytes = (high > spare ? high - spare : 0) * t.ms_psize,
                             .readers = info.me_numreaders,
                             .max_readers = info.me_maxreaders,
                             .traces = t.ms_entries,
                             .groups = g.ms_entries,
                             .prompts = p.ms_entries};
  out->used_ratio = out->map_max_bytes ? (double)out->used_bytes / (double)out->map_max_bytes : 0;
  store_read_end(s, txn);
  return store_fail(s, m, "stat", err);
}

bool replay_store_pressed(replay_store *s) {
  MDB_envinfo info;
  mdb_env_info(s->env, &info);
  replay_store_stat st;
  double high = ((double)info.me_last_pgno + 1) * (double)sysconf(_SC_PAGESIZE);  // a first look that costs nothing
  if (high < 0.9 * (double)s->map_max_bytes) return false;
  return replay_store_get_stat(s, &st, NULL) == AGRL_OK && st.used_ratio > 0.9;
}

agrl_rc replay_store_snapshot(replay_store *s, const char *dir, agrl_error *err) {
  return store_fail(s, mdb_env_copy2(s->env, dir, MDB_CP_COMPACT), "snapshot", err);
}
