// SPDX-License-Identifier: Apache-2.0
// Texts: queries and titles from templates, and the reference trace. Slots: {a} wanted values, {n} category, {x} what
// is not wanted, {q} need, {k} property, {b} brand, {v} a product's values, {f} filler words. Empty slots take their
// space along.
#include <string.h>

#include "common/base/bug.h"
#include "deploy/data/world.h"

typedef struct query_template {
  data_kind kind;
  bool held_out;  // eval only
  const char *text;
} query_template;

static const query_template query_templates[] = {
    {DATA_PLAIN, false, "{a} {n}"},
    {DATA_PLAIN, false, "{n} {a}"},
    {DATA_PLAIN, false, "buy {a} {n}"},
    {DATA_PLAIN, false, "best {a} {n}"},
    {DATA_PLAIN, false, "cheap {a} {n}"},
    {DATA_PLAIN, false, "{a} {n} sale"},
    {DATA_PLAIN, false, "i want {a} {n}"},
    {DATA_PLAIN, false, "good {n} {a}"},
    {DATA_PLAIN, false, "find {a} {n}"},
    {DATA_PLAIN, true, "i need good {a} {n}"},
    {DATA_PLAIN, true, "find cheap {n} {a}"},
    {DATA_NEGATION, false, "{a} {n} without {x}"},
    {DATA_NEGATION, false, "{x} free {a} {n}"},
    {DATA_NEGATION, false, "{a} {n} no {x}"},
    {DATA_NEGATION, false, "{a} {n} not {x}"},
    {DATA_NEGATION, false, "non {x} {a} {n}"},
    {DATA_NEGATION, false, "{a} {n} but no {x}"},
    {DATA_NEGATION, false, "no {x} {a} {n}"},
    {DATA_NEGATION, false, "{n} {a} except {x}"},
    {DATA_NEGATION, false, "i want {a} {n} , not {x}"},
    {DATA_NEGATION, true, "{n} {a} without any {x}"},
    {DATA_NEGATION, true, "need {n} , no {x} {a}"},
    {DATA_ALTERNATIVES, false, "{b} {a} {n} alternatives"},
    {DATA_ALTERNATIVES, false, "alternatives to {b} {a} {n}"},
    {DATA_ALTERNATIVES, false, "{a} {n} like {b}"},
    {DATA_ALTERNATIVES, false, "similar to {b} {n} {a}"},
    {DATA_ALTERNATIVES, false, "{a} {n} other than {b}"},
    {DATA_ALTERNATIVES, false, "{a} {n} instead of {b}"},
    {DATA_ALTERNATIVES, false, "{b} {n} dupe {a}"},
    {DATA_ALTERNATIVES, false, "not {b} {a} {n}"},
    {DATA_ALTERNATIVES, true, "{a} {n} alternatives to {b}"},
    {DATA_ALTERNATIVES, true, "instead of {b} {n} {a}"},
    {DATA_QUESTION, false, "which {a} {n} {q}"},
    {DATA_QUESTION, false, "what {a} {n} {q}"},
    {DATA_QUESTION, false, "is there {a} {n} that {q}"},
    {DATA_QUESTION, false, "which is {a} {n} that {q}"},
    {DATA_QUESTION, false, "what {q} , {a} {n}"},
    {DATA_QUESTION, false, "do you sell {a} {n} that {q}"},
    {DATA_QUESTION, true, "do you sell {n} which {q} {a}"},
    {DATA_QUESTION, true, "is there something that {q} , {a} {n}"},
    {DATA_KNOWLEDGE, false, "{a} {n} that {k}"},
    {DATA_KNOWLEDGE, false, "{n} {a} , {k}"},
    {DATA_KNOWLEDGE, false, "i want {a} {n} that {k}"},
    {DATA_KNOWLEDGE, false, "need {a} {n} , it {k}"},
    {DATA_KNOWLEDGE, false, "best {a} {n} , it {k}"},
    {DATA_KNOWLEDGE, false, "something that {k} , {a} {n}"},
    {DATA_KNOWLEDGE, true, "good {n} {a} that {k}"},
    {DATA_KNOWLEDGE, true, "find {a} {n} , it {k}"},
};

static const struct title_template {
  bool held_out;
  const char *text;
} title_templates[] = {
    {false, "{b} {v} {n}"},     {false, "{b} {n} {v}"},       {false, "{b} {f} {n} {v}"}, {false, "{v} {n} by {b}"},
    {false, "{n} {b} {v}"},     {false, "{f} {v} {n} {b}"},   {false, "{b} {n} - {v}"},   {false, "{n} , {v} , {b}"},
    {false, "{b} {v} {n} {f}"}, {true, "{f} {n} {v} by {b}"}, {true, "{b} {f} {v} {n}"},
};

enum {
  n_query_templates = sizeof query_templates / sizeof query_templates[0],
  n_title_templates = sizeof title_templates / sizeof title_templates[0]
};

static const char *const fillers[] = {"new", "premium", "classic", "pro", "deluxe", "original", "set", "2 pack"};

bool data_query_template_held(size_t at) { return query_templates[at].held_out; }
bool data_title_template_held(size_t at) { return title_templates[at].held_out; }

size_t data_pick_query_template(agrl_rng *r, data_kind kind, size_t n_wanted, bool held_out) {
  size_t fits[n_query_templates], n = 0;
  for (size_t i = 0; i < n_query_templates; i++) {
    if (query_templates[i].kind == kind && query_templates[i].held_out == held_out) fits[n++] = i;
  }
  AGRL_ASSERT(n > 0 && n_wanted <= data_max_wanted);
  return fits[agrl_rng_below(r, (uint32_t)n)];
}

size_t data_pick_title_template(agrl_rng *r, bool held_out) {
  for (;;) {
    size_t i = agrl_rng_below(r, n_title_templates);
    if (title_templates[i].held_out == held_out) return i;
  }
}

static const char *say(agrl_rng *r, const data_forms *f, size_t synonyms) {
  if (f->n == 1 || agrl_rng_below(r, 100) >= synonyms) return f->text[0];
  return f->text[1 + agrl_rng_below(r, (uint32_t)f->n - 1)];
}

static void shuffle(agrl_rng *r, int *v, size_t n) {
  for (size_t i = n; i > 1; i--) {
    size_t k = agrl_rng_below(r, (uint32_t)i);
    int t = v[i - 1];
    v[i - 1] = v[k];
    v[k] = t;
  }
}

static void add_word(agrl_buf *out, const char *s) {
  if (out->len > 0 && out->data[out->len - 1] != ' ') agrl_buf_addc(out, ' ');
  agrl_buf_adds(out, s);
}

static void say_query_slot(agrl_rng *r, size_t synonyms, const data_query *q, char slot, agrl_buf *out) {
  const data_world *w = data_world_get();
  int order[data_max_wanted] = {0};
  switch (slot) {
    case 'a':
      memcpy(order, q->wanted, sizeof order);
      shuffle(r, order, q->n_wanted);
      for (size_t i = 0; i < q->n_wanted; i++) add_word(out, say(r, &w->values[order[i]].forms, synonyms));
      break;
    case 'n': add_word(out, say(r, &w->leaves[q->leaf].forms, synonyms)); break;
    case 'x': add_word(out, say(r, &w->values[q->not_value].forms, synonyms)); break;
    case 'q': add_word(out, say(r, &w->values[q->need].needs, 50)); break;
    case 'k': add_word(out, say(r, &w->properties[q->property].phrases, 50)); break;
    case 'b': add_word(out, w->brands[q->not_brand]); break;
    default: AGRL_BUG("query template slot {%c}", slot);
  }
}

static void say_values(agrl_rng *r, size_t synonyms, const data_product *p, agrl_buf *out) {
  const data_world *w = data_world_get();
  for (size_t i = 0; i < p->n_values; i++) {
    const data_value *v = &w->values[p->values[i]];
    if (w->types[v->type].ingredient) add_word(out, "with");
    add_word(out, say(r, &v->forms, synonyms));
  }
  if (p->free_of < 0) return;
  add_word(out, say(r, &w->values[p->free_of].forms, synonyms));
  add_word(out, "free");
}

static void say_title_slot(agrl_rng *r, size_t synonyms, const data_product *p, char slot, agrl_buf *out) {
  const data_world *w = data_world_get();
  switch (slot) {
    case 'b': add_word(out, w->brands[p->brand]); break;
    case 'n': add_word(out, say(r, &w->leaves[p->leaf].forms, synonyms)); break;
    case 'v': say_values(r, synonyms, p, out); break;
    case 'f': add_word(out, fillers[agrl_rng_below(r, sizeof fillers / sizeof fillers[0])]); break;
    default: AGRL_BUG("title template slot {%c}", slot);
  }
}

void data_render_query(agrl_rng *r, size_t synonyms, const data_query *q, agrl_buf *out) {
  for (const char *s = query_templates[q->template_at].text; *s != '\0'; s += strcspn(s, " "), s += *s == ' ') {
    char word[32] = "";
    if (*s == '{') say_query_slot(r, synonyms, q, s[1], out);
    else add_word(out, strncpy(word, s, strcspn(s, " ")));
  }
}

void data_render_title(agrl_rng *r, size_t synonyms, const data_product *p, agrl_buf *out) {
  for (const char *s = title_templates[p->template_at].text; *s != '\0'; s += strcspn(s, " "), s += *s == ' ') {
    char word[32] = "";
    if (*s == '{') say_title_slot(r, synonyms, p, s[1], out);
    else add_word(out, strncpy(word, s, strcspn(s, " ")));
  }
}

size_t data_wanted_names(const data_query *q, const char *out[data_max_wanted + 2]) {
  const data_world *w = data_world_get();
  size_t n = 0;
  for (size_t i = 0; i < q->n_wanted; i++) out[n++] = w->values[q->wanted[i]].forms.text[0];
  if (q->need >= 0) out[n++] = w->values[q->need].forms.text[0];
  if (q->property >= 0) out[n++] = w->properties[q->property].name;
  return n;
}

size_t data_unwanted_names(const data_query *q, const char *out[data_max_wanted + 2]) {
  const data_world *w = data_world_get();
  size_t n = 0;
  if (q->not_value >= 0) out[n++] = w->values[q->not_value].forms.text[0];
  if (q->not_brand >= 0) out[n++] = w->brands[q->not_brand];
  return n;
}

static void add_list(agrl_buf *out, const char *label, const char *const *names, size_t n) {
  for (size_t i = 0; i < n; i++) agrl_buf_addf(out, "%s%s", i == 0 ? label : ", ", names[i]);
}

void data_render_reference(const data_query *q, const data_product *p, const data_gold *g, agrl_buf *out) {
  const data_world *w = data_world_get();
  const char *names[data_max_shown + 2];
  agrl_buf_addf(out, "%d\n[Query] %s", g->tier, w->leaves[q->leaf].forms.text[0]);
  add_list(out, "; must: ", names, data_wanted_names(q, names));
  add_list(out, "; not: ", names, data_unwanted_names(q, names));
  size_t n = 0;
  if (q->not_brand >= 0) names[n++] = w->brands[p->brand];
  for (size_t i = 0; i < p->n_values; i++) names[n++] = w->values[p->values[i]].forms.text[0];
  agrl_buf_addf(out, "\n[Product] %s", w->leaves[p->leaf].forms.text[0]);
  add_list(out, "; ", names, n);
  if (p->free_of >= 0) agrl_buf_addf(out, ", no %s", w->values[p->free_of].forms.text[0]);
  agrl_buf_addf(out, "\n[Category] %s\n[Attribute] %s\n[Verdict] %d", data_category_names[g->category],
                data_attribute_names[g->attribute], g->tier);
}
