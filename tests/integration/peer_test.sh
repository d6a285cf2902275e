#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A hostile peer sends damaged and unwanted messages to every endpoint of a running job: they are refused and counted by cause,
# nobody ends or restarts, training goes on to its end and keeps the invariants.
. "$(dirname "$0")/lib.sh"
rounds=25
make_data
start_job --set grpo.versions=60 --no-eval
wait_for 60 "RL version 2" version_is 2

pids() { agrlctl status --run-dir "$run" -o json | jq -c '[.processes[] | [.name, .pid]] | sort'; }
# rejects PORT CAUSE: agrl_transport_rejects_total
rejects() {
  curl -fsS "http://127.0.0.1:$((port + $1))/metrics" | awk -v want="agrl_transport_rejects_total{cause=\"$2\"}" '
    $1 == want { print $2; found = 1 } END { exit !found }' || die "no agrl_transport_rejects_total of cause $2 at +$1"
}

# attack ENDPOINT PORT: exactly what was sent and is damaged is refused, and each cause is told apart
attack() {
  local cause before=() after sent
  for cause in schema size crc parse; do before+=("$(rejects "$2" $cause)"); done
  garbage "ipc://$run/sock/$1" $rounds >"$work/sent.json" || die "$1 does not answer after $rounds rounds of garbage"
  for cause in schema size crc parse; do
    sent=$(jq ".$cause" "$work/sent.json")
    after=$(rejects "$2" $cause)
    [ "$sent" -ge $rounds ] || die "garbage sent $sent messages of cause $cause"
    [ $((after - before[0])) = "$sent" ] || die "$1: $cause rejects went from ${before[0]} to $after, $sent were sent"
    before=("${before[@]:1}")
  done
  say "$1 refused $(jq -c . "$work/sent.json")"
}

before=$(pids) at=$(version)
[ -S "$run/sock/replay" ] || die "no socket in $run/sock"
attack reward 2
attack replay 1
attack weights 3
garbage "ipc://$run/sock/control" $rounds >/dev/null || die "the supervisor does not answer after $rounds rounds of garbage"
grep -q 'message refused link=control' "$run/logs/supervisor.log" || die "the supervisor's log names no refused message"

after=$(pids)
[ "$before" = "$after" ] || die "processes were $before, are $after"
agrlctl status --run-dir "$run" -o json | is '[.processes[].restarts] | add == 0' || die "something was restarted"
wait_for 60 "training goes on" version_is $((at + 2))
wait_for 120 "end of the job" job_over
version_is 60 || die "the job ended at version $(version)"
check_invariants 60
say ok
