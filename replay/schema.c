// SPDX-License-Identifier: Apache-2.0
// Byte form of the store's records. LMDB keeps no page checksums, so each record carries its own.
#include "replay/schema.h"

#include <string.h>

#include "common/base/hash.h"

#define META_MAGIC 0x79616c7065726c72ull  // the bytes "rlreplay"

const char *replay_state_name(uint32_t state) {
  switch (state) {
#define STATE_CASE(NAME, v, text) \
  case v: return text;
    REPLAY_STATE_MAP(STATE_CASE)
#undef STATE_CASE
    default: return "?";
  }
}

const char *replay_cause_name(uint32_t cause) {
  static const char *const names[] = {
#define CAUSE_TEXT(NAME, text) text,
      REPLAY_CAUSE_MAP(CAUSE_TEXT)
#undef CAUSE_TEXT
  };
  return cause < REPLAY_CAUSE_N ? names[cause] : "?";
}

// Keys

static void put_be(uint8_t *out, uint64_t v, int bytes) {
  for (int i = bytes - 1; i >= 0; i--, v >>= 8) out[i] = (uint8_t)v;
}

static uint64_t get_be(const uint8_t *p, int bytes) {
  uint64_t v = 0;
  for (int i = 0; i < bytes; i++) v = v << 8 | p[i];
  return v;
}

void replay_group_key(uint64_t group, uint8_t out[8]) { put_be(out, group, 8); }

void replay_trace_key_encode(const replay_trace_key *k, uint8_t out[12]) {
  put_be(out, k->group, 8);
  put_be(out + 8, k->member, 4);
}

bool replay_u64_key_decode(const void *key, size_t len, uint64_t *out) {
  if (len != 8) return false;
  *out = get_be(key, 8);
  return true;
}

bool replay_trace_key_decode(const void *key, size_t len, replay_trace_key *out) {
  if (len != 12) return false;
  out->group = get_be(key, 8);
  out->member = (uint32_t)get_be((const uint8_t *)key + 8, 4);
  return true;
}

// Writer and reader of values

static void put_le(agrl_buf *b, uint64_t v, int bytes) {
  uint8_t t[8];
  for (int i = 0; i < bytes; i++, v >>= 8) t[i] = (uint8_t)v;
  agrl_buf_add(b, t, (size_t)bytes);
}

static void put_f64(agrl_buf *b, double v) {
  uint64_t u;
  memcpy(&u, &v, sizeof u);
  put_le(b, u, 8);
}

static void put_id(agrl_buf *b, const char *s) {
  size_t n = strnlen(s, REPLAY_MAX_PROMPT_ID);
  put_le(b, n, 1);
  agrl_buf_add(b, s, n);
}

static void seal(agrl_buf *b, size_t from) { put_le(b, agrl_hash64(b->data + from, b->len - from), 8); }

void replay_record_seal(void *data, size_t len) {
  if (len < 8) return;
  uint8_t *p = data;
  uint64_t h = agrl_hash64(p, len - 8);
  for (int i = 0; i < 8; i++, h >>= 8) p[len - 8 + (size_t)i] = (uint8_t)h;
}

typedef struct reader {
  const uint8_t *p;
  size_t left;
  bool bad;
} reader;

static uint64_t get_le(reader *r, size_t bytes) {
  if (r->left < bytes) {
    r->bad = true;
    r->left = 0;
    return 0;
  }
  uint64_t v = 0;
  for (size_t i = bytes; i-- > 0;) v = v << 8 | r->p[i];
  r->p += bytes;
  r->left -= bytes;
  return v;
}

static double get_f64(reader *r) {
  uint64_t u = get_le(r, 8);
  double v;
  memcpy(&v, &u, sizeof v);
  return v;
}

static void get_id(reader *r, char out[REPLAY_MAX_PROMPT_ID + 1]) {
  size_t n = get_le(r, 1);
  if (r->left < n || (n > 0 && memchr(r->p, 0, n))) {
    r->bad = true;
    return;
  }
  memcpy(out, r->p, n);
  out[n] = '\0';
  r->p += n;
  r->left -= n;
}

// Checks the seal and the format byte, and leaves the reader on what follows.
static agrl_rc open_record(const char *what, const void *data, size_t len, uint8_t format, reader *r, agrl_error *err) {
  if (len < 9) return agrl_fail(err, AGRL_EPARSE, "%s record: %zu bytes is too short", what, len);
  *r = (reader){(const uint8_t *)data + len - 8, 8, false};
  if (get_le(r, 8) != agrl_hash64(data, len - 8)) return agrl_fail(err, AGRL_ECHECKSUM, "%s record: checksum mismatch", what);
  *r = (reader){data, len - 8, false};
  uint64_t f = get_le(r, 1);
  if (f != format) return agrl_fail(err, AGRL_EVERSION, "%s record: format %u, this program reads %u", what, (unsigned)f, format);
  return AGRL_OK;
}

static agrl_rc close_record(const char *what, const reader *r, agrl_error *err) {
  if (r->bad) return agrl_fail(err, AGRL_EPARSE, "%s record: cut short or out of range", what);
  if (r->left) return agrl_fail(err, AGRL_EPARSE, "%s record: %zu bytes too many", what, r->left);
  return AGRL_OK;
}

// Groups

void replay_group_encode(const replay_group_rec *g, agrl_buf *out) {
  size_t from = out->len;
  put_le(out, 1, 1);
  put_le(out, g->id, 8);
  put_le(out, g->state, 1);
  put_le(out, g->cause, 1);
  put_le(out, g->level, 1);
  put_le(out, g->leases, 1);
  put_le(out, g->n_plain, 2);
  put_le(out, g->n_guided, 2);
  put_le(out, g->restarts, 4);
  put_le(out, g->created_ms, 8);
  put_le(out, g->created_version, 8);
  put_le(out, g->min_version, 8);
  put_le(out, g->lease_version, 8);
  put_le(out, g->trained_version, 8);
  put_f64(out, g->accuracy);
  put_id(out, g->prompt_id);
  put_le(out, g->n_chosen, 2);
  for (size_t i = 0; i < g->n_chosen; i++) put_le(out, g->chosen[i], 2);
  seal(out, from);
}

static bool group_in_range(const replay_group_rec *g) {
  if (g->id == 0 || g->state < REPLAY_OPEN || g->state > REPLAY_RETIRED || g->cause >= REPLAY_CAUSE_N) return false;
  if (g->level > REPLAY_MAX_LEVELS || g->n_plain == 0 || g->n_plain > REPLAY_MAX_GROUP || g->n_chosen > g->n_plain) return false;
  if (g->n_plain + REPLAY_MAX_LEVELS * g->n_guided > REPLAY_MAX_MEMBERS) return false;
  if (g->state == REPLAY_CLIMB && (g->level == 0 || g->n_guided == 0)) return false;
  if ((g->state == REPLAY_READY || g->state == REPLAY_LEASED || g->state == REPLAY_TRAINED) && g->n_chosen == 0) return false;
  return !(g->accuracy < 0) && !(g->accuracy > 1);  // NaN is allowed
}

agrl_rc replay_group_decode(const void *data, size_t len, replay_group_rec *out, agrl_error *err) {
  reader r;
  agrl_rc rc = open_record("group", data, len, 1, &r, err);
  if (rc) return rc;
  memset(out, 0, sizeof *out);
  out->id = get_le(&r, 8);
  out->state = (uint8_t)get_le(&r, 1);
  out->cause = (uint8_t)get_le(&r, 1);
  out->level = (uint8_t)get_le(&r, 1);
  out->leases = (uint8_t)get_le(&r, 1);
  out->n_plain = (uint16_t)get_le(&r, 2);
  out->n_guided = (uint16_t)get_le(&r, 2);
  out->restarts = (uint32_t)get_le(&r, 4);
  out->created_ms = get_le(&r, 8);
  out->created_version = get_le(&r, 8);
  out->min_version = get_le(&r, 8);
  out->lease_version = get_le(&r, 8);
  out->trained_version = get_le(&r, 8);
  out->accuracy = get_f64(&r);
  get_id(&r, out->prompt_id);
  out->n_chosen = (uint16_t)get_le(&r, 2);
  if (!r.bad && !group_in_range(out)) r.bad = true;
  for (size_t i = 0; !r.bad && i < out->n_chosen; i++) {
    out->chosen[i] = (uint16_t)get_le(&r, 2);
    if (out->chosen[i] >= out->n_plain + REPLAY_MAX_LEVELS * out->n_guided) r.bad = true;
  }
  return close_record("group", &r, err);
}

// Prompts

void replay_prompt_encode(const replay_prompt_rec *p, agrl_buf *out) {
  size_t from = out->len;
  put_le(out, 1, 1);
  put_id(out, p->prompt_id);
  put_f64(out, p->accuracy);
  put_le(out, p->tries, 4);
  put_le(out, p->guided, 4);
  put_le(out, p->fruitless, 4);
  put_le(out, p->last_version, 8);
  seal(out, from);
}

agrl_rc replay_prompt_decode(const void *data, size_t len, replay_prompt_rec *out, agrl_error *err) {
  reader r;
  agrl_rc rc = open_record("prompt", data, len, 1, &r, err);
  if (rc) return rc;
  memset(out, 0, sizeof *out);
  get_id(&r, out->prompt_id);
  out->accuracy = get_f64(&r);
  out->tries = (uint32_t)get_le(&r, 4);
  out->guided = (uint32_t)get_le(&r, 4);
  out->fruitless = (uint32_t)get_le(&r, 4);
  out->last_version = get_le(&r, 8);
  if (!(out->accuracy >= 0 && out->accuracy <= 1)) r.bad = true;
  return close_record("prompt", &r, err);
}

// Meta: the format byte is the schema version, so that any program can tell it.

void replay_meta_encode(const replay_meta *m, agrl_buf *out) {
  size_t from = out->len;
  put_le(out, (uint8_t)m->schema, 1);
  put_le(out, META_MAGIC, 8);
  const uint64_t words[] = {m->run,    m->next_group, m->version, m->checkpoint, m->epoch,  m->cursor,
                            m->traces, m->ready,      m->trained, m->retired,    m->purged};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) put_le(out, words[i], 8);
  seal(out, from);
}

agrl_rc replay_meta_decode(const void *data, size_t len, replay_meta *out, agrl_error *err) {
  reader r;
  memset(out, 0, sizeof *out);
  if (len >= 9) out->schema = *(const uint8_t *)data;
  agrl_rc rc = open_record("meta", data, len, REPLAY_SCHEMA_VERSION, &r, err);
  if (rc) return rc;
  if (get_le(&r, 8) != META_MAGIC) r.bad = true;
  uint64_t *const words[] = {&out->run,    &out->next_group, &out->version, &out->checkpoint, &out->epoch,  &out->cursor,
                             &out->traces, &out->ready,      &out->trained, &out->retired,    &out->purged};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) *words[i] = get_le(&r, 8);
  if (out->next_group == 0) r.bad = true;
  return close_record("meta", &r, err);
}
