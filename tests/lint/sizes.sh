#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Files a reader can take in at once: sources and scripts 600 lines, headers 150, main.c 80. Golden data is exempt; a
# body_*.h is source (compiled once per instruction set). Every source also starts with its licence and a comment that says
# what it is for.
. "$(dirname "$0")/files.sh"

lint_files '*.c' '*.h' '*.proto' '*.sh' '*.py' '*.cmake' '*CMakeLists.txt' 'tests/run' 'deploy/quickstart' | grep -v -e '\.pb-c\.' -e '^tests/golden/' |
  tr '\n' '\0' | xargs -0 awk '
function complain(line, what) { printf "%s:%d: %s\n", file, line, what; bad = 1 }
function close_file() {
  if (!file) return
  limit = file ~ /\.h$/ && file !~ /\/body_[a-z0-9_]*\.h$/ ? 150 : file ~ /(^|\/)main\.c$/ ? 80 : 600
  if (lines > limit) complain(lines, lines " lines, at most " limit)
  if (!licensed) complain(1, "no \"SPDX-License-Identifier: Apache-2.0\" in the first two lines")
  else if (file ~ /\.[ch]$/ && !purpose) complain(2, "no comment that says what the file is for")
}
FNR == 1 { close_file(); file = FILENAME; licensed = purpose = 0 }
FNR <= 2 && /SPDX-License-Identifier: Apache-2\.0/ { licensed = 1 }
FNR == 2 && /^\/\/ ./ { purpose = 1 }
{ lines = FNR }
/[ \t]$/ { complain(FNR, "blank at the end of the line") }
/^ *\t/ && file ~ /\.[ch]$/ { complain(FNR, "tab in the indentation") }
END { close_file(); exit bad }'
