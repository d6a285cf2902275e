// SPDX-License-Identifier: Apache-2.0
// Inside of the tokenizer, shared by its files only: the tables, and how they are built. A tokenizer is made by
// agrl_bpe_new, set_token for each id, add_merge in rank order, add_added, then agrl_bpe_finish, after which it is
// constant.
#ifndef AGRL_TEXT_BPE_IMPL_H
#define AGRL_TEXT_BPE_IMPL_H

#include "common/text/bpe.h"
#include "common/text/pretok.h"

typedef struct bpe_token {
  uint32_t off, len;  // into agrl_bpe.bytes
  bool known;         // false: a hole in the id space
  bool raw;           // text outside of the byte alphabet, kept as it is
  bool in_model;      // listed in model.vocab
  bool special;       // skipped by decode
} bpe_token;

typedef struct bpe_merge {
  int32_t left, right, id;
} bpe_merge;

typedef struct bpe_added {
  int32_t id;
  bool special, normalized;
} bpe_added;

typedef struct bpe_pair_slot {
  int32_t left, right, id;  // id -1: empty
  uint32_t rank;
} bpe_pair_slot;

struct agrl_bpe {
  agrl_buf bytes;
  bpe_token *tokens;
  size_t n_ids, cap_ids;
  int32_t byte_id[256];
  bpe_merge *merges;
  size_t n_merges, cap_merges;
  bpe_pair_slot *pairs;  // open addressing, mask + 1 slots
  size_t pair_mask;
  int32_t *texts;  // open addressing by token bytes, -1 empty
  size_t text_mask;
  bpe_added *added;  // longest text first
  size_t n_added;
  bool added_first[256];  // some added token begins with this byte
  bool incomplete;        // some byte has no token
  bool ignore_merges;     // a piece that is a token is emitted whole
  bool nfc;               // text is brought to NFC first
  agrl_pretok *pretok;    // owned
};

agrl_bpe *agrl_bpe_new(void);
void agrl_bpe_set_token(agrl_bpe *t, int32_t id, const char *bytes, size_t len, bool raw, bool in_model);
void agrl_bpe_add_merge(agrl_bpe *t, int32_t left, int32_t right, int32_t id);
void agrl_bpe_add_added(agrl_bpe *t, int32_t id, bool special, bool normalized);
agrl_rc agrl_bpe_finish(agrl_bpe *t, const char *name, agrl_error *err);

// GPT-2's byte alphabet: each byte is shown as one printable code point.
uint32_t agrl_bpe_byte_to_cp(unsigned char b);
int agrl_bpe_cp_to_byte(uint32_t cp);  // -1: not in the alphabet

#endif
