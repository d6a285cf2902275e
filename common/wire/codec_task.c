// SPDX-License-Identifier: Apache-2.0
// Codec of the task family: TASK_REQUEST, TASK_GRANT.
#include "agrl/v1/task.pb-c.h"
#include "common/wire/codec.h"

static void put_task(wire *w, const agrl_task *in, Agrl__V1__Task *pb) {
  wire_count(w, in->level, AGRL_LIMIT_LEVEL, "task level");
  wire_count(w, in->n_members, AGRL_LIMIT_MEMBERS, "task members");
  pb->run = in->run;
  pb->group = in->group;
  pb->attempt = in->attempt;
  pb->first_member = in->first_member;
  pb->n_members = in->n_members;
  pb->level = in->level;
  pb->prompt_id = wire_put_name(w, in->prompt_id, AGRL_LIMIT_LABEL, "prompt id");
  pb->prompt = wire_put_text(w, in->prompt, AGRL_LIMIT_TEXT, "prompt");
  pb->guided = wire_put_text(w, in->guided, AGRL_LIMIT_TEXT, "guided prompt");
  pb->gold = wire_put_labels(w, &in->gold);
  pb->max_new_tokens = in->max_new_tokens;
  pb->lease_ms = in->lease_ms;
}

static void get_task(wire *w, const Agrl__V1__Task *pb, agrl_task *out) {
  wire_count(w, pb->level, AGRL_LIMIT_LEVEL, "task level");
  wire_count(w, pb->n_members, AGRL_LIMIT_MEMBERS, "task members");
  wire_count(w, pb->max_new_tokens, AGRL_LIMIT_TOKENS, "task tokens");
  if (pb->first_member > UINT32_MAX - pb->n_members) wire_fail(w, AGRL_EPARSE, "task members: range overflows");
  out->run = pb->run;
  out->group = pb->group;
  out->attempt = pb->attempt;
  out->first_member = pb->first_member;
  out->n_members = pb->n_members;
  out->level = pb->level;
  out->prompt_id = wire_get_str(w, pb->prompt_id, AGRL_LIMIT_LABEL, "prompt id");
  out->prompt = wire_get_str(w, pb->prompt, AGRL_LIMIT_TEXT, "prompt");
  out->guided = wire_get_str(w, pb->guided, AGRL_LIMIT_TEXT, "guided prompt");
  out->gold = wire_get_labels(w, pb->gold);
  out->max_new_tokens = pb->max_new_tokens;
  out->lease_ms = pb->lease_ms;
}

static void task_request_put(wire *w, const agrl_msg_task_request *in, Agrl__V1__TaskRequest *pb) {
  pb->actor = wire_put_name(w, in->actor, AGRL_LIMIT_NAME, "actor");
  pb->want = in->want;
  pb->version = in->version;
}

static void task_request_get(wire *w, const Agrl__V1__TaskRequest *pb, agrl_msg_task_request *out) {
  out->actor = wire_get_str(w, pb->actor, AGRL_LIMIT_NAME, "actor");
  out->want = pb->want;
  out->version = pb->version;
}

static void task_grant_put(wire *w, const agrl_msg_task_grant *in, Agrl__V1__TaskGrant *pb) {
  pb->retry_ms = in->retry_ms;
  pb->done = in->done;
  if (!wire_count(w, in->n_tasks, AGRL_LIMIT_TASKS, "tasks of a grant")) return;
  pb->n_tasks = in->n_tasks;
  pb->tasks = wire_array(w, in->n_tasks, sizeof *pb->tasks);
  Agrl__V1__Task *all = wire_array(w, in->n_tasks, sizeof *all);
  for (size_t i = 0; i < in->n_tasks; i++) {
    agrl__v1__task__init(&all[i]);
    put_task(w, &in->tasks[i], &all[i]);
    pb->tasks[i] = &all[i];
  }
}

static void task_grant_get(wire *w, const Agrl__V1__TaskGrant *pb, agrl_msg_task_grant *out) {
  out->retry_ms = pb->retry_ms;
  out->done = pb->done;
  if (!wire_count(w, pb->n_tasks, AGRL_LIMIT_TASKS, "tasks of a grant")) return;
  agrl_task *all = wire_array(w, pb->n_tasks, sizeof *all);
  for (size_t i = 0; i < pb->n_tasks && w->rc == AGRL_OK; i++) get_task(w, pb->tasks[i], &all[i]);
  out->n_tasks = pb->n_tasks;
  out->tasks = all;
}

WIRE_CODEC(task_request, TaskRequest, task_request)
WIRE_CODEC(task_grant, TaskGrant, task_grant)
