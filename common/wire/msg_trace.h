// SPDX-License-Identifier: Apache-2.0
// Plain structs of the way from a task to a committed trace: tasks, traces, scores, acknowledgements. Part of msg.h.
#ifndef AGRL_WIRE_MSG_TRACE_H
#define AGRL_WIRE_MSG_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct agrl_trace_id {
  uint64_t run, group;
  uint32_t member;   // 0..G-1 plain; G + (level-1)*K + i for guided rollouts
  uint32_t attempt;  // tells retries apart; not part of the identity
} agrl_trace_id;

typedef struct agrl_labels {  // gold labels as they travel
  uint32_t tier;
  const char *category, *attribute;  // "" when absent
} agrl_labels;

// One task: members [first_member, first_member + n_members) of a group, all from the same prompt.
typedef struct agrl_task {
  uint64_t run, group;
  uint32_t attempt, first_member, n_members;
  uint32_t level;           // 0 plain; 1..4 guidance level
  const char *prompt_id;
  const char *prompt;       // plain prompt text: what the policy is trained on
  const char *guided;       // text sampled from when level > 0, else ""
  agrl_labels gold;
  uint32_t max_new_tokens;
  uint64_t lease_ms;        // the group's members are reissued when not committed by then
} agrl_task;

typedef enum { AGRL_STOP_EOS, AGRL_STOP_LENGTH, AGRL_STOP_ERROR } agrl_stop;

typedef struct agrl_msg_trace {
  agrl_trace_id id;
  const char *actor, *prompt_id;
  uint32_t level;
  agrl_labels gold;
  const char *text;          // completion text, end token excluded
  uint32_t stop;             // agrl_stop
  uint64_t created_ms;       // wall clock
  uint32_t generation_ms;
  size_t n_prompt, n_tokens; // completion includes the end token when stop == EOS
  const int32_t *prompt;     // the PLAIN prompt's tokens, also for guided traces
  const int32_t *tokens;
  const float *logprobs;     // n_tokens; of the distribution sampled (given the guidance when guided)
  const uint64_t *versions;  // n_tokens
} agrl_msg_trace;

typedef struct agrl_score {  // one criterion: a value with its provenance
  const char *criterion;
  double value;              // 0..1; meaningless when missing
  double weight;
  bool missing;
  const char *cause;         // why missing, "" otherwise
  uint32_t latency_us;
} agrl_score;

typedef struct agrl_msg_scored {
  agrl_msg_trace trace;
  double reward;             // meaningless when missing
  bool missing;
  bool g_format, g_rule;     // gates
  bool accurate;             // first-token tier == gold tier
  uint32_t tier;             // tier read from the trace, 0: none
  const char *rules_hash;    // hex
  uint32_t attempt;          // scoring attempt
  size_t n_scores;
  const agrl_score *scores;
} agrl_msg_scored;

typedef struct agrl_msg_task_request {
  const char *actor;
  uint32_t want;             // sequences the actor has room for
  uint64_t version;          // weights it serves
} agrl_msg_task_request;

typedef struct agrl_msg_task_grant {
  size_t n_tasks;
  const agrl_task *tasks;
  uint32_t retry_ms;
  bool done;                 // the job is over: no more tasks will come
} agrl_msg_task_grant;

typedef enum { AGRL_ACK_COMMITTED, AGRL_ACK_DUPLICATE, AGRL_ACK_UNWANTED /* group closed or unknown run: drop it */ } agrl_ack;
typedef struct agrl_msg_trace_ack {
  size_t n;
  const agrl_trace_id *ids;
  const uint32_t *status;    // agrl_ack
} agrl_msg_trace_ack;

#endif
