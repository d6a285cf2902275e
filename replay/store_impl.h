// SPDX-License-Identifier: Apache-2.0
// Inside of the store, shared by store.c (environment, writing), store_read.c and store_check.c. No other file includes lmdb.h.
#ifndef AGRL_REPLAY_STORE_IMPL_H
#define AGRL_REPLAY_STORE_IMPL_H

#include <lmdb.h>

#include "replay/store.h"

struct replay_store {
  char *dir;
  MDB_env *env;
  MDB_dbi traces, groups, prompts, meta;
  MDB_txn *write;  // open write transaction or NULL
  uint64_t map_max_bytes;
  bool readonly, broken;
  agrl_buf scratch;
};

agrl_rc store_fail(replay_store *s, int rc, const char *what, agrl_error *err);
// The write transaction, or a new read transaction; end with store_read_end.
agrl_rc store_read_begin(replay_store *s, MDB_txn **out, agrl_error *err);
void store_read_end(replay_store *s, MDB_txn *txn);
// Before anything is read: AGRL_EPARSE when pages in use lie beyond the end of data.mdb.
agrl_rc store_check_whole(replay_store *s, agrl_error *err);
// Whether there is a store in dir. AGRL_EPARSE when data.mdb is empty and the run has a journal; AGRL_EPERM when dir may not be read.
agrl_rc store_check_there(const char *dir, bool *there, agrl_error *err);

#endif
