#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The scrape configuration, as promtool sees it. usage: prometheus.sh SOURCE_DIR
. "$(dirname "$0")/files.sh"
command -v promtool >/dev/null || { echo 'prometheus.sh: promtool is not installed, skipped'; exit 77; }
[ -f deploy/prometheus/agrl.yml ] || { echo 'deploy/prometheus/agrl.yml: is missing'; exit 1; }
promtool check config deploy/prometheus/agrl.yml
