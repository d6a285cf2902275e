// SPDX-License-Identifier: Apache-2.0
// run.method as a preset of other keys. Shared by config.c and config_method.c only.
#ifndef AGRL_CONF_CONFIG_METHOD_H
#define AGRL_CONF_CONFIG_METHOD_H

#include "common/conf/config.h"

void config_note_given(agrl_config *c, const agrl_yaml *root);  // keys that stand in the file
// Sets every key that some method stands for and that was not given: to the method's value, else to its default.
void config_apply_method(agrl_config *c);
// A key that was given must say what the method says. AGRL_ECONFIG names both.
agrl_rc config_check_method(const agrl_config *c, agrl_error *err);
// By row: keys some method stands for that have the value this one gives them.
void config_of_method(const agrl_config *c, bool out[AGRL_CONFIG_KEYS_MAX]);

#endif
