// SPDX-License-Identifier: Apache-2.0
// Records of the replay store. The first byte chooses the table, the rest is the record; it is decoded as it is (the
// checksum refuses nearly everything) and once more with the checksum made good, so that what lies behind it is reached. What
// is accepted keeps its ranges and is written back to the very same bytes.
#include <math.h>
#include <string.h>

#include "common/base/bug.h"
#include "replay/schema.h"

int agrl_fuzz_replay_record(const uint8_t *data, size_t size);

static void same_bytes(const agrl_buf *b, const uint8_t *data, size_t size) {
  AGRL_ASSERT(b->len == size && memcmp(b->data, data, size) == 0);
}

static void check_group(const uint8_t *data, size_t size, agrl_buf *b) {
  replay_group_rec g;
  if (replay_group_decode(data, size, &g, NULL)) return;
  AGRL_ASSERT(g.id > 0 && g.n_plain > 0 && g.n_plain <= REPLAY_MAX_GROUP && g.n_chosen <= g.n_plain);
  AGRL_ASSERT(strcmp(replay_state_name(g.state), "?") != 0 && strcmp(replay_cause_name(g.cause), "?") != 0);
  AGRL_ASSERT(g.n_plain + REPLAY_MAX_LEVELS * g.n_guided <= REPLAY_MAX_MEMBERS);
  for (size_t i = 0; i < g.n_chosen; i++) AGRL_ASSERT(g.chosen[i] < g.n_plain + REPLAY_MAX_LEVELS * g.n_guided);
  replay_group_encode(&g, b);
  same_bytes(b, data, size);
}

static void check_prompt(const uint8_t *data, size_t size, agrl_buf *b) {
  replay_prompt_rec p;
  if (replay_prompt_decode(data, size, &p, NULL)) return;
  AGRL_ASSERT(p.accuracy >= 0 && p.accuracy <= 1 && strlen(p.prompt_id) <= REPLAY_MAX_PROMPT_ID);
  replay_prompt_encode(&p, b);
  same_bytes(b, data, size);
}

static void check_meta(const uint8_t *data, size_t size, agrl_buf *b) {
  replay_meta m;
  if (replay_meta_decode(data, size, &m, NULL)) return;
  AGRL_ASSERT(m.next_group > 0 && m.schema == REPLAY_SCHEMA_VERSION);
  replay_meta_encode(&m, b);
  same_bytes(b, data, size);
}

static void check_key(const uint8_t *data, size_t size) {
  replay_trace_key k;
  uint8_t again[12];
  if (!replay_trace_key_decode(data, size, &k)) return;
  replay_trace_key_encode(&k, again);
  AGRL_ASSERT(memcmp(again, data, sizeof again) == 0);
}

int agrl_fuzz_replay_record(const uint8_t *data, size_t size) {
  if (size == 0) return 0;
  agrl_buf record = {0}, out = {0};
  agrl_buf_add(&record, data + 1, size - 1);
  for (int sealed = 0; sealed < 2; sealed++) {
    const uint8_t *p = (const uint8_t *)record.data;
    agrl_buf_clear(&out);
    switch (data[0] % 4) {
      case 0: check_group(p, record.len, &out); break;
      case 1: check_prompt(p, record.len, &out); break;
      case 2: check_meta(p, record.len, &out); break;
      default: check_key(p, record.len); break;
    }
    replay_record_seal(record.data, record.len);
  }
  agrl_buf_release(&record);
  agrl_buf_release(&out);
  return 0;
}
