// SPDX-License-Identifier: Apache-2.0
// See weights_merge.h.
#include "actor/weights_merge.h"

#include <string.h>

#include "common/base/bug.h"
#include "common/base/mem.h"

void actor_weights_merge_init(actor_weights_merge *m, const agrl_lora *lora) {
  *m = (actor_weights_merge){.lora = lora};
  actor_weights_turns_init(&m->turns, lora->model);
}

void actor_weights_merge_release(actor_weights_merge *m) {
  if (m->base) agrl_block_free(m->base, m->turns.bytes);
  actor_weights_turns_release(&m->turns);
  memset(m, 0, sizeof *m);
}

agrl_rc actor_weights_merge_ready(actor_weights_merge *m, agrl_error *err) {
  if (!m->base) m->base = agrl_block_alloc(m->turns.bytes);
  if (!m->base) return agrl_fail(err, AGRL_ENOMEM, "no memory for a base of %zu bytes", m->turns.bytes);
  return actor_weights_turns_ready(&m->turns, err);
}

bool actor_weights_merge_none(const agrl_sha256 *base) {
  static const agrl_sha256 zeros;
  return memcmp(base, &zeros, sizeof zeros) == 0;
}

bool actor_weights_merge_has(const actor_weights_merge *m, const agrl_sha256 *base) {
  return !actor_weights_merge_none(base) && memcmp(&m->hash, base, sizeof *base) == 0;
}

void actor_weights_merge_begin(actor_weights_merge *m) { memset(&m->hash, 0, sizeof m->hash); }

void actor_weights_merge_take(actor_weights_merge *m, uint64_t offset, const void *data, size_t n) {
  AGRL_ASSERT(offset <= m->turns.bytes && n <= m->turns.bytes - offset);
  memcpy((uint8_t *)m->base + offset, data, n);
}

bool actor_weights_merge_verify(actor_weights_merge *m, const agrl_sha256 *base) {
  if (actor_weights_merge_has(m, base)) return true;
  const agrl_sha256 got = agrl_sha256_of(m->base, m->turns.bytes);
  if (memcmp(&got, base, sizeof got) != 0) return false;
  m->hash = got;
  return true;
}

void actor_weights_merge_apply(actor_weights_merge *m, const uint16_t *adapters, uint64_t version) {
  AGRL_ASSERT(m->turns.scratch);
  memcpy(m->turns.scratch, m->base, m->turns.bytes);
  agrl_lora_merge(m->lora, NULL, m->turns.scratch, m->base, adapters);
  agrl_weights_pack(actor_weights_turns_adopt(&m->turns, version, NULL), NULL);
}

agrl_weights *actor_weights_merge_commit(actor_weights_merge *m) {
  actor_weights_turns_commit(&m->turns);
  return agrl_weights_ref(m->turns.live);
}
