// SPDX-License-Identifier: Apache-2.0
// The matrices of a layer that may get an adapter (lora.targets): their names, and a text that lists some of them.
#ifndef AGRL_CONF_TARGETS_H
#define AGRL_CONF_TARGETS_H

#include "common/base/err.h"

enum { AGRL_TARGETS = 7 };
extern const char *const agrl_target_names[AGRL_TARGETS];  // q_proj ... down_proj, in the order they are computed

// *mask: bit i for agrl_target_names[i]. Names with commas between, blanks around them ignored. AGRL_ECONFIG, naming lora.targets and
// the nearest name: unknown, twice, or none at all.
agrl_rc agrl_targets_parse(const char *list, unsigned *mask, agrl_error *err);

#endif
