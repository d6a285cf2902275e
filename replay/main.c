// SPDX-License-Identifier: Apache-2.0
// agrl-replay: see daemon.c for the loop, core.h for what it keeps, assemble.h for the method.
#include "replay/replay.h"

int main(int argc, char **argv) { return agrl_svc_main(&replay_svc_def, argc, argv); }
