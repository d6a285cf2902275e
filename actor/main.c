// SPDX-License-Identifier: Apache-2.0
// agrl-actor: see service.c for the loop and engine.c for the decoding.
#include "actor/actor.h"

int main(int argc, char **argv) { return agrl_svc_main(&actor_svc_def, argc, argv); }
