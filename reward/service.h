// SPDX-License-Identifier: Apache-2.0
// The daemon agrl-reward: traces from actors are scored by the rule file and passed on to replay; replay's
// acknowledgements go back to the actor a trace came from. It keeps nothing: after a crash the actors resend.
#ifndef AGRL_REWARD_SERVICE_H
#define AGRL_REWARD_SERVICE_H

#include "common/svc/svc.h"

extern const agrl_svc_def reward_service;

#endif
