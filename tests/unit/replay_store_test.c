// SPDX-License-Identifier: Apache-2.0
// The LMDB store: what was committed survives SIGKILL, a full map, readers, foreign stores, corrupted records.
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common/base/rng.h"
#include "replay/evict.h"
#include "tests/lib/full_disk.h"
#include "tests/lib/replay_kit.h"

static char dir[64];

static int make_dir(void **state) {
  (void)state;
  strcpy(dir, "/tmp/agrl-replay-store-XXXXXX");
  return mkdtemp(dir) == NULL;
}

static int remove_dir(void **state) {
  (void)state;
  return (int)agrl_file_remove_tree(dir, NULL);
}

static replay_store *open_store(uint64_t map, uint64_t map_max, int sync) {
  replay_store *s = NULL;
  replay_store_opts o = {.map_bytes = map, .map_max_bytes = map_max, .sync = sync, .run = KIT_RUN};
  KIT_OK(replay_store_open(&s, dir, &o, err));
  return s;
}

static replay_group_rec sample_group(uint64_t id) {
  return (replay_group_rec){.id = id, .state = REPLAY_READY, .n_plain = 4, .n_guided = 2, .restarts = 3, .accuracy = 0.5,
                            .min_version = 9, .n_chosen = 2, .chosen = {1, 7}, .prompt_id = "p\xc3\xa9"};
}

// Records

static void records_round_trip(void **state) {
  (void)state;
  agrl_buf b = {0};
  replay_group_rec g = sample_group(5), g2;
  g.accuracy = NAN;
  g.lease_version = g.trained_version = UINT64_C(0x123456789);
  replay_group_encode(&g, &b);
  KIT_OK(replay_group_decode(b.data, b.len, &g2, err));
  assert_true(isnan(g2.accuracy));
  g.accuracy = g2.accuracy = 0;
  assert_memory_equal(&g, &g2, sizeof g);
  agrl_buf_clear(&b);
  replay_prompt_rec p = {.prompt_id = "x", .accuracy = 0.25, .tries = 3, .guided = 1, .fruitless = 2, .last_version = 8}, p2;
  replay_prompt_encode(&p, &b);
  KIT_OK(replay_prompt_decode(b.data, b.len, &p2, err));
  assert_memory_equal(&p, &p2, sizeof p);
  agrl_buf_clear(&b);
  replay_meta m = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, m2;
  replay_meta_encode(&m, &b);
  KIT_OK(replay_meta_decode(b.data, b.len, &m2, err));
  assert_memory_equal(&m, &m2, sizeof m);
  agrl_buf_release(&b);
}

static void keys_keep_numeric_order(void **state) {
  (void)state;
  uint8_t a[12], b[12];
  replay_trace_key_encode(&(replay_trace_key){255, 9}, a);
  replay_trace_key_encode(&(replay_trace_key){256, 1}, b);
  assert_true(memcmp(a, b, 12) < 0);
  replay_trace_key k;
  assert_true(replay_trace_key_decode(b, 12, &k));
  assert_int_equal(k.group, 256);
  assert_int_equal(k.member, 1);
  assert_false(replay_trace_key_decode(b, 11, &k));
}

// Any flipped bit is noticed; with the checksum made good again, decode stays within its ranges.
static void corrupted_records_are_refused(void **state) {
  (void)state;
  agrl_buf b = {0};
  replay_group_rec g = sample_group(5), out;
  replay_group_encode(&g, &b);
  for (size_t i = 0; i < b.len; i++)
    for (int bit = 0; bit < 8; bit++) {
      b.data[i] = (char)(b.data[i] ^ (1 << bit));
      assert_int_not_equal(replay_group_decode(b.data, b.len, &out, NULL), AGRL_OK);
      b.data[i] = (char)(b.data[i] ^ (1 << bit));
    }
  for (size_t n = 0; n < b.len; n++) assert_int_not_equal(replay_group_decode(b.data, n, &out, NULL), AGRL_OK);
  agrl_rng rng;
  agrl_rng_init(&rng, 2, 0);
  size_t accepted = 0;
  for (int round = 0; round < 50000; round++) {
    char copy[512];
    memcpy(copy, b.data, b.len);
    for (uint32_t n = 1 + agrl_rng_below(&rng, 3); n > 0; n--) copy[agrl_rng_below(&rng, (uint32_t)b.len - 8)] = (char)agrl_rng_u32(&rng);
    replay_record_seal(copy, b.len);
    if (replay_group_decode(copy, b.len, &out, NULL)) continue;
    accepted++;
    assert_in_range(out.state, REPLAY_OPEN, REPLAY_RETIRED);
    assert_true(out.n_chosen <= out.n_plain && out.n_plain <= REPLAY_MAX_GROUP);
    assert_true(strlen(out.prompt_id) <= REPLAY_MAX_PROMPT_ID);
  }
  assert_true(accepted > 100);  // the loop reached the code behind the checksum
  agrl_buf_release(&b);
}

// Crash

#define BATCH 5

static void put_batch(replay_store *s, uint64_t n) {
  char data[300];
  memset(data, (int)n, sizeof data);
  KIT_OK(replay_store_begin(s, err));
  replay_group_rec g = sample_group(n);
  KIT_OK(replay_store_put_group(s, &g, err));
  for (uint32_t m = 0; m < BATCH; m++) KIT_OK(replay_store_put_trace(s, &(replay_trace_key){n, m}, data, sizeof data, err));
  replay_meta meta;
  KIT_OK(replay_store_get_meta(s, &meta, err));
  meta.next_group = n + 1;
  KIT_OK(replay_store_put_meta(s, &meta, err));
  KIT_OK(replay_store_commit(s, err));
}

static _Noreturn void child_commits(int fd, uint64_t from) {
  replay_store *s = open_store(256 << 20, 256 << 20, AGRL_SYNC_SAFE);
  for (uint64_t n = from;; n++) {
    put_batch(s, n);
    if (write(fd, &n, sizeof n) != sizeof n) _exit(1);  // the acknowledgement
  }
}

static bool count_trace(void *user, const replay_trace_key *k, const void *data, size_t len) {
  (void)k;
  (void)data;
  if (len == 300) ++*(size_t *)user;
  return true;
}

static void what_was_acknowledged_survives_sigkill(void **state) {
  (void)state;
  agrl_rng rng;
  agrl_rng_init(&rng, 3, 0);
  uint64_t next = 1, acked = 0;
  for (int round = 0; round < 12; round++) {
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) child_commits(fds[1], next);
    close(fds[1]);
    for (uint32_t i = agrl_rng_below(&rng, 40) + 1; i > 0; i--) assert_int_equal(read(fds[0], &acked, sizeof acked), sizeof acked);
    usleep(agrl_rng_below(&rng, 3000));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    while (read(fds[0], &acked, sizeof acked) == (ssize_t)sizeof acked) {}
    close(fds[0]);
    replay_store *s = open_store(256 << 20, 256 << 20, AGRL_SYNC_SAFE);
    replay_meta meta;
    KIT_OK(replay_store_get_meta(s, &meta, err));
    assert_true(meta.next_group > acked);
    for (uint64_t n = 1; n < meta.next_group; n++) {
      size_t traces = 0;
      replay_group_rec g;
      KIT_OK(replay_store_get_group(s, n, &g, err));
      KIT_OK(replay_store_each_trace(s, n, count_trace, &traces, err));
      assert_int_equal(traces, BATCH);  // a transaction is there whole or not at all
    }
    next = meta.next_group;
    size_t extra = 0;
    KIT_OK(replay_store_each_trace(s, next, count_trace, &extra, err));
    assert_int_equal(extra, 0);
    replay_store_close(s);
  }
  assert_true(next > 50);
}

// Full map

static void full_map_refuses_then_grows(void **state) {
  (void)state;
  replay_store *s = open_store(1 << 20, 4 << 20, AGRL_SYNC_NONE);
  char data[4000] = {1};
  agrl_error why = {0};
  uint64_t n = 0, grown = 0, committed = 0;
  for (;;) {
    KIT_OK(replay_store_begin(s, err));
    agrl_rc rc = AGRL_OK;
    for (uint32_t m = 0; m < 8 && !rc; m++) rc = replay_store_put_trace(s, &(replay_trace_key){n + 1, m}, data, sizeof data, &why);
    if (!rc) rc = replay_store_commit(s, &why);
    if (rc == AGRL_OK) {
      committed = ++n;
      continue;
    }
    assert_int_equal(rc, AGRL_EFULL);
    replay_store_abort(s);
    if (replay_store_grow(s, &why)) break;
    grown++;
  }
  assert_int_equal(grown, 2);  // 1 -> 2 -> 4 MiB
  assert_non_null(strstr(why.msg, "map_max"));
  assert_true(replay_store_pressed(s));
  size_t seen = 0;
  for (uint64_t g = 1; g <= committed; g++)
    for (uint32_t m = 0; m < 8; m++) seen += replay_store_has_trace(s, &(replay_trace_key){g, m});
  assert_int_equal(seen, committed * 8);  // nothing committed was harmed
  replay_store_close(s);
}

// Through the core: a nearly full store refuses traces, retention makes room, then it takes them again.
static void pressed_store_recovers_by_retention(void **state) {
  (void)state;
  replay_kit k;
  kit_init(&k, 50);
  k.conf.replay.map_bytes = k.conf.replay.map_max_bytes = 1 << 20;
  k.conf.replay.keep_groups = 1000000;
  kit_open(&k);
  uint64_t version = 1;
  bool refused = false;
  KIT_OK(replay_serve_arrive(&k.core, version, err));
  for (int round = 0; round < 3000 && !refused; round++) {
    agrl_arena_clear(&k.arena);
    agrl_msg_task_grant g = kit_ask(&k, "a", "x", 64, version);
    if (g.n_tasks == 0 && replay_store_pressed(k.core.store)) refused = true;
    for (size_t i = 0; i < g.n_tasks && !refused; i++) {
      for (uint32_t m = 0; m < g.tasks[i].n_members; m++) {
        const agrl_task *t = &g.tasks[i];
        agrl_msg_scored s = kit_scored(t->group, t->first_member + m, t->level, t->prompt_id, version, 0.1 * (m + 1), m < 2);
        replay_verdict v = replay_ingest_offer(&k.ingest, &s, NULL, 0);
        if (v == REPLAY_INGEST_REFUSED) refused = true;
      }
      agrl_error why = {0};
      if (replay_ingest_commit(&k.ingest, kit_tell, &k, &why)) refused = true;
    }
    agrl_msg_batch b;
    KIT_OK(replay_serve_try(&k.core, version, 2, false, k.now_ns, &k.arena, &b, err));
    if (b.n_groups == 0) continue;
    uint64_t ids[8];
    for (size_t i = 0; i < b.n_groups; i++) ids[i] = b.groups[i].id;
    agrl_msg_trained t = {.version = ++version, .n = b.n_groups, .groups = ids};
    KIT_OK(replay_serve_trained(&k.core, &t, err));
    KIT_OK(replay_serve_arrive(&k.core, version, err));
  }
  assert_true(refused);
  bool more = true;
  KIT_OK(replay_evict(&k.core, &more, err));
  assert_true(replay_store_pressed(k.core.store));  // no checkpoint yet: the journal may still ask for every trained group
  KIT_OK(replay_serve_checkpointed(&k.core, version, err));
  for (more = true; more;) KIT_OK(replay_evict(&k.core, &more, err));
  assert_true(k.core.meta.purged > 0);
  assert_false(replay_store_pressed(k.core.store));
  k.now_ns += 3600 * KIT_SECOND;
  agrl_arena_clear(&k.arena);
  agrl_msg_task_grant g = kit_ask(&k, "a", "x", 4, version);
  assert_true(g.n_tasks > 0);
  kit_deliver(&k, &g.tasks[0], 2, version);
  kit_release(&k);
}

// A full disk

static agrl_rc put_large(replay_store *s, uint64_t group, agrl_error *why) {
  static const char data[64 << 10] = {1};
  KIT_OK(replay_store_begin(s, err));
  agrl_rc rc = replay_store_put_trace(s, &(replay_trace_key){group, 0}, data, sizeof data, why);
  if (!rc) return replay_store_commit(s, why);
  replay_store_abort(s);
  return rc;
}

// A commit that finds no space: refused by the store's path, nothing of it is there, what was there is; then it goes on.
static void full_disk_refuses_the_commit(void **state) {
  (void)state;
  replay_store *s = open_store(4 << 20, 4 << 20, AGRL_SYNC_SAFE);
  char *data = agrl_path_join(dir, "data.mdb");
  KIT_OK(put_large(s, 1, err));
  for (uint64_t g = 2; g < 6; g++) {
    struct stat st;
    assert_int_equal(stat(data, &st), 0);
    agrl_error why = {0};
    assert_int_equal(full_disk_limit((rlim_t)st.st_size + (g % 2) * 8192), 0);  // no byte fits; a part does
    agrl_rc rc = put_large(s, g, &why);
    assert_int_equal(full_disk_end(), 0);
    assert_int_equal(rc, AGRL_EIO);  // not EFULL: a larger map would not help
    assert_non_null(strstr(why.msg, dir));
    assert_false(replay_store_broken(s));
    assert_false(replay_store_has_trace(s, &(replay_trace_key){g, 0}));
    assert_true(replay_store_has_trace(s, &(replay_trace_key){g - 1, 0}));
    KIT_OK(put_large(s, g, err));
  }
  replay_store_close(s);
  s = open_store(4 << 20, 4 << 20, AGRL_SYNC_SAFE);
  for (uint64_t g = 1; g < 6; g++) assert_true(replay_store_has_trace(s, &(replay_trace_key){g, 0}));
  replay_store_close(s);
  free(data);
}

// Through the core: nothing is acknowledged, no task is handed out, no group changes; sent again, the traces are taken.
static void full_disk_acknowledges_nothing(void **state) {
  (void)state;
  replay_kit k;
  kit_init(&k, 8);
  kit_open(&k);
  KIT_OK(replay_serve_arrive(&k.core, 1, err));
  agrl_msg_task_grant g = kit_ask(&k, "a", "x", 4, 1);
  assert_true(g.n_tasks > 0);
  const agrl_task *t = &g.tasks[0];
  const replay_meta before = k.core.meta;
  for (uint32_t m = 0; m < t->n_members; m++) {
    agrl_msg_scored s = kit_scored(t->group, t->first_member + m, t->level, t->prompt_id, 1, 0.1 * m, m < 2);
    assert_int_equal(replay_ingest_offer(&k.ingest, &s, NULL, 0), REPLAY_INGEST_QUEUED);
  }
  agrl_error why = {0};
  assert_int_equal(full_disk_limit(8192), 0);  // LMDB's two meta pages can be written, no page of data
  agrl_rc rc = replay_ingest_commit(&k.ingest, kit_tell, &k, &why);
  agrl_msg_task_grant more;
  replay_ask ask = {.actor = "b", .peer = (const uint8_t *)"y", .peer_len = 1, .want = 4, .version = 1, .now_ns = k.now_ns};
  agrl_rc granted = replay_schedule_grant(&k.core, &ask, &k.arena, &more, NULL);
  assert_int_equal(full_disk_end(), 0);
  assert_int_equal(rc, AGRL_EIO);
  assert_int_equal(granted, AGRL_EIO);
  assert_non_null(strstr(why.msg, k.dir));
  assert_int_equal(k.acks[0] + k.acks[1] + k.acks[2], 0);
  assert_int_equal(k.core.refused_io, 2);
  assert_memory_equal(&k.core.meta, &before, sizeof before);
  assert_false(replay_store_has_trace(k.core.store, &(replay_trace_key){t->group, t->first_member}));
  kit_deliver(&k, t, 2, 1);  // what an actor does that hears no acknowledgement
  assert_int_equal(k.acks[AGRL_ACK_COMMITTED], t->n_members);
  kit_restart(&k);
  assert_true(replay_store_has_trace(k.core.store, &(replay_trace_key){t->group, t->first_member}));
  kit_release(&k);
}

// Readers

static bool kill_reader(void *user, const replay_trace_key *key, const void *data, size_t len) {
  (void)user;
  (void)key;
  (void)data;
  (void)len;
  raise(SIGKILL);
  return false;
}

static void dead_readers_are_cleared(void **state) {
  (void)state;
  replay_store *s = open_store(1 << 20, 64 << 20, AGRL_SYNC_NONE);
  put_batch(s, 1);
  for (int i = 0; i < 3; i++) {
    pid_t pid = fork();
    if (pid == 0) {
      replay_store *r = NULL;
      if (replay_store_open_readonly(&r, dir, NULL) == AGRL_OK) replay_store_each_trace(r, 1, kill_reader, NULL, NULL);
      _exit(1);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  }
  assert_true(replay_store_check_readers(s) > 0);
  assert_int_equal(replay_store_check_readers(s), 0);
  replay_store_close(s);
}

typedef struct reader_seen {
  uint64_t last;
  size_t n;
} reader_seen;

static bool see_group(void *user, const replay_group_rec *g) {
  reader_seen *seen = user;
  if (g->id <= seen->last) return false;
  seen->last = g->id;
  seen->n++;
  return true;
}

// A reader process follows a map that the writer grows, and lists more records than one of its transactions holds.
static void readonly_open_follows_the_writer(void **state) {
  (void)state;
  int go[2], done[2];
  assert_int_equal(pipe(go), 0);
  assert_int_equal(pipe(done), 0);
  replay_store *s = open_store(1 << 20, 64 << 20, AGRL_SYNC_NONE);
  put_batch(s, 1);
  replay_store_close(s);  // an environment must not cross a fork
  pid_t pid = fork();
  if (pid == 0) {
    replay_store *r = NULL;
    reader_seen seen = {0};
    char c = replay_store_open_readonly(&r, dir, NULL) == AGRL_OK;
    if (write(done[1], &c, 1) != 1 || read(go[0], &c, 1) != 1) _exit(3);
    agrl_rc rc = replay_store_each_group(r, 0, see_group, &seen, NULL, NULL);
    _exit(rc == AGRL_OK && seen.n == 1000 && seen.last == 1000 ? 0 : 2);
  }
  char c;
  assert_int_equal(read(done[0], &c, 1), 1);
  s = open_store(1 << 20, 64 << 20, AGRL_SYNC_NONE);
  for (int i = 0; i < 3; i++) KIT_OK(replay_store_grow(s, err));
  for (uint64_t n = 2; n <= 1000; n++) put_batch(s, n);
  assert_int_equal(write(go[1], &c, 1), 1);
  int status = 0;
  waitpid(pid, &status, 0);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
  replay_store_stat st;
  KIT_OK(replay_store_get_stat(s, &st, err));
  assert_int_equal(st.groups, 1000);
  assert_int_equal(st.traces, 1000 * BATCH);
  KIT_OK(replay_store_begin(s, err));
  KIT_OK(replay_store_del_group(s, 500, err));
  KIT_OK(replay_store_commit(s, err));
  assert_false(replay_store_has_trace(s, &(replay_trace_key){500, 0}));
  assert_true(replay_store_has_trace(s, &(replay_trace_key){499, BATCH - 1}));
  assert_true(replay_store_has_trace(s, &(replay_trace_key){501, 0}));
  char *copy = agrl_path_join(dir, "copy");
  KIT_OK(agrl_file_mkdirs(copy, err));
  KIT_OK(replay_store_snapshot(s, copy, err));
  replay_store *r = NULL;
  KIT_OK(replay_store_open_readonly(&r, copy, err));
  reader_seen seen = {0};
  KIT_OK(replay_store_each_group(r, 0, see_group, &seen, NULL, err));
  assert_int_equal(seen.n, 999);
  replay_store_close(r);
  replay_store_close(s);
  free(copy);
}

// Foreign stores

static void foreign_stores_are_refused_by_name(void **state) {
  (void)state;
  replay_store *s = NULL;
  agrl_error why = {0};
  assert_int_equal(replay_store_open_readonly(&s, dir, &why), AGRL_ENOENT);
  s = open_store(1 << 20, 1 << 20, AGRL_SYNC_NONE);
  replay_store_close(s);
  replay_store_opts other = {.map_bytes = 1 << 20, .map_max_bytes = 1 << 20, .run = KIT_RUN + 1};
  assert_int_equal(replay_store_open(&s, dir, &other, &why), AGRL_ECONFIG);
  assert_null(s);
  assert_non_null(strstr(why.msg, dir));
  assert_non_null(strstr(why.msg, "run.seed"));
  s = open_store(1 << 20, 1 << 20, AGRL_SYNC_NONE);
  KIT_OK(replay_store_begin(s, err));
  KIT_OK(replay_store_put_meta(s, &(replay_meta){.schema = 2, .run = KIT_RUN, .next_group = 1}, err));
  KIT_OK(replay_store_commit(s, err));
  replay_store_close(s);
  replay_store_opts same = {.map_bytes = 1 << 20, .map_max_bytes = 1 << 20, .run = KIT_RUN};
  assert_int_equal(replay_store_open(&s, dir, &same, &why), AGRL_EVERSION);
  assert_non_null(strstr(why.msg, "schema version 2"));
  char *data = agrl_path_join(dir, "data.mdb");
  KIT_OK(agrl_file_write_atomic(data, "not a database, but long enough to be read as one....", 53, err));
  free(data);
  assert_int_not_equal(replay_store_open(&s, dir, &same, &why), AGRL_OK);
  assert_non_null(strstr(why.msg, dir));
}

static char *data_file(void) { return agrl_path_join(dir, "data.mdb"); }

static void refused_as(agrl_rc want, const char *words) {
  replay_store *s = NULL;
  replay_store_opts o = {.map_bytes = 8 << 20, .map_max_bytes = 8 << 20, .run = KIT_RUN};
  agrl_error err = {0};
  for (int way = 0; way < 2; way++) {  // mapping it would end in SIGBUS
    assert_int_equal(way ? replay_store_open_readonly(&s, dir, &err) : replay_store_open(&s, dir, &o, &err), want);
    assert_null(s);
    assert_non_null(strstr(err.msg, words));
    assert_non_null(strstr(err.msg, dir));
  }
}

// Wherever it is cut off, it is refused or every record is still there.
static void a_store_cut_off_is_refused(void **state) {
  (void)state;
  char *path = data_file();
  replay_store *s = open_store(8 << 20, 8 << 20, AGRL_SYNC_SAFE);
  for (uint64_t n = 1; n <= 200; n++) put_batch(s, n);
  char big[20000];
  memset(big, 1, sizeof big);
  KIT_OK(replay_store_begin(s, err));
  KIT_OK(replay_store_put_trace(s, &(replay_trace_key){9999, 0}, big, sizeof big, err));  // on pages of its own, the last
  KIT_OK(replay_store_commit(s, err));
  replay_store_close(s);
  agrl_buf whole = {0};
  KIT_OK(agrl_file_read(path, 64 << 20, &whole, err));
  long page = sysconf(_SC_PAGESIZE);
  assert_int_equal(truncate(path, (off_t)whole.len - page), 0);
  refused_as(AGRL_EPARSE, "was cut off");
  assert_int_equal(truncate(path, (off_t)whole.len / 2), 0);
  refused_as(AGRL_EPARSE, "was cut off");
  assert_int_equal(truncate(path, 2 * page), 0);
  refused_as(AGRL_EPARSE, "was cut off");
  // Pages that are counted and that nothing leads to: LMDB need not have written them.
  for (size_t i = 0; i < 2; i++) {
    uint64_t last;
    char *at = whole.data + i * (size_t)page + 16 + 120;
    memcpy(&last, at, sizeof last);
    last += 7;
    memcpy(at, &last, sizeof last);
  }
  KIT_OK(agrl_file_write_atomic(path, whole.data, whole.len, err));
  s = open_store(8 << 20, 8 << 20, AGRL_SYNC_SAFE);
  assert_true(replay_store_has_trace(s, &(replay_trace_key){9999, 0}));
  replay_store_close(s);
  agrl_buf_release(&whole);
  free(path);
}

// An empty file is what a store begins with; not that of a run that has trained.
static void an_emptied_store_is_refused(void **state) {
  (void)state;
  char *run = agrl_xstrdup(dir), *path;
  strcat(dir, "/replay");
  KIT_OK(agrl_file_mkdirs(dir, err));
  path = data_file();
  KIT_OK(agrl_file_write_atomic(path, "", 0, err));
  agrl_error err = {0};
  replay_store *s = NULL;
  assert_int_equal(replay_store_open_readonly(&s, dir, &err), AGRL_ENOENT);
  kit_write_text(run, "journal.jsonl", "{}\n");
  refused_as(AGRL_EPARSE, "journal.jsonl says that this run has trained");
  char *journal = agrl_path_join(run, "journal.jsonl");
  unlink(journal);
  replay_store_close(open_store(8 << 20, 8 << 20, AGRL_SYNC_SAFE));
  strcpy(dir, run);
  free(run);
  free(path);
  free(journal);
}

static void first_committed_trace_stays(void **state) {
  (void)state;
  replay_store *s = open_store(1 << 20, 1 << 20, AGRL_SYNC_NONE);
  replay_trace_key k = {1, 0};
  KIT_OK(replay_store_begin(s, err));
  KIT_OK(replay_store_put_trace(s, &k, "first", 5, err));
  assert_int_equal(replay_store_put_trace(s, &k, "second", 6, NULL), AGRL_EEXIST);
  KIT_OK(replay_store_commit(s, err));
  agrl_buf b = {0};
  KIT_OK(replay_store_get_trace(s, &k, &b, err));
  assert_string_equal(b.data, "first");
  agrl_buf_release(&b);
  replay_store_close(s);
}

#define WITH_DIR(f) cmocka_unit_test_setup_teardown(f, make_dir, remove_dir)

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(records_round_trip),
      cmocka_unit_test(keys_keep_numeric_order),
      cmocka_unit_test(corrupted_records_are_refused),
      WITH_DIR(what_was_acknowledged_survives_sigkill),
      WITH_DIR(full_map_refuses_then_grows),
      cmocka_unit_test(pressed_store_recovers_by_retention),
      WITH_DIR(full_disk_refuses_the_commit),
      cmocka_unit_test(full_disk_acknowledges_nothing),
      WITH_DIR(dead_readers_are_cleared),
      WITH_DIR(readonly_open_follows_the_writer),
      WITH_DIR(foreign_stores_are_refused_by_name),
      WITH_DIR(a_store_cut_off_is_refused),
      WITH_DIR(an_emptied_store_is_refused),
      WITH_DIR(first_committed_trace_stays),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
