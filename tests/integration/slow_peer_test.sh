#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Slow peers. One asks each service for 20,000 answers and reads none: the service keeps what it cannot send within net.hwm, answers
# others, and its memory does not follow. Then each of the four services stands still for 5 seconds (SIGSTOP): nobody ends or is
# restarted, the others wait, and training goes on when it does.
. "$(dirname "$0")/lib.sh"
requests=20000
make_data
start_job --set grpo.versions=1000000 --set grpo.groups_per_step=8 --no-eval
wait_for 60 "RL version 2" version_is 2

rss() { awk '/^VmRSS/ { print $2 }' "/proc/$1/status"; }
for peer in reward=reward replay=replay weights=learner; do
  pid=$(proc "${peer#*=}" pid) before=$(rss "$pid")
  garbage --deaf "ipc://$run/sock/${peer%=*}" $requests >/dev/null || die "${peer#*=} does not answer beside a deaf peer"
  grown=$(($(rss "$pid") - before))
  # an answer is about 1 KiB: unbounded, it would be 20 MB
  [ $grown -lt 12000 ] || die "${peer#*=} grew by $grown KiB for a peer that reads nothing"
  say "${peer#*=} answers beside a deaf peer, $grown KiB more"
done

for name in actor-0 reward replay learner; do
  pid=$(proc "$name" pid)
  kill -STOP "$pid"
  sleep 5
  at=$(version)
  kill -CONT "$pid"
  wait_for 30 "training goes on after $name stood still" version_is $((at + 5))
  [ "$(proc "$name" pid)" = "$pid" ] || die "$name was restarted"
  say "$name stood still, version $at"
done
agrlctl status --run-dir "$run" -o json | is '[.processes[].restarts] | add == 0' || die "something was restarted"
agrlctl down --run-dir "$run"
check_invariants "$(version)"
say ok
