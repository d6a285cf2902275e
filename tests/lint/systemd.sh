#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The systemd units, with the programs just built in the place of /usr/bin and the current user in that of agrl, as
# systemd-analyze sees them: not a word of complaint. usage: systemd.sh SOURCE_DIR BUILD_DIR
. "$(dirname "$0")/files.sh"
build=${2:?usage: systemd.sh SOURCE_DIR BUILD_DIR}
command -v systemd-analyze >/dev/null || { echo 'systemd.sh: systemd-analyze is not installed, skipped'; exit 77; }

units=$(mktemp -d "${TMPDIR:-/tmp}/agrl-units.XXXXXX") || exit 70
trap 'rm -rf "$units"' EXIT
for unit in deploy/systemd/*.service deploy/systemd/*.target; do
  sed -e "s,/usr/bin/agrl-,$build/bin/agrl-,g" -e "s/^User=.*/User=$(id -un)/" -e "s/^Group=.*/Group=$(id -gn)/" \
    "$unit" >"$units/${unit##*/}"
done
rc=0
# What is installed elsewhere names the programs there.
if install=$build/deploy/systemd/cmake_install.cmake && [ -f "$install" ]; then
  DESTDIR=$units/root cmake -DCMAKE_INSTALL_PREFIX=/opt/agrl -P "$install" >/dev/null || { echo "$install: fails"; rc=1; }
  for unit in deploy/systemd/*.service; do
    installed=$units/root/opt/agrl/lib/systemd/system/${unit##*/}
    grep -q '^ExecStart=/opt/agrl/bin/agrl-' "$installed" && ! grep -q /usr/bin/agrl- "$installed" ||
      { echo "$unit: is not installed with the path of the installed programs"; rc=1; }
  done
fi
for unit in "$units"/*.service; do
  grep -q "^ExecStart=$build/bin/agrl-" "$unit" || { echo "deploy/systemd/${unit##*/}:1: does not start a program of /usr/bin/agrl-*"; rc=1; }
done
# A template is verified through an instance, which is made by its name alone. Whether the man pages are there is man.sh's.
cd "$units" || exit 70
set -- *.service *.target
[ $# -ge 5 ] || { echo "deploy/systemd: $# units, expected the four daemons and a target"; rc=1; }
for unit; do
  case $unit in *@.service) unit=${unit%.service}0.service ;; esac
  findings=$(systemd-analyze verify --recursive-errors=no --man=no "$units/$unit" 2>&1) && [ -z "$findings" ] ||
    { echo "$unit: ${findings:-systemd-analyze fails}"; rc=1; }
done
exit $rc
