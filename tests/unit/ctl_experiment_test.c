// SPDX-License-Identifier: Apache-2.0
// Experiment files: what is read, what is refused and where; Student's t; results of finished runs as a table.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/mem.h"
#include "deploy/ctl/experiment.h"

static char dir[] = "/tmp/ctl-experiment-XXXXXX";

static char *file(const char *name, const char *text) {
  char *path = agrl_path_join(dir, name), *parent = agrl_path_dir(path);
  agrl_error err = {0};
  assert_int_equal(agrl_file_mkdirs(parent, &err), AGRL_OK);
  assert_int_equal(agrl_file_write_atomic(path, text, strlen(text), &err), AGRL_OK);
  free(parent);
  return path;
}

#define HEAD "name: x\nconfig: base.yaml\ndata: {make: {train: 100, eval: 50}}\nseeds: [3, 1]\n"

static const char *const good =
    HEAD
    "set: {grpo.versions: 7}\n"
    "start: {sft.steps: 9}\n"
    "arms:\n  plain: {run.method: grpo-pr}\n  guided: {}\n"
    "grid: {replay.staleness_bound: [0, 4], grpo.lr: [0.1, 0.2]}\n"
    "baseline: plain,staleness_bound=4,lr=0.1\n";

static void reads_the_cross_product(void **state) {
  char *path = file("good.yaml", good);
  experiment e;
  agrl_error err = {0};
  assert_int_equal(exp_read(path, &e, &err), AGRL_OK);
  assert_int_equal(e.n_seeds, 2);
  assert_int_equal(e.seeds[0], 3);
  assert_int_equal(e.n_arms, 8);
  assert_string_equal(e.arms[0].name, "plain,staleness_bound=0,lr=0.1");
  assert_string_equal(e.arms[7].name, "guided,staleness_bound=4,lr=0.2");
  assert_int_equal(e.arms[0].set.n, 3);
  assert_string_equal(e.arms[7].set.at[1].key, "grpo.lr");
  assert_string_equal(e.arms[7].set.at[1].value, "0.2");
  assert_int_equal(e.baseline, 2);
  assert_true(e.has_start);
  char *config = agrl_path_join(dir, "base.yaml");
  agrl_config c;
  assert_int_equal(exp_effective(&e, &e.arms[7], &c, &err), AGRL_OK);
  assert_true(c.grpo.lr == 0.2 && c.grpo.versions == 7 && c.sft.steps == 0 && c.replay.staleness_bound == 4);
  agrl_config_release(&c);
  assert_int_equal(exp_effective(&e, NULL, &c, &err), AGRL_OK);
  assert_true(c.sft.steps == 9);
  agrl_config_release(&c);
  assert_string_equal(e.config, config);
  free(config);
  exp_release(&e);
  free(path);
}

// Adapters need a model to start from: the start is one.
static void arms_begin_with_the_start(void **state) {
  char *path = file("lora.yaml", HEAD "start: {}\narms: {full: {}, lora: {lora.rank: 4}}\n");
  experiment e;
  agrl_error err = {0};
  if (exp_read(path, &e, &err)) fail_msg("%s", err.msg);
  exp_release(&e);
  free(path);
}

static void refuses(const char *text, const char *place, const char *what) {
  char *path = file("bad.yaml", text);
  experiment e;
  agrl_error err = {0};
  assert_int_equal(exp_read(path, &e, &err), AGRL_ECONFIG);
  if (!strstr(err.msg, place) || !strstr(err.msg, what)) fail_msg("'%s' has not '%s' and '%s'", err.msg, place, what);
  exp_release(&e);
  free(path);
}

static void refuses_by_name_and_place(void **state) {
  refuses(HEAD "arm: {}\n", "bad.yaml:5:", "arms");  // the nearest key
  refuses(HEAD "methods: {}\n", "bad.yaml:5:", "name, config, data, seeds, set, start, arms, grid, baseline");  // nothing is near
  refuses(HEAD "arms: {a: {temperature: 1}}\n", "bad.yaml:5:", "actor.temperature");  // a key without its section
  refuses(HEAD "set: {grpo.verions: 7}\n", "bad.yaml:5:", "grpo.versions");
  refuses(HEAD "set: {grpo.group_size: 1}\n", "bad.yaml:5:", "grpo.group_size");
  refuses(HEAD "set: {run.seed: 7}\n", "bad.yaml:5:", "run.seed");
  refuses(HEAD "arms: {a/b: {}}\n", "bad.yaml:5:", "a/b");
  refuses(HEAD "arms: {start: {}}\n", "bad.yaml:5:", "start");
  refuses(HEAD "arms: {data: {}}\n", "bad.yaml:5:", "data");
  refuses(HEAD "arms: {a: {lr: 1}}\n", "bad.yaml:5:", "did you mean sft.lr or grpo.lr?");
  refuses(HEAD "arms: {}\n", "bad.yaml:5:", "there is none");
  refuses(HEAD "arms: {one: {}, two: {}}\nbaseline: onee\n", "bad.yaml:6:", "nearest: one");
  refuses(HEAD "grid: {grpo.lr: 0.1}\n", "bad.yaml:5:", "expected a list");
  refuses(HEAD "grid: {grpo.lr: [0.1, 0.1]}\n", "bad.yaml:5:", "twice");
  refuses(HEAD "arms: {one: {}, two: {lora.rank: 4}}\n", "two", "model.init");  // there is no start
  refuses(HEAD "arms: {one: {}, two: {grpo.group_size: 4, replay.guide_replace: 5}}\n", "two", "guide_replace");
  refuses("name: x\nconfig: c\nseeds: [1]\n", "bad.yaml:1:", "data");
  refuses("name: x\nconfig: c\ndata: {train: t}\nseeds: [1]\n", "bad.yaml:3:", "train and eval");
  refuses("name: x\nconfig: c\ndata: {make: {trian: 5}}\nseeds: [1]\n", "bad.yaml:3:", "train");
  refuses("name: x\nconfig: c\ndata: {make: {}}\nseeds: [1, 1]\n", "bad.yaml:4:", "twice");
  refuses("name: x\nconfig: c\ndata: {make: {natural: 0}}\nseeds: [1]\n", "bad.yaml:3:", "data.make.natural: expected a number from 1 to");
  refuses("name: x\nconfig: c\ndata: {make: {leaves: 9}}\nseeds: [1]\n", "bad.yaml:3:", "data.make.leaves: expected a number from 2 to 8");
  refuses("name: data\nconfig: c\ndata: {make: {}}\nseeds: [1]\n", "bad.yaml:1:", "'data' cannot name a directory");  // a seed's data are there
  refuses("name: a,b\nconfig: c\ndata: {make: {}}\nseeds: [1]\n", "bad.yaml:1:", "plain name");  // data.eval is a list with commas
  refuses("name: ../x\nconfig: c\ndata: {make: {}}\nseeds: [1]\n", "bad.yaml:1:", "plain name");
}

// The last arm that there may be is found as the baseline; the first one too many is named.
static void arms_have_a_limit(void **state) {
  agrl_buf text = {0};
  experiment e;
  agrl_error err = {0};
  agrl_buf_adds(&text, HEAD "baseline: a255\narms:\n");
  for (int i = 0; i < 256; i++) agrl_buf_addf(&text, "  a%d: {}\n", i);
  char *path = file("many.yaml", text.data);
  if (exp_read(path, &e, &err)) fail_msg("%s", err.msg);
  assert_true(e.n_arms == 256 && e.baseline == 255);
  exp_release(&e);
  agrl_buf_adds(&text, "  a256: {}\n");
  refuses(text.data, "bad.yaml:263:", "more than 256 arms");
  agrl_buf_release(&text);
  free(path);
}

// A grid alone gives its arms their names.
static void a_grid_needs_no_arms(void **state) {
  char *path = file("grid.yaml", HEAD "grid: {replay.staleness_bound: [0, 4]}\n"), *one = file("one.yaml", HEAD "grid: {}\n");
  experiment e;
  agrl_error err = {0};
  if (exp_read(path, &e, &err)) fail_msg("%s", err.msg);
  assert_int_equal(e.n_arms, 2);
  assert_string_equal(e.arms[1].name, "staleness_bound=4");
  exp_release(&e);
  if (exp_read(one, &e, &err)) fail_msg("%s", err.msg);
  assert_true(e.n_arms == 1 && !strcmp(e.arms[0].name, "x"));
  exp_release(&e);
  free(one);
  free(path);
  static const char *const named[] = {"grid: {replay.staleness_bound: [0, 4]}\n", "arms: {a: {}}\n"};  // then it names no arm
  for (size_t i = 0; i < 2; i++) {
    char *text = agrl_xasprintf("name: data\nconfig: base.yaml\ndata: {make: {}}\nseeds: [1]\n%s", named[i]);
    path = file("named.yaml", text);
    if (exp_read(path, &e, &err)) fail_msg("%s", err.msg);
    exp_release(&e);
    free(path);
    free(text);
  }
}

// Every arm that a shipped file promises, and what makes it that arm.
static void shipped(const char *name, size_t n_arms, const char *arm, const char *key, const char *value) {
  char *path = agrl_xasprintf("%s/../deploy/etc/experiments/%s.yaml", AGRL_TEST_DIR, name);
  experiment e;
  agrl_error err = {0};
  bool found = false;
  if (exp_read(path, &e, &err)) fail_msg("%s", err.msg);
  assert_true(e.n_seeds >= 3 && e.n_arms == n_arms && e.has_start && agrl_file_exists(e.config));
  for (size_t a = 0; a < e.n_arms; a++)
    for (size_t i = 0; !strcmp(e.arms[a].name, arm) && i < e.arms[a].set.n; i++)
      found |= !strcmp(e.arms[a].set.at[i].key, key) && !strcmp(e.arms[a].set.at[i].value, value);
  if (!found) fail_msg("%s.yaml has no arm %s with %s: %s", name, arm, key, value);
  exp_release(&e);
  free(path);
}

static void shipped_files_hold_what_they_promise(void **state) {
  static const char *const methods[] = {"sft", "dpo", "grpo", "grpo-pr", "agrl"}, *const bounds[] = {"0", "1", "2", "4", "8"},
                    *const gates[] = {"none", "rule", "outcome", "both"}, *const losses[] = {"plain", "tis", "guide"},
                    *const selectors[] = {"uniform", "priority", "fresh"};
  char arm[32];
  for (size_t i = 0; i < 5; i++) {
    shipped("ladder", 6, methods[i], "run.method", methods[i]);
    shipped("esci", 5, methods[i], "run.method", methods[i]);
    snprintf(arm, sizeof arm, "staleness_bound=%s", bounds[i]);
    shipped("staleness", 5, arm, "replay.staleness_bound", bounds[i]);
  }
  for (size_t i = 0; i < 4; i++) {
    snprintf(arm, sizeof arm, "gate=%s", gates[i]);
    shipped("gates", 4, arm, "reward.gate", gates[i]);
  }
  for (size_t i = 0; i < 3; i++) {
    shipped("guidance", 6, losses[i], "grpo.guided_loss", losses[i]);
    snprintf(arm, sizeof arm, "selector=%s", selectors[i]);
    shipped("replay", 3, arm, "replay.selector", selectors[i]);
  }
}

#define MADE                                                                                                                        \
  "up\n--config etc/experiments/../base.yaml\n--run-dir /out/seed4/a\n--data /out/seed4/data/train.jsonl\n--set data.eval=/out/eval.jsonl\n" \
  "--set run.seed=4\n--set data.rules=etc/rules.yaml\n--set model.init=/out/seed4/start/checkpoints/sft\n--set sft.steps=0\n"              \
  "data make\n--out /out/seed4/data\n--seed 4\n--train 24000\nconfig etc/experiments/../base.yaml 6e24\ninit base/model.safetensors 33cc\nrules etc/rules.yaml 598c\n"      \
  "train /d/train.jsonl 11aa\neval /d/one.jsonl 22bb\n"

// One place changed. Where directories and files are makes no difference; what is in them, and any other setting, does.
static void same(bool want, const char *what, const char *other) {
  agrl_buf text = {0};
  const char *at = strstr(MADE, what);
  assert_non_null(at);
  agrl_buf_addf(&text, "%.*s%s%s", (int)(at - MADE), MADE, other, at + strlen(what));
  if (exp_same_settings(MADE, text.data) != want) fail_msg("'%s' and '%s' are %s", what, other, want ? "different" : "the same");
  agrl_buf_release(&text);
}

static void settings_are_compared_without_paths(void **state) {
  same(true, "etc/experiments/../base.yaml\n", "/etc/agrl/base.yaml\n");
  same(true, "--run-dir /out/seed4/a", "--run-dir /a copy/seed4/a");
  same(true, "--data /out/", "--data copy/");
  same(true, "data.eval=/out/eval.jsonl", "data.eval=copy/eval.jsonl");
  same(true, "data.rules=etc/rules.yaml", "data.rules=/etc/agrl/rules.yaml");
  same(true, "model.init=/out/", "model.init=/copy/");
  same(true, "--out /out/", "--out /copy/");
  same(true, "config etc/experiments/../base.yaml", "config /etc/agrl/an other.yaml");
  same(true, "rules etc/rules.yaml", "rules r.yaml");
  same(true, "init base/model.safetensors", "init /m/model.safetensors");
  same(false, "33cc", "33cd");
  same(true, "train /d/train.jsonl", "train t.jsonl");
  same(true, "eval /d/one.jsonl", "eval /else/one.jsonl");
  same(false, "one.jsonl", "two.jsonl");  // the results have another name
  same(false, "6e24", "6e25");
  same(false, "598c", "598d");
  same(false, "11aa", "11ab");
  same(false, "22bb", "22bc");
  same(false, "24000", "24001");
  same(false, "run.seed=4", "run.seed=5");
  same(false, "--set sft.steps=0\n", "");
  same(false, "--set model.init=/out/seed4/start/checkpoints/sft\n", "");
  same(false, "eval /d/one.jsonl 22bb\n", "");
  same(true, "init base/model.safetensors 33cc\n", "");  // nobody reads it any more
  assert_false(exp_same_settings("", MADE));
}

// Two-sided 5 % points of Student's t from any printed table.
static void t_equals_the_tables(void **state) {
  static const double table[][2] = {{1, 12.7062}, {2, 4.30265}, {4, 2.77645}, {9, 2.26216}, {30, 2.04227}, {120, 1.97993}};
  for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
    assert_true(fabs(exp_t_quantile(table[i][0]) - table[i][1]) < 1e-4 * table[i][1]);
    assert_true(fabs(exp_t_p(-table[i][1], table[i][0]) - 0.05) < 1e-5);
  }
  assert_true(fabs(exp_t_p(0, 3) - 1) < 1e-9);
  assert_true(fabs(exp_t_p(1, 1) - 0.5) < 1e-9);  // Cauchy
}

static void means_leave_out_what_is_missing(void **state) {
  exp_mean m = exp_mean_of((double[]){1, NAN, 2, 3}, 4);
  assert_int_equal(m.n, 3);
  assert_true(fabs(m.mean - 2) < 1e-12);
  assert_true(fabs(m.high - 2 - 4.30265 / sqrt(3)) < 1e-4);  // standard deviation 1
  assert_true(fabs(m.p - exp_t_p(2 * sqrt(3), 2)) < 1e-12);
  m = exp_mean_of((double[]){NAN, 5}, 2);
  assert_true(m.n == 1 && m.mean == 5 && isnan(m.low) && isnan(m.p));
  m = exp_mean_of((double[]){0.5, 0.5}, 2);
  assert_true(m.low == 0.5 && isnan(m.p));  // nothing to test without spread
  assert_true(isnan(exp_mean_of((double[]){0.3 - 0.1, 0.2}, 2).p));  // which rounding does not make
  assert_true(exp_mean_of((double[]){0, 0}, 2).p == 1);
}

static void finish(int seed, const char *arm, const char *split, double f1) {
  char name[160], text[160];
  snprintf(name, sizeof name, "out/seed%d/%s/eval/latest/%s.json", seed, arm, split);
  snprintf(text, sizeof text, "{\"split\":\"%s\",\"n\":50,\"macro_f1\":%g,\"accuracy\":0.25}\n", split, f1);
  free(file(name, text));
  snprintf(name, sizeof name, "out/seed%d/%s/agrl.yaml", seed, arm);
  free(file(name, "run: {name: x}\n"));
  snprintf(name, sizeof name, "out/seed%d/%s/done", seed, arm);
  free(file(name, ""));
}

static void evaluated(int seed, const char *arm, int version, double f1) {
  char name[160], text[160];
  snprintf(name, sizeof name, "out/seed%d/%s/eval/v1-%d/eval.json", seed, arm, version);
  snprintf(text, sizeof text, "{\"split\":\"eval\",\"version\":%d,\"macro_f1\":%g,\"n\":50}\n", version, f1);
  free(file(name, text));
}

static void trained(int seed, const char *arm, int versions, int rollouts) {
  char name[160], text[256];
  snprintf(name, sizeof name, "out/seed%d/%s/metrics.jsonl", seed, arm);
  snprintf(text, sizeof text, "{\"phase\":\"rl\",\"step\":1,\"rollouts\":7}\n{\"phase\":\"rl\",\"step\":%d,\"rollouts\":%d,\"wait_seconds\":0.25}\n",
           versions, rollouts);
  free(file(name, text));
}

static size_t times(const char *what, const char *text) {
  size_t n = 0;
  for (const char *s = text; (s = strstr(s, what)); s++) n++;
  return n;
}

// Under the dots every arm is named, however many there are: level, then slanted, then upright and smaller.
static void plots_name_every_arm(void **state) {
  static const struct { int arms, slant; const char *size; } cases[] = {{3, 0, "11"}, {12, 30, "11"}, {70, 90, "8"}};
  for (size_t k = 0; k < 3; k++) {
    agrl_buf text = {0}, svg = {0};
    experiment e;
    exp_results r;
    agrl_error err = {0};
    char name[32], shown[40], *out = agrl_path_join(dir, "out");
    agrl_buf_adds(&text, HEAD "arms:\n");
    for (int a = 0; a < cases[k].arms; a++) {
      snprintf(name, sizeof name, "quite-a-name-%02d", a);
      agrl_buf_addf(&text, "  %s: {}\n", name);
      finish(3, name, "eval", 0.5);
    }
    char *path = file("named.yaml", text.data);
    if (exp_read(path, &e, &err) || exp_results_load(&e, out, &r, &err)) fail_msg("%s", err.msg);
    exp_svg(&r, &svg);
    for (int a = 0; a < cases[k].arms; a++) {
      snprintf(shown, sizeof shown, ">quite-a-name-%02d</text>", a);
      assert_int_equal(times(shown, svg.data), 1);  // nothing was evaluated on the way: there is no legend
    }
    assert_int_equal(times("rotate(30)", svg.data), cases[k].slant == 30 ? 12 : 0);
    assert_int_equal(times("rotate(90)", svg.data), cases[k].slant == 90 ? 70 : 0);
    snprintf(shown, sizeof shown, "rotate(%d)\" font-size=\"%s\"", cases[k].slant, cases[k].size);
    assert_int_equal(times(shown, svg.data), cases[k].slant ? cases[k].arms : 0);
    assert_int_equal(times("Accuracy of rollouts", svg.data), 0);  // no panel without a line
    const double height = strtod(strstr(svg.data, " height=\"") + 9, NULL), names = 15 * 7 * sin(cases[k].slant * M_PI / 180);
    assert_true(height >= 500 + names && height < 520 + names);  // room for the names, and for no legend
    assert_int_equal(times("font-weight=\"bold\">quite-a-name-00</text>", svg.data), 1);
    exp_results_release(&r);
    exp_release(&e);
    agrl_buf_release(&text);
    agrl_buf_release(&svg);
    free(path);
    free(out);
  }
}

static void tables_what_is_done(void **state) {
  char *path = file("two.yaml", HEAD "arms: {a: {}, b: {}}\n"), *out = agrl_path_join(dir, "out");
  experiment e;
  exp_results r;
  agrl_error err = {0};
  agrl_buf text = {0}, json = {0}, svg = {0};
  finish(3, "a", "eval", 0.5);
  finish(3, "b", "eval", 0.625);
  finish(1, "a", "eval", 0.25);
  finish(1, "b", "eval", 0.5);
  finish(1, "b", "other", 0.75);
  evaluated(3, "a", 10, 0.25);
  evaluated(3, "a", 20, 0.5);
  evaluated(3, "b", 10, 0.25);
  evaluated(3, "b", 15, 0.75);
  trained(3, "a", 20, 3000);
  trained(1, "a", 20, 4000);
  assert_int_equal(exp_read(path, &e, &err), AGRL_OK);
  assert_int_equal(exp_results_load(&e, out, &r, &err), AGRL_OK);
  assert_int_equal(r.n_done, 4);
  assert_int_equal(r.n_splits, 2);
  exp_text(&r, &text);
  exp_json(&r, &json);
  exp_svg(&r, &svg);
  assert_non_null(strstr(text.data, "0.5625 ["));
  assert_non_null(strstr(text.data, "+0.1875 ["));  // mean of 0.125 and 0.25: pairs, not means of what is there
  assert_non_null(strstr(json.data, "\"by_seed\":[null,0.75]"));
  assert_non_null(strstr(json.data, "\"b\":{\"seeds\":2,\"mean\":-0.1875"));  // a less b
  assert_true(fabs(exp_curve_at(exp_run(&r, 1, 0), "eval", 12) - 0.45) < 1e-12);
  assert_true(isnan(exp_curve_at(exp_run(&r, 1, 0), "eval", 16)));
  assert_true(fabs(exp_reach(&r, 0, 1, 0) - 12.5 / 20) < 1e-12);  // b reaches a's 0.5 at version 12.5, a at 20
  assert_true(exp_reach(&r, 0, 0, 0) == 1 && isnan(exp_reach(&r, 0, 1, 1)));
  assert_true(exp_rollouts(&r, 0).mean == 175 && exp_rollouts(&r, 0).n == 2 && exp_rollouts(&r, 1).n == 0);
  assert_non_null(strstr(text.data, "\n  wait for batch, s         0.2500 "));
  assert_non_null(strstr(text.data, "\n  rollouts a version      175.0000          -\n"));
  assert_non_null(strstr(json.data, "\"rollouts_per_version\":{\"a\":{\"seeds\":2,\"mean\":175"));
  assert_non_null(strstr(svg.data, "</svg>"));
  agrl_json *doc = NULL;
  assert_int_equal(agrl_json_parse(json.data, json.len, "results", &doc, &err), AGRL_OK);
  agrl_json_free(doc);
  agrl_buf_release(&text);
  agrl_buf_release(&json);
  agrl_buf_release(&svg);
  exp_results_release(&r);
  free(file("out/seed3/a/eval/latest/eval.json", "{\"split\":\"eval\",\"n\":400,\"macro_f1\":0.5}\n"));
  finish(1, "b", "eval", 0.375);
  assert_int_equal(exp_results_load(&e, out, &r, &err), AGRL_OK);
  exp_text(&r, &text);
  exp_json(&r, &json);
  assert_true(isnan(exp_reach(&r, 0, 0, 0)) && isnan(exp_reach(&r, 0, 1, 0)));  // what a ends with is of other rows
  assert_non_null(strstr(text.data, "as a share of its versions\n  undefined "));
  assert_non_null(strstr(text.data, "+0.1250 [+0.1250, +0.1250]   -\n"));  // by 0.125 with both seeds
  assert_non_null(strstr(json.data, "\"mean\":0.125,\"low\":0.125,\"high\":0.125,\"p\":null"));
  assert_null(strstr(text.data, "nan"));
  agrl_buf_release(&text);
  agrl_buf_release(&json);
  exp_results_release(&r);
  for (char name[] = "s0"; name[1] < '8'; name[1]++) finish(1, "b", name, 0.5);
  assert_int_equal(exp_results_load(&e, out, &r, &err), AGRL_OK);
  exp_text(&r, &text);
  exp_json(&r, &json);
  assert_non_null(strstr(text.data, "\nleft out, the report shows 8 at most: s"));
  assert_non_null(strstr(json.data, "\"splits_left_out\":[\"s"));
  agrl_buf_release(&text);
  agrl_buf_release(&json);
  exp_results_release(&r);
  exp_release(&e);
  free(path);
  free(out);
}

static int clean(void **state) {
  agrl_error err = {0};
  return agrl_file_remove_tree(dir, &err) != AGRL_OK;
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(reads_the_cross_product), cmocka_unit_test(arms_begin_with_the_start), cmocka_unit_test(refuses_by_name_and_place),
                                     cmocka_unit_test(arms_have_a_limit), cmocka_unit_test(a_grid_needs_no_arms), cmocka_unit_test(shipped_files_hold_what_they_promise), cmocka_unit_test(settings_are_compared_without_paths),
                                     cmocka_unit_test(t_equals_the_tables), cmocka_unit_test(means_leave_out_what_is_missing),
                                     cmocka_unit_test(plots_name_every_arm), cmocka_unit_test(tables_what_is_done)};
  if (!mkdtemp(dir)) return 1;
  free(file("base.yaml", "grpo: {versions: 3}\n"));
  return cmocka_run_group_tests(tests, NULL, clean);
}
