#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The happy path: data -> SFT -> the full loop -> report, with every reading command of agrlctl used while it runs, checkpoints
# evaluated on the way, and two of them made into a grading sheet.
. "$(dirname "$0")/lib.sh"
make_data
start_job --set grpo.versions=60 --set eval.interval=12 --set eval.rows=40 --set eval.samples=2 --set learner.keep=1
wait_for 60 "RL version 2" version_is 2
agrlctl status --run-dir "$run" -o json | is '.processes | length >= 5' || die "status -o json"
for p in 0 1 2 3 10 11; do
  curl -fsS "http://127.0.0.1:$((port + p))/metrics" >"$work/metrics.txt" || die "no /metrics at +$p"
  promtool check metrics <"$work/metrics.txt" || die "promtool refused /metrics at +$p"
  sh "$(dirname "$0")/../lint/scraped.sh" <"$work/metrics.txt" || die "metrics at +$p are not as listed"
  curl -fsS "http://127.0.0.1:$((port + p))/healthz" >/dev/null || die "/healthz at +$p"
  curl -fsS "http://127.0.0.1:$((port + p))/readyz" >/dev/null || die "/readyz at +$p"
done
# Actors follow by deltas, all of them sound.
curl -fsS "http://127.0.0.1:$((port + 10))/metrics" >"$work/metrics.txt" || die "no /metrics of actor-0"
awk '/^agrl_weights_bytes_total\{kind="delta",dir="received"/ { delta = $2 } /^agrl_weights_(resyncs|verify_failures)_total/ { bad += $2 }
  END { exit !(delta > 0 && bad == 0) }' "$work/metrics.txt" || { grep ^agrl_weights "$work/metrics.txt"; die "actor-0 got no deltas, or damaged ones"; }
agrlctl top --once --run-dir "$run" >"$work/top" || die "top --once"
grep -q learner "$work/top" || die "top does not show the learner"
agrlctl doctor --run-dir "$run" >"$work/doctor" || { cat "$work/doctor"; die "doctor finds something wrong with a running job"; }
agrlctl config check "$run/agrl.yaml" >/dev/null || die "config check refuses the effective configuration"
agrlctl logs --run-dir "$run" >"$work/logs" || die "logs"
for name in actor-0 actor-1 learner replay reward; do grep -q " $name " "$work/logs" || die "logs shows nothing of $name"; done
agrlctl logs learner -n 3 --run-dir "$run" >"$work/logs" || die "logs learner"
[ "$(wc -l <"$work/logs")" = 3 ] || die "logs -n 3 shows $(wc -l <"$work/logs") lines"
group=$(agrlctl replay ls --run-dir "$run" --state trained -o json | jq '.groups[0].id')
agrlctl replay show "$group" --run-dir "$run" >"$work/group" || die "replay show $group"
grep -q trained "$work/group" || die "replay show does not say that group $group is trained"
agrlctl replay ls --run-dir "$run" >"$work/groups" || die "replay ls"
agrlctl status --run-dir "$run" >/dev/null || die "the job was over before all of this was looked at"
wait_for 120 "end of the job" job_over
version_is 60 || die "the job ended at version $(version)"
check_invariants 60
for f in report.txt report.svg report.json report.html checkpoints/sft/model.safetensors checkpoints/latest/config.json; do
  [ -s "$run/$f" ] || die "no $f"
done
grep -q 'macro F1' "$run/report.txt" || die "the report has no macro F1"
jq -es 'map(select(.phase == "rl")) | length > 0 and all(.staleness_max != null and .staleness_max <= 4)' "$run/metrics.jsonl" >/dev/null || die "staleness beyond the bound"
jq -es 'map(select(.phase == "rl").logprob_abs_diff_max | select(. != null)) | length > 0 and all(. == 0)' "$run/metrics.jsonl" >/dev/null ||
  die "log-probs of learner and actors differ at equal version"
jq -es 'map(select(.phase == "rl").guided_ratio) | add > 0' "$run/metrics.jsonl" >/dev/null || die "no guided group in the whole run"
# Rollouts are counted in the store, whether they were trained on or not, and told with every batch.
jq -es --argjson stored "$(wc -l <"$work/store.jsonl")" 'map(select(.phase == "rl")) | map(.rollouts) == (map(.rollouts) | sort)
  and .[-1].rollouts <= $stored and .[-1].rollouts >= (map(.members) | add)' "$run/metrics.jsonl" >/dev/null || die "the count of rollouts is wrong"
grep -Eq 'RL versions in .*, [0-9]+ rollouts' "$run/report.txt" || die "the report does not tell the rollouts"
# The last version was evaluated while training whatever else was; the best of all is kept, though one checkpoint is.
[ -s "$run/eval/v00000001-00000060/eval.json" ] || die "the last version has no evaluation of the training: $(ls "$run/eval")"
[ ! -L "$run/checkpoints/evaluating" ] || die "a version is still pinned"
best=$(jq -s 'max_by([.macro_f1, -.version]).version' "$run"/eval/v*/eval.json)
[ "$(readlink "$run/checkpoints/best")" = "v00000001-$(printf %08d "$best")" ] ||
  die "best is $(readlink "$run/checkpoints/best"), but version $best has the best macro F1"
[ -s "$run/checkpoints/best/model.safetensors" ] || die "the best version was not kept"
jq -es --argjson n "$(ls -d "$run"/eval/v*/ | wc -l)" '.[0].curves.eval | length == $n and all(.macro_f1 != null)' "$run/report.json" >/dev/null ||
  die "the report's curve has not every version that was evaluated"
agrlctl sbs sft latest --run-dir "$run" --items 10 >"$work/sbs" || { cat "$work/sbs"; die "sbs"; }
jq '{sheet, grades: [.items[] | {id, grade: (if .left == "b" then "left" else "right" end)}]}' "$run/sbs-sft-latest.key.json" >"$work/grades.json"
agrlctl sbs --grades "$work/grades.json" --key "$run/sbs-sft-latest.key.json" -o json |
  is '(.gsb == 1 or (.gsb == null and .good < 10)) and .bad == 0 and .missing == 0 and .a == "sft"' || die "B is always graded better, and GSB is not 1"
agrlctl sbs sft latest --run-dir "$run" --items 10 --seed 2 >"$work/sbs" 2>&1 && die "another sheet's key was replaced"
for side in sft latest; do  # items of rows that data.eval does not name
  for f in items.jsonl json; do cp "$run/eval/$side/eval.$f" "$run/eval/$side/fresh.$f"; done
done
agrlctl sbs sft latest --run-dir "$run" --split fresh --items 10 --out "$work/fresh.html" >"$work/sbs" 2>&1 || { cat "$work/sbs"; die "sbs --split with items"; }
rm "$run"/eval/*/fresh.*
# Items that are not the checkpoint's are not graded in its name: it is evaluated again.
jq '.checkpoint = "/somewhere/else"' "$run/eval/sft/eval.json" >"$work/eval.json" && cp "$work/eval.json" "$run/eval/sft/eval.json"
agrlctl sbs sft latest --run-dir "$run" --out "$work/again.html" >"$work/sbs" 2>&1 || { cat "$work/sbs"; die "sbs with another's items"; }
[ "$(jq -r .checkpoint "$run/eval/sft/eval.json")" = "$(realpath "$run/checkpoints/sft")" ] || die "another checkpoint's items were taken for those of sft"
[ "$(grep -c 'evaluating again' "$work/sbs")" = 1 ] || { cat "$work/sbs"; die "not one side was evaluated again"; }
# pass@k is kept where the report evaluates
is '.pass_at_k | length == 2' <"$run/eval/latest/eval.json" || die "up evaluated without eval.samples"
agrlctl eval --run-dir "$run" --checkpoint sft --limit 5 --label few >/dev/null && [ "$(jq .n "$run/eval/few/eval.json")" = 5 ] || die "eval --limit with a label"
# What is exported takes its place whole or not at all, also through a link or to standard output by name.
ln -s exported.jsonl "$work/link.jsonl" && echo kept >"$work/exported.jsonl"
code=0
(ulimit -f 8 && trap '' XFSZ && agrlctl replay export --run-dir "$run" --out "$work/link.jsonl") >"$work/out" 2>&1 || code=$?
[ $code = 74 ] && [ "$(cat "$work/exported.jsonl")" = kept ] && [ "$(find "$work" -name '*.tmp*' | wc -l)" = 0 ] ||
  { cat "$work/out"; die "a full disk during replay export: exit code $code"; }
agrlctl replay export --run-dir "$run" --out "$work/link.jsonl" >/dev/null || die "replay export --out"
[ -L "$work/link.jsonl" ] && cmp "$work/exported.jsonl" "$work/store.jsonl" || die "replay export --out differs from what goes to standard output"
agrlctl replay export --run-dir "$run" --out /dev/stdout | grep -v '^agrlctl: ' | cmp - "$work/store.jsonl" || die "replay export --out /dev/stdout"
{ echo head; agrlctl replay export --run-dir "$run" --out /dev/stdout; } >"$work/all" || die "replay export --out /dev/stdout, sent to a file"
[ "$(head -n 1 "$work/all")" = head ] && grep -v -e '^agrlctl: ' -e '^head$' "$work/all" | cmp - "$work/store.jsonl" || die "what was in the file of /dev/stdout is lost"
# Rows with a tier that the rules do not name are no evaluation.
printf '%s\n' 'name: two' 'tiers: {4: Good, 1: Bad}' 'prompt: "Query: {query}\n"' 'trace: [{name: tier, kind: tier}]' \
  'criteria: [{name: tier, line: tier, gold: tier, weight: 1, missing: drop_group}]' 'gates: [format]' >"$work/two.yaml"
code=0
agrl-eval --checkpoint "$run/checkpoints/sft" --rules "$work/two.yaml" --data "$eval" >"$work/out" 2>&1 || code=$?
[ $code = 65 ] && grep -q 'gold.tier is [23], which is none of the tiers' "$work/out" || { cat "$work/out"; die "gold tiers that the rules lack: exit code $code"; }
# A copy of the run is looked at where it is; one whose store was cut off is refused and not a crash.
cp -r "$run" "$work/copy"
id=$(jq -rn 'input.prompt_id' "$work/store.jsonl")
LC_ALL=C sed -i "s/$id/$(tr 'a-z' 'b-za' <<<"$id")/g" "$work/copy/replay/data.mdb"  # the group's record no longer has its checksum
code=0
agrlctl replay export --run-dir "$work/copy" --out "$work/others.jsonl" >"$work/out" 2>&1 || code=$?
[ $code = 65 ] && grep -Eq '[1-9][0-9]* records of the store do not decode' "$work/out" && [ -s "$work/others.jsonl" ] ||
  { cat "$work/out"; die "a record that does not decode: exit code $code"; }
code=0
agrlctl replay export --run-dir "$run" --out "$work/no/dir.jsonl" >"$work/out" 2>&1 || code=$?
[ $code = 66 ] || { cat "$work/out"; die "an export into no directory: exit code $code"; }
truncate -s 16384 "$work/copy/replay/data.mdb"
for what in 'replay ls' 'replay export' traces 'rules explain 1/0'; do
  code=0
  # shellcheck disable=SC2086
  agrlctl $what --run-dir "$work/copy" >"$work/out" 2>&1 || code=$?
  [ $code = 65 ] && grep -q "$work/copy/replay: data.mdb was cut off" "$work/out" || { cat "$work/out"; die "$what of a store that was cut off: exit code $code"; }
done
say ok
