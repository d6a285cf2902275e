// SPDX-License-Identifier: Apache-2.0
// agrl-reward.
#include "reward/service.h"

int main(int argc, char **argv) { return agrl_svc_main(&reward_service, argc, argv); }
