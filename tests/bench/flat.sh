#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Does anything grow? Runs a job on tests/integration/tiny.yaml for some minutes and reads resident memory and open files of
# every daemon from its /metrics every 10 seconds. Prints one JSON object a daemon: first and last sample and the slope per
# minute, by least squares, over the last 7 minutes (over all samples of a shorter run). Not a test: the reader judges.
usage() { echo "usage: tests/bench/flat.sh BUILD_DIR [MINUTES (default 10)]"; }
case ${1:-} in -h | --help) usage; exit 0 ;; '') usage >&2; exit 64 ;; esac
minutes=${2:-10}
case $minutes in *[!0-9]* | 0) usage >&2; exit 64 ;; esac
. "$(dirname "$0")/../integration/lib.sh" "$1"
every=10 window=7

make_data
# More versions than fit into the time; the store forgets old groups, as it does in a long run.
start_job --set grpo.versions=1000000 --set replay.keep_groups=500 --set obs.log_level=info --no-eval >&2
declare -A port_of=([replay]=1 [reward]=2 [learner]=3 [actor-0]=10 [actor-1]=11)
wait_for 120 "RL version 1" version_is 1

# sample SECONDS: appends "daemon seconds resident files" of each
sample() {
  local name
  for name in "${!port_of[@]}"; do
    curl -fsS "http://127.0.0.1:$((port + port_of[$name]))/metrics" | awk -v name="$name" -v t="$1" '
      $1 == "process_resident_memory_bytes" { rss = $2 }
      $1 == "process_open_fds" { fds = $2 }
      END { if (rss == "" || fds == "") exit 1; print name, t, rss, fds }' >>"$work/samples" || die "no sample of $name"
  done
}

started=$SECONDS
for ((at = 0; at <= minutes * 60; at += every)); do
  while [ $((SECONDS - started)) -lt $at ]; do sleep 0.2; done
  job_over && die "the job ended after $at s"
  sample $((SECONDS - started))
done
agrlctl status --run-dir "$run" -o json | is '[.processes[].restarts] | add == 0' ||
  die "a daemon was restarted: its samples are of two processes"

awk -v window=$((window * 60)) -v versions="$(version)" '
  { name[$1]; n = ++count[$1]; t[$1, n] = $2; v["rss", $1, n] = $3; v["fds", $1, n] = $4; if ($2 > end) end = $2 }
  function slope(what, d,   i, k, x, y, sx, sy, sxx, sxy) {
    for (i = 1; i <= count[d]; i++) {
      if (t[d, i] < end - window) continue
      x = t[d, i] / 60; y = v[what, d, i]
      k++; sx += x; sy += y; sxx += x * x; sxy += x * y
    }
    return k > 1 ? (k * sxy - sx * sy) / (k * sxx - sx * sx) : 0
  }
  function part(what, key, d) {
    return sprintf("\"%s\": {\"first\": %d, \"last\": %d, \"slope_per_minute\": %.6g}", key, v[what, d, 1], v[what, d, count[d]], slope(what, d))
  }
  END {
    for (d in name)
      printf "{\"daemon\": \"%s\", \"minutes\": %.2f, \"samples\": %d, \"versions\": %d, %s, %s}\n", d, end / 60, count[d], versions,
        part("rss", "resident_memory_bytes", d), part("fds", "open_fds", d)
  }' "$work/samples" | sort
