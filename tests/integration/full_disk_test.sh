#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A disk that becomes full under a running job, made by a limit on file sizes (prlimit; SIGXFSZ ignored, so writes fail with
# EFBIG). Replay acknowledges nothing, stays up and says why; with room again the same process goes on. A learner that cannot journal
# a step ends without announcing it; its next process, with room, resumes to the same hashes.
. "$(dirname "$0")/lib.sh"
trap '' XFSZ  # inherited by every process of the job
versions=200
make_data
start_job --set grpo.versions=$versions --set grpo.groups_per_step=8 --no-eval
wait_for 60 "RL version 3" version_is 3

# A checkpoint that cannot be written is tried again while the learner waits for a batch (its model takes more than the limit, its other files less).
failed() { grep -q '"event":"checkpoint_failed"' "$run/events.jsonl"; }
saved() { [ -s "$run/checkpoints/v00000001-$(printf %08d "$(version)")/model.safetensors" ]; }
pid=$(proc learner pid)
prlimit --pid "$pid" --fsize=300000: || die "prlimit"
wait_for 60 "a checkpoint fails" failed
agrlctl scale actors 0 --run-dir "$run"
sleep 2
saved && die "the checkpoint was written in spite of the limit"
prlimit --pid "$pid" --fsize=unlimited: || die "prlimit"
wait_for 60 "a checkpoint without a further step" saved
[ "$(proc learner pid)" = "$pid" ] || die "the learner was restarted"
agrlctl scale actors 2 --run-dir "$run"
say "a failed checkpoint was made up for at version $(version)"

pid=$(proc replay pid)
prlimit --pid "$pid" --fsize=8192: || die "prlimit"
refused() { grep -q 'event=\(refused\|[a-z]*_failed\) .*File too large' "$run/logs/replay.log"; }  # of whoever came first
wait_for 20 "replay refuses commits" refused
sleep 3  # what had been committed is trained
at=$(version)
sleep 2
version_is $((at + 3)) && die "versions go on from $at to $(version) while nothing can be stored"
[ "$(proc replay pid)" = "$pid" ] || die "replay ended on a full disk"
prlimit --pid "$pid" --fsize=unlimited: || die "prlimit"
wait_for 60 "training goes on with room" version_is $((at + 5))
[ "$(proc replay pid)" = "$pid" ] || die "replay was restarted"
say "replay waited at version $at"

pid=$(proc learner pid)
prlimit --pid "$pid" --fsize=1024: || die "prlimit"
restarted() { [ "$(proc learner restarts)" -ge 1 ] && [ "$(proc learner pid)" != "$pid" ]; }
wait_for 30 "the learner ends" restarted
[ "$(proc learner last_exit_code)" = 74 ] || die "the learner ended with exit code $(proc learner last_exit_code), want 74 (its log could not grow either)"
wait_for 120 "end of the job" job_over
version_is $versions || die "the job ended at version $(version)"
jq -es '[.[] | select(.event == "resumed" and .exact)] | length == 1' "$run/events.jsonl" >/dev/null || die "not resumed exactly"
check_invariants $versions
say ok
