#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# DPO through the real loop, stopped and resumed: pairs of the store's own traces and of reference traces, a margin that grows; then
# SFT alone, which ends after the warm start. Each is one setting apart from the job of loop_test.
. "$(dirname "$0")/lib.sh"
make_data 5 3000 400  # most rows have no reference trace
dpo() { start_job --set run.method=dpo --set sft.steps=250 --set grpo.versions="$1" --set grpo.lr=0.0001 --no-eval; }
dpo 12
wait_for 90 "the end of 12 versions of DPO" job_over
check_invariants 12
dpo 24  # resumed: the warm start is not made again, the reference is still its result
wait_for 90 "the end of 24 versions of DPO" job_over
check_invariants 24
[ "$(jq -s 'map(select(.phase == "rl" and .step == 1)) | length' "$run/metrics.jsonl")" = 1 ] || die "version 1 was made twice"
agrlctl config dump --config "$run/agrl.yaml" 2>/dev/null | grep -q 'guided: false' || grep -q 'guided: false' "$run/agrl.yaml" || die "guided replay with DPO"
jq -es 'map(select(.phase == "rl")) | (map(.pairs) | add) > 40 and (map(.pairs_reference) | add) > 0 and
  all(.pairs <= .groups and .members <= 2 * .groups)' "$run/metrics.jsonl" >/dev/null || die "pairs are not as replay should make them"
jq -rs 'map(select(.phase == "rl")) | "loss \(.[0].loss) -> \(.[-4:] | map(.loss) | add / 4), margin \(.[0].pair_margin) -> \(.[-4:] | map(.pair_margin) | add / 4)"' "$run/metrics.jsonl"
jq -es 'map(select(.phase == "rl")) | (.[0].loss - 0.693147 | fabs) < 0.001 and (.[-4:] | map(.loss) | add / 4) < 0.68 and
  (.[-4:] | map(.pair_margin) | add / 4) > 0.02' "$run/metrics.jsonl" >/dev/null || die "DPO did not lower its loss or raise the margin"
run=$work/sft
start_job --set run.method=sft --set sft.steps=30 --no-eval
wait_for 60 "the end of SFT" job_over
[ -s "$run/checkpoints/sft/model.safetensors" ] || die "SFT left no checkpoint"
[ ! -e "$run/journal.jsonl" ] || die "SFT made RL updates"
say ok
