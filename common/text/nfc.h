// SPDX-License-Identifier: Apache-2.0
// Unicode normalisation form C (UAX #15), for tokenizers whose file asks for it. Bytes that are not UTF-8 pass
// unchanged.
#ifndef AGRL_TEXT_NFC_H
#define AGRL_TEXT_NFC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"

// False: the text has no code point that NFC could change (all below U+0300) and out is untouched; true: appended to
// out.
bool agrl_nfc(const char *text, size_t len, agrl_buf *out);

typedef struct nfc_decomp {
  uint32_t cp, a, b;  // cp = a b; b 0: a singleton
} nfc_decomp;
typedef struct nfc_class {
  uint32_t first, last;
  uint8_t ccc;
} nfc_class;
extern const nfc_decomp nfc_decomps[];  // by cp
extern const size_t n_nfc_decomps;
extern const uint16_t nfc_compose[];  // indexes of nfc_decomps, by (a, b); without the composition exclusions
extern const size_t n_nfc_compose;
extern const nfc_class nfc_classes[];  // by first; what is absent has class 0
extern const size_t n_nfc_classes;

#endif
