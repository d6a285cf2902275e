#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A scrape on standard input against metric_names.txt: every agrl_ metric is listed, with this type and these labels.
# usage: scraped.sh <metrics.txt
exec awk -v list="$(dirname "$0")/metric_names.txt" '
BEGIN { while ((getline line < list) > 0) if (line ~ /^agrl_/) { split(line, w, " "); type[w[1]] = w[2]; labels[w[1]] = w[3] } }
function complain(what) { if (!said[what]++) print what; bad = 1 }
/^# TYPE agrl_/ { n++; if (!($3 in type)) complain($3 ": is not in metric_names.txt"); else if (type[$3] != $4) complain($3 ": is a " $4 ", metric_names.txt says " type[$3]); name = $3; next }
/^agrl_/ && name in type {
  text = $0; got = ""; gsub(/\\./, "", text)
  if (match(text, /\{.*\}/)) {
    text = substr(text, RSTART + 1, RLENGTH - 2); gsub(/="[^"]*"/, "", text); got = text
    if (type[name] == "histogram") sub(/,?le$/, "", got)
  }
  if (got == "") got = "-"
  if (got != labels[name]) complain(name ": has labels " got ", metric_names.txt says " labels[name])
}
END { if (!n) complain("no agrl_ metric in the scrape"); exit bad }'
