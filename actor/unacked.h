// SPDX-License-Identifier: Apache-2.0
// Traces that replay has not yet acknowledged: kept until the ack, resent when it is late. Loop thread only.
#ifndef AGRL_ACTOR_UNACKED_H
#define AGRL_ACTOR_UNACKED_H

#include "common/wire/msg.h"

typedef struct actor_trace {  // one block: strings and arrays of msg live in arena
  agrl_msg_trace msg;
  agrl_arena arena;
  uint64_t sent_ns;  // monotonic; 0: never sent
  uint32_t sends;
  struct actor_trace *next;
} actor_trace;

typedef struct actor_unacked {
  actor_trace *head, **tail;
  size_t n;
} actor_unacked;

void actor_unacked_init(actor_unacked *u);
void actor_unacked_release(actor_unacked *u);
void actor_unacked_give(actor_unacked *u, actor_trace *t);                    // takes ownership
bool actor_unacked_ack(actor_unacked *u, const agrl_trace_id *id);            // frees it; false: unknown
// The first trace that was never sent or whose last send is older than timeout, or NULL.
actor_trace *actor_unacked_due(const actor_unacked *u, uint64_t now_ns, uint64_t timeout_ns);

actor_trace *actor_trace_new(void);
void actor_trace_free(actor_trace *t);

#endif
