// SPDX-License-Identifier: Apache-2.0
// Which actor a trace came from, until replay's acknowledgement has gone back to it. Bounded: on overflow the oldest
// entry is dropped (its actor resends and is told then). Losing all of it is harmless for the same reason. One thread.
#ifndef AGRL_REWARD_RELAY_H
#define AGRL_REWARD_RELAY_H

#include "common/net/net.h"

typedef struct reward_relay reward_relay;

reward_relay *reward_relay_new(size_t capacity);
void reward_relay_free(reward_relay *r);
// Remembers peer for id, replacing an earlier one. True when the oldest entry was dropped to make room.
bool reward_relay_put(reward_relay *r, const agrl_trace_id *id, const agrl_peer *peer, uint64_t now_ns);
bool reward_relay_take(reward_relay *r, const agrl_trace_id *id, agrl_peer *peer);  // finds and forgets
size_t reward_relay_expire(reward_relay *r, uint64_t before_ns);  // forgets entries put before; returns how many
size_t reward_relay_len(const reward_relay *r);

#endif
