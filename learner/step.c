// SPDX-License-Identifier: Apache-2.0
// One RL update. Rows are packed in the batch's order, a group's prompt once, into passes of bounded size whose gradients add
// up:
//   [guided rows: forward, for the quantile gamma] -> per pass: reference forward, forward, loss, backward -> clip, AdamW
// The forward uses the served (bf16-rounded) values, so its log-probs are the actors' at equal version. A step whose loss
// or gradient is not finite changes nothing but the version.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bug.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/base/rng.h"
#include "learner/select.h"

enum {
  STREAM_AUX = 0xa0c,
  KL_EVERY = 10  // versions: without a KL term, how often the KL to the reference is measured
};

typedef struct step {  // what the functions below share
  learner_core *c;
  learner_step_stats *st;
  learner_row *rows;
  size_t n;
  const learner_loss *loss;
  learner_loss_params params;
  double entropy, diff, diff_max, staleness, staleness_max;
  size_t entropy_n, diff_n, staleness_n;
} step;

// Packs whole units of rows from i on; returns the first row left out.
static size_t pack_from(step *s, size_t i) {
  learner_pack *p = &s->c->pack;
  learner_pack_clear(p);
  while (i < s->n) {
    const learner_pack before = *p;
    size_t k = 0;
    while (k < s->loss->unit && learner_pack_share(p, &s->rows[i + k].seq)) k++;
    if (k < s->loss->unit) {
      *p = before;
      break;
    }
    i += k;
  }
  return i;
}

// The weight of a row's tokens (of a pair, DPO) in the loss: grpo.aggregation.
static void weigh_rows(step *s) {
  const agrl_config *cfg = s->c->config;
  size_t tokens = 0;
  for (size_t i = 0; i < s->n; i++) tokens += s->rows[i].seq.n_tokens;
  for (size_t i = 0; i < s->n; i++)
    s->rows[i].weight = s->loss->unit == 2 ? 2.0 / (double)s->n
                                           : learner_token_weight(cfg->grpo.aggregation, s->rows[i].seq.n_tokens, s->n, tokens, cfg->actor.max_new_tokens);
}

// The batch quantile of guided ratios needs all of them before the first loss: one forward over the guided rows.
static agrl_rc find_gamma(step *s, agrl_error *err) {
  const agrl_config *cfg = s->c->config;
  s->params.gamma = cfg->grpo.guide_floor;
  if (cfg->grpo.guided_loss != AGRL_GUIDED_GUIDE) return AGRL_OK;
  learner_pack *p = &s->c->pack;
  size_t total = 0, n = 0;
  for (size_t i = 0; i < s->n; i++)
    if (s->rows[i].guided) total += s->rows[i].seq.n_tokens;
  if (total == 0) return AGRL_OK;
  float *ratios = agrl_xcalloc(total, sizeof *ratios);
  agrl_rc rc = AGRL_OK;
  for (size_t i = 0; rc == AGRL_OK && i < s->n;) {
    size_t from = i;
    learner_pack_clear(p);
    for (; i < s->n; i++)
      if (s->rows[i].guided && !learner_pack_share(p, &s->rows[i].seq)) break;
    if (p->n_seqs == 0) break;
    agrl_batch b = learner_pack_batch(p);
    rc = agrl_trainer_forward(s->c->trainer, &s->c->optim.served, &b, false, p->logp, NULL, err);
    for (size_t k = from, q = 0; rc == AGRL_OK && k < i; k++) {
      if (!s->rows[k].guided) continue;
      const float *old = s->rows[k].member->trace.logprobs;
      bool inside;
      for (size_t t = 0; t < s->rows[k].seq.n_tokens; t++) ratios[n++] = (float)learner_ratio(p->logp[p->first[q] + t], old[t], &inside);
      q++;
    }
  }
  if (rc == AGRL_OK) s->st->guide_gamma = s->params.gamma = learner_guide_gamma(ratios, n, cfg->grpo.guide_quantile, cfg->grpo.guide_floor);
  free(ratios);
  return rc;
}

// Staleness, agreement with the sampler, entropy of one row, after its forward.
static void observe_row(step *s, const learner_row *r, size_t at) {
  const learner_pack *p = &s->c->pack;
  const agrl_msg_trace *t = &r->member->trace;
  learner_row_stats row = {.advantage = (float)r->advantage, .logprob_diff = NAN};
  uint64_t oldest = UINT64_MAX, newest = 0;
  double stale = 0.0, log_ratio = 0.0;
  bool same_weights = t->versions[0] == s->c->version;  // after a swap the keys and values of older weights stay in use
  for (size_t i = 0; i < r->seq.n_tokens; i++) {
    uint64_t made = t->versions[i];
    double lag = (double)agrl_version_age(s->c->version, made);
    stale += lag;
    if (lag > s->staleness_max) s->staleness_max = lag;
    if (made < oldest) oldest = made;
    if (made > newest) newest = made;
    double d = (double)p->logp[at + i] - (double)t->logprobs[i];
    log_ratio += d;
    if (r->guided) continue;
    s->entropy += p->entropy[at + i];
    s->entropy_n++;
    if (!same_weights) continue;
    s->diff += fabs(d);
    s->diff_n++;
    if (fabs(d) > s->diff_max) s->diff_max = fabs(d);
    if (!(fabs(d) <= row.logprob_diff)) row.logprob_diff = (float)fabs(d);
  }
  s->staleness += stale;
  s->staleness_n += r->seq.n_tokens;
  row.staleness = (float)(stale / (double)r->seq.n_tokens);
  row.ratio = (float)exp(log_ratio / (double)r->seq.n_tokens);
  row.version_span = (float)agrl_version_age(newest, oldest);
  s->st->rows[s->st->n_rows++] = row;
}

static agrl_rc train_pass(step *s, size_t from, size_t to, agrl_error *err) {
  learner_core *c = s->c;
  learner_pack *p = &c->pack;
  agrl_batch b = learner_pack_batch(p);
  uint64_t t0 = agrl_mono_ns();
  agrl_rc rc = AGRL_OK;
  const bool told = (AGRL_VERSION_STEP(c->version) + 1) % KL_EVERY == 0;
  const bool with_ref = c->reference != NULL && (s->params.kl_beta > 0.0 || s->loss->unit == 2 || told);
  if (with_ref) {
    const agrl_params ref = {.bf16 = agrl_weights_block(c->reference), .fwd = agrl_weights_matrices(c->reference)};
    rc = agrl_trainer_forward(c->trainer, &ref, &b, false, p->ref, NULL, err);
  }
  if (rc == AGRL_OK) rc = agrl_trainer_forward(c->trainer, &c->optim.served, &b, true, p->logp, p->entropy, err);
  if (rc != AGRL_OK) return rc;
  s->st->forward_seconds += agrl_since_s(t0);
  t0 = agrl_mono_ns();
  memset(p->dlogp, 0, p->n_tokens * sizeof *p->dlogp);
  learner_loss_row unit[2];
  for (size_t i = from; i < to; i += s->loss->unit) {
    for (size_t k = 0; k < s->loss->unit; k++) {
      const learner_row *r = &s->rows[i + k];
      size_t at = p->first[i + k - from];
      unit[k] = (learner_loss_row){.n = r->seq.n_tokens,
                                   .logp = p->logp + at,
                                   .old = r->member != NULL ? r->member->trace.logprobs : NULL,
                                   .ref = with_ref ? p->ref + at : NULL,
                                   .advantage = r->advantage,
                                   .weight = r->weight,
                                   .guided = r->guided,
                                   .dlogp = p->dlogp + at};
      if (r->member != NULL) observe_row(s, r, at);
    }
    s->loss->rows(&s->params, unit, &s->st->loss);
  }
  agrl_trainer_backward(c->trainer, &c->optim.served, &b, p->dlogp, c->optim.grads);
  s->st->backward_seconds += agrl_since_s(t0);
  s->st->tokens += p->n_tokens;
  s->st->sequences += p->n_seqs;
  return AGRL_OK;
}

// grpo.reference_every. A function of the version reached, so that a resume does the same.
static void refresh_reference(learner_core *c) {
  const int64_t every = c->config->grpo.reference_every;
  if (every == 0 || c->reference == NULL || AGRL_VERSION_STEP(c->version) % (uint64_t)every != 0) return;
  agrl_weights_unref(c->reference);
  c->reference = agrl_weights_new(c->layout, c->optim.bf16, c->version);
  agrl_weights_pack(c->reference, c->pool);
}

// grpo.sft_weight: one pass of reference rows, as many as the batch has groups, drawn by (seed, step).
static agrl_rc auxiliary_pass(step *s, agrl_error *err) {
  learner_core *c = s->c;
  learner_pack *p = &c->pack;
  double weight = c->config->grpo.sft_weight;
  if (weight <= 0.0 || c->sft == NULL || c->sft->n == 0) return AGRL_OK;
  agrl_rng rng;
  agrl_rng_init(&rng, (uint64_t)c->config->run.seed, (uint64_t)STREAM_AUX << 32 | AGRL_VERSION_STEP(c->version));
  learner_pack_clear(p);
  for (size_t i = 0; i < s->st->groups; i++) {
    learner_seq q = learner_sft_set_get(c->sft, agrl_rng_below(&rng, (uint32_t)c->sft->n), 0);
    if (learner_seq_fed(&q) > (size_t)c->layout->spec.context || learner_seq_fed(&q) > p->cap) s->st->dropped_bad++;
    else if (!learner_pack_add(p, &q)) break;
  }
  if (p->n_seqs == 0) return AGRL_OK;
  agrl_rc rc = learner_pack_cross_entropy(c, weight, &s->st->sft_loss, err);
  if (rc == AGRL_OK) s->st->loss.total += weight * s->st->sft_loss;
  return rc;
}

static void update(step *s) {
  const agrl_config *cfg = s->c->config;
  uint64_t t0 = agrl_mono_ns();
  learner_hyper h = {learner_lr(cfg->grpo.lr, cfg->grpo.min_lr_ratio, cfg->grpo.warmup_steps, cfg->grpo.versions,
                                (int64_t)AGRL_VERSION_STEP(s->c->version)),
                     cfg->grpo.weight_decay, cfg->grpo.beta1, cfg->grpo.beta2, cfg->grpo.eps, cfg->grpo.grad_clip};
  s->st->learning_rate = h.lr;
  s->st->applied = isfinite(s->st->loss.total) && learner_optim_step(&s->c->optim, s->c->pool, &h, &s->st->grad_norm, &s->st->clipped);
  s->st->nonfinite = !s->st->applied;
  s->c->bad_steps = s->st->applied ? 0 : s->c->bad_steps + 1;
  s->st->optim_seconds = agrl_since_s(t0);
  if (s->st->nonfinite)
    agrl_logw("step skipped: not finite version=%llu loss=%g grad_norm=%g in_a_row=%u", (unsigned long long)s->c->version,
              s->st->loss.total, s->st->grad_norm, s->c->bad_steps);
}

static void finish_stats(step *s, uint64_t t0) {
  learner_step_stats *st = s->st;
  st->staleness_mean = s->staleness_n > 0 ? s->staleness / (double)s->staleness_n : NAN;
  st->staleness_max = s->staleness_n > 0 ? s->staleness_max : NAN;
  st->entropy = s->entropy_n > 0 ? s->entropy / (double)s->entropy_n : NAN;
  st->logprob_diff_mean = s->diff_n > 0 ? s->diff / (double)s->diff_n : NAN;
  st->logprob_diff_max = s->diff_n > 0 ? s->diff_max : NAN;
  if (st->empty) st->loss.total = st->loss.policy = NAN;
  if (st->loss.reference_tokens == 0 || s->loss->unit == 2 || s->params.kl_beta == 0.0) st->loss.kl_loss = NAN;
  st->version = s->c->version;
  st->step = AGRL_VERSION_STEP(s->c->version);
  st->steps = s->c->config->grpo.versions;
  st->step_seconds = agrl_since_s(t0);
  st->tokens_per_second = (double)st->tokens / st->step_seconds;
}

agrl_rc learner_step_run(learner_core *c, const agrl_group *groups, size_t n, learner_step_stats *st, agrl_error *err) {
  uint64_t t0 = agrl_mono_ns();
  *st = (learner_step_stats){.grad_norm = NAN, .learning_rate = NAN, .sft_loss = NAN, .guide_gamma = NAN, .entropy = NAN, .wait_seconds = NAN};
  step s = {.c = c, .st = st, .loss = learner_loss_choose(c->config->run.method, c->config->grpo.ratio)};
  AGRL_ASSERT(s.loss->unit == 1 || c->reference != NULL);
  s.n = learner_select(c, groups, n, &s.rows, st);
  st->rows = agrl_xcalloc(s.n + 1, sizeof *st->rows);
  st->empty = s.n == 0;
  s.params = (learner_loss_params){.clip_low = c->config->grpo.clip_low,
                                   .clip_high = c->config->grpo.clip_high,
                                   .dual_clip = c->config->grpo.dual_clip,
                                   .tis_cap = c->config->grpo.tis_cap,
                                   .kl_beta = c->config->grpo.kl_beta,
                                   .kl_estimator = c->config->grpo.kl_estimator,
                                   .guided_loss = c->config->grpo.guided_loss,
                                   .dpo_beta = c->config->dpo.beta};
  weigh_rows(&s);
  learner_optim_zero_grads(&c->optim);
  st->load_seconds = agrl_since_s(t0);
  agrl_rc rc = find_gamma(&s, err);
  for (size_t i = 0; rc == AGRL_OK && i < s.n;) {
    size_t end = pack_from(&s, i);
    AGRL_ASSERT(end > i);  // learner_select leaves out what no pass can hold
    rc = train_pass(&s, i, end, err);
    i = end;
  }
  if (rc == AGRL_OK && !st->empty) rc = auxiliary_pass(&s, err);
  if (rc == AGRL_OK) {
    if (!st->empty) update(&s);
    c->version = AGRL_VERSION(AGRL_VERSION_EPOCH(c->version), AGRL_VERSION_STEP(c->version) + 1);
    refresh_reference(c);
    finish_stats(&s, t0);
  } else {
    learner_step_stats_release(st);
  }
  learner_rows_free(s.rows, s.n);
  return rc;
}
