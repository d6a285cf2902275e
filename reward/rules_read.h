// SPDX-License-Identifier: Apache-2.0
// From a YAML tree to parsed rules; every refusal names file:line:column and what would be right.
#ifndef AGRL_REWARD_RULES_READ_H
#define AGRL_REWARD_RULES_READ_H

#include "common/conf/yaml.h"
#include "reward/rules_impl.h"

// everything, with the checks below
agrl_rc rules_read(agrl_rules *r, const agrl_yaml *root, agrl_error *err);
// tier weight > sum of the others
agrl_rc rules_check_dominance(const agrl_rules *r, const agrl_yaml *at, agrl_error *err);
// total, and every tier reachable
agrl_rc rules_check_table(const agrl_rules *r, const agrl_yaml *at, agrl_error *err);

#endif
