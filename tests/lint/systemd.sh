#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The systemd units, with the programs just built in the place of /usr/bin and the current user in that of agrl, as
# systemd-analyze sees them: not a word of complaint. usage: systemd.sh SOURCE_DIR BUILD_DIR
. "$(dirname "$0")/files.sh"
build=${2:?usage: systemd.sh SOURCE_DIR BUILD_DIR}
command -v systemd-analyze >/dev/null || { echo 'systemd.sh: systemd-analyze is not installed, skipped'; exit 77; }

units=$(mktemp -d "${TMPDIR:-/tmp}/agrl-units.XXXXXX") || exit 70
trap 'rm -rf "$units"' EXIT
for unit in deploy/systemd/*; do
  sed -e "s,/usr/bin/agrl-,$build/bin/agrl-,g" -e "s/^User=.*/User=$(id -un)/" -e "s/^Group=.*/Group=$(id -gn)/" \
    "$unit" >"$units/${unit##*/}"
done
rc=0
for unit in "$units"/*.service; do
  grep -q "^ExecStart=$build/bin/agrl-" "$unit" || { echo "deploy/systemd/${unit##*/}:1: does not start a program of /usr/bin/agrl-*"; rc=1; }
done
# A template is verified through an instance, which is made by its name alone. Whether the man pages are there is man.sh's.
cd "$units" || exit 70
set -- *
[ $# -ge 5 ] || { echo "deploy/systemd: $# units, expected the four daemons and a target"; rc=1; }
for unit; do
  case $unit in *@.service) unit=${unit%.service}0.service ;; esac
  findings=$(systemd-analyze verify --recursive-errors=no --man=no "$units/$unit" 2>&1) && [ -z "$findings" ] ||
    { echo "$unit: ${findings:-systemd-analyze fails}"; rc=1; }
done
exit $rc
