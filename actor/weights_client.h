// SPDX-License-Identifier: Apache-2.0
// Keeps the newest verified weights: announcements arrive by SUB (they may be lost: the learner repeats them), bytes by
// request in chunks, and a snapshot is handed over only when its SHA-256 is the announced one. Loop thread only.
#ifndef AGRL_ACTOR_WEIGHTS_CLIENT_H
#define AGRL_ACTOR_WEIGHTS_CLIENT_H

#include "common/model/weights.h"
#include "common/net/net.h"

typedef struct actor_weights_client actor_weights_client;

typedef struct actor_weights_hooks {
  // The model's shape, once, before the first snapshot. The layout lives as long as the client.
  agrl_rc (*model)(void *user, const agrl_layout *layout, const char *tokenizer_path, agrl_error *err);
  void (*refused)(void *user, agrl_rc rc);       // the model cannot be used; nothing will be fetched any more
  void (*fresh)(void *user, agrl_weights *w);  // a newer verified snapshot; reference passes to the callee
  void *user;
} actor_weights_hooks;

typedef struct actor_weights_stats {
  uint64_t announced_version, version, bytes, verify_failures, resyncs, fetches;
  double last_fetch_seconds;
} actor_weights_stats;

agrl_rc actor_weights_client_open(agrl_net *net, uv_loop_t *loop, const char *name, const char *weights_endpoint,
                                  const char *announce_endpoint, int hwm, uint64_t run, const actor_weights_hooks *hooks,
                                  actor_weights_client **out, agrl_error *err);
void actor_weights_client_close(actor_weights_client *c);  // before the net closes
actor_weights_stats actor_weights_client_stats(const actor_weights_client *c);

#endif
