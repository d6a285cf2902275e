// SPDX-License-Identifier: Apache-2.0
// Explanations as three small tables: lines, criteria, gates; and the same as JSON.
#include "deploy/ctl/explain.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"

const char *explain_mode_name(int mode) { return mode == AGRL_REWARD_SPARSE ? "sparse" : "shaped"; }

const char *explain_gate_name(int gate) {
  static const char *const names[] = {"none", "rule", "outcome", "both"};
  return names[gate];
}

double explain_earned(const agrl_explained *e) {
  double sum = 0;
  for (size_t i = 0; i < e->n_criteria; i++) sum += e->criteria[i].points;
  return sum;
}

const char *explain_judged(const agrl_explained_criterion *k) {
  return k->judged == AGRL_JUDGED_SKIPPED && *k->gold ? "left out in this mode" : agrl_judged_text(k->judged);
}

// Pads with blanks to column `width` of what was added since `from`, counting characters; at least one blank.
static void pad(agrl_buf *out, size_t from, size_t width) {
  size_t n = 0;
  for (size_t i = from; i < out->len; i++) n += ((unsigned char)out->data[i] & 0xc0) != 0x80;
  do agrl_buf_addc(out, ' ');
  while (++n < width);
}

static void text_lines(const explain_context *c, const agrl_explained *e, agrl_buf *out) {
  agrl_buf_adds(out, "lines\n");
  for (size_t i = 0; i < e->n_lines; i++) {
    const agrl_explained_line *l = &e->lines[i];
    size_t from = out->len;
    agrl_buf_addf(out, "  %2zu  ", i + 1);
    agrl_buf_add_visible(out, l->text.s, l->text.n);
    pad(out, from, 54);
    if (!l->part) agrl_buf_adds(out, "none of the parts");
    else if (l->problem) agrl_buf_addf(out, "%s %s", l->part, l->problem);
    else agrl_buf_addf(out, "%s", l->part);
    if (l->where) {
      pad(out, from, 84);
      agrl_buf_addf(out, "%s:%d", c->file, l->where);
    }
    agrl_buf_addc(out, '\n');
  }
  for (size_t i = 0; i < e->n_absent; i++) {
    size_t from = out->len;
    agrl_buf_addf(out, "   -");
    pad(out, from, 54);
    agrl_buf_addf(out, "%s is missing", e->absent[i].part);
    pad(out, from, 84);
    agrl_buf_addf(out, "%s:%d\n", c->file, e->absent[i].where);
  }
}

static void text_criteria(const explain_context *c, const agrl_explained *e, agrl_buf *out) {
  agrl_buf_adds(out, "criteria\n");
  for (size_t i = 0; i < e->n_criteria; i++) {
    const agrl_explained_criterion *k = &e->criteria[i];
    size_t from = out->len;
    agrl_buf_addf(out, "  %-14s %6.3f of %-6.3g %s: read ", k->name, k->points, k->weight, explain_judged(k));
    agrl_buf_add_visible(out, *k->value ? k->value : "nothing", *k->value ? strlen(k->value) : 7);
    agrl_buf_adds(out, *k->gold ? ", gold " : ", gold has no label");
    agrl_buf_add_visible(out, k->gold, strlen(k->gold));
    pad(out, from, 84);
    agrl_buf_addf(out, "%s:%d\n", c->file, k->where);
  }
}

static void text_gates(const explain_context *c, const agrl_explained *e, agrl_buf *out) {
  agrl_buf_adds(out, "gates\n");
  for (size_t i = 0; i < AGRL_GATES; i++) {
    const agrl_explained_gate *g = &e->gates[i];
    if (!g->listed) continue;
    size_t from = out->len;
    agrl_buf_addf(out, "  %-8s %s", g->name, g->open ? "open" : "closed");
    if (!g->counts) agrl_buf_adds(out, ", does not count here");
    if (!g->open) agrl_buf_addf(out, ": %s", g->why);
    if (i == AGRL_GATE_AT_TABLE && g->open)
      for (size_t k = 0; k < e->n_rules; k++) agrl_buf_addf(out, "%s%s:%d", k ? ", " : " by ", c->file, e->rules[k]);
    if (!g->open && i != AGRL_GATE_AT_TABLE && i != AGRL_GATE_AT_OUTCOME) {
      pad(out, from, 84);
      agrl_buf_addf(out, "%s:%d", c->file, g->where);
    }
    agrl_buf_addc(out, '\n');
  }
}

void explain_text(const explain_context *c, const agrl_explained *e, agrl_buf *out) {
  text_lines(c, e, out);
  text_criteria(c, e, out);
  text_gates(c, e, out);
  const agrl_explained_gate *closed = agrl_explained_closed(e);
  if (e->result.missing) agrl_buf_addf(out, "reward missing: %s\n", e->result.cause);
  else if (closed) agrl_buf_addf(out, "reward 0: gate %s is closed; the criteria would give %.3f\n", closed->name, explain_earned(e));
  else agrl_buf_addf(out, "reward %.3f\n", e->result.reward);
}

static void put_place(const explain_context *c, agrl_jw *w, const char *key, int where) {
  char *place = where ? agrl_xasprintf("%s:%d", c->file, where) : NULL;
  agrl_jw_key(w, key);
  if (place) agrl_jw_str(w, place);
  else agrl_jw_null(w);
  free(place);
}

static void json_lines(const explain_context *c, const agrl_explained *e, agrl_jw *w) {
  agrl_jw_key(w, "lines");
  agrl_jw_arr(w);
  for (size_t i = 0; i < e->n_lines; i++) {
    const agrl_explained_line *l = &e->lines[i];
    agrl_jw_obj(w);
    agrl_jw_key(w, "text");
    agrl_jw_strn(w, l->text.s, l->text.n);
    agrl_jw_key(w, "part");
    if (l->part) agrl_jw_str(w, l->part);
    else agrl_jw_null(w);
    put_place(c, w, "rule", l->where);
    agrl_jw_key(w, "value");
    agrl_jw_strn(w, l->value.s, l->value.n);
    agrl_jw_key(w, "problem");
    if (l->problem) agrl_jw_str(w, l->problem);
    else agrl_jw_null(w);
    agrl_jw_end_obj(w);
  }
  agrl_jw_end_arr(w);
  agrl_jw_key(w, "absent");
  agrl_jw_arr(w);
  for (size_t i = 0; i < e->n_absent; i++) {
    agrl_jw_obj(w);
    agrl_jw_kstr(w, "part", e->absent[i].part);
    put_place(c, w, "rule", e->absent[i].where);
    agrl_jw_end_obj(w);
  }
  agrl_jw_end_arr(w);
}

static void json_criteria(const explain_context *c, const agrl_explained *e, agrl_jw *w) {
  agrl_jw_key(w, "criteria");
  agrl_jw_arr(w);
  for (size_t i = 0; i < e->n_criteria; i++) {
    const agrl_explained_criterion *k = &e->criteria[i];
    agrl_jw_obj(w);
    agrl_jw_kstr(w, "name", k->name);
    agrl_jw_kstr(w, "part", k->part);
    put_place(c, w, "rule", k->where);
    agrl_jw_kstr(w, "read", k->value);
    agrl_jw_kstr(w, "gold", k->gold);
    agrl_jw_kstr(w, "judged", explain_judged(k));
    agrl_jw_kf64(w, "weight", k->weight);
    agrl_jw_kf64(w, "points", k->points);
    agrl_jw_end_obj(w);
  }
  agrl_jw_end_arr(w);
}

static void json_gates(const explain_context *c, const agrl_explained *e, agrl_jw *w) {
  agrl_jw_key(w, "gates");
  agrl_jw_arr(w);
  for (size_t i = 0; i < AGRL_GATES; i++) {
    const agrl_explained_gate *g = &e->gates[i];
    if (!g->listed) continue;
    agrl_jw_obj(w);
    agrl_jw_kstr(w, "name", g->name);
    agrl_jw_kbool(w, "counts", g->counts);
    agrl_jw_kbool(w, "open", g->open);
    put_place(c, w, "rule", g->where);
    agrl_jw_kstr(w, "why", g->why);
    agrl_jw_end_obj(w);
  }
  agrl_jw_end_arr(w);
  agrl_jw_key(w, "matched_rules");
  agrl_jw_arr(w);
  for (size_t k = 0; k < e->n_rules; k++) {
    char *place = agrl_xasprintf("%s:%d", c->file, e->rules[k]);
    agrl_jw_str(w, place);
    free(place);
  }
  agrl_jw_end_arr(w);
}

void explain_json(const explain_context *c, const agrl_explained *e, agrl_jw *w) {
  const agrl_explained_gate *closed = agrl_explained_closed(e);
  agrl_jw_obj(w);
  agrl_jw_kstr(w, "mode", explain_mode_name(c->mode));
  agrl_jw_kstr(w, "gate", explain_gate_name(c->gate));
  agrl_jw_key(w, "gold");
  agrl_jw_obj(w);
  agrl_jw_ku64(w, "tier", c->gold.tier);
  agrl_jw_kstr(w, "category", c->gold.category);
  agrl_jw_kstr(w, "attribute", c->gold.attribute);
  agrl_jw_end_obj(w);
  json_lines(c, e, w);
  json_criteria(c, e, w);
  json_gates(c, e, w);
  agrl_jw_kf64(w, "earned", explain_earned(e));
  agrl_jw_kf64(w, "reward", e->result.missing ? NAN : e->result.reward);
  agrl_jw_kstr(w, "missing", e->result.cause);
  agrl_jw_key(w, "closed");
  if (closed) agrl_jw_str(w, closed->name);
  else agrl_jw_null(w);
  agrl_jw_end_obj(w);
}
