#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# kill -9 of each of the four services in turn, in mid-training: it is restarted, training goes on, and the journal and the store
# agree that nothing acknowledged was lost and no group was trained twice.
. "$(dirname "$0")/lib.sh"
make_data
versions=240
start_job --set grpo.versions=$versions --set grpo.groups_per_step=12 --no-eval
wait_for 60 "RL version 2" version_is 2
for name in actor-0 reward replay learner; do
  pid=$(proc "$name" pid)
  before=$(version)
  say "kill -9 $name (pid $pid) at version $before"
  kill -9 "$pid"
  restarted() { [ "$(proc "$name" restarts)" -ge 1 ] && [ "$(proc "$name" pid)" != "$pid" ]; }
  wait_for 20 "$name restarted" restarted
  wait_for 60 "training goes on after $name" version_is $((before + 3))
done
wait_for 120 "end of the job" job_over
version_is $versions || die "the job ended at version $(version)"
check_invariants $versions
jq -es '[.[] | select(.event == "resumed")] | length >= 1' "$run/events.jsonl" >/dev/null || die "the learner did not say that it resumed"
say ok
