// SPDX-License-Identifier: Apache-2.0
// Codec of the trace family: TRACE, TRACE_ACK. Versions per token travel as run-length spans and are expanded here.
#include <math.h>

#include "common/wire/codec.h"

static void put_versions(wire *w, const uint64_t *versions, size_t n, Agrl__V1__Trace *pb) {
  size_t spans = 0;
  for (size_t i = 0; i < n; i++) spans += i == 0 || versions[i] != versions[i - 1];
  pb->version_value = wire_array(w, spans, sizeof *pb->version_value);
  pb->version_count = wire_array(w, spans, sizeof *pb->version_count);
  size_t s = 0;
  for (size_t i = 0; i < n; i++) {
    if (i == 0 || versions[i] != versions[i - 1]) pb->version_value[s++] = versions[i];
    pb->version_count[s - 1]++;
  }
  pb->n_version_value = pb->n_version_count = spans;
}

// n tokens must be covered exactly.
static const uint64_t *get_versions(wire *w, const Agrl__V1__Trace *pb, size_t n) {
  if (pb->n_version_value != pb->n_version_count) {
    wire_fail(w, AGRL_EPARSE, "version spans: %zu values, %zu counts", pb->n_version_value, pb->n_version_count);
    return NULL;
  }
  uint64_t *out = wire_array(w, n, sizeof *out);
  size_t at = 0;
  for (size_t s = 0; s < pb->n_version_value; s++) {
    size_t count = pb->version_count[s];
    if (count == 0 || count > n - at) {
      wire_fail(w, AGRL_EPARSE, "version spans do not cover the %zu tokens", n);
      return NULL;
    }
    for (size_t i = 0; i < count; i++) out[at++] = pb->version_value[s];
  }
  if (at != n) wire_fail(w, AGRL_EPARSE, "version spans do not cover the %zu tokens", n);
  return out;
}

static void check_logprobs(wire *w, const float *p, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (!isfinite(p[i])) {
      wire_fail(w, AGRL_EPARSE, "log-probability %zu is not a finite number", i);
      return;
    }
}

static void check_tokens(wire *w, const int32_t *p, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (p[i] < 0) {
      wire_fail(w, AGRL_EPARSE, "token %zu is negative", i);
      return;
    }
}

void wire_put_trace(wire *w, const agrl_msg_trace *in, Agrl__V1__Trace *pb) {
  wire_count(w, in->level, AGRL_LIMIT_LEVEL, "trace level");
  if (in->stop > AGRL_STOP_ERROR) wire_fail(w, AGRL_EINVAL, "stop reason %u is unknown", in->stop);
  pb->id = wire_put_id(w, &in->id);
  pb->actor = wire_put_name(w, in->actor, AGRL_LIMIT_NAME, "actor");
  pb->prompt_id = wire_put_name(w, in->prompt_id, AGRL_LIMIT_LABEL, "prompt id");
  pb->level = in->level;
  pb->gold = wire_put_labels(w, &in->gold);
  pb->text = wire_put_text(w, in->text, AGRL_LIMIT_TEXT, "completion text");
  pb->stop = (Agrl__V1__Stop)in->stop;
  pb->created_ms = in->created_ms;
  pb->generation_ms = in->generation_ms;
  pb->prompt = wire_put_le(w, in->prompt, in->n_prompt, 4, AGRL_LIMIT_TOKENS, "prompt tokens");
  pb->tokens = wire_put_le(w, in->tokens, in->n_tokens, 4, AGRL_LIMIT_TOKENS, "completion tokens");
  if (w->rc != AGRL_OK) return;
  check_tokens(w, in->prompt, in->n_prompt);
  check_tokens(w, in->tokens, in->n_tokens);
  check_logprobs(w, in->logprobs, in->n_tokens);
  pb->logprobs = wire_put_le(w, in->logprobs, in->n_tokens, 4, AGRL_LIMIT_TOKENS, "log-probabilities");
  put_versions(w, in->versions, in->n_tokens, pb);
}

void wire_get_trace(wire *w, const Agrl__V1__Trace *pb, agrl_msg_trace *out) {
  wire_count(w, pb->level, AGRL_LIMIT_LEVEL, "trace level");
  if ((int)pb->stop < AGRL_STOP_EOS || (int)pb->stop > AGRL_STOP_ERROR)
    wire_fail(w, AGRL_EPARSE, "stop reason %d is unknown", (int)pb->stop);
  out->id = wire_get_id(w, pb->id);
  out->actor = wire_get_str(w, pb->actor, AGRL_LIMIT_NAME, "actor");
  out->prompt_id = wire_get_str(w, pb->prompt_id, AGRL_LIMIT_LABEL, "prompt id");
  out->level = pb->level;
  out->gold = wire_get_labels(w, pb->gold);
  out->text = wire_get_str(w, pb->text, AGRL_LIMIT_TEXT, "completion text");
  out->stop = (uint32_t)pb->stop;
  out->created_ms = pb->created_ms;
  out->generation_ms = pb->generation_ms;
  size_t n_logprobs = 0;
  out->prompt = wire_get_le(w, &pb->prompt, 4, AGRL_LIMIT_TOKENS, &out->n_prompt, "prompt tokens");
  out->tokens = wire_get_le(w, &pb->tokens, 4, AGRL_LIMIT_TOKENS, &out->n_tokens, "completion tokens");
  out->logprobs = wire_get_le(w, &pb->logprobs, 4, AGRL_LIMIT_TOKENS, &n_logprobs, "log-probabilities");
  if (n_logprobs != out->n_tokens)
    wire_fail(w, AGRL_EPARSE, "%zu log-probabilities for %zu tokens", n_logprobs, out->n_tokens);
  if (w->rc != AGRL_OK) return;
  check_tokens(w, out->prompt, out->n_prompt);
  check_tokens(w, out->tokens, out->n_tokens);
  check_logprobs(w, out->logprobs, out->n_tokens);
  out->versions = get_versions(w, pb, out->n_tokens);
}

static void trace_put(wire *w, const agrl_msg_trace *in, Agrl__V1__Trace *pb) { wire_put_trace(w, in, pb); }
static void trace_get(wire *w, const Agrl__V1__Trace *pb, agrl_msg_trace *out) { wire_get_trace(w, pb, out); }

static void trace_ack_put(wire *w, const agrl_msg_trace_ack *in, Agrl__V1__TraceAck *pb) {
  if (!wire_count(w, in->n, AGRL_LIMIT_ACKS, "acknowledgements")) return;
  pb->n_acks = in->n;
  pb->acks = wire_array(w, in->n, sizeof *pb->acks);
  Agrl__V1__Ack *all = wire_array(w, in->n, sizeof *all);
  for (size_t i = 0; i < in->n; i++) {
    if (in->status[i] > AGRL_ACK_UNWANTED) wire_fail(w, AGRL_EINVAL, "acknowledgement status %u is unknown", in->status[i]);
    agrl__v1__ack__init(&all[i]);
    all[i].id = wire_put_id(w, &in->ids[i]);
    all[i].status = (Agrl__V1__AckStatus)in->status[i];
    pb->acks[i] = &all[i];
  }
}

static void trace_ack_get(wire *w, const Agrl__V1__TraceAck *pb, agrl_msg_trace_ack *out) {
  if (!wire_count(w, pb->n_acks, AGRL_LIMIT_ACKS, "acknowledgements")) return;
  agrl_trace_id *ids = wire_array(w, pb->n_acks, sizeof *ids);
  uint32_t *status = wire_array(w, pb->n_acks, sizeof *status);
  for (size_t i = 0; i < pb->n_acks && w->rc == AGRL_OK; i++) {
    int s = (int)pb->acks[i]->status;
    if (s < AGRL_ACK_COMMITTED || s > AGRL_ACK_UNWANTED) wire_fail(w, AGRL_EPARSE, "acknowledgement status %d is unknown", s);
    ids[i] = wire_get_id(w, pb->acks[i]->id);
    status[i] = (uint32_t)s;
  }
  out->n = pb->n_acks;
  out->ids = ids;
  out->status = status;
}

WIRE_CODEC(trace, Trace, trace)
WIRE_CODEC(trace_ack, TraceAck, trace_ack)
