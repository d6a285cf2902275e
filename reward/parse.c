// SPDX-License-Identifier: Apache-2.0
// Trace text -> parts, as the rule file describes them. Every line of the text is matched to the line of the file it
// looks like (longest prefix; the line without a prefix only by its value), so that duplicates, strangers, gaps and a
// wrong order are told apart, and what can be read is read even when the whole is not well formed.
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "reward/rules_impl.h"

static int read_value(const agrl_rules *r, const rule_line *l, const char *s, size_t n) {
  if (l->kind == RULE_LINE_CHOICE) return rules_line_value(l, s, n);
  if (l->kind == RULE_LINE_FREE) return n ? 0 : -1;
  return n == 1 && s[0] >= '1' && s[0] <= '9' && (r->tier_bits & (1u << (s[0] - '0'))) ? s[0] - '0' : -1;
}

// The line of the file this text looks like, -1: none.
static int recognise(const agrl_rules *r, const char *s, size_t n) {
  int best = -1;
  size_t best_len = 0;
  for (size_t i = 0; i < r->n_lines; i++) {
    const rule_line *l = &r->lines[i];
    if (!l->prefix_len || l->prefix_len > n || l->prefix_len <= best_len || memcmp(s, l->prefix, l->prefix_len))
      continue;
    best = (int)i;
    best_len = l->prefix_len;
  }
  for (size_t i = 0; best < 0 && i < r->n_lines; i++)
    if (!r->lines[i].prefix_len && read_value(r, &r->lines[i], s, n) >= 0) best = (int)i;
  return best;
}

__attribute__((format(printf, 2, 3))) static void blame(agrl_parsed *p, const char *fmt, ...) {
  p->ok = false;
  if (p->why[0]) return;  // the first cause stays
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(p->why, sizeof p->why, fmt, ap);
  va_end(ap);
}

// The problem of this line, NULL: none.
static const char *take_line(const agrl_rules *r, const char *s, size_t n, int at, int *last, bool *seen,
                             agrl_parsed *p) {
  if (at < 0) return "is none of the parts";
  const rule_line *l = &r->lines[at];
  if (seen[at]) return "stands twice";
  seen[at] = true;
  bool late = at < *last;
  *last = at;
  p->value[at] = read_value(r, l, s + l->prefix_len, n - l->prefix_len);
  return late ? "is out of order" : p->value[at] < 0 ? "has no allowed value" : NULL;
}

void agrl_reward_parse(const agrl_rules *r, const char *text, size_t len, agrl_parsed *out) {
  rule_read reads[RULES_MAX_READS];
  size_t n;
  rules_parse(r, text, len, out, reads, &n);
}

void rules_parse(const agrl_rules *r, const char *text, size_t len, agrl_parsed *out, rule_read *reads, size_t *n_reads) {
  *out = (agrl_parsed){.ok = true, .agree = true};
  bool seen[AGRL_RULES_MAX_LINES] = {false};
  int last = -1;
  for (size_t i = 0; i < AGRL_RULES_MAX_LINES; i++) out->value[i] = -1;
  if (memchr(text, 0, len)) blame(out, "a zero byte");
  *n_reads = 0;
  for (size_t at = 0; at < len;) {
    const char *end = memchr(text + at, '\n', len - at);
    size_t n = end ? (size_t)(end - text) - at : len - at;
    if (*n_reads == RULES_MAX_READS) {  // far past any well-formed trace
      blame(out, "too many lines");
      break;
    }
    rule_read *read = &reads[(*n_reads)++];
    *read = (rule_read){.at = at, .len = n, .line = recognise(r, text + at, n)};
    read->problem = take_line(r, text + at, n, read->line, &last, seen, out);
    if (read->problem && read->line < 0) blame(out, "line %zu %s", *n_reads, read->problem);
    else if (read->problem) blame(out, "%s %s", r->lines[read->line].name, read->problem);
    at += n + 1;
  }
  for (size_t i = 0; i < r->n_lines; i++) {
    if (!seen[i]) blame(out, "%s is missing", r->lines[i].name);
    if (r->lines[i].kind != RULE_LINE_TIER) continue;
    int tier = out->value[i] < 0 ? 0 : out->value[i];
    if (i == r->first_tier_line) out->tier = tier;
    else if (tier != out->tier) out->agree = false;
    out->verdict = tier;
  }
  out->implied = !out->tier || (rules_permitted(r, out->value) >> out->tier) & 1;
}

const char *agrl_parsed_label(const agrl_rules *r, const agrl_parsed *p, const char *label) {
  rule_gold g = !strcmp(label, "category") ? RULE_GOLD_CATEGORY : !strcmp(label, "attribute") ? RULE_GOLD_ATTRIBUTE
      : RULE_GOLD_N;
  int line = g == RULE_GOLD_N ? -1 : rules_line_of_gold(r, g);
  return line < 0 || p->value[line] < 0 ? NULL : r->lines[line].values[p->value[line]];
}
