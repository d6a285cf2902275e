#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Malformed rows are named and counted and never trained on; a data file without a good row, a bad rule file and a bad
# configuration stop the job at start with the right exit code and a message that says where.
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

echo '{"id": "x", "query": "q"}' >"$work/none.jsonl"
expect 65 'none.jsonl:1: .*expected' up --data "$work/none.jsonl" --eval "$work/data/eval.jsonl"
expect 66 'absent.jsonl' up --data "$work/absent.jsonl" --eval "$work/data/eval.jsonl"
expect 78 'grpo.group_sise.*group_size|group_size.*grpo.group_sise' up --data "$work/data/train.jsonl" --eval "$work/data/eval.jsonl" --set grpo.group_sise=4
expect 78 'CURVE' up --data "$work/data/train.jsonl" --eval "$work/data/eval.jsonl" --set net.replay=tcp://0.0.0.0:7777
sed 's/weight: 0.6/weight: 0.3/' "$root/deploy/etc/rules.yaml" >"$work/weak.yaml"
expect 78 'weak.yaml:[0-9]+' up --data "$work/data/train.jsonl" --eval "$work/data/eval.jsonl" --rules "$work/weak.yaml"

{ head -n 1500 "$work/data/train.jsonl"; echo '{"id": "bad-1", "query": "q", "product": {"title": "t"}, "gold": {"tier": 7}}'; echo 'not json'
  tail -n 1500 "$work/data/train.jsonl"; } >"$work/mixed.jsonl"
up --data "$work/mixed.jsonl" --eval "$work/data/eval.jsonl" --set grpo.versions=3 >"$work/up.log" 2>&1 || die "a job with two bad rows"
cat "$run"/logs/*.log "$work/up.log" >"$work/all.log"
grep -q 'mixed.jsonl:1501: .*tier' "$work/all.log" || die "row 1501 was not named"
grep -q 'mixed.jsonl:1502:' "$work/all.log" || die "row 1502 was not named"
agrlctl replay export --run-dir "$run" | grep -q bad-1 && die "a bad row was trained on"
say ok
