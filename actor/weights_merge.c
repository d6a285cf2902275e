// SPDX-License-Identifier: Apache-2.0
// See weights_merge.h.
#include "actor/weights_merge.h"

#include <string.h>

#include "common/base/bug.h"
#include "common/base/mem.h"

void actor_weights_merge_init(actor_weights_merge *m, const agrl_lora *lora) {
  *m = (actor_weights_merge){.lora = lora, .bytes = lora->model->n_elements * sizeof *m->base};
}

void actor_weights_merge_release(actor_weights_merge *m) {
  agrl_weights_unref(m->live);
  agrl_weights_unref(m->retired);
  agrl_weights_unref(m->verified);
  if (m->base) agrl_block_free(m->base, m->bytes);
  if (m->scratch) agrl_block_free(m->scratch, m->bytes);
  memset(m, 0, sizeof *m);
}

agrl_rc actor_weights_merge_ready(actor_weights_merge *m, agrl_error *err) {
  if (!m->base) m->base = agrl_block_alloc(m->bytes);
  if (!m->scratch && m->retired) {
    m->scratch = agrl_weights_reclaim(m->retired);
    if (!m->scratch) return agrl_fail(err, AGRL_EAGAIN, "the engine still uses the weights before the live ones");
    m->retired = NULL;
  }
  if (!m->scratch) m->scratch = agrl_block_alloc(m->bytes);
  return m->base && m->scratch ? AGRL_OK : agrl_fail(err, AGRL_ENOMEM, "no memory for twice %zu bytes of weights", m->bytes);
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
  AGRL_ASSERT(offset <= m->bytes && n <= m->bytes - offset);
  memcpy((uint8_t *)m->base + offset, data, n);
}

bool actor_weights_merge_verify(actor_weights_merge *m, const agrl_sha256 *base) {
  if (actor_weights_merge_has(m, base)) return true;
  const agrl_sha256 got = agrl_sha256_of(m->base, m->bytes);
  if (memcmp(&got, base, sizeof got) != 0) return false;
  m->hash = got;
  return true;
}

void actor_weights_merge_apply(actor_weights_merge *m, const uint16_t *adapters, uint64_t version) {
  AGRL_ASSERT(m->scratch && !m->verified);
  memcpy(m->scratch, m->base, m->bytes);
  agrl_lora_merge(m->lora, NULL, m->scratch, m->base, adapters);
  m->verified = agrl_weights_adopt(m->lora->model, m->scratch, version, NULL);
  m->scratch = NULL;
  agrl_weights_pack(m->verified, NULL);
}

agrl_weights *actor_weights_merge_commit(actor_weights_merge *m) {
  AGRL_ASSERT(!m->retired && m->verified);
  m->retired = m->live;
  m->live = m->verified;
  m->verified = NULL;
  return agrl_weights_ref(m->live);
}
