#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Man pages: groff formats each without a warning; pages that ours refer to, and those that units name, are there; the
# reference of the configuration has every key, agrl(7) every exit code; the examples of agrl-rules(5) are the rule files of
# deploy/etc, word for word, and sound.
# usage: man.sh SOURCE_DIR BUILD_DIR
. "$(dirname "$0")/files.sh"
build=${2:?usage: man.sh SOURCE_DIR BUILD_DIR}
command -v groff >/dev/null || { echo 'man.sh: groff is not installed, skipped'; exit 77; }

generated=$build/deploy/man/agrl.yaml.5 rules_page=$build/deploy/man/agrl-rules.5
for page in "$generated" "$rules_page"; do [ -s "$page" ] || { echo "$page: is missing"; exit 1; }; done
rc=0
complain() { echo "$1"; rc=1; }
for page in deploy/man/*.[1-8] "$generated" "$rules_page"; do
  warnings=$(groff -man -Tutf8 -ww -z "$page" 2>&1) && [ -z "$warnings" ] || complain "$page: ${warnings:-groff fails}"
  for section in NAME DESCRIPTION 'SEE ALSO'; do
    grep -q "^\.SH $section\$" "$page" || complain "$page:1: has no section $section"
  done
  for other in $(sed -n 's/^\.BR \(agrl[^ ]*\) (\([1-8]\)).*/\1.\2/p' "$page" | sed 's/\\//g'); do
    [ -f "deploy/man/$other" ] || [ -f "$build/deploy/man/$other" ] || complain "$page:1: refers to $other, which is not there"
  done
done
for name in $(sed -n 's/^Documentation=man:\(.*\)(\([1-8]\))$/\1.\2/p' deploy/systemd/* | sort -u); do
  [ -f "deploy/man/$name" ] || complain "deploy/systemd: name the page $name, which is not there"
done

keys=$("$build/bin/agrlctl" config dump | awk '/^[a-z]+:/ { section = $1; sub(/:.*/, "", section) }
  /^  (# )?[a-z]/ { sub(/# /, ""); key = $1; sub(/:.*/, "", key); print section "." key }')
[ -n "$keys" ] || complain 'agrlctl config dump: prints no keys'
for key in $keys; do
  grep -qFx ".B $key" "$generated" || complain "agrl.yaml.5: says nothing of $key"
done
for code in $(sed -n 's/^ *X([A-Z]*, \([0-9]*\), .*/\1/p' common/base/err.h | sort -un); do
  grep -qFx ".B $code" deploy/man/agrl.7 || complain "deploy/man/agrl.7:1: says nothing of exit code $code"
done

examples=$(mktemp -d "${TMPDIR:-/tmp}/agrl-man.XXXXXX") || exit 70
trap 'rm -rf "$examples"' EXIT
groff -man -Tutf8 -P-cbou -rLL=200n "$rules_page" | sed 's/^ *$//' >"$examples/page"
for file in deploy/etc/rules*.yaml; do
  "$build/bin/agrlctl" rules check "$file" >/dev/null || complain "$file:1: is unsound"
  # each line of the file, as the page shows it, in one piece
  awk -v shown="$examples/page" 'BEGIN { while ((getline line <shown) > 0) { sub(/^ +/, "", line); page = page "\n" line } }
    !/^# SPDX/ { sub(/^ +/, ""); file = file "\n" $0 } END { exit !index(page, file "\n") }' "$file" ||
    complain "$file:1: agrl-rules(5) does not show it as it is"
done
exit $rc
