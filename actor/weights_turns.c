// SPDX-License-Identifier: Apache-2.0
// See weights_turns.h.
#include "actor/weights_turns.h"

#include <string.h>

#include "common/base/bug.h"
#include "common/base/mem.h"

void actor_weights_turns_init(actor_weights_turns *t, const agrl_layout *layout) {
  *t = (actor_weights_turns){.layout = layout, .bytes = layout->n_elements * sizeof *t->scratch};
}

void actor_weights_turns_release(actor_weights_turns *t) {
  agrl_weights_unref(t->live);
  agrl_weights_unref(t->retired);
  agrl_weights_unref(t->next);
  if (t->scratch) agrl_block_free(t->scratch, t->bytes);
  memset(t, 0, sizeof *t);
}

agrl_rc actor_weights_turns_ready(actor_weights_turns *t, agrl_error *err) {
  if (t->scratch) return AGRL_OK;
  if (t->retired) {
    t->scratch = agrl_weights_reclaim(t->retired);
    if (!t->scratch) return agrl_fail(err, AGRL_EAGAIN, "the engine still uses the weights before the live ones");
    t->retired = NULL;
    return AGRL_OK;
  }
  t->scratch = agrl_block_alloc(t->bytes);
  return t->scratch ? AGRL_OK : agrl_fail(err, AGRL_ENOMEM, "no memory for %zu bytes of weights", t->bytes);
}

agrl_weights *actor_weights_turns_adopt(actor_weights_turns *t, uint64_t version, const agrl_sha256 *hash) {
  AGRL_ASSERT(t->scratch && !t->next);
  t->next = agrl_weights_adopt(t->layout, t->scratch, version, hash);
  t->scratch = NULL;
  return t->next;
}

void actor_weights_turns_commit(actor_weights_turns *t) {
  AGRL_ASSERT(!t->retired && t->next);
  t->retired = t->live;
  t->live = t->next;
  t->next = NULL;
}
