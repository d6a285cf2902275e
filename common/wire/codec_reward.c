// SPDX-License-Identifier: Apache-2.0
// Codec of scored traces: SCORED, and the record that replay stores. Missing values travel as 0 with their flag set.
#include "common/wire/codec.h"

void wire_put_scored(wire *w, const agrl_msg_scored *in, Agrl__V1__Scored *pb) {
  pb->trace = wire_array(w, 1, sizeof *pb->trace);
  agrl__v1__trace__init(pb->trace);
  wire_put_trace(w, &in->trace, pb->trace);
  pb->reward = in->missing ? 0 : wire_finite(w, in->reward, "reward");
  pb->missing = in->missing;
  pb->g_format = in->g_format;
  pb->g_rule = in->g_rule;
  pb->accurate = in->accurate;
  pb->tier = in->tier;
  pb->rules_hash = wire_put_name(w, in->rules_hash, AGRL_LIMIT_NAME, "rules hash");
  pb->attempt = in->attempt;
  if (!wire_count(w, in->n_scores, AGRL_LIMIT_SCORES, "scores")) return;
  pb->n_scores = in->n_scores;
  pb->scores = wire_array(w, in->n_scores, sizeof *pb->scores);
  Agrl__V1__Score *all = wire_array(w, in->n_scores, sizeof *all);
  for (size_t i = 0; i < in->n_scores; i++) {
    const agrl_score *s = &in->scores[i];
    agrl__v1__score__init(&all[i]);
    all[i].criterion = wire_put_name(w, s->criterion, AGRL_LIMIT_NAME, "criterion");
    all[i].value = s->missing ? 0 : wire_finite(w, s->value, "score");
    all[i].weight = wire_finite(w, s->weight, "score weight");
    all[i].missing = s->missing;
    all[i].cause = wire_put_text(w, s->cause, AGRL_LIMIT_LABEL, "cause");
    all[i].latency_us = s->latency_us;
    pb->scores[i] = &all[i];
  }
}

void wire_get_scored(wire *w, const Agrl__V1__Scored *pb, agrl_msg_scored *out) {
  if (pb->trace == NULL) {
    wire_fail(w, AGRL_EPARSE, "scored message without a trace");
    return;
  }
  wire_get_trace(w, pb->trace, &out->trace);
  out->reward = wire_finite(w, pb->reward, "reward");
  out->missing = pb->missing != 0;
  out->g_format = pb->g_format != 0;
  out->g_rule = pb->g_rule != 0;
  out->accurate = pb->accurate != 0;
  out->tier = pb->tier;
  out->rules_hash = wire_get_str(w, pb->rules_hash, AGRL_LIMIT_NAME, "rules hash");
  out->attempt = pb->attempt;
  if (!wire_count(w, pb->n_scores, AGRL_LIMIT_SCORES, "scores")) return;
  agrl_score *all = wire_array(w, pb->n_scores, sizeof *all);
  for (size_t i = 0; i < pb->n_scores && w->rc == AGRL_OK; i++) {
    const Agrl__V1__Score *s = pb->scores[i];
    all[i] = (agrl_score){.criterion = wire_get_str(w, s->criterion, AGRL_LIMIT_NAME, "criterion"),
                          .value = wire_finite(w, s->value, "score"),
                          .weight = wire_finite(w, s->weight, "score weight"),
                          .missing = s->missing != 0,
                          .cause = wire_get_str(w, s->cause, AGRL_LIMIT_LABEL, "cause"),
                          .latency_us = s->latency_us};
  }
  out->n_scores = pb->n_scores;
  out->scores = all;
}

static void scored_put(wire *w, const agrl_msg_scored *in, Agrl__V1__Scored *pb) { wire_put_scored(w, in, pb); }
static void scored_get(wire *w, const Agrl__V1__Scored *pb, agrl_msg_scored *out) { wire_get_scored(w, pb, out); }

WIRE_CODEC(scored, Scored, scored)
