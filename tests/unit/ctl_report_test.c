// SPDX-License-Identifier: Apache-2.0
// The report from a run directory of known results: what stands in text, JSON and page, which results are compared, which
// versions make the curve, and that the page neither loads anything nor lets a name become markup.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "deploy/ctl/report.h"

static char dir[64];
static agrl_config config;

static int setup(void **state) {
  strcpy(dir, "/tmp/agrl-report-XXXXXX");
  if (!mkdtemp(dir)) return -1;
  agrl_config_load(NULL, &config, NULL);
  return agrl_config_set(&config, "run.dir", dir, NULL) || agrl_config_set(&config, "run.name", "evil-run", NULL);
}

static int teardown(void **state) {
  agrl_config_release(&config);
  return agrl_file_remove_tree(dir, NULL) != AGRL_OK;
}

static void put(const char *label, const char *split, unsigned version, unsigned rows, double f1) {
  char *folder = agrl_xasprintf("%s/eval/%s", dir, label), *path = agrl_xasprintf("%s/%s.json", folder, split);
  unsigned epoch = 1;
  sscanf(label, "v%u-", &epoch);
  char *text = agrl_xasprintf(
      "{\"version\":%u,\"epoch\":%u,\"split\":\"%s\",\"n\":%u,\"accuracy\":0.5,\"accuracy_ci\":[0.4,0.6],\"macro_f1\":%g,\"macro_f1_ci\":[%g,%g],"
      "\"f1\":{\"4\":0.713,\"3\":0.5,\"2\":null,\"1\":1},\"f1_ci\":{\"4\":[0.6,0.8],\"3\":[0.4,0.6],\"2\":[null,null],\"1\":[1,1]},"
      "\"by_type\":{\"<script>alert(1)</script>\":{\"n\":3,\"accuracy\":0.5,\"macro_f1\":0.25,\"macro_f1_ci\":[0.1,0.4]}},"
      "\"confusion\":[[7,0,0,0],[0,11,0,0],[0,0,13,0],[17,0,0,19]],\"unreadable\":[0,0,0,23],"
      "\"argmax\":{\"macro_f1\":0.625,\"macro_f1_ci\":[0.5,0.75]},\"calibration\":{\"ece\":0.0875,\"bins\":[{\"n\":50,\"confidence\":0.5,\"accuracy\":0.25},"
      "{\"n\":4,\"confidence\":0.9,\"accuracy\":1}]},\"threshold\":{\"b\":0.375,\"chosen_on\":\"a & b\",\"dev_n\":9,\"macro_f1\":0.8125},"
      "\"malformed\":%u,\"pass_at_k\":[{\"k\":1,\"value\":0.5,\"value_ci\":[0.4,0.6]},{\"k\":2,\"value\":0.75,\"value_ci\":[0.7,0.8]}]}",
      version, epoch, split, rows, f1, f1 - 0.05, f1 + 0.05, version / 15);
  assert_int_equal(agrl_file_mkdirs(folder, NULL), AGRL_OK);
  assert_int_equal(agrl_file_write_atomic(path, text, strlen(text), NULL), AGRL_OK);
  free(folder);
  free(path);
  free(text);
}

static void has(const agrl_buf *page, const char *what) {
  if (!strstr(page->data, what)) fail_msg("no \"%s\" in\n%s", what, page->data);
}
static size_t count(const char *s, const char *what) {
  size_t n = 0;
  for (; (s = strstr(s, what)); s += strlen(what)) n++;
  return n;
}

static void everything(void **state) {
  put("sft", "eval", 0, 400, 0.5);
  put("latest", "eval", 30, 400, 0.625);
  put("best", "eval", 20, 40, 0.688);  // not of all rows
  put("latest", "natural", 30, 100, 0.375);
  put("v00000001-00000020", "eval", 20, 400, 0.688);
  put("v00000001-00000010", "eval", 10, 400, 0.562);
  put("v00000001-00000010", "dev", 10, 50, 0.438);
  put("other", "eval", 10, 400, 0.9);  // no label of the report
  report r;
  agrl_buf text = {0}, json = {0}, html = {0};
  assert_int_equal(report_load(&r, &config, NULL, NULL), AGRL_OK);
  assert_int_equal(r.n_splits, 2);
  report_text(&r, &text);
  report_json(&r, &json);
  report_html(&r, &html);
  has(&text, "macro F1               0.500 [0.450, 0.550]    0.688 [0.638, 0.738]    0.625 [0.575, 0.675]    +0.125");
  has(&text, "F1 of tier 4         0.713 [0.600, 0.800]");
  has(&text, "best, version 20");
  has(&text, "\n  rows                   400                     40                      400                   \n"
             "  malformed rows, not evaluated: 0 before, 1 best, 2 after\n");
  has(&text, "\n  rows that chose b      9                       9                       9 ");
  has(&text, "\n  by query type, macro F1:\n  <script>alert(1)</scr  0.250 [0.100, 0.400] ");
  has(&text, "\n  by query type, accuracy:\n  <script>alert(1)</scr  0.500 ");
  assert_null(strstr(text.data, "by query type, rule adherence"));  // in no result
  has(&text, "macro F1, likeliest    0.625 [0.500, 0.750]");
  has(&text, "    gold tier 4                    19       0       0      17          23");
  has(&text, "while training, eval: macro F1 by version\n       0  0.500 [0.450, 0.550]\n      10  0.562");
  has(&text, "while training, dev: macro F1 by version\n      10  0.438");  // no SFT of as many rows
  agrl_json *j = NULL;
  assert_int_equal(agrl_json_parse(json.data, json.len, "report.json", &j, NULL), AGRL_OK);
  const agrl_json *curve = agrl_json_get(agrl_json_get(j, "curves"), "eval");
  assert_int_equal(agrl_json_len(curve), 3);
  double v = 0;
  assert_true(agrl_json_f64(agrl_json_get(agrl_json_at(curve, 2), "version"), &v) && v == 20);
  assert_true(agrl_json_f64(agrl_json_get(agrl_json_at(curve, 2), "macro_f1"), &v) && v == 0.688);
  assert_true(agrl_json_f64(agrl_json_get(agrl_json_get(agrl_json_get(agrl_json_get(j, "splits"), "eval"), "best"), "macro_f1"), &v) && v == 0.688);
  agrl_json_free(j);
  has(&html, "<td>macro F1</td><td class=\"n\">0.500 <span class=\"muted\">[0.450, 0.550]</span></td><td class=\"n\">0.688");
  has(&html, "&lt;script&gt;alert(1)&lt;/script&gt;");
  has(&html, "<td>rows</td><td class=\"n\">400</td><td class=\"n\">40</td><td class=\"n\">400</td>");
  has(&html, "<td>malformed rows, not evaluated</td><td class=\"n\">0</td><td class=\"n\">1</td><td class=\"n\">2</td>");
  has(&html, "<td>rows that chose b</td><td class=\"n\">9</td><td class=\"n\">9</td><td class=\"n\">9</td>");
  has(&html, "<td rowspan=\"3\">&lt;script&gt;alert(1)&lt;/script&gt;</td><td class=\"muted\">before RL (SFT)</td><td class=\"n\">3</td>"
             "<td class=\"n\">0.250 <span class=\"muted\">[0.100, 0.400]</span></td><td class=\"n\">0.500</td><td class=\"n muted\">-</td>");
  has(&html, "chosen on: a &amp; b");
  has(&html, "its figure flatters it");
  has(&html, "pass@k");
  assert_null(strstr(html.data, "<script"));  // a page without a script
  assert_null(strstr(html.data, "href"));
  assert_null(strstr(html.data, "src="));
  assert_int_equal(count(html.data, "http"), count(html.data, "xmlns=\"http://www.w3.org/2000/svg\"") + 1);  // http-equiv
  assert_int_equal(count(html.data, "<svg"), count(html.data, "</svg>"));
  assert_int_equal(count(html.data, "<table"), count(html.data, "</table>"));
  assert_int_equal(count(html.data, "<tr"), count(html.data, "</tr>"));
  assert_int_equal(count(html.data, "<div"), count(html.data, "</div>"));
  assert_int_equal(count(html.data, "nan"), 0);
  agrl_buf_release(&text);
  agrl_buf_release(&json);
  agrl_buf_release(&html);
  report_release(&r);
}

// What does not fit, and names that would steer a terminal.
static void what_is_left_out_is_told(void **state) {
  char name[16];
  for (int i = 0; i < 10; i++) {
    snprintf(name, sizeof name, "s%d", i);
    put("sft", name, 0, 400, 0.5);
    put("v00000001-00000010", name, 10, 400, 0.5);
  }
  static const char types[] =
      "{\"split\":\"s0\",\"n\":4,\"macro_f1\":0.5,\"macro_f1_ci\":[null,null],\"types_left_out\":3,"
      "\"by_type\":{\"\\u001b[2J\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9\\u00e9\":{\"n\":3,\"macro_f1\":0.25}}}";
  char *folder = agrl_path_join(dir, "eval/latest"), *path = agrl_path_join(folder, "s0.json");
  assert_true(!agrl_file_mkdirs(folder, NULL) && !agrl_file_write_atomic(path, types, strlen(types), NULL));
  report r;
  agrl_buf text = {0}, json = {0}, html = {0};
  assert_int_equal(report_load(&r, &config, NULL, NULL), AGRL_OK);
  report_text(&r, &text);
  report_json(&r, &json);
  report_html(&r, &html);
  has(&html, "left out, the report shows 8 at most: s8 s9");
  has(&html, "Left out: 3 more query types.");
  has(&text, "\nleft out, the report shows 8 at most: s8 s9\n");
  has(&text, "\n  left out: 3 more query types\n");
  has(&text, "\n  \\x1b[2J\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9  -");  // 21 characters
  has(&html, "\\x1b[2J\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\u2026</text>");  // 17 columns of 18
  assert_null(strchr(text.data, 27));
  assert_null(strstr(text.data, "nan"));
  has(&json, "\"splits_left_out\":[\"s8\",\"s9\"]");
  agrl_buf_release(&text);
  agrl_buf_release(&json);
  agrl_buf_release(&html);
  report_release(&r);
  free(folder);
  free(path);
}

// The y of the first <text> with this content at or after `from`.
static double y_of(const char *from, const char *content) {
  char end[64];
  double y = NAN;
  snprintf(end, sizeof end, ">%s</text>", content);
  const char *at = strstr(from, end), *tag = at;
  if (!at) fail_msg("no \"%s\"", end);
  while (tag > from && *tag != '<') tag--;
  assert_int_equal(sscanf(tag, "<text x=\"%*f\" y=\"%lf\"", &y), 1);
  return y;
}

// A label of one's own is as long as a plot's title: they share no line, and what is longer than the plot is cut.
static void a_legend_is_clear_of_the_title(void **state) {
  static const char label[] = "at-v00000001-00000700-of-another-run";
  put("sft", "eval", 0, 400, 0.5);
  put("best", "eval", 20, 400, 0.5);
  put(label, "eval", 30, 400, 0.625);
  report r;
  agrl_buf html = {0};
  assert_int_equal(report_load(&r, &config, label, NULL), AGRL_OK);
  report_html(&r, &html);
  static const char *const titles[] = {"F1 by tier", "Macro F1 by query type", "Calibration of the tier score", "pass@k"};
  for (size_t i = 0; i < 4; i++) {
    const char *plot = strstr(html.data, titles[i]) - 200;
    const double title = y_of(plot, titles[i]), before = y_of(plot, "before RL (SFT)"), last = y_of(plot, "at-v00000001-00000700-of-ano\u2026");
    if (before != last || before - title < 16) fail_msg("%s at %g, its legend at %g and %g", titles[i], title, before, last);
  }
  agrl_buf_release(&html);
  report_release(&r);
}

// Left end and lower end of each slanted label, at size 11, a wide character being as wide as it is high: inside of the plot.
static void labels_are_inside(const char *bars) {
  double height = 0;
  assert_int_equal(sscanf(bars, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%*f\" height=\"%lf\"", &height), 1);
  for (const char *at = bars; (at = strstr(at, "translate(")); at++) {
    double x, y, length = 0;
    assert_int_equal(sscanf(at, "translate(%lf %lf) rotate(-45)", &x, &y), 2);
    for (const char *c = strchr(at, '>') + 1; *c != '<'; c++) length += (*c & 0x80) == 0 ? 6 : (*c & 0xc0) == 0xc0 ? 11 : 0;
    if (x - 0.71 * length < 0 || y + 0.71 * length > height) fail_msg("a label of %g at %g, %g in a plot %g high: %.60s", length, x, y, height, at);
  }
}

// Fifteen types: none is missing in the table, and in the plot nothing stands over anything else.
static void many_types_can_be_told_apart(void **state) {
  static const char wide[] = "\u4e00\u4e00\u4e00\u4e00\u4e00\u4e00\u4e00\u4e00\u4e00\u4e00\u4e00\u4e00\u4e00\u4e00\u4e00\u4e00\u4e00\u4e00";
  agrl_buf json = {0}, html = {0};
  agrl_buf_adds(&json, "{\"split\":\"eval\",\"n\":150,\"macro_f1\":0.5,\"by_type\":{");
  for (int i = 0; i < 15; i++)
    agrl_buf_addf(&json, "%s\"%s%d\":{\"n\":%d,\"accuracy\":0.%03d,\"macro_f1\":0.%03d,\"rule_adherence\":0.%03d,\"rule_adherence_ci\":[0.125,1]}",
                  i ? "," : "", i == 0 ? wide : i == 3 ? "longer than a label can be, number " : "type ", i, i, 100 + i, 200 + i, 300 + i);
  agrl_buf_adds(&json, "}}");
  static const char *const labels[] = {"sft", "best", "latest"};
  for (int i = 0; i < 3; i++) {
    char *folder = agrl_xasprintf("%s/eval/%s", dir, labels[i]), *path = agrl_path_join(folder, "eval.json");
    assert_true(!agrl_file_mkdirs(folder, NULL) && !agrl_file_write_atomic(path, json.data, json.len, NULL));
    free(folder);
    free(path);
  }
  report r;
  assert_int_equal(report_load(&r, &config, NULL, NULL), AGRL_OK);
  report_html(&r, &html);
  for (int i = 0; i < 15; i++) {
    char row[256];
    snprintf(row, sizeof row, "<td class=\"n\">%d</td><td class=\"n\">0.%03d</td><td class=\"n\">0.%03d</td>"
             "<td class=\"n\">0.%03d <span class=\"muted\">[0.125, 1.000]</span></td>", i, 200 + i, 100 + i, 300 + i);
    assert_int_equal(count(html.data, row), 3);
  }
  const char *plot = strstr(html.data, "Macro F1 by query type"), *end = strstr(plot, "</svg>");
  while (strncmp(plot, "<svg", 4) != 0) plot--;
  char *bars = strndup(plot, (size_t)(end - plot));
  assert_int_equal(count(bars, "rotate(-45)"), 15);
  assert_int_equal(count(bars, ">longer than a labe\u2026</text>"), 1);
  assert_int_equal(count(bars, ">\u4e00\u4e00\u4e00\u4e00\u4e00\u4e00\u4e00\u4e00\u4e00\u2026</text>"), 1);
  labels_are_inside(bars);
  assert_int_equal(count(bars, ">0.20</text>"), 0);  // values have no room over the bars
  free(bars);
  agrl_buf_release(&json);
  agrl_buf_release(&html);
  report_release(&r);
}

// What training is watched by stands on the page, not in the plot for others, and says where it was not measured.
static void stability_is_on_the_page(void **state) {
  static const char lines[] =
      "{\"phase\":\"rl\",\"step\":1,\"version\":1,\"entropy\":0.5,\"kl\":null,\"reward_std\":0.25,\"clip_ratio_low\":0.001,\"clip_ratio_high\":0.002,"
      "\"logprob_abs_diff_max\":0.125}\n"
      "{\"phase\":\"rl\",\"step\":2,\"version\":2,\"entropy\":0.625,\"kl\":null,\"reward_std\":0.25,\"clip_ratio_low\":0.001,\"clip_ratio_high\":0.002}\n";
  char *path = agrl_path_join(dir, "metrics.jsonl");
  assert_int_equal(agrl_file_write_atomic(path, lines, strlen(lines), NULL), AGRL_OK);
  report r;
  agrl_buf html = {0}, svg = {0};
  assert_int_equal(report_load(&r, &config, NULL, NULL), AGRL_OK);
  report_html(&r, &html);
  report_svg(&r, &svg);
  static const char *const titles[] = {"Entropy of the policy, nats", "KL to the reference, nats", "Standard deviation of the reward in a group",
                                       "Share of clipped tokens"};
  const size_t drawn[] = {2, 0, 2, 4};  // each line with its smoothed one
  for (size_t i = 0; i < 4; i++) {
    has(&html, titles[i]);
    assert_null(strstr(svg.data, titles[i]));
    const char *from = strstr(html.data, titles[i]), *to = i < 3 ? strstr(from, titles[i + 1]) : from + strlen(from);
    char *panel = strndup(from, (size_t)(to - from));
    assert_int_equal(count(panel, "<polyline"), drawn[i]);
    assert_int_equal(count(panel, "not measured in this run"), drawn[i] == 0);
    free(panel);
  }
  has(&html, "at equal version: 0.125 nats (versions that have such tokens: 1)");
  free(path);
  agrl_buf_release(&html);
  agrl_buf_release(&svg);
  report_release(&r);
}

static void curve_is(size_t n, const double points[][2]) {
  report r;
  assert_int_equal(report_load(&r, &config, NULL, NULL), AGRL_OK);
  assert_true(r.n_curves == 2 && r.curves[0].n == 1 && r.curves[1].n == n);  // "dev", "eval"
  for (size_t i = 0; i < n; i++) assert_true(r.curves[1].points[i].version == points[i][0] && r.curves[1].points[i].value == points[i][1]);
  report_release(&r);
}

// Where the learner forked, versions of the older epoch from there on are of weights that did not survive.
static void a_dead_line_is_not_in_the_curve(void **state) {
  put("sft", "eval", 0, 400, 0.25);
  put("v00000001-00000010", "eval", 10, 400, 0.5);
  put("v00000001-00000010", "dev", 10, 400, 0.5);
  put("v00000001-00000020", "eval", 20, 400, 0.625);
  put("v00000001-00000030", "eval", 30, 400, 0.75);
  put("v00000001-00000040", "eval", 40, 400, 0.875);
  put("v00000001-00000040", "dev", 40, 400, 0.875);
  put("v00000001-00000040", "late", 40, 400, 0.875);  // nothing is left of it
  put("v00000002-00000030", "eval", 30, 400, 0.375);
  curve_is(4, (const double[][2]){{0, 0.25}, {10, 0.5}, {20, 0.625}, {30, 0.375}});
  // Where it forked is known to the version from the training's lines.
  static const char lines[] = "{\"phase\":\"rl\",\"step\":14,\"version\":4294967310}\n{\"phase\":\"rl\",\"step\":15,\"version\":8589934607}\n";
  char *path = agrl_path_join(dir, "metrics.jsonl");
  assert_int_equal(agrl_file_write_atomic(path, lines, strlen(lines), NULL), AGRL_OK);
  curve_is(3, (const double[][2]){{0, 0.25}, {10, 0.5}, {30, 0.375}});
  free(path);
}

static void nothing(void **state) {
  report r;
  agrl_buf html = {0};
  assert_int_equal(report_load(&r, &config, NULL, NULL), AGRL_OK);
  report_html(&r, &html);
  has(&html, "Not evaluated yet");
  agrl_buf_release(&html);
  report_release(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(everything, setup, teardown),
                                     cmocka_unit_test_setup_teardown(what_is_left_out_is_told, setup, teardown),
                                     cmocka_unit_test_setup_teardown(a_legend_is_clear_of_the_title, setup, teardown),
                                     cmocka_unit_test_setup_teardown(many_types_can_be_told_apart, setup, teardown),
                                     cmocka_unit_test_setup_teardown(stability_is_on_the_page, setup, teardown),
                                     cmocka_unit_test_setup_teardown(a_dead_line_is_not_in_the_curve, setup, teardown),
                                     cmocka_unit_test_setup_teardown(nothing, setup, teardown)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
