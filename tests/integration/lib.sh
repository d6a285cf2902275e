# SPDX-License-Identifier: Apache-2.0
# Shared by the integration tests: a scratch job on its own ports, waiting with deadlines, assertions that say what they saw.
# Usage: . lib.sh BUILD_DIR; then start_job, wait_version, ... Everything is stopped and removed at exit, logs shown on failure.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
export PATH="$1/bin:$PATH"
work=$(mktemp -d "${TMPDIR:-/tmp}/agrl-test.XXXXXX")
run=$work/run
train=$work/data/train.jsonl eval=$work/data/eval.jsonl rules=$root/deploy/etc/rules.yaml  # a test may name others
# A base port below the ephemeral range with nobody on the ports a small job uses.
free_port() {
  local base p
  while :; do
    base=$((20000 + RANDOM % 120 * 100))
    for p in 0 1 2 3 10 11 12; do
      (exec 3<>"/dev/tcp/127.0.0.1/$((base + p))") 2>/dev/null && continue 2
    done
    echo $base
    return
  done
}
port=$(free_port)

say() { printf '%s %s\n' "$(date +%H:%M:%S)" "$*"; }
die() { say "FAILED: $*"; exit 1; }

finish() {
  local code=$?
  agrlctl down --run-dir "$run" >/dev/null 2>&1 || true
  if [ $code != 0 ]; then
    for f in "$work"/up.log "$run"/logs/*.log; do
      [ -f "$f" ] && { echo "--- $f"; grep -v ' debug ' "$f" | tail -n 25; }
    done
  fi
  rm -rf "$work"
}
trap finish EXIT

make_data() {
  agrlctl data make --out "$work/data" --seed "${1:-5}" --train "${2:-3000}" --reference "${4:-${2:-3000}}" --eval "${3:-60}" --natural 60 \
    --departments 2 --leaves 2 --synonyms 0 >/dev/null
}

# start_job [agrlctl up options]: detached
start_job() {
  agrlctl up --config "$here/tiny.yaml" --run-dir "$run" --data "$train" --eval "$eval" --rules "$rules" \
    --set obs.http_port="$port" --detach "$@" >"$work/up.log" 2>&1 ||
    { cat "$work/up.log"; die "agrlctl up"; }
}

# expect CODE PATTERN command...: its exit code, and what it prints, which stays in $work/out
expect() {
  local code=$1 pattern=$2 got=0
  shift 2
  "$@" >"$work/out" 2>&1 || got=$?
  [ "$got" = "$code" ] || { cat "$work/out"; die "exit $got, want $code: $*"; }
  grep -Eq -e "$pattern" "$work/out" || { cat "$work/out"; die "no '$pattern' in the output of: $*"; }
}

# is FILTER [jq options]: standard input is one JSON value of which the filter holds. Nothing to read is never right.
is() { jq -es "${@:2}" "length == 1 and ([.[0] | $1] | length > 0 and all)" >/dev/null; }

# wait_for SECONDS what command...: polls until the command succeeds
wait_for() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    [ $SECONDS -lt $deadline ] || die "not within the deadline: $what"
    sleep 0.3
  done
}

# newest RL version in metrics.jsonl, 0 before the first
version() {
  local v
  v=$(jq -rs 'map(select(.phase == "rl").step) | max // 0' "$run/metrics.jsonl" 2>/dev/null) || v=  # the last line may be half written
  echo "${v:-0}"
}
version_is() { [ "$(version)" -ge "$1" ]; }
job_over() { [ ! -e "$run/supervisor.pid" ] || ! agrlctl status --run-dir "$run" >/dev/null 2>&1; }
proc() { agrlctl status --run-dir "$run" -o json | jq -r --arg n "$1" --arg k "$2" '.processes[] | select(.name == $n)[$k]'; }

# The invariants every finished job must keep, whatever happened to it: versions gapless and increasing, no group trained twice,
# every trained group in the store with all its members, every acknowledged trace in the store.
check_invariants() {
  local versions=$1
  jq -r 'select(.version) | .version' "$run/journal.jsonl" | awk -v want="$versions" '
    { step = $1 % 4294967296; if (step != NR) { print "journal line " NR " has step " step; bad = 1 } }
    END { if (NR != want) { print "journal has " NR " versions, want " want; bad = 1 } exit bad }' || die "journal"
  local twice
  twice=$(jq -r 'select(.groups) | .groups[]' "$run/journal.jsonl" | sort | uniq -d)
  [ -z "$twice" ] || die "groups trained twice: $twice"
  agrlctl replay export --run-dir "$run" >"$work/store.jsonl"
  jq -r '"\(.group) \(.member)"' "$work/store.jsonl" | sort -u >"$work/stored"
  [ -s "$work/stored" ] || die "the store is empty"
  sed -n 's/.*event=ack group=\([0-9]*\) member=\([0-9]*\) status=[01]$/\1 \2/p' "$run"/logs/actor-*.log | sort -u >"$work/acked"
  [ -s "$work/acked" ] || die "no acknowledgement in the actors' logs"
  local lost
  lost=$(comm -23 "$work/acked" "$work/stored" | head -5)
  [ -z "$lost" ] || die "acknowledged and not in the store: $lost"
  agrlctl replay ls --run-dir "$run" -o json >"$work/groups.json"
  local untrained
  untrained=$(comm -23 <(jq -r 'select(.groups) | .groups[]' "$run/journal.jsonl" | sort) \
    <(jq -r '.groups[] | select(.state == "trained") | .id' "$work/groups.json" | sort) | head -5)
  [ -z "$untrained" ] || die "in the journal and not TRAINED in the store: $untrained"
  say "invariants hold: $versions versions, $(wc -l <"$work/acked") acknowledged traces, all stored"
}
