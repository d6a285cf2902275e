// SPDX-License-Identifier: Apache-2.0
// The data of the viewer's page, collected trace by trace.
#include "deploy/ctl/traces_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/mem.h"
#include "deploy/ctl/explain.h"

#define PIECE_UNKNOWN UINT32_MAX

traces_page *traces_page_new(const traces_source *source) {
  traces_page *p = agrl_xcalloc(1, sizeof *p);
  p->source = source;
  p->vocab = agrl_bpe_vocab(source->bpe);
  p->piece_of = agrl_xcalloc(p->vocab, sizeof *p->piece_of);
  for (size_t i = 0; i < p->vocab; i++) p->piece_of[i] = PIECE_UNKNOWN;
  if (!source->data) return p;
  p->rows = agrl_xcalloc(source->data->n, sizeof *p->rows);
  for (size_t i = 0; i < source->data->n; i++) {
    const char *id = source->data->rows[i].id;
    size_t n = p->row_ids.n, k = traces_table_add(&p->row_ids, id, strlen(id));
    if (k == n) p->rows[k] = i;
  }
  return p;
}

void traces_page_free(traces_page *p) {
  if (!p) return;
  for (size_t i = 0; i < G_COLUMNS; i++) agrl_buf_release(&p->g[i]);
  for (size_t i = 0; i < T_COLUMNS; i++) agrl_buf_release(&p->t[i]);
  for (size_t i = 0; i < p->ids.n; i++) {
    free(p->prompts[i].text);
    free((char *)p->prompts[i].gold.category);
    free((char *)p->prompts[i].gold.attribute);
    for (size_t k = 0; k < p->prompts[i].n_guides; k++) free(p->prompts[i].guides[k].text);
  }
  traces_table *tables[] = {&p->ids, &p->versions, &p->explained, &p->hashes, &p->actors, &p->pieces, &p->row_ids};
  for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) traces_table_release(tables[i]);
  free(p->prompts);
  free(p->tokens);
  free(p->logprobs);
  free(p->piece_of);
  free(p->rows);
  free(p);
}

size_t traces_page_count(const traces_page *p) { return p->n_traces; }

static void put(agrl_buf *column, double v) {
  if (isfinite(v)) agrl_buf_addf(column, "%s%.10g", column->len ? "," : "", v);
  else agrl_buf_adds(column, column->len ? ",null" : "null");
}

void traces_page_group(traces_page *p, const replay_group_rec *g) {
  size_t known = p->ids.n, k = traces_table_add(&p->ids, g->prompt_id, strlen(g->prompt_id));
  if (k == p->cap_prompts) {
    p->cap_prompts = k ? 2 * k : 256;
    p->prompts = agrl_xreallocarray(p->prompts, p->cap_prompts, sizeof *p->prompts);
  }
  if (k == known) p->prompts[k] = (prompt){0};
  put(&p->g[G_ID], (double)g->id);
  put(&p->g[G_PROMPT], (double)k);
  put(&p->g[G_STATE], g->state);
  put(&p->g[G_CAUSE], g->cause);
  put(&p->g[G_ACCURACY], isfinite(g->accuracy) ? round(g->accuracy * 1e4) / 1e4 : NAN);
  put(&p->g[G_TRAINED], (double)(g->trained_version & UINT32_MAX));
  p->n_groups++;
}

// What the policy saw beyond the plain prompt at this level. NULL: the row or the templates are not here.
static char *guidance(const traces_page *p, const char *id, uint32_t level) {
  const traces_source *s = p->source;
  size_t k;
  if (!s->text || !traces_table_find(&p->row_ids, id, &k)) return NULL;
  const agrl_row *row = &s->data->rows[p->rows[k]];
  agrl_buf plain = {0}, guided = {0};
  agrl_task_text_prompt(s->text, row, 0, &plain);
  agrl_task_text_prompt(s->text, row, level, &guided);
  size_t from = 0, tail = 0;
  while (from < plain.len && from < guided.len && plain.data[from] == guided.data[from]) from++;
  while (tail < plain.len - from && tail < guided.len - from && plain.data[plain.len - 1 - tail] == guided.data[guided.len - 1 - tail]) tail++;
  char *out = agrl_xstrndup(guided.data ? guided.data + from : "", guided.len - from - tail);
  agrl_buf_release(&plain);
  agrl_buf_release(&guided);
  return out;
}

static void note_prompt(traces_page *p, size_t k, const agrl_msg_trace *t) {
  prompt *q = &p->prompts[k];
  if (!q->text) {
    agrl_buf text = {0};
    agrl_bpe_decode(p->source->bpe, t->prompt, t->n_prompt, false, &text);
    q->text = agrl_buf_take(&text);
    q->gold = (agrl_labels){.tier = t->gold.tier, .category = agrl_xstrdup(t->gold.category), .attribute = agrl_xstrdup(t->gold.attribute)};
  }
  for (size_t i = 0; i < q->n_guides; i++)
    if (q->guides[i].level == t->level) return;
  if (!t->level || q->n_guides == REPLAY_MAX_LEVELS) return;
  char *text = guidance(p, traces_table_get(&p->ids, k), t->level);
  if (text) q->guides[q->n_guides++] = (guide){t->level, text};
}

// Bytes as characters U+0000..U+00FF, so that JSON carries pieces of characters too.
static uint32_t add_piece(traces_page *p, int32_t id) {
  bool known = id >= 0 && (size_t)id < p->vocab;
  if (known && p->piece_of[id] != PIECE_UNKNOWN) return p->piece_of[id];
  agrl_buf raw = {0}, text = {0};
  if (known) agrl_bpe_decode(p->source->bpe, &id, 1, true, &raw);
  else agrl_buf_adds(&raw, "\xef\xbf\xbd");
  for (size_t i = 0; i < raw.len; i++) {
    unsigned char c = (unsigned char)raw.data[i];
    if (c == 0) c = ' ';  // tables hold C strings
    if (c < 0x80) agrl_buf_addc(&text, (char)c);
    else agrl_buf_addc(&text, (char)(0xc0 | c >> 6)), agrl_buf_addc(&text, (char)(0x80 | (c & 0x3f)));
  }
  uint32_t k = (uint32_t)traces_table_add(&p->pieces, text.data ? text.data : "", text.len);
  if (known) p->piece_of[id] = k;
  agrl_buf_release(&raw);
  agrl_buf_release(&text);
  return k;
}

static void add_tokens(traces_page *p, const agrl_msg_trace *t) {
  if (p->n_tokens + t->n_tokens > p->cap_tokens) {
    p->cap_tokens = 2 * p->cap_tokens + t->n_tokens + 4096;
    p->tokens = agrl_xreallocarray(p->tokens, p->cap_tokens, sizeof *p->tokens);
    p->logprobs = agrl_xreallocarray(p->logprobs, p->cap_tokens, sizeof *p->logprobs);
  }
  for (size_t i = 0; i < t->n_tokens; i++) {
    double lp = isfinite(t->logprobs[i]) ? fmin(fmax(-(double)t->logprobs[i], 0), 20) : 20;  // sqrt: fine near 0
    p->tokens[p->n_tokens] = add_piece(p, t->tokens[i]);
    p->logprobs[p->n_tokens++] = (uint8_t)lround(255 * sqrt(lp / 20));
  }
  agrl_buf runs = {0};
  agrl_buf_addf(&runs, "[%u", t->n_tokens ? (unsigned)(t->versions[0] & UINT32_MAX) : 0);
  for (size_t i = 1; i < t->n_tokens; i++)
    if (t->versions[i] != t->versions[i - 1]) agrl_buf_addf(&runs, ",%zu,%u", i, (unsigned)(t->versions[i] & UINT32_MAX));
  agrl_buf_addc(&runs, ']');
  put(&p->t[T_VERSIONS], (double)traces_table_add(&p->versions, runs.data, runs.len));
  agrl_buf_release(&runs);
}

// Criteria: [name, line of the rule file, points, weight, read, gold, judged]; gates: [which, counts, open, line, why]; rules: lines.
static void explain_fully(const traces_page *p, const agrl_msg_scored *s, agrl_jw *w) {
  agrl_explained e;
  agrl_reward_explain(p->source->rules, p->source->mode, p->source->gate, s->trace.text, strlen(s->trace.text), &s->trace.gold, &e);
  for (size_t i = 0; i < e.n_criteria; i++) {
    const agrl_explained_criterion *c = &e.criteria[i];
    agrl_jw_arr(w);
    agrl_jw_str(w, c->name);
    agrl_jw_i64(w, c->where);
    agrl_jw_f64(w, c->points);
    agrl_jw_f64(w, c->weight);
    agrl_jw_str(w, c->value);
    agrl_jw_str(w, c->gold);
    agrl_jw_str(w, explain_judged(c));
    agrl_jw_end_arr(w);
  }
  agrl_jw_end_arr(w);
  agrl_jw_key(w, "g");
  agrl_jw_arr(w);
  for (size_t i = 0; i < AGRL_GATES; i++) {
    const agrl_explained_gate *g = &e.gates[i];
    if (!g->listed) continue;
    agrl_jw_arr(w);
    agrl_jw_u64(w, i);
    agrl_jw_i64(w, g->counts);
    agrl_jw_i64(w, g->open);
    agrl_jw_i64(w, g->where);
    agrl_jw_str(w, g->why);
    agrl_jw_end_arr(w);
  }
  agrl_jw_end_arr(w);
  agrl_jw_key(w, "r");
  agrl_jw_arr(w);
  for (size_t i = 0; i < e.n_rules; i++) agrl_jw_i64(w, e.rules[i]);
}

// What the record alone says, of a trace that another rule file scored.
static void explain_stored(const agrl_msg_scored *s, agrl_jw *w) {
  for (size_t i = 0; i < s->n_scores; i++) {
    const agrl_score *c = &s->scores[i];
    agrl_jw_arr(w);
    agrl_jw_str(w, c->criterion);
    agrl_jw_i64(w, 0);
    agrl_jw_f64(w, c->missing ? 0 : c->weight * c->value);
    agrl_jw_f64(w, c->weight);
    agrl_jw_str(w, "");
    agrl_jw_str(w, "");
    agrl_jw_str(w, c->missing ? c->cause : c->value >= 1 ? "equal" : c->value > 0 ? "adjacent" : "different");
    agrl_jw_end_arr(w);
  }
  agrl_jw_end_arr(w);
  agrl_jw_key(w, "g");
  agrl_jw_arr(w);
  agrl_jw_end_arr(w);
  agrl_jw_key(w, "r");
  agrl_jw_arr(w);
}

static size_t explain(traces_page *p, const agrl_msg_scored *s) {
  agrl_buf out = {0};
  agrl_jw w;
  agrl_jw_init(&w, &out);
  agrl_jw_obj(&w);
  agrl_jw_key(&w, "c");
  agrl_jw_arr(&w);
  if (p->source->rules && !strcmp(agrl_rules_hash(p->source->rules), s->rules_hash)) explain_fully(p, s, &w);
  else explain_stored(s, &w);
  agrl_jw_end_arr(&w);
  agrl_jw_end_obj(&w);
  size_t k = traces_table_add(&p->explained, out.data, out.len);
  agrl_buf_release(&out);
  return k;
}

void traces_page_trace(traces_page *p, const replay_group_rec *g, const agrl_msg_scored *s) {
  const agrl_msg_trace *t = &s->trace;
  bool chosen = false;
  for (size_t i = 0; i < g->n_chosen; i++) chosen |= g->chosen[i] == t->id.member;
  note_prompt(p, traces_table_add(&p->ids, g->prompt_id, strlen(g->prompt_id)), t);
  put(&p->t[T_GROUP], (double)p->n_groups - 1);
  put(&p->t[T_MEMBER], t->id.member);
  put(&p->t[T_LEVEL], t->level);
  put(&p->t[T_TIER], s->tier);
  put(&p->t[T_REWARD], s->missing ? NAN : round(s->reward * 1e4));
  put(&p->t[T_FLAGS], s->g_format | s->g_rule << 1 | s->accurate << 2 | chosen << 3 | s->missing << 4);
  put(&p->t[T_TOKENS], (double)t->n_tokens);
  add_tokens(p, t);
  put(&p->t[T_EXPLAINED], (double)explain(p, s));
  put(&p->t[T_HASH], (double)traces_table_add(&p->hashes, s->rules_hash, strlen(s->rules_hash)));
  put(&p->t[T_STOP], t->stop <= AGRL_STOP_ERROR ? t->stop : AGRL_STOP_ERROR);
  put(&p->t[T_ACTOR], (double)traces_table_add(&p->actors, t->actor, strlen(t->actor)));
  put(&p->t[T_MS], t->generation_ms);
  p->n_traces++;
}
