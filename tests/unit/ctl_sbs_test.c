// SPDX-License-Identifier: Apache-2.0
// Side by side: only items whose tiers differ, a sheet that tells nothing, sides that are a coin's, and a GSB that is what
// counting by hand gives.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "deploy/ctl/sbs.h"

enum { N = 600 };

static agrl_rc load(const char *text, size_t len, sbs_items *out, agrl_error *err) {
  char path[] = "/tmp/agrl-sbs-XXXXXX";
  int fd = mkstemp(path);
  assert_true(fd >= 0 && write(fd, text, len) == (ssize_t)len);
  close(fd);
  agrl_rc rc = sbs_items_load(path, out, err);
  unlink(path);
  return rc;
}

// Item i: A says tier 1 + i % 4; B the same where i % 3 is 0, otherwise the next. B lacks the first ten.
static void make(bool b, sbs_items *out) {
  agrl_buf text = {0};
  for (int i = N; i-- > (b ? 10 : 0);) {  // any order
    int tier = 1 + (b && i % 3 ? (i + 1) % 4 : i % 4);
    agrl_buf_addf(&text, "{\"id\":\"item-%03d\",\"query\":\"query %d\",\"product\":{\"title\":\"</script>%d\"},\"gold\":2,\"predicted\":%d,\"text\":\"%s answer %d\"}\n",
                  i, i, i, tier, b ? "candid" : "basel", i);
  }
  assert_int_equal(load(text.data, text.len, out, NULL), AGRL_OK);
  agrl_buf_release(&text);
}

static const char *text_of(const agrl_json *j, const char *key) {
  const char *s = "";
  agrl_json_str(agrl_json_get(j, key), &s, NULL);
  return s;
}

static agrl_json *parse(const char *text, size_t len) {
  agrl_json *j = NULL;
  assert_int_equal(agrl_json_parse(text, len, "t", &j, NULL), AGRL_OK);
  return j;
}

static agrl_json *data_of(const agrl_buf *page) {
  static const char open[] = "<script type=\"application/json\" id=\"data\">";
  const char *at = strstr(page->data, open);
  assert_non_null(at);
  at += strlen(open);
  return parse(at, (size_t)(strstr(at, "</script>") - at));
}

static void the_sheet_is_blind_and_the_key_opens_it(void **state) {
  sbs_items a, b;
  sbs_draw d, again, other;
  agrl_buf key = {0}, page = {0}, key2 = {0};
  char sheet[17], sheet2[17];
  make(false, &a);
  make(true, &b);
  assert_int_equal(sbs_draw_pairs(&a, &b, 200, 3, &d, NULL), AGRL_OK);
  assert_int_equal(d.common, N - 10);
  assert_int_equal(d.differ, (N - 10) - (N - 12) / 3);  // 12, 15, ... 597 agree
  assert_int_equal(d.n, 200);
  sbs_key_json(&d, "sft", "latest", sheet, &key);
  sbs_sheet_html(&d, sheet, "x.key.json", &page);
  static const char *const tells[] = {"sft", "latest", "gold", "predicted", "seed", "\"a\"", "\"b\""};
  for (size_t i = 0; i < sizeof tells / sizeof *tells; i++)
    if (strstr(page.data, tells[i])) fail_msg("the sheet says %s", tells[i]);
  static const char *const outside[] = {"http", "src=", "url(", "import", "fetch"};
  for (size_t i = 0; i < sizeof outside / sizeof *outside; i++)
    if (strstr(page.data, outside[i])) {
      const char *at = strstr(page.data, outside[i]);
      if (strncmp(at, "http-equiv", 10) != 0) fail_msg("the sheet looks outside: %.40s", at);
    }
  agrl_json *data = data_of(&page), *k = parse(key.data, key.len);
  assert_string_equal(text_of(data, "sheet"), sheet);
  assert_string_equal(text_of(k, "sheet"), sheet);
  size_t b_left = 0;
  bool seen[N] = {false};
  for (size_t i = 0; i < 200; i++) {
    const agrl_json *shown = agrl_json_at(agrl_json_get(data, "items"), i), *secret = agrl_json_at(agrl_json_get(k, "items"), i);
    int number = atoi(text_of(shown, "id") + 5);
    bool left = !strcmp(text_of(secret, "left"), "b");
    char want[40], title[40];
    assert_string_equal(text_of(shown, "id"), text_of(secret, "id"));
    assert_true(number % 3 != 0 && number >= 10 && !seen[number]);
    seen[number] = true;
    snprintf(want, sizeof want, "%s answer %d", left ? "candid" : "basel", number);
    assert_string_equal(text_of(shown, "left"), want);
    snprintf(want, sizeof want, "%s answer %d", left ? "basel" : "candid", number);
    assert_string_equal(text_of(shown, "right"), want);
    snprintf(title, sizeof title, "</script>%d", number);
    assert_string_equal(text_of(agrl_json_get(shown, "product"), "title"), title);
    b_left += left;
  }
  assert_true(b_left > 70 && b_left < 130);  // a fair coin is beyond this once in 30,000
  assert_int_equal(sbs_draw_pairs(&a, &b, 200, 3, &again, NULL), AGRL_OK);
  sbs_key_json(&again, "sft", "latest", sheet2, &key2);
  assert_string_equal(key.data, key2.data);
  assert_int_equal(sbs_draw_pairs(&a, &b, 200, 4, &other, NULL), AGRL_OK);
  agrl_buf_clear(&key2);
  sbs_key_json(&other, "sft", "latest", sheet2, &key2);
  assert_string_not_equal(sheet, sheet2);
  agrl_json_free(data);
  agrl_json_free(k);
  sbs_draw_release(&d);
  sbs_draw_release(&again);
  sbs_draw_release(&other);
  sbs_items_release(&a);
  sbs_items_release(&b);
  agrl_buf_release(&key);
  agrl_buf_release(&key2);
  agrl_buf_release(&page);
}

static void what_cannot_be_drawn_is_refused(void **state) {
  sbs_items a, b, c;
  sbs_draw d;
  agrl_error err = {0};
  make(false, &a);
  make(true, &b);
  assert_int_equal(sbs_draw_pairs(&a, &a, 5, 1, &d, &err), AGRL_ENOENT);
  assert_non_null(strstr(err.msg, "different tiers (600 items are in both)"));
  sbs_draw_release(&d);
  static const char foreign[] = "{\"id\":\"item-011\",\"query\":\"another\",\"predicted\":1,\"text\":\"\"}\n";
  assert_int_equal(load(foreign, strlen(foreign), &c, &err), AGRL_OK);
  assert_int_equal(sbs_draw_pairs(&a, &c, 5, 1, &d, &err), AGRL_EPARSE);
  assert_non_null(strstr(err.msg, "id \"item-011\" has another query"));
  sbs_draw_release(&d);
  sbs_items_release(&c);
  static const char twice[] = "{\"id\":\"x\",\"query\":\"q\",\"predicted\":1,\"text\":\"\"}\n\n{\"id\":\"x\",\"query\":\"q\",\"predicted\":1,\"text\":\"\"}\n";
  assert_int_equal(load(twice, strlen(twice), &c, &err), AGRL_EPARSE);
  assert_non_null(strstr(err.msg, "id \"x\" is there twice"));
  sbs_items_release(&c);
  static const char no_text[] = "{\"id\":\"x\",\"query\":\"q\",\"predicted\":1,\"text\":\"\"}\n{\"id\":\"y\",\"query\":\"q\",\"predicted\":1}\n";
  assert_int_equal(load(no_text, strlen(no_text), &c, &err), AGRL_EPARSE);
  assert_non_null(strstr(err.msg, ":2: expected an item"));
  sbs_items_release(&c);
  assert_int_equal(load("{", 1, &c, &err), AGRL_EPARSE);
  sbs_items_release(&c);
  sbs_items_release(&a);
  sbs_items_release(&b);
}

// --- grades ---

static const char key_text[] =
    "{\"sheet\":\"s1\",\"a\":\"old\",\"b\":\"new\",\"common\":40,\"differ\":12,\"items\":[{\"id\":\"1\",\"left\":\"a\"},{\"id\":\"2\",\"left\":\"b\"},"
    "{\"id\":\"3\",\"left\":\"b\"},{\"id\":\"4\",\"left\":\"a\"},{\"id\":\"5\",\"left\":\"a\"},{\"id\":\"6\",\"left\":\"b\"},{\"id\":\"7\",\"left\":\"a\"},"
    "{\"id\":\"8\",\"left\":\"a\"},{\"id\":\"9\",\"left\":\"a\"},{\"id\":\"10\",\"left\":\"a\"},{\"id\":\"11\",\"left\":\"a\"}]}";

static agrl_rc grade(const char *grades, sbs_gsb *g, agrl_error *err) {
  char *text = agrl_xasprintf("{\"sheet\":\"s1\",\"grades\":[%s]}", grades);
  agrl_json *key = parse(key_text, strlen(key_text)), *j = parse(text, strlen(text));
  agrl_rc rc = sbs_grade(j, key, g, err);
  agrl_json_free(key);
  agrl_json_free(j);
  free(text);
  return rc;
}

#define G(id, grade) "{\"id\":\"" id "\",\"grade\":\"" grade "\"}"

static void gsb_by_hand(void **state) {
  sbs_gsb g;
  // 1: right is B: good. 2: left is B: good. 3: right is A: bad. 4: same. 5, 7 to 9: right is B: good. 10: left is A: bad. 6 and 11 are not graded.
  assert_int_equal(grade(G("1", "right") "," G("2", "left") "," G("3", "right") "," G("4", "same") "," G("5", "right") "," G("7", "right") ","
                         G("8", "right") "," G("9", "right") "," G("10", "left"), &g, NULL), AGRL_OK);
  assert_true(g.good == 6 && g.same == 1 && g.bad == 2 && g.missing == 2 && g.differ == 12 && g.common == 40);
  assert_true(isnan(g.gsb) && isnan(g.low) && isnan(g.high));  // 9 grades
  sbs_gsb_release(&g);
  assert_int_equal(grade(G("1", "right") "," G("2", "left") "," G("3", "right") "," G("4", "same") "," G("5", "right") "," G("7", "right") ","
                         G("8", "right") "," G("9", "right") "," G("10", "left") "," G("11", "right"), &g, NULL), AGRL_OK);
  assert_true(g.good == 7 && fabs(g.gsb - 5.0 / 10) < 1e-12);
  // by hand: 8/12 and 3/12, their difference 5/12, 1.959964 sqrt((11/12 - 25/144) / 12)
  assert_true(fabs(g.low - (5.0 / 12 - 1.959964 * sqrt((11.0 / 12 - 25.0 / 144) / 12))) < 1e-9);
  assert_true(fabs(g.high - (5.0 / 12 + 1.959964 * sqrt((11.0 / 12 - 25.0 / 144) / 12))) < 1e-9);
  assert_string_equal(g.a, "old");
  assert_string_equal(g.b, "new");
  sbs_gsb_release(&g);
  assert_int_equal(grade("", &g, NULL), AGRL_OK);
  assert_true(isnan(g.gsb) && isnan(g.low) && g.missing == 11);
  sbs_gsb_release(&g);
}

static void documents_that_cannot_be_are_refused(void **state) {
#define KEY(more) "{\"sheet\":\"s1\",\"items\":[{\"id\":\"1\",\"left\":\"a\"}]" more "}"
  static const char *const cases[][3] = {
      {KEY(""), "{\"sheet\":\"s1\",\"grades\":{\"1\":\"left\"}}", "no list \"grades\""},
      {KEY(""), "{\"sheet\":\"s1\",\"grades\":\"left\"}", "no list \"grades\""},
      {KEY(",\"differ\":-3"), "{\"sheet\":\"s1\",\"grades\":[]}", "differ is not a number of items"},
      {KEY(",\"common\":\"3\""), "{\"sheet\":\"s1\",\"grades\":[]}", "common is not a number of items"},
      {"{\"sheet\":\"s1\",\"items\":[{\"id\":\"1\",\"left\":\"c\"}]}", "{\"sheet\":\"s1\",\"grades\":[]}", "\"c\" on the left, expected a or b"},
      {"{\"sheet\":\"s1\",\"items\":{\"id\":\"1\"}}", "{\"sheet\":\"s1\",\"grades\":[]}", "no sheet or no items"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    sbs_gsb g;
    agrl_error err = {0};
    agrl_json *key = parse(cases[i][0], strlen(cases[i][0])), *grades = parse(cases[i][1], strlen(cases[i][1]));
    assert_int_equal(sbs_grade(grades, key, &g, &err), AGRL_EPARSE);
    if (!strstr(err.msg, cases[i][2])) fail_msg("no \"%s\" in \"%s\"", cases[i][2], err.msg);
    sbs_gsb_release(&g);
    agrl_json_free(key);
    agrl_json_free(grades);
  }
}

static void grades_that_cannot_be_are_refused(void **state) {
  static const char *const cases[][2] = {
      {"{\"id\":\"70\",\"grade\":\"left\"}", "item \"70\" is not on the sheet"},
      {"{\"id\":\"1\",\"grade\":\"left\"},{\"id\":\"1\",\"grade\":\"left\"}", "item \"1\" is graded twice"},
      {"{\"id\":\"1\",\"grade\":\"both\"}", "graded \"both\", expected left, same or right"},
      {"{\"id\":\"1\"}", "graded \"\", expected"},
      {"7", "item \"\" is not on the sheet"},
  };
  sbs_gsb g;
  agrl_error err = {0};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    assert_int_equal(grade(cases[i][0], &g, &err), AGRL_EPARSE);
    if (!strstr(err.msg, cases[i][1])) fail_msg("no \"%s\" in \"%s\"", cases[i][1], err.msg);
    sbs_gsb_release(&g);
  }
  static const char s2[] = "{\"sheet\":\"s2\",\"grades\":[]}";
  agrl_json *key = parse(key_text, strlen(key_text)), *other = parse(s2, strlen(s2)), *none = parse("{}", 2);
  assert_int_equal(sbs_grade(other, key, &g, &err), AGRL_EPARSE);
  assert_non_null(strstr(err.msg, "of sheet \"s2\", the key is of sheet \"s1\""));
  sbs_gsb_release(&g);
  assert_int_equal(sbs_grade(other, none, &g, &err), AGRL_EPARSE);
  sbs_gsb_release(&g);
  assert_int_equal(sbs_grade(none, key, &g, &err), AGRL_EPARSE);
  sbs_gsb_release(&g);
  agrl_json_free(key);
  agrl_json_free(other);
  agrl_json_free(none);
}

// A sheet of good + same + bad grades.
static void gsb_of(int good, int same, int bad, sbs_gsb *g) {
  agrl_buf key = {0}, grades = {0};
  for (int i = 0; i < good + same + bad; i++) {
    agrl_buf_addf(&key, "%s{\"id\":\"%d\",\"left\":\"%s\"}", i ? "," : "{\"sheet\":\"s\",\"a\":\"a\",\"b\":\"b\",\"items\":[", i, i % 2 ? "a" : "b");
    const char *b = i % 2 ? "right" : "left", *a = i % 2 ? "left" : "right";
    agrl_buf_addf(&grades, "%s{\"id\":\"%d\",\"grade\":\"%s\"}", i ? "," : "{\"sheet\":\"s\",\"grades\":[", i, i < good ? b : i < good + bad ? a : "same");
  }
  agrl_buf_adds(&key, "]}");
  agrl_buf_adds(&grades, "]}");
  agrl_json *k = parse(key.data, key.len), *j = parse(grades.data, grades.len);
  assert_int_equal(sbs_grade(j, k, g, NULL), AGRL_OK);
  agrl_json_free(k);
  agrl_json_free(j);
  agrl_buf_release(&key);
  agrl_buf_release(&grades);
}

// 300 grades: the interval is near the normal one of their mean.
static void the_interval_has_the_right_width(void **state) {
  sbs_gsb g;
  gsb_of(150, 60, 90, &g);
  double mean = 60.0 / 300, half = 1.96 * sqrt((240.0 / 300 - mean * mean) / 300);
  assert_true(fabs(g.gsb - mean) < 1e-12);
  assert_true(fabs(g.low - (mean - half)) < 0.05 * half && fabs(g.high - (mean + half)) < 0.05 * half);
  sbs_gsb_release(&g);
}

// Where all grades are equal the interval keeps a width; over all that 12 grades may be it covers what is true often enough.
static void the_interval_covers_at_the_edge(void **state) {
  sbs_gsb g;
  gsb_of(10, 0, 0, &g);
  assert_true(g.gsb == 1 && g.high == 1 && g.low > 0.3 && g.low < 0.8);
  sbs_gsb_release(&g);
  gsb_of(0, 10, 0, &g);
  assert_true(g.gsb == 0 && g.low < -0.1 && g.low > -0.5 && fabs(g.low + g.high) < 1e-12);
  sbs_gsb_release(&g);
  enum { GRADES = 12 };
  static const double truths[][2] = {{0.95, 0.02}, {0.9, 0.05}, {0.5, 0.5}, {0.6, 0.2}, {0.1, 0.05}, {0.05, 0.9}, {0.3, 0.3}};
  for (size_t t = 0; t < sizeof truths / sizeof *truths; t++) {
    double p = truths[t][0], q = truths[t][1], covered = 0;
    for (int good = 0; good <= GRADES; good++)
      for (int bad = 0; bad + good <= GRADES; bad++) {
        int same = GRADES - good - bad;
        double chance = exp(lgamma(GRADES + 1) - lgamma(good + 1) - lgamma(bad + 1) - lgamma(same + 1)) * pow(p, good) * pow(q, bad) * pow(1 - p - q, same);
        gsb_of(good, same, bad, &g);
        if (g.low <= p - q && p - q <= g.high) covered += chance;
        sbs_gsb_release(&g);
      }
    if (covered < 0.93) fail_msg("good %g, bad %g: covered %g", p, q, covered);
  }
}

static void put(const char *path, const char *text) { assert_int_equal(agrl_file_write_atomic(path, text, strlen(text), NULL), AGRL_OK); }

static void items_belong_to_the_checkpoint_that_their_result_names(void **state) {
  char dir[] = "/tmp/agrl-sbs-XXXXXX";
  assert_non_null(mkdtemp(dir));
  char *one = agrl_path_join(dir, "one"), *two = agrl_path_join(dir, "two"), *latest = agrl_path_join(dir, "latest"), *result = agrl_path_join(dir, "eval.json");
  char *text = agrl_xasprintf("{\"checkpoint\":\"%s\",\"n\":7}", one);
  assert_true(!agrl_file_mkdirs(one, NULL) && !agrl_file_mkdirs(two, NULL) && !symlink("one", latest));
  assert_false(sbs_items_belong(result, one, 7));  // no result
  put(result, text);
  assert_true(sbs_items_belong(result, one, 7));
  assert_true(sbs_items_belong(result, latest, 7));
  assert_false(sbs_items_belong(result, two, 7));
  assert_false(sbs_items_belong(result, one, 6));
  assert_true(!unlink(latest) && !symlink("two", latest));  // trained on meanwhile
  assert_false(sbs_items_belong(result, latest, 7));
  put(result, "{\"n\":7}");
  assert_false(sbs_items_belong(result, one, 7));
  put(result, "not JSON");
  assert_false(sbs_items_belong(result, one, 7));
  assert_int_equal(agrl_file_remove_tree(dir, NULL), AGRL_OK);
  free(one);
  free(two);
  free(latest);
  free(result);
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_sheet_is_blind_and_the_key_opens_it), cmocka_unit_test(what_cannot_be_drawn_is_refused),
      cmocka_unit_test(gsb_by_hand),                             cmocka_unit_test(grades_that_cannot_be_are_refused), cmocka_unit_test(documents_that_cannot_be_are_refused),
      cmocka_unit_test(the_interval_has_the_right_width),        cmocka_unit_test(the_interval_covers_at_the_edge),
      cmocka_unit_test(items_belong_to_the_checkpoint_that_their_result_names),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
