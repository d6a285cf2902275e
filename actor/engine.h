// SPDX-License-Identifier: Apache-2.0
// Continuous batching over the decoder: jobs (a prompt and n members of its group) queue up, every step decodes all open
// sequences together, and a free slot is refilled at once. The prompt is prefilled once per job and shared by its members.
// Weights may be swapped between any two steps; each token records the version it came from. Sampling is keyed by (run,
// group, member, position): a rollout does not depend on what it was batched with. One thread owns an engine.
#ifndef AGRL_ACTOR_ENGINE_H
#define AGRL_ACTOR_ENGINE_H

#include "common/base/pool.h"
#include "common/model/decode.h"
#include "common/wire/msg.h"

typedef struct actor_engine actor_engine;

typedef struct actor_job {
  uint64_t run_seed, group;
  uint32_t first_member, n_members;
  const int32_t *prompt;  // the tokens sampled from; borrowed until job_done
  size_t n_prompt;
  size_t max_new;
  double temperature, top_p;
  int top_k;
  void *user;
} actor_job;

typedef struct actor_rollout {  // borrowed by the callback
  uint32_t member;
  size_t n;  // tokens, the end token included when stop is AGRL_STOP_EOS
  const int32_t *tokens;
  const float *logprobs;
  const uint64_t *versions;
  agrl_stop stop;
  uint64_t generation_ns;
} actor_rollout;

typedef struct actor_engine_hooks {
  void (*first_logits)(void *user, const actor_job *job, const float *logits);  // after a prefill; may be NULL
  void (*finished)(void *user, const actor_job *job, const actor_rollout *r);
  void (*job_done)(void *user, const actor_job *job);  // every member finished: the job's memory may go
  void *user;
} actor_engine_hooks;

typedef struct actor_engine_stats {
  uint64_t prompt_tokens, completion_tokens, steps, slot_steps;  // slot_steps: sum of sequences over steps
  uint64_t opened, shared;  // members; those that found their prompt prefilled by another member
} actor_engine_stats;

// context: the longest sequence, prompt and completion; at most the model's.
agrl_rc actor_engine_new(const agrl_layout *l, agrl_pool *pool, size_t slots, size_t context, size_t max_new, const actor_engine_hooks *hooks,
                         actor_engine **out, agrl_error *err);
void actor_engine_free(actor_engine *e);  // calls job_done for every job still open or queued
// Takes a reference, drops the one before. NULL is a bug.
void actor_engine_set_weights(actor_engine *e, agrl_weights *w);
// Copies *job. AGRL_ELIMIT when the prompt is longer than the context less the engine's max_new.
agrl_rc actor_engine_submit(actor_engine *e, const actor_job *job, agrl_error *err);
bool actor_engine_step(actor_engine *e);  // one decode step; false when there is nothing to do
size_t actor_engine_load(const actor_engine *e);  // members queued or open
// Members to ask for, given how many are queued or open: what keeps the slots full while the answer is under way, and no
// more, because a task taken early is a task that gets stale. 0: not worth a message yet.
size_t actor_engine_want(size_t slots, size_t load);
actor_engine_stats actor_engine_get_stats(const actor_engine *e);
double actor_engine_kv_used_ratio(const actor_engine *e);

#endif
