// SPDX-License-Identifier: Apache-2.0
// Prometheus metrics of the learner (names from the metrics page) and the lines of metrics.jsonl with the same content.
#include "learner/stats.h"

#include <math.h>
#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/json.h"
#include "common/model/weights.h"

static const char *const outcomes[] = {"trained", "zero_std", "filtered", "error", NULL};
static const char *const components[] = {"policy", "kl", "entropy", "sft", "total", NULL};  // entropy: NaN, no objective has it
static const char *const nonfinite_at[] = {"sft", "rl", NULL};
static const char *const estimators[] = {"k1", "k2", "k3", NULL};
static const char *const against[] = {"reference", "sampler", NULL};
static const char *const bounds[] = {"low", "high", "dual", "cispo", NULL};
static const char *const chosen_from[] = {"own", "reference", NULL};
static const char *const traces_of_pair[] = {"chosen", "rejected", NULL};
static const char *const phases[] = {"wait_batch", "load", "forward", "backward", "optim", "publish", "checkpoint", "step", NULL};
static const char *const kinds[] = {"full", "delta", NULL};
static const char *const dirs[] = {"sent", "received", NULL};
static const char *const exact[] = {"yes", "no", NULL};
static const char *const solved_kinds[] = {"all", "none", "some", NULL};
static const char *const sides[] = {"low", "high", NULL};
static const char *const guided_of[] = {"groups", "members", NULL};
static const double ratio_bounds[] = {0.1, 0.5, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 2.0, 10.0};
static const double diff_bounds[] = {1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0};
static const double advantage_bounds[] = {-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0};
#define N_OF(a) (sizeof(a) / sizeof *(a))

static agrl_metric *plain(agrl_metric_desc *d, agrl_metric_type type, const char *name, const char *help) {
  *d = (agrl_metric_desc){.name = name, .help = help, .type = type};
  return agrl_metric_register(d);
}

static agrl_metric *labelled(agrl_metric_desc *d, agrl_metric_type type, const char *name, const char *help, const char *label,
                             const char *const *values) {
  *d = (agrl_metric_desc){.name = name, .help = help, .type = type, .label = label, .values = values};
  return agrl_metric_register(d);
}

static agrl_metric *histogram(agrl_metric_desc *d, const char *name, const char *help, const char *label, const char *const *values,
                              const double *at, size_t n) {
  *d = (agrl_metric_desc){.name = name, .help = help, .type = AGRL_HISTOGRAM, .label = label, .values = values, .bounds = at, .n_bounds = n};
  return agrl_metric_register(d);
}

static agrl_metric *crossed(agrl_metric_desc *d, agrl_metric_type type, const char *name, const char *help, const char *label,
                            const char *const *values, const char *label2, const char *const *values2) {
  *d = (agrl_metric_desc){.name = name, .help = help, .type = type, .label = label, .values = values, .label2 = label2, .values2 = values2};
  return agrl_metric_register(d);
}

static void register_training(learner_metrics *m) {
  static agrl_metric_desc d[20];  // the registry borrows descriptors for the life of the process
  agrl_metric_desc *p = d;
  m->step = plain(p++, AGRL_GAUGE, "agrl_learner_step", "RL updates made in this run");
  m->version = plain(p++, AGRL_GAUGE, "agrl_learner_policy_version", "Version of the newest weights, epoch * 2^32 + step");
  m->epoch = plain(p++, AGRL_GAUGE, "agrl_learner_epoch_ratio", "Share of the RL updates made");
  m->sft_step = plain(p++, AGRL_GAUGE, "agrl_learner_sft_step", "Steps of the supervised warm start made");
  m->last_step = plain(p++, AGRL_GAUGE, "agrl_learner_last_step_timestamp_seconds", "Unix time of the last step");
  m->tokens = plain(p++, AGRL_COUNTER, "agrl_learner_tokens_total", "Tokens trained on, prompts included");
  m->sequences = plain(p++, AGRL_COUNTER, "agrl_learner_sequences_total", "Sequences trained on");
  m->groups = labelled(p++, AGRL_COUNTER, "agrl_learner_groups_total", "Groups received, by what became of them", "outcome", outcomes);
  m->loss = labelled(p++, AGRL_GAUGE, "agrl_learner_loss", "Loss of the last step by term; NaN: the objective has no such term", "component", components);
  m->lr = plain(p++, AGRL_GAUGE, "agrl_learner_learning_rate", "Learning rate of the last step");
  m->grad_norm = plain(p++, AGRL_GAUGE, "agrl_learner_grad_norm", "Gradient norm of the last step before clipping");
  m->clipped = plain(p++, AGRL_COUNTER, "agrl_learner_grad_clipped_total", "Steps whose gradient was clipped");
  m->nonfinite = labelled(p++, AGRL_COUNTER, "agrl_learner_nonfinite_total", "Steps skipped because loss or gradient was not finite", "where", nonfinite_at);
  m->tps = plain(p++, AGRL_GAUGE, "agrl_learner_tokens_per_second", "Tokens a second of the last step");
  m->idle = plain(p++, AGRL_GAUGE, "agrl_learner_idle_ratio", "Share of the last step's wall time spent waiting for a batch");
  m->flops = plain(p++, AGRL_GAUGE, "agrl_learner_flops_utilization_ratio", "Always NaN on a CPU: the peak rate of its cores is not known; agrl_learner_tokens_per_second says how fast it is");
  m->phase = histogram(p++, "agrl_learner_phase_seconds", "Time per phase of a step", "phase", phases, agrl_buckets_seconds, agrl_buckets_seconds_n);
}

static void register_policy(learner_metrics *m) {
  static agrl_metric_desc d[24];
  agrl_metric_desc *p = d;
  m->kl = crossed(p++, AGRL_GAUGE, "agrl_learner_kl", "KL of the policy, mean per token in nats", "estimator", estimators, "against", against);
  m->entropy = plain(p++, AGRL_GAUGE, "agrl_learner_entropy_nats", "Mean entropy of the policy per plain token");
  m->kl_entropy = plain(p++, AGRL_GAUGE, "agrl_learner_kl_entropy_ratio", "KL to the reference (k3) over entropy");
  m->clip_ratio = labelled(p++, AGRL_GAUGE, "agrl_learner_clip_ratio", "Share of plain tokens clipped", "bound", bounds);
  m->ratio = histogram(p++, "agrl_learner_importance_ratio", "Policy over sampler, geometric mean per row", NULL, NULL, ratio_bounds, N_OF(ratio_bounds));
  m->ess = plain(p++, AGRL_GAUGE, "agrl_learner_importance_ess_ratio", "Effective sample size of plain tokens over their number");
  m->truncated = labelled(p++, AGRL_GAUGE, "agrl_learner_importance_truncated_ratio", "Share of tokens whose importance ratio was replaced by a bound (exponent of 20; 2 with guided_loss tis; tis_cap)", "side", sides);
  m->logprob_diff = histogram(p++, "agrl_learner_logprob_abs_diff", "Largest difference of trainer and sampler log-prob per row, at equal version", NULL, NULL, diff_bounds, N_OF(diff_bounds));
  m->logprob_mismatch = plain(p++, AGRL_COUNTER, "agrl_learner_logprob_mismatch_total", "Rows with a difference above 0.1 nats at equal version");
  m->advantage = histogram(p++, "agrl_learner_advantage", "Advantage per trained row", NULL, NULL, advantage_bounds, N_OF(advantage_bounds));
  m->zero_std = plain(p++, AGRL_GAUGE, "agrl_learner_zero_std_group_ratio", "Share of the last batch's groups without spread (DPO: without a pair)");
  m->solved = labelled(p++, AGRL_GAUGE, "agrl_learner_group_solved_ratio", "Share of the last batch's groups whose plain members were all, none or some right", "kind", solved_kinds);
  m->staleness = histogram(p++, "agrl_learner_staleness_versions", "Versions between sampling and training, mean per row", NULL, NULL, agrl_buckets_small, agrl_buckets_small_n);
  m->span = histogram(p++, "agrl_learner_version_span", "Versions within one row", NULL, NULL, agrl_buckets_small, agrl_buckets_small_n);
  m->pairs = labelled(p++, AGRL_COUNTER, "agrl_learner_pairs_total", "Preference pairs trained on, by where the chosen trace is from", "chosen", chosen_from);
  m->pair_reward = labelled(p++, AGRL_GAUGE, "agrl_learner_pair_reward", "Mean implicit reward of the last step's pairs, beta * log(policy / reference)", "of", traces_of_pair);
  m->pair_margin = plain(p++, AGRL_GAUGE, "agrl_learner_pair_margin", "Mean implicit reward of chosen less rejected traces of the last step");
  m->pair_accuracy = plain(p++, AGRL_GAUGE, "agrl_learner_pair_accuracy_ratio", "Share of the last step's pairs whose chosen trace has the higher implicit reward");
  m->reward = plain(p++, AGRL_GAUGE, "agrl_learner_reward_mean", "Mean reward of the last batch");
  m->accuracy = plain(p++, AGRL_GAUGE, "agrl_learner_accuracy_ratio", "Mean plain accuracy of the last batch's groups");
  m->guided = labelled(p++, AGRL_GAUGE, "agrl_learner_guided_ratio", "Share guided in the last batch", "of", guided_of);
}

static void register_files(learner_metrics *m) {
  static agrl_metric_desc d[12];
  agrl_metric_desc *p = d;
  m->publish_s = histogram(p++, "agrl_weights_publish_seconds", "Time to snapshot, hash, journal and encode a version", NULL, NULL, agrl_buckets_seconds, agrl_buckets_seconds_n);
  m->changed = plain(p++, AGRL_GAUGE, "agrl_weights_changed_ratio", "Share of the bf16 words that differ from the version published before");
  m->bytes = crossed(p++, AGRL_COUNTER, "agrl_weights_bytes_total", "Bytes of weights moved", "kind", kinds, "dir", dirs);
  m->ckpt_time = plain(p++, AGRL_GAUGE, "agrl_checkpoint_last_success_timestamp_seconds", "Unix time of the newest checkpoint");
  m->ckpt_s = histogram(p++, "agrl_checkpoint_seconds", "Time to write a checkpoint", NULL, NULL, agrl_buckets_seconds, agrl_buckets_seconds_n);
  m->ckpt_failures = plain(p++, AGRL_COUNTER, "agrl_checkpoint_failures_total", "Checkpoints that could not be written");
  m->ckpt_free = plain(p++, AGRL_GAUGE, "agrl_checkpoint_disk_free_bytes", "Free space where checkpoints go");
  m->resume = labelled(p++, AGRL_COUNTER, "agrl_resume_total", "Resumes, by whether the journal came out to the same hashes", "exact", exact);
  m->torn = plain(p++, AGRL_COUNTER, "agrl_learner_journal_torn_bytes_total", "Bytes of torn last lines cut off the journal");
}

void learner_metrics_register(learner_metrics *m) {
  register_training(m);
  register_policy(m);
  register_files(m);
  for (size_t k = 0; k < 3; k++) agrl_metric_set(m->kl, 2 * k, NAN);  // until the first version that measures it
  agrl_metric_set(m->kl_entropy, 0, NAN);
}

void learner_step_stats_release(learner_step_stats *st) {
  free(st->rows);
  st->rows = NULL;
  st->n_rows = 0;
}

const char *learner_step_outcome(const learner_step_stats *st) {
  return st->nonfinite ? "error" : st->empty ? "empty" : "trained";
}

static double wall_seconds(void) { return (double)agrl_wall_ns() / 1e9; }

static double ratio(double a, double b) { return b > 0.0 ? a / b : NAN; }

void learner_metrics_sft(learner_metrics *m, const learner_sft_stats *st) {
  agrl_metric_set(m->sft_step, 0, (double)st->step);
  agrl_metric_set(m->last_step, 0, wall_seconds());
  agrl_metric_add(m->tokens, 0, (double)st->tokens);
  agrl_metric_add(m->sequences, 0, (double)st->sequences);
  agrl_metric_set(m->loss, LEARNER_LOSS_SFT, st->loss);
  agrl_metric_set(m->loss, LEARNER_LOSS_TOTAL, st->loss);
  agrl_metric_set(m->lr, 0, st->learning_rate);
  agrl_metric_set(m->grad_norm, 0, st->grad_norm);
  agrl_metric_set(m->tps, 0, st->tokens_per_second);
  agrl_metric_observe(m->phase, LEARNER_PHASE_STEP, st->step_seconds);
  if (!isfinite(st->loss) || !isfinite(st->grad_norm)) agrl_metric_add(m->nonfinite, 0, 1);
}

static double all_tokens(const learner_loss_stats *l) { return (double)(l->tokens + l->guided_tokens); }

static double solved_of(const learner_step_stats *st) { return (double)(st->solved_all + st->solved_none + st->solved_some); }

static void set_policy(learner_metrics *m, const learner_step_stats *st) {
  const learner_loss_stats *l = &st->loss;
  double n = (double)l->tokens;
  for (size_t k = 0; k < 3; k++) {
    if (l->reference_tokens > 0) agrl_metric_set(m->kl, 2 * k, l->kl_reference[k] / (double)l->reference_tokens);
    agrl_metric_set(m->kl, 2 * k + 1, ratio(l->kl_sampler[k], n));
  }
  agrl_metric_set(m->entropy, 0, st->entropy);
  if (l->reference_tokens > 0) agrl_metric_set(m->kl_entropy, 0, ratio(l->kl_reference[2] / (double)l->reference_tokens, st->entropy));
  agrl_metric_set(m->clip_ratio, 0, ratio((double)l->clipped_low, n));
  agrl_metric_set(m->clip_ratio, 1, ratio((double)l->clipped_high, n));
  agrl_metric_set(m->clip_ratio, 2, ratio((double)l->clipped_dual, n));
  agrl_metric_set(m->clip_ratio, 3, ratio((double)l->clipped_cispo, n));
  agrl_metric_set(m->truncated, 0, ratio((double)l->truncated_low, all_tokens(l)));
  agrl_metric_set(m->truncated, 1, ratio((double)l->truncated_high, all_tokens(l)));
  agrl_metric_set(m->ess, 0, ratio(l->ratio * l->ratio, n * l->ratio_sq));
  agrl_metric_add(m->pairs, 0, (double)(l->pairs - st->reference_pairs));
  agrl_metric_add(m->pairs, 1, (double)st->reference_pairs);
  agrl_metric_set(m->pair_reward, 0, ratio(l->pair_chosen, (double)l->pairs));
  agrl_metric_set(m->pair_reward, 1, ratio(l->pair_rejected, (double)l->pairs));
  agrl_metric_set(m->pair_margin, 0, ratio(l->pair_margin, (double)l->pairs));
  agrl_metric_set(m->pair_accuracy, 0, ratio((double)l->pairs_won, (double)l->pairs));
  for (size_t i = 0; i < st->n_rows; i++) {
    const learner_row_stats *r = &st->rows[i];
    agrl_metric_observe(m->ratio, 0, r->ratio);
    if (!isnan(r->advantage)) agrl_metric_observe(m->advantage, 0, r->advantage);
    agrl_metric_observe(m->staleness, 0, r->staleness);
    agrl_metric_observe(m->span, 0, r->version_span);
    if (isnan(r->logprob_diff)) continue;
    agrl_metric_observe(m->logprob_diff, 0, r->logprob_diff);
    if (r->logprob_diff > 0.1f) agrl_metric_add(m->logprob_mismatch, 0, 1);
  }
}

static void set_groups(learner_metrics *m, const learner_step_stats *st) {
  agrl_metric_add(m->groups, st->nonfinite ? LEARNER_OUT_ERROR : LEARNER_OUT_TRAINED, (double)st->trained_groups);
  agrl_metric_add(m->groups, LEARNER_OUT_ZERO, (double)(st->groups - st->trained_groups - st->filtered_groups));
  agrl_metric_add(m->groups, LEARNER_OUT_FILTERED, (double)st->filtered_groups);
  agrl_metric_set(m->zero_std, 0, ratio((double)st->zero_groups, (double)st->groups));
  agrl_metric_set(m->solved, 0, ratio((double)st->solved_all, solved_of(st)));
  agrl_metric_set(m->solved, 1, ratio((double)st->solved_none, solved_of(st)));
  agrl_metric_set(m->solved, 2, ratio((double)st->solved_some, solved_of(st)));
  agrl_metric_set(m->guided, 0, ratio((double)st->guided_groups, (double)st->groups));
  agrl_metric_set(m->guided, 1, ratio((double)st->guided_members, (double)st->members));
  agrl_metric_set(m->reward, 0, st->reward_mean);
  agrl_metric_set(m->accuracy, 0, st->accuracy);
}

void learner_metrics_step(learner_metrics *m, const learner_step_stats *st) {
  agrl_metric_set(m->step, 0, (double)st->step);
  agrl_metric_set(m->version, 0, (double)st->version);
  agrl_metric_set(m->epoch, 0, ratio((double)st->step, (double)st->steps));
  agrl_metric_set(m->last_step, 0, wall_seconds());
  agrl_metric_add(m->tokens, 0, (double)st->tokens);
  agrl_metric_add(m->sequences, 0, (double)st->sequences);
  agrl_metric_set(m->loss, LEARNER_LOSS_POLICY, st->loss.policy);
  agrl_metric_set(m->loss, LEARNER_LOSS_KL, st->loss.kl_loss);
  agrl_metric_set(m->loss, LEARNER_LOSS_SFT, st->sft_loss);
  agrl_metric_set(m->loss, LEARNER_LOSS_TOTAL, st->loss.total);
  agrl_metric_set(m->lr, 0, st->learning_rate);
  agrl_metric_set(m->grad_norm, 0, st->grad_norm);
  if (st->clipped) agrl_metric_add(m->clipped, 0, 1);
  if (st->nonfinite) agrl_metric_add(m->nonfinite, 1, 1);
  agrl_metric_set(m->tps, 0, st->tokens_per_second);
  agrl_metric_set(m->idle, 0, ratio(st->wait_seconds, st->wait_seconds + st->step_seconds));
  agrl_metric_observe(m->phase, LEARNER_PHASE_WAIT, st->wait_seconds);
  agrl_metric_observe(m->phase, LEARNER_PHASE_LOAD, st->load_seconds);
  agrl_metric_observe(m->phase, LEARNER_PHASE_FORWARD, st->forward_seconds);
  agrl_metric_observe(m->phase, LEARNER_PHASE_BACKWARD, st->backward_seconds);
  agrl_metric_observe(m->phase, LEARNER_PHASE_OPTIM, st->optim_seconds);
  agrl_metric_observe(m->phase, LEARNER_PHASE_STEP, st->step_seconds);
  set_policy(m, st);
  set_groups(m, st);
}

static void line_head(agrl_jw *w, agrl_buf *out, const char *phase, uint64_t version, int64_t step, int64_t steps) {
  agrl_jw_init(w, out);
  agrl_jw_obj(w);
  agrl_jw_kf64(w, "wall", wall_seconds());
  agrl_jw_kstr(w, "phase", phase);
  agrl_jw_ku64(w, "version", version);
  agrl_jw_ki64(w, "step", step);
  agrl_jw_ki64(w, "steps", steps);
}

void learner_line_sft(const learner_sft_stats *st, agrl_buf *out) {
  agrl_jw w;
  line_head(&w, out, "sft", 0, st->step, st->steps);
  agrl_jw_kf64(&w, "loss", st->loss);
  agrl_jw_kf64(&w, "epoch", st->epoch);
  agrl_jw_kf64(&w, "grad_norm", st->grad_norm);
  agrl_jw_kf64(&w, "learning_rate", st->learning_rate);
  agrl_jw_ku64(&w, "tokens", st->tokens);
  agrl_jw_ku64(&w, "sequences", st->sequences);
  agrl_jw_kf64(&w, "tokens_per_second", st->tokens_per_second);
  agrl_jw_kf64(&w, "step_seconds", st->step_seconds);
  agrl_jw_end_obj(&w);
}

static void line_policy(agrl_jw *w, const learner_step_stats *st) {
  const learner_loss_stats *l = &st->loss;
  double n = (double)l->tokens;
  agrl_jw_kf64(w, "loss", st->loss.total);
  agrl_jw_kf64(w, "policy_loss", l->policy);
  agrl_jw_kf64(w, "kl_loss", l->kl_loss);
  agrl_jw_kf64(w, "sft_loss", st->sft_loss);
  agrl_jw_kf64(w, "kl", ratio(l->kl_reference[2], (double)l->reference_tokens));
  agrl_jw_kf64(w, "kl_sampler", ratio(l->kl_sampler[2], n));
  agrl_jw_kf64(w, "entropy", st->entropy);
  agrl_jw_kf64(w, "clip_ratio_low", ratio((double)l->clipped_low, n));
  agrl_jw_kf64(w, "clip_ratio_high", ratio((double)l->clipped_high, n));
  agrl_jw_kf64(w, "clip_ratio_dual", ratio((double)l->clipped_dual, n));
  agrl_jw_kf64(w, "clip_ratio_cispo", ratio((double)l->clipped_cispo, n));
  agrl_jw_kf64(w, "pair_reward_chosen", ratio(l->pair_chosen, (double)l->pairs));
  agrl_jw_kf64(w, "pair_reward_rejected", ratio(l->pair_rejected, (double)l->pairs));
  agrl_jw_kf64(w, "pair_margin", ratio(l->pair_margin, (double)l->pairs));
  agrl_jw_kf64(w, "pair_accuracy", ratio((double)l->pairs_won, (double)l->pairs));
  agrl_jw_kf64(w, "importance_ratio_mean", ratio(l->ratio, n));
  agrl_jw_kf64(w, "importance_ess_ratio", ratio(l->ratio * l->ratio, n * l->ratio_sq));
  agrl_jw_kf64(w, "importance_truncated_low", ratio((double)l->truncated_low, all_tokens(l)));
  agrl_jw_kf64(w, "importance_truncated_high", ratio((double)l->truncated_high, all_tokens(l)));
  agrl_jw_kf64(w, "guided_importance_ratio_mean", ratio(l->guided_ratio, (double)l->guided_tokens));
  agrl_jw_kf64(w, "guide_gamma", st->guide_gamma);
  agrl_jw_kf64(w, "logprob_abs_diff_mean", st->logprob_diff_mean);
  agrl_jw_kf64(w, "logprob_abs_diff_max", st->logprob_diff_max);
  agrl_jw_kf64(w, "staleness_mean", st->staleness_mean);
  agrl_jw_kf64(w, "staleness_max", st->staleness_max);
}

static void line_batch(agrl_jw *w, const learner_step_stats *st) {
  agrl_jw_kf64(w, "reward_mean", st->reward_mean);
  agrl_jw_kf64(w, "reward_plain_mean", st->reward_plain_mean);
  agrl_jw_kf64(w, "reward_std", st->reward_std);
  agrl_jw_kf64(w, "accuracy", st->accuracy);
  agrl_jw_kf64(w, "format_rate", st->format_rate);
  agrl_jw_kf64(w, "rule_rate", st->rule_rate);
  agrl_jw_kf64(w, "guided_ratio", ratio((double)st->guided_groups, (double)st->groups));
  agrl_jw_kf64(w, "guided_member_ratio", ratio((double)st->guided_members, (double)st->members));
  agrl_jw_kf64(w, "zero_std_ratio", ratio((double)st->zero_groups, (double)st->groups));
  agrl_jw_kf64(w, "solved_all_ratio", ratio((double)st->solved_all, solved_of(st)));
  agrl_jw_kf64(w, "solved_none_ratio", ratio((double)st->solved_none, solved_of(st)));
  agrl_jw_kf64(w, "solved_some_ratio", ratio((double)st->solved_some, solved_of(st)));
  agrl_jw_kf64(w, "completion_mean", st->completion_mean);
  agrl_jw_ku64(w, "groups", st->groups);
  agrl_jw_ku64(w, "groups_trained", st->trained_groups);
  agrl_jw_ku64(w, "members", st->members);
  agrl_jw_ku64(w, "members_missing", st->missing_members);
  agrl_jw_ku64(w, "members_dropped_guided", st->dropped_guided);
  agrl_jw_ku64(w, "members_dropped_bad", st->dropped_bad);
  agrl_jw_ku64(w, "members_dropped_overlong", st->dropped_overlong);
  agrl_jw_ku64(w, "pairs", st->loss.pairs);
  agrl_jw_ku64(w, "pairs_reference", st->reference_pairs);
  agrl_jw_ku64(w, "sequences", st->sequences);
  agrl_jw_ku64(w, "tokens", st->tokens);
  agrl_jw_ku64(w, "ready_groups", st->ready_groups);
  agrl_jw_ku64(w, "rollouts", st->rollouts);
}

void learner_line_step(const learner_step_stats *st, agrl_buf *out) {
  agrl_jw w;
  line_head(&w, out, "rl", st->version, st->step, st->steps);
  agrl_jw_kstr(&w, "outcome", learner_step_outcome(st));
  line_policy(&w, st);
  line_batch(&w, st);
  agrl_jw_kf64(&w, "grad_norm", st->grad_norm);
  agrl_jw_kf64(&w, "learning_rate", st->learning_rate);
  agrl_jw_kf64(&w, "tokens_per_second", st->tokens_per_second);
  agrl_jw_kf64(&w, "step_seconds", st->step_seconds);
  agrl_jw_kf64(&w, "forward_seconds", st->forward_seconds);
  agrl_jw_kf64(&w, "backward_seconds", st->backward_seconds);
  agrl_jw_kf64(&w, "optim_seconds", st->optim_seconds);
  agrl_jw_kf64(&w, "wait_seconds", st->wait_seconds);
  agrl_jw_end_obj(&w);
}
