// SPDX-License-Identifier: Apache-2.0
// Retention: closed groups go, oldest first, once replay.keep_groups of them are exceeded, or all that may when the map
// is nearly full. A group may go only when no checkpoint can ask for it again: TRAINED at or before the checkpoint, or
// RETIRED without a lease that a journal might still claim. Bounded work a call. Loop thread only.
#ifndef AGRL_REPLAY_EVICT_H
#define AGRL_REPLAY_EVICT_H

#include "replay/core.h"

// *more: there is still something to delete.
agrl_rc replay_evict(replay_core *c, bool *more, agrl_error *err);

#endif
