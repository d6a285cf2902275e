// SPDX-License-Identifier: Apache-2.0
// Is a data.mdb all there? LMDB maps the file, so that a page beyond its end kills the reader with SIGBUS. A file shorter than the
// pages it counts may be sound all the same: pages that were taken and freed within one transaction are counted and never written.
// So in a short file every page that can be reached is looked at, by reading. Format: LMDB 0.9, data version 1, as mdb_env_open
// has found it to be, and of this machine's word size and byte order.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "replay/store_impl.h"

enum {
  PAGE_HEADER = 16, PAGE_FLAGS = 10, PAGE_LOWER = 12, BRANCH = 1, LEAF = 2,  // of a page
  NODE_FLAGS = 4, KEY_SIZE = 6, NODE_HEADER = 8, BIG_DATA = 1, SUB_DATA = 2,  // of a node
  DB_BYTES = 48, DB_ROOT = 40,                                                // of a table's record
  META_TABLES = 24, META_LAST_PAGE = 120, META_TXN = 128, META_BYTES = 136,   // of a meta page, after its header
  MAX_DEPTH = 32
};

typedef struct checker {
  int fd;
  size_t page_size;
  uint64_t bytes;  // of the file
} checker;

static uint64_t u64_at(const uint8_t *p) {
  uint64_t v;
  memcpy(&v, p, sizeof v);
  return v;
}

static unsigned u16_at(const uint8_t *p) {
  uint16_t v;
  memcpy(&v, p, sizeof v);
  return v;
}

static bool pages_there(const checker *c, uint64_t first, uint64_t n) {
  uint64_t have = c->bytes / c->page_size;
  return first < have && n <= have - first;
}

static bool tree_there(const checker *c, uint64_t root, int depth);

static bool table_there(const checker *c, const uint8_t *db, int depth) {
  uint64_t root = u64_at(db + DB_ROOT);
  return root == UINT64_MAX || tree_there(c, root, depth);  // all ones: empty
}

// p: a node of a page that ends at end.
static bool node_there(const checker *c, const uint8_t *p, const uint8_t *end, bool branch, int depth) {
  if (p + NODE_HEADER > end) return false;
  uint64_t low = u16_at(p) | (uint64_t)u16_at(p + 2) << 16;  // a branch's page, a leaf's data size
  unsigned flags = u16_at(p + NODE_FLAGS);
  const uint8_t *data = p + NODE_HEADER + u16_at(p + KEY_SIZE);
  if (branch) return tree_there(c, low | (uint64_t)flags << 32, depth + 1);
  if (flags & BIG_DATA) return data + 8 <= end && pages_there(c, u64_at(data), (PAGE_HEADER + low + c->page_size - 1) / c->page_size);
  if (flags & SUB_DATA) return data + DB_BYTES <= end && table_there(c, data, depth + 1);
  return true;
}

static bool tree_there(const checker *c, uint64_t number, int depth) {
  if (depth > MAX_DEPTH || !pages_there(c, number, 1)) return false;
  uint8_t *page = agrl_xmalloc(c->page_size);
  bool there = pread(c->fd, page, c->page_size, (off_t)(number * c->page_size)) == (ssize_t)c->page_size;
  unsigned flags = u16_at(page + PAGE_FLAGS), lower = u16_at(page + PAGE_LOWER);
  there = there && (flags & (BRANCH | LEAF)) && lower >= PAGE_HEADER && lower <= c->page_size;
  for (size_t at = PAGE_HEADER; there && at < lower; at += 2) {
    unsigned node = u16_at(page + at);
    there = node < c->page_size && node_there(c, page + node, page + c->page_size, flags & BRANCH, depth);
  }
  free(page);
  return there;
}

// The meta page of transaction txn. False: a writer has gone on meanwhile, and it does not write to a short file.
static bool find_meta(const checker *c, uint64_t txn, uint8_t meta[META_BYTES]) {
  for (size_t i = 0; i < 2; i++) {
    bool got = pread(c->fd, meta, META_BYTES, (off_t)(i * c->page_size + PAGE_HEADER)) == META_BYTES;
    if (got && u64_at(meta + META_TXN) == txn) return true;
  }
  return false;
}

static bool all_there(const checker *c, uint64_t txn) {
  uint8_t meta[META_BYTES];
  if (!find_meta(c, txn, meta) || pages_there(c, 0, u64_at(meta + META_LAST_PAGE) + 1)) return true;
  return table_there(c, meta + META_TABLES, 0) && table_there(c, meta + META_TABLES + DB_BYTES, 0);  // free pages, the tables
}

agrl_rc store_check_whole(replay_store *s, agrl_error *err) {
  MDB_txn *txn;
  MDB_stat stat_of;
  struct stat st;
  int major, minor;
  mdb_version(&major, &minor, NULL);
  if (major != 0 || minor != 9) return AGRL_OK;  // its pages may lie otherwise
  agrl_rc rc = store_read_begin(s, &txn, err);  // keeps a writer off these pages
  if (rc) return rc;
  checker c = {.fd = -1};
  int found = mdb_env_get_fd(s->env, &c.fd);
  if (!found) found = mdb_env_stat(s->env, &stat_of);
  if (!found && !fstat(c.fd, &st)) {
    c.page_size = stat_of.ms_psize;
    c.bytes = (uint64_t)st.st_size;
    if (!all_there(&c, mdb_txn_id(txn)))
      rc = agrl_fail(err, AGRL_EPARSE, "%s: data.mdb was cut off: it has %llu bytes, and pages beyond its end are in use; restore it from a copy, or "
                     "move %s away to begin with an empty store", s->dir, (unsigned long long)c.bytes, s->dir);
  }
  store_read_end(s, txn);
  return rc ? rc : store_fail(s, found, "check", err);
}

agrl_rc store_check_there(const char *dir, bool *there, agrl_error *err) {
  char *data = agrl_path_join(dir, "data.mdb"), *run = agrl_path_dir(dir), *journal = agrl_path_join(run, "journal.jsonl");
  struct stat st, begun;
  agrl_rc rc = AGRL_OK;
  *there = stat(data, &st) == 0;
  if (!*there && errno != ENOENT && errno != ENOTDIR) rc = agrl_fail(err, errno == EACCES ? AGRL_EPERM : AGRL_EIO, "%s: %s", data, strerror(errno));
  if (*there && st.st_size == 0 && stat(journal, &begun) == 0 && begun.st_size > 0)
    rc = agrl_fail(err, AGRL_EPARSE, "%s: is empty, and %s says that this run has trained; restore it from a copy, or move %s away to begin with an "
                   "empty store (again, where a first start with one did not get far)", data, journal, dir);
  *there = *there && st.st_size > 0;
  free(data);
  free(run);
  free(journal);
  return rc;
}
