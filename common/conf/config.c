// SPDX-License-Identifier: Apache-2.0
// The configuration table: one row per key, in the order of the struct, the only place where a default, a range or a
// help text stands. The constants of the method are this project's own choices; where a source suggested one the
// documentation says which.
#include <string.h>

#include "common/conf/config_method.h"

static const char *const methods[] = {"sft", "dpo", "grpo", "grpo-pr", "agrl", NULL};
static const char *const reward_modes[] = {"shaped", "sparse", NULL};
static const char *const gates[] = {"none", "rule", "outcome", "both", NULL};
static const char *const syncs[] = {"safe", "nometa", "none", NULL};
static const char *const selectors[] = {"fresh", "priority", "uniform", NULL};
static const char *const guided_losses[] = {"guide", "plain", "tis", NULL};
static const char *const zero_spreads[] = {"drop", "keep", NULL};
static const char *const advantages[] = {"std", "mean", NULL};
static const char *const aggregations[] = {"seq-mean", "token-mean", "constant-length", NULL};
static const char *const ratios[] = {"token", "sequence", "cispo", NULL};
static const char *const kl_estimators[] = {"k1", "k2", "k3", NULL};
static const char *const overlongs[] = {"keep", "mask", "soft", NULL};
static const char *const recomputes[] = {"none", "layer", NULL};
static const char *const log_levels[] = {"error", "warn", "info", "debug", NULL};

#define AT(field) offsetof(agrl_config, field)
#define STRING(path, field, def, help) {path, AGRL_CONF_STRING, AT(field), def, 0, 0, NULL, false, help}
#define INT(path, field, def, min, max, help) {path, AGRL_CONF_INT, AT(field), def, min, max, NULL, false, help}
#define REAL(path, field, def, min, max, help) {path, AGRL_CONF_REAL, AT(field), def, min, max, NULL, false, help}
#define LIST(path, field, def, help) {path, AGRL_CONF_LIST, AT(field), def, 0, 0, NULL, false, help}
#define BOOL(path, field, def, help) {path, AGRL_CONF_BOOL, AT(field), def, 0, 0, NULL, false, help}
#define BYTES(path, field, def, min, max, help) {path, AGRL_CONF_BYTES, AT(field), def, min, max, NULL, false, help}
#define TIME(path, field, def, min_s, max_s, help) {path, AGRL_CONF_DURATION, AT(field), def, min_s, max_s, NULL, false, help}
#define ENUM(path, field, def, choices, help) {path, AGRL_CONF_ENUM, AT(field), def, 0, 0, choices, false, help}
#define RELOAD_ENUM(path, field, def, choices, help) {path, AGRL_CONF_ENUM, AT(field), def, 0, 0, choices, true, help}

#define MIB 1048576.0
#define TIB 1099511627776.0

const agrl_conf_key agrl_config_table[] = {
    STRING("run.name", run.name, "agrl", "Name of the run; with the seed it makes the run id that is part of every trace's identity."),
    STRING("run.dir", run.dir, "agrl-run", "Run directory: sockets, store, checkpoints, logs."),
    INT("run.seed", run.seed, "1", 0, 9e15, "Seed of every random choice of the run."),
    ENUM("run.method", run.method, "agrl", methods, "Method: sft (the warm start alone), dpo (pairs of the policy's own traces), grpo (reward.mode sparse, replay.guided false), grpo-pr (shaped rewards, replay.guided false), agrl (shaped rewards, replay.guided true). It sets these two keys: one that is given all the same must say the same."),

    STRING("data.train", data.train, "", "Training rows, a JSONL file."),
    STRING("data.eval", data.eval, "", "Held-out rows, JSONL files separated by commas."),
    STRING("data.dev", data.dev, "", "Held-out rows that choose: the best version while training, and the threshold of three classes; empty: the first file of data.eval chooses the version, a fifth of each file its threshold."),
    STRING("data.rules", data.rules, "", "Rule file (YAML): criteria, rule table, gates, prompt and trace format."),

    STRING("model.init", model.init, "", "Hugging Face directory to start from; empty: a new model of the shape below, its tokenizer trained on data.train."),
    INT("model.layers", model.layers, "4", 1, 256, "Transformer layers."),
    INT("model.hidden", model.hidden, "128", 8, 16384, "Width of the residual stream."),
    INT("model.ffn", model.ffn, "384", 8, 65536, "Width of the feed-forward layer."),
    INT("model.heads", model.heads, "4", 1, 256, "Attention heads; must divide model.hidden."),
    INT("model.kv_heads", model.kv_heads, "2", 1, 256, "Key/value heads; must divide model.heads."),
    INT("model.vocab", model.vocab, "1024", 260, 262144, "Vocabulary size the tokenizer is trained to."),
    INT("model.context", model.context, "256", 16, 32768, "Longest sequence in tokens, prompt and completion together."),
    REAL("model.rope_theta", model.rope_theta, "10000", 1, 1e9, "Base of the rotary position frequencies."),
    BOOL("model.tied", model.tied, "true", "Use the token embedding as the output layer too."),

    INT("lora.rank", lora.rank, "0", 0, 4096, "Rank of the adapters that are trained (LoRA) while the model's own weights stay as they are; 0: every parameter is trained."),
    REAL("lora.alpha", lora.alpha, "32", 0, 1e6, "What the adapters add to a matrix is multiplied by lora.alpha / lora.rank."),
    LIST("lora.targets", lora.targets, "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj", "Matrices of every layer that get an adapter: some of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj; a list, or one text with commas."),

    INT("sft.steps", sft.steps, "400", 0, 1e9, "Steps of the supervised warm start; 0: none."),
    INT("sft.warmup_steps", sft.warmup_steps, "20", 0, 1e9, "Steps over which the learning rate rises."),
    INT("sft.batch_tokens", sft.batch_tokens, "8192", 16, 16777216, "Tokens per step."),
    REAL("sft.lr", sft.lr, "2e-3", 0, 1, "Peak learning rate."),
    REAL("sft.min_lr_ratio", sft.min_lr_ratio, "0.1", 0, 1, "Learning rate at the end of the cosine, as a share of the peak."),
    REAL("sft.weight_decay", sft.weight_decay, "0.01", 0, 10, "Decoupled weight decay."),
    INT("sft.max_rows", sft.max_rows, "0", 0, 1e12, "Rows with a reference trace to use, the first ones, in SFT, in DPO and for grpo.sft_weight; 0: all."),

    REAL("sft.guided_share", sft.guided_share, "0.2", 0, 1, "Share of the rows shown with guidance, so that its text means something to the model."),
    INT("grpo.versions", grpo.versions, "200", 0, 1e9, "RL updates to make; the job is done after them."),
    INT("grpo.group_size", grpo.group_size, "16", 2, 1024, "Rollouts per prompt, G."),
    INT("grpo.groups_per_step", grpo.groups_per_step, "16", 1, 65536, "Groups trained per version."),
    INT("grpo.warmup_steps", grpo.warmup_steps, "5", 0, 1e9, "Versions over which the learning rate rises."),
    REAL("grpo.lr", grpo.lr, "3e-4", 0, 1, "Peak learning rate."),
    REAL("grpo.min_lr_ratio", grpo.min_lr_ratio, "0.1", 0, 1, "Learning rate at the end of the cosine, as a share of the peak."),
    REAL("grpo.weight_decay", grpo.weight_decay, "0.01", 0, 10, "Decoupled weight decay."),
    REAL("grpo.beta1", grpo.beta1, "0.9", 0, 0.99999, "AdamW's decay of the first moment."),
    REAL("grpo.beta2", grpo.beta2, "0.95", 0, 0.999999, "AdamW's decay of the second moment."),
    REAL("grpo.eps", grpo.eps, "1e-8", 1e-16, 1, "AdamW's epsilon."),
    REAL("grpo.grad_clip", grpo.grad_clip, "1", 0, 1e6, "Largest gradient norm; 0: no clipping."),
    ENUM("grpo.ratio", grpo.ratio, "token", ratios, "Policy ratio: of each token (GRPO), of the whole sequence (GSPO; it needs clip_low and clip_high of about 3e-4: at those of tokens nothing would ever be clipped), or as a clipped constant weight of each token (CISPO; clip_low 1 leaves it without a lower bound)."),
    REAL("grpo.clip_low", grpo.clip_low, "0.2", 0, 1, "Lower clip of the policy ratio: 1 - clip_low."),
    REAL("grpo.clip_high", grpo.clip_high, "0.2", 0, 10, "Upper clip of the policy ratio: 1 + clip_high (clip-higher: 0.28)."),
    REAL("grpo.dual_clip", grpo.dual_clip, "3", 0, 100, "Bound of the ratio where the advantage is negative; 0: none, otherwise above 1."),
    REAL("grpo.tis_cap", grpo.tis_cap, "0", 0, 1000, "Truncated importance sampling: the policy at the start of the step is the old one, and each unguided token weighs min(old/sampler, this), usually 2; clip_low, clip_high and dual_clip then do not apply, as that policy's ratio is 1. 0: the sampler is the old policy."),
    REAL("grpo.kl_beta", grpo.kl_beta, "0.02", 0, 10, "Weight of the KL term to the reference. 0: none; the KL is then measured only, every tenth version, against the reference of that version (grpo.reference_every moves it)."),
    ENUM("grpo.kl_estimator", grpo.kl_estimator, "k3", kl_estimators, "Estimator of the KL term: k1 = d, k2 = d^2/2, k3 = exp(-d) - 1 + d, with d = log policy - log reference. The gradient of k1 has mean zero on tokens of the policy: as a loss it adds noise and pulls nowhere."),
    INT("grpo.reference_every", grpo.reference_every, "0", 0, 1e9, "Versions after which the reference becomes the newest weights, again and again; 0: it stays as the warm start left it."),
    ENUM("grpo.advantage", grpo.advantage, "std", advantages, "Advantage: reward less the group's mean over its standard deviation, or less the mean only (Dr.GRPO)."),
    REAL("grpo.advantage_clamp", grpo.advantage_clamp, "2", 0, 1000, "Advantages are clamped to plus or minus this; 0: not clamped."),
    ENUM("grpo.aggregation", grpo.aggregation, "seq-mean", aggregations, "Mean over tokens: of each sequence, then over sequences; over all tokens of the step (DAPO); or over sequences of actor.max_new_tokens each, however short (Dr.GRPO)."),
    ENUM("grpo.guided_loss", grpo.guided_loss, "guide", guided_losses, "Objective of tokens that were generated under guidance: r/(r+gamma), the policy at the start of the step as the old one, or min(r, 2) as a constant weight of the log-prob."),
    REAL("grpo.guide_quantile", grpo.guide_quantile, "0.9", 0, 1, "Quantile of the batch's guided ratios that becomes gamma in r/(r+gamma). Most tokens of a trace copy the prompt and have a ratio of 1, so that 0.9 gives a gamma of 1 and a token the hint made likely (r = 0.01) 25 times less weight than a copied one; a quantile below the share of such tokens favours them."),
    REAL("grpo.guide_floor", grpo.guide_floor, "1e-4", 1e-12, 1, "Smallest gamma."),
    ENUM("grpo.zero_spread", grpo.zero_spread, "drop", zero_spreads, "What becomes of a group whose rewards are all equal (dpo: which has no pair): dropped, and another prompt is sampled in its place, or kept, so that every version takes as many prompts."),
    ENUM("grpo.overlong", grpo.overlong, "keep", overlongs, "What becomes of a completion cut off at actor.max_new_tokens: trained as any other, masked (not trained, its reward still counts in its group), or trained with a soft penalty on the reward that grows to 1 over the last grpo.overlong_buffer tokens (DAPO). The penalty is the learner's: whether a group's rewards have spread, replay has decided without it."),
    INT("grpo.overlong_buffer", grpo.overlong_buffer, "16", 1, 32768, "Tokens before actor.max_new_tokens over which the soft penalty grows."),
    REAL("grpo.sft_weight", grpo.sft_weight, "0", 0, 10, "Weight of an auxiliary SFT loss on reference traces; 0: none."),

    REAL("dpo.beta", dpo.beta, "0.1", 1e-6, 100, "Strength of the pull to the reference: the scale of the implicit reward. Besides it run.method dpo uses grpo.versions, group_size, groups_per_step, the optimiser's keys (warmup_steps, lr to grad_clip), reference_every and sft_weight; the other keys of grpo do nothing."),

    INT("actor.count", actor.count, "2", 0, 1024, "Actors that agrlctl up starts."),
    INT("actor.slots", actor.slots, "64", 1, 4096, "Sequences decoded together."),
    INT("actor.threads", actor.threads, "1", 1, 256, "Compute threads of one actor."),
    INT("actor.max_new_tokens", actor.max_new_tokens, "96", 1, 32768, "Longest completion in tokens."),
    REAL("actor.temperature", actor.temperature, "1", 0, 10, "Sampling temperature; must be 1 while grpo.versions > 0: the learner's policy ratio presumes it. 0: greedy."),
    REAL("actor.top_p", actor.top_p, "1", 1e-6, 1, "Nucleus sampling; must be 1, off, while grpo.versions > 0."),
    INT("actor.top_k", actor.top_k, "0", 0, 262144, "Sample among this many likeliest tokens; must be 0, all, while grpo.versions > 0."),
    TIME("actor.ack_timeout", actor.ack_timeout_ns, "5s", 0.01, 3600, "An unacknowledged trace is sent again after this."),
    INT("actor.max_unacked", actor.max_unacked, "4096", 1, 1e7, "Unacknowledged traces an actor keeps; it takes no new tasks beyond."),

    ENUM("reward.mode", reward.mode, "shaped", reward_modes, "Reward: shaped by the rule file's criteria, or sparse (format and tier only). run.method sets it."),
    ENUM("reward.gate", reward.gate, "rule", gates, "Gate on the shaped reward."),
    TIME("reward.timeout", reward.timeout_ns, "5s", 0.001, 3600, "Deadline of one scoring; beyond it the reward is missing."),

    BYTES("replay.map_size", replay.map_bytes, "1GiB", MIB, 1024 * TIB, "Size of the LMDB map at start."),
    BYTES("replay.map_max", replay.map_max_bytes, "64GiB", MIB, 1024 * TIB, "Size the map may grow to; inserts are refused beyond."),
    ENUM("replay.sync", replay.sync, "safe", syncs, "fsync policy: safe syncs every commit before it is acknowledged; the others may lose commits when the machine stops."),
    TIME("replay.commit_interval", replay.commit_interval_ns, "5ms", 0, 10, "Inserts are batched into one commit for up to this long."),
    INT("replay.commit_batch", replay.commit_batch, "256", 1, 65536, "Inserts in one commit at most."),
    INT("replay.staleness_bound", replay.staleness_bound, "4", 0, 1e6, "Oldest weights a trained trace may come from, in versions."),
    REAL("replay.samples_per_insert", replay.samples_per_insert, "1", 0.01, 1, "Share of the ready groups that may be served; a group is never trained twice, and what is not served grows stale."),
    INT("replay.min_groups", replay.min_groups, "16", 1, 1e7, "Ready groups before the first batch is served."),
    ENUM("replay.selector", replay.selector, "fresh", selectors, "Which prompts are sampled again. Three of four picks walk the rows in an order shuffled anew for every pass; the fourth goes to a prompt seen before, drawn by difficulty x freshness (fresh) or by difficulty alone (priority). uniform: the walk alone."),
    REAL("replay.freshness_half_life", replay.freshness_half_life, "50", 0.01, 1e6, "Versions after which a prompt's priority has halved."),
    BOOL("replay.guided", replay.guided, "true", "Adaptive guided replay. run.method sets it."),
    REAL("replay.tau", replay.tau, "0.25", 0, 1, "A group of at most this mean accuracy climbs the guidance ladder."),
    INT("replay.guide_warmup", replay.guide_warmup, "50", 0, 1e9, "Versions without guidance."),
    INT("replay.guide_rollouts", replay.guide_rollouts, "0", 0, 1024, "Guided rollouts per ladder level, K; 0: half of grpo.group_size."),
    INT("replay.guide_replace", replay.guide_replace, "0", 0, 1024, "Failures of a group replaced at most, k; 0: a quarter of grpo.group_size."),
    REAL("replay.accuracy_low", replay.accuracy_low, "0.01", 0, 1, "Plain groups of equal rewards below this accuracy are retired as outside the window, the others as without spread; grpo.zero_spread keep trains both."),
    REAL("replay.accuracy_high", replay.accuracy_high, "0.9", 0, 1, "The window's upper end: above it as below replay.accuracy_low."),
    TIME("replay.task_lease", replay.task_lease_ns, "60s", 0.1, 86400, "A task not answered within this is given out again."),
    TIME("replay.batch_lease", replay.batch_lease_ns, "120s", 0.1, 86400, "A batch not reported within this is retired once the learner has gone on to newer weights; until then it returns only when the learner asks again."),
    INT("replay.keep_groups", replay.keep_groups, "10000", 0, 1e9, "Trained groups kept for inspection after a checkpoint passed them."),

    INT("learner.threads", learner.threads, "2", 1, 256, "Compute threads."),
    INT("learner.checkpoint_every", learner.checkpoint_every, "20", 1, 1e9, "Versions between checkpoints."),
    INT("learner.keep", learner.keep, "3", 1, 10000, "Checkpoints kept."),
    INT("learner.anchor_every", learner.anchor_every, "16", 1, 128, "Versions between anchors: whole weights, compressed, from which a joining actor goes on by deltas."),
    TIME("learner.batch_wait", learner.batch_wait_ns, "30s", 0.1, 3600, "Deadline of one request for a batch."),
    ENUM("learner.recompute", learner.recompute, "none", recomputes, "Activations kept for the backward pass: none is computed again, or of a layer only its input is kept and the rest computed again (less memory, about a fifth more time, the same gradients)."),

    INT("eval.interval", eval.every, "0", 0, 1e9, "Versions between evaluations while training, a multiple of learner.checkpoint_every; the best version is kept as checkpoints/best. 0: none."),
    INT("eval.rows", eval.rows, "0", 0, 1e9, "Rows of each held-out file that these use, the first ones; 0: all."),
    INT("eval.threads", eval.threads, "1", 1, 256, "Compute threads of these; they run at the lowest priority, beside the training."),
    INT("eval.samples", eval.samples, "0", 0, 64, "Traces sampled a row besides, for pass@k, wherever a checkpoint is evaluated except while training: agrlctl eval, sbs, report --evaluate and the end of up."),

    STRING("net.replay", net.replay, "", "Endpoint of replay; empty: a socket under run.dir."),
    STRING("net.reward", net.reward, "", "Endpoint of reward; empty: a socket under run.dir."),
    STRING("net.weights", net.weights, "", "Endpoint of the learner's weights; empty: a socket under run.dir."),
    STRING("net.announce", net.announce, "", "Endpoint of the learner's announcements; empty: a socket under run.dir."),
    STRING("net.control", net.control, "", "Endpoint of agrlctl's control; empty: a socket under run.dir."),
    INT("net.hwm", net.hwm, "1000", 1, 1e6, "Messages a socket queues at most, per peer and direction."),

    STRING("obs.http_host", obs.http_host, "127.0.0.1", "Address of the metrics and health pages; loopback only."),
    INT("obs.http_port", obs.http_port, "9470", 0, 65535, "First port: control +0, replay +1, reward +2, learner +3, actor I +10+I; 0: no HTTP."),
    RELOAD_ENUM("obs.log_level", obs.log_level, "info", log_levels, "Least level that is logged."),
};

const size_t agrl_config_table_len = sizeof agrl_config_table / sizeof *agrl_config_table;
_Static_assert(sizeof agrl_config_table / sizeof *agrl_config_table <= AGRL_CONFIG_KEYS_MAX, "raise AGRL_CONFIG_KEYS_MAX");

agrl_rc agrl_config_load(const char *path, agrl_config *out, agrl_error *err) {
  *out = (agrl_config){0};
  agrl_conf_defaults(agrl_config_table, agrl_config_table_len, out);
  agrl_rc rc = AGRL_OK;
  if (path) {
    agrl_yaml *root;
    rc = agrl_yaml_load(path, &root, err);
    if (!rc) rc = agrl_conf_bind(agrl_config_table, agrl_config_table_len, root, out, err);
    if (!rc) config_note_given(out, root);
    agrl_yaml_free(root);
  }
  if (!rc) config_apply_method(out);
  agrl_error why = {0};
  if (!rc && (rc = agrl_config_check(out, &why))) agrl_fail(err, rc, path ? "%s: %s" : "%s%s", path ? path : "", why.msg);
  if (rc) agrl_config_release(out);
  return rc;
}

void agrl_config_release(agrl_config *c) {
  agrl_conf_release(agrl_config_table, agrl_config_table_len, c);
  *c = (agrl_config){0};
}

void agrl_config_dump(const agrl_config *c, bool with_help, agrl_buf *yaml) {
  bool of_method[AGRL_CONFIG_KEYS_MAX];
  config_of_method(c, of_method);
  agrl_conf_dump(agrl_config_table, agrl_config_table_len, c, with_help, of_method, yaml);
}

agrl_rc agrl_config_set(agrl_config *c, const char *path, const char *value, agrl_error *err) {
  agrl_rc rc = agrl_conf_set(agrl_config_table, agrl_config_table_len, c, path, value, err);
  for (size_t i = 0; !rc && i < agrl_config_table_len; i++) c->given[i] |= strcmp(agrl_config_table[i].path, path) == 0;
  if (!rc) config_apply_method(c);
  return rc;
}
