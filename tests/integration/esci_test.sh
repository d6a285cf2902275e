#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Human labels: the full loop on the ESCI sample, where it is present (../shared/data/esci from the project's root): SFT and
# 20 RL versions with its own rule file. Skipped (exit 77) elsewhere.
. "$(dirname "$0")/lib.sh"
esci=$root/../shared/data/esci
[ -f "$esci/train.jsonl" ] || { say "skipped: no ESCI sample at ../shared/data/esci"; exit 77; }
train=$esci/train.jsonl eval=$esci/eval.jsonl rules=$root/deploy/etc/rules-esci.yaml
start_job --set grpo.versions=20 --set model.context=320 --set actor.max_new_tokens=112 --set sft.steps=1200 --set sft.batch_tokens=1536
wait_for 150 "end of the job" job_over
version_is 20 || die "the job ended at version $(version)"
check_invariants 20
is '.n >= 300 and .macro_f1 > 0' <"$run/eval/latest/eval.json" || die "no evaluation of at least 300 rows"
cat "$run/report.txt" | head -20
say ok
