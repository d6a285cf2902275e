#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What running ahead is worth: the quickstart's model with 2 actors at staleness bounds 0 (every batch is of the newest weights:
# synchronous), 1, 2 and 4, at an equal number of rollouts a version. A start with few SFT steps writes traces of all lengths, and
# with a learning rate of 0 they stay so: the bounds differ in nothing but who waits for whom. (Deltas are empty then: what it
# costs to carry weights is not in it; agrl-bench weights tells.) Prints one JSON object a bound. Not a test: the reader judges.
#   speedup_at_most: the synchronous run's time over its CPU time on all CPUs: what never waiting would gain it
#   actor_idle_ratio, learner_wait_ratio: shares of the measured time; histograms are of the whole job, lengths of actor 0
usage() { echo "usage: tests/bench/async.sh BUILD_DIR [VERSIONS (default 200)] [SFT_STEPS (default 40)]"; }
case ${1:-} in -h | --help) usage; exit 0 ;; '') usage >&2; exit 64 ;; esac
versions=${2:-200} steps=${3:-40} warm=10 # versions before the clock starts
case $versions$steps in *[!0-9]* | 0*) usage >&2; exit 64 ;; esac
. "$(dirname "$0")/../integration/lib.sh" "$1"
shopt -s inherit_errexit
sync_seconds='' sync_cpu=''

make_data 5 3000
# up RUN_DIR [options]
up() {
  run=$1
  shift
  agrlctl up --config "$root/deploy/etc/quickstart.yaml" --run-dir "$run" --data "$train" --eval "$eval" --rules "$rules" --no-eval \
    --set obs.http_port="$port" --set actor.max_new_tokens=96 --set model.context=224 "$@" >"$work/up.log" 2>&1
}
page() { curl -fsS "http://127.0.0.1:$((port + $1))/metrics"; }
value() { awk -v name="$1" '$1 == name { print $2; found = 1 } END { exit !found }' "$2"; }
buckets() { awk -v name="$1" 'index($1, name "_bucket{le=\"") == 1 { split($1, a, "\""); printf "%s\"%s\": %d", n++ ? ", " : "", a[2], $2 }' "$2"; }
# look PREFIX: every daemon's metrics, and when
look() {
  local p
  for p in 1 2 3 10 11; do page $p >"$work/$1.$p"; done
  date +%s.%N >"$work/$1.time"
}
# total PREFIX NAME PORTS...
total() {
  local p sum=0 v name=$2 prefix=$1
  shift 2
  for p; do
    v=$(value "$name" "$work/$prefix.$p")
    sum=$(awk "BEGIN { print $sum + $v }")
  done
  echo "$sum"
}
# Seconds an actor has decoded: its completion tokens over their rate.
busy() { awk '$1 == "agrl_actor_tokens_total{kind=\"completion\"}" { n = $2 } $1 == "agrl_actor_decode_tokens_per_second" { r = $2; seen = 1 }
  END { if (!seen) exit 1; print n / r }' "$work/$1.$2"; }

say "warm start" >&2
up "$work/start" --set run.method=sft --set sft.steps="$steps" || { cat "$work/up.log" >&2; die "the warm start failed" >&2; }
for bound in 0 1 2 4; do
  say "staleness bound $bound" >&2
  up "$work/bound$bound" --set model.init="$work/start/checkpoints/sft" --set sft.steps=0 --set grpo.versions=1000000 --set grpo.lr=0 --set grpo.sft_weight=0 \
    --set grpo.zero_spread=keep --set run.method=grpo-pr --set replay.staleness_bound=$bound --detach || { cat "$work/up.log" >&2; die "the job did not start" >&2; }
  wait_for 120 "version $warm" version_is $warm
  look first
  from=$(version)
  wait_for 1200 "version $((from + versions))" version_is $((from + versions))
  look last
  agrlctl down --run-dir "$run" >/dev/null
  # Time by the lines of the versions themselves, CPU and decoding by the two looks.
  read -r seconds waited < <(jq -rs --argjson a "$from" --argjson b "$((from + versions))" 'map(select(.phase == "rl" and .step >= $a and .step <= $b))
    | "\((.[-1].wall - .[0].wall) / (length - 1)) \(map(.wait_seconds)[1:] | add / length)"' "$run/metrics.jsonl")
  apart=$(awk "BEGIN { print $(<"$work/last.time") - $(<"$work/first.time") }")
  c0=$(total first process_cpu_seconds_total 1 2 3 10 11)
  c1=$(total last process_cpu_seconds_total 1 2 3 10 11)
  idle=()
  for p in 10 11; do
    b0=$(busy first $p)
    b1=$(busy last $p)
    idle+=("$(awk "BEGIN { printf \"%.3f\", 1 - ($b1 - $b0) / $apart }")")
  done
  used=$(awk "BEGIN { print ($c1 - $c0) / $apart / $(nproc) }")
  : "${sync_seconds:=$seconds}" "${sync_cpu:=$used}"
  awk "BEGIN { printf \"{\\\"case\\\": \\\"async\\\", \\\"staleness_bound\\\": $bound, \\\"versions\\\": $versions, \\\"seconds_per_version\\\": %.4f, \", $seconds
    printf \"\\\"speedup\\\": %.3f, \\\"speedup_at_most\\\": %.3f, \\\"cpu_used_ratio\\\": %.3f, \", $sync_seconds / $seconds, 1 / $sync_cpu, $used
    printf \"\\\"actor_idle_ratio\\\": [${idle[0]}, ${idle[1]}], \\\"learner_wait_ratio\\\": %.3f, \", $waited / $seconds }"
  printf '"staleness_at_most": {%s}, "completion_tokens_at_most": {%s}}\n' "$(buckets agrl_learner_staleness_versions "$work/last.3")" \
    "$(buckets agrl_actor_completion_tokens "$work/last.10")"
done
