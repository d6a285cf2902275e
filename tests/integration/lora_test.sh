#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A whole job that trains adapters: SFT, RL, a learner killed on the way, checkpoints, export. Actors merge what they receive with
# the base they fetched once, and their log-probs stay those of the learner to the last bit.
. "$(dirname "$0")/lib.sh"
make_data
actor_bytes() { awk -v k="$1" '$0 ~ "^agrl_weights_bytes_total\\{kind=\"" k "\",dir=\"received\"" { print int($2) }' "$work/metrics.txt"; }
if agrlctl up --config "$here/tiny.yaml" --run-dir "$run" --data "$train" --eval "$eval" --rules "$rules" --set obs.http_port="$port" \
  --set lora.rank=8 --set lora.targets=q_proj,gate_porj --detach >"$work/refused" 2>&1; then die "a target that does not exist was taken"; fi
grep -q 'did you mean gate_proj?' "$work/refused" || { cat "$work/refused"; die "the nearest target is not named"; }
# What adapters are put on must know something: a model of an SFT with every parameter.
run=$work/first
start_job --set grpo.versions=0 --no-eval
wait_for 120 "end of the first job" job_over
first=$run/checkpoints/sft run=$work/run
[ -s "$first/model.safetensors" ] || die "the first job left no model"
start_job --set model.init="$first" --set grpo.versions=16 --set lora.rank=16 --set lora.alpha=32 --set sft.lr=0.001 --set grpo.lr=0.001 \
  --set grpo.kl_beta=0.02 --set sft.steps=40
wait_for 120 "RL version 4" version_is 4
old=$(proc learner pid)
kill -9 "$old"
learner_is_new() { local p; p=$(proc learner pid) && [ -n "$p" ] && [ "$p" != "$old" ]; }
wait_for 30 "a new learner" learner_is_new
wait_for 60 "RL version 8" version_is 8
curl -fsS "http://127.0.0.1:$((port + 10))/metrics" >"$work/metrics.txt" || die "no /metrics of actor-0"
# A fetch may have been under way when the learner was killed: then its version is gone, or not answered for.
awk '/^agrl_weights_(resyncs_total.cause="(order|corrupt|hash)"|verify_failures_total)/ { bad += $2 } END { exit bad != 0 }' "$work/metrics.txt" ||
  { grep ^agrl_weights "$work/metrics.txt"; die "actor-0 got damaged weights"; }
full=$(actor_bytes full) delta=$(actor_bytes delta)
wait_for 120 "end of the job" job_over
version_is 16 || die "the job ended at version $(version)"
check_invariants 16
base=$(stat -c %s "$run/checkpoints/base/model.safetensors")
adapters=$(stat -c %s "$run/checkpoints/latest/adapter_model.safetensors")
[ "$full" -ge $((base * 9 / 10)) ] && [ "$full" -lt $((base + adapters * 2)) ] || die "actor-0 received $full bytes of blocks, with a base of $base"
[ "$delta" -gt 0 ] || die "actor-0 received no delta of adapters"
jq -es '[.[] | select(.event == "resumed")] | length >= 1 and all(.exact)' "$run/events.jsonl" >/dev/null || die "the learner did not redo its journal exactly"
jq -es 'map(select(.phase == "rl").logprob_abs_diff_max | select(. != null)) | length > 0 and all(. == 0)' "$run/metrics.jsonl" >/dev/null ||
  { jq -c 'select(.phase == "rl") | [.step, .logprob_abs_diff_max]' "$run/metrics.jsonl"; die "log-probs of learner and actors differ"; }
cmp -s "$run/checkpoints/base/model.safetensors" "$run/checkpoints/latest/model.safetensors" && die "nothing was merged"
agrlctl model export "$run/checkpoints/latest" "$work/merged" >/dev/null || die "model export"
cmp "$work/merged/model.safetensors" "$run/checkpoints/latest/model.safetensors" || die "the export is not the merged model"
[ ! -e "$work/merged/adapter_model.safetensors" ] || die "the export of the model has adapters in it"
agrlctl model export "$run/checkpoints/latest" "$work/adapters" --adapter >/dev/null || die "model export --adapter"
cmp "$work/adapters/adapter_model.safetensors" "$run/checkpoints/latest/adapter_model.safetensors" || die "the adapters exported are others"
is '.peft_type == "LORA" and .r == 16 and .lora_alpha == 32 and (.target_modules | length) == 7' <"$work/adapters/adapter_config.json" ||
  die "adapter_config.json"
if agrlctl model export "$first" "$work/none" --adapter >"$work/refused" 2>&1; then die "adapters were exported that there are not"; fi
grep -q 'trained with lora.rank 0' "$work/refused" || { cat "$work/refused"; die "not said why"; }
say ok
