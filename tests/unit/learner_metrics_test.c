// SPDX-License-Identifier: Apache-2.0
// What a step's numbers become on /metrics and in metrics.jsonl: shares of the batch, undefined ones as NaN and null.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "learner/stats.h"

static void has(const agrl_buf *out, const char *text) {
  if (!strstr(out->data, text)) fail_msg("no \"%s\" in\n%s", text, out->data);
}

static void test_step(void **state) {
  (void)state;
  static learner_metrics m;
  agrl_buf page = {0}, line = {0};
  learner_metrics_register(&m);
  agrl_metrics_expose(&page);
  has(&page, "agrl_learner_kl{estimator=\"k3\",against=\"reference\"} NaN\n");  // not measured yet
  has(&page, "agrl_learner_kl_entropy_ratio NaN\n");
  agrl_buf_clear(&page);
  learner_step_stats st = {.version = 7, .step = 7, .steps = 10, .groups = 6, .trained_groups = 3, .zero_groups = 3, .filtered_groups = 1, .solved_all = 1,
                           .solved_none = 1, .solved_some = 2, .sft_loss = 2.5,
                           .loss = {.total = 1.5, .policy = 1, .kl_loss = 0.5, .tokens = 60, .guided_tokens = 20, .truncated_low = 8,
                                    .truncated_high = 4, .reference_tokens = 60, .kl_reference = {3, 6, 15}}, .entropy = 0.5};
  learner_metrics_step(&m, &st);
  agrl_metrics_expose(&page);
  has(&page, "agrl_learner_group_solved_ratio{kind=\"all\"} 0.25\n");
  has(&page, "agrl_learner_group_solved_ratio{kind=\"none\"} 0.25\n");
  has(&page, "agrl_learner_group_solved_ratio{kind=\"some\"} 0.5\n");
  has(&page, "agrl_learner_importance_truncated_ratio{side=\"low\"} 0.1\n");
  has(&page, "agrl_learner_importance_truncated_ratio{side=\"high\"} 0.05\n");
  has(&page, "agrl_learner_groups_total{outcome=\"trained\"} 3\n");  // one of them without spread (grpo.zero_spread: keep)
  has(&page, "agrl_learner_groups_total{outcome=\"zero_std\"} 2\n");
  has(&page, "agrl_learner_groups_total{outcome=\"filtered\"} 1\n");
  has(&page, "agrl_learner_loss{component=\"policy\"} 1\n");
  has(&page, "agrl_learner_loss{component=\"kl\"} 0.5\n");
  has(&page, "agrl_learner_loss{component=\"entropy\"} NaN\n");
  has(&page, "agrl_learner_kl{estimator=\"k3\",against=\"reference\"} 0.25\n");
  has(&page, "agrl_learner_kl_entropy_ratio 0.5\n");
  has(&page, "agrl_learner_loss{component=\"sft\"} 2.5\n");
  has(&page, "agrl_learner_loss{component=\"total\"} 1.5\n");
  has(&page, "agrl_learner_flops_utilization_ratio NaN\n");
  has(&page, "agrl_weights_changed_ratio NaN\n");
  learner_line_step(&st, &line);
  has(&line, "\"solved_some_ratio\":0.5");
  has(&line, "\"importance_truncated_low\":0.1,\"importance_truncated_high\":0.05");
  st.solved_all = st.solved_none = st.solved_some = 0;  // no group had a plain member
  st.loss.tokens = st.loss.guided_tokens = st.loss.reference_tokens = 0;  // a version that does not measure the KL
  agrl_buf_clear(&page);
  agrl_buf_clear(&line);
  learner_metrics_step(&m, &st);
  agrl_metrics_expose(&page);
  learner_line_step(&st, &line);
  has(&page, "agrl_learner_group_solved_ratio{kind=\"some\"} NaN\n");
  has(&page, "agrl_learner_kl{estimator=\"k3\",against=\"reference\"} 0.25\n");  // the last that was
  has(&page, "agrl_learner_kl_entropy_ratio 0.5\n");
  has(&page, "agrl_learner_importance_truncated_ratio{side=\"low\"} NaN\n");
  has(&line, "\"solved_some_ratio\":null");
  agrl_buf_release(&page);
  agrl_buf_release(&line);
  agrl_metrics_reset();
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_step)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
