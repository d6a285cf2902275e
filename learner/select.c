// SPDX-License-Identifier: Apache-2.0
// Which members train: those of groups with spread (or all, with grpo.zero_spread keep), without missing rewards, without
// guided members whose advantage is not positive (imitating a failure helps nobody), and without sequences the trainer
// cannot take. DPO: the pair that replay made of each group. Every exclusion is counted.
#include "learner/select.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "learner/advantage.h"

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

static void describe_member(const agrl_msg_scored *m, bool pairs, batch_means *b, learner_step_stats *st) {
  bool plain = m->trace.level == 0;
  st->members++;
  if (!plain) st->guided_members++;
  if (m->missing) {
    st->missing_members++;
    return;
  }
  if (pairs) return;  // one right and one wrong by choice: their means say nothing of the policy
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
    } else if (c->config->grpo.overlong == AGRL_OVERLONG_MASK && m->trace.stop == AGRL_STOP_LENGTH) {
      st->dropped_overlong++;
    } else if (r.guided && r.advantage <= 0.0) {
      st->dropped_guided++;
    } else {
      out[n++] = r;
    }
  }
  return n;
}

static bool right(const agrl_msg_scored *m) { return !m->missing && m->accurate && m->g_format && m->g_rule; }

static learner_row row_of(const agrl_msg_scored *m) {
  return (learner_row){.seq = {m->trace.prompt, m->trace.tokens, m->trace.n_prompt, m->trace.n_tokens}, .member = m, .advantage = NAN};
}

// The reference trace after the prompt of the trace that failed. False: there is none, or (counted) it cannot be trained on.
static bool reference_row(const learner_core *c, const char *prompt_id, const learner_seq *failed, learner_row *out, learner_step_stats *st) {
  learner_seq q;
  if (c->sft == NULL || !learner_sft_set_find(c->sft, prompt_id, &q)) return false;
  q.prompt = failed->prompt;
  q.n_prompt = failed->n_prompt;
  if (learner_seq_fed(&q) > (size_t)c->layout->spec.context || !ids_ok(q.tokens, q.n_tokens, c->layout->spec.vocab)) {
    st->dropped_bad++;
    return false;
  }
  int32_t *owned = agrl_xcalloc(q.n_tokens, sizeof *owned);
  memcpy(owned, q.tokens, q.n_tokens * sizeof *owned);
  q.tokens = owned;
  *out = (learner_row){.seq = q, .owned = owned};
  return true;
}

// Both rows of a pair are of one pass, or it would never be trained: an imported model may take longer sequences than a pass.
static bool pair_fits(const learner_core *c, const learner_row pair[2]) {
  const learner_seq *a = &pair[0].seq, *b = &pair[1].seq;
  const bool same = a->n_prompt == b->n_prompt && memcmp(a->prompt, b->prompt, a->n_prompt * sizeof *a->prompt) == 0;
  return learner_seq_fed(a) + (same ? b->n_tokens : learner_seq_fed(b)) <= c->pack.cap;
}

// What replay made of the group: a right and a wrong member, or a wrong one only. Anything else (groups of a run that had another
// method before) is no pair.
static size_t select_pair(const learner_core *c, const agrl_group *g, learner_row out[2], learner_step_stats *st) {
  bool own = g->n == 2 && right(&g->members[0]) && !right(&g->members[1]);
  if (!own && (g->n != 1 || right(&g->members[0]))) return 0;
  out[1] = row_of(&g->members[g->n - 1]);
  if (own) out[0] = row_of(&g->members[0]);
  if (!trainable(c, &out[1].seq, &out[1].member->trace) || (own && !trainable(c, &out[0].seq, &out[0].member->trace))) {
    st->dropped_bad++;
    return 0;
  }
  if (!own && !reference_row(c, g->prompt_id, &out[1].seq, &out[0], st)) return 0;
  if (!pair_fits(c, out)) {
    st->dropped_bad++;
    free(out[0].owned);
    return 0;
  }
  st->reference_pairs += !own;
  return 2;
}

static void count_solved(double accuracy, learner_step_stats *st) {
  if (!isfinite(accuracy)) return;
  if (accuracy >= 1.0) st->solved_all++;
  else if (accuracy <= 0.0) st->solved_none++;
  else st->solved_some++;
}

size_t learner_select(const learner_core *c, const agrl_group *groups, size_t n, learner_row **rows, learner_step_stats *st) {
  const agrl_config *cfg = c->config;
  const bool pairs = cfg->run.method == AGRL_METHOD_DPO;
  const learner_advantage_rule rule = {.mean_only = cfg->grpo.advantage == AGRL_ADVANTAGE_MEAN,
                                       .clamp = cfg->grpo.advantage_clamp,
                                       .max_tokens = cfg->actor.max_new_tokens,
                                       .soft_buffer = cfg->grpo.overlong == AGRL_OVERLONG_SOFT ? cfg->grpo.overlong_buffer : 0};
  size_t members = 0, widest = 0, kept = 0;
  for (size_t g = 0; g < n; g++) {
    members += groups[g].n;
    if (groups[g].n > widest) widest = groups[g].n;
  }
  double *advantage = agrl_xcalloc(widest + 1, sizeof *advantage);
  *rows = agrl_xcalloc(members + n + 1, sizeof **rows);  // n: reference traces
  batch_means b = {0};
  st->groups = n;
  for (size_t g = 0; g < n; g++) {
    double mu, sigma;
    bool spread = learner_advantages(&groups[g], &rule, advantage, &mu, &sigma);
    for (size_t i = 0; i < groups[g].n; i++) describe_member(&groups[g].members[i], pairs, &b, st);
    if (isfinite(sigma) && !pairs) add(&b.group_std, sigma);
    count_solved(groups[g].plain_accuracy, st);
    if (isfinite(groups[g].plain_accuracy)) add(&b.accuracy, groups[g].plain_accuracy);
    if (groups[g].level > 0) st->guided_groups++;
    if (!pairs && !spread) st->zero_groups++;
    if (!pairs && !spread && cfg->grpo.zero_spread != AGRL_ZERO_KEEP) continue;
    const size_t bad = st->dropped_bad;
    size_t got = pairs ? select_pair(c, &groups[g], *rows + kept, st) : select_group(c, &groups[g], advantage, *rows + kept, st);
    kept += got;
    if (got > 0) st->trained_groups++;
    else if (pairs && st->dropped_bad == bad) st->zero_groups++;  // no pair
    else st->filtered_groups++;
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

void learner_rows_free(learner_row *rows, size_t n) {
  for (size_t i = 0; i < n; i++) free(rows[i].owned);
  free(rows);
}
