// SPDX-License-Identifier: Apache-2.0
// Which members train: those of groups with spread (or all, with grpo.zero_spread keep), without missing rewards, without
// guided members whose advantage is not positive (imitating a failure helps nobody), and without sequences the trainer
// cannot take. Every exclusion is counted.
#include "learner/select.h"

#include <math.h>
#include <stdlib.h>

#include "common/base/mem.h"

static const float LOGPROB_SLACK = 1e-3f;  // rounding may leave a certain token slightly above 0

typedef struct mean {
  double sum;
  size_t n;
} mean;

static void add(mean *m, double v) {
  m->sum += v;
  m->n++;
}

static double value(const mean *m) { return m->n > 0 ? m->sum / (double)m->n : NAN; }

static bool ids_ok(const int32_t *ids, size_t n, int32_t vocab) {
  for (size_t i = 0; i < n; i++)
    if (ids[i] < 0 || ids[i] >= vocab) return false;
  return true;
}

static bool trainable(const learner_core *c, const learner_seq *s, const agrl_msg_trace *t) {
  if (s->n_prompt == 0 || s->n_tokens == 0) return false;
  size_t fed = learner_seq_fed(s);
  if (fed > (size_t)c->layout->spec.context || fed > c->pack.cap) return false;
  for (size_t i = 0; i < s->n_tokens; i++)
    if (!isfinite(t->logprobs[i]) || t->logprobs[i] > LOGPROB_SLACK) return false;
  return ids_ok(s->prompt, s->n_prompt, c->layout->spec.vocab) && ids_ok(s->tokens, s->n_tokens, c->layout->spec.vocab);
}

typedef struct batch_means {
  mean reward, plain_reward, group_std, accuracy, format, rule, completion;
} batch_means;

static void describe_member(const agrl_msg_scored *m, batch_means *b, learner_step_stats *st) {
  bool plain = m->trace.level == 0;
  st->members++;
  if (!plain) st->guided_members++;
  if (m->missing) {
    st->missing_members++;
    return;
  }
  add(&b->reward, m->reward);
  if (!plain) return;
  add(&b->plain_reward, m->reward);
  add(&b->format, m->g_format);
  add(&b->rule, m->g_rule);
  add(&b->completion, (double)m->trace.n_tokens);
}

static size_t select_group(const learner_core *c, const agrl_group *g, const double *advantage, learner_row *out, learner_step_stats *st) {
  size_t n = 0;
  for (size_t i = 0; i < g->n; i++) {
    const agrl_msg_scored *m = &g->members[i];
    if (m->missing || !isfinite(m->reward)) continue;
    learner_row r = {.seq = {m->trace.prompt, m->trace.tokens, m->trace.n_prompt, m->trace.n_tokens},
                     .member = m,
                     .advantage = advantage[i],
                     .guided = m->trace.level > 0};
    if (!trainable(c, &r.seq, &m->trace)) {
      st->dropped_bad++;
    } else if (r.guided && r.advantage <= 0.0) {
      st->dropped_guided++;
    } else {
      out[n++] = r;
    }
  }
  return n;
}

static void count_solved(double accuracy, learner_step_stats *st) {
  if (!isfinite(accuracy)) return;
  if (accuracy >= 1.0) st->solved_all++;
  else if (accuracy <= 0.0) st->solved_none++;
  else st->solved_some++;
}

size_t learner_select(const learner_core *c, const agrl_group *groups, size_t n, learner_row **rows, learner_step_stats *st) {
  size_t members = 0, widest = 0, kept = 0;
  for (size_t g = 0; g < n; g++) {
    members += groups[g].n;
    if (groups[g].n > widest) widest = groups[g].n;
  }
  double *advantage = agrl_xcalloc(widest + 1, sizeof *advantage);
  *rows = agrl_xcalloc(members + 1, sizeof **rows);
  batch_means b = {0};
  st->groups = n;
  for (size_t g = 0; g < n; g++) {
    double mu, sigma;
    bool spread = learner_advantages(&groups[g], c->config->grpo.advantage_clamp, advantage, &mu, &sigma);
    for (size_t i = 0; i < groups[g].n; i++) describe_member(&groups[g].members[i], &b, st);
    if (isfinite(sigma)) add(&b.group_std, sigma);
    count_solved(groups[g].plain_accuracy, st);
    if (isfinite(groups[g].plain_accuracy)) add(&b.accuracy, groups[g].plain_accuracy);
    if (groups[g].level > 0) st->guided_groups++;
    if (!spread) st->zero_groups++;
    if (!spread && c->config->grpo.zero_spread != AGRL_ZERO_KEEP) continue;
    size_t got = select_group(c, &groups[g], advantage, *rows + kept, st);
    kept += got;
    if (got > 0) st->trained_groups++;
  }
  free(advantage);
  st->reward_mean = value(&b.reward);
  st->reward_plain_mean = value(&b.plain_reward);
  st->reward_std = value(&b.group_std);
  st->accuracy = value(&b.accuracy);
  st->format_rate = value(&b.format);
  st->rule_rate = value(&b.rule);
  st->completion_mean = value(&b.completion);
  return kept;
}
