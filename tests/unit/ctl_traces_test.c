// SPDX-License-Identifier: Apache-2.0
// The data of the trace viewer's page: tables, columns, tokens, and text that would like to be markup.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "deploy/ctl/explain.h"
#include "deploy/ctl/traces.h"
#include "deploy/ctl/traces_table.h"

#define EVIL "</script><script>alert(1)</script>\"'&<!--"
#define RULES                                                                                                   \
  "name: t\ntiers: {2: good, 1: bad}\nprompt: \"{query}\\n\"\nguidance: [\"Must: {must}.\\n\", \"Tier {gold.tier}\\n\"]\n" \
  "trace: [{name: tier, kind: tier}, {name: verdict, prefix: \"V \", kind: tier}]\ncriteria: [{name: tier, weight: 1}]\n"

static agrl_bpe *bpe;
static agrl_rules *rules;

static int setup(void **state) {
  static const char *const texts[] = {"some text to train on, some text", "2\nV 2"};
  static const char *const specials[] = {AGRL_TOK_START, AGRL_TOK_END};
  agrl_error err = {0};
  if (agrl_bpe_train(texts, 2, 270, specials, 2, &bpe, &err)) fail_msg("%s", err.msg);
  if (agrl_rules_parse(RULES, sizeof RULES - 1, "dir/t.yaml", &rules, &err)) fail_msg("%s", err.msg);
  return 0;
}

static int teardown(void **state) {
  agrl_bpe_free(bpe);
  agrl_rules_free(rules);
  return 0;
}

// Many texts, each found again at its index, also after the table grew.
static void table_keeps_texts(void **state) {
  traces_table t = {0};
  size_t k = 7;
  assert_false(traces_table_find(&t, "0", &k));
  for (int round = 0; round < 2; round++) {
    for (size_t i = 0; i < 5000; i++) {
      char text[24];
      int n = snprintf(text, sizeof text, "%zu", i * 7919 % 5000);
      assert_int_equal(traces_table_add(&t, text, (size_t)n), i);
    }
  }
  assert_int_equal(t.n, 5000);
  assert_true(traces_table_find(&t, "7919", &k) == false && traces_table_find(&t, "2919", &k));
  assert_int_equal(k, 1);
  assert_string_equal(traces_table_get(&t, 1), "2919");
  assert_int_equal(traces_table_add(&t, "2919 and more", 4), 1);
  assert_int_equal(traces_table_add(&t, "", 0), 5000);
  traces_table_release(&t);
}

// The page's data object; the caller frees it.
static agrl_json *data_of(const agrl_buf *html) {
  static const char begin[] = "<script type=\"application/json\" id=\"data\">";
  agrl_json *j = NULL;
  agrl_error err = {0};
  const char *s = strstr(html->data, begin);
  assert_non_null(s);
  s += sizeof begin - 1;
  const char *end = strstr(s, "</script>");
  assert_non_null(end);
  for (const char *c = s; c < end; c++) assert_true(*c != '<');
  if (agrl_json_parse(s, (size_t)(end - s), "page", &j, &err)) fail_msg("%s", err.msg);
  return j;
}

static double number(const agrl_json *j, const char *list, const char *column, size_t i) {
  double v = NAN;
  agrl_json_f64(agrl_json_at(agrl_json_get(agrl_json_get(j, list), column), i), &v);
  return v;
}

static const char *text_at(const agrl_json *list, size_t i) {
  const char *s = NULL;
  assert_true(agrl_json_str(agrl_json_at(list, i), &s, NULL));
  return s;
}

static double byte_of(const char *base64, size_t i) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";
  unsigned v = 0;
  for (size_t k = 0; k < 4; k++) v = v << 6 | ((unsigned)(strchr(digits, base64[i / 3 * 4 + k]) - digits) & 63);
  return v >> (16 - 8 * (i % 3)) & 255;
}

static size_t times(const char *text, const char *what) {
  size_t n = 0;
  for (const char *s = text; (s = strstr(s, what)); s++) n++;
  return n;
}

static size_t encode(const char *text, int32_t *out, size_t cap) { return agrl_bpe_encode(bpe, text, strlen(text), false, out, cap); }

static void hostile_text_stays_text(void **state) {
  traces_source source = {.bpe = bpe, .rules = rules, .rules_text = RULES "# " EVIL "\n", .mode = AGRL_REWARD_SHAPED, .gate = AGRL_GATE_RULE,
                          .about = EVIL, .total = 3};
  traces_page *p = traces_page_new(&source);
  replay_group_rec g = {.id = 9, .state = REPLAY_TRAINED, .accuracy = NAN, .n_chosen = 1, .chosen = {1}, .trained_version = (1ull << 32) + 5};
  strcpy(g.prompt_id, EVIL);
  traces_page_group(p, &g);
  int32_t prompt[128], tokens[130];
  float logprobs[130];
  uint64_t versions[130];
  size_t n_prompt = encode(EVIL "\xff\xc3", prompt, 128), n = encode("2\nV 1" EVIL, tokens, 128);
  tokens[n++] = 1 << 30;  // no such token
  tokens[n++] = agrl_bpe_special(bpe, AGRL_TOK_END);
  for (size_t i = 0; i < n; i++) logprobs[i] = -(float)i / 4, versions[i] = (1ull << 32) + (i < 3 ? 4 : 6);
  logprobs[1] = NAN, logprobs[2] = 0.5f;
  agrl_msg_scored s = {.trace = {.id = {1, 9, 1, 1}, .actor = EVIL, .prompt_id = EVIL, .gold = {2, EVIL, ""}, .text = "2\nV 1" EVIL, .stop = 99,
                                 .n_prompt = n_prompt, .n_tokens = n, .prompt = prompt, .tokens = tokens, .logprobs = logprobs, .versions = versions},
                       .reward = 0.12344, .tier = 2, .accurate = true, .rules_hash = EVIL};
  traces_page_trace(p, &g, &s);
  s.rules_hash = agrl_rules_hash(rules);
  s.missing = true;
  s.trace.id.member = 0;
  s.trace.n_tokens = 0;
  s.trace.level = 2;  // its row is not here
  s.trace.text = "2\nV 1";
  traces_page_trace(p, &g, &s);
  assert_int_equal(traces_page_count(p), 2);
  agrl_buf html = {0};
  traces_page_write(p, &html);
  traces_page_free(p);
  assert_int_equal(times(html.data, "</script"), 2);
  assert_int_equal(times(html.data, "alert(1)</"), 0);

  agrl_json *j = data_of(&html);
  const char *s0;
  assert_true(agrl_json_str(agrl_json_get(j, "about"), &s0, NULL));
  assert_string_equal(s0, EVIL);
  const agrl_json *prompt0 = agrl_json_at(agrl_json_get(j, "p"), 0);
  assert_true(agrl_json_str(agrl_json_get(prompt0, "text"), &s0, NULL));
  assert_string_equal(s0, EVIL "\xef\xbf\xbd\xef\xbf\xbd");
  assert_string_equal(text_at(agrl_json_get(prompt0, "gold"), 1), EVIL);
  assert_int_equal(agrl_json_len(agrl_json_get(prompt0, "guide")), 0);
  assert_true(number(j, "g", "id", 0) == 9 && number(j, "g", "v", 0) == 5 && isnan(number(j, "g", "a", 0)));
  assert_true(number(j, "t", "m", 0) == 1 && number(j, "t", "m", 1) == 0);
  assert_true(number(j, "t", "f", 0) == (4 | 8) && number(j, "t", "f", 1) == (4 | 16));  // accurate, chosen; accurate, missing
  assert_true(number(j, "t", "r", 0) == 1234 && isnan(number(j, "t", "r", 1)));
  assert_true(number(j, "t", "n", 0) == (double)n && number(j, "t", "n", 1) == 0 && number(j, "t", "s", 0) == AGRL_STOP_ERROR);
  const agrl_json *runs = agrl_json_get(j, "v");
  double v = 0;
  assert_int_equal(agrl_json_len(agrl_json_at(runs, 0)), 3);  // 4, from token 3 on 6
  assert_true(agrl_json_f64(agrl_json_at(agrl_json_at(runs, 0), 2), &v) && v == 6);
  // another rule file scored the first: nothing is explained; this one scored the second, and its agreement is broken
  const agrl_json *x = agrl_json_get(j, "x");
  assert_int_equal(agrl_json_len(agrl_json_get(agrl_json_at(x, 0), "g")), 0);
  const agrl_json *gate = agrl_json_at(agrl_json_get(agrl_json_at(x, 1), "g"), 1);
  assert_string_equal(text_at(gate, 4), "tier says 2, verdict says 1");
  // log-probs: the square root of 20 x (q / 255)^2, NaN as the lowest, above 0 as 0
  assert_true(agrl_json_str(agrl_json_get(j, "logprobs"), &s0, NULL));
  assert_int_equal(strlen(s0), (n + 2) / 3 * 4);
  assert_memory_equal(s0, "AP8A", 4);  // 0, 255, 0
  for (size_t i = 3; i < n; i++) {
    double lp = 20 * pow(byte_of(s0, i) / 255, 2);
    if (fabs(lp - fmin((double)i / 4, 20)) > 0.08) fail_msg("log-prob of token %zu: -%g", i, lp);
  }
  size_t found = 0;
  const agrl_json *pieces = agrl_json_get(j, "pieces");
  for (size_t i = 0; i < agrl_json_len(pieces); i++) found += !strcmp(text_at(pieces, i), AGRL_TOK_END) || !strcmp(text_at(pieces, i), "\xc3\xaf\xc2\xbf\xc2\xbd");
  assert_int_equal(found, 2);  // the end token, and U+FFFD (as three bytes) for the unknown one
  agrl_json_free(j);
  agrl_buf_release(&html);
}

// The row and the templates give the guidance back: what a level adds to the plain prompt.
static void shows_the_guidance(void **state) {
  char path[] = "/tmp/ctl-traces-XXXXXX";
  agrl_error err = {0};
  agrl_task_text *text = NULL;
  agrl_arena arena;
  agrl_row row;
  int fd = mkstemp(path);
  FILE *f = fdopen(fd, "w");
  assert_non_null(f);
  fputs(RULES "answer: \"A:\"\n", f);
  fclose(f);
  if (agrl_task_text_load(path, &text, &err)) fail_msg("%s", err.msg);
  remove(path);
  static const char line[] = "{\"id\": \"a\", \"query\": \"shoes\", \"product\": {\"title\": \"p\"}, \"gold\": {\"tier\": 2}, \"must\": [\"red\"]}";
  agrl_arena_init(&arena, 0);
  if (agrl_row_parse(line, sizeof line - 1, "row", &arena, &row, &err)) fail_msg("%s", err.msg);
  agrl_dataset data = {.rows = &row, .n = 1};
  traces_source source = {.bpe = bpe, .rules = rules, .text = text, .data = &data, .about = "", .mode = AGRL_REWARD_SPARSE};
  traces_page *p = traces_page_new(&source);
  replay_group_rec g = {.id = 1, .state = REPLAY_OPEN, .accuracy = 0.5, .prompt_id = "a"}, other = g;
  strcpy(other.prompt_id, "b");
  other.id = 2;
  agrl_msg_scored s = {.trace = {.actor = "", .prompt_id = "a", .gold = {2, "", ""}, .text = "2"}, .rules_hash = ""};
  traces_page_group(p, &g);
  for (uint32_t level = 0; level <= 2; level++) s.trace.level = level, traces_page_trace(p, &g, &s);
  traces_page_group(p, &other);
  traces_page_trace(p, &other, &s);
  agrl_buf html = {0};
  traces_page_write(p, &html);
  traces_page_free(p);
  agrl_json *j = data_of(&html);
  const agrl_json *guide = agrl_json_get(agrl_json_at(agrl_json_get(j, "p"), 0), "guide");
  const char *level;
  assert_int_equal(agrl_json_len(guide), 2);
  assert_true(agrl_json_str(agrl_json_get(guide, "1"), &level, NULL));
  assert_string_equal(level, "Must: red.\n");
  assert_true(agrl_json_str(agrl_json_get(guide, "2"), &level, NULL));
  assert_string_equal(level, "Must: red.\nTier 2\n");
  assert_int_equal(agrl_json_len(agrl_json_get(agrl_json_at(agrl_json_get(j, "p"), 1), "guide")), 0);
  assert_true(number(j, "t", "g", 3) == 1 && number(j, "g", "p", 1) == 1);
  agrl_json_free(j);
  agrl_buf_release(&html);
  agrl_task_text_free(text);
  agrl_arena_release(&arena);
}

#define TWO                                                                                                             \
  "name: t\ntiers: {2: good, 1: bad}\nprompt: \"{query}\\n\"\n"                                                            \
  "trace: [{name: tier, kind: tier}, {name: category, prefix: \"C \", kind: choice, values: [yes, no]}]\n"                  \
  "criteria: [{name: tier, weight: 0.6}, {name: category, weight: 0.4}]\n"

// A criterion with a gold label that the mode leaves out is not one without a label: in text, as JSON and on the page.
static void left_out_is_not_unlabelled(void **state) {
  static const char trace[] = "2\nC yes";
  agrl_rules *two = NULL;
  agrl_error err = {0};
  if (agrl_rules_parse(TWO, sizeof TWO - 1, "two.yaml", &two, &err)) fail_msg("%s", err.msg);
  traces_source source = {.bpe = bpe, .rules = two, .mode = AGRL_REWARD_SPARSE, .gate = AGRL_GATE_RULE, .about = ""};
  traces_page *p = traces_page_new(&source);
  replay_group_rec g = {.id = 1, .state = REPLAY_OPEN, .prompt_id = "a"};
  agrl_msg_scored s = {.trace = {.actor = "", .prompt_id = "a", .text = trace}, .rules_hash = agrl_rules_hash(two)};
  traces_page_group(p, &g);
  static const char *const labels[] = {"yes", ""}, *const says[] = {"left out in this mode", "no gold label"};
  for (int i = 0; i < 2; i++) {
    explain_context c = {.file = "two.yaml", .mode = source.mode, .gate = source.gate, .gold = {2, labels[i], ""}};
    agrl_explained e;
    agrl_buf out = {0};
    agrl_jw w;
    s.trace.gold = c.gold;
    traces_page_trace(p, &g, &s);
    agrl_reward_explain(two, c.mode, c.gate, trace, sizeof trace - 1, &c.gold, &e);
    explain_text(&c, &e, &out);
    if (!strstr(out.data, says[i]) || strstr(out.data, says[1 - i])) fail_msg("%s", out.data);
    agrl_buf_clear(&out);
    agrl_jw_init(&w, &out);
    explain_json(&c, &e, &w);
    if (!strstr(out.data, says[i]) || strstr(out.data, says[1 - i])) fail_msg("%s", out.data);
    agrl_buf_release(&out);
  }
  agrl_buf html = {0};
  traces_page_write(p, &html);
  traces_page_free(p);
  agrl_json *j = data_of(&html);
  for (size_t i = 0; i < 2; i++) {
    const agrl_json *criteria = agrl_json_get(agrl_json_at(agrl_json_get(j, "x"), i), "c");
    assert_string_equal(text_at(agrl_json_at(criteria, 0), 6), "equal");
    assert_string_equal(text_at(agrl_json_at(criteria, 1), 6), says[i]);
  }
  agrl_json_free(j);
  agrl_buf_release(&html);
  agrl_rules_free(two);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(table_keeps_texts), cmocka_unit_test(hostile_text_stays_text), cmocka_unit_test(shows_the_guidance),
      cmocka_unit_test(left_out_is_not_unlabelled),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
