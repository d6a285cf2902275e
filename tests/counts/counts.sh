#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Counts the instructions of the cases of counts.c under callgrind, one thread, and compares each with its baseline: more than
# 10 % off, in either direction, is a failure (fewer: an improvement, to be recorded, or the next one to lose it would pass).
# Counting begins and ends with a case's function, so start-up and preparation do not count.
# Baselines (baselines.txt: key, case, instructions) are kept by what counts depend on: machine, kernels (AVX2, the most that
# valgrind executes; portable where the CPU has none) and compiler. Skipped, with the reason, without valgrind, in a build with
# flags of its own, and where a key has no baselines yet.
# AGRL_COUNTS_CPU names other kernels to count.
usage() { echo "usage: tests/counts/counts.sh BUILD_DIR [--record]    --record: writes this key's baselines anew"; }
case ${1:-} in -h | --help) usage; exit 0 ;; '') usage >&2; exit 64 ;; esac
case ${2:-} in '' | --record) ;; *) usage >&2; exit 64 ;; esac
here=$(cd "$(dirname "$0")" && pwd)
program=$1/bin/counts baselines=$here/baselines.txt record=${2:-} within=10

skip() { echo "counts: $*, skipped"; exit 77; }
command -v valgrind >/dev/null || skip 'valgrind is not installed (deploy/packages.txt)'
build=$("$program" --build) || exit 70
[ "$build" = RelWithDebInfo ] ||
  skip "this build is \"$build\": counts are compared in a build of type RelWithDebInfo without further flags or sanitizers only"
for AGRL_CPU in ${AGRL_COUNTS_CPU:-avx2 neon portable}; do
  export AGRL_CPU
  key=$("$program" --key 2>/dev/null) && break
done
[ -n "$key" ] || { "$program" --key; exit 70; }
[ -n "$record" ] || grep -q "^$key " "$baselines" || skip "no baselines of $key; record them with: tests/counts/counts.sh $1 --record"

work=$(mktemp -d) || exit 70
trap 'rm -rf "$work"' EXIT
after=()
while read -r name; do after+=("--dump-after=counted_$name"); done < <(sed -n 's/^COUNTED counted_\([a-z_]*\)(.*/\1/p' "$here/counts.c")
OPENBLAS_NUM_THREADS=1 valgrind --tool=callgrind --callgrind-out-file="$work/out" --toggle-collect='counted_*' "${after[@]}" \
  "$program" >"$work/log" 2>&1 || { cat "$work/log"; echo 'counts: the cases did not run under valgrind'; exit 70; }

# A dump says which function it followed and what was counted since the last one.
for dump in "$work"/out.*; do
  awk -v key="$key" '/^desc: Trigger: --dump-after=counted_/ { sub(/.*=counted_/, ""); name = $1 } /^(summary|totals):/ { n = $2 }
    END { if (name) print key, name, n }' "$dump"
done | sort >"$work/counted"
[ -s "$work/counted" ] || { echo 'counts: callgrind counted nothing'; exit 70; }

if [ -n "$record" ]; then
  { grep -E '^#' "$baselines"; { grep -vE "^(#|$key )" "$baselines"; cat "$work/counted"; } | sort; } >"$work/new" && cp "$work/new" "$baselines"
  cat "$work/counted"
  exit
fi
awk -v key="$key" -v within="$within" -v again="tests/counts/counts.sh $1 --record" '
  NR == FNR { if ($1 == key) want[$2] = $3; next }
  { got[$2] = $3 }
  END {
    for (name in want) if (!(name in got)) { printf "%s: has a baseline and was not counted\n", name; bad = 1 }
    for (name in got) {
      if (!(name in want)) { printf "%s: %d instructions, no baseline; record it with: %s\n", name, got[name], again; bad = 1; continue }
      off = 100 * (got[name] / want[name] - 1)
      printf "%-14s %11d instructions, baseline %11d, %+.1f %%\n", name, got[name], want[name], off
      if (off > within) { printf "%s: more than %d %% slower\n", name, within; bad = 1 }
      if (off < -within) { printf "%s: more than %d %% faster; keep that with: %s\n", name, within, again; bad = 1 }
    }
    exit bad
  }' "$baselines" "$work/counted"
