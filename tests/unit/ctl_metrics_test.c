// SPDX-License-Identifier: Apache-2.0
// The supervisor's metrics: states of actors, restarts by process, and evaluations read from the run directory.
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
#include "deploy/ctl/metrics.h"

static char dir[64];
static agrl_config config;
static ctl_metrics m;

static int setup(void **state) {
  (void)state;
  strcpy(dir, "/tmp/ctl-[*?]-XXXXXX");  // a name that is no pattern
  memset(&config, 0, sizeof config);
  config.run.dir = mkdtemp(dir);
  config.data.eval = (char *)"x/eval.jsonl,x/eval_natural.jsonl";
  config.data.dev = (char *)"";
  if (!config.run.dir) return -1;
  char path[96];
  for (int i = 0; i < 2; i++) {
    snprintf(path, sizeof path, "%s/eval/%s", dir, i ? "latest" : "sft");
    if (agrl_file_mkdirs(path, NULL)) return -1;
  }
  return 0;
}

static int teardown(void **state) {
  (void)state;
  ctl_metrics_release(&m);
  agrl_metrics_reset();
  return agrl_file_remove_tree(dir, NULL) != AGRL_OK;
}

static void put(const char *name, const char *split, unsigned step, double accuracy, unsigned hits) {
  char path[128], text[512];
  snprintf(path, sizeof path, "%s/eval/%s", dir, name);
  int n = snprintf(text, sizeof text,
                   "{\"version\":%u,\"epoch\":1,\"split\":\"%s\",\"accuracy\":%g,\"macro_f1\":0.5,\"ndcg10\":null,"
                   "\"recall\":{\"1\":1,\"2\":0.25},\"confusion\":[[%u,0,0,0],[0,1,0,0],[0,0,0,0],[0,0,7,0]],\"unreadable\":[0,0,0,3]}",
                   step, split, accuracy, hits);
  assert_int_equal(agrl_file_write_atomic(path, text, (size_t)n, NULL), AGRL_OK);
}

static void says(const char *line) {
  agrl_buf out = {0};
  agrl_metrics_expose(&out);
  if (!strstr(out.data, line)) fail_msg("no line \"%s\" in\n%s", line, out.data);
  agrl_buf_release(&out);
}

static void test_states(void **state) {
  (void)state;
  ctl_proc p[7];
  ctl_metrics_register(&m, &config);
  for (int i = 0; i < 7; i++) ctl_proc_init(&p[i], i ? CTL_KIND_ACTOR : CTL_KIND_REWARD, i);
  for (int i = 0; i < 4; i++) p[i].state = CTL_PROC_RUNNING;  // 0 is no actor
  p[2].ready = p[2].was_ready = true;
  p[3].was_ready = true;
  p[4].state = CTL_PROC_BACKOFF;
  p[5].state = CTL_PROC_STOPPING;
  p[6].state = CTL_PROC_STOPPED;
  ctl_metrics_states(&m, p, 7);
  says("agrl_actors{state=\"joining\"} 1\n");
  says("agrl_actors{state=\"stale\"} NaN\n");
  says("agrl_actors{state=\"serving\"} 1\n");
  says("agrl_actors{state=\"suspect\"} 1\n");
  says("agrl_actors{state=\"draining\"} 1\n");
  says("agrl_actors{state=\"dead\"} 1\n");
}

static void test_restarts(void **state) {
  (void)state;
  ctl_metrics_register(&m, &config);
  ctl_metrics_restarted(&m, CTL_KIND_ACTOR);
  ctl_metrics_restarted(&m, CTL_KIND_ACTOR);
  ctl_metrics_restarted(&m, CTL_KIND_LEARNER);
  says("agrl_actor_restarts_total 2\n");
  says("agrl_supervisor_restarts_total{process=\"learner\"} 1\n");
  says("agrl_supervisor_restarts_total{process=\"reward\"} 0\n");
}

static void test_no_evaluation(void **state) {
  (void)state;
  ctl_metrics_register(&m, &config);
  says("agrl_eval_policy_version NaN\n");
  says("agrl_eval_score{metric=\"accuracy\",split=\"eval_natural\"} NaN\n");
  says("agrl_eval_confusion_total{gold=\"1\",pred=\"1\"} 0\n");
}

static void test_evaluations(void **state) {
  (void)state;
  put("sft/eval.json", "eval", 0, 0.5, 4);
  put("sft/eval_natural.json", "eval_natural", 0, 0.25, 100);
  put("latest/elsewhere.json", "elsewhere", 9, 0.1, 100);  // no split of data.eval
  char broken[128];
  snprintf(broken, sizeof broken, "%s/eval/latest/broken.json", dir);
  assert_int_equal(agrl_file_write_atomic(broken, "{", 1, NULL), AGRL_OK);
  ctl_metrics_register(&m, &config);
  says("agrl_eval_policy_version 4294967296\n");
  says("agrl_eval_score{metric=\"accuracy\",split=\"eval\"} 0.5\n");
  says("agrl_eval_score{metric=\"accuracy\",split=\"eval_natural\"} 0.25\n");
  says("agrl_eval_score{metric=\"ndcg\",split=\"eval\"} NaN\n");
  says("agrl_eval_tier_recall{tier=\"2\"} 0.25\n");
  says("agrl_eval_tier_recall{tier=\"3\"} NaN\n");
  says("agrl_eval_confusion_total{gold=\"1\",pred=\"1\"} 4\n");
  says("agrl_eval_confusion_total{gold=\"4\",pred=\"unreadable\"} 3\n");
  says("agrl_eval_confusion_total{gold=\"4\",pred=\"3\"} 7\n");
  put("latest/eval.json", "eval", 20, 0.75, 6);  // a newer version, on one split only
  ctl_metrics_evaluations_now(&m);
  ctl_metrics_evaluations_now(&m);  // nothing new: nothing is added
  says("agrl_eval_policy_version 4294967316\n");
  says("agrl_eval_score{metric=\"accuracy\",split=\"eval\"} 0.75\n");
  says("agrl_eval_score{metric=\"accuracy\",split=\"eval_natural\"} NaN\n");
  says("agrl_eval_confusion_total{gold=\"1\",pred=\"1\"} 10\n");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_states, setup, teardown),
      cmocka_unit_test_setup_teardown(test_restarts, setup, teardown),
      cmocka_unit_test_setup_teardown(test_no_evaluation, setup, teardown),
      cmocka_unit_test_setup_teardown(test_evaluations, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
