#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# agrlctl experiment: a grid over arms and two seeds runs, stops on a signal and goes on, moved, without doing anything twice, tables what
# came out, and refuses results of other settings, another configuration or other data.
. "$(dirname "$0")/lib.sh"
cat >"$work/grid.yaml" <<YAML
name: grid
config: tiny.yaml
data: {make: {train: 300, reference: 300, eval: 40, natural: 40, departments: 2, leaves: 2}}
seeds: [7, 8]
set: {data.rules: rules.yaml, grpo.versions: 2, grpo.groups_per_step: 2, eval.interval: 2, learner.checkpoint_every: 2}
start: {sft.steps: 400}
arms: {none: {run.method: sft}, rl: {}}
grid: {grpo.lr: [0.0001, 0.0002]}
baseline: rl,lr=0.0001
YAML
cp "$here/tiny.yaml" "$work/tiny.yaml"
cp "$rules" "$work/rules.yaml"
out=$work/out
go() { agrlctl experiment "$work/grid.yaml" --out "$out" "$@" >"$work/log" 2>&1; }
refused() {  # refused CODE PATTERN [options]
  local code=$1 pattern=$2 got=0
  shift 2
  go "$@" || got=$?
  [ "$got" = "$code" ] && grep -q -e "$pattern" "$work/log" || { cat "$work/log"; die "exit $got, want $code and '$pattern'"; }
}

refused 66 'no run is done yet' --table
[ ! -e "$out" ] || die '--table made a directory'
agrlctl experiment "$work/grid.yaml" --out "$out" >"$work/log" 2>&1 &
pid=$!
wait_for 120 'the second run of seed 7' grep -q 'run 3 of 10' "$work/log"
kill -TERM $pid
code=0
wait $pid || code=$?
[ $code != 0 ] && grep -q 'stopped at run [0-9]* of 10; the same command goes on' "$work/log" || { cat "$work/log"; die "exit $code after a signal"; }
started=$(find "$out" -name settings.txt -path '*seed8*' | wc -l)
[ "$started" = 0 ] || die "it went on after the signal"

# It goes on in another place, by another spelling of the same files.
mv "$out" "$work/moved"
out=$work/moved
sed -i "s|config: tiny|config: $work/../${work##*/}/tiny|; s|data.rules: rules|data.rules: ./rules|" "$work/grid.yaml"
mkdir -p "$out/seed8/data"
echo cut >"$out/seed8/data/train.jsonl"  # a start that was cut off while it made the data
go || { tail -30 "$work/log"; die 'the experiment fails'; }
[ "$(wc -l <"$out/seed8/data/train.jsonl")" = 300 ] || die 'data that were cut off were not made again'
[ ! -e "$work/out" ] || die 'the moved experiment went on in the old place'
! grep -q 'run [12] of 10' "$work/log" || die 'a run that was done is made again'
for arm in none,lr=0.0001 none,lr=0.0002 rl,lr=0.0001 rl,lr=0.0002; do
  for seed in 7 8; do
    [ -s "$out/seed$seed/$arm/eval/latest/eval_natural.json" ] || die "seed $seed, $arm: nothing was evaluated"
  done
done
want=$(sha256sum <"$out/seed7/start/checkpoints/sft/model.safetensors")
got=$(sha256sum <"$out/seed7/none,lr=0.0002/checkpoints/latest/model.safetensors")
[ "$want" = "$got" ] || die 'an arm does not begin with the start of its seed'
is '.runs_done == 8 and (.splits.eval.macro_f1 | length == 4) and .splits.eval_natural.macro_f1[2].value.seeds == 2 and
  .splits.eval.accuracy[3].less["rl,lr=0.0001"].seeds == 2 and .arms["rl,lr=0.0002"]["grpo.lr"] == "0.0002" and .set["grpo.versions"] == "2"' \
  <"$out/results.json" || { jq . "$out/results.json"; die 'results.json'; }
grep -q '8 of 8 runs done' "$out/results.txt" && grep -q '</svg>' "$out/results.svg" || die 'results.txt or results.svg'

SECONDS=0
go && [ $SECONDS -lt 20 ] && ! grep -q 'run [0-9]* of' "$work/log" || { cat "$work/log"; die 'what is done is run again'; }
sed -i 's/grpo.versions: 2/grpo.versions: 3/' "$work/grid.yaml"
refused 78 'was made with other settings'
refused 78 'was made with other settings' --table
sed -i 's/grpo.versions: 3/grpo.versions: 2/' "$work/grid.yaml"
echo '# edited' >>"$work/rules.yaml"
refused 78 'was made with other settings' --table
cp "$rules" "$work/rules.yaml"
echo '# edited' >>"$work/tiny.yaml"
refused 78 'was made with other settings' --table
cp "$here/tiny.yaml" "$work/tiny.yaml"
sed -i 's/eval: 40/eval: 44/' "$work/grid.yaml"
refused 78 'seed7/data was made with other settings'

# What was refused before anything was made may be corrected.
cp "$out/seed7/data/train.jsonl" "$out/seed7/data/eval.jsonl" "$work"
cat >"$work/grid.yaml" <<YAML
name: own
config: tiny.yaml
data: {train: train.jsonl, eval: train.jsonl}
seeds: [7]
set: {data.rules: rules.yaml, run.method: sft, sft.steps: 3}
YAML
out=$work/own
refused 78 'train.jsonl'
! grep -q 'its logs are in' "$work/log" || die 'logs are named that do not exist'
sed -i 's/eval: train.jsonl/eval: eval.jsonl/' "$work/grid.yaml"
go && grep -q '1 of 1 runs done' "$out/results.txt" || { cat "$work/log"; die 'a corrected experiment is refused'; }
# An arm that fails is said to, and the others are run.
sed 's/^name: own/name: two/; s/, run.method: sft, sft.steps: 3//' "$work/grid.yaml" >"$work/two.yaml"
echo 'arms: {bad: {run.method: sft, sft.steps: 3, data.dev: train.jsonl}, own: {run.method: sft, sft.steps: 3}}' >>"$work/two.yaml"
for runs in 'run 1 of 2 run 2 of 2' 'run 1 of 2'; do
  code=0
  agrlctl experiment "$work/two.yaml" --out "$work/two" >"$work/log" 2>&1 || code=$?
  [ $code = 78 ] && grep -q '^agrlctl: 1 of 2 runs failed' "$work/log" && grep -q '1 of 2 runs done' "$work/two/results.txt" &&
    [ "$(grep -o 'run [12] of 2:' "$work/log" | tr -d ':' | xargs)" = "$runs" ] || { cat "$work/log"; die "exit $code after a failed arm"; }
done
# A start that fails leaves its arms nothing to begin with.
sed 's/^arms: .*/start: {run.method: sft, sft.steps: 3, data.dev: train.jsonl}\narms: {own: {grpo.versions: 2}}/' "$work/two.yaml" >"$work/start.yaml"
expect 78 'run 1 of 2 failed' agrlctl experiment "$work/start.yaml" --out "$work/start"
[ ! -e "$work/start/seed7/own" ] || die 'an arm was run without its start'
# A model to begin with, whose name is no pattern: not another one in between, none that is not there, and no more of it once all runs are made.
cp -rL "$out/seed7/own/checkpoints/latest" "$work/ba[s]e"
sed "s|^model: .*|model: {init: '$work/ba[s]e'}|" "$work/tiny.yaml" >"$work/based.yaml"
sed 's/^name: own/name: three/; s/^config: .*/config: based.yaml/' "$work/grid.yaml" >"$work/three.yaml"
three() { expect "$1" "$2" agrlctl experiment "$work/three.yaml" --out "$work/three" "${@:3}"; }
three 0 '1 of 1 runs done'
grep -qF "init $work/ba[s]e/model.safetensors " "$work/three/seed7/three/settings.txt" || { cat "$work/three/seed7/three/settings.txt"; die 'the model is not among the settings'; }
sed -i 's/seeds: \[7\]/seeds: [7, 8]/' "$work/three.yaml"
printf x >>"$work/ba[s]e/model.safetensors"
three 78 'was made with other settings, configuration, model'
three 0 '1 of 2 runs done' --table
rm -r "$work/ba[s]e"
three 66 'model.init of .*: there is no .*/ba.s.e/\*.safetensors'
sed -i 's/seeds: \[7, 8\]/seeds: [7]/' "$work/three.yaml"
three 0 '1 of 1 runs done'
sed 's/train: train.jsonl, eval: eval.jsonl/make: {}/' "$work/grid.yaml" >"$work/made.yaml"
expect 78 'a path with a comma' agrlctl experiment "$work/made.yaml" --out "$work/a,b"
[ ! -e "$work/a,b" ] || die 'a directory was made that is refused'
mkdir "$work/c,d"
ln -s "$work/c,d" "$work/cd"
expect 78 'a path with a comma' agrlctl experiment "$work/made.yaml" --out "$work/cd"
# The user's data elsewhere: as long as it is the same.
mkdir "$work/else"
cp "$work"/{grid,tiny,rules}.yaml "$work"/{train,eval}.jsonl "$work/else"
copy() { agrlctl experiment "$work/else/grid.yaml" --out "$out" --table >"$work/log" 2>&1; }
copy || { cat "$work/log"; die 'a copy of the same data is refused'; }
sed -i 1d "$work/else/train.jsonl"
copy && die 'other data is taken for the same'
grep -q 'was made with other settings' "$work/log" || { cat "$work/log"; die 'other data is not said to be'; }

# A run that is asked to end before its last version is not done, though it ends well and somebody wrote its report.
sed -i 's/sft.steps: 3/sft.steps: 100000/' "$work/grid.yaml"
out=$work/down
go &
pid=$!
wait_for 60 'the job' agrlctl status --run-dir "$out/seed7/own"
expect 73 'a job is running' agrlctl experiment "$work/grid.yaml" --out "$out"
! grep -q 'failed' "$work/out" || die 'a run that another process is at is said to have failed'
echo '{}' >"$out/seed7/own/report.json"
agrlctl down --run-dir "$out/seed7/own" >/dev/null
code=0
wait $pid || code=$?
[ $code = 75 ] && [ ! -e "$out/seed7/own/done" ] || { cat "$work/log"; die "exit $code after agrlctl down: $(ls "$out/seed7/own")"; }
grep -q 'stopped at run 1 of 1; the same command goes on' "$work/log" || { cat "$work/log"; die 'it is not said that it stopped'; }
say ok
