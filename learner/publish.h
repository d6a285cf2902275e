// SPDX-License-Identifier: Apache-2.0
// Serving weights: ROUTER "weights" (WEIGHTS_GET, CHUNK_GET, STATUS_REQUEST) and PUB "announce" (on each version, and every
// second for those who missed it). Keeps the newest snapshot and the one before, for fetches under way. Loop thread only.
#ifndef AGRL_LEARNER_PUBLISH_H
#define AGRL_LEARNER_PUBLISH_H

#include "common/model/weights.h"
#include "common/obs/metric.h"
#include "common/svc/svc.h"

typedef struct learner_publisher learner_publisher;

agrl_rc learner_publisher_open(learner_publisher **out, agrl_svc *s, agrl_metric *bytes, agrl_error *err);
void learner_publisher_close(learner_publisher *p);
void learner_publisher_model(learner_publisher *p, char *config_json, char *tokenizer_path);  // takes both
// Share of the words in which two snapshots of one layout differ; NaN without an earlier one. Any thread.
double learner_publish_changed_ratio(const agrl_weights *before, const agrl_weights *now);
void learner_publisher_set(learner_publisher *p, agrl_weights *w, const char *phase);         // takes the reference; announces

#endif
