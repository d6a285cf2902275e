// SPDX-License-Identifier: Apache-2.0
// Byte-level BPE tokenizer (GPT-2 byte alphabet; pre-tokenizer pattern by PCRE2 with UTF and UCP). Trains on a corpus,
// reads and writes Hugging Face tokenizer.json. Any byte string encodes and decodes back to itself, but for bytes that a
// vocabulary has no token for (SmolLM2 lacks 21 that text hardly has): they vanish, as in the Hugging Face library. Immutable
// after construction: encode/decode may run in many threads at once.
#ifndef AGRL_TEXT_BPE_H
#define AGRL_TEXT_BPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/buf.h"

typedef struct agrl_bpe agrl_bpe;

// Trains until vocab_size ids exist (specials first: ids 0..n_specials-1, then 256 bytes, then merges). Deterministic:
// ties go to the smaller pair. corpus: n texts. Fewer ids result when the corpus has no pair left.
agrl_rc agrl_bpe_train(const char *const *texts, size_t n, size_t vocab_size, const char *const *specials,
                       size_t n_specials, agrl_bpe **out, agrl_error *err);
agrl_rc agrl_bpe_load(const char *path, agrl_bpe **out, agrl_error *err);  // tokenizer.json
agrl_rc agrl_bpe_parse(const char *json, size_t len, const char *name, agrl_bpe **out, agrl_error *err);
agrl_rc agrl_bpe_save(const agrl_bpe *t, const char *path, agrl_error *err);  // atomic
void agrl_bpe_free(agrl_bpe *t);

size_t agrl_bpe_vocab(const agrl_bpe *t);
// Appends up to cap ids to out; returns how many the text needs (> cap: truncated, call again with more room).
// Text of special tokens is recognised only when specials is true.
size_t agrl_bpe_encode(const agrl_bpe *t, const char *text, size_t len, bool specials, int32_t *out, size_t cap);
// How every sequence begins: the ids of start_id (none when negative) and of text without specials. Returns and truncates as
// agrl_bpe_encode does. Actors, evaluation and training all encode a prompt by this.
size_t agrl_bpe_encode_prompt(const agrl_bpe *t, int32_t start_id, const char *text, size_t len, int32_t *out, size_t cap);
// Appends the bytes of ids to out; special tokens are skipped unless specials is true; an unknown id is skipped.
void agrl_bpe_decode(const agrl_bpe *t, const int32_t *ids, size_t n, bool specials, agrl_buf *out);
int32_t agrl_bpe_special(const agrl_bpe *t, const char *text);  // id, or -1

// The specials of tokenizers we train. "<|end|>" ends a completion; "<|start|>" begins every sequence.
#define AGRL_TOK_START "<|start|>"
#define AGRL_TOK_END "<|end|>"

#endif
