#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A job that is done while an earlier version is still being evaluated: the last version is evaluated too, then the job ends.
. "$(dirname "$0")/lib.sh"
make_data 5 1000 40
# agrlctl takes its programs from beside itself: here an agrl-eval that holds the first version until all daemons are gone.
mkdir "$work/bin"
cp "$1/bin/agrlctl" "$work/bin/"
for p in agrl-actor agrl-learner agrl-replay agrl-reward; do ln -s "$1/bin/$p" "$work/bin/$p"; done
cat >"$work/bin/agrl-eval" <<WRAPPER
#!/usr/bin/env bash
case \$* in
  */v00000001-00000080*) ;;
  *)
    echo held >>"$work/held"
    until [ -d "$run/checkpoints/v00000001-00000080" ] && grep -q . "$work/gone" 2>/dev/null; do sleep 0.2; done ;;
esac
exec "$1/bin/agrl-eval" "\$@"
WRAPPER
chmod +x "$work/bin/agrl-eval"
export PATH="$work/bin:$PATH"
start_job --no-eval --set sft.steps=400 --set grpo.zero_spread=keep --set grpo.versions=80 --set eval.interval=4 --set learner.checkpoint_every=4
daemons_gone() { agrlctl status --run-dir "$run" -o json >"$work/status" && is '.processes | length > 0 and all(.pid <= 0)' <"$work/status"; }
held() { [ -s "$work/held" ]; }
wait_for 90 'evaluation of an earlier version' held
wait_for 60 'end of the daemons' daemons_gone
job_over && die 'the job did not wait for the evaluation under way'
[ ! -e "$run/eval/v00000001-00000080/eval.json" ] || die 'the last version was evaluated beside an earlier one'
echo yes >"$work/gone"
wait_for 60 'end of the job' job_over
[ -s "$run/eval/v00000001-00000080/eval.json" ] || { cat "$run/logs/eval.log"; die 'the last version was not evaluated'; }
[ "$(find "$run/eval" -name eval.json | wc -l)" = 2 ] || die 'not two evaluations: the one held and the last'
[ ! -L "$run/checkpoints/evaluating" ] || die 'a version is still pinned'

# Without the journal nobody knows which groups the newest checkpoint was trained on: the learner does not begin a new one.
: >"$run/journal.jsonl"
code=0
agrl-learner --config "$run/agrl.yaml" 2>"$work/learner.log" || code=$?
[ $code = 65 ] && grep -q 'journal.jsonl ends at step 0, the newest checkpoint is of step 80' "$work/learner.log" ||
  { cat "$work/learner.log"; die "an empty journal: exit code $code, want 65"; }
say ok
