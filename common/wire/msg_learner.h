// SPDX-License-Identifier: Apache-2.0
// Plain structs of the learner's links and of operators: hello, batches, weights, status, control. Part of msg.h.
#ifndef AGRL_WIRE_MSG_LEARNER_H
#define AGRL_WIRE_MSG_LEARNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/hash.h"
#include "common/wire/msg_trace.h"

typedef struct agrl_journal_entry {
  uint64_t version;
  size_t n_groups;
  const uint64_t *groups;
} agrl_journal_entry;

typedef struct agrl_msg_hello {
  uint64_t run;
  uint64_t checkpoint_version, version;  // version: of the journal's last entry
  size_t n_entries;
  uint64_t max_group;                    // highest id in the whole journal: replay begins new groups above it
  const agrl_journal_entry *entries;     // after the checkpoint, in order: these are TRAINED, every other lease returns
} agrl_msg_hello;

typedef struct agrl_msg_hello_reply {
  uint64_t version;          // newest version replay was told of
  uint64_t ready_groups;
} agrl_msg_hello_reply;

typedef struct agrl_msg_batch_request {
  uint64_t version;          // of the weights to be updated
  uint32_t groups;
  uint64_t max_group;        // as in HELLO: replay may have lost its store since
} agrl_msg_batch_request;

typedef struct agrl_group {
  uint64_t id;
  const char *prompt_id;
  double plain_accuracy;     // of the plain rollouts
  uint32_t level;            // highest guidance level of a member; 0: none
  size_t n;                  // G; run.method dpo: 2 (right, wrong), or 1 (wrong: the row's reference trace is the right one)
  const agrl_msg_scored *members;
} agrl_group;

typedef struct agrl_msg_batch {
  size_t n_groups;
  const agrl_group *groups;
  uint32_t retry_ms;         // when empty
  uint64_t ready_groups;     // still in the store
  uint64_t rollouts;         // stored so far in the run, trained or not
} agrl_msg_batch;

typedef struct agrl_msg_groups_fetch {
  size_t n;
  const uint64_t *ids;
} agrl_msg_groups_fetch;

typedef struct agrl_msg_trained {
  uint64_t version;
  size_t n;
  const uint64_t *groups;
} agrl_msg_trained;

typedef struct agrl_msg_checkpointed {
  uint64_t version;
} agrl_msg_checkpointed;

// With adapters, FULL, ANCHOR and DELTA bring the adapters' block, and BASE (version 0, first) the bf16 block they are merged with.
typedef enum agrl_link_kind { AGRL_LINK_FULL, AGRL_LINK_ANCHOR, AGRL_LINK_DELTA, AGRL_LINK_BASE, AGRL_LINK_N } agrl_link_kind;

typedef struct agrl_link {   // what one fetch brings (common/ckpt/delta.h); kind and version name its bytes
  agrl_link_kind kind;
  uint64_t version, base;    // base: of a delta; else 0
  uint64_t bytes;
} agrl_link;

typedef struct agrl_msg_announce {
  uint64_t run, version, bytes;
  const char *phase;         // "sft", "rl", "done"
  agrl_sha256 hash;          // of the bf16 block, of the model or of its adapters
  const char *config_json;   // config.json text of the model
  const char *tokenizer_path;  // tokenizer.json on this host or a shared file system
  const char *adapter_json;  // description of the adapters that travel (common/ckpt/adapter.h); "": none, the model does
  agrl_sha256 base_hash;     // of their base; zeros: none
  size_t n_links;            // answers to WEIGHTS_GET: what to fetch and apply, in order; 0 in what PUB sends
  const agrl_link *links;
} agrl_msg_announce;

typedef struct agrl_msg_weights_get {
  const char *actor;
  uint64_t have;             // verified version the actor has; 0: none
  agrl_sha256 base_hash;     // of the base of adapters it has; zeros: none
  bool full;                 // a package could not be used: the block itself is wanted
} agrl_msg_weights_get;

typedef struct agrl_msg_chunk_get {
  uint64_t version, offset;
  uint32_t len;
  agrl_link_kind kind;
} agrl_msg_chunk_get;

typedef struct agrl_msg_chunk {
  uint64_t version, offset;  // version differs from the one asked for: that one is gone, start over
  size_t len;
  const uint8_t *data;
} agrl_msg_chunk;

typedef struct agrl_msg_status_request {
  uint32_t unused;
} agrl_msg_status_request;

typedef struct agrl_kv {
  const char *key, *value;
} agrl_kv;
typedef struct agrl_msg_status {
  const char *service;       // "replay", "actor-0"
  size_t n;
  const agrl_kv *items;
} agrl_msg_status;

typedef struct agrl_msg_control {
  const char *verb;          // "scale", "stop", "status", "restart"
  const char *arg;
} agrl_msg_control;

typedef struct agrl_msg_ok {
  const char *text;          // may be ""
} agrl_msg_ok;

typedef struct agrl_msg_error {
  uint32_t code;             // agrl_rc
  const char *text;
} agrl_msg_error;

#endif
