// SPDX-License-Identifier: Apache-2.0
// No group is trained twice in the surviving line of weights, wherever kill -9 strikes. The argument:
//
// A step is: (1) lease a batch from replay, (2) compute new weights in memory, (3) append version, group ids and weights
// hash here and fsync, (4) announce the weights, (5) tell replay TRAINED, (6) now and then write a checkpoint, then tell replay
// CHECKPOINTED. Restart is: newest whole checkpoint, then the entries after it redone from the groups replay still has.
//   - dead before (3) is durable: the weights of (2) are gone and nobody saw them; HELLO lists the entries, replay takes every
//     other lease back, the groups are trained once, later.
//   - dead inside (3): a torn last line has no newline or does not parse. It is cut off: as if dead before (3). Nothing was
//     announced, because (4) waits for the fsync.
//   - dead after (3): the entry is part of the line. Restart redoes it from the same groups in the same order to the same
//     hash, HELLO marks its groups trained even if (5) was lost, so replay does not lease them again.
//   - dead around (6): a checkpoint directory has its final name only when whole; until then the older one and its entries
//     serve, and replay keeps the groups of entries until CHECKPOINTED (repeated by HELLO) passes them.
// If redoing does not give the journaled hash (another build, CPU or configuration) or replay lost a group, the old line cannot
// be continued exactly: a fork line is written, the entries after its base leave the surviving line, versions go on in the
// next epoch, and actors can never take old weights for new ones. As a last guard, requests.c refuses a group that is in here.
//
// In memory are the entries after the newest checkpoint (no restart of this line begins before it, so HELLO and redo need no
// older one; the file keeps all) and, for the guard, every group of the surviving line, because a replay store restored from
// an old copy may offer any of them again: id_set.c makes that cheap enough to never forget one.
#include "learner/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/model/weights.h"
#include "learner/id_set.h"

enum { MAX_JOURNAL_MIB = 4096 };

struct learner_journal {
  int fd;
  char *path;
  learner_entry *entries;
  size_t n, cap, torn_bytes;
  uint32_t epoch;
  uint64_t max_group, newest;  // newest: version of the surviving line, kept in memory or not
  learner_id_set trained;
};

// ---- entries in memory

static void keep(learner_journal *j, uint64_t version, const uint64_t *groups, size_t n, const agrl_sha256 *hash, const char *outcome) {
  if (j->n == j->cap) {
    j->cap = j->cap > 0 ? 2 * j->cap : 256;
    j->entries = agrl_xreallocarray(j->entries, j->cap, sizeof *j->entries);
  }
  uint64_t *copy = agrl_xcalloc(n + 1, sizeof *copy);
  if (n > 0) memcpy(copy, groups, n * sizeof *copy);
  learner_entry *e = &j->entries[j->n++];
  *e = (learner_entry){.step = {.version = version, .n_groups = n, .groups = copy}, .hash = *hash};
  snprintf(e->outcome, sizeof e->outcome, "%s", outcome);
  for (size_t i = 0; i < n; i++) {
    learner_id_set_add(&j->trained, groups[i]);
    if (groups[i] > j->max_group) j->max_group = groups[i];
  }
  j->newest = version;
  if (AGRL_VERSION_EPOCH(version) > j->epoch) j->epoch = AGRL_VERSION_EPOCH(version);
}

static void fork_at(learner_journal *j, uint64_t base, uint32_t epoch) {
  if (epoch > j->epoch) j->epoch = epoch;
  while (j->n > 0 && j->entries[j->n - 1].step.version > base) {
    const agrl_journal_entry *gone = &j->entries[--j->n].step;
    for (size_t k = 0; k < gone->n_groups; k++) learner_id_set_remove(&j->trained, gone->groups[k]);
    free((uint64_t *)gone->groups);
  }
  for (size_t i = 0; i < j->n; i++)  // a damaged journal may name a group twice: what survives stays in the set
    for (size_t k = 0; k < j->entries[i].step.n_groups; k++) learner_id_set_add(&j->trained, j->entries[i].step.groups[k]);
  if (j->newest > base) j->newest = base;
}

void learner_journal_passed(learner_journal *j, uint64_t checkpoint) {
  size_t n = 0;
  while (n < j->n && j->entries[n].step.version <= checkpoint) free((uint64_t *)j->entries[n++].step.groups);
  if (n == 0) return;
  j->n -= n;
  memmove(j->entries, j->entries + n, j->n * sizeof *j->entries);
  if (j->cap <= 4 * (j->n + 64)) return;
  j->cap = 2 * (j->n + 64);  // of a whole journal just read
  j->entries = agrl_xreallocarray(j->entries, j->cap, sizeof *j->entries);
}

bool learner_journal_has_group(const learner_journal *j, uint64_t group) { return learner_id_set_has(&j->trained, group); }

// ---- reading

static bool read_u64(const agrl_json *v, uint64_t *out) {
  int64_t i;
  const char *s;
  if (agrl_json_i64(v, &i) && i >= 0) {
    *out = (uint64_t)i;
    return true;
  }
  if (!agrl_json_str(v, &s, NULL) || s[0] < '0' || s[0] > '9') return false;
  char *end;
  errno = 0;
  *out = strtoull(s, &end, 10);
  return errno == 0 && *end == '\0';
}

static bool read_hash(const agrl_json *v, agrl_sha256 *out) {
  const char *s;
  size_t len;
  if (!agrl_json_str(v, &s, &len) || len != 64) return false;
  for (size_t i = 0; i < 32; i++) {
    unsigned byte;
    if (strspn(s + 2 * i, "0123456789abcdef") < 2 || sscanf(s + 2 * i, "%2x", &byte) != 1) return false;
    out->b[i] = (uint8_t)byte;
  }
  return true;
}

static bool take_step(learner_journal *j, const agrl_json *o) {
  uint64_t version;
  agrl_sha256 hash;
  const char *outcome;
  const agrl_json *groups = agrl_json_get(o, "groups");
  if (!read_u64(agrl_json_get(o, "version"), &version) || !read_hash(agrl_json_get(o, "weights"), &hash) ||
      !agrl_json_str(agrl_json_get(o, "outcome"), &outcome, NULL) || groups == NULL || agrl_json_typeof(groups) != AGRL_JSON_ARRAY)
    return false;
  if (version <= j->newest) return false;
  size_t n = agrl_json_len(groups);
  uint64_t *ids = agrl_xcalloc(n + 1, sizeof *ids);
  bool ok = true;
  for (size_t i = 0; ok && i < n; i++) ok = read_u64(agrl_json_at(groups, i), &ids[i]);
  if (ok) keep(j, version, ids, n, &hash, outcome);
  free(ids);
  return ok;
}

static bool take_line(learner_journal *j, const char *line, size_t len, const char *where) {
  agrl_json *o = NULL;
  if (agrl_json_parse(line, len, where, &o, NULL) != AGRL_OK) return false;
  uint64_t base, epoch;
  bool ok;
  if (read_u64(agrl_json_get(o, "fork"), &base)) {
    ok = read_u64(agrl_json_get(o, "epoch"), &epoch) && epoch <= UINT32_MAX;
    if (ok) fork_at(j, base, (uint32_t)epoch);
  } else {
    ok = take_step(j, o);
  }
  agrl_json_free(o);
  return ok;
}

static agrl_rc cut(learner_journal *j, size_t good, size_t len, agrl_error *err) {
  j->torn_bytes = len - good;
  agrl_logw("journal: the last line was torn and is cut off path=%s bytes=%zu", j->path, j->torn_bytes);
  if (ftruncate(j->fd, (off_t)good) != 0 || fsync(j->fd) != 0)
    return agrl_fail(err, AGRL_EIO, "%s: cannot cut off the torn last line: %s", j->path, strerror(errno));
  return AGRL_OK;
}

static agrl_rc load(learner_journal *j, agrl_error *err) {
  agrl_buf text = {0};
  agrl_rc rc = agrl_file_read(j->path, (size_t)MAX_JOURNAL_MIB << 20, &text, err);
  size_t good = 0, line = 1;
  while (rc == AGRL_OK && good < text.len) {
    const char *at = text.data + good, *end = memchr(at, '\n', text.len - good);
    char where[64];
    snprintf(where, sizeof where, "journal line %zu", line);
    if (end != NULL && take_line(j, at, (size_t)(end - at), where)) {
      good += (size_t)(end - at) + 1;
      line++;
    } else if (end == NULL || end + 1 == text.data + text.len) {
      rc = cut(j, good, text.len, err);
      break;
    } else {
      rc = agrl_fail(err, AGRL_EPARSE,
                     "%s:%zu: expected {\"version\",\"groups\",\"outcome\",\"weights\"} with a growing version; restore the file or "
                     "start a new run directory",
                     j->path, line);
    }
  }
  agrl_buf_release(&text);
  return rc;
}

agrl_rc learner_journal_open(const char *path, learner_journal **out, agrl_error *err) {
  learner_journal *j = agrl_xcalloc(1, sizeof *j);
  j->path = agrl_xstrdup(path);
  j->fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  agrl_rc rc = j->fd < 0 ? agrl_fail(err, AGRL_EIO, "%s: %s", path, strerror(errno)) : AGRL_OK;
  char *dir = agrl_path_dir(path);
  if (rc == AGRL_OK) rc = agrl_file_sync_dir(dir, err);  // the file's name is as durable as its lines
  free(dir);
  if (rc == AGRL_OK) rc = load(j, err);
  if (rc != AGRL_OK) {
    learner_journal_close(j);
    return rc;
  }
  *out = j;
  return AGRL_OK;
}

void learner_journal_close(learner_journal *j) {
  if (j == NULL) return;
  for (size_t i = 0; i < j->n; i++) free((uint64_t *)j->entries[i].step.groups);
  if (j->fd >= 0) close(j->fd);
  free(j->entries);
  learner_id_set_release(&j->trained);
  free(j->path);
  free(j);
}

size_t learner_journal_torn_bytes(const learner_journal *j) { return j->torn_bytes; }

uint32_t learner_journal_epoch(const learner_journal *j) { return j->epoch; }

uint64_t learner_journal_max_group(const learner_journal *j) { return j->max_group; }

const learner_entry *learner_journal_entries(const learner_journal *j, size_t *n) {
  *n = j->n;
  return j->entries;
}

agrl_journal_entry *learner_journal_after(const learner_journal *j, uint64_t version, size_t *n) {
  agrl_journal_entry *out = agrl_xcalloc(j->n + 1, sizeof *out);
  *n = 0;
  for (size_t i = 0; i < j->n; i++)
    if (j->entries[i].step.version > version) out[(*n)++] = j->entries[i].step;
  return out;
}

// ---- writing

static agrl_rc write_line(learner_journal *j, agrl_buf *line, agrl_error *err) {
  agrl_buf_addc(line, '\n');
  off_t before = lseek(j->fd, 0, SEEK_END);
  agrl_error why = {0};
  agrl_rc rc = agrl_file_append_sync(j->fd, line->data, line->len, &why);
  if (rc != AGRL_OK) agrl_fail(err, rc, "%s: cannot append: %s", j->path, why.msg);
  // A half-written line must not be followed by another: back to where it began.
  if (rc != AGRL_OK && before >= 0 && ftruncate(j->fd, before) != 0) agrl_loge("journal: cannot undo a failed append path=%s", j->path);
  agrl_buf_release(line);
  return rc;
}

agrl_rc learner_journal_append(learner_journal *j, uint64_t version, const uint64_t *groups, size_t n, const agrl_sha256 *hash,
                               const char *outcome, agrl_error *err) {
  if (version <= j->newest)
    return agrl_fail(err, AGRL_EVERSION, "%s: version %" PRIu64 " after %" PRIu64, j->path, version, j->newest);
  agrl_buf b = {0};
  agrl_jw w;
  char hex[65];
  agrl_sha256_hex(hash, hex);
  agrl_jw_init(&w, &b);
  agrl_jw_obj(&w);
  agrl_jw_ku64(&w, "version", version);
  agrl_jw_ku64(&w, "epoch", AGRL_VERSION_EPOCH(version));
  agrl_jw_ku64(&w, "step", AGRL_VERSION_STEP(version));
  agrl_jw_kstr(&w, "outcome", outcome);
  agrl_jw_key(&w, "groups");
  agrl_jw_arr(&w);
  for (size_t i = 0; i < n; i++) {
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, groups[i]);
    if (groups[i] <= INT64_MAX) agrl_jw_u64(&w, groups[i]);
    else agrl_jw_str(&w, text);  // beyond what every JSON reader takes for an integer
  }
  agrl_jw_end_arr(&w);
  agrl_jw_kstr(&w, "weights", hex);
  agrl_jw_end_obj(&w);
  agrl_rc rc = write_line(j, &b, err);
  if (rc == AGRL_OK) keep(j, version, groups, n, hash, outcome);
  return rc;
}

agrl_rc learner_journal_fork(learner_journal *j, uint64_t base, uint32_t epoch, const char *cause, agrl_error *err) {
  agrl_buf b = {0};
  agrl_jw w;
  agrl_jw_init(&w, &b);
  agrl_jw_obj(&w);
  agrl_jw_ku64(&w, "fork", base);
  agrl_jw_ku64(&w, "epoch", epoch);
  agrl_jw_kstr(&w, "cause", cause);
  agrl_jw_end_obj(&w);
  agrl_rc rc = write_line(j, &b, err);
  if (rc == AGRL_OK) fork_at(j, base, epoch);
  return rc;
}
