#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Words that have no business in the repository: paths of one developer's machine, and the marks of unfinished work.
# (The bracketed letters keep this file from finding itself.)
. "$(dirname "$0")/files.sh"

find_words() {  # find_words WHY GREP-OPTIONS REGEX FILE-PATTERNS...
  why=$1 options=$2 regex=$3
  shift 3
  lint_files "$@" | grep -v -e '^tests/golden/' -e '^tests/fuzz/corpus/' -e '^LICENSE$' | tr '\n' '\0' |
    xargs -0 grep -HnI "$options" -e "$regex" /dev/null | awk -v why="$why" -F: '{ print $1 ":" $2 ": " why ": " substr($0, length($1 $2) + 3); bad = 1 } END { exit bad }'
}

rc=0
find_words 'a path of one machine' -E '(^|[^a-z.])/(wor[k]|hom[e]/[a-z]+|roo[t]|User[s])/|share[d]/design|/tm[p]/build-' '*' || rc=1
find_words 'unfinished' -iwE 'tod[o]|fixm[e]|xx[x]|stu[b]|stubbe[d]|not implemente[d]|placeholde[r]' '*.c' '*.h' '*.proto' '*.sh' 'deploy/*' 'tests/run' '*CMakeLists.txt' || rc=1
exit $rc
