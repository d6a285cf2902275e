// SPDX-License-Identifier: Apache-2.0
// Messages from a peer: any bytes, first as they are, then with length and checksum put right, so that the mutation reaches
// the body. What is accepted can be packed, and packing is a fixed point.
#include <stdlib.h>
#include <string.h>

#include "common/base/bug.h"
#include "common/wire/limits.h"
#include "common/wire/msg.h"

int agrl_fuzz_wire_message(const uint8_t *data, size_t size);

static void try_message(const uint8_t *data, size_t size) {
  agrl_arena a;
  agrl_msg m, n;
  agrl_error err = {0};
  agrl_arena_init(&a, 0);
  if (agrl_msg_unpack(data, size, &a, &m, &err) == AGRL_OK) {
    agrl_buf first = {0}, second = {0};
    AGRL_ASSERT(agrl_msg_pack(&m, &first, &err) == AGRL_OK);
    AGRL_ASSERT(agrl_msg_unpack(first.data, first.len, &a, &n, &err) == AGRL_OK);
    AGRL_ASSERT(agrl_msg_pack(&n, &second, &err) == AGRL_OK);
    AGRL_ASSERT(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
    agrl_buf_release(&first);
    agrl_buf_release(&second);
  } else {
    AGRL_ASSERT(err.code != AGRL_OK && err.msg[0] != '\0');
  }
  agrl_arena_release(&a);
}

int agrl_fuzz_wire_message(const uint8_t *data, size_t size) {
  try_message(data, size);
  if (size < AGRL_WIRE_HEADER_BYTES) return 0;
  uint8_t *fixed = malloc(size), both[AGRL_WIRE_HEADER_BYTES];
  AGRL_ASSERT(fixed != NULL);
  memcpy(fixed, data, size);
  uint32_t body = (uint32_t)(size - AGRL_WIRE_HEADER_BYTES);
  for (size_t i = 0; i < 4; i++) fixed[12 + i] = (uint8_t)(body >> (8 * i));
  memcpy(both, fixed, 32);
  uint64_t h = agrl_hash64(fixed + AGRL_WIRE_HEADER_BYTES, body);
  for (size_t i = 0; i < 8; i++) both[32 + i] = (uint8_t)(h >> (8 * i));
  h = agrl_hash64(both, sizeof both);
  for (size_t i = 0; i < 8; i++) fixed[32 + i] = (uint8_t)(h >> (8 * i));
  try_message(fixed, size);
  free(fixed);
  return 0;
}
