// SPDX-License-Identifier: Apache-2.0
// Following metrics.jsonl: half lines, resumed steps, bad lines; rates; the view's text; the chart writer.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "deploy/ctl/ctl.h"
#include "deploy/ctl/report.h"
#include "deploy/ctl/svg.h"
#include "deploy/ctl/view.h"

static char dir[] = "/tmp/ctl-series-[a]*-XXXXXX";  // not a pattern
static char path[64];

static void append(const char *text) {
  FILE *f = fopen(path, "a");
  assert_non_null(f);
  fputs(text, f);
  fclose(f);
}

static void step(const char *phase, int n, int of, double wall) {
  char line[256];
  snprintf(line, sizeof line, "{\"phase\":\"%s\",\"step\":%d,\"steps\":%d,\"loss\":0.5,\"reward_mean\":0.25,\"kl\":null,\"step_seconds\":0.1,\"wall\":%g}\n",
           phase, n, of, wall);
  append(line);
}

static int fresh(void **state) {
  snprintf(path, sizeof path, "%s/metrics.jsonl", dir);
  unlink(path);
  return 0;
}

static void follows_a_growing_file(void **state) {
  ctl_series s = {0};
  assert_int_equal(ctl_series_read(&s, path, NULL), AGRL_OK);  // absent
  assert_int_equal(s.n, 0);
  step("sft", 1, 2, 10);
  append("{\"phase\":\"sft\",\"step\":2,");  // the writer is not done
  ctl_series_read(&s, path, NULL);
  assert_int_equal(s.n, 1);
  append("\"steps\":2}\nnot json\n{\"step\":3}\n");
  ctl_series_read(&s, path, NULL);
  assert_int_equal(s.n, 2);
  assert_int_equal(s.bad, 2);
  assert_true(isnan(ctl_series_last(&s)->loss));
  step("rl", 1, 9, 20);
  ctl_series_read(&s, path, NULL);
  assert_int_equal(s.n, 3);
  assert_true(ctl_series_last(&s)->rl);
  assert_true(isnan(ctl_series_last(&s)->kl));
  ctl_series_release(&s);
}

static void keeps_the_surviving_line(void **state) {
  ctl_series s = {0};
  for (int i = 1; i <= 6; i++) step("rl", i, 9, i);
  for (int i = 4; i <= 5; i++) step("rl", i, 9, 10 + i);  // resumed from 3
  ctl_series_read(&s, path, NULL);
  assert_int_equal(s.n, 5);
  assert_true(s.points[3].wall == 14);
  assert_true(ctl_series_last(&s)->step == 5);
  ctl_series_release(&s);
}

static void tells_rate_and_progress(void **state) {
  ctl_series s = {0};
  assert_true(isnan(ctl_series_rate(&s)));
  for (int i = 1; i <= 5; i++) step("rl", i, 45, 100 + 2 * i);
  agrl_config c;
  assert_int_equal(agrl_config_load(NULL, &c, NULL), AGRL_OK);
  assert_int_equal(agrl_config_set(&c, "run.dir", dir, NULL), AGRL_OK);
  ctl_view v;
  ctl_view_init(&v, &c);
  v.actors_running = 2;
  v.actors_wanted = 3;
  ctl_view_refresh(&v);
  assert_true(fabs(ctl_series_rate(&v.series) - 0.5) < 1e-9);
  agrl_buf line = {0};
  ctl_view_line(&v, &line);
  assert_non_null(strstr(line.data, "phase=rl step=5/45 rate=0.50/s left=1m20s"));
  assert_non_null(strstr(line.data, "actors=2/3"));
  agrl_buf_clear(&line);
  ctl_view_block(&v, 100, &line);
  assert_non_null(strstr(line.data, "0.50/s, 1m20s left"));
  agrl_buf_release(&line);
  ctl_view_release(&v);
  agrl_config_release(&c);
  ctl_series_release(&s);
}

static void durations(void **state) {
  char t[32];
  static const struct {
    double s;
    const char *text;
  } cases[] = {{0, "0s"}, {59, "59s"}, {61, "1m01s"}, {3725, "1h02m"}, {NAN, "?"}, {INFINITY, "?"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    ctl_duration_text(cases[i].s, t);
    assert_string_equal(t, cases[i].text);
  }
}

static void chart_helpers(void **state) {
  assert_true(fabs(svg_step(1, 5) - 0.2) < 1e-12);
  assert_true(svg_step(200, 7) == 20);
  assert_true(svg_step(0, 5) == 1);
  double y[] = {1, 1, NAN, 1, 1}, out[5];
  svg_smooth(y, out, 5);
  assert_true(isnan(out[2]) && fabs(out[0] - 1) < 1e-12 && fabs(out[4] - 1) < 1e-12);
  agrl_buf b = {0};
  svg_text(&b, 0, 0, 10, "start", SVG_INK, false, "a<b & \"c\"");
  assert_non_null(strstr(b.data, ">a&lt;b &amp; \"c\"<"));
  agrl_buf_release(&b);
}

static void write_eval(const char *label, double f1) {
  char file[128], text[512];
  snprintf(file, sizeof file, "%s/eval/%s", dir, label);
  assert_int_equal(agrl_file_mkdirs(file, NULL), AGRL_OK);
  snprintf(file, sizeof file, "%s/eval/%s/eval.json", dir, label);
  snprintf(text, sizeof text, "{\"split\":\"eval\",\"n\":10,\"version\":7,\"accuracy\":0.5,\"accuracy_ci\":[0.4,0.6],\"macro_f1\":%g,\"f1\":{\"1\":0.1,\"4\":0.4}}", f1);
  assert_int_equal(agrl_file_write_atomic(file, text, strlen(text), NULL), AGRL_OK);
}

static void reports_before_and_after(void **state) {
  for (int i = 1; i <= 20; i++) step("rl", i, 20, i);
  write_eval("sft", 0.25);
  write_eval("latest", 0.75);
  write_eval("a-latest", 0.125);  // another label is another folder
  agrl_config c;
  agrl_config_load(NULL, &c, NULL);
  agrl_config_set(&c, "run.dir", dir, NULL);
  report r;
  agrl_error err = {0};
  if (report_load(&r, &c, NULL, &err)) fail_msg("%s", err.msg);
  assert_int_equal(r.n_splits, 1);
  agrl_buf b = {0};
  report_text(&r, &b);
  assert_non_null(strstr(b.data, "+0.500"));
  assert_non_null(strstr(b.data, "0.500 [0.400, 0.600]"));
  agrl_buf_clear(&b);
  report_json(&r, &b);
  agrl_json *j = NULL;
  if (agrl_json_parse(b.data, b.len, "report", &j, &err)) fail_msg("%s", err.msg);
  double v = 0;
  assert_true(agrl_json_f64(agrl_json_get(agrl_json_get(agrl_json_get(agrl_json_get(j, "splits"), "eval"), "change"),
                                          "macro_f1"), &v));
  assert_true(fabs(v - 0.5) < 1e-9);
  agrl_json_free(j);
  agrl_buf_clear(&b);
  report_svg(&r, &b);
  assert_null(strstr(b.data, "nan"));
  assert_null(strstr(b.data, "inf,"));
  assert_null(strstr(b.data, "inf\""));
  assert_non_null(strstr(b.data, "</svg>"));
  agrl_buf_release(&b);
  report_release(&r);
  agrl_config_release(&c);
}

static void refuses_files_of_one_name(void **state) {
  agrl_config c;
  agrl_error err = {0};
  assert_int_equal(agrl_config_load(NULL, &c, NULL), AGRL_OK);
  assert_int_equal(ctl_eval_check(&c, &err), AGRL_OK);
  agrl_config_set(&c, "data.eval", "a/eval.jsonl,a/eval_natural.jsonl,b/other.jsonl", NULL);
  assert_int_equal(ctl_eval_check(&c, &err), AGRL_OK);
  agrl_config_set(&c, "data.eval", "a/eval.jsonl,b/other.jsonl,b/eval.json", NULL);
  assert_int_equal(ctl_eval_check(&c, &err), AGRL_ECONFIG);
  assert_non_null(strstr(err.msg, "a/eval.jsonl and b/eval.json would have one name, eval;"));
  agrl_config_release(&c);
}

static void reports_an_empty_run(void **state) {
  agrl_config c;
  agrl_config_load(NULL, &c, NULL);
  agrl_config_set(&c, "run.dir", "/nonexistent", NULL);
  report r;
  agrl_buf b = {0};
  assert_int_equal(report_load(&r, &c, NULL, NULL), AGRL_OK);
  report_text(&r, &b);
  report_svg(&r, &b);
  assert_null(strstr(b.data, "nan\""));
  agrl_buf_release(&b);
  report_release(&r);
  agrl_config_release(&c);
}

static int make_dir(void **state) { return mkdtemp(dir) ? 0 : -1; }
static int drop_dir(void **state) { return agrl_file_remove_tree(dir, NULL); }

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(follows_a_growing_file, fresh),   cmocka_unit_test_setup(keeps_the_surviving_line, fresh),
      cmocka_unit_test_setup(tells_rate_and_progress, fresh),  cmocka_unit_test(durations),
      cmocka_unit_test(chart_helpers),                         cmocka_unit_test_setup(reports_before_and_after, fresh),
      cmocka_unit_test_setup(reports_an_empty_run, fresh),     cmocka_unit_test(refuses_files_of_one_name),
  };
  return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
