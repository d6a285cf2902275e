// SPDX-License-Identifier: Apache-2.0
// Pre-tokenizer: cuts a text into the pieces that BPE may not merge across. A sequence of pattern splits (PCRE2, UTF
// and UCP); each step sees every piece of the step before as a text of its own, as the Hugging Face tokenizers library
// does. The pieces, joined, are the text: bytes that are not UTF-8 become pieces of one byte. Immutable after
// construction. A pattern that exceeds the match limit leaves the rest of its text as one piece.
#ifndef AGRL_TEXT_PRETOK_H
#define AGRL_TEXT_PRETOK_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/err.h"
#include "common/base/json.h"

typedef struct agrl_pretok agrl_pretok;
typedef void (*agrl_piece_fn)(void *user, const char *piece, size_t len);

// The pattern of tokenizers we train: every digit, every newline and every [Tag] is a piece of its own.
extern const char agrl_pretok_default_pattern[];

agrl_rc agrl_pretok_default(agrl_pretok **out, agrl_error *err);
// From the "pre_tokenizer" member of a tokenizer.json: ByteLevel, Split (Isolated), Digits, and Sequence of these
// ending in ByteLevel. Anything else is refused by name (AGRL_EUNSUPPORTED).
agrl_rc agrl_pretok_parse(const agrl_json *j, const char *name, agrl_pretok **out, agrl_error *err);
void agrl_pretok_write(const agrl_pretok *p, agrl_jw *w);
void agrl_pretok_free(agrl_pretok *p);
void agrl_pretok_run(const agrl_pretok *p, const char *text, size_t len, agrl_piece_fn fn, void *user);

#endif
