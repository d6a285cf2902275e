#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every header compiles alone, twice (its guard works), without warnings. usage: headers.sh SOURCE_DIR [CC] [PROTO_DIR]
# Headers that are the body of another file (body_*.h, included once per instruction set) are exempt.
. "$(dirname "$0")/files.sh"
cc=${2:-cc} proto=${3:-.}
export cc proto

lint_files '*.h' | grep -v -e '\.pb-c\.h$' -e '/body_[a-z0-9_]*\.h$' | tr '\n' '\0' | xargs -0 -n 8 -P 2 sh -c '
  for h in "$@"; do
    printf "#include \"%s\"\n#include \"%s\"\n" "$h" "$h" |
      "$cc" -std=gnu17 -D_GNU_SOURCE -DAGRL_VERSION_TEXT=\"0\" -I. -I"$proto" -Wall -Wextra -Werror -Wno-unused-parameter -Wno-unused-function -fsyntax-only -x c - ||
      { echo "$h:1: does not compile alone"; bad=1; }
  done
  exit ${bad:-0}' sh
