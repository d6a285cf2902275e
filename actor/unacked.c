// SPDX-License-Identifier: Apache-2.0
// The list of unacknowledged traces, in the order they were made.
#include "actor/unacked.h"

#include <stdlib.h>

#include "common/base/mem.h"

actor_trace *actor_trace_new(void) {
  actor_trace *t = agrl_xcalloc(1, sizeof *t);
  agrl_arena_init(&t->arena, 0);
  return t;
}

void actor_trace_free(actor_trace *t) {
  if (!t) return;
  agrl_arena_release(&t->arena);
  free(t);
}

void actor_unacked_init(actor_unacked *u) { *u = (actor_unacked){.tail = &u->head}; }

void actor_unacked_release(actor_unacked *u) {
  while (u->head) {
    actor_trace *t = u->head;
    u->head = t->next;
    actor_trace_free(t);
  }
  actor_unacked_init(u);
}

void actor_unacked_give(actor_unacked *u, actor_trace *t) {
  t->next = NULL;
  *u->tail = t;
  u->tail = &t->next;
  u->n++;
}

bool actor_unacked_ack(actor_unacked *u, const agrl_trace_id *id) {
  for (actor_trace **p = &u->head; *p; p = &(*p)->next) {
    actor_trace *t = *p;
    if (t->msg.id.run != id->run || t->msg.id.group != id->group || t->msg.id.member != id->member) continue;
    *p = t->next;
    if (!*p) u->tail = p;
    u->n--;
    actor_trace_free(t);
    return true;
  }
  return false;
}

actor_trace *actor_unacked_due(const actor_unacked *u, uint64_t now_ns, uint64_t timeout_ns) {
  for (actor_trace *t = u->head; t; t = t->next)
    if (!t->sent_ns || now_ns - t->sent_ns >= timeout_ns) return t;
  return NULL;
}
