#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The kernels as a 64-bit ARM compiler sees them: no x86 instruction or header outside its own file. Syntax only, with
# aarch64-linux-gnu-gcc, else with clang and this machine's headers. usage: aarch64.sh SOURCE_DIR
. "$(dirname "$0")/files.sh"

if command -v aarch64-linux-gnu-gcc >/dev/null; then
  set -- aarch64-linux-gnu-gcc -idirafter /usr/include
elif command -v clang >/dev/null; then
  # The C library's headers differ between machines in bits/ alone; what is parsed here does not look there. Those of x86
  # want a list of missing functions for 32 bits when they are not told that this is x86-64: an empty one does.
  stubs=$(mktemp -d "${TMPDIR:-/tmp}/agrl-stubs.XXXXXX") || exit 70
  trap 'rm -rf "$stubs"' EXIT
  mkdir "$stubs/gnu" && : >"$stubs/gnu/stubs-32.h"
  set -- clang --target=aarch64-linux-gnu -idirafter "/usr/include/$(uname -m)-linux-gnu" -idirafter "$stubs"
else
  echo 'aarch64.sh: neither aarch64-linux-gnu-gcc nor clang is installed, skipped'
  exit 77
fi
printf '#include <cblas.h>\n#include <stdio.h>\n' | "$@" -std=gnu17 -fsyntax-only -x c - 2>/dev/null ||
  { echo "aarch64.sh: $1 does not find the system's headers, skipped"; exit 77; }

rc=0 n=0
for f in $(lint_files 'common/tensor/*.c'); do
  n=$((n + 1))
  "$@" -std=gnu17 -D_GNU_SOURCE -DAGRL_VERSION_TEXT='"0"' -I. -Wall -Wextra -Werror -Wno-unused-parameter -fsyntax-only "$f" ||
    { echo "$f:1: does not compile for aarch64"; rc=1; }
done
[ "$n" -gt 0 ] || { echo 'common/tensor: no files'; rc=1; }
exit $rc
