// SPDX-License-Identifier: Apache-2.0
// The configuration of a whole job: one agrl.yaml, read by every daemon and by agrlctl. The table behind it
// (config.c) is the single source for defaults, ranges, help and the manual. Immutable after load, except reload.
#ifndef AGRL_CONF_CONFIG_H
#define AGRL_CONF_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "common/conf/bind.h"
#include "common/conf/choices.h"

#define AGRL_CONFIG_KEYS_MAX 160  // keys of the table, at most

typedef struct agrl_config {
  struct {
    char *name;     // run name; part of every trace's identity through its hash
    char *dir;      // run directory: sockets, store, checkpoints, logs
    int64_t seed;
    int method;
  } run;
  struct {
    char *train, *eval;  // JSONL files; eval: several, separated by commas
    char *dev;           // rows that choose what evaluation leaves to choose; empty: from eval
    char *rules;         // rule file (YAML)
  } data;
  struct {
    char *init;  // Hugging Face directory to start from; empty: a new model of the shape below, tokenizer trained on data.train
    int64_t layers, hidden, ffn, heads, kv_heads, vocab, context;
    double rope_theta;
    bool tied;
  } model;
  struct {
    int64_t rank;   // 0: every parameter is trained
    double alpha;   // adapters count alpha / rank times
    char *targets;  // names of targets.h, commas between
  } lora;
  struct {
    int64_t steps, warmup_steps, batch_tokens;
    double lr, min_lr_ratio, weight_decay;
    int64_t max_rows;  // rows with a reference trace used for SFT; 0: all
    double guided_share;  // share of SFT rows shown with guidance (random level), so that the ladder's text means something to the model
  } sft;
  struct {
    int64_t versions;         // RL updates to make; the job is done after them
    int64_t group_size;       // G
    int64_t groups_per_step;  // groups trained per version
    int64_t warmup_steps;
    double lr, min_lr_ratio, weight_decay, beta1, beta2, eps, grad_clip;
    int ratio;
    double clip_low, clip_high, dual_clip;
    double tis_cap;           // 0: the sampler is the old policy
    double kl_beta;
    int kl_estimator;
    int64_t reference_every;  // versions; 0: never refreshed
    int advantage;
    double advantage_clamp;
    int aggregation;
    int guided_loss;
    double guide_quantile, guide_floor;
    int zero_spread;
    int overlong;
    int64_t overlong_buffer;  // tokens
    double sft_weight;
  } grpo;
  struct { double beta; } dpo;
  struct {
    int64_t count;           // actors that agrlctl up starts
    int64_t slots;           // sequences decoded together
    int64_t threads;
    int64_t max_new_tokens;
    double temperature, top_p;
    int64_t top_k;
    uint64_t ack_timeout_ns;   // resend an unacknowledged trace after this
    int64_t max_unacked;       // traces kept; no new tasks beyond
  } actor;
  struct {
    int mode, gate;
    uint64_t timeout_ns;
  } reward;
  struct {
    uint64_t map_bytes, map_max_bytes;
    int sync;
    uint64_t commit_interval_ns;  // batch inserts up to this long
    int64_t commit_batch;
    int64_t staleness_bound;      // versions
    double samples_per_insert;
    int64_t min_groups;           // ready groups before the first batch
    int selector;
    double freshness_half_life;   // versions
    bool guided;                  // adaptive guided replay on or off
    double tau;
    int64_t guide_warmup;         // versions without guidance
    int64_t guide_rollouts;       // K; 0: G/2
    int64_t guide_replace;        // k; 0: G/4
    double accuracy_low, accuracy_high;
    uint64_t task_lease_ns, batch_lease_ns;
    int64_t keep_groups;          // trained groups kept for inspection after a checkpoint passed them
  } replay;
  struct {
    int64_t threads;
    int64_t checkpoint_every;  // versions
    int64_t keep;              // checkpoints
    int64_t anchor_every;      // versions between anchors
    uint64_t batch_wait_ns;    // a batch request's deadline
    int recompute;             // agrl_recompute of common/model/train.h
  } learner;
  struct {
    int64_t every;  // versions between evaluations while training; 0: none
    int64_t rows, threads;
    int64_t samples;  // traces sampled a row, not while training
  } eval;
  struct {
    char *replay, *reward, *weights, *announce, *control;  // endpoints; empty: ipc under run.dir/sock
    int64_t hwm;
  } net;
  struct {
    char *http_host;
    int64_t http_port;  // base: control +0, replay +1, reward +2, learner +3, actor I +10+I; 0: no HTTP
    int log_level;      // error|warn|info|debug
  } obs;
  bool given[AGRL_CONFIG_KEYS_MAX];  // by row of the table: set by the file or agrl_config_set, so that run.method does not
} agrl_config;

extern const agrl_conf_key agrl_config_table[];
extern const size_t agrl_config_table_len;

// Loads path (NULL: defaults only). Relative paths in the file stay as written (relative to the working directory).
agrl_rc agrl_config_load(const char *path, agrl_config *out, agrl_error *err);
void agrl_config_release(agrl_config *c);
// One "section.key" override, as from a command line; call agrl_config_check after the last. run.method sets the keys it stands
// for, as it does in a file, whatever the order: all but those given themselves.
agrl_rc agrl_config_set(agrl_config *c, const char *path, const char *value, agrl_error *err);
// The effective configuration as YAML; with_help: the commented default file. What run.method stands for is in a comment: it comes with
// the method, so that a file loads to the same and another method can still be set.
void agrl_config_dump(const agrl_config *c, bool with_help, agrl_buf *yaml);
// Cross-key checks (group_size divisible..., loopback only, ...); called by load.
agrl_rc agrl_config_check(const agrl_config *c, agrl_error *err);
// The endpoint of "replay", "reward", "weights", "announce" or "control": configured, or ipc://<run.dir>/sock/<name>
// (through a short /tmp name when the path would pass the 107 bytes of sockaddr_un). Caller frees.
char *agrl_config_endpoint(const agrl_config *c, const char *service);
// RL updates to make: grpo.versions, none with run.method sft.
int64_t agrl_config_versions(const agrl_config *c);
// Whether training needs the reference weights (KL, which is measured without a KL term, too; DPO); data.train's reference traces (auxiliary SFT loss, DPO).
bool agrl_config_needs_reference(const agrl_config *c);
bool agrl_config_needs_traces(const agrl_config *c);
// 64-bit run id: hash of run.name and run.seed.
uint64_t agrl_config_run_id(const agrl_config *c);

#endif
