// SPDX-License-Identifier: Apache-2.0
// The replay store: one LMDB environment under run.dir/replay with four tables (traces, groups, prompts, meta).
// Writing: begin, any number of put_*/del_*, commit; a commit that returned AGRL_OK has been synced when sync is safe.
// A put or commit that fails leaves the transaction to be aborted by the caller and the store as it was before begin.
//   AGRL_EFULL   the map is full: abort, then replay_store_grow, then try again; AGRL_EFULL from grow means back-pressure
//   AGRL_EIO     the disk refused (text says what); replay_store_broken tells when only a restart helps
// Reading uses the open write transaction when there is one (so a writer sees its own puts), else a short read
// transaction that ends before the call returns: no reader outlives a loop turn and pages are never pinned.
// A reader process (agrlctl) opens read-only while the daemon runs; the iterators take a new transaction every
// REPLAY_ITER_CHUNK records, so a long listing does not make the file grow, and is not one snapshot.
// Caveats: LMDB 0.9.24; no DUPSORT; the map is on a local disk; one writer process. Not thread-safe per object.
#ifndef AGRL_REPLAY_STORE_H
#define AGRL_REPLAY_STORE_H

#include "replay/schema.h"

#define REPLAY_ITER_CHUNK 64

typedef struct replay_store replay_store;

typedef struct replay_store_opts {
  uint64_t map_bytes, map_max_bytes;
  int sync;      // AGRL_SYNC_* of conf/config.h
  uint64_t run;  // a store of another run is refused by name
} replay_store_opts;

typedef struct replay_store_stat {
  uint64_t map_bytes, map_max_bytes;
  uint64_t used_bytes;  // pages in use: free-listed ones are not counted
  double used_ratio;    // of map_max_bytes
  uint32_t readers, max_readers;
  uint64_t traces, groups, prompts;
} replay_store_stat;

// Creates dir when absent. AGRL_EVERSION: another schema; AGRL_ECONFIG: another run; AGRL_EPARSE: data.mdb
// was cut off or emptied. All name dir and the remedy.
agrl_rc replay_store_open(replay_store **out, const char *dir, const replay_store_opts *opts, agrl_error *err);
// AGRL_ENOENT when there is no store yet; AGRL_EPERM when this user may not write to lock.mdb. Accepts any run.
agrl_rc replay_store_open_readonly(replay_store **out, const char *dir, agrl_error *err);
void replay_store_close(replay_store *s);  // an open transaction is aborted; NULL is fine

agrl_rc replay_store_begin(replay_store *s, agrl_error *err);
agrl_rc replay_store_put_trace(replay_store *s, const replay_trace_key *k, const void *data, size_t len, agrl_error *err);  // EEXIST
agrl_rc replay_store_put_group(replay_store *s, const replay_group_rec *g, agrl_error *err);
agrl_rc replay_store_put_prompt(replay_store *s, uint64_t key, const replay_prompt_rec *p, agrl_error *err);
agrl_rc replay_store_put_meta(replay_store *s, const replay_meta *m, agrl_error *err);
agrl_rc replay_store_del_group(replay_store *s, uint64_t group, agrl_error *err);  // and its traces
agrl_rc replay_store_commit(replay_store *s, agrl_error *err);  // ends the transaction, whatever it returns
void replay_store_abort(replay_store *s);                       // no-op without one
agrl_rc replay_store_grow(replay_store *s, agrl_error *err);    // doubles the map up to its maximum; no transaction open
bool replay_store_broken(const replay_store *s);
// The map has its maximum size and over 90 % of it is in use: stop inserting, so that room is left for what ends groups
// and for deleting (copy-on-write needs pages even for that).
bool replay_store_pressed(replay_store *s);

agrl_rc replay_store_get_meta(replay_store *s, replay_meta *out, agrl_error *err);
agrl_rc replay_store_get_group(replay_store *s, uint64_t group, replay_group_rec *out, agrl_error *err);  // ENOENT
bool replay_store_has_trace(replay_store *s, const replay_trace_key *k);
// Appends the record (agrl_scored_unpack reads it) to out; AGRL_ENOENT when absent.
agrl_rc replay_store_get_trace(replay_store *s, const replay_trace_key *k, agrl_buf *out, agrl_error *err);

// Iterators, ascending. fn returns false to stop. data lives until fn returns; fn must not write to the store. A record
// that does not decode is counted in *bad (may be NULL) and skipped.
typedef bool (*replay_group_fn)(void *user, const replay_group_rec *g);
typedef bool (*replay_prompt_fn)(void *user, uint64_t key, const replay_prompt_rec *p);
typedef bool (*replay_trace_fn)(void *user, const replay_trace_key *k, const void *data, size_t len);
agrl_rc replay_store_each_group(replay_store *s, uint64_t from, replay_group_fn fn, void *user, size_t *bad, agrl_error *err);
agrl_rc replay_store_each_prompt(replay_store *s, replay_prompt_fn fn, void *user, size_t *bad, agrl_error *err);
// The traces of one group; group 0: all.
agrl_rc replay_store_each_trace(replay_store *s, uint64_t group, replay_trace_fn fn, void *user, agrl_error *err);

int replay_store_check_readers(replay_store *s);  // clears slots of dead readers; how many
agrl_rc replay_store_get_stat(replay_store *s, replay_store_stat *out, agrl_error *err);
// A compacted copy while the store is in use; dir must exist and be empty.
agrl_rc replay_store_snapshot(replay_store *s, const char *dir, agrl_error *err);

#endif
