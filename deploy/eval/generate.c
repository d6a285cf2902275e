// SPDX-License-Identifier: Apache-2.0
// A greedy trace for every row, and sampled ones where asked for, with the actors' engine and the reward service's rules.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "actor/engine.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/mem.h"
#include "common/ckpt/hf.h"
#include "common/task/task.h"
#include "common/tensor/tensor.h"
#include "common/text/bpe.h"
#include "deploy/eval/eval.h"

typedef struct run {
  const agrl_rules *rules;
  const agrl_bpe *bpe;
  const agrl_dataset *data;
  eval_item *items;
  size_t finished;
  int32_t tier_token[EVAL_TIERS];  // -1: not one token
} run;

typedef struct pending {  // a row in the engine: its greedy trace, or all its sampled ones
  size_t row, item;
  bool sampled;
  int32_t *tokens;
} pending;

static void drop(pending *p) {
  free(p->tokens);
  free(p);
}

static void on_first_logits(void *user, const actor_job *job, const float *logits) {
  run *r = user;
  const pending *p = job->user;
  eval_item *it = &r->items[p->item];
  double top = -INFINITY, sum = 0;
  if (p->sampled) return;
  it->score = NAN;
  for (int i = 0; i < EVAL_TIERS; i++) {
    it->p[i] = NAN;
    if (r->tier_token[i] < 0) return;
    top = fmax(top, (double)logits[r->tier_token[i]]);
  }
  for (int i = 0; i < EVAL_TIERS; i++) sum += it->p[i] = exp((double)logits[r->tier_token[i]] - top);
  it->score = 0;
  for (int i = 0; i < EVAL_TIERS; i++) {
    it->p[i] /= sum;
    it->score += it->p[i] * (i + 1);
  }
}

static void read_greedy(const run *r, const agrl_row *row, const agrl_reward_result *res, agrl_buf *text, size_t tokens, eval_item *it) {
  agrl_parsed parsed;
  agrl_reward_parse(r->rules, text->data, text->len, &parsed);
  it->row = row;
  it->gold = row->gold.tier;
  it->predicted = res->tier;
  it->g_format = res->g_format;
  it->g_rule = res->g_rule;
  it->consistent = parsed.agree && parsed.implied;
  it->tokens = (uint32_t)tokens;
  it->text_len = text->len;
  it->text = agrl_buf_take(text);
}

static void on_finished(void *user, const actor_job *job, const actor_rollout *o) {
  run *r = user;
  const pending *p = job->user;
  const agrl_row *row = &r->data->rows[p->row];
  eval_item *it = &r->items[p->item];
  agrl_buf text = {0};
  agrl_buf_adds(&text, "");  // data is never NULL
  agrl_bpe_decode(r->bpe, o->tokens, o->n - (o->stop == AGRL_STOP_EOS), false, &text);
  agrl_labels gold = agrl_task_labels(row);
  agrl_reward_result res;
  agrl_reward_score(r->rules, AGRL_REWARD_SHAPED, AGRL_GATE_RULE, text.data, text.len, &gold, &res);
  if (p->sampled) it->right += res.accurate;
  else read_greedy(r, row, &res, &text, o->n, it);
  agrl_buf_release(&text);
  r->finished++;
}

static void on_job_done(void *user, const actor_job *job) { drop(job->user); }

static int32_t *encode(const agrl_bpe *bpe, int32_t start_id, const char *text, size_t len, size_t *n) {
  *n = agrl_bpe_encode_prompt(bpe, start_id, text, len, NULL, 0);
  int32_t *ids = agrl_xcalloc(*n + 1, sizeof *ids);
  agrl_bpe_encode_prompt(bpe, start_id, text, len, ids, *n);
  return ids;
}

static void show_progress(const run *r, size_t total, uint64_t start_ns, bool last) {
  static uint64_t shown_ns;
  uint64_t now = agrl_mono_ns();
  if (!last && now - shown_ns < 200000000ull) return;
  shown_ns = now;
  double s = agrl_since_s(start_ns), rate = (double)r->finished / (s > 0 ? s : 1);
  fprintf(stderr, "\reval %zu/%zu  %.0f traces/s  %.0f s left   %s", r->finished, total, rate,
          rate > 0 ? (double)(total - r->finished) / rate : 0.0, last ? "\n" : "");
}

// AGRL_ELIMIT when the prompt does not fit.
static agrl_rc submit(const run *r, const eval_options *o, actor_engine *e, const agrl_layout *l, const agrl_buf *prompt, size_t row,
                      size_t item, bool sampled, agrl_error *err) {
  pending *p = agrl_xcalloc(1, sizeof *p);
  size_t n_prompt;
  *p = (pending){row, item, sampled, encode(r->bpe, l->spec.start_id, prompt->data, prompt->len, &n_prompt)};
  actor_job job = {.run_seed = o->seed, .first_member = sampled, .n_members = sampled ? (uint32_t)o->samples : 1, .group = row,
                   .prompt = p->tokens, .n_prompt = n_prompt, .max_new = o->max_new, .temperature = sampled, .top_p = 1, .user = p};
  agrl_rc rc = actor_engine_submit(e, &job, err);
  if (rc) drop(p);
  return rc;
}

static size_t row_count(const run *r, const eval_options *o) { return o->limit && o->limit < r->data->n ? o->limit : r->data->n; }

// Submits every row that fits, a window ahead of the engine, and steps until all are finished.
static agrl_rc generate_rows(run *r, const eval_options *o, actor_engine *e, const agrl_task_text *text, const agrl_layout *l, size_t *n,
                             size_t *skipped, agrl_error *err) {
  size_t total = row_count(r, o), next = 0;
  uint64_t start_ns = agrl_mono_ns();
  agrl_buf prompt = {0};
  agrl_rc rc = AGRL_OK;
  *n = *skipped = 0;
  while (!rc && (next < total || actor_engine_load(e))) {
    while (!rc && next < total && actor_engine_load(e) < 2 * o->slots) {
      size_t row = next++;
      agrl_buf_clear(&prompt);
      agrl_task_text_prompt(text, &r->data->rows[row], 0, &prompt);
      rc = submit(r, o, e, l, &prompt, row, *n, false, err);
      if (rc == AGRL_ELIMIT) {
        rc = AGRL_OK;
        ++*skipped;
        continue;
      }
      if (!rc && o->samples) rc = submit(r, o, e, l, &prompt, row, *n, true, err);
      *n += !rc;
    }
    actor_engine_step(e);
    if (o->progress && isatty(2)) show_progress(r, (total - *skipped) * (1 + o->samples), start_ns, false);
  }
  if (o->progress && isatty(2)) show_progress(r, (total - *skipped) * (1 + o->samples), start_ns, true);
  agrl_buf_release(&prompt);
  return rc;
}

// Tokens of the longest prompt and trace that fit o->context: key/value cache is reserved for every slot at this length.
static size_t context_used(const run *r, const eval_options *o, const agrl_task_text *text, const agrl_layout *l) {
  size_t limit = (size_t)l->spec.context, most = o->context < limit ? o->context : limit, total = row_count(r, o), longest = 1;
  agrl_buf prompt = {0};
  for (size_t row = 0; row < total; row++) {
    agrl_buf_clear(&prompt);
    agrl_task_text_prompt(text, &r->data->rows[row], 0, &prompt);
    size_t n = agrl_bpe_encode_prompt(r->bpe, l->spec.start_id, prompt.data, prompt.len, NULL, 0);
    if (n > longest && n + o->max_new <= most) longest = n;
  }
  agrl_buf_release(&prompt);
  return longest + o->max_new < most ? longest + o->max_new : most;
}

static agrl_rc with_engine(run *r, const eval_options *o, const agrl_task_text *text, agrl_layout *l, agrl_weights *w, size_t *n,
                           size_t *skipped, agrl_error *err) {
  agrl_pool *pool = agrl_pool_new(o->threads);
  actor_engine_hooks hooks = {on_first_logits, on_finished, on_job_done, r};
  actor_engine *e = NULL;
  agrl_rc rc = actor_engine_new(l, pool, o->slots, context_used(r, o, text, l), o->max_new, &hooks, &e, err);
  if (!rc) {
    actor_engine_set_weights(e, w);
    rc = generate_rows(r, o, e, text, l, n, skipped, err);
  }
  actor_engine_free(e);
  agrl_pool_free(pool);
  return rc;
}

static void find_tier_tokens(run *r) {
  for (int i = 0; i < EVAL_TIERS; i++) {
    char digit[2] = {(char)('1' + i), 0};
    int32_t ids[4];
    r->tier_token[i] = agrl_bpe_encode(r->bpe, digit, 1, false, ids, 4) == 1 ? ids[0] : -1;
  }
}

// A tier that the rule file does not name could never be answered, and would count as a mistake of the model.
static agrl_rc check_gold(const agrl_rules *rules, const agrl_dataset *data, const char *file, agrl_error *err) {
  const int *tiers;
  const size_t n = agrl_rules_tiers(rules, &tiers);
  for (size_t i = 0; i < data->n; i++) {
    size_t k = 0;
    while (k < n && tiers[k] != data->rows[i].gold.tier) k++;
    if (k == n) return agrl_fail(err, AGRL_EPARSE, "row %s: gold.tier is %d, which is none of the tiers of %s", data->rows[i].id, data->rows[i].gold.tier, file);
  }
  return AGRL_OK;
}

agrl_rc eval_generate(const eval_options *o, const agrl_dataset *data, eval_item *items, size_t *n, size_t *skipped,
                      uint64_t *version, agrl_error *err) {
  run r = {.data = data, .items = items};
  agrl_rules *rules = NULL;
  agrl_task_text *text = NULL;
  agrl_bpe *bpe = NULL;
  agrl_layout *layout = NULL;
  agrl_weights *weights = NULL;
  float *block = NULL;
  char *tokenizer = agrl_path_join(o->checkpoint, "tokenizer.json");
  agrl_rc rc = agrl_tensor_init(err);
  if (!rc) rc = agrl_rules_load(o->rules, &rules, err);
  if (!rc) rc = check_gold(rules, data, o->rules, err);
  if (!rc) rc = agrl_task_text_load(o->rules, &text, err);
  if (!rc) rc = agrl_bpe_load(tokenizer, &bpe, err);
  if (!rc) rc = agrl_ckpt_load(o->checkpoint, &layout, &block, version, err);
  if (!rc) {
    r.rules = rules;
    r.bpe = bpe;
    find_tier_tokens(&r);
    weights = agrl_weights_from_f32(layout, block, *version);
    agrl_block_free(block, layout->n_elements * sizeof(float));
    agrl_weights_pack(weights, NULL);
    rc = with_engine(&r, o, text, layout, weights, n, skipped, err);
  }
  agrl_weights_unref(weights);
  agrl_layout_free(layout);
  agrl_bpe_free(bpe);
  agrl_task_text_free(text);
  agrl_rules_free(rules);
  free(tokenizer);
  return rc;
}

void eval_items_release(eval_item *items, size_t n) {
  for (size_t i = 0; i < n; i++) free(items[i].text);
}
