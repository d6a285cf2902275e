#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Man pages: groff formats each without a warning; pages that ours refer to, and those that units name, are there; the
# reference of the configuration has every key, agrl(7) every exit code; the examples of agrl-rules(5) are sound rule files.
# usage: man.sh SOURCE_DIR BUILD_DIR
. "$(dirname "$0")/files.sh"
build=${2:?usage: man.sh SOURCE_DIR BUILD_DIR}
command -v groff >/dev/null || { echo 'man.sh: groff is not installed, skipped'; exit 77; }

generated=$build/deploy/man/agrl.yaml.5
[ -s "$generated" ] || { echo "$generated: is missing"; exit 1; }
rc=0
complain() { echo "$1"; rc=1; }
for page in deploy/man/*.[1-8] "$generated"; do
  warnings=$(groff -man -Tutf8 -ww -z "$page" 2>&1) && [ -z "$warnings" ] || complain "$page: ${warnings:-groff fails}"
  for section in NAME DESCRIPTION 'SEE ALSO'; do
    grep -q "^\.SH $section\$" "$page" || complain "$page:1: has no section $section"
  done
  for other in $(sed -n 's/^\.BR \(agrl[^ ]*\) (\([1-8]\)).*/\1.\2/p' "$page" | sed 's/\\//g'); do
    [ -f "deploy/man/$other" ] || [ "$other" = agrl.yaml.5 ] || complain "$page:1: refers to $other, which is not there"
  done
done
for name in $(sed -n 's/^Documentation=man:\(.*\)(\([1-8]\))$/\1.\2/p' deploy/systemd/* | sort -u); do
  [ -f "deploy/man/$name" ] || complain "deploy/systemd: name the page $name, which is not there"
done

keys=$("$build/bin/agrlctl" config dump | awk '/^[a-z]+:/ { section = $1; sub(/:.*/, "", section) }
  /^  [a-z]/ { key = $1; sub(/:.*/, "", key); print section "." key }')
[ -n "$keys" ] || complain 'agrlctl config dump: prints no keys'
for key in $keys; do
  grep -qFx ".B $key" "$generated" || complain "agrl.yaml.5: says nothing of $key"
done
for code in $(sed -n 's/^ *X([A-Z]*, \([0-9]*\), .*/\1/p' common/base/err.h | sort -un); do
  grep -qFx ".B $code" deploy/man/agrl.7 || complain "deploy/man/agrl.7:1: says nothing of exit code $code"
done

examples=$(mktemp -d "${TMPDIR:-/tmp}/agrl-man.XXXXXX") || exit 70
trap 'rm -rf "$examples"' EXIT
awk -v dir="$examples" '$0 == ".RE" { file = "" }
  /^name: / { file = dir "/" ++n ".yaml" }
  file { gsub(/\\-/, "-"); gsub(/\\e/, "\\"); print >file }' deploy/man/agrl-rules.5
[ "$(find "$examples" -name '*.yaml' | wc -l)" = 2 ] || complain 'deploy/man/agrl-rules.5: has not two examples'
for file in "$examples"/*.yaml; do
  "$build/bin/agrlctl" rules check --rules "$file" >/dev/null || complain "deploy/man/agrl-rules.5: example ${file##*/} is unsound"
done
exit $rc
