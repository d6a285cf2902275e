// SPDX-License-Identifier: Apache-2.0
// The training core of the learner: parameters and optimiser, packing, supervised warm start, RL steps, checkpoints.
// It knows no socket and no loop (see link.h for those), so tests drive it in one process. Everything here belongs to
// the compute thread. Deterministic: the same weights, state and groups in the same order give the same weights hash.
#ifndef AGRL_LEARNER_LEARNER_H
#define AGRL_LEARNER_LEARNER_H

#include "common/base/buf.h"
#include "common/base/pool.h"
#include "common/conf/config.h"
#include "common/model/train.h"
#include "common/task/task.h"
#include "common/text/bpe.h"
#include "common/wire/msg.h"
#include "learner/optim.h"
#include "learner/stats.h"

// ---- lr.c: linear warm-up, then cosine to lr * min_ratio at the last step. step is 0-based.
double learner_lr(double lr, double min_ratio, int64_t warmup, int64_t total, int64_t step);

// ---- pack.c: sequences one after the other, no padding. The last token of a sequence is predicted, never fed.
typedef struct learner_seq {
  const int32_t *prompt, *tokens;  // loss on tokens only
  size_t n_prompt, n_tokens;       // both >= 1
} learner_seq;

typedef struct learner_pack {
  size_t cap, n_tokens, n_segs, n_seqs;  // n_segs: sequences of the batch, shared prompts among them
  size_t *start, *first;                 // first[s]: position whose target is the first completion token of sequence s
  int32_t *parent, *tokens, *target;
  int32_t prompt;                        // the shared prompt packed last; -1: none
  float *logp, *ref, *entropy, *dlogp;  // cap each, for the forward passes and the loss
} learner_pack;

void learner_pack_init(learner_pack *p, size_t cap_tokens);
void learner_pack_release(learner_pack *p);
void learner_pack_clear(learner_pack *p);
size_t learner_seq_fed(const learner_seq *s);                 // tokens it takes in a pack
bool learner_pack_add(learner_pack *p, const learner_seq *s);  // false: no room, nothing added
// The same, but a prompt equal to that of the sequence shared just before is computed once for both. Log-probs are equal
// to the last bit either way. A pack that begins in the middle of a group has the prompt again.
bool learner_pack_share(learner_pack *p, const learner_seq *s);
agrl_batch learner_pack_batch(const learner_pack *p);

// ---- sft_set.c: rows with a reference trace, rendered and tokenized on demand.
typedef struct learner_sft_set {
  agrl_dataset data;
  agrl_task_text *text;
  size_t *rows, n;  // indexes of data.rows, rising; sft.max_rows at most
  uint32_t *by_id;  // all of data.rows by id, made at the first search; NULL before
  const agrl_bpe *bpe;
  int32_t start_id, end_id;
  agrl_buf scratch;
  int32_t *prompt, *tokens;  // of the last row rendered
  size_t prompt_cap, tokens_cap;
} learner_sft_set;

agrl_rc learner_sft_set_open(learner_sft_set *s, const agrl_config *c, agrl_error *err);  // reads data.train and data.rules
void learner_sft_set_close(learner_sft_set *s);
void learner_sft_set_bind(learner_sft_set *s, const agrl_bpe *bpe, int32_t start_id, int32_t end_id);
agrl_rc learner_sft_set_tokenizer(const learner_sft_set *s, size_t vocab, agrl_bpe **out, agrl_error *err);
learner_seq learner_sft_set_get(learner_sft_set *s, size_t i, size_t level);  // valid until the next call
// The reference trace of the row of that id, if it is in the set, without a prompt; valid until the next call.
bool learner_sft_set_find(learner_sft_set *s, const char *id, learner_seq *out);

typedef struct learner_sft_cursor {  // where the warm start stands: enough to continue exactly
  int64_t step, epoch, pos;
} learner_sft_cursor;

// ---- the core
typedef struct learner_core {
  const agrl_config *config;
  agrl_pool *pool;
  agrl_layout *layout;
  agrl_lora *lora;        // NULL when lora.rank is 0
  char *base_dir;         // checkpoint of the adapters' base; NULL without
  agrl_trainer *trainer;
  agrl_bpe *bpe;
  agrl_buf tokenizer_json, tokenizer_config, chat_template;  // files of model.init, written into every checkpoint; empty: none
  int32_t start_id, end_id;
  learner_optim optim;
  agrl_weights *reference;  // of the KL, measured or a term of the loss, and of DPO; packed; NULL before RL
  learner_pack pack;
  learner_sft_set *sft;   // NULL when nothing needs it: SFT, grpo.sft_weight, DPO
  learner_sft_cursor cursor;
  uint64_t version;       // of the served weights; 0 during SFT
  uint32_t bad_steps;     // steps in a row skipped as non-finite
} learner_core;

typedef enum { LEARNER_STAGE_SFT, LEARNER_STAGE_RL } learner_stage;

// core.c: takes layout and copies block (with adapters: the base); makes trainer, optimiser and pack. Tests enter here.
agrl_rc learner_core_adopt(learner_core *c, agrl_layout *layout, const float *block, agrl_error *err);
void learner_core_release(learner_core *c);
// create.c: a new run's weights and tokenizer (model.init, or trained and initialised from the data).
agrl_rc learner_core_create(learner_core *c, const char *checkpoints, agrl_error *err);
agrl_rc learner_core_tokenizer(learner_core *c, const char *checkpoints, agrl_error *err);  // loads tokenizer.json of the run
agrl_rc learner_core_need_sft(learner_core *c, agrl_error *err);                           // opens c->sft

// ---- checkpoint.c: a Hugging Face directory of the served weights plus master weights, moments and trainer state. With adapters
// the master weights are theirs, in PEFT's files, and loading needs the base in c->base_dir.
agrl_rc learner_checkpoint_save(const learner_core *c, const char *dir, agrl_error *err);
agrl_rc learner_checkpoint_load(learner_core *c, const char *dir, agrl_error *err);
agrl_rc learner_reference_load(learner_core *c, const char *dir, agrl_error *err);
// The reference as it was at the checkpoint in dir: the refreshed one kept there, where its state says so, else sft_dir's. AGRL_ENOENT:
// it should be there and is not.
agrl_rc learner_reference_resume(learner_core *c, const char *dir, const char *sft_dir, agrl_error *err);
agrl_rc learner_base_save(const learner_core *c, agrl_error *err);  // to c->base_dir, once a run

// ---- sft.c
typedef struct learner_sft_hooks {
  void *user;
  bool (*stopping)(void *user);
  void (*progress)(void *user, const learner_sft_stats *st);  // every step
  agrl_rc (*save)(void *user, agrl_error *err);               // every so many steps or seconds, and when stopped
} learner_sft_hooks;
enum { LEARNER_SFT_SAVE_EVERY = 100, LEARNER_SFT_SAVE_SECONDS = 30, LEARNER_BAD_STEPS_MAX = 10 };  // BAD_STEPS: then exit 70
// Adds the gradient of weight times the mean cross-entropy of c->pack to the optimiser's; *loss: that mean.
agrl_rc learner_pack_cross_entropy(learner_core *c, double weight, double *loss, agrl_error *err);
agrl_rc learner_sft_run(learner_core *c, const learner_sft_hooks *h, bool *finished, agrl_error *err);

// ---- step.c: one RL update on these groups, in this order; moves c->version one step on. Sequences that cannot be trained
// on (no tokens, longer than the context, bad ids) are dropped and counted. With run.method dpo a group is a pair as replay made
// it (agrl_group), trained against c->reference, which must be there. Errors only when the trainer fails.
agrl_rc learner_step_run(learner_core *c, const agrl_group *groups, size_t n, learner_step_stats *st, agrl_error *err);

#endif
