#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Malformed rows are named and counted and never trained on; a data file without a good row, a bad rule file and a bad
# configuration stop the job at start with the right exit code and a message that says where. So do wrong usage, a run directory
# in use, a job that is not there, and a checkpoint that is damaged or of another format. Results of evaluations keep apart,
# and one that measured nothing says so.
. "$(dirname "$0")/lib.sh"
run=$work/'run [1]*'  # a name that is no pattern
make_data 5 3000 40
up() { agrlctl up --run-dir "$run" --config "$here/tiny.yaml" --rules "$root/deploy/etc/rules.yaml" --set obs.http_port="$port" --no-eval "$@"; }

expect 64 'unrecognized option.*--turbo|unknown option' up --turbo --data "$work/data/train.jsonl" --eval "$work/data/eval.jsonl"
expect 69 'no job is running' agrlctl status --run-dir "$work/nowhere"
mkdir "$work/other" && cp "$work/data/eval.jsonl" "$work/other/eval.jsonl"
expect 78 "results of $work/data/eval.jsonl and $work/other/eval.jsonl would have one name" \
  up --data "$work/data/train.jsonl" --eval "$work/data/eval.jsonl" --eval "$work/other/eval.jsonl"
{ head -n 7 "$work/data/eval.jsonl"; sed -n '5,6s/"id":"train-/"id":"leak-/p' "$work/data/train.jsonl"; } >"$work/leak.jsonl"
leak='2 of 9 rows have the query and the product of a row of the other file \(leak-000004 = train-000004, leak-000005 = train-000005\)'
expect 78 "$leak; remove them from $work/leak.jsonl or from $work/data/train.jsonl" up --data "$work/data/train.jsonl" --eval "$work/leak.jsonl"
expect 78 "$leak" up --data "$work/data/train.jsonl" --eval "$work/data/eval.jsonl" --set data.dev="$work/leak.jsonl"
cp "$work/data/eval.jsonl" "$work/dev.jsonl"
expect 78 "40 of 40 rows have .*; remove them from $work/data/eval.jsonl or from $work/dev.jsonl" \
  up --data "$work/data/train.jsonl" --eval "$work/data/eval.jsonl" --set data.dev="$work/dev.jsonl"
echo '{"id": "x", "query": "q"}' >"$work/none.jsonl"
expect 65 'none.jsonl:1: .*expected' up --data "$work/none.jsonl" --eval "$work/data/eval.jsonl"
expect 66 'absent.jsonl' up --data "$work/absent.jsonl" --eval "$work/data/eval.jsonl"
expect 78 'grpo.group_sise.*group_size|group_size.*grpo.group_sise' up --data "$work/data/train.jsonl" --eval "$work/data/eval.jsonl" --set grpo.group_sise=4
expect 78 'CURVE' up --data "$work/data/train.jsonl" --eval "$work/data/eval.jsonl" --set net.replay=tcp://0.0.0.0:7777
sed 's/weight: 0.6/weight: 0.3/' "$root/deploy/etc/rules.yaml" >"$work/weak.yaml"
expect 78 'weak.yaml:[0-9]+' up --data "$work/data/train.jsonl" --eval "$work/data/eval.jsonl" --rules "$work/weak.yaml"
# What a daemon reads beyond the configuration, before it is started: a unit's ExecStartPre.
for d in learner replay; do
  check() { "agrl-$d" --config "$here/tiny.yaml" --check-config --set data.rules="$rules" "$@"; }
  expect 78 'data.train is empty' check
  expect 66 'absent.jsonl' check --set data.train="$work/absent.jsonl"
  expect 65 'none.jsonl:1' check --set data.train="$work/none.jsonl"
  expect 0 ok check --set data.train="$work/data/train.jsonl"
done
expect 66 'nomodel' agrl-learner --config "$here/tiny.yaml" --check-config --set data.rules="$rules" --set data.train="$work/data/train.jsonl" --set model.init="$work/nomodel"
expect 66 'absent.yaml' agrl-replay --config "$work/absent.yaml"
# A daemon whose standard error is closed does not write its log into the next file that it opens, its lock.
agrl-replay --config "$here/tiny.yaml" --set run.dir="$work/closed" --set data.rules="$rules" --set data.train="$work/data/train.jsonl" 2>&- &
pid=$!
trap 'kill $pid 2>/dev/null; finish' EXIT
wait_for 20 'the socket of a daemon without standard error' test -S "$work/closed/sock/replay"
kill $pid
trap finish EXIT
wait $pid || die "a daemon without standard error ends with $?"
[ ! -s "$work/closed/sock/replay.lock" ] || die 'the log went into the lock file'
# Without --rules: rules.yaml beside the configuration file, and a message that says so where there is none.
mkdir "$work/etc" && cp "$here/tiny.yaml" "$work/etc/agrl.yaml"
beside() { agrlctl up --run-dir "$run" --config "$work/etc/agrl.yaml" --data "$work/data/train.jsonl" --eval "$work/data/eval.jsonl"; }
expect 78 "put rules.yaml beside $work/etc/agrl.yaml" beside
cp "$work/weak.yaml" "$work/etc/rules.yaml"
expect 78 'etc/rules.yaml:[0-9]+' beside

{ head -n 1500 "$work/data/train.jsonl"; echo '{"id": "bad-1", "query": "q", "product": {"title": "t"}, "gold": {"tier": 7}}'; echo 'not json'
  tail -n 1500 "$work/data/train.jsonl"; } >"$work/mixed.jsonl"
up --data "$work/mixed.jsonl" --eval "$work/data/eval.jsonl" --set grpo.versions=3 >"$work/up.log" 2>&1 &
job=$!
wait_for 30 "the supervisor's socket" test -S "$run/sock/control"
before=$(sha256sum "$run/agrl.yaml")
expect 73 'running in .*/run .1.. already \(pid [1-9]' up --data "$work/data/train.jsonl" --eval "$work/data/eval.jsonl" --set grpo.versions=4
[ "$before" = "$(sha256sum "$run/agrl.yaml")" ] || die "the second up changed the first one's configuration"
wait $job || die "a job with two bad rows"
cat "$run"/logs/*.log "$work/up.log" >"$work/all.log"
expect 0 'event=hello' agrlctl logs replay -n 1000 --run-dir "$run"
expect 64 'labelled latest.* for .*/checkpoints/latest only; give .*/sft another' agrlctl eval --run-dir "$run" --checkpoint sft --label latest
expect 64 'cannot name results' agrlctl eval --run-dir "$run" --label a/b
expect 0 'macro' agrlctl eval --run-dir "$run" --checkpoint sft
expect 78 'leak-000004 = train-000004' agrlctl eval --run-dir "$run" --checkpoint sft --data "$work/leak.jsonl" --label leak
expect 78 '40 of 40 rows' agrlctl eval --run-dir "$run" --checkpoint sft --dev "$work/data/eval.jsonl" --label leak
[ ! -e "$run/eval/leak/leak.json" ] || die "a refused evaluation left a result"
expect 64 "samples: '65' is not a number of at most 64" agrlctl eval --run-dir "$run" --samples 65
expect 0 'macro' agrlctl eval --run-dir "$run" --checkpoint sft --label a-latest
grep -q 'a-latest, version 0' "$run/eval/a-latest/report.html" || die "no page of a label of its own"
expect 0 'before \(SFT\)' agrlctl report --run-dir "$run"
is '.splits.eval | .before.n == 40 and .after == null' <"$run/report.json" || die "the report took another label's results for latest"
grep -q 'mixed.jsonl:1501: .*tier' "$work/all.log" || die "row 1501 was not named"
grep -q 'mixed.jsonl:1502:' "$work/all.log" || die "row 1502 was not named"
agrlctl replay export --run-dir "$run" | grep -q bad-1 && die "a bad row was trained on"

evaluate() { agrl-eval --checkpoint "$@" --rules "$root/deploy/etc/rules.yaml" --data "$work/data/eval.jsonl" --limit 4; }
cp -rL "$run/checkpoints/latest" "$work/good"
expect 0 'macro' evaluate "$work/good"
expect 0 '4 of 4 rows skipped.*undefined' evaluate "$work/good" --max-new 170
expect 0 'no row was measured' evaluate "$work/good" --max-new 170
evaluate "$work/good" --max-new 170 -o json 2>/dev/null | is '.n == 0 and .skipped == 4 and .accuracy == null and .macro_f1 == null' ||
  die "measures of no row are not null"
# Memory is reserved for the longest row that fits; which rows fit does not depend on the others.
{ head -n 3 "$work/data/eval.jsonl"; sed -n 4p "$work/data/eval.jsonl" | jq -c '.product.title = "word " * 300'; echo 'not json'; } >"$work/long.jsonl"
agrl-eval --checkpoint "$work/good" --rules "$root/deploy/etc/rules.yaml" --data "$work/long.jsonl" --max-new 40 -o json 2>/dev/null |
  is '.n == 3 and .skipped == 1 and .malformed == 1' || die "one row of four is too long, one line no row, and the result says otherwise"
# Items stand in for the result: what the JSON says follows from them.
evaluate "$work/good" --samples 3 --items "$work/items.jsonl" --out "$work/one.json" >/dev/null || die "evaluation with samples"
is '. as $m | ($items | length) == 4 and .n == 4
  and (([$items[] | select(.gold == .predicted)] | length) == .accuracy * 4)
  and (([$items[].right] | add) / 12 - .pass_at_k[0].value | fabs) < 1e-9 and (.pass_at_k | length) == 3
  and ([$items[] | .p | add] | all(. > 0.999999 and . < 1.000001))
  and ([$items[] | .text | length > 0] | all)
  and ([$items[] | select(.predicted > 0) | .p[.predicted | tostring] >= ([.p[]] | max) - 1e-6] | length > 0 and all)
  and ([$items[] | .score - ([.p | to_entries[] | (.key | tonumber) * .value] | add) | fabs < 1e-6] | all)' --slurpfile items "$work/items.jsonl" <"$work/one.json" || { cat "$work/one.json" "$work/items.jsonl"; die "items and result differ"; }
evaluate "$work/good" --samples 3 --items "$work/again.jsonl" >/dev/null || die "evaluation again"
cmp "$work/items.jsonl" "$work/again.jsonl" || die "the same seed gives other samples"
cp -r "$work/good" "$work/newer"
jq '.format += 1' "$work/good/agrl_manifest.json" >"$work/newer/agrl_manifest.json"
expect 76 'newer/agrl_manifest.json: format 2, this program reads 1' evaluate "$work/newer"
cp -r "$work/good" "$work/torn"
truncate -s -1 "$work/torn/model.safetensors"
expect 65 'torn/model.safetensors' evaluate "$work/torn"

# A criterion with policy stop ends the job when a row's label is none that its rule file knows, and names the trace.
sed 's/missing: reweight/missing: stop/' "$rules" >"$work/stop.yaml"
{ head -n 99 "$work/data/train.jsonl"; sed -n 200p "$work/data/train.jsonl" | jq -c '.gold.attribute = "odd"'; } >"$work/odd.jsonl"
run=$work/stops
up --rules "$work/stop.yaml" --data "$work/odd.jsonl" --eval "$work/data/eval.jsonl" --set sft.steps=5 --set grpo.versions=3000 \
  --set grpo.zero_spread=keep >"$work/up.log" 2>&1 &
code=0
wait $! || code=$?
[ $code = 65 ] && grep -q 'reward ends at every start with exit code 65' "$work/up.log" || { cat "$work/up.log"; die "exit $code after policy stop"; }
grep -Eq 'stopping: group=[0-9]+ member=[0-9]+ cannot be scored.*gold label unknown' "$run/logs/reward.log" || die "the log does not name the trace"
say ok
