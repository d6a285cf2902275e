// SPDX-License-Identifier: Apache-2.0
// Trace parser and reward: any bytes; what is said to be well formed is written back from its parts and parses the same,
// and the reward keeps its bounds and its gates.
#include <stdlib.h>
#include <string.h>

#include "common/base/bug.h"
#include "reward/rules.h"

int agrl_fuzz_reward_trace(const uint8_t *data, size_t size);

static const char rules_text[] =
    "tiers: {4: a, 3: b, 2: c, 1: d}\n"
    "trace:\n"
    "  - {name: tier, kind: tier}\n"
    "  - {name: query, prefix: \"[Query] \", kind: free}\n"
    "  - {name: category, prefix: \"[Category] \", kind: choice, values: [match, related, mismatch]}\n"
    "  - {name: verdict, prefix: \"[Verdict] \", kind: tier}\n"
    "criteria: [{name: tier, weight: 0.7}, {name: category, weight: 0.3, adjacent: [[match, related]]}]\n"
    "rules:\n"
    "  - {category: match, permit: [4]}\n"
    "  - {category: related, permit: [3, 2]}\n"
    "  - {category: mismatch, permit: [1]}\n";

static void check_scores(const agrl_rules *r, const char *text, size_t size, const agrl_parsed *p) {
  agrl_labels gold = {.tier = 3, .category = "related", .attribute = ""};
  for (int gate = AGRL_GATE_NONE; gate <= AGRL_GATE_BOTH; gate++) {
    agrl_reward_result res;
    agrl_reward_score(r, AGRL_REWARD_SHAPED, gate, text, size, &gold, &res);
    AGRL_ASSERT(!res.missing && res.reward >= 0 && res.reward <= 1 + 1e-12);
    AGRL_ASSERT(res.g_format == p->ok && (!res.g_rule || p->ok) && res.accurate == (p->tier == 3));
    AGRL_ASSERT(res.reward == 0 || p->ok);
    AGRL_ASSERT(res.accurate || res.reward <= 0.3 + 1e-12);  // shaping never pays for a wrong tier
    if (gate == AGRL_GATE_BOTH) AGRL_ASSERT(res.reward == 0 || (res.g_rule && res.accurate));
  }
}

int agrl_fuzz_reward_trace(const uint8_t *data, size_t size) {
  agrl_rules *r = NULL;
  AGRL_ASSERT(!agrl_rules_parse(rules_text, sizeof rules_text - 1, "fuzz", &r, NULL));
  char *text = malloc(size + 1);  // an exact block, so that a sanitizer sees reads past the end
  AGRL_ASSERT(text);
  if (size) memcpy(text, data, size);
  text = realloc(text, size ? size : 1);
  agrl_parsed p, q;
  agrl_reward_parse(r, text, size, &p);
  AGRL_ASSERT(p.ok == (p.why[0] == 0));
  check_scores(r, text, size, &p);
  if (p.ok) {
    const char *query = memmem(text, size, "[Query] ", 8), *end = query
        ? memchr(query, '\n', size - (size_t)(query - text)) : NULL;
    AGRL_ASSERT(query && end);
    agrl_buf again = {0};
    agrl_buf_addf(&again, "%d\n%.*s\n[Category] %s\n[Verdict] %d", p.tier, (int)(end - query), query,
                  agrl_parsed_label(r, &p, "category"),
                  p.verdict);
    AGRL_ASSERT(again.len == size || (again.len + 1 == size && text[size - 1] == '\n'));
    AGRL_ASSERT(!memcmp(again.data, text, again.len));
    agrl_reward_parse(r, again.data, again.len, &q);
    AGRL_ASSERT(!memcmp(p.value, q.value, sizeof p.value));
    agrl_buf_release(&again);
  }
  free(text);
  agrl_rules_free(r);
  return 0;
}
