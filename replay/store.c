// SPDX-License-Identifier: Apache-2.0
// Environment and write transactions of the store.
//
// Crash safety is LMDB's: copy-on-write pages and two meta pages, the newer valid one counts, so a process killed at any
// instruction leaves the last committed transaction. Above it one rule holds: whatever belongs together (a trace and the
// state of its group, a lease and what the learner was told) goes into one transaction, and nobody is told before
// commit returned. MDB_MAP_FULL is a normal event here, not an error of the disk.
#include "replay/store_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bug.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/conf/config.h"

#define MAX_READERS 510

agrl_rc store_fail(replay_store *s, int rc, const char *what, agrl_error *err) {
  if (rc == 0) return AGRL_OK;
  if (rc == MDB_NOTFOUND) return agrl_fail(err, AGRL_ENOENT, "%s: %s: no such record", s->dir, what);
  if (rc == MDB_MAP_FULL) return agrl_fail(err, AGRL_EFULL, "%s: %s: the map is full (replay.map_max_bytes limits it)", s->dir, what);
  if (rc == MDB_PANIC || rc == MDB_CORRUPTED || rc == MDB_PAGE_NOTFOUND) s->broken = true;
  if (rc == MDB_READERS_FULL) return agrl_fail(err, AGRL_EAGAIN, "%s: %s: all %d reader slots are taken", s->dir, what, MAX_READERS);
  return agrl_fail(err, AGRL_EIO, "%s: %s: %s", s->dir, what, mdb_strerror(rc));
}

static unsigned sync_flags(int sync) {
  return sync == AGRL_SYNC_NOMETA ? MDB_NOMETASYNC : sync == AGRL_SYNC_NONE ? MDB_NOSYNC : 0;
}

static agrl_rc env_open(replay_store *s, uint64_t map_bytes, unsigned flags, agrl_error *err) {
  int rc = mdb_env_create(&s->env);
  if (!rc) rc = mdb_env_set_maxdbs(s->env, 8);
  if (!rc) rc = mdb_env_set_maxreaders(s->env, MAX_READERS);
  if (!rc && map_bytes) rc = mdb_env_set_mapsize(s->env, map_bytes);
  if (!rc) rc = mdb_env_open(s->env, s->dir, flags | MDB_NOTLS, 0644);
  if (rc == MDB_VERSION_MISMATCH || rc == MDB_INVALID)
    return agrl_fail(err, AGRL_EVERSION, "%s: data.mdb is not an LMDB file this program reads (%s); move it away or choose another run.dir",
                     s->dir, mdb_strerror(rc));
  if (rc == EACCES || rc == EPERM || rc == EROFS)
    return agrl_fail(err, AGRL_EPERM, "%s: this user may not write here (%s), and a reader, too, enters itself in lock.mdb; be its owner, or read a copy of the run",
                     s->dir, mdb_strerror(rc));
  if (!rc) replay_store_check_readers(s);
  return rc ? store_fail(s, rc, "open", err) : store_check_whole(s, err);
}

static agrl_rc tables_open(replay_store *s, MDB_txn *txn, unsigned flags, agrl_error *err) {
  int rc = mdb_dbi_open(txn, "traces", flags, &s->traces);
  if (!rc) rc = mdb_dbi_open(txn, "groups", flags, &s->groups);
  if (!rc) rc = mdb_dbi_open(txn, "prompts", flags, &s->prompts);
  if (!rc) rc = mdb_dbi_open(txn, "meta", flags, &s->meta);
  return store_fail(s, rc, "open tables", err);
}

// Schema and run of an existing store; a new one gets its first meta record.
static agrl_rc meta_check(replay_store *s, const replay_store_opts *opts, agrl_error *err) {
  replay_meta m;
  agrl_rc rc = replay_store_get_meta(s, &m, err);
  if (rc == AGRL_ENOENT && opts) {
    m = (replay_meta){.schema = REPLAY_SCHEMA_VERSION, .run = opts->run, .next_group = 1};
    return replay_store_put_meta(s, &m, err);
  }
  if (rc) return rc;
  if (opts && m.run != opts->run)
    return agrl_fail(err, AGRL_ECONFIG,
                     "%s: this store belongs to run %016llx, the configuration makes run %016llx; set run.name and run.seed as they were "
                     "or choose another run.dir",
                     s->dir, (unsigned long long)m.run, (unsigned long long)opts->run);
  return AGRL_OK;
}

static replay_store *store_new(const char *dir, bool readonly) {
  replay_store *s = agrl_xcalloc(1, sizeof *s);
  s->dir = agrl_xstrdup(dir);
  s->readonly = readonly;
  return s;
}

agrl_rc replay_store_open(replay_store **out, const char *dir, const replay_store_opts *opts, agrl_error *err) {
  *out = NULL;
  bool there;
  agrl_rc rc = agrl_file_mkdirs(dir, err);
  if (!rc) rc = store_check_there(dir, &there, err);
  if (rc) return rc;
  replay_store *s = store_new(dir, false);
  s->map_max_bytes = opts->map_max_bytes > opts->map_bytes ? opts->map_max_bytes : opts->map_bytes;
  rc = env_open(s, opts->map_bytes, sync_flags(opts->sync), err);
  if (!rc) rc = replay_store_begin(s, err);
  if (!rc) rc = tables_open(s, s->write, MDB_CREATE, err);
  if (!rc) rc = meta_check(s, opts, err);
  if (!rc) rc = replay_store_commit(s, err);
  if (rc) replay_store_close(s);
  else *out = s;
  return rc;
}

agrl_rc replay_store_open_readonly(replay_store **out, const char *dir, agrl_error *err) {
  *out = NULL;
  bool there;
  agrl_rc rc = store_check_there(dir, &there, err);
  if (rc) return rc;
  if (!there) return agrl_fail(err, AGRL_ENOENT, "%s: no replay store here yet (start the job first)", dir);
  replay_store *s = store_new(dir, true);
  MDB_txn *txn = NULL;
  rc = env_open(s, 0, MDB_RDONLY, err);
  if (!rc) rc = store_read_begin(s, &txn, err);
  if (!rc) rc = tables_open(s, txn, 0, err);
  if (txn && !rc) rc = store_fail(s, mdb_txn_commit(txn), "open tables", err);  // commit keeps the table handles
  else if (txn) mdb_txn_abort(txn);
  if (!rc) rc = meta_check(s, NULL, err);
  if (rc) replay_store_close(s);
  else *out = s;
  return rc;
}

void replay_store_close(replay_store *s) {
  if (!s) return;
  replay_store_abort(s);
  if (s->env) mdb_env_close(s->env);
  agrl_buf_release(&s->scratch);
  free(s->dir);
  free(s);
}

bool replay_store_broken(const replay_store *s) { return s->broken; }

// Transactions

agrl_rc replay_store_begin(replay_store *s, agrl_error *err) {
  AGRL_ASSERT(!s->write && !s->readonly);
  return store_fail(s, mdb_txn_begin(s->env, NULL, 0, &s->write), "begin", err);
}

agrl_rc replay_store_commit(replay_store *s, agrl_error *err) {
  AGRL_ASSERT(s->write);
  MDB_txn *txn = s->write;
  s->write = NULL;
  return store_fail(s, mdb_txn_commit(txn), "commit", err);
}

void replay_store_abort(replay_store *s) {
  if (s->write) mdb_txn_abort(s->write);
  s->write = NULL;
}

agrl_rc replay_store_grow(replay_store *s, agrl_error *err) {
  AGRL_ASSERT(!s->write);
  MDB_envinfo info;
  mdb_env_info(s->env, &info);
  uint64_t now = info.me_mapsize, want = now > s->map_max_bytes / 2 ? s->map_max_bytes : now * 2;
  if (want <= now)
    return agrl_fail(err, AGRL_EFULL, "%s: the map has its maximum of %llu bytes; raise replay.map_max_bytes or lower replay.keep_groups",
                     s->dir, (unsigned long long)now);
  agrl_rc rc = store_fail(s, mdb_env_set_mapsize(s->env, want), "grow", err);
  if (!rc) agrl_logi("event=map_grown bytes=%llu max=%llu", (unsigned long long)want, (unsigned long long)s->map_max_bytes);
  return rc;
}

static agrl_rc put(replay_store *s, MDB_dbi dbi, const void *key, size_t key_len, const void *data, size_t len, unsigned flags,
                   const char *what, agrl_error *err) {
  AGRL_ASSERT(s->write);
  MDB_val k = {key_len, (void *)(uintptr_t)key}, v = {len, (void *)(uintptr_t)data};
  int rc = mdb_put(s->write, dbi, &k, &v, flags);
  if (rc == MDB_KEYEXIST) return agrl_fail(err, AGRL_EEXIST, "%s: %s: already stored", s->dir, what);
  return store_fail(s, rc, what, err);
}

agrl_rc replay_store_put_trace(replay_store *s, const replay_trace_key *k, const void *data, size_t len, agrl_error *err) {
  uint8_t key[12];
  replay_trace_key_encode(k, key);
  return put(s, s->traces, key, sizeof key, data, len, MDB_NOOVERWRITE, "put trace", err);
}

agrl_rc replay_store_put_group(replay_store *s, const replay_group_rec *g, agrl_error *err) {
  uint8_t key[8];
  replay_group_key(g->id, key);
  agrl_buf_clear(&s->scratch);
  replay_group_encode(g, &s->scratch);
  return put(s, s->groups, key, sizeof key, s->scratch.data, s->scratch.len, 0, "put group", err);
}

agrl_rc replay_store_put_prompt(replay_store *s, uint64_t key, const replay_prompt_rec *p, agrl_error *err) {
  uint8_t bytes[8];
  replay_group_key(key, bytes);
  agrl_buf_clear(&s->scratch);
  replay_prompt_encode(p, &s->scratch);
  return put(s, s->prompts, bytes, sizeof bytes, s->scratch.data, s->scratch.len, 0, "put prompt", err);
}

agrl_rc replay_store_put_meta(replay_store *s, const replay_meta *m, agrl_error *err) {
  agrl_buf_clear(&s->scratch);
  replay_meta_encode(m, &s->scratch);
  return put(s, s->meta, "meta", 4, s->scratch.data, s->scratch.len, 0, "put meta", err);
}

agrl_rc replay_store_del_group(replay_store *s, uint64_t group, agrl_error *err) {
  AGRL_ASSERT(s->write);
  uint8_t key[12];
  replay_trace_key_encode(&(replay_trace_key){group, 0}, key);
  MDB_val k = {sizeof key, key}, v;
  MDB_cursor *c;
  int rc = mdb_cursor_open(s->write, s->traces, &c);
  if (rc) return store_fail(s, rc, "delete group", err);
  replay_trace_key at;
  for (;;) {  // found anew after each delete: where a cursor stands then differs between LMDB releases
    rc = mdb_cursor_get(c, &k, &v, MDB_SET_RANGE);
    if (rc || !replay_trace_key_decode(k.mv_data, k.mv_size, &at) || at.group != group) break;
    rc = mdb_cursor_del(c, 0);
    if (rc) break;
    k = (MDB_val){sizeof key, key};
  }
  mdb_cursor_close(c);
  if (rc && rc != MDB_NOTFOUND) return store_fail(s, rc, "delete group", err);
  MDB_val gk = {8, key};
  rc = mdb_del(s->write, s->groups, &gk, NULL);
  return rc == MDB_NOTFOUND ? AGRL_OK : store_fail(s, rc, "delete group", err);
}
