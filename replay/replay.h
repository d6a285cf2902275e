// SPDX-License-Identifier: Apache-2.0
// State of the replay daemon: the core, its queue, one socket, timers, and the learner's held request.
// One ROUTER socket serves actors (tasks), reward (scored traces), the learner (batches) and agrlctl (status).
#ifndef AGRL_REPLAY_REPLAY_H
#define AGRL_REPLAY_REPLAY_H

#include "common/svc/svc.h"
#include "replay/core.h"
#include "replay/ingest.h"
#include "replay/starve.h"

typedef struct replay_held {  // a BATCH_REQUEST that waits for groups
  bool active;
  agrl_peer peer;
  agrl_msg request;           // kind, id and batch_request only
  uint64_t since_ns, patient_until_ns, answer_by_ns;
} replay_held;

typedef struct replay_metrics replay_metrics;

typedef struct replay_daemon {
  agrl_dataset data;
  agrl_task_text *text;
  replay_core core;
  replay_ingest ingest;
  agrl_sock *sock;
  uv_timer_t commit, tick;
  replay_held held;
  agrl_arena arena;           // of one message
  struct replay_ack_list {
    replay_pending *v;        // id, peer and status of acknowledgements to send together
    size_t n, cap;
  } acks;
  replay_metrics *metrics;
  replay_store_stat stat;
  replay_starve starve;
  uint64_t last_second_ns, last_readers_ns;
  uint64_t served_requests;
  bool open, timers;
} replay_daemon;

extern const agrl_svc_def replay_svc_def;

// metrics.c
replay_metrics *replay_metrics_new(void);
void replay_metrics_free(replay_metrics *m);
void replay_metrics_refresh(replay_metrics *m, const replay_core *c, const replay_store_stat *stat);
void replay_metrics_commit(replay_metrics *m, double seconds, size_t traces);
void replay_metrics_blocked(replay_metrics *m, bool sampling, double seconds);
void replay_metrics_batch(replay_metrics *m, const agrl_msg_batch *b, uint64_t version);

// learner.c: messages of the learner
void replay_daemon_on_learner(agrl_svc *s, const agrl_peer *peer, const agrl_msg *m);
void replay_daemon_serve(agrl_svc *s);  // answers the held request when it can be, or must be

#endif
