// SPDX-License-Identifier: Apache-2.0
// The viewer's page around its data. Members of the JSON object have names of one letter where there is one of them a trace or
// a group; page/traces.js is their only reader.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/mem.h"
#include "deploy/ctl/html.h"
#include "deploy/ctl/traces_impl.h"

extern const char page_traces_html[], page_traces_css[], page_traces_js[];

static const char *const g_names[G_COLUMNS] = {"id", "p", "s", "c", "a", "v"};
static const char *const t_names[T_COLUMNS] = {"g", "m", "l", "t", "r", "f", "n", "v", "x", "h", "s", "a", "d"};

static void key(agrl_buf *out, const char *name) { agrl_buf_addf(out, "%s\"%s\":", out->data[out->len - 1] == '{' ? "" : ",", name); }

static void columns(agrl_buf *out, const char *name, const char *const *names, const agrl_buf *columns, size_t n) {
  key(out, name);
  agrl_buf_addc(out, '{');
  for (size_t i = 0; i < n; i++) {
    key(out, names[i]);
    agrl_buf_addf(out, "[%s]", columns[i].len ? columns[i].data : "");
  }
  agrl_buf_addc(out, '}');
}

// A table whose texts are JSON already, or plain ones.
static void table(agrl_buf *out, const char *name, const traces_table *t, bool json) {
  key(out, name);
  agrl_buf_addc(out, '[');
  for (size_t i = 0; i < t->n; i++) {
    if (i) agrl_buf_addc(out, ',');
    agrl_jw w;
    agrl_jw_init(&w, out);
    if (json) agrl_buf_adds(out, traces_table_get(t, i));
    else agrl_jw_str(&w, traces_table_get(t, i));
  }
  agrl_buf_addc(out, ']');
}

static void base64(agrl_buf *out, const char *name, const uint8_t *s, size_t n) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  key(out, name);
  agrl_buf_addc(out, '"');
  agrl_buf_reserve(out, n / 3 * 4 + 8);
  for (size_t i = 0; i < n; i += 3) {
    uint32_t v = (uint32_t)s[i] << 16 | (i + 1 < n ? (uint32_t)s[i + 1] << 8 : 0) | (i + 2 < n ? s[i + 2] : 0);
    agrl_buf_addc(out, digits[v >> 18]);
    agrl_buf_addc(out, digits[v >> 12 & 63]);
    agrl_buf_addc(out, i + 1 < n ? digits[v >> 6 & 63] : '=');
    agrl_buf_addc(out, i + 2 < n ? digits[v & 63] : '=');
  }
  agrl_buf_addc(out, '"');
}

static void write_tokens(const traces_page *p, agrl_buf *out) {
  bool wide = p->pieces.n > UINT16_MAX;
  size_t width = wide ? 4 : 2;
  uint8_t *le = agrl_xmalloc(p->n_tokens * width + 1);
  for (size_t i = 0; i < p->n_tokens; i++)
    for (size_t b = 0; b < width; b++) le[i * width + b] = (uint8_t)(p->tokens[i] >> (8 * b));
  key(out, "wide");
  agrl_buf_adds(out, wide ? "true" : "false");
  base64(out, "tokens", le, p->n_tokens * width);
  base64(out, "logprobs", p->logprobs, p->n_tokens);
  free(le);
}

static void write_prompts(const traces_page *p, agrl_jw *w) {
  agrl_jw_key(w, "p");
  agrl_jw_arr(w);
  for (size_t i = 0; i < p->ids.n; i++) {
    const prompt *q = &p->prompts[i];
    agrl_jw_obj(w);
    agrl_jw_kstr(w, "id", traces_table_get(&p->ids, i));
    agrl_jw_kstr(w, "text", q->text ? q->text : "");
    agrl_jw_key(w, "gold");
    agrl_jw_arr(w);
    agrl_jw_u64(w, q->gold.tier);
    agrl_jw_str(w, q->text ? q->gold.category : "");
    agrl_jw_str(w, q->text ? q->gold.attribute : "");
    agrl_jw_end_arr(w);
    agrl_jw_key(w, "guide");
    agrl_jw_obj(w);
    for (size_t k = 0; k < q->n_guides; k++) {
      char level[16];
      snprintf(level, sizeof level, "%u", q->guides[k].level);
      agrl_jw_kstr(w, level, q->guides[k].text);
    }
    agrl_jw_end_obj(w);
    agrl_jw_end_obj(w);
  }
  agrl_jw_end_arr(w);
}

static void write_rules(const traces_page *p, agrl_jw *w) {
  const traces_source *s = p->source;
  const int *tiers;
  size_t n = s->rules ? agrl_rules_tiers(s->rules, &tiers) : 0;
  agrl_jw_key(w, "tiers");
  agrl_jw_obj(w);
  for (size_t i = 0; i < n; i++) {
    char digit[2] = {(char)('0' + tiers[i]), 0};
    agrl_jw_kstr(w, digit, agrl_rules_tier_name(s->rules, tiers[i]));
  }
  agrl_jw_end_obj(w);
  agrl_jw_key(w, "rules");
  agrl_jw_obj(w);
  agrl_jw_kstr(w, "file", s->rules ? agrl_rules_file(s->rules) : "");
  agrl_jw_key(w, "lines");
  agrl_jw_arr(w);
  for (const char *at = s->rules && s->rules_text ? s->rules_text : ""; *at;) {
    size_t len = strcspn(at, "\n");
    agrl_jw_strn(w, at, len);
    at += len + (at[len] == '\n');
  }
  agrl_jw_end_arr(w);
  agrl_jw_end_obj(w);
}

static void write_names(agrl_jw *w) {
  agrl_jw_key(w, "states");
  agrl_jw_arr(w);
  for (uint32_t i = 0; i < REPLAY_STATE_N; i++) agrl_jw_str(w, replay_state_name(i));
  agrl_jw_end_arr(w);
  agrl_jw_key(w, "causes");
  agrl_jw_arr(w);
  for (uint32_t i = 0; i < REPLAY_CAUSE_N; i++) agrl_jw_str(w, replay_cause_name(i));
  agrl_jw_end_arr(w);
  agrl_jw_key(w, "stops");
  agrl_jw_arr(w);
  agrl_jw_str(w, "ended");
  agrl_jw_str(w, "cut at the limit");
  agrl_jw_str(w, "error");
  agrl_jw_end_arr(w);
}

void traces_page_write(traces_page *p, agrl_buf *html) {
  agrl_buf out = {0};
  agrl_jw w;
  agrl_jw_init(&w, &out);
  agrl_jw_obj(&w);
  agrl_jw_kstr(&w, "about", p->source->about);
  agrl_jw_ku64(&w, "total", p->source->total);
  write_rules(p, &w);
  write_names(&w);
  write_prompts(p, &w);
  agrl_jw_end_obj(&w);
  out.len--;  // the object goes on: what follows is columns and tables written as they are
  columns(&out, "g", g_names, p->g, G_COLUMNS);
  columns(&out, "t", t_names, p->t, T_COLUMNS);
  table(&out, "v", &p->versions, true);
  table(&out, "x", &p->explained, true);
  table(&out, "hashes", &p->hashes, false);
  table(&out, "actors", &p->actors, false);
  table(&out, "pieces", &p->pieces, false);
  write_tokens(p, &out);
  agrl_buf_addc(&out, '}');
  html_begin(html, "agrl traces", page_traces_css);
  agrl_buf_adds(html, page_traces_html);
  html_json(html, "data", out.data, out.len);
  html_script(html, page_traces_js);
  html_end(html);
  agrl_buf_release(&out);
}
