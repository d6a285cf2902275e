// SPDX-License-Identifier: Apache-2.0
// Keeps the newest verified weights. Announcements arrive by SUB (they may be lost: the learner repeats them); then the learner
// is asked for the way from what is here to the newest version, and the bytes come by request in chunks: deltas, an anchor and
// deltas, or the whole block. They are put together in a scratch block, never in live weights, and a snapshot is handed over
// only when the SHA-256 of the scratch block is the announced one. Whatever is wrong on the way is counted by cause, drops
// the scratch's contents, and the next fetch asks for the whole block if a package was at fault. Memory: two blocks, the live one
// and the scratch, which is the retired one taken back once the engine has let go of it; and one piece of a package (3 MiB).
// Loop thread only; copying and hashing a block run on libuv's worker threads.
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

// Why a fetch was started over: no answer; what was asked for is no longer kept (the learner went on, or is a new one); chunk or
// package out of order or of another base; a package that cannot be decoded; the result's hash.
typedef enum {
  ACTOR_RESYNC_TIMEOUT,
  ACTOR_RESYNC_GONE,
  ACTOR_RESYNC_ORDER,
  ACTOR_RESYNC_CORRUPT,
  ACTOR_RESYNC_HASH,
  ACTOR_RESYNC_N
} actor_resync;
extern const char *const actor_resync_names[ACTOR_RESYNC_N + 1];  // ends with NULL

typedef struct actor_weights_stats {
  uint64_t announced_version, version, fetches;
  uint64_t verify_failures;  // hash or size differed from what was announced
  uint64_t full_bytes, delta_bytes;  // received; anchors are full
  uint64_t resyncs[ACTOR_RESYNC_N];
  double last_fetch_seconds;
} actor_weights_stats;

agrl_rc actor_weights_client_open(agrl_net *net, uv_loop_t *loop, const char *name, const char *weights_endpoint,
                                  const char *announce_endpoint, int hwm, uint64_t run, const actor_weights_hooks *hooks,
                                  actor_weights_client **out, agrl_error *err);
void actor_weights_client_close(actor_weights_client *c);  // before the net closes; the loop frees it later
actor_weights_stats actor_weights_client_stats(const actor_weights_client *c);

#endif
