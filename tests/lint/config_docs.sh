#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Configuration files in the tree (experiments are read by ctl_experiment_test) use only keys of the table in common/conf/config.c, and the example file, which is what
# a user reads, has every one of them.
. "$(dirname "$0")/files.sh"

lint_files '*.yaml' | grep -v -e '^tests/golden/' -e '^tests/fuzz/' -e rules -e '^deploy/etc/experiments/' | { printf 'common/conf/config.c\n'; cat; } | tr '\n' '\0' | xargs -0 awk '
function complain(line, what) { printf "%s:%d: %s\n", FILENAME, line, what; bad = 1 }
FILENAME == "common/conf/config.c" {
  if (match($0, /^ *[A-Z_]+\("[a-z]+\.[a-z0-9_]+"/)) {
    row = substr($0, RSTART, RLENGTH); gsub(/^[^"]*"|"$/, "", row)
    key[row] = 1; split(row, part, "."); section[part[1]] = 1
  }
  next
}
FNR == 1 { name = ""; if (FILENAME == "deploy/etc/agrl.yaml") example = 1 }
/^[a-z]+:/ { name = $1; sub(/:.*/, "", name); if (!(name in section)) complain(FNR, "unknown section " name) }
/^  [a-z0-9_]+:/ {
  k = $1; sub(/:.*/, "", k)
  if (name in section && !((name "." k) in key)) complain(FNR, "unknown key " name "." k)
  if (FILENAME == "deploy/etc/agrl.yaml") seen[name "." k] = 1
}
FILENAME == "deploy/etc/agrl.yaml" && /^  # [a-z0-9_]+: / { sub(/^  # /, ""); sub(/:.*/, ""); seen[name "." $0] = 1 }  # set by run.method
END {
  if (!example) { print "deploy/etc/agrl.yaml:1: the example configuration is missing"; bad = 1 }
  else for (k in key) if (!(k in seen)) { print "deploy/etc/agrl.yaml:1: says nothing of " k; bad = 1 }
  exit bad
}'
