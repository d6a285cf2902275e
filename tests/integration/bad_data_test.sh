#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Malformed rows are named and counted and never trained on; a data file without a good row, a bad rule file and a bad
# configuration stop the job at start with the right exit code and a message that says where. So do wrong usage, a run directory
# in use, a job that is not there, and a checkpoint that is damaged or of another format.
. "$(dirname "$0")/lib.sh"
make_data 5 3000 40
expect() {  # expect CODE PATTERN command...
  local code=$1 pattern=$2 got=0
  shift 2
  "$@" >"$work/out" 2>&1 || got=$?
  [ "$got" = "$code" ] || { cat "$work/out"; die "exit $got, want $code: $*"; }
  grep -Eq "$pattern" "$work/out" || { cat "$work/out"; die "no '$pattern' in the output of: $*"; }
}
up() { agrlctl up --run-dir "$run" --config "$here/tiny.yaml" --rules "$root/deploy/etc/rules.yaml" --set obs.http_port="$port" --no-eval "$@"; }

expect 64 'unrecognized option.*--turbo|unknown option' up --turbo --data "$work/data/train.jsonl" --eval "$work/data/eval.jsonl"
expect 69 'no job is running' agrlctl status --run-dir "$work/nowhere"
echo '{"id": "x", "query": "q"}' >"$work/none.jsonl"
expect 65 'none.jsonl:1: .*expected' up --data "$work/none.jsonl" --eval "$work/data/eval.jsonl"
expect 66 'absent.jsonl' up --data "$work/absent.jsonl" --eval "$work/data/eval.jsonl"
expect 78 'grpo.group_sise.*group_size|group_size.*grpo.group_sise' up --data "$work/data/train.jsonl" --eval "$work/data/eval.jsonl" --set grpo.group_sise=4
expect 78 'CURVE' up --data "$work/data/train.jsonl" --eval "$work/data/eval.jsonl" --set net.replay=tcp://0.0.0.0:7777
sed 's/weight: 0.6/weight: 0.3/' "$root/deploy/etc/rules.yaml" >"$work/weak.yaml"
expect 78 'weak.yaml:[0-9]+' up --data "$work/data/train.jsonl" --eval "$work/data/eval.jsonl" --rules "$work/weak.yaml"
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
expect 73 "running in $run already \\(pid [1-9]" up --data "$work/data/train.jsonl" --eval "$work/data/eval.jsonl" --set grpo.versions=4
[ "$before" = "$(sha256sum "$run/agrl.yaml")" ] || die "the second up changed the first one's configuration"
wait $job || die "a job with two bad rows"
cat "$run"/logs/*.log "$work/up.log" >"$work/all.log"
grep -q 'mixed.jsonl:1501: .*tier' "$work/all.log" || die "row 1501 was not named"
grep -q 'mixed.jsonl:1502:' "$work/all.log" || die "row 1502 was not named"
agrlctl replay export --run-dir "$run" | grep -q bad-1 && die "a bad row was trained on"

evaluate() { agrl-eval --checkpoint "$1" --rules "$root/deploy/etc/rules.yaml" --data "$work/data/eval.jsonl" --limit 4; }
cp -rL "$run/checkpoints/latest" "$work/good"
expect 0 'macro' evaluate "$work/good"
cp -r "$work/good" "$work/newer"
jq '.format += 1' "$work/good/agrl_manifest.json" >"$work/newer/agrl_manifest.json"
expect 76 'newer/agrl_manifest.json: format 2, this program reads 1' evaluate "$work/newer"
cp -r "$work/good" "$work/torn"
truncate -s -1 "$work/torn/model.safetensors"
expect 65 'torn/model.safetensors' evaluate "$work/torn"
say ok
