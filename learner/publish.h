// SPDX-License-Identifier: Apache-2.0
// Serving weights: ROUTER "weights" (WEIGHTS_GET, CHUNK_GET, STATUS_REQUEST) and PUB "announce" (on each version, and every
// second for those who missed it). WEIGHTS_GET says what an actor has and is answered with the links it should fetch (shelf.h);
// CHUNK_GET brings slices of them, and of the base of adapters. Loop thread only, and it never works on weights there: packages come ready made.
#ifndef AGRL_LEARNER_PUBLISH_H
#define AGRL_LEARNER_PUBLISH_H

#include "common/model/weights.h"
#include "common/obs/metric.h"
#include "common/svc/svc.h"
#include "learner/shelf.h"

typedef struct learner_publisher learner_publisher;

agrl_rc learner_publisher_open(learner_publisher **out, agrl_svc *s, agrl_metric *bytes, agrl_error *err);
void learner_publisher_close(learner_publisher *p);
typedef struct learner_model {    // what versions are versions of
  char *config_json, *tokenizer_path;
  char *adapter_json;             // NULL: every parameter is trained; else what is published are adapters of this description,
  agrl_weights *base;             // on this base, hash computed
} learner_model;
void learner_model_free(learner_model *m);
void learner_publisher_model(learner_publisher *p, learner_model m);  // takes what m holds

typedef struct learner_release {  // a version to be served
  agrl_weights *weights;          // hash computed
  learner_package *anchor, *delta;  // NULL where there is none
  const char *phase;              // "sft", "rl" or "done", a literal
} learner_release;
void learner_release_free(learner_release *r);
void learner_publisher_set(learner_publisher *p, learner_release r);  // takes what r holds; announces

// Indices of agrl_weights_bytes_total{kind,dir}.
enum { LEARNER_BYTES_FULL_SENT = 0, LEARNER_BYTES_DELTA_SENT = 2 };

#endif
