// SPDX-License-Identifier: Apache-2.0
// Scored records as replay reads them back: any bytes; what is accepted is whole, finite, and packs to a fixed point.
#include <math.h>
#include <string.h>

#include "common/base/bug.h"
#include "common/wire/msg.h"

int agrl_fuzz_wire_scored(const uint8_t *data, size_t size);

int agrl_fuzz_wire_scored(const uint8_t *data, size_t size) {
  agrl_arena a;
  agrl_msg_scored s, t;
  agrl_buf first = {0}, second = {0};
  agrl_arena_init(&a, 0);
  if (agrl_scored_unpack(data, size, &a, &s, NULL) == AGRL_OK) {
    AGRL_ASSERT(isfinite(s.reward) && s.trace.text != NULL && s.rules_hash != NULL);
    for (size_t i = 0; i < s.trace.n_tokens; i++) AGRL_ASSERT(isfinite(s.trace.logprobs[i]) && s.trace.tokens[i] >= 0);
    uint64_t last = s.trace.n_tokens > 0 ? s.trace.versions[s.trace.n_tokens - 1] : 0;  // the array reaches to its end
    (void)last;
    AGRL_ASSERT(agrl_scored_pack(&s, &first, NULL) == AGRL_OK);
    AGRL_ASSERT(agrl_scored_unpack(first.data, first.len, &a, &t, NULL) == AGRL_OK);
    AGRL_ASSERT(agrl_scored_pack(&t, &second, NULL) == AGRL_OK);
    AGRL_ASSERT(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
  }
  agrl_buf_release(&first);
  agrl_buf_release(&second);
  agrl_arena_release(&a);
  return 0;
}
