// SPDX-License-Identifier: Apache-2.0
// Pre-tokenizer steps over PCRE2. The JIT is used when the system allows it; the interpreter gives the same pieces.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "common/text/pretok.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/bug.h"
#include "common/base/mem.h"
#include "common/text/utf8.h"

enum { max_steps = 8, max_pattern_bytes = 8192, match_limit = 10000000, heap_limit_kib = 65536 };

typedef enum { STEP_BYTELEVEL, STEP_REGEX, STEP_LITERAL, STEP_DIGITS } step_kind;

typedef struct step {
  step_kind kind;
  bool flag;         // BYTELEVEL: use_regex, DIGITS: individual_digits
  char *pattern;     // REGEX, LITERAL: as written in the file
  pcre2_code *code;  // NULL: the step splits nothing
} step;

struct agrl_pretok {
  size_t n;
  step steps[max_steps];
  pcre2_match_context *limits;
};

static const char gpt2_pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

const char agrl_pretok_default_pattern[] =
    "\\p{N}|\\n|\\[\\p{L}+\\]| ?[\\p{L}\\p{M}]+| ?[^\\s\\p{L}\\p{M}\\p{N}]|[^\\S\\n]+(?=[^\\S\\n])|[^\\S\\n]";

static agrl_pretok *pretok_new(void) {
  agrl_pretok *p = agrl_xcalloc(1, sizeof *p);
  p->limits = pcre2_match_context_create(NULL);
  AGRL_ASSERT(p->limits != NULL);
  pcre2_set_match_limit(p->limits, match_limit);
  pcre2_set_heap_limit(p->limits, heap_limit_kib);
  return p;
}

void agrl_pretok_free(agrl_pretok *p) {
  if (p == NULL) return;
  for (size_t i = 0; i < p->n; i++) {
    free(p->steps[i].pattern);
    pcre2_code_free(p->steps[i].code);
  }
  pcre2_match_context_free(p->limits);
  free(p);
}

// The library's \s is Unicode's White_Space; PCRE2's takes U+180E in, which left it with Unicode 6.3.
static void translate(const char *pattern, agrl_buf *out) {
  for (const char *p = pattern; *p != '\0'; p++) {
    if (p[0] == '\\' && (p[1] == 's' || p[1] == 'S')) {
      agrl_buf_adds(out, *++p == 's' ? "\\p{White_Space}" : "\\P{White_Space}");
      continue;
    }
    agrl_buf_addc(out, *p);
    if (p[0] == '\\' && p[1] != '\0') agrl_buf_addc(out, *++p);
  }
}

// pattern NULL: a step that splits nothing. kept: the text to write back, or NULL.
static agrl_rc add_step(agrl_pretok *p, step_kind kind, bool flag, const char *pattern, bool keep, const char *name,
                        agrl_error *err) {
  if (p->n == max_steps)
    return agrl_fail(err, AGRL_ELIMIT, "%s: pre_tokenizer has more than %d steps", name, max_steps);
  step *s = &p->steps[p->n];
  *s = (step){.kind = kind, .flag = flag};
  if (pattern != NULL) {
    if (strlen(pattern) > max_pattern_bytes) {
      return agrl_fail(err, AGRL_ELIMIT, "%s: pre_tokenizer pattern is longer than %d bytes", name, max_pattern_bytes);
    }
    int code = 0;
    PCRE2_SIZE at = 0;
    uint32_t options = PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C;
    options |= kind == STEP_LITERAL ? PCRE2_LITERAL : PCRE2_UCP;
    if (kind == STEP_LITERAL) options &= ~(uint32_t)PCRE2_NEVER_BACKSLASH_C;
    agrl_buf meant = {0};
    agrl_buf_reserve(&meant, strlen(pattern) + 1);
    if (kind == STEP_LITERAL) agrl_buf_adds(&meant, pattern);
    else translate(pattern, &meant);
    s->code = pcre2_compile((PCRE2_SPTR)meant.data, meant.len, options, &code, &at, NULL);
    agrl_buf_release(&meant);
    if (s->code == NULL) {
      char text[128] = "";
      pcre2_get_error_message(code, (PCRE2_UCHAR *)text, sizeof text);
      return agrl_fail(err, AGRL_EPARSE, "%s: pre_tokenizer pattern, offset %zu: %s", name, (size_t)at, text);
    }
    (void)pcre2_jit_compile(s->code, PCRE2_JIT_COMPLETE);  // refused under MemoryDenyWriteExecute: slower, same pieces
    if (keep) s->pattern = agrl_xstrdup(pattern);
  }
  p->n++;
  return AGRL_OK;
}

agrl_rc agrl_pretok_default(agrl_pretok **out, agrl_error *err) {
  agrl_pretok *p = pretok_new();
  agrl_rc rc = add_step(p, STEP_REGEX, false, agrl_pretok_default_pattern, true, "default", err);
  if (rc == AGRL_OK) rc = add_step(p, STEP_BYTELEVEL, false, NULL, false, "default", err);
  if (rc != AGRL_OK) {
    agrl_pretok_free(p);
    return rc;
  }
  *out = p;
  return AGRL_OK;
}

static agrl_rc parse_split(const agrl_json *j, const char *name, agrl_pretok *p, agrl_error *err) {
  const char *behavior = "", *pattern = NULL;
  bool invert = false;
  agrl_json_str(agrl_json_get(j, "behavior"), &behavior, NULL);
  agrl_json_bool(agrl_json_get(j, "invert"), &invert);
  if (strcmp(behavior, "Isolated") != 0 || invert) {
    return agrl_fail(err, AGRL_EUNSUPPORTED,
                     "%s: pre_tokenizer Split with behavior \"%s\"%s; only Isolated is supported", name, behavior,
                     invert ? " inverted" : "");
  }
  const agrl_json *pat = agrl_json_get(j, "pattern");
  if (agrl_json_str(agrl_json_get(pat, "Regex"), &pattern, NULL)) {
    return add_step(p, STEP_REGEX, false, pattern, true, name, err);
  }
  if (agrl_json_str(agrl_json_get(pat, "String"), &pattern, NULL) && pattern[0] != '\0') {
    return add_step(p, STEP_LITERAL, false, pattern, true, name, err);
  }
  return agrl_fail(err, AGRL_EPARSE, "%s: pre_tokenizer Split has no pattern, expected {\"Regex\": ...}", name);
}

static agrl_rc parse_step(const agrl_json *j, const char *name, agrl_pretok *p, agrl_error *err) {
  const char *type = "";
  agrl_json_str(agrl_json_get(j, "type"), &type, NULL);
  if (strcmp(type, "ByteLevel") == 0) {
    bool prefix = true, regex = true;  // the library's defaults when a member is absent
    agrl_json_bool(agrl_json_get(j, "add_prefix_space"), &prefix);
    agrl_json_bool(agrl_json_get(j, "use_regex"), &regex);
    if (prefix) return agrl_fail(err, AGRL_EUNSUPPORTED, "%s: pre_tokenizer ByteLevel with add_prefix_space", name);
    return add_step(p, STEP_BYTELEVEL, regex, regex ? gpt2_pattern : NULL, false, name, err);
  }
  if (strcmp(type, "Split") == 0) return parse_split(j, name, p, err);
  if (strcmp(type, "Digits") == 0) {
    bool single = false;
    agrl_json_bool(agrl_json_get(j, "individual_digits"), &single);
    return add_step(p, STEP_DIGITS, single, single ? "\\p{N}" : "\\p{N}+", false, name, err);
  }
  return agrl_fail(err, AGRL_EUNSUPPORTED,
                   "%s: pre_tokenizer type \"%s\"; supported: ByteLevel, Split, Digits, Sequence", name, type);
}

agrl_rc agrl_pretok_parse(const agrl_json *j, const char *name, agrl_pretok **out, agrl_error *err) {
  agrl_pretok *p = pretok_new();
  const char *type = "";
  agrl_json_str(agrl_json_get(j, "type"), &type, NULL);
  agrl_rc rc = AGRL_OK;
  if (strcmp(type, "Sequence") == 0) {
    const agrl_json *list = agrl_json_get(j, "pretokenizers");
    for (size_t i = 0; i < agrl_json_len(list) && rc == AGRL_OK; i++)
      rc = parse_step(agrl_json_at(list, i), name, p, err);
  } else {
    rc = parse_step(j, name, p, err);
  }
  if (rc == AGRL_OK && (p->n == 0 || p->steps[p->n - 1].kind != STEP_BYTELEVEL)) {
    rc = agrl_fail(err, AGRL_EUNSUPPORTED,
                   "%s: pre_tokenizer does not end in ByteLevel; only byte-level BPE is supported", name);
  }
  for (size_t i = 0; rc == AGRL_OK && i + 1 < p->n; i++) {
    if (p->steps[i].kind != STEP_BYTELEVEL) continue;
    rc = agrl_fail(err, AGRL_EUNSUPPORTED, "%s: pre_tokenizer has steps after ByteLevel", name);
  }
  if (rc != AGRL_OK) {
    agrl_pretok_free(p);
    return rc;
  }
  *out = p;
  return AGRL_OK;
}

static void write_step(const step *s, agrl_jw *w) {
  agrl_jw_obj(w);
  switch (s->kind) {
    case STEP_BYTELEVEL:
      agrl_jw_kstr(w, "type", "ByteLevel");
      agrl_jw_kbool(w, "add_prefix_space", false);
      agrl_jw_kbool(w, "trim_offsets", true);
      agrl_jw_kbool(w, "use_regex", s->flag);
      break;
    case STEP_DIGITS:
      agrl_jw_kstr(w, "type", "Digits");
      agrl_jw_kbool(w, "individual_digits", s->flag);
      break;
    case STEP_REGEX:
    case STEP_LITERAL:
      agrl_jw_kstr(w, "type", "Split");
      agrl_jw_key(w, "pattern");
      agrl_jw_obj(w);
      agrl_jw_kstr(w, s->kind == STEP_REGEX ? "Regex" : "String", s->pattern);
      agrl_jw_end_obj(w);
      agrl_jw_kstr(w, "behavior", "Isolated");
      agrl_jw_kbool(w, "invert", false);
      break;
  }
  agrl_jw_end_obj(w);
}

void agrl_pretok_write(const agrl_pretok *p, agrl_jw *w) {
  if (p->n == 1) {
    write_step(&p->steps[0], w);
    return;
  }
  agrl_jw_obj(w);
  agrl_jw_kstr(w, "type", "Sequence");
  agrl_jw_key(w, "pretokenizers");
  agrl_jw_arr(w);
  for (size_t i = 0; i < p->n; i++) write_step(&p->steps[i], w);
  agrl_jw_end_arr(w);
  agrl_jw_end_obj(w);
}

typedef struct run_state {
  const agrl_pretok *p;
  pcre2_match_data *match;  // shared by all steps: read out before the next step runs
  agrl_piece_fn fn;
  void *user;
} run_state;

static bool find(const run_state *r, const step *s, const char *text, size_t len, size_t from, size_t *start,
                 size_t *end) {
  uint32_t options = PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY;
  int rc = pcre2_match(s->code, (PCRE2_SPTR)text, len, from, options, r->match, r->p->limits);
  if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {
    rc = pcre2_match(s->code, (PCRE2_SPTR)text, len, from, options | PCRE2_NO_JIT, r->match, r->p->limits);
  }
  if (rc < 0) return false;
  const PCRE2_SIZE *o = pcre2_get_ovector_pointer(r->match);
  *start = o[0];
  *end = o[1];
  return *start >= from && *end > *start;  // \K and lookbehind tricks never move a piece backwards
}

static void run_step(const run_state *r, size_t i, const char *text, size_t len) {
  if (len == 0) return;
  if (i == r->p->n) {
    r->fn(r->user, text, len);
    return;
  }
  const step *s = &r->p->steps[i];
  size_t at = 0, start, end;
  while (s->code != NULL && at < len && find(r, s, text, len, at, &start, &end)) {
    run_step(r, i + 1, text + at, start - at);
    run_step(r, i + 1, text + start, end - start);
    at = end;
  }
  run_step(r, i + 1, text + at, len - at);
}

void agrl_pretok_run(const agrl_pretok *p, const char *text, size_t len, agrl_piece_fn fn, void *user) {
  run_state r = {.p = p, .match = pcre2_match_data_create(1, NULL), .fn = fn, .user = user};
  AGRL_ASSERT(r.match != NULL);
  size_t at = 0;
  while (at < len) {
    size_t ok = agrl_utf8_valid_prefix(text + at, len - at);
    run_step(&r, 0, text + at, ok);
    at += ok;
    if (at < len) fn(user, text + at++, 1);
  }
  pcre2_match_data_free(r.match);
}
