// SPDX-License-Identifier: Apache-2.0
// Codec of the learner-replay family: HELLO, HELLO_REPLY, BATCH_REQUEST, BATCH, GROUPS_FETCH, TRAINED, CHECKPOINTED.
#include "agrl/v1/replay.pb-c.h"
#include "common/wire/codec.h"

static void hello_put(wire *w, const agrl_msg_hello *in, Agrl__V1__Hello *pb) {
  pb->run = in->run;
  pb->checkpoint_version = in->checkpoint_version;
  pb->version = in->version;
  pb->max_group = in->max_group;
  if (!wire_count(w, in->n_entries, AGRL_LIMIT_ENTRIES, "journal entries")) return;
  pb->n_entries = in->n_entries;
  pb->entries = wire_array(w, in->n_entries, sizeof *pb->entries);
  Agrl__V1__JournalEntry *all = wire_array(w, in->n_entries, sizeof *all);
  for (size_t i = 0; i < in->n_entries; i++) {
    agrl__v1__journal_entry__init(&all[i]);
    all[i].version = in->entries[i].version;
    all[i].groups = wire_put_u64s(w, in->entries[i].groups, in->entries[i].n_groups, "groups of a journal entry");
    pb->entries[i] = &all[i];
  }
}

static void hello_get(wire *w, const Agrl__V1__Hello *pb, agrl_msg_hello *out) {
  out->run = pb->run;
  out->checkpoint_version = pb->checkpoint_version;
  out->version = pb->version;
  out->max_group = pb->max_group;
  if (!wire_count(w, pb->n_entries, AGRL_LIMIT_ENTRIES, "journal entries")) return;
  agrl_journal_entry *all = wire_array(w, pb->n_entries, sizeof *all);
  for (size_t i = 0; i < pb->n_entries && w->rc == AGRL_OK; i++) {
    all[i].version = pb->entries[i]->version;
    all[i].groups = wire_get_u64s(w, &pb->entries[i]->groups, &all[i].n_groups, "groups of a journal entry");
  }
  out->n_entries = pb->n_entries;
  out->entries = all;
}

static void hello_reply_put(wire *w, const agrl_msg_hello_reply *in, Agrl__V1__HelloReply *pb) {
  pb->version = in->version;
  pb->ready_groups = in->ready_groups;
}

static void hello_reply_get(wire *w, const Agrl__V1__HelloReply *pb, agrl_msg_hello_reply *out) {
  out->version = pb->version;
  out->ready_groups = pb->ready_groups;
}

static void batch_request_put(wire *w, const agrl_msg_batch_request *in, Agrl__V1__BatchRequest *pb) {
  wire_count(w, in->groups, AGRL_LIMIT_GROUPS, "groups of a batch request");
  pb->version = in->version;
  pb->groups = in->groups;
  pb->max_group = in->max_group;
}

static void batch_request_get(wire *w, const Agrl__V1__BatchRequest *pb, agrl_msg_batch_request *out) {
  wire_count(w, pb->groups, AGRL_LIMIT_GROUPS, "groups of a batch request");
  out->version = pb->version;
  out->groups = pb->groups;
  out->max_group = pb->max_group;
}

static void put_group(wire *w, const agrl_group *in, Agrl__V1__Group *pb) {
  wire_count(w, in->level, AGRL_LIMIT_LEVEL, "group level");
  pb->id = in->id;
  pb->prompt_id = wire_put_name(w, in->prompt_id, AGRL_LIMIT_LABEL, "prompt id");
  pb->plain_accuracy = wire_finite(w, in->plain_accuracy, "plain accuracy");
  pb->level = in->level;
  if (!wire_count(w, in->n, AGRL_LIMIT_MEMBERS, "group members")) return;
  pb->n_members = in->n;
  pb->members = wire_array(w, in->n, sizeof *pb->members);
  Agrl__V1__Scored *all = wire_array(w, in->n, sizeof *all);
  for (size_t i = 0; i < in->n; i++) {
    agrl__v1__scored__init(&all[i]);
    wire_put_scored(w, &in->members[i], &all[i]);
    pb->members[i] = &all[i];
  }
}

static void get_group(wire *w, const Agrl__V1__Group *pb, agrl_group *out) {
  wire_count(w, pb->level, AGRL_LIMIT_LEVEL, "group level");
  out->id = pb->id;
  out->prompt_id = wire_get_str(w, pb->prompt_id, AGRL_LIMIT_LABEL, "prompt id");
  out->plain_accuracy = wire_finite(w, pb->plain_accuracy, "plain accuracy");
  out->level = pb->level;
  if (!wire_count(w, pb->n_members, AGRL_LIMIT_MEMBERS, "group members")) return;
  agrl_msg_scored *all = wire_array(w, pb->n_members, sizeof *all);
  for (size_t i = 0; i < pb->n_members && w->rc == AGRL_OK; i++) wire_get_scored(w, pb->members[i], &all[i]);
  out->n = pb->n_members;
  out->members = all;
}

static void batch_put(wire *w, const agrl_msg_batch *in, Agrl__V1__Batch *pb) {
  pb->retry_ms = in->retry_ms;
  pb->ready_groups = in->ready_groups;
  pb->rollouts = in->rollouts;
  if (!wire_count(w, in->n_groups, AGRL_LIMIT_GROUPS, "groups of a batch")) return;
  pb->n_groups = in->n_groups;
  pb->groups = wire_array(w, in->n_groups, sizeof *pb->groups);
  Agrl__V1__Group *all = wire_array(w, in->n_groups, sizeof *all);
  for (size_t i = 0; i < in->n_groups; i++) {
    agrl__v1__group__init(&all[i]);
    put_group(w, &in->groups[i], &all[i]);
    pb->groups[i] = &all[i];
  }
}

static void batch_get(wire *w, const Agrl__V1__Batch *pb, agrl_msg_batch *out) {
  out->retry_ms = pb->retry_ms;
  out->ready_groups = pb->ready_groups;
  out->rollouts = pb->rollouts;
  if (!wire_count(w, pb->n_groups, AGRL_LIMIT_GROUPS, "groups of a batch")) return;
  agrl_group *all = wire_array(w, pb->n_groups, sizeof *all);
  for (size_t i = 0; i < pb->n_groups && w->rc == AGRL_OK; i++) get_group(w, pb->groups[i], &all[i]);
  out->n_groups = pb->n_groups;
  out->groups = all;
}

static void groups_fetch_put(wire *w, const agrl_msg_groups_fetch *in, Agrl__V1__GroupsFetch *pb) {
  pb->ids = wire_put_u64s(w, in->ids, in->n, "groups to fetch");
}

static void groups_fetch_get(wire *w, const Agrl__V1__GroupsFetch *pb, agrl_msg_groups_fetch *out) {
  out->ids = wire_get_u64s(w, &pb->ids, &out->n, "groups to fetch");
}

static void trained_put(wire *w, const agrl_msg_trained *in, Agrl__V1__Trained *pb) {
  pb->version = in->version;
  pb->groups = wire_put_u64s(w, in->groups, in->n, "trained groups");
}

static void trained_get(wire *w, const Agrl__V1__Trained *pb, agrl_msg_trained *out) {
  out->version = pb->version;
  out->groups = wire_get_u64s(w, &pb->groups, &out->n, "trained groups");
}

static void checkpointed_put(wire *w, const agrl_msg_checkpointed *in, Agrl__V1__Checkpointed *pb) {
  pb->version = in->version;
}

static void checkpointed_get(wire *w, const Agrl__V1__Checkpointed *pb, agrl_msg_checkpointed *out) {
  out->version = pb->version;
}

WIRE_CODEC(hello, Hello, hello)
WIRE_CODEC(hello_reply, HelloReply, hello_reply)
WIRE_CODEC(batch_request, BatchRequest, batch_request)
WIRE_CODEC(batch, Batch, batch)
WIRE_CODEC(groups_fetch, GroupsFetch, groups_fetch)
WIRE_CODEC(trained, Trained, trained)
WIRE_CODEC(checkpointed, Checkpointed, checkpointed)
