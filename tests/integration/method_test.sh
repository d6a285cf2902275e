#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# DPO through the real loop, ended, resumed: pairs of the store's own traces and of reference traces, against the warm start's result
# also after the resume; GRPO with sparse and with shaped rewards, never guided; SFT alone, which ends after the warm start. Each is one
# setting apart from the job of loop_test.
# (That DPO lowers its loss and raises the margin: learner_method_test. Here every pair is new to the policy, which is a noisier test.)
. "$(dirname "$0")/lib.sh"
make_data 5 3000 60 1500
dpo() { start_job --set run.method=dpo --set grpo.versions="$1" --set grpo.groups_per_step=8 --set grpo.lr=0.0001 --no-eval; }
dpo 10
wait_for 120 "the end of 10 versions of DPO" job_over
check_invariants 10
dpo 20
wait_for 120 "the end of 20 versions of DPO" job_over
check_invariants 20
for line in 'method: dpo' '# guided: false'; do grep -q "^  $line\$" "$run/agrl.yaml" || die "the effective configuration does not say $line"; done
rl() { jq -es "map(select(.phase == \"rl\")) | $1" "$run/metrics.jsonl" >/dev/null || { tail -n 3 "$run/metrics.jsonl"; die "$2"; }; }
rl 'map(.step) == [range(1; 21)]' "versions are not 1 to 20, once each"
rl '(map(.pairs) | add) > 100 and (map(.pairs_reference) | add) > 0 and all(.pairs <= .groups and .members == 2 * .groups - .pairs_reference)' \
  "pairs are not as replay should make them"
rl '(.[0].loss - 0.693147 | fabs) < 0.000001 and .[0].pair_margin == 0' "policy and reference differ before the first update"
rl '.[1:] | all(.pair_margin != 0 and .kl > 0 and .loss < 1)' "a later version, or the resume, moved the reference"
# Both begin with DPO's warm start. A trace of a wrong tier whose judgements are partly right is paid for by shaped rewards alone.
cp -rL "$run/checkpoints/sft" "$work/start"
traces() { jq -es "$1" "$work/store.jsonl" >/dev/null || { head -n 3 "$work/store.jsonl"; die "$method: $2"; }; }
for method in grpo grpo-pr; do
  run=$work/$method
  start_job --set run.method=$method --set model.init="$work/start" --set sft.steps=0 --set grpo.versions=4 --no-eval
  wait_for 120 "the end of 4 versions of $method" job_over
  check_invariants 4
  rl 'length == 4 and all(.guided_ratio == 0)' "$method is guided"
  traces 'all(.level == 0)' "guided rollouts were made"
  [ $method = grpo ] && traces 'all(.reward == 0 or .reward == 1) and any(.reward == 1)' "a sparse reward is neither 0 nor 1"
  [ $method = grpo ] || traces 'any(.reward > 0 and .reward < 0.6) and any(.reward > 0.99)' "no shaped reward"
done
run=$work/sft
start_job --set run.method=sft --set sft.steps=30 --no-eval
wait_for 60 "the end of SFT" job_over
[ -s "$run/checkpoints/sft/model.safetensors" ] || die "SFT left no checkpoint"
[ ! -e "$run/journal.jsonl" ] || die "SFT made RL updates"
# The same after a kill between the checkpoint and what follows it.
rm "$run/checkpoints/latest"
mkdir "$run/checkpoints/sft-progress"
agrl-learner --config "$run/agrl.yaml" 2>>"$work/up.log" || die "the learner of a finished warm start: exit code $?"
[ "$(readlink "$run/checkpoints/latest")" = sft ] && [ ! -e "$run/checkpoints/sft-progress" ] || die "the warm start's end was not caught up on"
say ok
