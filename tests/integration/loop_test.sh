#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The happy path: data -> SFT -> the full loop -> report, with status, metrics and the store looked at while it runs.
. "$(dirname "$0")/lib.sh"
make_data
start_job
wait_for 60 "RL version 2" version_is 2
agrlctl status --run-dir "$run" -o json | jq -e '.processes | length >= 5' >/dev/null || die "status -o json"
for p in 1 2 3 10 11; do
  curl -fsS "http://127.0.0.1:$((port + p))/metrics" >"$work/metrics.txt" || die "no /metrics at +$p"
  promtool check metrics <"$work/metrics.txt" || die "promtool refused /metrics at +$p"
  curl -fsS "http://127.0.0.1:$((port + p))/healthz" >/dev/null || die "/healthz at +$p"
  curl -fsS "http://127.0.0.1:$((port + p))/readyz" >/dev/null || die "/readyz at +$p"
done
agrlctl replay ls --run-dir "$run" | head -3
wait_for 120 "end of the job" job_over
version_is 12 || die "the job ended at version $(version)"
check_invariants 12
for f in report.txt report.svg report.json checkpoints/sft/model.safetensors checkpoints/latest/config.json; do
  [ -s "$run/$f" ] || die "no $f"
done
grep -q 'macro F1' "$run/report.txt" || die "the report has no macro F1"
jq -es 'map(select(.phase == "rl")) | all(.staleness_max <= 4)' "$run/metrics.jsonl" >/dev/null || die "staleness beyond the bound"
jq -es 'map(select(.phase == "rl").guided_ratio) | add > 0' "$run/metrics.jsonl" >/dev/null || die "no guided group in the whole run"
say ok
