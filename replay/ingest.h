// SPDX-License-Identifier: Apache-2.0
// Ingest: scored traces in, one transaction for those that arrive close together, acknowledgements only after it has
// committed. The same transaction holds whatever the traces lead to (a group that climbs, is ready or retires), so the
// state of a group never contradicts its traces. A failed commit acknowledges nothing: the senders send again.
#ifndef AGRL_REPLAY_INGEST_H
#define AGRL_REPLAY_INGEST_H

#include "common/net/net.h"
#include "replay/core.h"

typedef struct replay_pending {
  agrl_trace_id id;
  size_t offset, len;   // of the record in bytes
  replay_result result;
  agrl_peer peer;       // who is to be told
  uint64_t msg_id;      // of a request; 0: one-way
  agrl_ack status;      // set by the commit
  bool second;          // of a trace that is pending already: told after the commit too
} replay_pending;

typedef struct replay_ingest {
  replay_core *core;
  replay_pending *v;
  size_t n, cap;
  agrl_buf bytes;
} replay_ingest;

typedef enum {
  REPLAY_INGEST_QUEUED,     // told after the commit
  REPLAY_INGEST_DUPLICATE,  // stored already: tell now
  REPLAY_INGEST_UNWANTED,   // unknown run, unknown or closed group, or contradicts its group: tell now
  REPLAY_INGEST_REFUSED,    // the store is (nearly) full: say nothing
} replay_verdict;

typedef void (*replay_ack_fn)(void *user, const agrl_peer *peer, uint64_t msg_id, const agrl_trace_id *id, agrl_ack status);

void replay_ingest_init(replay_ingest *in, replay_core *core);
void replay_ingest_release(replay_ingest *in);
replay_verdict replay_ingest_offer(replay_ingest *in, const agrl_msg_scored *s, const agrl_peer *peer, uint64_t msg_id);
// Commits what is queued and tells; the queue is empty afterwards either way.
agrl_rc replay_ingest_commit(replay_ingest *in, replay_ack_fn tell, void *user, agrl_error *err);

#endif
