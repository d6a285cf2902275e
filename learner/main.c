// SPDX-License-Identifier: Apache-2.0
// agrl-learner: see loop.c for the service and compute.c for the training.
#include "learner/loop.h"

int main(int argc, char **argv) { return agrl_svc_main(&learner_service, argc, argv); }
