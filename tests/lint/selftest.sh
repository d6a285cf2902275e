#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The lints themselves: each must pass a small clean tree, and name the offence planted for each of its rules.
set -u
lint=$(cd "$(dirname "$0")" && pwd)
cc=${1:-cc}
tree=$(mktemp -d "${TMPDIR:-/tmp}/agrl-lint.XXXXXX") || exit 70
trap 'rm -rf "$tree"' EXIT
failures=0

head_of() { printf '// SPDX-License-Identifier: Apache-2.0\n// A file of the test tree.\n'; }
put() { mkdir -p "$tree/$(dirname "$1")"; { head_of; printf '%b' "$2"; } >"$tree/$1"; }
run() { case $1 in headers) sh "$lint/headers.sh" "$tree" "$cc" ;; *) sh "$lint/$1.sh" "$tree" ;; esac; }

fresh() {
  rm -rf "$tree"/*
  put common/base/a.h '#include <stdint.h>\nextern uint64_t agrl_a_timeout_ns;\n'
  put common/conf/config.c '#include "common/base/a.h"\n    INT("run.seed", run.seed, "1", 0, 1, "x"),\n    TIME("run.wait", run.wait_ns, "1s", 0, 1, "x"),\n'
  put replay/m.c '#include <uv.h>\n#include "common/conf/config.h"\n  {"agrl_replay_inserts_total", "x", AGRL_COUNTER},\n{"agrl_actor_up", "x", AGRL_GAUGE},\n'
  mkdir -p "$tree/deploy/etc" "$tree/tests/lint"
  printf '# Names.\nagrl_replay_inserts_total counter result\nagrl_actor_up gauge -\nagrl_actor_later_total counter - later\n' >"$tree/tests/lint/metric_names.txt"
  printf 'run:\n  seed: 1\n  wait: 1s\n' >"$tree/deploy/etc/agrl.yaml"
}

finds() {  # finds LINT FILE TEXT WANTED: planting TEXT in FILE makes LINT complain of WANTED
  fresh
  put "$2" "$3"
  if out=$(run "$1" 2>&1) || ! printf '%s' "$out" | grep -qF -e "$4"; then
    echo "lint $1 misses \"$4\" in $2; it said: $out"
    failures=$((failures + 1))
  fi
}

fresh
for l in layers sizes units metrics words config_docs headers; do
  out=$(run $l 2>&1) || { echo "lint $l refuses a clean tree: $out"; failures=$((failures + 1)); }
done

finds layers common/base/b.c '#include "common/conf/yaml.h"\n' 'common/base/b.c:3: common/conf/yaml.h'
finds layers common/text/b.c '#include "common/conf/yaml.h"\n' 'never include each other'
finds layers actor/b.c '#include "replay/store.h"\n' 'never include each other'
finds layers common/net/b.c '#include "actor/actor.h"\n' 'may not include actor'
finds layers actor/b.c '#include "agrl/v1/task.pb-c.h"\n' 'common/wire only'
finds layers actor/b.c '#include <zmq.h>\n' 'lives in common/net/ only'
finds layers replay/index.c '#include <lmdb.h>\n' 'lives in replay/store only'
finds layers common/base/b.c '# include <jansson.h>\n' 'lives in common/base/json only'
finds layers common/base/b.c '#include <glib.h>\n' 'unknown header'
finds layers common/base/b.c '#include "a.h"\n' 'include by path'
finds layers actor/b.c '#include "tests/lib/x.h"\n' 'does not include tests'
finds sizes actor/main.c "$(seq 1 79 | sed 's,.*,// &\\n,')" 'at most 80'
finds sizes actor/b.h "$(seq 1 149 | sed 's,.*,// &\\n,')" 'at most 150'
finds sizes actor/b.c "$(seq 1 599 | sed 's,.*,// &\\n,')" 'at most 600'
finds sizes actor/b.c 'int x; \n' 'blank at the end'
finds sizes actor/b.c '\tint x;\n' 'tab in the indentation'
fresh; printf '// A file.\n' >"$tree/actor.c"
run sizes >/dev/null && { echo 'lint sizes misses a licence'; failures=$((failures + 1)); }
finds units replay/n.c '{"agrl_replay_commit_ms", "x", AGRL_HISTOGRAM}\n' 'not a base unit'
finds units replay/n.c '{"agrl_replay_commits", "x", AGRL_GAUGE}\n' 'has no unit'
finds units replay/n.c '{"agrl_replay_commit_seconds", "x", AGRL_COUNTER}\n' 'a counter ends in _total'
finds units replay/n.c '{"agrl_replay_commits_total", "x", AGRL_GAUGE}\n' 'is no counter'
finds metrics replay/n.c '{"agrl_bogus_items", "x", AGRL_GAUGE}\n' 'is not in the list'
finds metrics replay/n.c '// AGRL_COUNTER\nc = counter("agrl_replay_commits", "x");\n' 'a counter ends in _total'
finds metrics replay/n.c '{"agrl_replay_commits_total", "x", AGRL_GAUGE}\n' 'is a gauge'
finds metrics replay/n.c '{"agrl_replay_seconds_spent", "x", AGRL_GAUGE}\n' 'the unit stands last'
finds metrics replay/n.c '{"agrl_replay_inserts_total", "x", AGRL_GAUGE}\n' 'elsewhere'
finds metrics replay/n.c '{"agrl_replay_items", "x", AGRL_GAUGE}\n' 'agrl_replay_items: is not listed'
finds metrics replay/n.c '{"agrl_actor_later_total", "x", AGRL_COUNTER}\n' 'says later'
finds metrics replay/m.c '{"agrl_actor_up", "x", AGRL_GAUGE},\n' 'agrl_replay_inserts_total: no such metric'
finds metrics replay/m.c '{"agrl_actor_up", "x",\n AGRL_HISTOGRAM},\n{"agrl_replay_inserts_total", "x", AGRL_COUNTER}\n' 'agrl_actor_up: is a histogram'
finds units common/conf/config.c '    TIME("run.wait", run.wait, "1s", 0, 1, "x"),\n' 'a duration ends in _ns'
finds units replay/n.h 'struct x { uint64_t ack_timeout; };\n' 'names no unit'
finds words actor/b.c '// see /wo''rk/main\n' 'a path of one machine'
finds words actor/b.c '// TO''DO later\n' 'unfinished'
finds config_docs common/conf/config.c '    INT("run.seed", a, "1", 0, 1, "x"),\n    INT("run.more", b, "1", 0, 1, "x"),\n    INT("run.wait", c, "1", 0, 1, "x"),\n' 'says nothing of run.more'
finds config_docs common/conf/config.c '    INT("run.seed", a, "1", 0, 1, "x"),\n' 'unknown key run.wait'
finds headers actor/b.h 'struct x { size_t n; };\n' 'actor/b.h:1: does not compile alone'
finds headers actor/b.h 'struct x { int n; };\n' 'actor/b.h:1: does not compile alone'

[ "$failures" = 0 ] && echo "all lints find what they should"
exit "$failures"
