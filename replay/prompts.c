// SPDX-License-Identifier: Apache-2.0
// Prompt table, history and selection.
#include "replay/prompts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/hash.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/base/rng.h"
#include "common/conf/config.h"
#include "common/wire/version.h"

#define HISTORY_WEIGHT 0.3       // of the newest group in the running accuracy, once there are enough
#define STREAM_WALK 0x77616c6bu  // keeps the streams of walk and draw apart
#define STREAM_DRAW 0x64726177u

static size_t slot_of(const replay_prompts *p, const char *id, bool *found) {
  uint64_t h = agrl_hash64(id, strlen(id));
  size_t at = (size_t)h & (p->n_slots - 1);
  while (p->slots[at] && strcmp(p->v[p->slots[at] - 1].row->id, id) != 0) at = (at + 1) & (p->n_slots - 1);
  *found = p->slots[at] != 0;
  return at;
}

static void add_row(replay_prompts *p, const agrl_row *row) {
  bool there = false;
  size_t at = slot_of(p, row->id, &there);
  size_t len = strlen(row->id);
  if (there || len > REPLAY_MAX_PROMPT_ID) {
    if (p->skipped++ < 5)
      agrl_logw("event=row_skipped id=%.64s cause=\"%s\"", row->id, there ? "the id of an earlier row" : "an id of more than 255 bytes");
    return;
  }
  p->v[p->n] = (replay_prompt){.row = row, .key = agrl_hash64(row->id, len)};
  p->slots[at] = (uint32_t)++p->n;
}

void replay_prompts_init(replay_prompts *p, const agrl_row *rows, size_t n, const agrl_task_text *text, uint64_t seed) {
  *p = (replay_prompts){.text = text, .seed = seed, .order_epoch = UINT64_MAX};
  p->n_slots = 16;
  while (p->n_slots < n * 2) p->n_slots *= 2;
  p->slots = agrl_xcalloc(p->n_slots, sizeof *p->slots);
  p->v = agrl_xcalloc(n ? n : 1, sizeof *p->v);
  for (size_t i = 0; i < n; i++) add_row(p, &rows[i]);
  p->order = agrl_xcalloc(p->n ? p->n : 1, sizeof *p->order);
  p->weights = agrl_xcalloc(p->n ? p->n : 1, sizeof *p->weights);
  p->busy = agrl_xcalloc(p->n ? p->n : 1, 1);
}

void replay_prompts_release(replay_prompts *p) {
  free(p->v);
  free(p->slots);
  free(p->order);
  free(p->weights);
  free(p->busy);
  *p = (replay_prompts){0};
}

uint32_t replay_prompts_find(const replay_prompts *p, const char *id) {
  bool found = false;
  size_t at = slot_of(p, id, &found);
  return found ? p->slots[at] - 1 : REPLAY_NO_PROMPT;
}

uint32_t replay_prompts_levels(replay_prompts *p, uint32_t i) {
  replay_prompt *q = &p->v[i];
  if (q->levels_known) return q->levels;
  agrl_buf below = {0}, here = {0};
  size_t n = agrl_task_text_levels(p->text);
  if (n > REPLAY_MAX_LEVELS) n = REPLAY_MAX_LEVELS;
  agrl_task_text_prompt(p->text, q->row, 0, &below);
  for (size_t l = 1; l <= n; l++) {
    agrl_buf_clear(&here);
    agrl_task_text_prompt(p->text, q->row, l, &here);
    if (here.len != below.len || memcmp(here.data, below.data, here.len) != 0) q->levels |= 1u << (l - 1);
    agrl_buf t = below;
    below = here;
    here = t;
  }
  agrl_buf_release(&below);
  agrl_buf_release(&here);
  q->levels_known = true;
  return q->levels;
}

static bool has_reference(const replay_prompts *p, const agrl_row *row) {
  agrl_buf text = {0};
  bool there = agrl_task_text_reference(p->text, row, &text) && text.len > 0;
  agrl_buf_release(&text);
  return there;
}

bool replay_prompts_reference(const replay_prompts *p, uint32_t i) {
  const agrl_row *row = p->v[i].row;
  return (p->reference_end == NULL || row < p->reference_end) && has_reference(p, row);
}

void replay_prompts_limit_references(replay_prompts *p, const agrl_row *rows, size_t n, size_t max) {
  size_t i = 0;
  for (size_t used = 0; i < n && used < max; i++) used += has_reference(p, &rows[i]);
  p->reference_end = rows + i;
}

void replay_prompts_observe(replay_prompt *p, double accuracy, uint64_t version) {
  double w = 1.0 / (p->tries + 1.0);
  if (w < HISTORY_WEIGHT) w = HISTORY_WEIGHT;
  p->accuracy += w * (accuracy - p->accuracy);
  if (p->accuracy < 0) p->accuracy = 0;  // rounding
  if (p->accuracy > 1) p->accuracy = 1;
  if (p->tries < UINT32_MAX) p->tries++;
  p->last_version = version;
}

double replay_prompts_priority(const replay_prompt *p, int selector, double half_life, uint64_t version) {
  if (p->tries == 0) return 0;
  double difficulty = (1 - p->accuracy) * exp2(-(double)(p->fruitless > 60 ? 60 : p->fruitless));
  if (selector != AGRL_SELECT_FRESH) return difficulty;
  return difficulty * exp2(-(double)agrl_version_age(version, p->last_version) / half_life);
}

static void shuffle(replay_prompts *p, uint64_t epoch) {
  if (p->order_epoch == epoch) return;
  agrl_rng r;
  agrl_rng_init(&r, p->seed ^ STREAM_WALK, epoch);
  for (uint32_t i = 0; i < p->n; i++) p->order[i] = i;
  for (uint32_t i = (uint32_t)p->n; i-- > 1;) {
    uint32_t j = agrl_rng_below(&r, i + 1), t = p->order[i];
    p->order[i] = p->order[j];
    p->order[j] = t;
  }
  p->order_epoch = epoch;
}

static uint32_t walk(replay_prompts *p, const replay_pick *how, uint64_t *epoch, uint64_t *cursor) {
  uint32_t i = 0;
  for (size_t tries = 0; tries <= p->n; tries++) {  // when all are busy, the last one looked at is taken
    if (*cursor >= p->n) {
      *cursor = 0;
      ++*epoch;
    }
    shuffle(p, *epoch);
    i = p->order[(*cursor)++];
    if (!how->busy || !how->busy[i]) break;
  }
  return i;
}

static uint32_t draw(replay_prompts *p, const replay_pick *how, double u) {
  double total = 0;
  for (uint32_t i = 0; i < p->n; i++) {
    const replay_prompt *q = &p->v[i];
    bool seen = q->tries > 0 && agrl_version_age(how->version, q->last_version) > 0;
    double w = seen ? replay_prompts_priority(q, how->selector, how->half_life, how->version) : 0;
    if (how->busy && how->busy[i]) w = 0;
    total += p->weights[i] = w;
  }
  if (!(total > 1e-12)) return REPLAY_NO_PROMPT;
  u *= total;
  uint32_t last = REPLAY_NO_PROMPT;
  for (uint32_t i = 0; i < p->n; i++) {
    if (p->weights[i] <= 0) continue;
    last = i;
    if ((u -= p->weights[i]) < 0) break;
  }
  return last;
}

uint32_t replay_prompts_pick(replay_prompts *p, const replay_pick *how, uint64_t *epoch, uint64_t *cursor) {
  if (how->selector != AGRL_SELECT_UNIFORM) {
    agrl_rng r;
    agrl_rng_init(&r, p->seed ^ STREAM_DRAW, how->group);
    if (agrl_rng_f64(&r) < REPLAY_REVISIT_SHARE) {
      uint32_t i = draw(p, how, agrl_rng_f64(&r));
      if (i != REPLAY_NO_PROMPT) return i;
    }
  }
  return walk(p, how, epoch, cursor);
}

void replay_prompts_record(const replay_prompt *p, replay_prompt_rec *out) {
  *out = (replay_prompt_rec){.accuracy = p->accuracy,
                             .tries = p->tries,
                             .guided = p->guided,
                             .fruitless = p->fruitless,
                             .last_version = p->last_version};
  strncpy(out->prompt_id, p->row->id, REPLAY_MAX_PROMPT_ID);
}

bool replay_prompts_restore(replay_prompts *p, const replay_prompt_rec *rec) {
  uint32_t i = replay_prompts_find(p, rec->prompt_id);
  if (i == REPLAY_NO_PROMPT) return false;
  replay_prompt *q = &p->v[i];
  q->accuracy = rec->accuracy;
  q->tries = rec->tries;
  q->guided = rec->guided;
  q->fruitless = rec->fruitless;
  q->last_version = rec->last_version;
  return true;
}
