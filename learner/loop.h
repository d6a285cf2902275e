// SPDX-License-Identifier: Apache-2.0
// The learner as a service: what main.c runs.
#ifndef AGRL_LEARNER_LOOP_H
#define AGRL_LEARNER_LOOP_H

#include "common/svc/svc.h"

extern const agrl_svc_def learner_service;

#endif
