#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Actors join and leave a running job: 1 -> 3 -> 1, no restart of anything else, no acknowledged trace lost. Then Ctrl-C and resume.
. "$(dirname "$0")/lib.sh"
make_data
versions=800
start_job --actors 1 --set grpo.versions=$versions --set grpo.groups_per_step=8 --no-eval
wait_for 60 "RL version 2" version_is 2
learner=$(proc learner pid)
serving() { [ "$(agrlctl status --run-dir "$run" -o json | jq '[.processes[] | select((.name | startswith("actor-")) and .ready)] | length')" = "$1" ]; }
agrlctl scale --run-dir "$run" actors 3
wait_for 30 "three actors serving" serving 3
agrlctl scale --run-dir "$run" actors 1
wait_for 40 "one actor serving" serving 1
[ "$(proc learner pid)" = "$learner" ] || die "the learner was restarted"
[ "$(proc learner restarts)" = 0 ] || die "the learner was restarted"

supervisor=$(cat "$run/supervisor.pid")
mapfile -t daemons < <(agrlctl status --run-dir "$run" -o json | jq '.processes[].pid | select(. > 0)')
[ ${#daemons[@]} -ge 4 ] || die "only ${#daemons[@]} processes before the stop"
kill -INT "$supervisor"  # Ctrl-C
gone() { ! kill -0 "$1" 2>/dev/null; }
wait_for 40 "the supervisor ends" gone "$supervisor"
for pid in "${daemons[@]}"; do gone "$pid" || die "process $pid outlived the supervisor"; done
grep -q 'stopped cleanly' "$run/logs/supervisor.log" || die "the stop was not clean: $(tail -n 3 "$run/logs/supervisor.log")"
at=$(version)
say "stopped at version $at; resuming"
[ "$at" -lt $versions ] || die "the job was over before it could be stopped"
target=$((at + 60))
again() { start_job --actors 2 --set grpo.versions=$target --set grpo.groups_per_step=8 --no-eval; }
again
wait_for 60 "training goes on" version_is $((at + 8))
mapfile -t daemons < <(agrlctl status --run-dir "$run" -o json | jq '.processes[].pid | select(. > 0)')
kill -9 "$(cat "$run/supervisor.pid")"
all_gone() { for pid in "${daemons[@]}"; do gone "$pid" || return 1; done; }
wait_for 10 "the kill -9 of the supervisor ends its ${#daemons[@]} processes" all_gone
job_over || die "a job whose supervisor was killed is still said to run"
say "supervisor killed at version $(version); resuming"
again
wait_for 120 "end of the job" job_over
version_is $target || die "the resumed job ended at version $(version)"
jq -es '[.[] | select(.event == "resumed" and .exact)] | length == 2' "$run/events.jsonl" >/dev/null || die "not resumed from where it stopped"
check_invariants $target
say ok
