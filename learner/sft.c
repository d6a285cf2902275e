// SPDX-License-Identifier: Apache-2.0
// The supervised warm start: mean next-token cross-entropy on reference and end token. Every epoch has its own shuffle and
// its own choice of rows shown with guidance, both functions of (seed, epoch), so that a cursor is all a resume needs.
#include <math.h>
#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/base/rng.h"
#include "learner/learner.h"

enum { STREAM_SFT = 0x5f7 };  // high half of the generator's stream; the epoch is the low half

typedef struct sft_order {
  uint32_t *row;
  uint8_t *level;
  size_t n;
  int64_t epoch;
} sft_order;

static void order_fill(sft_order *o, const learner_core *c, int64_t epoch) {
  agrl_rng rng;
  agrl_rng_init(&rng, (uint64_t)c->config->run.seed, (uint64_t)STREAM_SFT << 32 | (uint64_t)epoch);
  uint32_t levels = (uint32_t)agrl_task_text_levels(c->sft->text);
  for (size_t i = 0; i < o->n; i++) {
    bool guided = agrl_rng_f64(&rng) < c->config->sft.guided_share;
    uint32_t level = levels > 0 ? 1 + agrl_rng_below(&rng, levels) : 0;
    o->row[i] = (uint32_t)i;
    o->level[i] = guided ? (uint8_t)level : 0;
  }
  for (size_t i = o->n; i > 1; i--) {
    size_t j = agrl_rng_below(&rng, (uint32_t)i);
    uint32_t row = o->row[i - 1];
    o->row[i - 1] = o->row[j];
    o->row[j] = row;
  }
  o->epoch = epoch;
}

// Packs rows from the cursor on until batch_tokens are full. A row longer than the context is left out. The cursor stays at
// the first row not packed.
static agrl_rc fill(learner_core *c, sft_order *o, agrl_error *err) {
  size_t passed = 0, budget = (size_t)c->config->sft.batch_tokens;
  learner_pack_clear(&c->pack);
  for (;; c->cursor.pos++, passed++) {
    if ((size_t)c->cursor.pos >= o->n) {
      c->cursor.pos = 0;
      order_fill(o, c, ++c->cursor.epoch);
    }
    if (passed > 2 * o->n && c->pack.n_seqs == 0)
      return agrl_fail(err, AGRL_ECONFIG, "no SFT row fits the context of %d tokens: raise model.context", c->layout->spec.context);
    if (passed >= o->n && c->pack.n_seqs > 0) return AGRL_OK;  // a set smaller than a batch: once each
    uint32_t row = o->row[c->cursor.pos];
    learner_seq s = learner_sft_set_get(c->sft, row, o->level[row]);
    size_t fed = learner_seq_fed(&s);
    if (fed > (size_t)c->layout->spec.context || fed > c->pack.cap) continue;
    if (c->pack.n_seqs > 0 && c->pack.n_tokens + fed > budget) return AGRL_OK;
    if (!learner_pack_add(&c->pack, &s)) return AGRL_OK;
  }
}

// The loss's gradient is known before the forward, so both run as one.
agrl_rc learner_pack_cross_entropy(learner_core *c, double weight, double *loss, agrl_error *err) {
  learner_pack *p = &c->pack;
  const agrl_batch b = learner_pack_batch(p);
  size_t n = 0;
  double sum = 0.0;
  for (size_t i = 0; i < p->n_tokens; i++) n += p->target[i] >= 0;
  for (size_t i = 0; i < p->n_tokens; i++) p->dlogp[i] = p->target[i] >= 0 ? (float)(-weight / (double)n) : 0.0f;
  agrl_rc rc = agrl_trainer_forward_backward(c->trainer, &c->optim.served, &b, p->dlogp, p->logp, c->optim.grads, err);
  if (rc != AGRL_OK) return rc;
  for (size_t i = 0; i < p->n_tokens; i++) sum -= p->target[i] >= 0 ? p->logp[i] : 0.0f;
  *loss = sum / (double)n;
  return AGRL_OK;
}

static agrl_rc sft_step(learner_core *c, sft_order *o, learner_sft_stats *st, agrl_error *err) {
  const agrl_config *cfg = c->config;
  uint64_t t0 = agrl_mono_ns();
  agrl_rc rc = fill(c, o, err);
  if (rc != AGRL_OK) return rc;
  learner_pack *p = &c->pack;
  double loss = 0;
  learner_optim_zero_grads(&c->optim);
  rc = learner_pack_cross_entropy(c, 1.0, &loss, err);
  if (rc != AGRL_OK) return rc;
  learner_hyper h = {learner_lr(cfg->sft.lr, cfg->sft.min_lr_ratio, cfg->sft.warmup_steps, cfg->sft.steps, c->cursor.step),
                     cfg->sft.weight_decay, cfg->grpo.beta1, cfg->grpo.beta2, cfg->grpo.eps, cfg->grpo.grad_clip};
  bool clipped;
  *st = (learner_sft_stats){.steps = cfg->sft.steps, .loss = loss, .learning_rate = h.lr};
  bool ok = isfinite(st->loss) && learner_optim_step(&c->optim, c->pool, &h, &st->grad_norm, &clipped);
  c->bad_steps = ok ? 0 : c->bad_steps + 1;
  c->cursor.step++;
  st->step = c->cursor.step;
  st->epoch = (double)c->cursor.epoch + (double)c->cursor.pos / (double)o->n;
  st->tokens = p->n_tokens;
  st->sequences = p->n_seqs;
  st->step_seconds = agrl_since_s(t0);
  st->tokens_per_second = (double)st->tokens / st->step_seconds;
  if (!ok) agrl_logw("sft step skipped: not finite step=%lld loss=%g grad_norm=%g", (long long)st->step, st->loss, st->grad_norm);
  if (c->bad_steps >= LEARNER_BAD_STEPS_MAX)
    return agrl_fail(err, AGRL_ESELFCHECK, "%u SFT steps in a row were not finite: lower sft.lr (now %g)", c->bad_steps, cfg->sft.lr);
  return AGRL_OK;
}

agrl_rc learner_sft_run(learner_core *c, const learner_sft_hooks *h, bool *finished, agrl_error *err) {
  *finished = c->cursor.step >= c->config->sft.steps;
  if (*finished) return AGRL_OK;
  agrl_rc rc = learner_core_need_sft(c, err);
  if (rc != AGRL_OK) return rc;
  if (c->sft->n == 0)
    return agrl_fail(err, AGRL_ECONFIG, "%s: no row has a reference trace and %s brings no template for one; set sft.steps to 0 to go without",
                     c->config->data.train, c->config->data.rules);
  sft_order o = {.n = c->sft->n};
  o.row = agrl_xcalloc(o.n, sizeof *o.row);
  o.level = agrl_xcalloc(o.n, sizeof *o.level);
  order_fill(&o, c, c->cursor.epoch);
  uint64_t saved = agrl_mono_ns();
  while (rc == AGRL_OK && c->cursor.step < c->config->sft.steps) {
    learner_sft_stats st;
    rc = sft_step(c, &o, &st, err);
    if (rc != AGRL_OK) break;
    h->progress(h->user, &st);
    bool stop = h->stopping(h->user), last = c->cursor.step >= c->config->sft.steps;
    if (!last && (stop || c->cursor.step % LEARNER_SFT_SAVE_EVERY == 0 || agrl_since_s(saved) >= LEARNER_SFT_SAVE_SECONDS)) {
      rc = h->save(h->user, err);
      saved = agrl_mono_ns();
    }
    if (stop) break;
  }
  *finished = rc == AGRL_OK && c->cursor.step >= c->config->sft.steps;
  free(o.row);
  free(o.level);
  return rc;
}
