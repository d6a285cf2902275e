#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Names of metrics, in every file that registers some: agrl_<subsystem>_<what> with a subsystem of the closed list below;
# the unit stands last, before _total; counters and nothing else end in _total, whatever helper registers them (counter(),
# COUNTER() or a descriptor); one name has one type in the whole tree; a help text is there. units.sh looks at the units.
# tests/lint/metric_names.txt lists them all: no name is missing there, and but for those marked "later" none is missing here.
. "$(dirname "$0")/files.sh"

written=$(grep -hoE '# TYPE agrl_[a-z_]+ [a-z]+' common/obs/*.c 2>/dev/null | cut -d' ' -f3,4 | tr '\n' ';')  # without a descriptor
lint_files '*.c' | grep -v -e '\.pb-c\.' -e '^tests/' | tr '\n' '\0' | xargs -0 grep -lE 'AGRL_(COUNTER|GAUGE|HISTOGRAM)\b' /dev/null |
  grep -v '^common/obs/' | tr '\n' '\0' | xargs -0 -r awk -v list=tests/lint/metric_names.txt -v written="$written" '
BEGIN {
  n = split(written, w, ";"); for (i = 1; i < n; i++) { split(w[i], part, " "); seen[part[1]] = 1; types[part[1]] = part[2] }
  n = split("learner actor actors reward replay weights transport eval checkpoint resume run supervisor", s, " "); for (i = 1; i <= n; i++) known[s[i]] = 1
  while ((getline line < list) > 0) {
    at++
    if (line !~ /^[^# ]/) continue
    k = split(line, w, " ")
    if (w[1] in where) { printf "%s:%d: %s: is there twice\n", list, at, w[1]; bad = 1 }
    where[w[1]] = at; listed[w[1]] = w[2]; later[w[1]] = k > 3 && w[4] == "later"
  }
}
function complain(what) { printf "%s:%d: %s\n", FILENAME, FNR, what; bad = 1 }
FNR == 1 { open_name = "" }
# a descriptor may name its type a few lines on
open_name != "" && match($0, /AGRL_(COUNTER|GAUGE|HISTOGRAM)/) { types[open_name] = tolower(substr($0, RSTART + 5, RLENGTH - 5)); open_name = "" }
match($0, /"agrl_[^" ]*"/) {
  name = substr($0, RSTART + 1, RLENGTH - 2); rest = substr($0, RSTART + RLENGTH); low = tolower($0)
  if (name !~ /^agrl_[a-z0-9]+(_[a-z0-9]+)*$/) { complain(name ": names are snake case"); next }
  split(name, part, "_")
  if (!(part[2] in known)) complain(name ": subsystem " part[2] " is not in the list of tests/lint/metrics.sh")
  if (name ~ /_total_/) complain(name ": _total stands last")
  if (name ~ /_(seconds|bytes|ratio)_/ && name !~ /_(seconds|bytes)_total$/) complain(name ": the unit stands last")
  if (name ~ /_(count|sum|bucket)$/) complain(name ": the ending belongs to histograms")
  if (rest ~ /^, *""/ || rest ~ /help = ""/) complain(name ": help is empty")
  type = low ~ /(^|[^a-z])(agrl_)?counter([^a-z_]|$)/ ? "counter" : low ~ /(^|[^a-z])(agrl_)?gauge([^a-z_]|$)/ ? "gauge" : low ~ /(^|[^a-z])(agrl_)?histogram([^a-z_]|$)/ ? "histogram" : ""
  if (type == "counter" && name !~ /_total$/) complain(name ": a counter ends in _total")
  if (type != "" && type != "counter" && name ~ /_total$/) complain(name ": ends in _total and is a " type)
  if (type != "" && name in types && types[name] != type) complain(name ": is a " types[name] " elsewhere")
  if (type != "") types[name] = type
  open_name = type == "" && !(name in types) ? name : ""
  seen[name] = 1
  if (!(name in where)) complain(name ": is not listed in " list)
  else if (later[name]) complain(name ": is here, and " list " says later")
}
END {
  for (name in where) {
    if (!(name in seen) && !later[name]) printf "%s:%d: %s: no such metric in the source\n", list, where[name], name
    else if (name in types && types[name] != listed[name]) printf "%s:%d: %s: is a %s in the source\n", list, where[name], name, types[name]
    else continue
    bad = 1
  }
  exit bad
}'
