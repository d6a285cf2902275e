// SPDX-License-Identifier: Apache-2.0
// When to warn of starvation, and in which words.
#include "replay/starve.h"

#include <inttypes.h>
#include <string.h>

static void begin(replay_starve *w, const replay_counts *counts, uint64_t now_ns) {
  *w = (replay_starve){.begun = true, .ready = counts->ready, .since_ns = now_ns};
  memcpy(w->removals, counts->removals, sizeof w->removals);
}

// Those that say that a group under way came to nothing, not that one handed out was lost.
static bool counts_as_starving(size_t cause) {
  return cause != REPLAY_CAUSE_NONE && cause != REPLAY_CAUSE_LEASE && cause != REPLAY_CAUSE_UNREADABLE;
}

static const char *remedy(size_t cause) {
  switch (cause) {
    case REPLAY_CAUSE_MISSING: return "rewards are missing: see the log of the reward service, and reward.timeout";
    case REPLAY_CAUSE_STALE: return "groups grow too old before they are complete: raise replay.staleness_bound, or add actors";
    case REPLAY_CAUSE_PROMPT_GONE: return "data.train no longer has the prompts: restore it";
    default: return "the policy never succeeds (more SFT steps, an easier rule file) or always does (harder prompts)";
  }
}

static void explain(const replay_starve *w, const replay_counts *counts, const replay_limits *limits, uint64_t ready, uint64_t now_ns, agrl_buf *why) {
  size_t worst = REPLAY_CAUSE_NONE;
  uint64_t most = 0;
  agrl_buf_addf(why, "no group became trainable for %" PRIu64 " s", (now_ns - w->since_ns) / UINT64_C(1000000000));
  if (ready) agrl_buf_addf(why, " and the %" PRIu64 " that are ready make no batch of %" PRIu64, ready, limits->per_step);
  agrl_buf_addc(why, ':');
  for (size_t i = 0, n = 0; i < REPLAY_CAUSE_N; i++) {
    uint64_t k = counts->removals[i] - w->removals[i];
    if (!counts_as_starving(i) || k == 0) continue;
    agrl_buf_addf(why, "%s %" PRIu64 " retired for %s", n++ ? "," : "", k, replay_cause_name((uint32_t)i));
    if (k > most) most = k, worst = i;
  }
  agrl_buf_addf(why, " since the last ready one; %s", remedy(worst));
}

bool replay_starve_watch(replay_starve *w, const replay_counts *counts, const replay_limits *limits, const replay_flow *flow, uint64_t now_ns,
                         agrl_buf *why) {
  if (!w->begun || counts->ready != w->ready || replay_limit_serve(limits, flow, limits->per_step) > 0) {
    begin(w, counts, now_ns);
    return false;
  }
  w->retired = 0;
  for (size_t i = 0; i < REPLAY_CAUSE_N; i++)
    if (counts_as_starving(i)) w->retired += counts->removals[i] - w->removals[i];
  w->starved = w->retired >= REPLAY_STARVE_GROUPS && now_ns - w->since_ns >= REPLAY_STARVE_NS;
  if (!w->starved || (w->warned_ns && now_ns - w->warned_ns < REPLAY_STARVE_NS)) return false;
  w->warned_ns = now_ns;
  explain(w, counts, limits, flow->ready, now_ns, why);
  return true;
}
