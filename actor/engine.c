// SPDX-License-Identifier: Apache-2.0
// Continuous batching engine: see engine.h. The step reads top to bottom: admit, decode, sample, retire.
#include "actor/engine.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/bug.h"
#include "common/base/clock.h"
#include "common/base/mem.h"

typedef struct open_job {
  actor_job job;
  agrl_prefix *prefix;  // NULL until prefilled
  float *logits;        // (V) of the prompt's last position
  uint64_t version;     // of the weights that made them
  uint32_t opened, finished;
  struct open_job *next;
} open_job;

typedef struct slot {
  open_job *job;  // NULL: free
  agrl_seq *seq;
  uint32_t member;
  size_t n;
  int32_t *tokens;
  float *logprobs;
  uint64_t *versions;
  uint64_t started_ns;
} slot;

struct actor_engine {
  agrl_spec spec;  // its end and stop tokens
  agrl_pool *pool;
  agrl_decoder *decoder;
  agrl_weights *weights;
  actor_engine_hooks hooks;
  actor_engine_stats stats;
  size_t n_slots, n_open, max_prompt, max_new, vocab, load;
  slot *slots;
  open_job *head, *tail;  // jobs with members not yet opened
  open_job *spare;        // recycled, so that steady state does not allocate
  float *logits, *scratch;      // (n_slots, V) each
  agrl_seq **batch_seqs;        // of the step under way
  int32_t *batch_tokens;
  slot **batch_slots;
};

agrl_rc actor_engine_new(const agrl_layout *l, agrl_pool *pool, size_t slots, size_t context, size_t max_new, const actor_engine_hooks *hooks,
                         actor_engine **out, agrl_error *err) {
  if (context > (size_t)l->spec.context) context = (size_t)l->spec.context;
  if (max_new >= context)
    return agrl_fail(err, AGRL_ECONFIG, "actor.max_new_tokens %zu leaves no room for a prompt in the context of %zu", max_new, context);
  actor_engine *e = agrl_xcalloc(1, sizeof *e);
  e->max_prompt = context - max_new;
  agrl_rc rc = agrl_decoder_new(l, pool, slots, e->max_prompt, max_new, &e->decoder, err);
  if (rc) {
    free(e);
    return rc;
  }
  e->spec = l->spec;
  e->pool = pool;
  e->hooks = *hooks;
  e->n_slots = slots;
  e->max_new = max_new;
  e->vocab = (size_t)l->spec.vocab;
  e->slots = agrl_xcalloc(slots, sizeof *e->slots);
  for (size_t i = 0; i < slots; i++) {
    e->slots[i].tokens = agrl_xcalloc(max_new, sizeof(int32_t));
    e->slots[i].logprobs = agrl_xcalloc(max_new, sizeof(float));
    e->slots[i].versions = agrl_xcalloc(max_new, sizeof(uint64_t));
  }
  e->logits = agrl_xcalloc(slots * e->vocab, sizeof(float));
  e->scratch = agrl_xcalloc(slots * e->vocab, sizeof(float));
  e->batch_seqs = agrl_xcalloc(slots, sizeof *e->batch_seqs);
  e->batch_tokens = agrl_xcalloc(slots, sizeof *e->batch_tokens);
  e->batch_slots = agrl_xcalloc(slots, sizeof *e->batch_slots);
  *out = e;
  return AGRL_OK;
}

static void free_jobs(open_job *j) {
  while (j) {
    open_job *next = j->next;
    free(j->logits);
    free(j);
    j = next;
  }
}

// Ends every job without finishing it: those only in slots first, then the queue.
static void drop_jobs(actor_engine *e) {
  for (size_t i = 0; i < e->n_slots; i++) {
    open_job *j = e->slots[i].job;
    if (!j || j->opened < j->job.n_members || ++j->finished < j->job.n_members) continue;
    e->hooks.job_done(e->hooks.user, &j->job);
    j->next = e->spare;
    e->spare = j;
  }
  for (open_job *j = e->head; j; j = j->next) e->hooks.job_done(e->hooks.user, &j->job);
  free_jobs(e->head);
  free_jobs(e->spare);
}

void actor_engine_free(actor_engine *e) {
  if (!e) return;
  drop_jobs(e);
  for (size_t i = 0; i < e->n_slots; i++) {
    free(e->slots[i].tokens);
    free(e->slots[i].logprobs);
    free(e->slots[i].versions);
  }
  agrl_decoder_free(e->decoder);
  agrl_weights_unref(e->weights);
  free(e->slots);
  free(e->logits);
  free(e->scratch);
  free(e->batch_seqs);
  free(e->batch_tokens);
  free(e->batch_slots);
  free(e);
}

void actor_engine_set_weights(actor_engine *e, agrl_weights *w) {
  AGRL_ASSERT(w);
  agrl_weights *old = e->weights;
  e->weights = agrl_weights_ref(w);
  agrl_weights_unref(old);
}

agrl_rc actor_engine_submit(actor_engine *e, const actor_job *job, agrl_error *err) {
  AGRL_ASSERT(job->n_members);
  if (!job->n_prompt || job->n_prompt > e->max_prompt)
    return agrl_fail(err, AGRL_ELIMIT, "prompt of %zu tokens, at most %zu fit (model.context less actor.max_new_tokens)", job->n_prompt,
                     e->max_prompt);
  open_job *j = e->spare;
  if (j) e->spare = j->next;
  else {
    j = agrl_xcalloc(1, sizeof *j);
    j->logits = agrl_xcalloc(e->vocab, sizeof(float));
  }
  float *logits = j->logits;
  *j = (open_job){.job = *job, .logits = logits};
  if (j->job.max_new > e->max_new) j->job.max_new = e->max_new;
  if (e->tail) e->tail->next = j;
  else e->head = j;
  e->tail = j;
  e->load += job->n_members;
  return AGRL_OK;
}

static agrl_rng_key key_of(const slot *s) {
  return (agrl_rng_key){.run = s->job->job.run_seed, .group = s->job->job.group, .member = s->member};
}

// Samples the slot's next token from logits; true when the rollout is over.
static void sample_into(slot *s, const float *logits, size_t vocab, float *scratch, uint64_t version) {
  const actor_job *job = &s->job->job;
  agrl_rng_key key = key_of(s);
  double u = agrl_rng_uniform(&key, (uint32_t)s->n);
  s->tokens[s->n] = agrl_sample(logits, vocab, job->temperature, job->top_k, job->top_p, u, scratch, &s->logprobs[s->n]);
  s->versions[s->n++] = version;
}

static void retire_if_over(actor_engine *e, slot *s) {
  bool eos = agrl_spec_stops(&e->spec, s->tokens[s->n - 1]);
  open_job *j = s->job;
  if (!eos && s->n < j->job.max_new) return;
  actor_rollout r = {.member = s->member, .n = s->n, .tokens = s->tokens, .logprobs = s->logprobs, .versions = s->versions,
                     .stop = eos ? AGRL_STOP_EOS : AGRL_STOP_LENGTH, .generation_ns = agrl_mono_ns() - s->started_ns};
  e->stats.completion_tokens += s->n;
  e->hooks.finished(e->hooks.user, &j->job, &r);
  agrl_seq_close(e->decoder, s->seq);
  s->job = NULL;
  e->n_open--;
  e->load--;
  if (++j->finished < j->job.n_members) return;
  agrl_prefix_unref(e->decoder, j->prefix);
  e->hooks.job_done(e->hooks.user, &j->job);
  j->next = e->spare;
  e->spare = j;
}

static slot *free_slot(actor_engine *e) {
  for (size_t i = 0; i < e->n_slots; i++)
    if (!e->slots[i].job) return &e->slots[i];
  return NULL;
}

static void open_member(actor_engine *e, open_job *j) {
  slot *s = free_slot(e);
  AGRL_ASSERT(s);
  s->seq = agrl_seq_open(e->decoder, j->prefix);
  AGRL_ASSERT(s->seq);
  s->job = j;
  e->stats.opened++;
  e->stats.shared += j->opened > 0;
  s->member = j->job.first_member + j->opened++;
  s->n = 0;
  s->started_ns = agrl_mono_ns();
  e->n_open++;
  sample_into(s, j->logits, e->vocab, e->scratch, j->version);
}

// Fills free slots from the queue; a job's prompt is prefilled when its first member is opened.
static void admit(actor_engine *e) {
  while (e->head && e->n_open < e->n_slots) {
    open_job *j = e->head;
    if (!j->prefix) {
      j->prefix = agrl_decoder_prefill(e->decoder, e->weights, j->job.prompt, j->job.n_prompt, j->logits);
      AGRL_ASSERT(j->prefix);
      j->version = agrl_weights_version(e->weights);
      e->stats.prompt_tokens += j->job.n_prompt;
      if (e->hooks.first_logits) e->hooks.first_logits(e->hooks.user, &j->job, j->logits);
    }
    while (j->opened < j->job.n_members && e->n_open < e->n_slots) open_member(e, j);
    if (j->opened < j->job.n_members) return;
    e->head = j->next;
    if (!e->head) e->tail = NULL;
    j->next = NULL;
  }
}

static void sample_job(void *arg, size_t i) {
  actor_engine *e = arg;
  sample_into(e->batch_slots[i], e->logits + i * e->vocab, e->vocab, e->scratch + i * e->vocab, agrl_weights_version(e->weights));
}

bool actor_engine_step(actor_engine *e) {
  AGRL_ASSERT(e->weights);
  do {
    admit(e);
    for (size_t i = 0; i < e->n_slots; i++)  // a first token may already have ended a rollout: its slot is filled again
      if (e->slots[i].job && e->slots[i].n == 1) retire_if_over(e, &e->slots[i]);
  } while (e->head && e->n_open < e->n_slots);
  size_t n = 0;
  for (size_t i = 0; i < e->n_slots; i++) {
    slot *s = &e->slots[i];
    if (!s->job) continue;
    e->batch_slots[n] = s;
    e->batch_seqs[n] = s->seq;
    e->batch_tokens[n++] = s->tokens[s->n - 1];
  }
  if (!n) return false;
  agrl_decoder_step(e->decoder, e->weights, e->batch_seqs, e->batch_tokens, n, e->logits);
  agrl_pool_run(e->pool, sample_job, e, n);
  for (size_t i = 0; i < n; i++) retire_if_over(e, e->batch_slots[i]);
  e->stats.steps++;
  e->stats.slot_steps += n;
  return true;
}

// Refilled in portions of an eighth, the queue never falls below an eighth of the slots while a request is answered.
size_t actor_engine_want(size_t slots, size_t load) {
  const size_t target = slots + slots / 4, want = load < target ? target - load : 0;
  return want < slots / 8 && load ? 0 : want;
}

size_t actor_engine_load(const actor_engine *e) { return e->load; }
actor_engine_stats actor_engine_get_stats(const actor_engine *e) { return e->stats; }
double actor_engine_kv_used_ratio(const actor_engine *e) { return agrl_decoder_kv_used_ratio(e->decoder); }
