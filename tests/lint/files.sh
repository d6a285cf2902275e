# SPDX-License-Identifier: Apache-2.0
# Sourced by the lints: lint_files PATTERN... lists the files of the tree (those git tracks or would track; all of them
# where git is not there), one a line.
cd "${1:?usage: LINT.sh SOURCE_DIR}" || exit 66

lint_files() {
  if git rev-parse --show-toplevel >/dev/null 2>&1 && [ "$(git rev-parse --show-toplevel)" = "$(pwd -P)" ]; then
    git ls-files -co --exclude-standard -- "$@" | while IFS= read -r f; do [ -f "$f" ] && printf '%s\n' "$f"; done
  else
    find . -type f -not -path './.git/*' -not -path './build*/*' | sed 's,^\./,,' | while IFS= read -r f; do
      for p in "$@"; do
        # shellcheck disable=SC2254
        case $f in $p) printf '%s\n' "$f"; break ;; esac
      done
    done
  fi | sort
}
