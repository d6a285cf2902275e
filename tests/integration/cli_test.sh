#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What agrlctl and agrl-eval refuse, and with which exit code, without a job: wrong usage, files that would be lost, output that
# is lost, input that is none. A run directory that was copied is that of the copy.
. "$(dirname "$0")/lib.sh"
lost() { "$@" >/dev/full; }

# Words and options that a command does not take
expect 64 "agrlctl down: unexpected 'other-run'" agrlctl down other-run
expect 64 "unexpected '5'" agrlctl scale actors 4 5
expect 64 "unexpected 'reward'" agrlctl logs learner reward
expect 64 '--follow is no option of down' agrlctl down -f
expect 64 '-n is no option of scale' agrlctl scale actors 4 -n 3
expect 64 '--timeout is no option of logs' agrlctl logs --timeout 5
expect 64 '--once is no option of status' agrlctl status --once
expect 64 '-o is no option of top' agrlctl top -o json
expect 64 'expected: ls, show GROUP' agrlctl replay show 1 2 3
expect 64 '-o is no option of replay show' agrlctl replay show 1 -o json
expect 64 '-o is no option of replay export' agrlctl replay export -o json
expect 64 "no state 'traind'; nearest: trained" agrlctl replay ls --state traind
expect 64 "unexpected 'extra'" agrlctl version extra
expect 64 "unexpected 'b'" agrlctl help down b
expect 0 'usage: agrlctl help' agrlctl help help
expect 0 'usage: agrlctl version' agrlctl help version
expect 0 '600 s' agrlctl help down
expect 64 '--adapter is no option of model import' agrlctl model import a b --adapter
expect 64 '--dtype is no option of model export --adapter' agrlctl model export a b --adapter --dtype f32
expect 64 '-o is no option of model chat' agrlctl model chat a b -o json
expect 64 '-o is no option of sbs A B' agrlctl sbs a b -o json
expect 64 "option '--config' requires an argument" agrlctl status --config
grep -q 'unknown' "$work/out" && die 'a missing argument is called an unknown option'
expect 64 "agrlctl status: unrecognized option '--turbo'" agrlctl status --turbo
expect 64 "--run-dir is empty" agrlctl up --run-dir ''
expect 64 'is empty; name a run directory' agrlctl status --run-dir ''
expect 64 'is empty; name a run directory' env AGRL_RUN_DIR= agrlctl status
for option in '--threads 0' '--max-new x' '--seed -1' '--limit 0' '--samples 65'; do
  # shellcheck disable=SC2086
  expect 64 "agrl-eval: ${option% *}: '${option#* }' is not a number from" agrl-eval --checkpoint a --rules b --data c $option
done
expect 64 'needs --checkpoint' agrl-eval --data c

# Output that nobody gets
expect 74 'agrlctl: standard output: No space' lost agrlctl version
expect 74 'agrlctl: standard output: No space' lost agrlctl config dump
closed() { "$@" >&-; }
expect 74 'agrlctl: standard output: Bad file' closed agrlctl version
expect 74 'agrl-eval: standard output: No space' lost agrl-eval --help

# The built-in benchmark is not made over data that is there
make_data 5 40 20
expect 73 'data/train.jsonl: exists already' agrlctl data make --out "$work/data"
expect 64 'expected: make --out DIR' agrlctl data make --out ''
expect 64 '0 rows' agrlctl data make --out "$work/none" --train 0
expect 64 "--eval: 'x' is not a number" agrlctl data make --out "$work/none" --eval x
mkdir "$work/half" && touch "$work/half/eval_natural.jsonl"
expect 73 'eval_natural.jsonl: exists' agrlctl data make --out "$work/half"
[ ! -e "$work/half/train.jsonl" ] || die 'a refused data make left a file'

# Input that is no file of rows
mkfifo "$work/pipe"
expect 65 'not a regular file' agrlctl rules check "$rules" --data "$work"
expect 65 'not a regular file' timeout 20 agrlctl rules check "$rules" --data "$work/pipe"
expect 65 'Is a directory' agrlctl rules check "$work"
sed 's/^prompt: |/&\n  Gold {gold.tier}/' "$rules" >"$work/leak.yaml"
expect 78 'leak.yaml:[0-9:]+ prompt: .gold.tier. tells the model the label' agrlctl rules check "$work/leak.yaml"
{ cat "$rules"; printf 'answer: "{gold.category:3}"\n'; } >"$work/leak.yaml"
expect 78 'answer: .gold.category. tells the model' agrlctl rules check "$work/leak.yaml"
awk '/^prompt:/ { print "prompt: \" \""; skip = 1; next } /^[a-z#]/ { skip = 0 } !skip' "$rules" >"$work/blank.yaml"
expect 78 'prompt: is empty' agrlctl rules check "$work/blank.yaml"
jq -c 'del(.reference)' "$train" >"$work/bare.jsonl"  # and a rule file without a table of rules or a reference template
awk '/^[a-z#]/ { skip = /^reference:/ } !skip' "$root/deploy/etc/rules-esci.yaml" >"$work/bare.yaml"
expect 65 'none of 40 rows can be checked' agrlctl rules check "$work/bare.yaml" --data "$work/bare.jsonl"

# A run directory that was copied, and the one it was copied from
mkdir -p "$run/logs" "$run/eval/sft" "$run/checkpoints/sft"
agrlctl config dump | sed "s|^  dir: .*|  dir: $run|; s|^  eval: .*|  eval: $eval|; s|^  rules: .*|  rules: $rules|" >"$run/agrl.yaml"
echo 'of the original' >"$run/logs/learner.log"
echo '{"version": 0, "split": "eval", "n": 20, "macro_f1": 0.5}' >"$run/eval/sft/eval.json"
cp -r "$run" "$work/copy"
echo 'of the copy' >"$work/copy/logs/learner.log"
expect 0 'of the copy' agrlctl logs learner --run-dir "$work/copy"
expect 0 'of the copy' env AGRL_RUN_DIR="$work/copy" agrlctl logs learner
(cd "$work" && expect 0 'of the copy' agrlctl logs learner --run-dir copy)
expect 69 "no job is running in $work/copy" agrlctl status --run-dir "$work/copy"
agrlctl report -q --run-dir "$work/copy" || die 'report of a copy'
[ -s "$work/copy/report.json" ] && [ ! -e "$run/report.json" ] || die 'the report of a copy went to the original'
expect 66 "$work/copy/replay: no replay store" agrlctl replay ls --run-dir "$work/copy"
expect 0 'of the original' agrlctl logs learner --config "$run/agrl.yaml"

# Evaluations of some rows do not stand in for those of all
limited() { expect 64 "--limit: .*under $1; give --label OTHER" agrlctl eval --run-dir "$run" --limit 5 "${@:2}"; }
version=v00000001-00000010
limited "the checkpoint's label" --checkpoint sft
limited sft --checkpoint sft --label sft
limited "the checkpoint's label" --checkpoint $version
limited at-$version --checkpoint $version --label at-$version
limited at-$version --label at-$version  # latest may be that version
limited base --checkpoint models/base --label base
expect 66 'no checkpoint .*/base' agrlctl eval --run-dir "$run" --limit 5 --checkpoint base --label at-base
expect 64 "--limit: '0' is not a number above 0" agrlctl eval --run-dir "$run" --checkpoint sft --limit 0 --label few

# sbs tells what is wrong before anything is evaluated
expect 66 "neither a checkpoint under" agrlctl sbs other sft --run-dir "$run"
expect 66 "config.json" agrlctl sbs sft sft --run-dir "$run"
expect 64 'A or B is empty' agrlctl sbs "" sft --run-dir "$run"
agrlctl model import "$root/tests/fuzz/corpus/ckpt_gguf/llama" "$run/checkpoints/latest" >/dev/null
expect 66 "data.eval has no file 'other'" agrlctl sbs latest latest --split other --run-dir "$run"
truncate -s -1 "$run/checkpoints/latest/model.safetensors"
expect 65 'could not be scored' agrlctl sbs latest latest --run-dir "$run"
printf '{"id":"%d","query":"q","predicted":%d,"text":"t","p":[1,0,0,0],"score":1,"gold":1}\n' 1 1 2 1 >"$work/a.jsonl"
sed 's/"predicted":1/"predicted":2/' "$work/a.jsonl" >"$work/b.jsonl"
expect 66 'no/page' agrlctl sbs "$work/a.jsonl" "$work/b.jsonl" --out "$work/no/page.html"
mkdir "$work/page.html"
expect 73 'page.html: is a directory' agrlctl sbs "$work/a.jsonl" "$work/b.jsonl" --out "$work/page.html"
[ ! -e "$work/page.key.json" ] || die 'a sheet that could not be written left its key'
say ok
