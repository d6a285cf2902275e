#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Units in names. Metrics: a name in a file of descriptors ends in a base unit, or stands in dimensionless.txt beside this
# file; counters, and nothing else, end in _total (seen here where name and type share a line; promtool sees the rest in
# the integration tests). Code: what holds a time or a size says in which unit.
case $0 in /*) lint=${0%/*} ;; *) lint=$PWD/${0%/*} ;; esac
. "$lint/files.sh"

product() { lint_files "$@" | grep -v -e '\.pb-c\.' -e '^tests/' | tr '\n' '\0'; }

metrics() {
  product '*.c' '*.h' | xargs -0 grep -lE 'AGRL_(COUNTER|GAUGE|HISTOGRAM)\b' | tr '\n' '\0' | xargs -0 awk -v list="$lint/dimensionless.txt" '
  BEGIN { while ((getline line < list) > 0) if (line ~ /^agrl_/) { split(line, w, " "); plain[w[1]] = 1 } }
  function complain(line, what) { printf "%s:%d: %s\n", FILENAME, line, what; bad = 1 }
  {
    rest = $0; names = types = 0
    while (match(rest, /"agrl_[a-z0-9_]+"|AGRL_(COUNTER|GAUGE|HISTOGRAM)/)) {
      word = substr(rest, RSTART, RLENGTH); rest = substr(rest, RSTART + RLENGTH)
      if (word !~ /^"/) { types++; type = word; continue }
      names++; name = substr(word, 2, length(word) - 2)
      if (name ~ /_(ms|us|ns|milliseconds|microseconds|minutes|hours|percent|pct|kb|mb|gb|kib|mib|gib)(_|$)/) complain(FNR, name ": not a base unit; use _seconds, _bytes or _ratio")
      else if (name !~ /_(total|seconds|bytes|ratio|info|tokens|versions|nats|traces|groups|per_second|per_insert)$/ && !(name in plain)) complain(FNR, name ": has no unit; name it so, or list it in tests/lint/dimensionless.txt")
    }
    if (names != 1 || types != 1) next
    if (type == "AGRL_COUNTER" && name !~ /_total$/) complain(FNR, name ": a counter ends in _total")
    if (type != "AGRL_COUNTER" && name ~ /_total$/) complain(FNR, name ": ends in _total and is no counter")
  }
  END { exit bad }'
}

config() {
  product 'common/conf/*.c' | xargs -0 awk '
  function complain(what) { printf "%s:%d: %s\n", FILENAME, FNR, what; bad = 1 }
  /^ *(TIME|RELOAD_TIME)\("/ { split($0, w, ", *"); if (w[2] !~ /_ns$/) complain(w[2] ": a duration ends in _ns") }
  /^ *(BYTES|RELOAD_BYTES)\("/ { split($0, w, ", *"); if (w[2] !~ /_bytes$/) complain(w[2] ": a size ends in _bytes") }
  END { exit bad }'
}

# Numbers in headers whose names say "time" and not in which unit.
fields() {
  product '*.h' | xargs -0 awk '
  { line = $0; sub(/\/\/.*/, "", line) }
  match(line, /(u?int(32|64)_t|double|float|size_t|long|unsigned|int)[ ]+([a-z0-9_]+_)?(timeout|deadline|interval|duration|delay|elapsed|latency)[ ]*[;,)=]/) {
    printf "%s:%d: %s names no unit; end it in _ns or _s\n", FILENAME, FNR, substr(line, RSTART, RLENGTH - 1); bad = 1
  }
  END { exit bad }'
}

rc=0
metrics || rc=1
config || rc=1
fields || rc=1
exit $rc
